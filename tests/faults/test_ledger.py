"""The ledger after faults: it holds after every kill, and says exactly what is gone if something was taken away."""

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from novamesh.spool.segment import list_segments
from tests.faults.load import Senders, check_exactly_once
from tests.support import RunningNode, run_cli, wait_for
from tests.unit.store_files import make_older


def verify(node: RunningNode) -> tuple[int, dict[str, Any]]:
    """Exit status, and the answer by space."""
    done = run_cli("verify", "--json", "--data-dir", node.data_dir)
    assert done.stderr == "", done.stderr
    document = json.loads(done.stdout)
    assert document["holds"] == (done.returncode == 0)
    return done.returncode, document["spaces"]


def holds(node: RunningNode) -> bool:
    """Whether the ledger holds: also while events are coming in."""
    done = run_cli("verify", "--data-dir", node.data_dir)
    assert "does not hold" not in done.stdout, done.stdout + node.log
    return done.returncode == 0


def wait_until_it_holds(node: RunningNode) -> None:
    """While the store is restarting nothing can be counted; once it can, it must add up."""
    wait_for(lambda: holds(node), what=f"a ledger that holds\n{node.log}")


def restart(node: RunningNode, senders: Senders | None = None) -> None:
    node.restart()
    if senders is not None:
        senders.node = node


def ledger(node: RunningNode) -> dict[str, dict[str, int]]:
    answer: dict[str, dict[str, int]] = wait_for(lambda: node.get("/v1/ready").json().get("ledger"))
    return answer


@pytest.fixture
def frozen(make_node: Callable[..., RunningNode]) -> RunningNode:
    """A node that has stored 10 events and is killed with 7 more, of two projects, in its spool."""
    node = make_node(workers=1)
    node.send([{"event": "stored"}] * 10)
    node.wait_for_count(10)
    made = run_cli("keys", "create", "--test", "--data-dir", node.data_dir).stdout.strip()
    (store,) = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    node.send([{"event": "waiting"}] * 5)
    body, headers = {"events": [{"event": "waiting"}] * 2}, {"Authorization": f"Bearer {made}"}
    wait_for(lambda: node.post("/v1/batch", body, headers).status_code == 202, what="a test key that works")
    node.kill()
    return node


def test_it_holds_after_every_kill(make_node: Callable[..., RunningNode]) -> None:
    rng = random.Random(11)
    node = make_node(workers=2, spool_segment_bytes=11_000_000)
    senders = Senders(node, seed=11)
    for victim in ["worker", "store", "node", "worker", "supervisor"]:
        senders.wait_for_more(rng.randrange(200, 1000))
        if victim == "worker":
            node.signal("edge", signal.SIGKILL)
        elif victim == "store":
            node.signal("store", signal.SIGKILL)
        else:
            if victim == "supervisor":
                os.kill(node.process.pid, signal.SIGKILL)
                wait_for(lambda: not any(node.children().values()), what="the end of the children")
            node.kill()
            assert verify(node)[0] == 0, "as it lies there"
            restart(node, senders)
        wait_until_it_holds(node)
    senders.stop()
    check_exactly_once(node, senders)
    wait_until_it_holds(node)
    assert node.stop() == 0
    code, spaces = verify(node)
    counters = spaces["default"]["counters"]
    assert (code, spaces["default"]["waiting"]) == (0, 0)
    assert counters["stored"] == spaces["default"]["rows"] >= len(senders.acknowledged)
    assert spaces["default"]["accepted"] == counters["received"] == counters["stored"] + counters["duplicates"]


def test_what_waits_in_the_spool_of_a_dead_node(frozen: RunningNode) -> None:
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["accepted"], spaces["default"]["waiting"]) == (0, 15, 5)
    assert (spaces["default.test"]["accepted"], spaces["default.test"]["waiting"]) == (2, 2)
    restart(frozen)
    frozen.wait_for_count(15)
    wait_for(lambda: ledger(frozen)["default"]["waiting"] == 0, what="nothing that waits")
    assert ledger(frozen)["default"]["accepted"] == 15
    assert verify(frozen)[0] == 0


