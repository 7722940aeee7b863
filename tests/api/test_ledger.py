"""The ledger where it is shown: /v1/ready, /metrics, the status page, `novamesh status` and `novamesh verify`."""

import html
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.contract import expect_error
from tests.support import RunningNode, run_cli, running_node, wait_for
from tests.unit.test_exposition import parse

TERMS = ["stored", "duplicates", "quarantined", "waiting", "damaged", "missing", "written_off"]
# What the fixture sends: by project and kind, what becomes of it.
EXPECTED = {
    "default": {"accepted": 510, "stored": 505, "duplicates": 5},
    "default.test": {"accepted": 1, "stored": 1, "duplicates": 0},
    "shop": {"accepted": 2, "stored": 2, "duplicates": 0},
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node of two workers to which something of everything was sent."""
    with running_node(tmp_path_factory.mktemp("ledger") / "data", workers=2) as node:
        send_everything(node)
        # Each worker asks the store for itself: as many looks as it takes to have met both.
        wait_for(lambda: all(settled(node) for _ in range(20)), what="a store that has all")
        yield node


def send_everything(node: RunningNode) -> None:
    node.send([{"event": "a"}] * 500)
    node.send([{"event": "i", "id": "same"}] * 3)
    assert node.post("/v1/ingest", {"event": "one"}).status_code == 202
    for _ in range(2):
        answer = node.post("/v1/batch", {"events": [{"event": "k"}] * 3}, {"Idempotency-Key": "key"})
        assert answer.status_code == 202
    # What is refused is not accepted.
    assert node.post("/v1/batch", {"events": [{"event": "a"}, {"event": ""}]}).status_code == 400
    for arguments, events in ((["--test"], 1), (["--project", "shop"], 2)):
        made = run_cli("keys", "create", *arguments, "--data-dir", node.data_dir)
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}

        def is_taken(headers: dict[str, str] = headers, events: int = events) -> bool:
            return node.post("/v1/batch", {"events": [{"event": "t"}] * events}, headers).status_code == 202

        wait_for(is_taken, what="a key that works")


def settled(node: RunningNode) -> bool:
    answer = httpx.get(node.url + "/v1/ready")
    if answer.status_code != 200:
        return False
    ledger = answer.json()["ledger"]
    return set(ledger) == set(EXPECTED) and all(entry["waiting"] == 0 for entry in ledger.values())


def adds_up(entry: dict[str, int]) -> bool:
    return entry["accepted"] == sum(entry[term] for term in TERMS)


def scrape(node: RunningNode) -> dict[tuple[str, ...], float]:
    """Values by name and label values."""
    answer = httpx.get(node.url + "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {(name, *labels.values()): value for name, labels, value in parse(answer.text)}


def test_ready(node: RunningNode) -> None:
    body = httpx.get(node.url + "/v1/ready").json()
    assert list(body) == ["status", "ledger"]
    assert body["status"] == "ready"
    for space, entry in body["ledger"].items():
        assert list(entry) == ["accepted", *TERMS]
        assert adds_up(entry)
        assert entry == {**dict.fromkeys(TERMS, 0), **EXPECTED[space]}


def test_every_worker_gives_the_same_metrics(node: RunningNode) -> None:
    """A new connection reaches whichever worker takes it."""
    for _ in range(20):
        values = scrape(node)
        for space, entry in EXPECTED.items():
            project, _, kind = space.partition(".")
            labels = (project, kind or "live")
            assert values["novamesh_events_accepted_total", *labels] == entry["accepted"]
            assert values["novamesh_events_stored", *labels] == entry["stored"]
            assert values["novamesh_events_duplicate", *labels] == entry["duplicates"]
            for name in ("quarantined", "waiting", "damaged", "missing", "written_off"):
                assert values[f"novamesh_events_{name}", *labels] == 0
        assert values["novamesh_edge_workers",] == 2
        assert values["novamesh_store_up",] == 1
        assert all(values["novamesh_healthy", part] == 1 for part in ("spool", "store", "loader", "ledger"))
        assert values["novamesh_http_requests_total", "success"] >= 7
        assert values["novamesh_http_requests_total", "refused"] >= 1


def test_metrics_are_named_by_the_conventions(node: RunningNode) -> None:
    text = httpx.get(node.url + "/metrics").text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert set(kinds) == set(re.findall(r"^# HELP (\w+) .+$", text, re.MULTILINE))
    for name, kind in kinds.items():
        assert name.startswith("novamesh_")
        assert name.endswith("_total") == (kind == "counter"), name
    documented = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert set(kinds) == set(re.findall(r"^\| `(novamesh_\w+)`", documented, re.MULTILINE))


def test_metrics_take_a_head_and_no_post(node: RunningNode) -> None:
    assert httpx.head(node.url + "/metrics").content == b""
    expect_error(httpx.post(node.url + "/metrics"), 405, "method_not_allowed")


def test_the_status_page_has_it_in_one_line(node: RunningNode) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", " ", httpx.get(node.url + "/").text))
    assert "In all, 513 accepted = 508 stored + 5 duplicates + 0 quarantined + 0 waiting." in text


def status(node: RunningNode) -> tuple[int, dict[str, Any]]:
    done = run_cli("status", "--json", "--data-dir", node.data_dir)
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def test_the_status_command(node: RunningNode) -> None:
    code, document = status(node)
    assert (code, document["status"], document["problems"]) == (0, "ok", [])
    assert (document["node"], document["region"], document["url"]) == ("novamesh-1", "local", node.url)
    assert (document["workers"], document["backlog_bytes"], document["lag_s"]) == (2, 0, 0.0)
    assert document["ledger"] == httpx.get(node.url + "/v1/ready").json()["ledger"]
    assert document["spool_bytes"] > 0
    shown = run_cli("status", "--data-dir", node.data_dir).stdout
    assert "novamesh-1 (local): ok" in shown
    assert "default       510 accepted = 505 stored + 5 duplicates + 0 quarantined + 0 waiting" in shown


def test_the_verify_command(node: RunningNode) -> None:
    done = run_cli("verify", "--data-dir", node.data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert "default: 510 accepted = 505 stored + 5 duplicates + 0 quarantined + 0 waiting\n" in done.stdout
    assert done.stdout.endswith("The ledger holds.\n")
    document = json.loads(run_cli("verify", "--json", "--data-dir", node.data_dir).stdout)
    assert document["holds"] is True
    assert document["spaces"]["default"]["rows"] == 505
    assert all(count == 0 for one in document["spaces"].values() for count in one["gaps"].values())


@pytest.mark.parametrize("command", ["status", "verify"])
def test_where_there_is_no_node(tmp_path: Path, command: str) -> None:
    done = run_cli(command, "--data-dir", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no node's data in" in done.stderr
    assert not (tmp_path / "none").exists()


def test_what_is_not_known_without_a_store_is_not_shown(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=1)
    node.settle()
    wait_for(lambda: httpx.get(node.url + "/v1/ready").status_code == 200, what="readiness")
    (store,) = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    try:
        wait_for(lambda: scrape(node)["novamesh_store_up",] == 0, what="metrics that say so")
        values = scrape(node)
        assert values["novamesh_healthy", "store"] == 0
        assert not any(name.startswith(("novamesh_events", "novamesh_store_lag")) for name, *_ in values)
        expect_error(httpx.get(node.url + "/v1/ready"), 503, "not_ready")
        page = httpx.get(node.url + "/").text
        assert "What became of them is not known while the store does not answer." in page
        assert "accepted =" not in page
        code, document = status(node)
        assert (code, document["status"], document["ledger"]) == (1, "degraded", None)
        assert [problem["part"] for problem in document["problems"]] == ["store"]
        assert (
            "ledger   not known while the store does not answer"
            in run_cli("status", "--data-dir", node.data_dir).stdout
        )
    finally:
        os.kill(store, signal.SIGCONT)
    wait_for(lambda: httpx.get(node.url + "/v1/ready").status_code == 200, what="readiness again")
    assert node.stop() == 0
    code, document = status(node)
    assert (code, document["status"], document["ledger"]) == (1, "stopped", None)
    assert run_cli("verify", "--data-dir", node.data_dir).returncode == 0


def test_an_empty_node(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=1)
    wait_for(lambda: httpx.get(node.url + "/v1/ready").status_code == 200, what="readiness")
    assert httpx.get(node.url + "/v1/ready").json() == {"status": "ready", "ledger": {}}
    assert run_cli("verify", "--data-dir", node.data_dir).stdout == "no events yet\nThe ledger holds.\n"
    assert "ledger   no events yet" in run_cli("status", "--data-dir", node.data_dir).stdout
