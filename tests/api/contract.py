"""What holds for every answer, and how to make requests that HTTP libraries would not."""

import json
import socket
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.support import DEADLINE_S, RunningNode, wait_for

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

__all__ = ["JSON", "deflated", "encoded", "expect_error", "stored", "zstandard", "zstd"]

JSON = {"Content-Type": "application/json"}


def expect_error(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, which must be of the one shape that all errors have."""
    assert (answer.status_code, answer.headers.get("content-type")) == (status, "application/json"), answer.text
    document: dict[str, Any] = answer.json()
    assert document["error"] == code, document
    assert set(document) <= {"error", "message", "details"}
    assert len(document["message"]) > 10, document
    assert "\n" not in document["message"], document
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    for detail in document.get("details", ()):
        assert {"pointer", "message"} <= set(detail) <= {"index", "pointer", "message"}
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if status == 405:
        assert answer.headers["allow"]
    return document


def stored(node: RunningNode, user: str, expected: int, columns: str = "event") -> list[list[Any]]:
    """A user's rows in the order of their events, once there are ``expected``."""
    rows: list[list[Any]] = []

    def enough() -> bool:
        rows[:] = node.rows(
            f"SELECT {columns} FROM events WHERE user_id = '{user}' ORDER BY received_at, id", limit=50_000
        )
        assert len(rows) <= expected, rows
        return len(rows) == expected

    wait_for(enough, what=f"{expected} rows")
    return rows


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def deflated(content: bytes) -> bytes:
    """Raw deflate, as some clients send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def zstandard(content: bytes) -> bytes:
    return zstd.compress(content)


def address(node: RunningNode) -> tuple[str, int]:
    url = httpx.URL(node.url)
    assert url.port is not None
    return url.host, url.port


@contextmanager
def connected(node: RunningNode) -> Iterator[socket.socket]:
    """A connection of one's own."""
    with socket.create_connection(address(node), timeout=DEADLINE_S) as connection:
        yield connection


def head(line: str, *headers: str) -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: node", *headers, "", ""]).encode()


def read_to_end(connection: socket.socket) -> bytes:
    """What comes until the node closes; a reset counts as a close."""
    content = b""
    try:
        while part := connection.recv(65536):
            content += part
    except ConnectionResetError:
        pass
    return content


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer that has a Content-Length."""
    content = b""
    while b"\r\n\r\n" not in content:
        content += _some(connection)
    top, _, body = content.partition(b"\r\n\r\n")
    lines = top.decode().lower().split("\r\n")
    lengths = [line.split(":")[1] for line in lines if line.startswith("content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += _some(connection)
    return int(lines[0].split()[1]), body


def _some(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    assert part, "the node closed the connection without an answer"
    return part
