"""The writers' counts: whole wherever a writer is killed, and each folded once."""

import errno
import os
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from novamesh.spool import tally
from novamesh.spool.frame import SEGMENT_HEADER_SIZE
from novamesh.spool.segment import list_segments
from novamesh.spool.tally import HALF_BYTES, Counted, Tally, fold, read
from novamesh.spool.writer import SpoolWriter
from tests.unit.spool_files import read_all, record, with_writer


class Directories:
    """A spool and a ledger; ``worker`` is a writer's tally, closed by ``end``."""

    def __init__(self, path: Path) -> None:
        self.spool, self.ledger = path / "spool", path / "ledger"
        self.spool.mkdir()
        self._open: list[Tally] = []

    def worker(self) -> Tally:
        made = Tally(self.ledger, self.spool)
        self._open.append(made)
        return made

    def end(self) -> None:
        while self._open:
            self._open.pop().close()

    def segment(self, name: str) -> str:
        (self.spool / name).touch()
        return name

    def files(self) -> list[Path]:
        return sorted(self.ledger.glob("*.tally"))


@pytest.fixture
def at(tmp_path: Path) -> Directories:
    return Directories(tmp_path)


def test_several_workers_are_added_up(at: Directories) -> None:
    one, two = at.worker(), at.worker()
    assert read(at.ledger) == Counted({}, {})
    assert one.add("1.seg", 100, [("default", 500), ("default.test", 1), ("default", 2)])
    assert two.add("2.seg", 80, [("default", 7)])
    assert one.add("1.seg", 200, [("other", 1)])
    assert read(at.ledger) == Counted({"default": 509, "default.test": 1, "other": 1}, {"1.seg": 200, "2.seg": 80})
    at.end()
    assert read(at.ledger).counts["default"] == 509


def test_nothing_to_read(tmp_path: Path) -> None:
    assert read(tmp_path / "missing") == Counted({}, {})


def test_a_file_is_written_whole_from_the_first_moment(at: Directories) -> None:
    at.worker()
    (path,) = at.files()
    assert path.stat().st_size == 2 * HALF_BYTES
    assert path.stat().st_blocks * 512 >= 2 * HALF_BYTES, "a hole: a full disk would refuse to count"
    at.end()


def test_spaces_that_come_later_find_room(at: Directories) -> None:
    worker = at.worker()
    expected: dict[str, int] = {}
    for n in range(400):
        space = f"{'project' * 5}_{n}"
        expected[space] = n + 1
        assert worker.add("1.seg", n, [(space, n + 1)])
        if n % 50 == 0:
            assert read(at.ledger).counts == expected
    assert read(at.ledger) == Counted(expected, {"1.seg": 399})
    (path,) = at.files()
    assert path.stat().st_size > 2 * HALF_BYTES
    at.end()


def test_a_change_that_was_cut_short_at_any_byte_leaves_the_state_before_or_after(at: Directories) -> None:
    worker = at.worker()
    states: list[tuple[Counted, bytes]] = []
    (path,) = at.files()
    for n in range(4):
        worker.add("1.seg", n, [("default", n + 1)])
        states.append((read(at.ledger), path.read_bytes()))
    at.end()
    for (before, old), (after, new) in pairwise(states):
        changed = [place for place in range(len(new)) if old[place] != new[place]]
        seen = set[int]()
        for place in range(changed[0], changed[-1] + 2):
            path.write_bytes(new[:place] + old[place:])
            found = read(at.ledger)
            assert found in (before, after)
            seen.add(found.segments["1.seg"])
        assert seen == {before.segments["1.seg"], after.segments["1.seg"]}


def test_a_damaged_half_is_not_believed(at: Directories) -> None:
    worker = at.worker()
    worker.add("1.seg", 1, [("default", 1)])
    worker.add("1.seg", 2, [("default", 1)])
    at.end()
    (path,) = at.files()
    content = path.read_bytes()
    for place in range(60):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        found = read(at.ledger)
        assert found.counts["default"] == found.segments["1.seg"] in (1, 2)


