"""HTTP itself: what clients do that no library would, and that the node stays well through all of it."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.api.contract import connected, expect_error, head, read_answer, read_to_end, stored
from tests.support import DEADLINE_S, RunningNode, running_node, wait_for

EVENT = b'{"event":"e"}'


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that waits for headers and bodies only a moment."""
    data = tmp_path_factory.mktemp("impatient") / "data"
    with running_node(data, header_timeout_ms=1500, body_timeout_ms=1500, workers=1) as node:
        yield node


@pytest.fixture(autouse=True)
def well(shared_node: RunningNode) -> Iterator[None]:
    """After each of these tests the node answers as before."""
    edge = shared_node.children()["edge"]
    yield
    # A store that was too busy to answer is no harm that was done.
    wait_for(lambda: httpx.get(shared_node.url + "/v1/health").json()["status"] == "ok", what="a node that is well")
    assert shared_node.post("/v1/ingest", EVENT).status_code == 202
    assert shared_node.children()["edge"] == edge
    assert "Traceback" not in shared_node.log


def authorized(node: RunningNode) -> str:
    return f"Authorization: Bearer {node.key}"


# ---- paths and methods


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/", "/v1/health/", "//v1/health", "/v2/ingest", "/%00", "/%ff"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "BREW"])
def test_unknown_paths(client: httpx.Client, path: str, method: str) -> None:
    body = expect_error(client.request(method, f"http://{client.base_url.netloc.decode()}{path}"), 404, "not_found")
    assert "/v1/ingest" in body["message"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD"),
        ("/v1/health", "GET, HEAD"),
        ("/v1/ready", "GET, HEAD"),
        ("/v1/query", "GET, POST, HEAD"),
        ("/v1/export", "GET, HEAD"),
        ("/v1/tail", "GET, HEAD"),
        ("/v1/batches/b_0", "GET, HEAD"),
        ("/v1/ingest", "POST"),
        ("/v1/batch", "POST"),
    ],
)
def test_methods(client: httpx.Client, path: str, allowed: str) -> None:
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - set(allowed.split(", ")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        if method != "HEAD":
            expect_error(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/", "/v1/health", "/v1/ready"])
def test_head(client: httpx.Client, path: str) -> None:
    got, asked = client.get(path), client.head(path)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]


def test_percent_encoded_and_absolute_targets(shared_node: RunningNode) -> None:
    for target in ("/v1/%68ealth", "http://elsewhere.example/v1/health"):
        with connected(shared_node) as connection:
            connection.sendall(head(f"GET {target}"))
            assert read_answer(connection)[0] == 200


# ---- versions and connections


def test_http_1_0(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.0\r\n\r\n")
        content = read_to_end(connection)
    assert content.startswith(b"HTTP/1.0 200 OK\r\n")
    assert content.endswith(b"}")


def test_a_streamed_answer_over_http_1_0_ends_with_the_connection(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        line = f"GET /v1/query?q=SELECT+range+FROM+range(3)&format=csv HTTP/1.0\r\n{authorized(shared_node)}\r\n\r\n"
        connection.sendall(line.encode())
        assert read_to_end(connection).endswith(b"\r\n\r\nrange\r\n0\r\n1\r\n2\r\n")


def test_http_2_with_prior_knowledge(shared_node: RunningNode, user: str) -> None:
    with shared_node.client(http1=False, http2=True) as client:
        answer = client.get("/v1/health")
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
        assert client.post("/v1/ingest", json={"event": "e", "user_id": user}).status_code == 202
        # No Content-Length: in HTTP/2 a body of unknown size is nothing special.
        content = iter([b'{"event":"e",', f'"user_id":"{user}"}}'.encode()])
        assert client.post("/v1/ingest", content=content).status_code == 202
        stored(shared_node, user, 2)
        assert len(client.get("/v1/query", params={"q": "SELECT 1 FROM range(500)"}).json()["rows"]) == 500
        expect_error(client.get("/v1/nothing"), 404, "not_found")
        expect_error(client.post("/v1/ingest", content=b"{"), 400, "invalid_json")


def test_many_http_2_streams_at_once(shared_node: RunningNode) -> None:
    async def post_all() -> list[httpx.Response]:
        options: dict[str, Any] = {"base_url": shared_node.url, "headers": shared_node.headers, "timeout": DEADLINE_S}
        async with httpx.AsyncClient(http1=False, http2=True, **options) as client:
            return await asyncio.gather(*(client.post("/v1/ingest", content=EVENT) for _ in range(100)))

    assert [answer.status_code for answer in asyncio.run(post_all())] == [202] * 100


def test_pipelined_requests_are_answered_in_order(shared_node: RunningNode) -> None:
    post = head("POST /v1/ingest", authorized(shared_node), f"Content-Length: {len(EVENT)}") + EVENT
    close = head("GET /v1/nothing", "Connection: close")
    with connected(shared_node) as connection:
        connection.sendall(head("GET /v1/health") + post + post + head("GET /v1/query") + close)
        content = read_to_end(connection).decode()
    assert [part.split()[0] for part in content.split("HTTP/1.1 ")[1:]] == ["200", "202", "202", "401", "404"]


def test_a_body_nobody_asked_for_does_not_spoil_the_next_request(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        for _ in range(3):
            connection.sendall(head("GET /v1/health", f"Content-Length: {len(EVENT)}") + EVENT)
            assert read_answer(connection)[0] == 200


def test_a_body_in_single_bytes(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head("POST /v1/ingest", authorized(shared_node), f"Content-Length: {len(EVENT)}") + EVENT:
            connection.sendall(bytes([byte]))
        assert read_answer(connection)[0] == 202


# ---- Expect


def test_expect_continue(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        headers = (authorized(shared_node), f"Content-Length: {len(EVENT)}", "Expect: 100-continue")
        connection.sendall(head("POST /v1/ingest", *headers))
        assert read_answer(connection) == (100, b"")
        connection.sendall(EVENT)
        assert read_answer(connection)[0] == 202


@pytest.mark.parametrize(("key", "length", "status"), [("x", 10, 401), (None, 100_000_000, 413)])
def test_a_body_that_is_refused_is_not_asked_for(
    shared_node: RunningNode, key: str | None, length: int, status: int
) -> None:
    with connected(shared_node) as connection:
        headers = (f"Authorization: Bearer {key or shared_node.key}", f"Content-Length: {length}")
        connection.sendall(head("POST /v1/ingest", *headers, "Expect: 100-continue"))
        assert read_answer(connection)[0] == status


@pytest.mark.parametrize(
    ("path", "key", "size", "status"),
    [("/v1/batch", "x", 2_000_000, 401), ("/v1/batch", None, 15_000_000, 413), ("/nothing", None, 2_000_000, 404)],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_a_large_body_and_reads_then_gets_the_refusal(
    shared_node: RunningNode, path: str, key: str | None, size: int, status: int, chunked: bool
) -> None:
    body = b"x" * size
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body) if chunked else body
    with connected(shared_node) as connection:
        connection.sendall(head(f"POST {path}", f"Authorization: Bearer {key or shared_node.key}", length) + sent)
        assert read_answer(connection)[0] == status
        if status == 413:
            assert connection.recv(1) == b""  # closed, and not by a reset
        else:
            connection.sendall(head("GET /v1/health"))
            assert read_answer(connection)[0] == 200


def test_who_does_not_go_on_with_a_refused_body_is_left(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        connection.sendall(head("POST /v1/batch", "Content-Length: 2000000") + b"x" * 1000)
        assert read_answer(connection)[0] == 401
        assert read_to_end(connection) == b""


def test_a_chunked_body_without_end_is_refused_when_it_is_too_large(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        connection.sendall(head("POST /v1/ingest", authorized(shared_node), "Transfer-Encoding: chunked"))
        for _ in range(300):
            try:
                connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
            except OSError:
                break  # answered and closed
        status, body = read_answer(connection)
    assert (status, json.loads(body)["error"]) == (413, "payload_too_large")


# ---- slow and silent


def test_half_a_header_then_silence(impatient: RunningNode) -> None:
    with connected(impatient) as connection:
        connection.sendall(b"POST /v1/ingest HTTP/1.1\r\nHost: no")
        assert read_to_end(connection) == b""


@pytest.mark.parametrize("headers", [["Content-Length: 100"], ["Transfer-Encoding: chunked"]])
def test_half_a_body_then_silence(impatient: RunningNode, headers: list[str]) -> None:
    with ExitStack() as stack:
        connections: list[socket.socket] = []
        for _ in range(20):  # each sends at once: before it does, it may be silent only a moment
            connection = stack.enter_context(connected(impatient))
            connections.append(connection)
            connection.sendall(head("POST /v1/ingest", authorized(impatient), *headers) + b'5\r\n{"eve')
        # Others are served while these wait.
        assert impatient.post("/v1/ingest", EVENT).status_code == 202
        for connection in connections:
            status, body = read_answer(connection)
            assert (status, json.loads(body)["error"]) == (408, "request_timeout")
            assert read_to_end(connection) == b""


def test_a_connection_that_is_not_used_is_closed(impatient: RunningNode) -> None:
    with connected(impatient) as connection:
        connection.sendall(head("GET /v1/health"))
        assert read_answer(connection)[0] == 200
        assert read_to_end(connection) == b""


def test_clients_that_go_away_in_the_middle(shared_node: RunningNode, user: str) -> None:
    whole = b'{"event":"e","user_id":"%s"}' % user.encode()
    for _ in range(20):
        for headers, body in (
            ("Content-Length: 1000", whole),
            ("Content-Length: 1000", b""),
            ("Transfer-Encoding: chunked", b"40\r\n" + whole[:-1]),
            ("Transfer-Encoding: chunked", b""),
        ):
            with connected(shared_node) as connection:
                connection.sendall(head("POST /v1/ingest", authorized(shared_node), headers) + body)
    shared_node.settle()
    stored(shared_node, user, 0)


# ---- what is not HTTP


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
        (b"HELLO\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nname with space: x\r\n\r\n", 400),
        (b"POST /v1/ingest HTTP/1.1\r\nContent-Length: abc\r\n\r\n", 400),
        (b"POST /v1/ingest HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        (b"POST /v1/ingest HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 2_000_000 + b"\r\n\r\n", 431),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_http(shared_node: RunningNode, content: bytes, status: int) -> None:
    """Refused by the server before there is a path, so with a status alone, and the connection is closed."""
    with connected(shared_node) as connection:
        try:
            connection.sendall(content)
        except OSError:
            return  # refused before it had all of it
        answer = read_to_end(connection)
    assert not answer or answer.startswith(b"HTTP/1.1 %d " % status), answer


def test_chunks_that_are_none(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        connection.sendall(head("POST /v1/ingest", authorized(shared_node), "Transfer-Encoding: chunked") + b"zz\r\n")
        assert read_answer(connection)[0] == 400


def test_a_long_url(client: httpx.Client) -> None:
    sql = "SELECT '" + "x" * 50_000 + "'"
    assert client.get("/v1/query", params={"q": sql}).json()["rows"] == [["x" * 50_000]]
    expect_error(client.get("/" + "a" * 60_000), 404, "not_found")
    many = "&".join(f"a{n}=1" for n in range(100))
    expect_error(client.get(f"/v1/query?{many}"), 400, "invalid_parameter")


def test_two_meanings_of_length(shared_node: RunningNode, user: str) -> None:
    """A Content-Length beside chunks must not make two requests of one (RFC 9112, 6.3)."""
    chunk = b'{"event":"e","user_id":"%s"}' % user.encode()
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunk), chunk)
    headers = (authorized(shared_node), "Content-Length: 4", "Transfer-Encoding: chunked")
    with connected(shared_node) as connection:
        connection.sendall(head("POST /v1/ingest", *headers) + body)
        content = read_to_end(connection)
    assert content.count(b"HTTP/1.1") == 1
    assert b"connection: close" in content
    stored(shared_node, user, 1)
