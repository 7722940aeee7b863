"""One query's answer: run it, encode its rows as they come, say how it ended."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import duckdb

from novamesh.errors import InvalidQuery, QueryNotAllowed, QueryTimeout, QueryTooLarge, RequestError, StoreUnavailable
from novamesh.store.contract import DATA, END, HEAD, CareNeeded, QueryRequest, message
from novamesh.store.damage import is_damage
from novamesh.store.results import TEXT_ENCODERS, ResultEncoder

log = logging.getLogger(__name__)

# The edge holds a message whole before it passes it on.
MESSAGE_BYTES = 256 * 1024

# What a cast of a VARIANT says of an object with keys that differ only in case.
_CASE_CLASH = "duplicate name"


Description = list[tuple[str, str]]
"""The names and the types of a query's columns."""

# Dashboards send the same queries again and again, and binding one is a third of a short query's time.
REMEMBERED = 256


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Reader(Protocol):
    """Who the answer is for."""

    def tell(self, data: bytes) -> None:
        """Send some of the answer; blocks while the reader is busy."""


class Answer:
    """Runs one query and sends its rows. A failure after the first rows is told in the stream."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        reader: Reader,
        request: QueryRequest,
        most_bytes: int,
        verify: Callable[[QueryRequest], None],
        descriptions: dict[str, Description],
    ) -> None:
        self._cursor = cursor
        self._reader = reader
        self._request = request
        self._most_bytes = most_bytes
        self._verify = verify
        self._descriptions = descriptions
        self._started = time.perf_counter()
        self._encoder: ResultEncoder | None = None
        self._rows = self._bytes = 0
        self.failure = ""  # the code of what was told at the end of a stream

    @property
    def rows(self) -> int:
        """How many were sent."""
        return self._rows

    def fail(self, error: Exception) -> None:
        """Tell the failure: as an error, or at the end of a stream that has begun."""
        if self._encoder is None or not isinstance(error, RequestError):
            raise error
        trailer = self._encoder.error(error.code, error.message)
        if trailer is None:
            raise error
        self.failure = error.code
        self._reader.tell(message(DATA, trailer) + message(END))

    def send(self) -> None:
        """Run the query and send the answer, whole. Raises ``duckdb.Error`` and :class:`QueryTooLarge`."""
        sql, parameters = self._inspected()
        encoder = encoder_for(self._request.format)(*self._described(sql, parameters))
        chunks = self._wanted_rows(encoder.chunks(self._cursor, sql, parameters))
        first = self._first(chunks)
        body = encoder.head()
        self._reader.tell(message(HEAD))
        self._encoder = encoder
        for chunk in itertools.chain([] if first is None else [first], chunks):
            body += encoder.rows(chunk, first=self._rows == 0)
            self._rows += len(chunk)
            self._tell(body)
            body = b""
        elapsed_ms = round((time.perf_counter() - self._started) * 1000)
        body += encoder.end(encoder.meta(elapsed_ms, self._rows, self._truncated))
        self._tell_parts(body)
        self._reader.tell(message(END))

    def _first(self, chunks: Iterator[Any]) -> Any:
        """The first rows.

        Only now are the events that the query sees fixed, so only now can be said whether it was made for their types.
        If it was not, its failure means nothing.
        """
        self._verify(self._request)  # not to run for long what is known to be of no use
        try:
            first = next(chunks, None)
        except duckdb.InterruptException:  # it is over, whatever it was made for
            raise
        except duckdb.Error:
            self._verify(self._request)
            raise
        self._verify(self._request)
        return first

    def _tell(self, body: bytes) -> None:
        # Sent before it is counted: the first part holds the head, without which the end would be no JSON.
        self._tell_parts(body)
        self._bytes += len(body)
        if self._request.limit is not None and self._bytes > self._most_bytes:
            raise QueryTooLarge(
                f"The result is larger than {self._most_bytes} bytes; select fewer columns or use /v1/export."
            )

    def _tell_parts(self, body: bytes) -> None:
        for start in range(0, len(body), MESSAGE_BYTES):
            self._reader.tell(message(DATA, body[start : start + MESSAGE_BYTES]))

    def _wanted_rows(self, chunks: Iterator[Any]) -> Iterator[Any]:
        """The rows after those to skip, to the limit."""
        self._truncated = False
        skip, left = self._request.skip, self._request.limit
        for chunk in chunks:
            if skip:
                skip, chunk = max(0, skip - len(chunk)), chunk[skip:]
            if left is not None and len(chunk) > left:
                self._truncated, chunk = True, chunk[:left]
            if len(chunk):
                yield chunk
            if self._truncated:
                return
            left = None if left is None else left - len(chunk)

    def _inspected(self) -> tuple[str, dict[str, Any]]:
        """The query to run: the one that was sent, or one that gives its columns or its plan."""
        sql, parameters = self._request.sql, self._request.parameters
        if self._request.wanted == "description":
            names, types = self._described(sql, parameters)
            inspected = "SELECT unnest($names) AS column_name, unnest($types) AS column_type"
            return inspected, {"names": names, "types": types}
        if self._request.wanted == "plan":
            plan = self._cursor.execute("EXPLAIN " + sql, parameters).fetchall()
            return "SELECT unnest($plan) AS plan", {"plan": plan[0][1].splitlines()}
        return sql, parameters

    def _described(self, sql: str, parameters: dict[str, Any]) -> tuple[list[str], list[str]]:
        """The names and the types of a query's columns."""
        found = self._descriptions.get(sql) if not parameters else None
        if found is None:
            found = [row[:2] for row in self._cursor.execute("DESCRIBE " + sql, parameters).fetchall()]
            if not parameters:  # whose types decide about those of the columns
                if len(self._descriptions) >= REMEMBERED:
                    self._descriptions.clear()
                self._descriptions[sql] = found
        types = ["VARIANT" if place in self._request.variants else kind for place, (_, kind) in enumerate(found)]
        return [self._request.names.get(name, name) for name, _ in found], types


