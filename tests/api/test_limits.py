"""Limits that protect the node and its keys from each other: rates, queries at once, memory for bodies, the spool."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.api.contract import connected, expect_error, head, read_answer
from tests.hostile import ask_store, cpu_ticks, is_answered, post_query, store_pid
from tests.support import DEADLINE_S, RunningNode, run_cli, running_node, wait_for

EVENT = b'{"event":"e"}'
ENDLESS = "SELECT count(*) FROM range(1000000000) a(i), range(1000000) b(j) WHERE (i * j) % 7 = 3"
MIB = 2**20

MakeNode = Callable[..., RunningNode]


def new_key(node: RunningNode, *options: str) -> str:
    """A key that the node knows, on each of its workers."""
    done = run_cli("keys", "create", f"--data-dir={node.data_dir}", *options)
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    with node.clients_of_workers() as clients:
        for client in clients:
            wait_for(partial(knows, client, key), what="a key that is known")
    return key


def knows(client: httpx.Client, key: str) -> bool:
    return client.post("/v1/ingest", content=b"{", headers=bearer(key)).status_code != 401


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def post(node: RunningNode, key: str, body: bytes, path: str = "/v1/ingest") -> httpx.Response:
    headers = {**bearer(key), "Content-Type": "application/json"}
    return httpx.post(node.url + path, content=body, headers=headers, timeout=DEADLINE_S)


def batch_of(events: int) -> bytes:
    return json.dumps({"events": [{"event": "e"}] * events}).encode()


# ---- rates


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """Two workers, so that what holds for the node is seen to."""
    with running_node(tmp_path_factory.mktemp("rated") / "data", workers=2) as node:
        node.settle()
        yield node


def test_without_a_limit_nothing_is_said_of_one(rated: RunningNode) -> None:
    answer = rated.post("/v1/ingest", EVENT)
    assert answer.status_code == 202
    assert not [name for name in answer.headers if name.startswith("ratelimit")]


def test_a_burst_is_taken_once_by_all_workers_together(rated: RunningNode) -> None:
    # One event in a thousand seconds: nothing comes back while the test runs.
    key = new_key(rated, "--rate=1", "--burst=2000")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(rated, key, batch_of(100), "/v1/batch"), range(40)))
    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    # What comes back in the meantime is an event a second: not another batch in less than 100 s.
    assert len(accepted) == 20
    for answer in refused:
        expect_error(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 100
    assert min(remaining(answer) for answer in accepted) < 100
    assert len(rated.children()["edge"]) == 2


def remaining(answer: httpx.Response) -> int:
    assert answer.headers["ratelimit-policy"] == '"events";q=2000;w=2000'
    found = re.fullmatch(r'"events";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert found
    return int(found[1])


def test_what_is_beyond_comes_in_again_after_the_time_that_was_said(rated: RunningNode) -> None:
    key = new_key(rated, "--rate=100", "--burst=100")
    assert post(rated, key, batch_of(100), "/v1/batch").status_code == 202

    def refused() -> httpx.Response | None:
        answer = post(rated, key, batch_of(100), "/v1/batch")
        return answer if answer.status_code == 429 else None

    answer = wait_for(refused, what="a refusal")
    assert answer.headers["retry-after"] == "1"
    assert "100 events a second" in answer.json()["message"]
    wait_for(lambda: post(rated, key, batch_of(100), "/v1/batch").status_code == 202, what="an accepted batch")


def test_a_batch_larger_than_the_burst_is_told_what_to_do(rated: RunningNode) -> None:
    key = new_key(rated, "--rate=10", "--burst=20")
    message = expect_error(post(rated, key, batch_of(21), "/v1/batch"), 413, "payload_too_large")["message"]
    assert "21 events" in message
    assert "20 at once" in message
    assert post(rated, key, batch_of(20), "/v1/batch").status_code == 202


def test_bad_events_and_repeats_of_them_cost_nothing(rated: RunningNode) -> None:
    key = new_key(rated, "--rate=1", "--burst=3")
    for _ in range(20):
        assert post(rated, key, b'{"event":""}').status_code == 400
    assert [post(rated, key, EVENT).status_code for _ in range(3)] == [202] * 3


def test_all_keys_have_the_node_s_rate_unless_they_have_their_own(make_node: MakeNode) -> None:
    node = make_node(workers=1, key_rate=1, key_burst=2)
    expect_burst_of_two(node, node.key)
    own = new_key(node, "--rate=1000")
    assert post(node, own, batch_of(500), "/v1/batch").headers["ratelimit-policy"] == '"events";q=5000;w=5'
    free = new_key(node, "--rate=0")
    assert "ratelimit" not in post(node, free, batch_of(500), "/v1/batch").headers


def test_a_restart_keeps_the_rates_of_the_keys(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    key = new_key(node, "--rate=1", "--burst=2")
    assert node.stop() == 0
    node.restart()
    expect_burst_of_two(node, key)


def expect_burst_of_two(node: RunningNode, key: str) -> None:
    """A key of one event a second may send two at once, and one more for each second that this takes."""
    statuses: list[int] = []
    started = time.monotonic()
    with node.client() as client:
        while 429 not in statuses:
            statuses.append(client.post("/v1/ingest", content=EVENT, headers=bearer(key)).status_code)
    assert statuses[:2] == [202, 202]
    assert statuses.count(202) == len(statuses) - 1 <= 2 + time.monotonic() - started


def test_the_list_shows_rates(rated: RunningNode) -> None:
    new_key(rated, "--rate=7", "--burst=70", "--name=seven")
    done = run_cli("keys", "list", f"--data-dir={rated.data_dir}")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[7] for row in rows if row[6] == "seven"] == ["7/70"]
    assert [row[7] for row in rows if row[6] == "first key"] == ["default/default"]


# ---- queries


def queries_under_way(node: RunningNode) -> int:
    """Connections of edge workers to the store: its threads and its queue."""
    path = str(node.data_dir / "run" / "store.sock")
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {path}") for line in lines) - 1


def wait_for_computing(node: RunningNode) -> None:
    """Until a query runs: a store that only waits does not take a quarter of a second in any reasonable time."""
    store = store_pid(node)
    before = cpu_ticks(store)
    wait_for(lambda: cpu_ticks(store) > before + 25, what="a query that runs")


def store_threads(node: RunningNode) -> int:
    return sum(1 for _ in Path(f"/proc/{store_pid(node)}/task").iterdir())


def test_a_key_may_have_so_many_queries_and_other_keys_are_answered_meanwhile(make_node: MakeNode) -> None:
    limits = {"query_max_concurrent": 3, "query_key_concurrent": 2, "query_key_waiting": 4}
    node = make_node(workers=1, query_time_limit_ms=3_600_000, **limits)
    node.settle()
    other = new_key(node, "--project=other")
    with ExitStack() as stack:
        clients = [stack.enter_context(post_query(node, ENDLESS)) for _ in range(7)]
        # One too many, which may be any of them. Then the six others are where they belong, and the next is refused.
        one = wait_for(lambda: next(filter(is_answered, clients), None), what="a refusal")
        assert read_answer(one)[0] == 429
        clients.remove(one)
        threads = store_threads(node)
        refused = wait_for(lambda: not_200(node), what="a refusal")
        expect_error(refused, 429, "too_many_queries")
        # A project that asks for the first time is answered at once, and events are taken.
        headers = {"Authorization": f"Bearer {other}"}
        answer = httpx.get(node.url + "/v1/query?q=SELECT+1", headers=headers, timeout=DEADLINE_S)
        assert answer.status_code == 200
        assert post(node, other, EVENT).status_code == 202
        assert not any(is_answered(client) for client in clients)
        # Who goes away while it waits is gone from the queue, and what waits holds no thread.
        for client in clients[2:]:
            client.close()
        wait_for(lambda: queries_under_way(node) <= 3, what="an empty queue")
        wait_for(lambda: store_threads(node) <= threads, what="threads that ended")
    assert node.rows("SELECT 1") == [[1]]


def not_200(node: RunningNode) -> httpx.Response | None:
    """An answer that comes at once; a query that waits is given up."""
    try:
        answer = httpx.get(node.url + "/v1/query?q=SELECT+1", headers=node.headers, timeout=1)
    except httpx.TimeoutException:
        return None
    return answer if answer.status_code != 200 else None


def test_waiting_queries_hold_no_threads(make_node: MakeNode) -> None:
    node = make_node(workers=1, query_max_concurrent=1, query_key_waiting=100, query_time_limit_ms=3_600_000)
    node.settle()
    with ExitStack() as stack:
        stack.enter_context(post_query(node, ENDLESS))
        wait_for_computing(node)
        before = store_threads(node)
        for _ in range(50):
            stack.enter_context(ask_store(node, "SELECT 1"))
        wait_for(lambda: queries_under_way(node) >= 51, what="a queue")
        wait_for(lambda: store_threads(node) <= before + 2, what="threads that ended")


def test_exports_have_a_queue_of_their_own(make_node: MakeNode) -> None:
    node = make_node(workers=1, export_max_concurrent=1, query_key_waiting=0, export_time_limit_ms=3_600_000)
    node.settle()
    with ExitStack() as stack:
        host, port = node.url.removeprefix("http://").split(":")
        connection = stack.enter_context(socket.create_connection((host, int(port)), DEADLINE_S))
        path = str(httpx.URL("/v1/export", params={"q": ENDLESS}))
        connection.sendall(head(f"GET {path}", f"Authorization: Bearer {node.key}"))
        wait_for_computing(node)  # else it might be the one that is refused

        def refused() -> httpx.Response | None:
            try:
                answer = httpx.get(
                    node.url + "/v1/export?q=SELECT+1+AS+n+FROM+events", headers=node.headers, timeout=DEADLINE_S
                )
            except httpx.TimeoutException:
                return None
            return answer if answer.status_code != 200 else None

        expect_error(wait_for(refused, what="a refusal"), 429, "too_many_queries")
        assert node.rows("SELECT 1") == [[1]]


# ---- bodies


@contextmanager
def slow_bodies(node: RunningNode, key: str, count: int, path: str, length: int, sent: int) -> Iterator[None]:
    """Connections that have sent the start of a body and are silent then. Their requests are under way: each body was
    asked for."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(connected(node))
            headers = (f"Authorization: Bearer {key}", f"Content-Length: {length}", "Expect: 100-continue")
            connection.sendall(head(f"POST {path}", *headers))
            assert read_answer(connection) == (100, b"")
            connection.sendall(b" " * sent)
        yield


