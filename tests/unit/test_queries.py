"""The query server over its Unix socket: what is said when, and how queries end that do not end by themselves."""

import contextlib
import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import duckdb
import msgspec
import pytest

from novamesh.datadir import DataDirectory
from novamesh.errors import QueryTimeout, RequestError
from novamesh.store import queries
from novamesh.store.admin import Admin
from novamesh.store.contract import (
    DATA,
    END,
    ERROR,
    HEAD,
    MESSAGE,
    Counters,
    QueryRequest,
    Recount,
    RecountAnswer,
    RecountRequest,
    StatusRequest,
    StoreStatus,
    TypesChanged,
    decode_error,
)
from novamesh.store.queries import EXIT_STUCK_QUERY, INTERRUPT_GRACE_S, Limits, QueryServer, Running, Watchdog
from novamesh.store.turns import Ticket
from tests.hostile import is_answered
from tests.support import wait_for
from tests.unit.store_files import Store, named

RECOUNT = RecountAnswer({"default": Recount(7, 1, 0, 3, 2, Counters(6, 3, 1, 2))})
STATUS = StoreStatus(backlog_bytes=1, lag_s=2.5, damaged=3, stored=4, duplicates=5, quarantined=6, loader_error="full")
# Takes hours, and can be interrupted at any time.
HEAVY = "SELECT count(*) FROM range(1000000000) a(i), range(1000000) b(j) WHERE (i * j) % 7 = 3"
# Fails when the first rows have long been sent: DuckDB works some 100,000 rows ahead.
LATE = "SELECT CASE WHEN i < 900000 THEN 'good' ELSE error('too late') END AS v FROM range(910000) t(i)"
SOON = "SELECT CASE WHEN i < 1 THEN 1 ELSE CAST('x' || i AS INT) END AS v FROM range(2) t(i)"

