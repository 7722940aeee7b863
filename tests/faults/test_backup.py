"""Backups: made while events come in, checked, restored; and a node that lost its database and got it back."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from novamesh.cli.store import asking, holding
from novamesh.datadir import DataDirectory
from novamesh.errors import StoreUnavailable
from novamesh.store import backup as backups
from novamesh.store.contract import HoldAnswer, HoldRequest
from tests.faults.load import Senders, stored_users
from tests.support import RunningNode, run_cli, running_node, wait_for


def back_up(node: RunningNode, target: Path) -> None:
    done = run_cli("backup", target, f"--data-dir={node.data_dir}")
    assert done.returncode == 0, done.stderr


def test_of_a_node_under_load_every_event_acknowledged_before_is_in_it_once(
    make_node: Callable[..., RunningNode], tmp_path: Path
) -> None:
    node = make_node(workers=2)
    senders = Senders(node, seed=11)
    senders.wait_for_more(3000)
    assert node.count() >= 0  # the store is there
    before = set(senders.acknowledged)
    back_up(node, tmp_path / "copy")
    senders.wait_for_more(500)  # the node took no harm
    senders.stop()
    assert run_cli("restore", tmp_path / "copy", f"--data-dir={tmp_path / 'again'}").returncode == 0
    with running_node(tmp_path / "again") as restored:
        restored.key = node.key  # keys are in the backup too
        wait_for(lambda: before <= stored_users(restored).keys(), what="all events of the backup")
        restored.settle()
        found = stored_users(restored)
        assert set(found.values()) == {1}
        assert found.keys() - {name for name in found if name.startswith("settled-")} <= (
            senders.acknowledged | senders.unknown
        )
        assert restored.post("/v1/ingest", {"event": "after", "user_id": "after"}).status_code == 202
        wait_for(lambda: "after" in stored_users(restored), what="an event sent to the restored node")


def test_of_a_stopped_node_and_of_its_empty_one(make_node: Callable[..., RunningNode], tmp_path: Path) -> None:
    node = make_node()
    node.stop()
    back_up(node, tmp_path / "empty")
    node.restart()
    node.send([{"event": "e", "user_id": f"u{n}"} for n in range(10)])
    node.stop()
    back_up(node, tmp_path / "ten")
    assert json.loads((tmp_path / "ten" / "backup.json").read_text())["events"] == 10
    for name, count in (("empty", 0), ("ten", 10)):
        assert run_cli("restore", tmp_path / name, f"--data-dir={tmp_path / ('from-' + name)}").returncode == 0
        with running_node(tmp_path / f"from-{name}") as restored:
            restored.key = node.key
            assert restored.count() == count


def test_a_lost_database_comes_back_and_nothing_that_waited_is_lost_or_doubled(
    make_node: Callable[..., RunningNode], tmp_path: Path
) -> None:
    node = make_node()
    node.send([{"event": "before", "user_id": f"before-{n}"} for n in range(1000)])
    node.wait_for_count(1000)
    back_up(node, tmp_path / "copy")
    node.kill()
    # Segments as the node that died has left them: partly in the database that is gone, all of them in the spool.
    file = node.data_dir / "store" / "store.duckdb"
    file.write_bytes(file.read_bytes()[:4096] + bytes(8192))
    node.restart()
    node.send([{"event": "after", "user_id": f"after-{n}"} for n in range(500)])
    wait_for(lambda: "novamesh restore" in node.query("SELECT 1").text, what="the reason why there is no database")
    done = run_cli("restore", tmp_path / "copy", f"--data-dir={node.data_dir}")
    assert done.returncode == 0, done.stderr
    node.wait_for_count(1500)
    node.settle()
    assert node.rows("SELECT count(*), count(DISTINCT user_id) FROM events") == [[1501, 1501]]


@pytest.mark.parametrize("harm", ["shorter", "changed", "missing"])
def test_a_damaged_backup_is_refused_and_nothing_is_restored(node: RunningNode, tmp_path: Path, harm: str) -> None:
    assert node.count() == 0  # the store is there
    back_up(node, tmp_path / "copy")
    file = tmp_path / "copy" / "store" / "store.duckdb"
    content = file.read_bytes()
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(
            content[:-1] if harm == "shorter" else content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
        )
    done = run_cli("restore", tmp_path / "copy", f"--data-dir={tmp_path / 'again'}")
    assert done.returncode == 1
    assert "store.duckdb" in done.stderr
    assert not (tmp_path / "again").exists()


def test_what_a_backup_and_a_restore_refuse(node: RunningNode, tmp_path: Path) -> None:
    assert node.count() == 0  # the store is there
    back_up(node, tmp_path / "copy")
    refused = {
        "exists already": run_cli("backup", tmp_path / "copy", f"--data-dir={node.data_dir}"),
        "no node's data": run_cli("backup", tmp_path / "new", f"--data-dir={tmp_path / 'none'}"),
        "has a database": run_cli("restore", tmp_path / "copy", f"--data-dir={node.data_dir}"),
        "is no backup": run_cli("restore", node.data_dir, f"--data-dir={tmp_path / 'none'}"),
        "holds other files": run_cli("restore", tmp_path / "copy", f"--data-dir={tmp_path}"),
    }
    for message, done in refused.items():
        assert done.returncode == 1
        assert message in done.stderr


def test_while_a_copy_is_made_the_node_accepts_and_answers_and_loads_afterwards(node: RunningNode) -> None:
    assert node.count() == 0  # the store is there
    with asking(DataDirectory(node.data_dir), HoldRequest(), HoldAnswer) as held:
        assert held.events == 0
        node.send([{"event": "e", "user_id": f"u{n}"} for n in range(100)])
        assert node.count() == 0  # answered, from what is stored
    node.wait_for_count(100)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_copy_during_which_the_store_went_away_is_no_backup(node: RunningNode, tmp_path: Path, how: str) -> None:
    """What it copied may have been written to meanwhile."""
    assert node.count() == 0  # the store is there
    directory = DataDirectory(node.data_dir)
    with holding(directory) as (held, still):
        still()
        if how == "stopped":
            assert node.stop() == 0
        else:
            (store,) = node.children()["store"]
            os.kill(store, signal.SIGKILL)
            wait_for(lambda: store not in node.children()["store"], what="the end of the store")
        with pytest.raises(StoreUnavailable, match="there is no backup, try again"):
            backups.copy(directory, tmp_path / "copy", held.events, still)
    assert not list(tmp_path.glob("copy*"))


def test_a_node_that_is_told_to_stop_while_a_copy_is_made_stops(node: RunningNode) -> None:
    assert node.count() == 0  # the store is there
    with asking(DataDirectory(node.data_dir), HoldRequest(), HoldAnswer) as held:
        assert held.events == 0
        assert node.post("/v1/ingest", {"event": "e"}).status_code == 202
        assert node.stop() == 0
    assert not list((node.data_dir / "spool").glob("*.seg"))
