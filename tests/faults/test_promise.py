"""What was accepted is never lost and never stored twice, whatever is killed and whenever."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from novamesh.spool.frame import is_end
from novamesh.spool.segment import list_segments, read_mark
from tests.faults.load import Senders, check_exactly_once
from tests.support import RunningNode, running_node, wait_for

ROUNDS = int(os.environ.get("NOVATEST_ROUNDS", "10"))


def _restart(node: RunningNode, senders: Senders) -> None:
    node.restart()
    senders.node = node


def test_the_whole_node_killed_at_random_moments(make_node: Callable[..., RunningNode]) -> None:
    rng = random.Random(2)
    node = make_node(workers=2, spool_segment_bytes=11_000_000)
    senders = Senders(node, seed=1)
    for _ in range(ROUNDS):
        senders.wait_for_more(rng.randrange(200, 3000))
        time.sleep(rng.random() * 0.1)  # not a wait for anything: the moment is to be random
        node.kill()
        _restart(node, senders)
    senders.stop()
    check_exactly_once(node, senders)


def test_only_the_store_killed_under_load(make_node: Callable[..., RunningNode]) -> None:
    node = make_node()
    senders = Senders(node, seed=2)
    answers: set[int] = set()
    for _ in range(4):
        senders.wait_for_more(1000)
        node.signal("store", signal.SIGKILL)

        def is_answered() -> bool:
            answer = node.query("SELECT count(*) FROM events")
            answers.add(answer.status_code)
            if answer.status_code == 503:
                assert answer.json()["error"] == "store_unavailable"
                assert int(answer.headers["Retry-After"]) >= 1
            return answer.status_code == 200

        wait_for(is_answered, what="queries that recover")
    senders.stop()
    assert answers == {200, 503}
    assert not senders.refused
    assert not senders.unknown, "a request to the edge failed"
    check_exactly_once(node, senders)


def test_an_edge_worker_killed_under_load(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=2)
    senders = Senders(node, seed=3)
    for _ in range(3):
        senders.wait_for_more(500)
        wait_for(lambda: len(node.children()["edge"]) == 2, what="two workers")
        node.signal("edge", signal.SIGKILL)
    senders.wait_for_more(500)
    senders.stop()
    check_exactly_once(node, senders)


def test_a_power_cut(make_node: Callable[..., RunningNode]) -> None:
    """Whatever was not synced is gone, and the disk holds rubbish in its place."""
    rng = random.Random(4)
    node = make_node(workers=2)
    senders = Senders(node, seed=4)
    for _ in range(4):
        senders.wait_for_more(1000)
        # With the store stopped the segments are sure to hold what is nowhere else.
        node.signal("store", signal.SIGSTOP)
        senders.wait_for_more(500)
        node.kill()
        assert _cut_power(node.data_dir / "spool", rng)
        _restart(node, senders)
    senders.stop()
    check_exactly_once(node, senders)
    assert list((node.data_dir / "spool").glob("*.torn"))


def _cut_power(spool: Path, rng: random.Random) -> int:
    """Cut live segments back to their last fdatasync and put rubbish behind it. Returns how many there were."""
    cut = 0
    for segment in list_segments(spool):
        if is_end(segment.read_bytes()):
            continue  # closed in order, so all of it is synced
        with segment.open("r+b") as file:
            file.truncate(read_mark(segment))
            file.seek(0, os.SEEK_END)
            file.write(rng.randbytes(rng.randrange(1, 5000)))
        cut += 1
    return cut


def test_the_supervisor_alone_killed(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=2)
    senders = Senders(node, seed=5)
    senders.wait_for_more(500)
    os.kill(node.process.pid, signal.SIGKILL)
    wait_for(lambda: not any(node.children().values()), what="the end of the children")
    node.kill()
    _restart(node, senders)
    senders.wait_for_more(500)
    senders.stop()
    check_exactly_once(node, senders)


def test_a_stop_under_load(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=2)
    senders = Senders(node, seed=6)
    senders.wait_for_more(1000)
    assert node.count() >= 0  # the store is there
    assert node.stop() == 0
    assert not list_segments(node.data_dir / "spool"), "the store loads what is left before it stops"
    _restart(node, senders)
    senders.stop()
    check_exactly_once(node, senders)


def test_fewer_workers_than_before(tmp_path: Path) -> None:
    with running_node(tmp_path / "data", workers=2) as node:
        key = node.key
        senders = Senders(node, seed=7)
        senders.wait_for_more(1000)
        node.kill()
        with running_node(tmp_path / "data", workers=1) as smaller:
            smaller.key = key
            senders.node = smaller
            senders.wait_for_more(200)
            senders.stop()
            check_exactly_once(smaller, senders)


def test_health_while_the_store_is_down(make_node: Callable[..., RunningNode]) -> None:
    node = make_node()
    wait_for(node.is_ready, what="readiness")
    (store,) = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    try:
        answer = wait_for(lambda: _not_ready(node), what="an answer that says so")
        assert answer["error"] == "not_ready"
        assert {detail["pointer"] for detail in answer["details"]} == {"/store"}
        assert node.get("/v1/health").json()["status"] == "degraded"
        assert node.post("/v1/ingest", {"event": "meanwhile"}).status_code == 202
    finally:
        os.kill(store, signal.SIGCONT)
    wait_for(node.is_ready, what="readiness again")
    node.wait_for_count(1)  # it may answer before it has loaded
    assert node.rows("SELECT event FROM events") == [["meanwhile"]]


def _not_ready(node: RunningNode) -> dict[str, Any] | None:
    answer = node.get("/v1/ready")
    body: dict[str, Any] = answer.json()
    return body if answer.status_code == 503 else None