Messages = list[tuple[bytes, bytes]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        yield made


@pytest.fixture
def serve(store: Store, tmp_path: Path) -> Iterator[Callable[..., "Server"]]:
    with contextlib.ExitStack() as servers:

        def start(time_limit_s: float = 60, max_concurrent: int = 4, result_bytes: int = 2**28) -> "Server":
            path = tmp_path / "store.sock"
            limits = Limits(time_limit_s, max_concurrent, 60, 1, result_bytes)
            answers = {StatusRequest: lambda _: STATUS, RecountRequest: lambda _: RECOUNT}
            server = QueryServer(store.database, path, answers, limits, _admin(store).hold)
            server.start()
            servers.callback(server.close)
            return Server(server, path)

        yield start


def _admin(store: Store) -> Admin:
    directory = DataDirectory(store.config.data_path)
    return Admin(store.database, store.loader, directory, store.config.retention_days, threading.Event())


class Server:
    """A running server, and what an edge does with it."""

    def __init__(self, server: QueryServer, path: Path) -> None:
        self.server = server
        self.path = path

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(60)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            raise
        return client

    def ask(self, sql: str, kind: str = "json", limit: int = 1_000_000, **names: str) -> Messages:
        with self.connect() as client:
            client.sendall(request(sql, kind, limit, **names))
            return messages(client)

    def has_room(self) -> bool:
        """Whether a short query is answered within its time: at the latest when the machine is not busy."""
        return kinds(self.ask("SELECT 1"))[-1] == END

    def under_way(self) -> bool:
        """Whether a query is being run."""
        return bool(self.server._watchdog._running)


def request(sql: str, kind: str = "json", limit: int = 1_000_000, space: str = "default", **names: str) -> bytes:
    return msgspec.json.encode(QueryRequest(space=space, sql=sql, names=names, format=kind, limit=limit)) + b"\n"


def messages(client: socket.socket) -> Messages:
    """Everything up to the end of the stream, which comes after a whole message."""
    data = b"".join(iter(lambda: client.recv(1 << 20), b""))
    found: Messages = []
    while data:
        kind, size = MESSAGE.unpack_from(data)
        body, data = data[MESSAGE.size : MESSAGE.size + size], data[MESSAGE.size + size :]
        assert len(body) == size
        found.append((kind, body))
    return found


def kinds(answer: Messages) -> list[bytes]:
    return [kind for kind, _ in answer]


def body(answer: Messages) -> bytes:
    return b"".join(part for kind, part in answer if kind == DATA)


def error(answer: Messages) -> RequestError:
    assert answer[-1][0] == ERROR
    found = decode_error(answer[-1][1])
    assert isinstance(found, RequestError)
    return found


# ---- What is said ---------------------------------------------------------------------------------------


def test_the_socket_is_the_owners_alone(serve: Callable[..., Server]) -> None:
    mode = serve().path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_socket_left_behind_is_replaced(serve: Callable[..., Server], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(str(tmp_path / "store.sock"))
    assert kinds(serve().ask("SELECT 1")) == [HEAD, DATA, DATA, END]


@pytest.mark.parametrize("rows", [0, 1, 1023, 1024, 1025, 5000])
def test_head_data_end(serve: Callable[..., Server], rows: int) -> None:
    answer = serve().ask(f"SELECT i AS c FROM range({rows}) t(i) ORDER BY i", c="count(*)")
    said = kinds(answer)
    assert (said[0], said[-1], set(said[1:-1])) == (HEAD, END, {DATA})
    document = json.loads(body(answer))
    assert document["columns"] == ["count(*)"]
    assert document["rows"] == [[n] for n in range(rows)]
    assert (document["meta"]["rows"], document["meta"]["truncated"]) == (rows, False)


def test_a_query_that_was_described_before_is_answered_as_it_was(serve: Callable[..., Server]) -> None:
    server = serve()
    first = json.loads(body(server.ask("SELECT 1::UTINYINT AS c, now() AS t", c="one")))
    again = json.loads(body(server.ask("SELECT 1::UTINYINT AS c, now() AS t", c="other")))
    assert (first["columns"], again["columns"]) == (["one", "t"], ["other", "t"])
    assert first["meta"]["types"] == again["meta"]["types"] == ["UTINYINT", "TIMESTAMP WITH TIME ZONE"]


def test_the_types_of_a_query_with_placeholders_are_those_of_its_values(serve: Callable[..., Server]) -> None:
    server = serve()
    for value, kind in ((1, "INTEGER"), ("x", "VARCHAR"), ([1.5], "DOUBLE[]"), (None, '"NULL"'), (2, "INTEGER")):
        with server.connect() as client:
            asked = QueryRequest("default", "SELECT $v AS v", {}, "json", 10, parameters={"v": value})
            client.sendall(msgspec.json.encode(asked) + b"\n")
            answer = json.loads(body(messages(client)))
        assert answer["rows"] == [[value]]
        assert answer["meta"]["types"] == [kind.strip('"')]


def test_what_fails_because_of_other_types_is_told_so(serve: Callable[..., Server]) -> None:
    with serve().connect() as client:
        sql = "SELECT 'x'::VARCHAR::INTEGER FROM range(3)"
        client.sendall(msgspec.json.encode(QueryRequest("default", sql, {}, "json", 10, relied={"properties.k": "X"})))
        client.sendall(b"\n")
        answer = messages(client)
    assert kinds(answer) == [ERROR]
    assert isinstance(decode_error(answer[0][1]), TypesChanged)


@pytest.mark.parametrize(("limit", "truncated"), [(0, True), (1, True), (1024, True), (2999, True), (3000, False)])
@pytest.mark.parametrize("kind", ["json", "ndjson", "csv"])
def test_no_more_rows_than_the_limit(serve: Callable[..., Server], kind: str, limit: int, truncated: bool) -> None:
    text = body(serve().ask("SELECT i FROM range(3000) t(i)", kind, limit))
    if kind == "csv":
        assert len(text.splitlines()) == limit + 1
        return
    meta = json.loads(text if kind == "json" else text.splitlines()[-1])["meta"]
    assert (meta["rows"], meta["truncated"]) == (limit, truncated)
    if kind == "json":
        assert len(json.loads(text)["rows"]) == limit


def test_a_space_without_events_can_be_asked(serve: Callable[..., Server], store: Store) -> None:
    server = serve()
    assert json.loads(body(server.ask('SELECT count(*) FROM "p_default".events')))["rows"] == [[0]]
    store.take(named("a"))
    assert json.loads(body(server.ask('SELECT event FROM "p_default".events')))["rows"] == [["a"]]


def test_status(serve: Callable[..., Server]) -> None:
    with serve().connect() as client:
        client.sendall(msgspec.json.encode(StatusRequest()) + b"\n")
        answer = messages(client)
    assert kinds(answer) == [DATA, END]
    assert msgspec.json.decode(answer[0][1], type=StoreStatus) == STATUS


def test_recount(serve: Callable[..., Server]) -> None:
    with serve().connect() as client:
        client.sendall(msgspec.json.encode(RecountRequest()) + b"\n")
        answer = messages(client)
    assert kinds(answer) == [DATA, END]
    assert msgspec.json.decode(answer[0][1], type=RecountAnswer) == RECOUNT


# ---- Errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv"])
@pytest.mark.parametrize(
    ("sql", "code", "text"),
    [
        ("SELECT no_such_column FROM range(1) t(i)", "invalid_query", "no_such_column"),
        (SOON, "invalid_query", "x1"),
        ("SELECT * FROM read_text('/etc/hostname')", "query_not_allowed", "may not be used"),
    ],
)
def test_an_error_before_the_first_row(serve: Callable[..., Server], kind: str, sql: str, code: str, text: str) -> None:
    answer = serve().ask(sql, kind)
    assert kinds(answer) == [ERROR]
    assert error(answer).code == code
    assert text in error(answer).message
    assert "SELECT" not in error(answer).message


def test_an_error_midway_in_json(serve: Callable[..., Server]) -> None:
    answer = serve().ask(LATE)
    assert (kinds(answer)[0], kinds(answer)[-1]) == (HEAD, END)
    document = json.loads(body(answer))
    assert document["error"] == "invalid_query"
    assert "too late" in document["message"]
    assert "meta" not in document
    assert document["rows"] == [["good"]] * len(document["rows"]) != []


def test_an_error_midway_in_ndjson(serve: Callable[..., Server]) -> None:
    answer = serve().ask(LATE, "ndjson")
    assert (kinds(answer)[0], kinds(answer)[-1]) == (HEAD, END)
    *rows, last = map(json.loads, body(answer).splitlines())
    assert last["error"] == "invalid_query"
    assert rows == [{"v": "good"}] * len(rows) != []


def test_an_error_midway_in_csv_has_no_end(serve: Callable[..., Server]) -> None:
    answer = serve().ask(LATE, "csv")
    assert kinds(answer)[0] == HEAD
    assert END not in kinds(answer)
    assert error(answer).code == "invalid_query"


@pytest.mark.parametrize("data", [b"\n", b"{}\n", b"[1, 2\n", b'{"type":"other"}\n', b'{"type":"query"}\n', b"\xff\n"])
def test_a_malformed_request_is_answered_and_the_server_goes_on(serve: Callable[..., Server], data: bytes) -> None:
    server = serve(max_concurrent=1)
    with server.connect() as client:
        client.sendall(data)
        assert error(messages(client)).code == "internal_error"
    assert kinds(server.ask("SELECT 1"))[-1] == END


def test_a_request_without_end_is_refused(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "REQUEST_LIMIT", 1000)
    with serve().connect() as client:
        client.sendall(b" " * 1001)
        assert error(messages(client)).code == "internal_error"


def test_a_client_that_says_nothing_does_no_harm(serve: Callable[..., Server]) -> None:
    server = serve(max_concurrent=1)
    server.connect().close()
    with server.connect():
        assert kinds(server.ask("SELECT 1"))[-1] == END


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")])
def test_a_server_short_of_something_goes_on(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    take = QueryServer._take
    errors = [error] * 3

    def failing(self: QueryServer) -> None:
        if errors:
            raise errors.pop()
        take(self)

    monkeypatch.setattr(queries, "ACCEPT_RETRY_S", 0)
    monkeypatch.setattr(QueryServer, "_take", failing)
    assert kinds(serve().ask("SELECT 1"))[-1] == END
    assert not errors


def test_a_result_that_is_too_large_says_so(serve: Callable[..., Server]) -> None:
    server = serve(result_bytes=100_000)
    large = "SELECT repeat('x', 100) AS x FROM range(100000)"
    answer = server.ask(large)
    assert kinds(answer)[-1] == END
    assert json.loads(body(answer))["error"] == "query_too_large"
    assert len(body(answer)) < 400_000
    assert error(server.ask(large, "csv")).code == "query_too_large"
    assert "error" not in json.loads(body(server.ask("SELECT repeat('x', 100) AS x FROM range(10)")))


def test_a_closed_server_takes_no_more_requests(serve: Callable[..., Server]) -> None:
    server = serve()
    assert kinds(server.ask("SELECT 1"))[-1] == END
    server.server.close()
    with pytest.raises(ConnectionRefusedError):
        server.connect()


# ---- Queries that do not end by themselves --------------------------------------------------------------


def test_the_query_of_a_client_that_is_gone_is_interrupted(serve: Callable[..., Server]) -> None:
    server = serve(max_concurrent=1)
    with server.connect() as client:
        client.sendall(request(HEAVY))
        wait_for(server.under_way, what="the query")
    assert json.loads(body(server.ask("SELECT 42")))["rows"] == [[42]]


def test_a_query_over_its_time_is_ended(serve: Callable[..., Server]) -> None:
    server = serve(time_limit_s=0.3, max_concurrent=1)
    answer = server.ask(HEAVY)
    assert kinds(answer) == [ERROR]
    assert isinstance(error(answer), QueryTimeout)
    assert "0.3 s" in error(answer).message
    wait_for(server.has_room, what="the place of the query")


def test_a_query_that_finds_no_slot_is_told_so(serve: Callable[..., Server]) -> None:
    server = serve(time_limit_s=0.3, max_concurrent=1)
    client, _peer = socket.socketpair()
    with client, _peer:
        held = Ticket(client, QueryRequest("default", "", {}, "json", 1), 0.0)
        assert server.server._turns.enter(held)
        assert error(server.ask("SELECT 1")).code == "store_unavailable"
        assert server.server._turns.leave(held) is None
    wait_for(server.has_room, what="the place of the query")


def test_a_client_that_does_not_read_is_no_stuck_query(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[int] = []
    monkeypatch.setattr(queries, "LAST_WORD_S", 0.01)
    monkeypatch.setattr(queries, "INTERRUPT_GRACE_S", 20.0)
    monkeypatch.setattr(queries, "Watchdog", lambda: Watchdog(given_up.append))
    server = serve(time_limit_s=0.3, max_concurrent=1)
    with server.connect() as client:
        client.sendall(request("SELECT repeat('x', 10000) FROM range(100000)"))
        wait_for(lambda: is_answered(client), what="the query")
        wait_for(lambda: not server.under_way(), what="the end of the query")
    wait_for(server.has_room, what="the place of the query")
    assert given_up == []


class Cursor:
    """A cursor that ignores interrupts."""

    def __init__(self) -> None:
        self.interrupts = 0

    def interrupt(self) -> None:
        self.interrupts += 1


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def watched(client: socket.socket) -> tuple[Running, Cursor]:
    cursor = Cursor()
    return Running(cast(duckdb.DuckDBPyConnection, cursor), client, deadline=100.0), cursor


def test_the_watchdog_leaves_a_query_alone_within_its_time(pair: tuple[socket.socket, socket.socket]) -> None:
    given_up: list[int] = []
    running, cursor = watched(pair[0])
    Watchdog(given_up.append).look([running], 100.0)
    assert (cursor.interrupts, running.interrupted_at, given_up) == (0, None, [])


def test_the_watchdog_gives_up_on_a_query_that_ignores_interrupts(pair: tuple[socket.socket, socket.socket]) -> None:
    given_up: list[int] = []
    running, cursor = watched(pair[0])
    watchdog = Watchdog(given_up.append)
    watchdog.look([running], 100.5)
    watchdog.look([running], 100.5 + INTERRUPT_GRACE_S)
    assert (cursor.interrupts, running.interrupted_at, running.reason) == (2, 100.5, QueryTimeout)
    assert given_up == []
    watchdog.look([running], 100.6 + INTERRUPT_GRACE_S)
    assert given_up == [EXIT_STUCK_QUERY]


def test_the_watchdog_sees_that_a_client_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    running, cursor = watched(ours)
    theirs.close()
    given_up: list[int] = []
    Watchdog(given_up.append).look([running], 1.0)
    assert (cursor.interrupts, running.interrupted_at, running.reason) == (1, 1.0, None)
    # The first reason stays, for nobody is there to be told another.
    Watchdog(given_up.append).look([running], 101.0)
    assert (running.interrupted_at, running.reason) == (1.0, None)


def test_the_watchdog_looks_only_at_queries_under_way(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that has left the block has closed its socket: looking at it would end the watchdog."""
    looks: list[list[Running]] = []
    running, _ = watched(pair[0])
    watchdog = Watchdog()

    class Enough(Exception):
        pass

    def look(queries: list[Running], now: float) -> None:
        assert not watchdog._lock.acquire(blocking=False)
        looks.append(queries)
        raise Enough

    monkeypatch.setattr(watchdog, "look", look)
    with watchdog.watch(running), pytest.raises(Enough):
        watchdog.run()
    assert looks == [[running]]