def encoder_for(name: str) -> type[ResultEncoder]:
    """The encoder of a format."""
    if name in TEXT_ENCODERS:
        return TEXT_ENCODERS[name]
    # Takes 70 MB of memory and 0.3 s, which most nodes never need.
    from novamesh.store.batches import BATCH_ENCODERS

    return BATCH_ENCODERS[name]


def reported(error: duckdb.Error, reason: type[RequestError] | None, time_limit_s: float) -> Exception:
    """What a client is told of a database error; ``reason``: why the query was interrupted. Never a path or a
    statement of ours."""
    if isinstance(error, duckdb.InterruptException):
        if reason is None:
            return ClientGone()
        return QueryTimeout(
            f"The query took longer than {time_limit_s:g} s; narrow it, for example by timestamp, or aggregate more."
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return out_of_memory()
    if isinstance(error, duckdb.PermissionException):
        return QueryNotAllowed("The query uses something that may not be used here.")
    if is_damage(error) or isinstance(error, duckdb.FatalException | duckdb.InternalException | duckdb.IOException):
        log.error("the database failed", extra={"cause": str(error)})
        return StoreUnavailable("The store of this node has a fault and is looked after; send the query again later.")
    if isinstance(error, duckdb.NotImplementedException) and _CASE_CLASH in str(error):
        return CareNeeded()
    return InvalidQuery(_in_short(error))


def out_of_memory() -> QueryTooLarge:
    """What a client is told of a query that takes too much memory, the database's or ours."""
    return QueryTooLarge("The query needs more memory than this node gives it; narrow it or aggregate more.")


def _in_short(error: duckdb.Error) -> str:
    """The first line, and the one that names what may have been meant. Never the statement, which is ours."""
    first, *rest = str(error).splitlines()
    return "\n".join([first, *(line for line in rest if line.startswith("Candidate bindings"))])
