"""GET /v1/health and GET /v1/ready: what they say is measured."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from novamesh import __version__
from tests.api.contract import expect_error
from tests.support import RunningNode, running_node, wait_for

HOUR_S = 3600


def health(node: RunningNode) -> dict[str, object]:
    answer = httpx.get(node.url + "/v1/health")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document: dict[str, object] = answer.json()
    return document


def ready(node: RunningNode) -> bool:
    return httpx.get(node.url + "/v1/ready").status_code == 200


def unready(node: RunningNode) -> list[str]:
    """The parts that are not ready."""
    details = expect_error(httpx.get(node.url + "/v1/ready"), 503, "not_ready")["details"]
    return [detail["pointer"] for detail in details]


def uptime(node: RunningNode) -> float:
    value = health(node)["uptime"]
    assert isinstance(value, float)
    return value


# ---- a node that is well


def test_the_documented_body(tmp_path: Path) -> None:
    with running_node(tmp_path / "data", node="ingest-eu5", region="eu", workers=1) as node:
        wait_for(lambda: ready(node), what="readiness")
        document = health(node)
        value = document.pop("uptime")
        assert isinstance(value, float)
        assert list(document.items()) == [
            ("status", "ok"),
            ("node", "ingest-eu5"),
            ("region", "eu"),
            ("version", __version__),
        ]


def test_a_fresh_node_was_never_down(node: RunningNode) -> None:
    wait_for(lambda: uptime(node) == 100.0, what="the first measurement")
    assert node.post("/v1/ingest", {"event": "e"}).status_code == 202
    assert uptime(node) == 100.0


def test_no_key_is_needed_and_any_is_taken(shared_node: RunningNode) -> None:
    for path in ("/v1/health", "/v1/ready", "/"):
        wait_for(lambda: ready(shared_node), what="readiness")
        assert httpx.get(shared_node.url + path).status_code == 200
        assert httpx.get(shared_node.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/health", "/v1/ready"])
def test_head(shared_node: RunningNode, path: str) -> None:
    wait_for(lambda: ready(shared_node), what="readiness")
    answer = httpx.head(shared_node.url + path)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", "application/json")


def test_ready(shared_node: RunningNode) -> None:
    wait_for(lambda: ready(shared_node), what="readiness")
    assert httpx.get(shared_node.url + "/v1/ready").json()["status"] == "ready"


def test_a_parameter_does_no_harm(shared_node: RunningNode) -> None:
    # Load balancers and browsers add their own.
    assert httpx.get(shared_node.url + "/v1/health?t=1").status_code == 200


# ---- a node that is unwell


@pytest.fixture
def full(make_node: Callable[..., RunningNode]) -> RunningNode:
    """A node whose disk has less room than is to be kept free."""
    return make_node(disk_reserve_bytes=2**60, workers=1)


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/ingest", {"event": "e"}), ("/v1/batch", {"events": [{"event": "e"}, {"event": "f"}]})]
)
def test_a_full_disk(full: RunningNode, path: str, body: object) -> None:
    wait_for(lambda: full.query("SELECT 1").status_code == 200, what="the store")
    expect_error(full.post(path, body), 503, "spool_full")
    assert health(full)["status"] == "degraded"
    wait_for(lambda: unready(full) == ["/spool"], what="the store to be well, and the spool not")
    page = httpx.get(full.url + "/").text
    assert "Degraded" in page
    assert "Operational" not in page
    assert full.count() == 0


def test_what_could_not_accept_was_not_up(full: RunningNode) -> None:
    expect_error(full.post("/v1/ingest", {"event": "e"}), 503, "spool_full")
    assert uptime(full) == 0.0


def test_a_full_spool_still_refuses_what_is_wrong_by_its_own_name(full: RunningNode) -> None:
    expect_error(full.post("/v1/ingest", {"evnt": "e"}), 400, "invalid_event")
    expect_error(httpx.post(full.url + "/v1/ingest", json={"event": "e"}), 401, "unauthorized")


def test_a_full_disk_that_has_room_again(full: RunningNode) -> None:
    expect_error(full.post("/v1/ingest", {"event": "e"}), 503, "spool_full")
    assert full.stop() == 0
    full.settings["disk_reserve_bytes"] = 0
    full.restart()
    assert full.post("/v1/ingest", {"event": "e"}).status_code == 202
    full.wait_for_count(1)


# ---- time that was missed


@pytest.fixture
def aged(tmp_path: Path) -> Iterator[RunningNode]:
    """A node that ran for an hour, then stood still for an hour, and runs again."""
    with running_node(tmp_path / "data", workers=1) as node:
        wait_for(lambda: uptime(node) == 100.0, what="the first measurement")
        assert node.stop() == 0
        start, end = time.time() - 2 * HOUR_S, time.time() - HOUR_S
        with closing(sqlite3.connect(node.data_dir / "status.db")) as db, db:
            assert db.execute("UPDATE state SET first_start_s = ?, last_beat_s = ?", (start, end)).rowcount == 1
            db.execute("DELETE FROM intervals")
            db.execute("INSERT INTO intervals (start_s, end_s) VALUES (?, ?)", (start, end))
        node.restart()
        yield node


def test_a_stop_lowers_the_uptime(aged: RunningNode) -> None:
    wait_for(lambda: half(uptime(aged)), what="an uptime of half the time")
    page = httpx.get(aged.url + "/").text
    assert "Downtime on" in page
    shown = re.search(r"<dt>Uptime \(30d\)</dt><dd>([\d.]+)%</dd>", page)
    assert shown
    assert half(float(shown[1]))


def half(percent: float) -> bool:
    """Of two hours, without what the restart took, and with the minute in which the test may see it."""
    return 49.0 < percent <= 50.5


def test_days_before_the_first_start_have_no_data(aged: RunningNode) -> None:
    page = httpx.get(aged.url + "/").text
    assert 28 <= page.count(": no data</span>") <= 29