def test_slow_bodies_take_no_more_than_they_sent(make_node: MakeNode) -> None:
    # Each announces 10 MB; all of them together would be far beyond the budget.
    node = make_node(workers=1, body_memory_bytes=40 * MIB)
    with slow_bodies(node, node.key, 100, "/v1/batch", 10_000_000, 1000):
        for _ in range(20):
            assert node.post("/v1/batch", batch_of(500)).status_code == 202
        assert httpx.get(node.url + "/v1/health").status_code == 200


def test_bodies_beyond_the_budget_are_refused_and_the_others_served(make_node: MakeNode) -> None:
    node = make_node(workers=1, body_memory_bytes=40 * MIB)
    other = new_key(node, "--project=other")
    with slow_bodies(node, node.key, 2, "/v1/batch", 8 * MIB + 1, 7 * MIB), ThreadPoolExecutor(1) as thread:
        # 15 MiB is what this key may have in large bodies: a third one finds too little left, when it has begun.
        large = b'{"events":[{"event":"e"}],"context":{}}' + b" " * (7 * MIB)

        def refused() -> httpx.Response | None:
            with suppress(httpx.TransportError):  # the node does not wait long for the rest of what it refuses
                answer = node.post("/v1/batch", large)
                return answer if answer.status_code != 202 else None
            return None

        expect_error(thread.submit(wait_for, refused).result(), 503, "overloaded")
        assert post(node, other, large, "/v1/batch").status_code == 202
        assert node.post("/v1/ingest", EVENT).status_code == 202
    wait_for(lambda: node.post("/v1/batch", large).status_code == 202, what="room again")


