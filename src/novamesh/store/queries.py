"""The query server: a Unix socket, a thread for each query that runs, a watchdog over all of them."""

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgspec

from novamesh.errors import InternalError, QueryTimeout, QueryTooLarge, RequestError, StoreUnavailable
from novamesh.logs import CONTEXT
from novamesh.store import slow
from novamesh.store.answers import Answer, ClientGone, Description, out_of_memory, reported
from novamesh.store.contract import (
    DATA,
    END,
    REQUEST_LIMIT,
    ExtentAnswer,
    ExtentRequest,
    HoldAnswer,
    HoldRequest,
    OtherSqlNeeded,
    QueryRequest,
    Question,
    Request,
    SchemaRequest,
    TypesAnswer,
    TypesChanged,
    TypesRequest,
    error_message,
    message,
)
from novamesh.store.damage import is_damage
from novamesh.store.duckdb import Database
from novamesh.store.listener import listen
from novamesh.store.memory import give_back
from novamesh.store.schema import Schemas
from novamesh.store.turns import Ticket, Turns

log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 0.02
# A query that does not end this long after it was interrupted never will: the process is replaced.
INTERRUPT_GRACE_S = 5.0
EXIT_STUCK_QUERY = 70
QUERY_THREAD = "query"
ACCEPT_RETRY_S = 0.1
# What a client has to take the end of an answer when the query's time is over.
LAST_WORD_S = 0.5
# An export goes at the speed of its reader, but it must go.
STALL_S = 60.0
# An edge sends its request at once.
READ_S = 10.0
# Threads for what is short, beside those of the queries that run.
SHORT_REQUESTS = 64
_decoder = msgspec.json.Decoder(Request)

# What answers each kind of request that is no query.
Answers = Mapping[Any, Callable[[Any], msgspec.Struct]]
# What answers a HoldRequest: it is told where the client is, and how to answer it.
Hold = Callable[[socket.socket, Callable[[HoldAnswer], None]], None]


