"""The client: send, ask, export. Requests that may succeed later are tried again, batches always with the same key."""

import contextlib
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import msgspec

from novamesh.client.connection import Connections, lines, pieces
from novamesh.client.errors import ClientError, Incomplete, Refused, Stopped, Unreachable
from novamesh.errors import Detail

SILENT_S = 120.0
# Nothing of an export comes before its first rows are found.
EXPORT_SILENT_S = 3600.0
RETRY_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0
_SHORTEST_WAIT_S = 0.1  # whatever Retry-After says

Answer = TypeVar("Answer")
_encoder = msgspec.json.Encoder(decimal_format="number")


class Sent(msgspec.Struct, frozen=True):
    """What became of a batch: ``events`` were accepted; ``rejected`` lists the faults of those that were not."""

    events: int
    batch_id: str
    rejected: tuple[Detail, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """A query's rows. ``types`` are the SQL types of the columns; ``truncated``: the limit cut the result."""

    columns: list[str]
    rows: list[list[Any]]
    types: list[str]
    elapsed_ms: int
    truncated: bool


class _Meta(msgspec.Struct):
    elapsed_ms: int
    truncated: bool
    types: list[str]


class _Document(msgspec.Struct):
    columns: list[str]
    rows: list[list[Any]]
    meta: _Meta | None = None
    error: str = ""
    message: str = ""


class Client:
    """A node's client. For any number of threads.

    A request that meets 429 or 503 is tried again for ``retry_s`` seconds, as ``Retry-After`` says; a batch also if
    there is no answer. ``on_wait`` is told of each error that is waited out, in the thread that waits. Once ``stop`` is
    set, what waits raises :class:`Stopped`.
    """

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        retry_s: float = RETRY_S,
        stop: threading.Event | None = None,
        on_wait: Callable[[ClientError], None] | None = None,
    ) -> None:
        """Raises :class:`ClientError` if ``url`` is no address or ``key`` cannot be one; connects to nothing yet."""
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ClientError("the key is not one: it holds a space or another odd character; copy it again")
        self._connections = Connections(url, {"authorization": f"Bearer {key}"} if key else {})
        self._retry_s = retry_s
        self._stop = stop or threading.Event()
        self._on_wait = on_wait

    @property
    def url(self) -> str:
        """The node's address."""
        return self._connections.url

    def close(self) -> None:
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(
        self,
        events: Sequence[Mapping[str, Any]],
        *,
        context: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        partial: bool = False,
        wait: bool = False,
    ) -> Sent:
        """Send 1 to 500 events as one batch. ``partial``: take the good ones; ``wait``: until queries see them.

        It is sent again with the same Idempotency-Key, so it is stored once; without a key of yours it gets one.
        Raises :class:`Refused`, with a detail for every fault, and :class:`Unreachable`.
        """
        body = {"events": events, "context": context} if context is not None else {"events": events}
        return self.send_body(_encoder.encode(body), idempotency_key or uuid.uuid4().hex, partial=partial, wait=wait)

    def send_body(self, body: bytes, idempotency_key: str, *, partial: bool = False, wait: bool = False) -> Sent:
        """Send the body of a batch as it is. Raises as :meth:`send`."""
        query = {name: value for name, value in (("partial", "true" * partial), ("wait", "stored" * wait)) if value}
        path = "/v1/batch" + (f"?{urlencode(query)}" if query else "")
        headers = {"content-type": "application/json", "idempotency-key": idempotency_key}
        return self._retried(lambda: _decode(self._read("POST", path, body, headers), Sent), sends=True)

    def query(
        self, sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None, *, limit: int | None = None
    ) -> Result:
        """All rows of a query, up to ``limit`` (1,000, at most 50,000). Raises :class:`ClientError`."""
        body = _query_body(sql, params, "json", limit)
        found = self._retried(lambda: _decode(self._read("POST", "/v1/query", body, _JSON), _Document))
        if found.meta is None:
            raise Incomplete(f"the query failed midway: {found.message or 'its answer is not whole'}")
        return Result(found.columns, found.rows, found.meta.types, found.meta.elapsed_ms, found.meta.truncated)

    @contextlib.contextmanager
    def stream(
        self,
        sql: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        format: str = "ndjson",
        limit: int | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """The answer to a query in a format of the node's, in pieces as they come. Raises :class:`ClientError`."""
        body = _query_body(sql, params, format, limit)
        with self._streamed("POST", "/v1/query", body, _JSON, SILENT_S) as parts:
            yield parts

    @contextlib.contextmanager
    def export(self, sql: str, *, format: str = "ndjson") -> Iterator[Iterator[bytes]]:
        """All rows of a SELECT, without a limit, in pieces as they come. Raises :class:`ClientError`."""
        path = "/v1/export?" + urlencode({"q": sql, "format": format})
        with self._streamed("GET", path, None, {}, EXPORT_SILENT_S) as parts:
            yield parts

    def get(self, path: str, *, silent_s: float = SILENT_S) -> dict[str, Any]:
        """The JSON of a path such as ``/v1/ready``. Tried once. Raises :class:`ClientError`."""
        return _decode(self._read("GET", path, None, {}, silent_s), dict[str, Any])

    @contextlib.contextmanager
    def lines(self, path: str, *, silent_s: float) -> Iterator[Iterator[bytes]]:
        """The lines of an answer that may have no end, as they come. Tried once. Raises :class:`ClientError`."""
        with self._connections.request("GET", path, None, {}, silent_s) as answer:
            yield lines(answer)

    @contextlib.contextmanager
    def _streamed(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], silent_s: float
    ) -> Iterator[Iterator[bytes]]:
        """Only until the answer begins is anything tried again."""
        with contextlib.ExitStack() as stack:
            answer = self._retried(
                lambda: stack.enter_context(self._connections.request(method, path, body, headers, silent_s))
            )
            yield pieces(answer)

    def _read(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], silent_s: float = SILENT_S
    ) -> bytes:
        with self._connections.request(method, path, body, headers, silent_s) as answer:
            return b"".join(pieces(answer))

    def _retried(self, attempt: Callable[[], Answer], *, sends: bool = False) -> Answer:
        end = time.monotonic() + self._retry_s
        backoff_s = _FIRST_WAIT_S
        while True:
            try:
                return attempt()
            except ClientError as error:
                named_s = error.retry_after_s if isinstance(error, Refused) else None
                wait_s = max(named_s, _SHORTEST_WAIT_S) if named_s is not None else backoff_s
                # Whoever asks wants to know at once that nobody is there.
                passing = error.passing if isinstance(error, Refused) else sends and _may_be_lost(error)
                if not passing or time.monotonic() + wait_s > end:
                    raise
                if self._on_wait is not None:
                    self._on_wait(error)
            # Some more than was asked for, so that those who were refused together do not come back together.
            if self._stop.wait(wait_s * random.uniform(1.0, 1.2)):
                raise Stopped("stopped while waiting to try again")
            backoff_s = min(2 * backoff_s, _LONGEST_WAIT_S)


def _may_be_lost(error: ClientError) -> bool:
    """Whether a batch, or the answer to it, may have been lost on its way: it is sent again, with its key."""
    return isinstance(error, Unreachable | Incomplete)


_JSON = {"content-type": "application/json"}


def _query_body(sql: str, params: Mapping[str, Any] | Sequence[Any] | None, format: str, limit: int | None) -> bytes:
    fields = {"q": sql, "params": params, "format": format, "limit": limit}
    return _encoder.encode({name: value for name, value in fields.items() if value is not None})


def _decode(body: bytes, kind: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ClientError("the answer is not a novamesh node's; check --url") from None
