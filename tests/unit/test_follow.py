"""Following the spool: each event once, and what is not seen counted to the event, whatever becomes of segments."""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from novamesh.event.record import Record, encode
from novamesh.spool import follow, tally
from novamesh.spool.follow import Follower
from novamesh.spool.segment import list_segments, remove
from novamesh.spool.tally import Tally
from novamesh.spool.writer import Limits, SpoolWriter
from tests.unit.spool_files import NODE

SMALL = 2000


class Spool:
    """One worker's writer and tally, used from outside of a loop."""

    def __init__(self, directory: Path, segment_bytes: int = 1_000_000) -> None:
        self.spool, self.ledger = directory / "spool", directory / "ledger"
        self.spool.mkdir(exist_ok=True)
        self.loop = asyncio.new_event_loop()
        self.tally = Tally(self.ledger, self.spool)
        limits = Limits(self.spool, 2**40, 0)
        self.writer = SpoolWriter(self.spool, NODE, segment_bytes, limits, self.loop, self.tally)
        self.n = 0

    def accept(self, *sizes: int, space: str = "default", text: bytes = b"") -> None:
        """A record for each size, of so many events, synced one after another."""
        for size in sizes:
            self.n += 1
            record = Record(space=space, batch=f"{self.n:028x}", at=self.n, n=size)
            self.loop.run_until_complete(self._append(encode(record, b'[{"event":"e"}]' + text), space, size))

    async def _append(self, payload: bytes, space: str, events: int) -> None:
        await self.writer.append(payload, space, events)

    def close(self) -> None:
        self.writer.stop()
        self.tally.close()
        self.loop.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path)
    yield spool
    spool.close()


@pytest.fixture
def rotating(tmp_path: Path) -> Iterator[Spool]:
    """Each record of more than 2 kB is the last one of its segment."""
    spool = Spool(tmp_path, SMALL)
    yield spool
    spool.close()


def sizes(follower: Follower, *spaces: str) -> list[int]:
    """How many events each new record has; nothing may be missed."""
    found = follower.read(spaces or ("default",))
    assert not found.missed
    return [record.n for record, _ in found.records]


def test_what_came_before_is_not_seen_and_what_comes_is_seen_once(spool: Spool) -> None:
    spool.accept(1, 2)
    follower = Follower(spool.spool, spool.ledger)
    assert sizes(follower) == []
    spool.accept(3, 4)
    assert sizes(follower) == [3, 4]
    assert sizes(follower) == []
    spool.accept(5)
    assert sizes(follower) == [5]
    follower.close()


def test_only_wanted_spaces_are_given(spool: Spool) -> None:
    follower = Follower(spool.spool, spool.ledger)
    spool.accept(1, space="a")
    spool.accept(2, space="b")
    spool.accept(3, space="a.test")
    assert sizes(follower, "a") == [1]
    spool.accept(4, space="b")
    assert sizes(follower, "a", "b") == [4]
    follower.close()


def test_several_writers_in_the_order_of_time(tmp_path: Path, spool: Spool) -> None:
    follower = Follower(spool.spool, spool.ledger)
    other = Spool(tmp_path)
    for n in range(1, 6):
        for each in (spool, other):
            each.n = n * 10 + (each is other)
            each.accept(n)
    assert sizes(follower) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    other.accept(7)
    other.close()
    assert sizes(follower) == [7]
    assert sizes(follower) == []
    follower.close()


def test_segments_are_followed_from_one_to_the_next_and_read_on_when_they_are_deleted(rotating: Spool) -> None:
    rotating.accept(1)
    follower = Follower(rotating.spool, rotating.ledger)
    rotating.accept(2, text=b" " * SMALL)
    for segment in list_segments(rotating.spool):
        remove(segment)
    rotating.accept(3, 4)
    assert sizes(follower) == [2, 3, 4]
    follower.close()


def test_what_was_deleted_before_it_was_seen_is_counted(rotating: Spool) -> None:
    follower = Follower(rotating.spool, rotating.ledger)
    rotating.accept(2, 30, text=b" " * SMALL)
    rotating.accept(400, space="other", text=b" " * SMALL)
    for segment in list_segments(rotating.spool):
        remove(segment)
    rotating.accept(5)
    found = follower.read(("default",))
    assert [record.n for record, _ in found.records] == [5]
    assert found.missed == Counter({"default": 32, "other": 400})
    assert sizes(follower) == []
    follower.close()


