"""What the disk lost and an operator writes off: real damage, real nodes, the command as it is run, and kills."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from novamesh.spool.repair import QUARANTINE, clear_leftovers, unresolved
from novamesh.spool.segment import list_segments
from novamesh.store import writeoff
from novamesh.store.writeoff import WriteOffs, read_write_offs
from tests.faults.files import FaultyFiles
from tests.faults.load_cycle import KILLED
from tests.faults.test_ledger import restart
from tests.faults.test_quarantine import replayed
from tests.faults.test_quarantine_ledger import shown, spoil, spoil_record
from tests.faults.write_off_steps import PLACES, write_off
from tests.support import RunningNode, clean_environment, run_cli, wait_for
from tests.unit.store_files import Store, named

COMMAND = ("write-off", "--reason", "the disk failed")


def run(node: RunningNode, *options: str, code: int = 0) -> str:
    """What the command says on both streams."""
    done = run_cli(*COMMAND, *options, "--data-dir", node.data_dir)
    assert done.returncode == code, done.stderr
    return done.stderr + done.stdout


def told(node: RunningNode) -> str:
    """What ``novamesh verify`` says of a ledger that holds."""
    done = run_cli("verify", "--data-dir", node.data_dir)
    assert (done.returncode, done.stdout[-18:]) == (0, "The ledger holds.\n"), done.stdout
    return done.stdout


def test_a_flipped_bit(frozen: RunningNode) -> None:
    """What is whole is loaded first; then the rest is written off, and said wherever the ledger is."""
    aside = spoil(frozen, spoil_record)
    assert "3 events are whole in damaged segments: load them with novamesh quarantine replay" in run(frozen, code=1)
    assert replayed(frozen)["stored"] == 3
    wait_for(lambda: shown(frozen).get("missing") == 1, what="the recount")
    content = aside.read_bytes()
    said = run(frozen, "--yes")
    assert "lost: 1 event of default\n" in said
    assert f"{aside.name}: kept in spool/quarantine, {len(content):,} bytes; from offset" in said
    assert said.endswith("written off: 1 event of default\n")
    assert "no accepted event is missing" in run(frozen, "--yes", code=1)
    wait_for(frozen.is_ready, what=f"a node that is well: {frozen.log}")
    entry = httpx.get(frozen.url + "/v1/ready").json()["ledger"]["default"]
    assert (entry["accepted"], entry["stored"], entry["missing"], entry["written_off"]) == (15, 14, 0, 1)
    line = "15 accepted = 14 stored + 0 duplicates + 0 quarantined + 0 waiting + 1 written off"
    status = run_cli("status", "--data-dir", frozen.data_dir)
    assert (status.returncode, line in status.stdout) == (0, True)
    page = httpx.get(frozen.url + "/").text
    assert f"In all, {line}." in page
    assert "Not all accepted events are stored" not in page
    assert "written off; " in run_cli("quarantine", "list", "--data-dir", frozen.data_dir).stdout
    frozen.kill()
    restart(frozen)
    wait_for(frozen.is_ready, what=f"a node that is well: {frozen.log}")
    assert shown(frozen) == {"accepted": 15, "stored": 14, "written_off": 1}
    said = told(frozen)
    assert f"default: {line}\nwritten off at " in said
    assert "1 event of default, because: the disk failed\n" in said
    assert aside.read_bytes() == content


def answered_too_late(node: RunningNode, meanwhile: Callable[[], object]) -> str:
    """What the command says if something happens before its question is answered with yes."""
    command = [sys.executable, "-m", "novamesh.cli", *COMMAND, f"--data-dir={node.data_dir}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "lost: 5 events of default\n"
        meanwhile()
        said: str = process.communicate("y\n")[1]
    assert process.returncode == 1
    return said


def test_a_segment_that_is_deleted(frozen: RunningNode, tmp_path: Path) -> None:
    """Written off while the node is stopped, kept by a backup, and gone from the ledger when the segment is back."""
    (segment,) = [path for path in list_segments(frozen.data_dir / "spool") if b"waiting" in path.read_bytes()]
    kept = Path(shutil.move(segment, tmp_path))
    part = kept.read_bytes()[:-128]
    assert writeoff.CHANGED in answered_too_late(frozen, lambda: segment.write_bytes(part))
    segment.unlink()
    said = run(frozen, code=1)
    assert "lost: 5 events of default\n" in said
    assert "Write them off?" in said
    run(frozen, "--yes")
    restart(frozen)
    wait_for(frozen.is_ready, what=f"a node that is well: {frozen.log}")
    assert shown(frozen) == {"accepted": 15, "stored": 10, "written_off": 5}
    copy, again = tmp_path / "copy", tmp_path / "again"
    assert run_cli("backup", copy, "--data-dir", frozen.data_dir).returncode == 0
    assert run_cli("restore", copy, "--data-dir", again).returncode == 0
    document = json.loads(run_cli("verify", "--json", "--data-dir", again).stdout)
    assert (document["holds"], document["spaces"]["default"]["written_off"]) == (True, 5)
    (record,) = document["write_offs"]
    assert (record["events"], record["reason"]) == ({"default": 5}, "the disk failed")
    assert frozen.stop() == 0
    shutil.move(kept, segment)
    assert "5 waiting\nwritten off at " in told(frozen)
    restart(frozen)
    frozen.wait_for_count(15)
    wait_for(lambda: frozen.is_ready() and shown(frozen) == {"accepted": 15, "stored": 15}, what="a node that is well")
    assert "5 of the events that were written off have come back\n" in told(frozen)


@pytest.mark.parametrize("place", range(len(PLACES)), ids=[place.step.name for place in PLACES])
def test_a_kill_in_the_middle(tmp_path: Path, place: int) -> None:
    """It is written off once or not at all, and the report says so at the latest after the next start."""
    store = Store(tmp_path)
    store.accept(*(store.record(named(name)) for name in ("a", "lost")))
    (path,) = list_segments(store.spool)
    path.write_bytes(path.read_bytes().replace(b"lost", b"last"))
    store.load()
    store.die()
    command = [sys.executable, "-m", "tests.faults.write_off_steps", str(tmp_path), str(place)]
    died = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert died.returncode == KILLED
    store.start()
    clear_leftovers(store.spool)  # both as at a start
    WriteOffs(store.database, store.places).finish()
    done = PLACES[place].is_done
    one = store.recount()["default"]
    assert (one.written_off, one.gaps.spool) == ((1, 0) if done else (0, 1))
    assert unresolved(store.spool) == (set() if done else {path.stem})
    assert (write_off(store, FaultyFiles()) == writeoff.NOTHING) == done
    with store.database.cursor() as cursor:
        assert [record.events for record in read_write_offs(cursor)] == [{"default": 1}]
    assert unresolved(store.spool) == set()
    assert sorted(one.name for one in (store.spool / QUARANTINE).iterdir()) == [path.stem + ".json", path.name]
    assert [one.name for one in store.spool.iterdir()] == [QUARANTINE]
    store.die()
