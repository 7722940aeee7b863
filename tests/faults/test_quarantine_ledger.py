"""The ledger holds, on a real node, after everything that an operator does about what is in quarantine."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from novamesh.spool.segment import list_segments
from tests.faults.test_ledger import verify
from tests.faults.test_quarantine import bad, command, inject, listed, mend, replayed, restart, wait_for_refused
from tests.support import RunningNode, run_cli, wait_for
from tests.unit.test_exposition import parse

MakeNode = Callable[..., RunningNode]


def counters(node: RunningNode) -> dict[str, int]:
    """Of the project, counted anew: everything must add up, and nothing is in damaged segments."""
    code, spaces = verify(node)
    assert (code, spaces["default"]["damaged"]) == (0, 0), spaces
    counted: dict[str, int] = spaces["default"]["counters"]
    return counted


def shown(node: RunningNode) -> dict[str, int]:
    """The ledger as the edge shows it, whether the node is well or not; without what is 0."""
    found = {}
    for name, labels, value in parse(node.get("/metrics").text):
        if name.startswith("novamesh_events_") and labels.get("project") == "default" and value:
            found[name.removeprefix("novamesh_events_").removesuffix("_total")] = int(value)
    return found


def spoil(node: RunningNode, change: Callable[[bytearray], None]) -> Path:
    """Damage the segment with what waits, and start. Returns where it is when it is set aside."""
    (segment,) = [path for path in list_segments(node.data_dir / "spool") if b"waiting" in path.read_bytes()]
    data = bytearray(segment.read_bytes())
    change(data)
    segment.write_bytes(data)
    node.restart()
    aside = segment.parent / "quarantine" / segment.name
    wait_for(aside.exists, what="the segment in quarantine")
    wait_for(lambda: shown(node).get("damaged"), what=f"a recount: {node.log}")
    return aside


def spoil_header(data: bytearray) -> None:
    """No record is harmed."""
    data[20] ^= 1


def spoil_record(data: bytearray) -> None:
    data[data.find(b'"u1"') + 1] ^= 1


def test_a_segment_of_which_all_is_whole_is_loaded_again(frozen: RunningNode) -> None:
    aside = spoil(frozen, spoil_header)
    wait_for(lambda: shown(frozen) == {"accepted": 15, "stored": 10, "damaged": 5}, what="the ledger")
    assert verify(frozen)[0] == 0
    assert replayed(frozen) == {"stored": 5, "duplicates": 0, "refused": 0}
    assert (list(aside.parent.iterdir()), listed(frozen)) == ([], [])
    assert counters(frozen)["stored"] == 15
    wait_for(lambda: shown(frozen) == {"accepted": 15, "stored": 15}, what="the ledger")
    wait_for(frozen.is_ready, what="a node that is well")
    restart(frozen)
    assert counters(frozen)["received"] == 15


def test_whole_events_that_are_dropped_are_accounted_for(frozen: RunningNode) -> None:
    spoil(frozen, spoil_header)
    assert command(frozen, "drop", "--all", "--yes").stdout == "5 events dropped.\n"
    counted = counters(frozen)
    assert (counted["stored"], counted["quarantined"], counted["dropped"]) == (10, 5, 5)
    wait_for(lambda: shown(frozen) == {"accepted": 15, "stored": 10, "quarantined": 5}, what="the ledger")
    wait_for(frozen.is_ready, what="a node that is well")
    restart(frozen)
    assert counters(frozen) == counted


def test_what_nobody_can_read_is_missing_whatever_is_done(frozen: RunningNode) -> None:
    aside = spoil(frozen, spoil_record)
    assert replayed(frozen)["stored"] == 3
    for there in (True, False):
        assert aside.exists() == there
        code, spaces = verify(frozen)
        assert (code, spaces["default"]["damaged"], spaces["default"]["gaps"]["spool"]) == (1, 0, 1)
        wait_for(lambda: shown(frozen) == {"accepted": 15, "stored": 14, "missing": 1}, what="the ledger")
        assert command(frozen, "drop", "--all", "--yes").returncode == 0


def test_a_segment_that_is_missing_is_listed_and_its_report_dropped(frozen: RunningNode, tmp_path: Path) -> None:
    (segment,) = [path for path in list_segments(frozen.data_dir / "spool") if b"waiting" in path.read_bytes()]
    shutil.move(segment, tmp_path)
    frozen.restart()
    assert frozen.count() == 10  # the store is there
    (entry,) = wait_for(lambda: listed(frozen), what="the report")
    assert (entry["file"], entry["missing"], entry["size"], entry["events"]) == (segment.name, True, 0, 0)
    assert "the segment is missing" in command(frozen, "list").stdout
    done = command(frozen, "replay")
    assert (done.returncode, done.stdout) == (0, "0 events stored, 0 there already, 0 refused again.\n")
    assert "there is nothing to load" in done.stderr
    wait_for(lambda: "novamesh quarantine list" in frozen.get("/v1/ready").text, what="what the store has said")
    assert command(frozen, "drop", "--yes", "--file", segment.name).stdout == "0 events dropped.\n"
    assert list((frozen.data_dir / "spool" / "quarantine").iterdir()) == []
    assert verify(frozen)[1]["default"]["gaps"]["spool"] == 5, "dropping the report makes up for nothing"
    shutil.move(tmp_path / segment.name, segment)
    restart(frozen)
    frozen.wait_for_count(15)
    assert counters(frozen)["stored"] == 15


def test_refused_events(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    inject(node, [{"event": "good", "user_id": "u"}, *(bad(user) for user in "abcu")])
    wait_for_refused(node, 4)
    ids = {event["body"]: event["id"] for event in listed(node)}
    (erased,) = [event_id for body, event_id in ids.items() if '"u"' in body]

    def now() -> dict[str, Any]:
        counted = counters(node)
        wait_for(lambda: shown(node).get("stored") == counted["stored"], what="the ledger")
        assert (counted["received"], sum(node.rows("SELECT coalesce(sum(events), 0)::BIGINT FROM quarantine")[0])) == (
            5,
            counted["quarantined"] - counted["dropped"],
        )
        return {name: counted[name] for name in ("stored", "quarantined", "dropped", "erased")}

    assert replayed(node)["refused"] == 4
    assert now() == {"stored": 1, "quarantined": 4, "dropped": 0, "erased": 0}
    (one, *_) = [event_id for event_id in ids.values() if event_id != erased]
    assert command(node, "drop", "--yes", "--id", one).stdout == "1 event dropped.\n"
    assert now() == {"stored": 1, "quarantined": 4, "dropped": 1, "erased": 0}
    assert run_cli("erase", "--user", "u", f"--data-dir={node.data_dir}").returncode == 0
    assert now() == {"stored": 1, "quarantined": 4, "dropped": 2, "erased": 1}
    restart(node, lambda: mend(node))
    assert replayed(node)["stored"] == 2
    assert now() == {"stored": 3, "quarantined": 2, "dropped": 2, "erased": 1}
    inject(node, [bad("later")])
    wait_for_refused(node, 1)
    restart(node, lambda: None)
    code, spaces = verify(node)
    assert (code, spaces["default"]["quarantine_rows"]) == (0, 1)