def test_what_is_too_much_for_one_look_is_counted(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "READ_BYTES", 1000)
    follower = Follower(spool.spool, spool.ledger)
    spool.accept(1)
    assert sizes(follower) == [1]
    spool.accept(*range(1, 101))
    found = follower.read(("default",))
    assert found.records
    assert sum(record.n for record, _ in found.records) + found.missed["default"] == 5050
    spool.accept(7, text=b" " * 5000)  # alone it is not too much
    assert sizes(follower) == [7]
    follower.close()


def test_damage_is_counted_and_left_alone(spool: Spool) -> None:
    follower = Follower(spool.spool, spool.ledger)
    spool.accept(1, 2, 3)
    (segment,) = list_segments(spool.spool)
    data = bytearray(segment.read_bytes())
    data[data.index(b'"n":2')] ^= 1
    segment.write_bytes(data)
    found = follower.read(("default",))
    assert [record.n for record, _ in found.records] == [1]
    assert found.missed == {"default": 5}
    spool.accept(4)
    assert sizes(follower) == [4]
    assert segment.read_bytes()[: len(data)] == data
    follower.close()


def test_what_its_dead_writer_has_not_counted_is_seen_and_hides_nothing(tmp_path: Path) -> None:
    """It will be stored. Other events that are missed are counted all the same."""
    spool = Spool(tmp_path, SMALL)
    spool.accept(1)
    follower = Follower(spool.spool, spool.ledger)
    spool.tally.add = lambda *_: False  # type: ignore[method-assign]
    spool.accept(20)
    del spool.tally.add
    assert sizes(follower) == [20]
    spool.accept(3, text=b" " * SMALL)
    for segment in list_segments(spool.spool):
        remove(segment)
    spool.accept(4)
    found = follower.read(("default",))
    assert [record.n for record, _ in found.records] == [4]
    assert found.missed == {"default": 3}
    follower.close()
    spool.close()


class FailingReads:
    """Stands in for ``os.pread``: the reads of these numbers fail."""

    def __init__(self, *failing: int) -> None:
        self.failing = set(failing)
        self.count = 0
        self._pread = os.pread

    def __call__(self, descriptor: int, size: int, offset: int) -> bytes:
        self.count += 1
        if self.count in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._pread(descriptor, size, offset)


def test_what_a_look_that_fails_had_found_is_found_by_the_next(
    rotating: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotating.accept(1)
    follower = Follower(rotating.spool, rotating.ledger)
    rotating.accept(2, text=b" " * SMALL)
    rotating.accept(3, 4)
    counted = tally.read(rotating.ledger)
    monkeypatch.setattr(tally, "read", lambda _: counted)  # it reads by `pread`, too
    monkeypatch.setattr(os, "pread", FailingReads(2))
    with pytest.raises(OSError, match="Input/output"):
        follower.read(("default",))
    assert sizes(follower) == [2, 3, 4]
    assert sizes(follower) == []
    follower.close()


def test_what_a_dead_writer_has_not_counted_is_read_also_if_that_fails_once(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.accept(1)
    follower = Follower(spool.spool, spool.ledger)
    spool.tally.add = lambda *_: False  # type: ignore[method-assign]
    spool.accept(2)
    counted = tally.read(spool.ledger)
    monkeypatch.setattr(tally, "read", lambda _: counted)
    monkeypatch.setattr(os, "pread", FailingReads(1))
    with pytest.raises(OSError, match="Input/output"):
        follower.read(("default",))
    assert sizes(follower) == [2]
    assert follower._open == {}
    follower.close()


def test_a_follower_that_cannot_be_made_leaves_nothing_open(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.accept(1)
    other = Spool(tmp_path)
    other.accept(1)
    opened: list[follow._Segment] = []
    made, close, closed = follow._Segment, follow._Segment.close, []

    def make(path: Path, offset: int) -> follow._Segment:
        if opened:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        opened.append(made(path, offset))
        return opened[0]

    def note(segment: follow._Segment) -> None:
        closed.append(segment)
        close(segment)

    monkeypatch.setattr(made, "close", note)
    monkeypatch.setattr(follow, "_Segment", make)
    with pytest.raises(OSError, match="open files"):
        Follower(spool.spool, spool.ledger)
    assert closed == opened
    other.close()
