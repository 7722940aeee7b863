"""The query server: a Unix socket, a thread for each query, a watchdog over all of them."""

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import msgspec

from novamesh.errors import (
    InternalError,
    InvalidQuery,
    QueryNotAllowed,
    QueryTimeout,
    QueryTooLarge,
    RequestError,
    StoreUnavailable,
)
from novamesh.store.contract import (
    DATA,
    END,
    HEAD,
    REQUEST_LIMIT,
    CareNeeded,
    QueryRequest,
    Request,
    StoreStatus,
    error_message,
    message,
)
from novamesh.store.duckdb import Database
from novamesh.store.results import ENCODERS, ResultEncoder, presented

log = logging.getLogger(__name__)

ROWS_A_CHUNK = 1024
WATCH_INTERVAL_S = 0.02
# A query that does not end this long after it was interrupted never will: the process is replaced.
INTERRUPT_GRACE_S = 5.0
EXIT_STUCK_QUERY = 70
ACCEPT_RETRY_S = 0.1
# What a client has to take the end of an answer when the query's time is over.
LAST_WORD_S = 0.5

# What a cast of a VARIANT says of an object with keys that differ only in case.
_CASE_CLASH = "duplicate name"

_decoder = msgspec.json.Decoder(Request)


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Running:
    """One query under way: what the watchdog needs to end it."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, client: socket.socket, deadline: float) -> None:
        self.cursor = cursor
        self.client = client
        self.deadline = deadline
        self.interrupted_at: float | None = None
        self.reason: type[RequestError] | None = None

    def interrupt(self, now: float, reason: type[RequestError] | None) -> None:
        """Interrupt, once; ``reason`` None means that the client is gone."""
        if self.interrupted_at is None:
            self.interrupted_at, self.reason = now, reason
        self.cursor.interrupt()


class Watchdog:
    """Ends queries that are over their time or whose client is gone."""

    def __init__(self, give_up: Callable[[int], None] = os._exit) -> None:
        self._running: set[Running] = set()
        self._lock = threading.Lock()
        self._give_up = give_up

    @contextlib.contextmanager
    def watch(self, running: Running) -> Iterator[None]:
        """Watch one query while the block runs."""
        with self._lock:
            self._running.add(running)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(running)

    def run(self) -> None:
        """Look at all running queries, for ever. For a daemon thread."""
        while True:
            time.sleep(WATCH_INTERVAL_S)
            # Under the lock no query leaves `watch`, so that its cursor and its socket stay open.
            with self._lock:
                if self._running:
                    self.look(list(self._running), time.monotonic())

    def look(self, running: list[Running], now: float) -> None:
        """One round."""
        poll = select.poll()
        for query in running:
            poll.register(query.client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        gone = {descriptor for descriptor, _ in poll.poll(0)}
        for query in running:
            if query.interrupted_at is not None and now > query.interrupted_at + INTERRUPT_GRACE_S:
                log.error("a query cannot be interrupted, the store is restarted")
                self._give_up(EXIT_STUCK_QUERY)
            if query.client.fileno() in gone:
                query.interrupt(now, None)
            elif now > query.deadline:
                query.interrupt(now, QueryTimeout)


class QueryServer:
    """Accepts requests of edge workers. See :mod:`novamesh.store.contract` for what is said."""

    def __init__(
        self,
        database: Database,
        path: Path,
        status: Callable[[], StoreStatus],
        time_limit_s: float,
        max_concurrent: int,
    ) -> None:
        self._database = database
        self._status = status
        self._time_limit_s = time_limit_s
        self._slots = threading.BoundedSemaphore(max_concurrent)
        self._watchdog = Watchdog()
        self._closed = threading.Event()
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mask, not a chmod afterwards: the socket must never be open to others.
        before = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(before)
        self._listener.listen(128)

    def start(self) -> None:
        """Serve from daemon threads."""
        threading.Thread(target=self._watchdog.run, name="query-watchdog", daemon=True).start()
        threading.Thread(target=self._accept, name="query-server", daemon=True).start()

    def close(self) -> None:
        """Take no more requests."""
        self._closed.set()
        # Closing alone does not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                self._take()
            except (OSError, RuntimeError) as error:
                if not self._closed.is_set():
                    # Out of file descriptors or threads: that passes, and the store must go on answering.
                    log.error("a request to the store cannot be taken", extra={"cause": str(error)})
                    self._closed.wait(ACCEPT_RETRY_S)

    def _take(self) -> None:
        client, _ = self._listener.accept()
        try:
            threading.Thread(target=self._serve, args=(client,), name="query", daemon=True).start()
        except RuntimeError:
            client.close()
            raise

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ClientGone):
            try:
                request = _read_request(client)
                if isinstance(request, QueryRequest):
                    self._query(client, request)
                else:
                    client.sendall(message(DATA, msgspec.json.encode(self._status())) + message(END))
            except (RequestError, CareNeeded) as error:
                client.sendall(error_message(error))
            except (OSError, ClientGone):
                raise
            except Exception:
                log.exception("a request to the store failed")
                client.sendall(error_message(InternalError("The query failed inside the node; its log says why.")))

    def _query(self, client: socket.socket, request: QueryRequest) -> None:
        if not self._slots.acquire(timeout=self._time_limit_s):
            raise StoreUnavailable("This node runs as many queries as it may; send the query again later.")
        try:
            with self._database.cursor() as cursor:
                running = Running(cursor, client, time.monotonic() + self._time_limit_s)
                answer = _Answer(running, request)
                with self._watchdog.watch(running):
                    try:
                        self._database.ensure_space(request.space)
                        answer.send()
                    except duckdb.Error as error:
                        answer.fail(_reported(error, running, self._time_limit_s))
        finally:
            self._slots.release()


class _Answer:
    """Runs one query and sends its rows. A failure after the first rows is told in the stream."""

    def __init__(self, running: Running, request: QueryRequest) -> None:
        self._cursor = running.cursor
        self._client = running.client
        self._deadline = running.deadline
        self._request = request
        self._started = time.perf_counter()
        self._encoder: ResultEncoder | None = None

    def fail(self, error: Exception) -> None:
        """Tell the failure: as an error, or at the end of a stream that has begun."""
        if self._encoder is None or not isinstance(error, RequestError):
            raise error
        trailer = self._encoder.error(error.code, error.message)
        if trailer is None:
            raise error
        self._tell(message(DATA, trailer) + message(END))

    def send(self) -> None:
        encoder = self._describe()
        self._cursor.execute(presented(self._request.sql, encoder.types))
        limit, sent = self._request.limit, 0
        rows = self._cursor.fetchmany(min(ROWS_A_CHUNK, limit + 1))
        body = encoder.head()
        self._tell(message(HEAD))
        self._encoder = encoder
        truncated = False
        while rows:
            if sent + len(rows) > limit:
                truncated, rows = True, rows[: limit - sent]
            if rows:
                body += encoder.rows(rows, first=sent == 0)
                sent += len(rows)
            if truncated:
                break
            self._tell(message(DATA, body))
            body = b""
            rows = self._cursor.fetchmany(ROWS_A_CHUNK)
        elapsed_ms = round((time.perf_counter() - self._started) * 1000)
        body += encoder.end(encoder.meta(elapsed_ms, sent, truncated))
        self._tell((message(DATA, body) if body else b"") + message(END))

    def _tell(self, data: bytes) -> None:
        # An interrupt does not end a send: a client that reads slowly must not look like a stuck query.
        self._client.settimeout(max(LAST_WORD_S, self._deadline - time.monotonic()))
        self._client.sendall(data)

    def _describe(self) -> ResultEncoder:
        rows = self._cursor.execute("DESCRIBE " + self._request.sql).fetchall()
        names = [self._request.names.get(row[0], row[0]) for row in rows]
        return ENCODERS[self._request.format](names, [row[1] for row in rows])


def _read_request(client: socket.socket) -> Request:
    data = b""
    while not data.endswith(b"\n"):
        part = client.recv(65536)
        if not part:
            raise ClientGone
        data += part
        if len(data) > REQUEST_LIMIT:
            raise InternalError("The request to the store is too large.")
    request: Request = _decoder.decode(data)
    return request


def _reported(error: duckdb.Error, running: Running, time_limit_s: float) -> Exception:
    """What a client is told of a database error. Never a path or a statement of ours."""
    if isinstance(error, duckdb.InterruptException):
        if running.reason is None:
            return ClientGone()
        return QueryTimeout(
            f"The query took longer than {time_limit_s:g} s; narrow it, for example by timestamp, or aggregate more."
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryTooLarge("The query needs more memory than this node gives it; narrow it or aggregate more.")
    if isinstance(error, duckdb.PermissionException):
        return QueryNotAllowed("The query uses something that may not be used here.")
    if isinstance(error, duckdb.FatalException | duckdb.InternalException | duckdb.IOException):
        log.error("the database failed", extra={"cause": str(error)})
        return StoreUnavailable("The store of this node has a fault and is looked after; send the query again later.")
    if isinstance(error, duckdb.NotImplementedException) and _CASE_CLASH in str(error):
        return CareNeeded()
    return InvalidQuery(_in_short(error))


def _in_short(error: duckdb.Error) -> str:
    """The first line, and the one that names what may have been meant. Never the statement, which is ours."""
    first, *rest = str(error).splitlines()
    return "\n".join([first, *(line for line in rest if line.startswith("Candidate bindings"))])