class Limits(NamedTuple):
    """What queries may take, and exports, which go at the speed of their reader. What takes ``slow_s`` is logged; 0:
    nothing is."""

    time_s: float
    concurrent: int
    export_time_s: float
    exports: int
    result_bytes: int
    key_concurrent: int = 4
    key_waiting: int = 32
    key_exports: int = 1
    slow_s: float = 0


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
        answers: Answers,
        limits: Limits,
        hold: Hold,
    ) -> None:
        self._database = database
        self._answers: Answers = {ExtentRequest: self._extent, TypesRequest: self._types, **answers}
        self._limits = limits
        self._hold = hold
        self._turns = Turns(limits.concurrent, limits.key_concurrent, limits.key_waiting, limits.time_s)
        self._export_turns = Turns(limits.exports, limits.key_exports, limits.key_waiting, limits.time_s)
        self._threads = threading.BoundedSemaphore(SHORT_REQUESTS + limits.concurrent + limits.exports)
        self._watchdog = Watchdog()
        self._descriptions: dict[str, Description] = {}
        self._schemas = Schemas(database)
        self._closed = threading.Event()
        self._listener = listen(path)

    def start(self) -> None:
        """Serve from daemon threads."""
        threading.Thread(target=self._watchdog.run, name="query-watchdog", daemon=True).start()
        for turns in (self._turns, self._export_turns):
            threading.Thread(target=turns.tend, name="query-turns", daemon=True).start()
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
        self._threads.acquire()  # what cannot be taken now waits to be accepted
        try:
            threading.Thread(target=self._serve, args=(client,), name=QUERY_THREAD, daemon=True).start()
        except RuntimeError:
            self._threads.release()
            client.close()
            raise

    def _serve(self, client: socket.socket) -> None:
        try:
            ticket = self._receive(client)
            while ticket is not None:
                ticket = self._run(ticket)
        finally:
            self._threads.release()

    def _receive(self, client: socket.socket) -> Ticket | None:
        """Read a request and answer it, unless it is a query: returned if it may run now, else it waits its turn."""
        ticket: Ticket | None = None
        runs = False
        try:
            with self._reporting(client):
                request = _read_request(client)
                if isinstance(request, QueryRequest | SchemaRequest):
                    asked = Ticket(client, request, time.monotonic())
                    runs = self._turns_for(request).enter(asked)
                    ticket = asked  # from here on somebody else closes it
                elif isinstance(request, HoldRequest):
                    self._hold(client, lambda answer: _tell(client, answer))
                else:
                    _tell(client, self._told(request))
        finally:
            if ticket is None:
                client.close()
        return ticket if runs else None

    def _run(self, ticket: Ticket) -> Ticket | None:
        """Run one query to its end. Returns the one whose turn it is then."""
        CONTEXT.set(ticket.request.named)
        try:
            with ticket.client, self._reporting(ticket.client):
                self._answer(ticket.client, ticket.request)
        finally:
            following = self._turns_for(ticket.request).leave(ticket)
        return following

    def _turns_for(self, request: QueryRequest | SchemaRequest) -> Turns:
        export = isinstance(request, QueryRequest) and request.limit is None
        return self._export_turns if export else self._turns

    def _answer(self, client: socket.socket, request: QueryRequest | SchemaRequest) -> None:
        if isinstance(request, QueryRequest):
            self._query(client, request)
        else:
            self._describe(client, request)

    @contextlib.contextmanager
    def _reporting(self, client: socket.socket) -> Iterator[None]:
        """Tell the client what goes wrong in the block, as far as there is one."""
        with contextlib.suppress(OSError, ClientGone):
            try:
                yield
            except (RequestError, OtherSqlNeeded) as error:
                if isinstance(error, QueryTooLarge):
                    give_back()  # before it is told: whoever asks next must not meet the limit because of it
                client.sendall(error_message(error))
            except (OSError, ClientGone):
                raise
            except Exception as error:
                self._note_damage(error)
                log.exception("a request to the store failed")
                client.sendall(error_message(InternalError("The query failed inside the node; its log says why.")))

    def _told(self, request: Question) -> msgspec.Struct:
        try:
            return self._answers[type(request)](request)
        except duckdb.Error as error:
            raise self._fault(error) from None
        except OSError as error:
            log.error("the files cannot be read or changed", extra={"cause": str(error)})
            raise StoreUnavailable("The disk of this node refused to read or change its files; see the log.") from None

    def _fault(self, error: duckdb.Error) -> StoreUnavailable:
        """What is told of the failure of a statement that is ours: the fault is in the database."""
        self._note_damage(error)
        log.error("a request to the store failed", exc_info=error)
        return StoreUnavailable("The store of this node has a fault and is looked after; try again later.")

    def _note_damage(self, error: Exception) -> None:
        if isinstance(error, duckdb.Error) and is_damage(error):
            self._database.damage = str(error)

    def _types(self, request: TypesRequest) -> TypesAnswer:
        return TypesAnswer(*self._database.path_types(request.space))

    def _extent(self, request: ExtentRequest) -> ExtentAnswer:
        self._database.ensure_space(request.space)
        return self._database.extent(request.space)

    def _query(self, client: socket.socket, request: QueryRequest) -> None:
        export = request.limit is None
        limits = self._limits
        time_limit_s = limits.export_time_s if export else limits.time_s
        with self._database.cursor() as cursor:
            running = Running(cursor, client, time.monotonic() + time_limit_s)
            reader = _Reader(running, export)
            answer = Answer(cursor, reader, request, limits.result_bytes, self._verify, self._descriptions)
            with self._watchdog.watch(running), self._noting(request, answer, reader):
                try:
                    self._database.ensure_space(request.space)
                    answer.send()
                except duckdb.Error as error:
                    self._note_damage(error)
                    answer.fail(reported(error, running.reason, time_limit_s))
                except QueryTooLarge as error:
                    answer.fail(error)
                except MemoryError:
                    answer.fail(out_of_memory())

    def _describe(self, client: socket.socket, request: SchemaRequest) -> None:
        limit_s = self._limits.time_s
        with self._database.cursor() as cursor:
            running = Running(cursor, client, time.monotonic() + limit_s)
            with self._watchdog.watch(running):
                try:
                    answer = self._schemas.of(cursor, request.space)
                except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
                    raise reported(error, running.reason, limit_s) from None
                except duckdb.Error as error:
                    raise self._fault(error) from None
        _tell(client, answer)

    @contextlib.contextmanager
    def _noting(self, request: QueryRequest, answer: Answer, reader: "_Reader") -> Iterator[None]:
        """Log the query if it was slow by itself, not by its reader."""
        started = time.monotonic()
        outcome = "answered"
        try:
            yield
        except BaseException as error:
            outcome = getattr(error, "code", type(error).__name__)
            raise
        finally:
            elapsed_s = time.monotonic() - started
            if 0 < self._limits.slow_s <= elapsed_s - reader.waited_s:
                slow.note(request, elapsed_s, reader.waited_s, answer.rows, answer.failure or outcome)

    def _verify(self, request: QueryRequest) -> None:
        if not self._database.holds(request.space, request.relied, shredded_only=request.shredded_only):
            raise TypesChanged


class _Reader:
    """The client's end of an answer. A client that reads slowly must not look like a stuck query."""

    def __init__(self, running: Running, export: bool) -> None:
        self.waited_s = 0.0
        self._running = running
        self._export = export

    def tell(self, data: bytes) -> None:
        began = time.monotonic()
        left_s = self._running.deadline - began
        # An interrupt does not end a send.
        self._running.client.settimeout(max(LAST_WORD_S, min(left_s, STALL_S) if self._export else left_s))
        try:
            self._running.client.sendall(data)
        finally:
            self.waited_s += time.monotonic() - began


def _tell(client: socket.socket, answer: msgspec.Struct) -> None:
    client.sendall(message(DATA, msgspec.json.encode(answer)) + message(END))


def _read_request(client: socket.socket) -> Request:
    data = b""
    client.settimeout(READ_S)
    while not data.endswith(b"\n"):
        part = client.recv(65536)
        if not part:
            raise ClientGone
        data += part
        if len(data) > REQUEST_LIMIT:
            raise InternalError("The request to the store is too large.")
    request: Request = _decoder.decode(data)
    return request
