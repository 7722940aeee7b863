"""What the log says of requests, by which they are found again, and what it keeps to itself."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support import RunningNode, running_node, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
Line = dict[str, Any]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """Every request and every query is logged."""
    settings = {"workers": 1, "access_log": "on", "slow_query_ms": 1}
    with running_node(tmp_path_factory.mktemp("logs") / "data", **settings) as node:
        node.settle()
        yield node


def lines(node: RunningNode) -> list[Line]:
    return [json.loads(line) for line in node.log.splitlines()]


def line(node: RunningNode, logger: str, request_id: str) -> Line:
    """The one line of a request, once it is there."""

    def found() -> list[Line]:
        return [one for one in lines(node) if one["logger"] == logger and one.get("request_id") == request_id]

    wait_for(found, what=f"a line of {logger}")
    (one,) = found()
    return one


def ask(node: RunningNode, sql: str, request_id: str, **headers: str) -> httpx.Response:
    return httpx.post(
        node.url + "/v1/query",
        json={"q": sql, "params": {"user": "u_private"} if "$user" in sql else {}},
        headers={**node.headers, "X-Request-Id": request_id, **headers},
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/v1/health", 200),
        ("HEAD", "/v1/health", 200),
        ("GET", "/nothing", 404),
        ("DELETE", "/v1/query", 405),
        ("POST", "/v1/ingest", 202),
        ("POST", "/v1/batch", 400),
        ("GET", "/v1/query?q=SELECT+1", 200),
        ("GET", "/v1/query", 400),
        ("GET", "/metrics", 200),
    ],
)
def test_every_answer_has_an_id(node: RunningNode, method: str, path: str, status: int) -> None:
    body = b'{"event": "e"}' if method == "POST" else b""
    mine = {**node.headers, "X-Request-Id": f"mine-{method}{path.partition('?')[0]}"}
    answer = httpx.request(method, node.url + path, content=body, headers=mine)
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, mine["X-Request-Id"])
    made = {
        httpx.request(method, node.url + path, content=body, headers={**node.headers, "X-Request-Id": given}).headers[
            "x-request-id"
        ]
        for given in ("", "a b", "<script>", "x" * 129)
    }
    assert len(made) == 4
    assert all(re.fullmatch("[0-9a-f]{12}-[0-9a-f]+", one) for one in made)


def test_the_access_log(node: RunningNode) -> None:
    headers = {**node.headers, "X-Request-Id": "access-1", "traceparent": PARENT}
    assert httpx.get(node.url + "/v1/batches/b_0?secret=1", headers=headers).status_code == 400
    one = line(node, "novamesh.access", "access-1")
    assert (one["method"], one["route"], one["status"], one["trace_id"]) == (
        "GET",
        "/v1/batches/{batch_id}",
        400,
        TRACE,
    )
    assert one["elapsed_ms"] > 0
    assert one["client"].startswith("127.0.0.1:")
    assert set(one) == {
        *("time", "level", "logger", "message", "request_id", "trace_id"),
        *("method", "route", "status", "elapsed_ms", "client"),
    }
    httpx.get(node.url + "/v1/users/u_private", headers={**headers, "X-Request-Id": "access-2"})
    assert line(node, "novamesh.access", "access-2")["route"] == "/v1/users/{user_id}"
    assert "secret" not in node.log
    assert "u_private" not in node.log


def test_a_slow_query_is_logged_by_the_store_without_what_it_was_about(node: RunningNode) -> None:
    sql = "SELECT i, 'ann@example.org' AS a FROM range(3000) t(i) WHERE $user <> 'Bob' AND sleep_ms IS NULL LIMIT 1500"
    sql = sql.replace("sleep_ms", "nullif(1234567, 1234567)")
    assert ask(node, sql, "slow-1", traceparent=PARENT).status_code == 200
    one = line(node, "novamesh.store.slow", "slow-1")
    assert (one["trace_id"], one["space"], one["rows"], one["outcome"]) == (TRACE, "default", 1000, "answered")
    assert one["key"].startswith("k_")
    assert one["elapsed_ms"] >= one["reading_ms"] >= 0
    assert one["sql"] == "SELECT i, ? AS a FROM range(?) t(i) WHERE $user <> ? AND nullif(?, ?) IS NULL LIMIT ?"
    for word in ("ann@example", "Bob", "1234567", "u_private"):
        assert word not in node.log


def test_a_slow_query_that_fails_is_logged_with_its_error(node: RunningNode) -> None:
    sql = "SELECT CASE WHEN i < 60000 THEN i::VARCHAR ELSE ('x' || i) END::INT AS n FROM range(60001) t(i)"
    answer = ask(node, f"SELECT sum(n) FROM ({sql})", "slow-2")
    assert answer.status_code == 400
    assert line(node, "novamesh.store.slow", "slow-2")["outcome"] == answer.json()["error"]


def test_a_503_has_a_line_with_its_id(node: RunningNode) -> None:
    """The last of these: its node has no store for a moment."""

    def failed() -> bool:
        """Whether it is answered before the next store is there."""
        for store in node.children()["store"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(store, signal.SIGKILL)
        return ask(node, "SELECT 1", "failed-1", traceparent=PARENT).status_code == 503

    wait_for(failed, what="a 503")
    one = line(node, "novamesh.edge.accesslog", "failed-1")
    assert (one["status"], one["error"], one["trace_id"]) == (503, "store_unavailable", TRACE)
    assert one["level"] == "warning"
    node.settle()


def test_each_503_is_in_the_log_or_counted_there_and_quick_queries_are_not(
    make_node: Callable[..., RunningNode],
) -> None:
    """That so many a second are in it is shown with a clock of its own: ``tests/unit/test_accesslog.py``."""
    node = make_node(workers=1, disk_reserve_bytes=2**60, slow_query_ms=600_000)
    sent = 300
    with node.client() as client:
        for _ in range(sent):
            assert client.post("/v1/ingest", json={"event": "e"}).status_code == 503

    def told() -> int:
        """Those that have a line, or are counted in one."""
        return sum(int(one.get("lines_left_out", one.get("error") == "spool_full")) for one in lines(node))

    wait_for(lambda: told() >= sent, what="the count of what is not in the log")
    assert told() == sent
    assert node.rows("SELECT 1") == [[1]]
    assert all(one["request_id"] for one in lines(node) if one.get("error") == "spool_full")
    assert not {"novamesh.access", "novamesh.store.slow"} & {one["logger"] for one in lines(node)}
