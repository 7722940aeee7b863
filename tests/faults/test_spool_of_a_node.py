"""Segments of a real node are damaged while it is down: what a user sees when it is started again."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from google_crc32c import value

from novamesh.spool.segment import list_segments
from tests.support import RunningNode, wait_for

EVENTS = 20


@pytest.fixture
def spool_of_a_killed_node(make_node: Callable[..., RunningNode]) -> tuple[RunningNode, Path]:
    """A node that was killed with its events in the spool alone, one request each, and their segment."""
    node = make_node(workers=1)
    node.send([{"event": "before"}])
    node.wait_for_count(1)
    wait_for(node.is_ready, what="readiness")
    (store,) = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    for n in range(EVENTS):
        assert node.post("/v1/ingest", {"event": "held", "user_id": str(n)}).status_code == 202
    node.kill()
    (segment,) = list_segments(node.data_dir / "spool")
    return node, segment


def held(node: RunningNode) -> list[int]:
    return sorted(int(user) for (user,) in node.rows("SELECT user_id FROM events WHERE event = 'held'"))


def problems(node: RunningNode) -> dict[str, str]:
    answer = node.get("/v1/ready").json()
    return {detail["pointer"]: detail["message"] for detail in answer.get("details", [])}


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zero(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(200) + data[middle + 200 :]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


def foreign(data: bytes) -> bytes:
    body = data[:24] + b"another node's  " + data[40:60]
    checksum: int = value(body)
    return body + checksum.to_bytes(4, "little") + data[64:]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes] | None, bool]] = {
    "cut in half": (cut, True),
    "a zeroed block": (zero, True),
    "a flipped bit": (flip, True),
    "from another node": (foreign, False),
    "removed": (None, False),
}


@pytest.mark.parametrize(("damage", "in_part"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_segment_is_reported_and_the_node_goes_on(
    spool_of_a_killed_node: tuple[RunningNode, Path], damage: Callable[[bytes], bytes] | None, in_part: bool
) -> None:
    node, segment = spool_of_a_killed_node
    if damage is None:
        segment.unlink()
    else:
        segment.write_bytes(damage(segment.read_bytes()))
    node.restart()
    wait_for(lambda: "1 damaged or missing segments" in problems(node).get("/spool", ""), what=f"health\n{node.log}")
    assert node.get("/v1/health").json()["status"] == "degraded"
    node.settle()
    stored = held(node)
    assert stored == list(range(len(stored))), "what lies before the damage, once each"
    assert (0 < len(stored) < EVENTS) == in_part
    assert list((segment.parent / "quarantine").glob("*.json"))
    assert node.stop() == 0
    assert segment.name in node.log


def test_a_segment_that_cannot_be_read_is_loaded_when_it_can(spool_of_a_killed_node: tuple[RunningNode, Path]) -> None:
    """A directory in its place stands for a file that the disk does not give: it refuses to be read, to root too."""
    node, segment = spool_of_a_killed_node
    kept = segment.rename(segment.with_name("kept"))
    segment.mkdir()
    node.restart()
    wait_for(lambda: "/loader" in problems(node), what="a loader that says so")
    node.settle()
    assert held(node) == [], "the others are loaded meanwhile"
    segment.rmdir()
    kept.rename(segment)
    wait_for(lambda: held(node) == list(range(EVENTS)), what="the events")
    wait_for(lambda: problems(node) == {}, what="readiness")