def test_a_segment_deleted_by_hand_is_missed_until_it_is_back(frozen: RunningNode, tmp_path: Path) -> None:
    taken = list_segments(frozen.data_dir / "spool")
    for segment in taken:
        shutil.move(segment, tmp_path)
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["gaps"]["spool"], spaces["default.test"]["gaps"]["spool"]) == (1, 5, 2)
    shown = run_cli("verify", "--data-dir", frozen.data_dir).stdout
    assert "default: 15 accepted = 10 stored + 0 duplicates + 0 quarantined + 0 waiting + 5 missing" in shown
    assert "5 accepted events are neither in the spool nor in the store. Put back the segments" in shown
    restart(frozen)

    def details() -> list[dict[str, str]] | None:
        found: list[dict[str, str]] = frozen.get("/v1/ready").json().get("details", [])
        return [detail for detail in found if detail["pointer"] == "/ledger"]

    (detail,) = wait_for(details, what="a ledger that is named")
    assert "the ledger of default, default.test does not add up: run novamesh verify" in detail["message"]
    assert frozen.get("/v1/health").json()["status"] == "degraded"
    wait_for(lambda: "+ 7 missing" in frozen.get("/").text, what="the page")
    missing = 'novamesh_events_missing{project="default",kind="live"} 5'
    wait_for(lambda: missing in frozen.get("/metrics").text, what="the metrics")
    assert verify(frozen)[0] == 1
    done = run_cli("status", "--data-dir", frozen.data_dir)
    assert (done.returncode, "5 missing" in done.stdout) == (1, True)
    # It is neither forgotten over a restart nor made up for by what comes later.
    assert frozen.post("/v1/ingest", {"event": "later"}).status_code == 202
    assert frozen.stop() == 0
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["gaps"]["spool"]) == (1, 5)
    for segment in taken:
        shutil.move(tmp_path / segment.name, segment)
    restart(frozen)
    frozen.wait_for_count(16)
    wait_for(frozen.is_ready, what="a node that is well again")
    assert verify(frozen)[0] == 0


def test_rows_deleted_by_hand_are_missed(frozen: RunningNode) -> None:
    restart(frozen)
    frozen.wait_for_count(15)
    assert frozen.stop() == 0
    with duckdb.connect(frozen.data_dir / "store" / "store.duckdb") as connection:
        connection.execute("DELETE FROM p_default.events_shredded WHERE event = 'waiting'")
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["gaps"]["rows"], spaces["default.test"]["gaps"]["rows"]) == (1, 5, 0)
    assert "5 stored events are not in the database" in run_cli("verify", "--data-dir", frozen.data_dir).stdout
    restart(frozen)
    wait_for(lambda: "does not add up" in frozen.get("/v1/ready").text, what="the loss")
    assert verify(frozen)[0] == 1


def test_a_database_that_is_gone(frozen: RunningNode) -> None:
    shutil.rmtree(frozen.data_dir / "store")
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["rows"], spaces["default"]["waiting"]) == (0, 0, 15), "it is all still in the spool"
    restart(frozen)
    frozen.wait_for_count(15)
    assert frozen.stop() == 0
    shutil.rmtree(frozen.data_dir / "store")
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["gaps"]["spool"], spaces["default.test"]["gaps"]["spool"]) == (1, 15, 2)


@pytest.mark.parametrize("loaded", [False, True], ids=["in the spool", "loaded"])
def test_counts_that_a_power_cut_took_are_made_anew(frozen: RunningNode, loaded: bool) -> None:
    if loaded:
        restart(frozen)
        frozen.wait_for_count(15)
        frozen.kill()
    shutil.rmtree(frozen.data_dir / "ledger")
    restart(frozen)
    frozen.wait_for_count(15)
    wait_for(lambda: frozen.is_ready() and ledger(frozen)["default"]["accepted"] == 15, what="the count")
    wait_for(lambda: verify(frozen)[0] == 0, what="a ledger that holds")
    assert frozen.stop() == 0
    assert verify(frozen)[0] == 0


def test_a_directory_of_a_version_that_had_no_ledger(frozen: RunningNode) -> None:
    """The spool has events that nobody has counted, the database counters without their sum."""
    shutil.rmtree(frozen.data_dir / "ledger")
    make_older(frozen.data_dir / "store" / "store.duckdb", 2)
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["accepted"], spaces["default"]["waiting"]) == (0, 15, 5)
    restart(frozen)
    frozen.wait_for_count(15)
    wait_for(lambda: frozen.is_ready() and ledger(frozen)["default"]["waiting"] == 0, what="nothing that waits")
    assert verify(frozen)[0] == 0
    assert frozen.post("/v1/ingest", {"event": "later"}).status_code == 202
    wait_for(lambda: ledger(frozen)["default"]["stored"] == 16, what="the sixteenth")
    assert ledger(frozen)["default"]["accepted"] == 16


def test_a_damaged_segment(frozen: RunningNode) -> None:
    """What is whole behind the damage is damaged, what lay in the damaged place is missing."""
    (segment,) = [path for path in list_segments(frozen.data_dir / "spool") if b"waiting" in path.read_bytes()]
    data = bytearray(segment.read_bytes())
    data[data.find(b"waiting")] ^= 1
    segment.write_bytes(data)
    restart(frozen)
    wait_for(lambda: "damaged or missing segments" in frozen.get("/v1/ready").text, what="a damaged segment")
    wait_for(lambda: verify(frozen)[1]["default.test"]["damaged"] == 2, what="the recount")
    code, spaces = verify(frozen)
    assert (code, spaces["default"]["gaps"]["spool"], spaces["default.test"]["gaps"]["spool"]) == (1, 5, 0)
