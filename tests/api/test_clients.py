"""Slow, odd and broken clients: what they get, and that the node is as it was after all of them."""

import contextlib
import json
import re
import socket
from collections.abc import Callable

import httpx
import pytest

from tests.api.contract import connected, head, read_answer, read_to_end, stored
from tests.support import RunningNode, wait_for

EVENT = b'{"event": "e"}'


def lines(*parts: str) -> bytes:
    return "\r\n".join(parts).encode()


def post_head(node: RunningNode, *headers: str, path: str = "/v1/ingest") -> bytes:
    return head(f"POST {path}", f"Authorization: Bearer {node.key}", "Content-Type: application/json", *headers)


def expect_healthy(node: RunningNode) -> None:
    """It answers, and takes events."""
    assert httpx.get(node.url + "/v1/health").status_code == 200
    assert node.post("/v1/ingest", {"event": "e"}).status_code == 202


# ---- HEAD


@pytest.mark.parametrize("path", ["/", "/v1/health", "/v1/ready", "/none"])
def test_head_is_get_without_a_body(shared_node: RunningNode, path: str) -> None:
    key = f"Authorization: Bearer {shared_node.key}"
    with connected(shared_node) as connection:
        connection.sendall(head(f"HEAD {path}", key, "Connection: close"))
        content = read_to_end(connection)
    assert content.startswith(b"HTTP/1.1 404" if path == "/none" else b"HTTP/1.1 200")
    assert content.endswith(b"\r\n\r\n")
    assert content.count(b"\r\n\r\n") == 1
    assert len(re.findall(rb"\r\ncontent-length: [1-9]\d*\r\n", content)) == 1


# ---- versions and features


def test_http_1_0_with_a_body(shared_node: RunningNode) -> None:
    request = lines(
        "POST /v1/ingest HTTP/1.0", f"Authorization: Bearer {shared_node.key}", f"Content-Length: {len(EVENT)}", "", ""
    )
    with connected(shared_node) as connection:
        connection.sendall(request + EVENT)
        assert re.match(rb"HTTP/1\.[01] 202 ", read_to_end(connection))


@pytest.mark.parametrize("path", ["/", "/v1/health", "/v1/query?q=SELECT+1", "/v1/ingest", "/none"])
def test_head_has_no_body_over_http_2_either(shared_node: RunningNode, path: str) -> None:
    with shared_node.client(http1=False, http2=True) as client:
        answer = client.head(path)
        assert (answer.http_version, answer.content) == ("HTTP/2", b"")
        assert client.get("/v1/health").status_code == 200


def test_keep_alive(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        for _ in range(20):
            connection.sendall(post_head(shared_node, f"Content-Length: {len(EVENT)}") + EVENT)
            assert read_answer(connection)[0] == 202


def test_an_error_does_not_end_the_connection(shared_node: RunningNode) -> None:
    with connected(shared_node) as connection:
        for body, status in ((b"{", 400), (EVENT, 202), (b"[]", 400), (EVENT, 202)):
            connection.sendall(post_head(shared_node, f"Content-Length: {len(body)}") + body)
            assert read_answer(connection)[0] == status


def test_a_request_byte_by_byte(shared_node: RunningNode) -> None:
    request = post_head(shared_node, f"Content-Length: {len(EVENT)}") + EVENT
    with connected(shared_node) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(request)):
            connection.sendall(request[place : place + 1])
        assert read_answer(connection)[0] == 202


# ---- broken and hostile


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"\x00" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xab" * 200,  # a TLS greeting
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/ingest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"{}" * 1000,
    ],
    ids=range(12),
)
def test_garbage(shared_node: RunningNode, content: bytes) -> None:
    with connected(shared_node) as connection:
        connection.sendall(content)
        with contextlib.suppress(OSError):  # it may have been closed already
            connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)
    assert b" 5" not in answer.partition(b"\r\n")[0]
    assert b"Traceback" not in answer
    expect_healthy(shared_node)


def test_a_body_that_ends_before_its_length_is_not_an_event(shared_node: RunningNode, user: str) -> None:
    event = json.dumps({"event": "e", "user_id": user}).encode()
    with connected(shared_node) as connection:
        connection.sendall(post_head(shared_node, f"Content-Length: {len(event) + 1}") + event)
        connection.shutdown(socket.SHUT_WR)
        assert b" 202 " not in read_to_end(connection)
    shared_node.settle()
    stored(shared_node, user, 0)


def test_chunks_that_end_too_soon_are_not_an_event(shared_node: RunningNode, user: str) -> None:
    event = json.dumps({"event": "e", "user_id": user}).encode()[:-1]
    with connected(shared_node) as connection:
        connection.sendall(post_head(shared_node, "Transfer-Encoding: chunked") + b"%x\r\n%s\r\n" % (len(event), event))
        connection.shutdown(socket.SHUT_WR)
        assert b" 202 " not in read_to_end(connection)
    shared_node.settle()
    stored(shared_node, user, 0)


@pytest.mark.parametrize(
    "headers", [["X-Large: " + "x" * 1_000_000], [f"X-{number}: x" for number in range(1000)]], ids=["large", "many"]
)
def test_headers_that_are_too_large(shared_node: RunningNode, headers: list[str]) -> None:
    with connected(shared_node) as connection:
        try:
            connection.sendall(head("GET /v1/health", *headers))
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        else:
            answer = read_to_end(connection)
    assert re.match(rb"HTTP/1\.1 4(00|31) ", answer) or answer == b""
    expect_healthy(shared_node)


# ---- slow


def test_a_body_that_drips_is_ended_too(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(body_timeout_ms=300, workers=1)
    with connected(node) as connection:
        connection.settimeout(0.05)
        connection.sendall(post_head(node, "Content-Length: 100000"))
        answers: list[bytes] = []

        def answered() -> bool:
            try:
                connection.sendall(b" ")
                answers.append(connection.recv(65536))
            except TimeoutError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                answers.append(b"")
            return True

        wait_for(answered, what="an end")
    assert re.match(rb"HTTP/1\.1 408 ", answers[0]) or answers[0] == b""
    # On a busy machine a body that is whole may take longer than it has here.
    wait_for(lambda: node.post("/v1/ingest", {"event": "e"}).status_code == 202, what="an event in time")


def test_many_silent_connections_are_no_harm(shared_node: RunningNode) -> None:
    silent = [socket.create_connection(("127.0.0.1", int(shared_node.url.rpartition(":")[2]))) for _ in range(200)]
    try:
        for connection in silent[::2]:
            connection.sendall(b"POST /v1/ingest HTTP/1.1\r\n")
        expect_healthy(shared_node)
    finally:
        for connection in silent:
            connection.close()
    expect_healthy(shared_node)


def test_the_node_is_as_it_was(shared_node: RunningNode) -> None:
    """After all of the above: no worker has died, no request has failed inside."""
    assert shared_node.process.poll() is None
    assert len(shared_node.children()["edge"]) == 1
    for words in ("a request failed", "Traceback", "panicked", "starting it again"):
        assert words not in shared_node.log