def test_requests_at_once_are_bounded_for_a_key_and_for_all(make_node: MakeNode) -> None:
    node = make_node(workers=1, request_max_concurrent=8)
    node.settle()
    other, third = new_key(node, "--project=other"), new_key(node, "--project=third")
    with slow_bodies(node, node.key, 4, "/v1/ingest", 100, 1):
        answer = wait_for(lambda: not_accepted(node, node.key), what="a refusal")
        assert "This key" in expect_error(answer, 503, "overloaded")["message"]
        assert post(node, other, EVENT).status_code == 202
        with slow_bodies(node, other, 4, "/v1/ingest", 100, 1):
            answer = wait_for(lambda: not_accepted(node, third), what="a refusal")
            assert "This node" in expect_error(answer, 503, "overloaded")["message"]
            assert httpx.get(node.url + "/v1/health").json()["status"] == "ok"
    wait_for(lambda: node.post("/v1/ingest", EVENT).status_code == 202, what="room again")


def not_accepted(node: RunningNode, key: str) -> httpx.Response | None:
    answer = post(node, key, EVENT)
    return answer if answer.status_code != 202 else None


# ---- the store


def test_at_the_spool_s_limit_the_answer_is_no_and_comes_at_once(make_node: MakeNode) -> None:
    """The store stands still: the spool takes what it may, then each request is refused, and none waits."""
    # Segments end before the limit: one that is written to is kept, and would fill the spool for ever.
    node = make_node(
        workers=1, spool_limit_bytes=2 * MIB, spool_segment_bytes=MIB, batch_limit_bytes=MIB, event_limit_bytes=MIB
    )
    node.settle()
    store = store_pid(node)
    os.kill(store, signal.SIGSTOP)
    accepted = 0
    try:
        end = time.monotonic() + DEADLINE_S
        large = json.dumps({"events": [{"event": "e", "properties": {"p": "x" * 500}}] * 500}).encode()
        while (answer := node.post("/v1/batch", large)).status_code == 202:
            accepted += 500
            assert time.monotonic() < end
        assert accepted
        for _ in range(5):
            # Far less than any time-out of the node or of the store's.
            answer = httpx.post(
                node.url + "/v1/ingest",
                content=EVENT,
                headers=node.headers,
                timeout=httpx.Timeout(DEADLINE_S, read=STORE_SILENT_S),
            )
            assert answer.headers["retry-after"]
            expect_error(answer, 503, "spool_full")
    finally:
        os.kill(store, signal.SIGCONT)
    wait_for(lambda: node.post("/v1/ingest", EVENT).status_code == 202, what="room in the spool")
    node.wait_for_count(accepted + 2)


# What the edge itself gives the store to answer: a refusal must not have waited for that.
STORE_SILENT_S = 3.0


# ---- bodies that are cut


@pytest.mark.parametrize("end", ["close", "half close"])
def test_a_chunked_body_that_was_cut_is_not_accepted_though_it_is_whole_json(node: RunningNode, end: str) -> None:
    for _ in range(5):
        with connected(node) as connection:
            connection.sendall(
                head("POST /v1/ingest", f"Authorization: Bearer {node.key}", "Transfer-Encoding: chunked")
            )
            connection.sendall(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            if end == "half close":
                connection.shutdown(socket.SHUT_WR)
                status, body = read_answer(connection)
                assert (status, json.loads(body)["error"]) == (400, "invalid_encoding")
    node.settle()
    assert node.rows("SELECT count() FROM events WHERE event = 'e'") == [[0]]


def test_announced_trailers_are_no_cut(node: RunningNode) -> None:
    with connected(node) as connection:
        headers = (f"Authorization: Bearer {node.key}", "Transfer-Encoding: chunked", "Trailer: X-Sum")
        connection.sendall(head("POST /v1/ingest", *headers))
        connection.sendall(b"%x\r\n%s\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(EVENT), EVENT))
        assert read_answer(connection)[0] == 202
