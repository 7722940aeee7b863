"""A part of the node is unwell or ends while a request is under way."""

import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.api.contract import address, connected, expect_error, head, read_answer, read_to_end
from tests.support import RunningNode, wait_for

EVENT = b'{"event":"e","user_id":"u"}'
QUERY = b'{"q":"SELECT count() FROM range(300000000)"}'
# Sends some thousand rows at once, then looks for hours for more.
ROWS_THEN_HOURS = "SELECT n FROM range(1000000000000) t(n) WHERE n < 5000 OR n % 7 = 8"

MakeNode = Callable[..., RunningNode]


def unready(node: RunningNode) -> list[str]:
    answer = httpx.get(node.url + "/v1/ready")
    if answer.status_code == 200:
        return []
    return [detail["pointer"] for detail in expect_error(answer, 503, "not_ready")["details"]]


def test_a_store_that_hangs_is_named_and_events_are_taken_all_the_same(node: RunningNode) -> None:
    node.settle()
    wait_for(lambda: unready(node) == [], what="readiness")
    (store,) = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    try:
        wait_for(lambda: unready(node) == ["/store"], what="a store that is not ready")
        assert httpx.get(node.url + "/v1/health").json()["status"] == "degraded"
        assert "Degraded" in httpx.get(node.url + "/").text
        for _ in range(10):
            assert node.post("/v1/ingest", EVENT).status_code == 202
    finally:
        os.kill(store, signal.SIGCONT)
    wait_for(lambda: unready(node) == [], what="readiness again")
    node.wait_for_count(11)


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv"])
def test_an_answer_whose_store_dies_midway_cannot_be_taken_for_whole(make_node: MakeNode, kind: str) -> None:
    node = make_node(query_time_limit_ms=600_000)
    node.settle()
    (store,) = node.children()["store"]
    parameters = {"q": ROWS_THEN_HOURS, "format": kind, "limit": "6000"}
    with node.client() as client, client.stream("GET", "/v1/query", params=parameters) as answer:
        assert answer.status_code == 200
        parts = answer.iter_bytes()
        assert next(parts)
        os.kill(store, signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)
    # The next store answers, on the same node.
    assert node.rows("SELECT 1") == [[1]]


def test_a_stop_answers_what_is_under_way(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    node.settle()
    authorization = f"Authorization: Bearer {node.key}"
    with connected(node) as sender, connected(node) as asker, ThreadPoolExecutor(1) as other:
        for connection, path, body in ((sender, "ingest", EVENT), (asker, "query", QUERY)):
            lines = (authorization, f"Content-Length: {len(body)}", "Expect: 100-continue")
            connection.sendall(head(f"POST /v1/{path}", *lines))
            assert read_answer(connection) == (100, b"")  # it is under way: its body is asked for
        sender.sendall(EVENT[:5])
        asker.sendall(QUERY)
        stopped = other.submit(node.stop)
        wait_for(lambda: refuses_connections(node), what="a node that takes no more connections")
        sender.sendall(EVENT[5:])
        assert read_answer(sender)[0] == 202
        assert b"[300000000]" in read_to_end(asker)
        assert stopped.result() == 0
    node.restart()
    node.wait_for_count(2)


def refuses_connections(node: RunningNode) -> bool:
    try:
        socket.create_connection(address(node), timeout=1).close()
    except OSError:
        return True
    return False
