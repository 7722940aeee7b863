"""Losses that are written off: once, only what is lost, and whatever comes back is counted on one side only."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from novamesh.spool.frame import SegmentHeader, encode_frame, encode_segment_header
from novamesh.spool.repair import QUARANTINE, report_missing, unresolved
from novamesh.spool.segment import list_segments
from novamesh.store import writeoff
from novamesh.store.contract import Counters, Gaps, Recount
from novamesh.store.loss import Loss, WriteOffRequest
from novamesh.store.setaside import SetAside
from novamesh.store.writeoff import WriteOffs, read_write_offs
from tests.faults.files import FaultyFiles
from tests.unit.store_files import Store, make_older, named

TEST = "default.test"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """3 events are stored, 2 and a test event wait in segments of their own."""
    with Store(tmp_path / "data") as made:
        made.accept(made.record(named("a", "b", "c")))
        made.load()
        made.accept(made.record(named("d", "e")))
        made.accept(made.record(named("f"), TEST))
        yield made


def find(store: Store, error: str | None = None) -> Loss:
    return WriteOffs(store.database, store.places).find(store.recount(), error)


def write(store: Store, loss: Loss | None = None) -> Loss:
    """Write off what is lost, or what was shown."""
    request = WriteOffRequest("a reason", loss or find(store))
    return WriteOffs(store.database, store.places).write(request, store.recount(), None)


def take_away(store: Store, to: Path) -> list[Path]:
    """The segments that wait, moved; where they were."""
    to.mkdir()
    taken = list_segments(store.spool)
    for path in taken:
        shutil.move(path, to)
    return taken


def holds(store: Store) -> dict[str, tuple[int, int, int]]:
    """By space: accepted, stored, written off; the ledger must hold."""
    spaces = store.recount()
    for one in spaces.values():
        assert (one.gaps.spool, one.gaps.load, one.gaps.rows, one.gaps.quarantine) == (0, 0, 0, 0), spaces
    return {space: (one.accepted, one.counters.stored, one.written_off) for space, one in spaces.items()}


def damage(path: Path, text: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.find(text)] ^= 1
    path.write_bytes(data)


def records(store: Store) -> list[tuple[str, dict[str, int]]]:
    with store.database.cursor() as cursor:
        return [(one.reason, one.events) for one in read_write_offs(cursor)]


def test_a_loss_is_written_off_once(store: Store, tmp_path: Path) -> None:
    take_away(store, tmp_path / "taken")
    lost = {"default": 2, TEST: 1}
    assert find(store).events == lost
    assert write(store) == Loss(lost, [])
    for _ in range(2):
        assert holds(store) == {"default": (5, 3, 2), TEST: (1, 0, 1)}
        assert records(store) == [("a reason", lost)]
        assert write(store).refused == writeoff.NOTHING
        store.restart()
    store.accept(store.record(named("later")))
    store.load()
    assert holds(store) == {"default": (6, 4, 2), TEST: (1, 0, 1)}


def test_what_comes_back_is_no_longer_written_off(store: Store, tmp_path: Path) -> None:
    taken = take_away(store, tmp_path / "taken")
    write(store)
    for path in taken:
        shutil.move(tmp_path / "taken" / path.name, path)
    assert holds(store) == {"default": (5, 3, 0), TEST: (1, 0, 0)}, "it waits"
    store.restart()
    store.load()
    assert holds(store) == {"default": (5, 5, 0), TEST: (1, 1, 0)}
    assert store.database.counters[TEST] == Counters(1, 1)
    # A later loss is not hidden by what was written off once.
    store.accept(store.record(named("g", "h")))
    for path in list_segments(store.spool):
        path.unlink()
    assert store.recount()["default"].gaps == Gaps(spool=2)
    assert find(store).events == {"default": 2}
    write(store)
    assert holds(store)["default"] == (7, 5, 2)
    assert len(records(store)) == 2


def test_another_loss_does_not_pass_for_one_that_was_written_off(store: Store, tmp_path: Path) -> None:
    """One segment comes back while another as large goes."""
    (taken, *_) = take_away(store, tmp_path / "taken")
    write(store)
    store.accept(store.record(named("g", "h")))
    (gone,) = list_segments(store.spool)
    shutil.move(tmp_path / "taken" / taken.name, taken)
    gone.unlink()
    for _ in range(2):
        assert store.recount()["default"].gaps == Gaps(spool=2)
        store.load()
    assert store.database.counters["default"].written_off == 0


def test_what_comes_back_damaged(store: Store, tmp_path: Path) -> None:
    """Some of it is loaded, some is whole behind the damage, some stays lost: each is counted as what it is."""
    store.load()
    store.accept(*(store.record(named(name, name)) for name in ("one", "two", "three")))
    (taken,) = take_away(store, tmp_path / "taken")
    report_missing(taken, 0, 1000)
    assert write(store).events == {"default": 6}
    assert unresolved(store.spool) == set()
    damage(tmp_path / "taken" / taken.name, b"two")
    shutil.move(tmp_path / "taken" / taken.name, taken)
    store.restart()
    store.load()
    one = store.recount()["default"]
    assert (one.counters.written_off, one.returning, one.written_off, one.gaps) == (4, 2, 2, Gaps(damaged=2))
    WriteOffs(store.database, store.places).finish()
    assert unresolved(store.spool) == {taken.stem}, "this damage is another matter"
    segments = SetAside(store.database, store.loader, store.places)
    while segments.replay(taken.name, foreign=False).left:
        pass
    assert holds(store)["default"] == (11, 9, 2)
    assert find(store).refused == writeoff.NOTHING


def test_what_comes_back_and_is_dropped(store: Store, tmp_path: Path) -> None:
    (taken, other) = take_away(store, tmp_path / "taken")
    write(store)
    data = bytearray((tmp_path / "taken" / taken.name).read_bytes())
    data[20] ^= 1
    taken.write_bytes(data)
    store.restart()
    store.load()
    assert store.recount()["default"].gaps == Gaps(damaged=2)
    assert SetAside(store.database, store.loader, store.places).drop(taken.name).dropped == 2
    assert holds(store)["default"] == (5, 3, 0)
    assert store.database.counters["default"].quarantined == 2
    assert not other.exists()


def test_damaged_segments_are_kept_and_marked(store: Store) -> None:
    (first, second) = list_segments(store.spool)
    damage(first, b'"d"')
    foreign = first.with_name("9999999999999999-1.seg")
    foreign.write_bytes(encode_segment_header(SegmentHeader(1, b"x" * 16)) + b"".join(encode_frame(1, b"not ours")))
    content = first.read_bytes()
    store.load()
    aside = store.spool / QUARANTINE
    assert unresolved(store.spool) == {first.stem, foreign.stem}
    loss = write(store)
    assert (loss.events, [(one.file, one.size, one.missing) for one in loss.segments]) == (
        {"default": 2},
        [(first.name, len(content), False)],
    )
    assert (aside / first.name).read_bytes() == content
    assert unresolved(store.spool) == {foreign.stem}, "of another node's nothing was written off"
    shown = {one.file: one.written_off for one in SetAside(store.database, store.loader, store.places).survey()}
    assert shown == {first.name: True, foreign.name: False}
    assert holds(store) == {"default": (5, 3, 2), TEST: (1, 1, 0)}
    SetAside(store.database, store.loader, store.places).drop(first.name)
    store.restart()
    assert holds(store) == {"default": (5, 3, 2), TEST: (1, 1, 0)}
    assert not second.exists()


def test_a_report_that_the_disk_refuses_is_written_later(store: Store) -> None:
    (first, _) = list_segments(store.spool)
    damage(first, b'"d"')
    store.load()
    files = FaultyFiles()
    files.fail("open", errno.ENOSPC)
    writing = WriteOffs(store.database, store.places, files)
    assert writing.write(WriteOffRequest("why", find(store)), store.recount(), None).refused is None
    assert (holds(store)["default"], unresolved(store.spool)) == ((5, 3, 2), {first.stem})
    writing.finish()
    assert unresolved(store.spool) == set()


def test_what_is_whole_must_be_loaded_first(store: Store) -> None:
    store.load()
    store.accept(*(store.record(named(name)) for name in ("one", "two", "three")))
    (path,) = list_segments(store.spool)
    damage(path, b"two")
    store.load()
    assert (find(store).events, find(store).refused) == ({"default": 1}, writeoff._WHOLE.format(events=1))
    segments = SetAside(store.database, store.loader, store.places)
    while segments.replay(path.name, foreign=False).left:
        pass
    assert find(store).refused is None


def test_only_what_was_shown_is_written_off(store: Store, tmp_path: Path) -> None:
    (first, second) = list_segments(store.spool)
    first.unlink()
    shown = find(store)
    second.unlink()
    assert write(store, shown).refused == writeoff.CHANGED
    assert (records(store), store.recount()["default"].gaps) == ([], Gaps(spool=2))
    report_missing(first, 0, 100)
    assert write(store, find(store)).refused is None


@pytest.mark.parametrize(
    ("gaps", "error", "refusal"),
    [
        ({}, None, writeoff.NOTHING),
        ({"rows": 1}, None, writeoff._ELSEWHERE),
        ({"load": 1}, None, writeoff._ELSEWHERE),
        ({"spool": -1}, None, writeoff._SURPLUS),
        ({"spool": 1}, "EIO", writeoff._LOADING.format(error="EIO")),
        ({"spool": 1, "rows": 1}, None, None),
    ],
)
def test_what_is_refused(gaps: dict[str, int], error: str | None, refusal: str | None) -> None:
    lost, rows, load = gaps.get("spool", 0), gaps.get("rows", 0), gaps.get("load", 0)
    one = Recount(5 + load + lost, 0, 0, 5 - rows, 0, Counters(5 + load, 5))
    assert one.gaps == Gaps(**gaps)
    two = Recount(1, 1, 0, 0, 0, Counters())
    events = {"a": lost} if lost > 0 else {}
    assert writeoff._refusal({"a": one, "b": two}, events, error) == refusal


def test_counts_that_a_power_cut_took_leave_it_written_off(store: Store, tmp_path: Path) -> None:
    take_away(store, tmp_path / "taken")
    write(store)
    shutil.rmtree(store.places.ledger)
    spaces = store.recount()
    assert {space: one.gaps.spool for space, one in spaces.items()} == {"default": -5, TEST: -1}
    store.places.ledger.mkdir()
    store.database.add_recovered({"default": 5, TEST: 1})  # as the auditor does at a start
    assert holds(store) == {"default": (5, 3, 2), TEST: (1, 0, 1)}


def test_a_database_of_an_older_version(store: Store) -> None:
    store.load()
    store.die()
    make_older(store.file, 4)
    store.start()
    assert (records(store), store.database.lost) == ([], frozenset())
    assert holds(store) == {"default": (5, 5, 0), TEST: (1, 1, 0)}