def test_what_the_disk_refuses_is_not_counted_then_or_later(at: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = at.worker()
    worker.add("1.seg", 1, [("default", 1)])

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        assert not worker.add("1.seg", 2, [("default", 10)])
        assert read(at.ledger) == Counted({"default": 1}, {"1.seg": 1})
    assert worker.add("2.seg", 5, [("default", 100)])
    assert read(at.ledger).counts == {"default": 101}
    at.end()


def test_segments_that_are_gone_are_forgotten(at: Directories) -> None:
    worker = at.worker()
    worker.add(at.segment("1.seg"), 1, [])
    worker.add(at.segment("2.seg"), 2, [])
    (at.spool / "1.seg").unlink()
    worker.add(at.segment("3.seg"), 3, [])
    assert read(at.ledger).segments == {"2.seg": 2, "3.seg": 3}
    at.end()


# ---- Between two runs -----------------------------------------------------------------------------------


def run(at: Directories, **counts: int) -> None:
    worker = at.worker()
    worker.add(at.segment("1.seg"), 8, counts.items())
    at.end()


def test_runs_are_folded_into_one_base(at: Directories) -> None:
    for _ in range(3):
        run(at, default=5, other=1)
        fold(at.ledger, at.spool)
        assert at.files() == []
    assert read(at.ledger) == Counted({"default": 15, "other": 3}, {"1.seg": 8})


def test_of_segments_that_are_gone_the_newest_are_remembered(at: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "GONE_SEGMENTS", 2)
    for name in ("1.seg", "2.seg", "3.seg", "4.seg"):
        worker = at.worker()
        worker.add(at.segment(name), 8, [("default", 1)])
        at.end()
        if name != "1.seg":
            (at.spool / name).unlink()
        fold(at.ledger, at.spool)
    assert read(at.ledger) == Counted({"default": 4}, {"1.seg": 8, "3.seg": 8, "4.seg": 8})


def test_a_tally_that_is_folded_but_not_yet_deleted_counts_once(
    at: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(at, default=5)
    run(at, default=2)

    def die(self: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            fold(at.ledger, at.spool)
    assert len(at.files()) == 2
    assert read(at.ledger).counts == {"default": 7}
    fold(at.ledger, at.spool)
    assert (read(at.ledger).counts, at.files()) == ({"default": 7}, [])


def test_a_worker_that_is_still_ending_keeps_its_tally(at: Directories) -> None:
    run(at, default=1)
    worker = at.worker()
    worker.add("2.seg", 1, [("default", 2)])
    fold(at.ledger, at.spool)
    worker.add("2.seg", 2, [("default", 4)])
    assert read(at.ledger).counts == {"default": 7}
    at.end()
    fold(at.ledger, at.spool)
    assert (read(at.ledger).counts, at.files()) == ({"default": 7}, [])


def test_a_damaged_base_is_set_aside_and_reported(at: Directories, caplog: pytest.LogCaptureFixture) -> None:
    run(at, default=5)
    fold(at.ledger, at.spool)
    (at.ledger / tally.BASE_NAME).write_bytes(b'{"counts":')
    fold(at.ledger, at.spool)
    assert "damaged" in caplog.text
    assert (at.ledger / "base.damaged").read_bytes() == b'{"counts":'
    assert read(at.ledger) == Counted({}, {})


def test_what_a_base_looks_like(at: Directories) -> None:
    run(at, default=5)
    (name,) = [path.name for path in at.files()]
    fold(at.ledger, at.spool)
    base = msgspec.json.decode((at.ledger / tally.BASE_NAME).read_bytes())
    assert base == {"segments": {"1.seg": 8}, "counts": {"default": 5}, "folded": [name]}


# ---- With a writer --------------------------------------------------------------------------------------


def test_the_writer_counts_what_it_has_synced_before_anybody_may_read_it(
    at: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = at.worker()
    seen: list[tuple[int, int]] = []

    async def use(writer: SpoolWriter) -> None:
        for n in range(1, 4):
            await writer.append(record("x"), "default", n)
            (segment,) = list_segments(at.spool)
            counted = read(at.ledger)
            seen.append((counted.counts["default"], counted.segments[segment.name] - segment.stat().st_size))

    with_writer(at.spool, use, tally=worker)
    assert seen == [(1, 0), (3, 0), (6, 0)]
    at.end()


def test_what_cannot_be_counted_is_accepted_all_the_same_in_a_segment_that_is_closed(
    at: Directories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store counts what it finds behind the counted offset of a segment without a writer."""
    worker = at.worker()
    sent = [record("one"), record("two"), record("three")]

    async def use(writer: SpoolWriter) -> None:
        await writer.append(sent[0], "default", 1)
        with monkeypatch.context() as patch:
            patch.setattr(Tally, "_write", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
            await writer.append(sent[1], "default", 1)
        await writer.append(sent[2], "default", 1)

    with_writer(at.spool, use, tally=worker)
    at.end()
    first, second = list_segments(at.spool)
    counted = read(at.ledger)
    assert counted.counts == {"default": 2}
    assert SEGMENT_HEADER_SIZE < counted.segments[first.name] < first.stat().st_size
    assert counted.segments[second.name] > SEGMENT_HEADER_SIZE
    assert read_all(at.spool) == sent
