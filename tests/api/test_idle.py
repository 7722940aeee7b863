"""Connections on which nothing happens, and limits of connections."""

import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.api.contract import connected, expect_error, head, read_answer, read_to_end
from tests.support import DEADLINE_S, RunningNode, running_node, wait_for

MakeNode = Callable[..., RunningNode]
EVENT = b'{"event":"e"}'
ENDLESS = "SELECT count(*) FROM range(1000000000) a(i), range(1000000) b(j) WHERE (i * j) % 7 = 3"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    data = tmp_path_factory.mktemp("impatient") / "data"
    times = {"header_timeout_ms": 1000, "body_timeout_ms": 1000, "idle_timeout_ms": 1500, "query_time_limit_ms": 5000}
    with running_node(data, workers=1, **times) as node:
        wait_for(lambda: is_asked(node), what="the store")
        yield node


def is_asked(node: RunningNode) -> bool:
    with suppress(httpx.TransportError):  # on a busy machine a request may seem to be idle
        return node.query("SELECT 1").status_code == 200
    return False


@pytest.mark.parametrize("start", [b"", b"P", b"PRI * HTTP/2.0\r\n", b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_who_says_nothing_or_does_not_finish_is_closed(impatient: RunningNode, start: bytes) -> None:
    with connected(impatient) as connection:
        connection.sendall(start)
        assert b"200" not in read_to_end(connection)


def test_an_idle_http_2_connection_is_closed(impatient: RunningNode) -> None:
    with impatient.client(http1=False, http2=True) as client:
        stream = client.get("/v1/health").extensions["network_stream"]
        connection: socket.socket = stream.get_extra_info("socket")
        mine = connection.getsockname()
        wait_for(lambda: established(mine, impatient) == 0, what="the end of the connection")


def established(mine: tuple[str, int], node: RunningNode) -> int:
    """The node's ends of a connection that are open, from /proc."""
    port = int(node.url.rpartition(":")[2])
    wanted = f":{port:04X} ", f":{mine[1]:04X} 01 "
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(wanted[0] in line and wanted[1] in line for line in lines)


def test_who_waits_for_an_answer_is_not_idle(impatient: RunningNode) -> None:
    # Nothing is said until its time is over, which is three times as long as a connection may be quiet.
    expect_error(impatient.query(ENDLESS), 400, "query_timeout")


def test_a_crowd_of_silent_connections_keeps_nobody_out(make_node: MakeNode) -> None:
    """More of them than there may be at all: they are closed soon, and others are served."""
    node = make_node(workers=1, connection_max_concurrent=60, header_timeout_ms=10_000)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(node))
        assert httpx.get(node.url + "/v1/health", timeout=DEADLINE_S).status_code == 200
        assert node.post("/v1/ingest", EVENT).status_code == 202


def test_slow_headers_keep_nobody_out(make_node: MakeNode) -> None:
    node = make_node(workers=1, header_timeout_ms=2000)
    with ExitStack() as stack:
        connections = [stack.enter_context(connected(node)) for _ in range(100)]
        for connection in connections:
            connection.sendall(b"POST /v1/ingest HTTP/1.1\r\nHost: no")
        assert httpx.get(node.url + "/v1/health", timeout=DEADLINE_S).status_code == 200
        assert node.post("/v1/ingest", EVENT).status_code == 202
        assert read_to_end(connections[0]) == b""


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "warns"),
    [(256, 20_000, 1256, False), (256, 800, 800, True), (4000, 20_000, 4000, False)],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_can_be(
    soft: int, hard: int, expected: int, warns: bool
) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 20_000:
        pytest.skip("this system allows fewer files")
    program = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "from novamesh import descriptors\nfrom novamesh.config import Config\n"
        "config = Config(connection_max_concurrent=1000)\n"
        "descriptors.raise_limit(config)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], descriptors.connections(config))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found, connections = map(int, done.stdout.split())
    assert found == expected
    assert connections == (1000 if not warns else 800 - 256)
    assert ("ulimit -n" in done.stderr) == warns


def test_headers_of_any_size_are_not_kept(impatient: RunningNode) -> None:
    with connected(impatient) as connection:
        try:
            connection.sendall(head("GET /v1/health", "X-Large: " + "x" * 300_000))
            assert read_answer(connection)[0] == 431
        except OSError:
            return  # refused before it had all of it
