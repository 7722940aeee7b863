"""What happens to segment files behind the node's back: cut, zeroed, flipped, removed, foreign. Nothing is skipped silently.

Each says what becomes of the events: stored once, or named in ``spool/quarantine`` and in the node's health.
"""

import errno
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from novamesh.errors import SpoolUnavailable
from novamesh.spool.frame import KIND_END, SEGMENT_HEADER_SIZE, frame_size
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import KEPT_TORN, QUARANTINE, SpoolDamage, clear_leftovers
from novamesh.spool.segment import close_request, list_segments, mark_path
from novamesh.spool.writer import SpoolWriter, spool_size
from tests.faults.files import FaultyFiles
from tests.unit.spool_files import NODE, read_all, record, with_writer, write
from tests.unit.store_files import Store, named

END_SIZE = frame_size(len(KIND_END))
NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        made.database.ensure_space("default")
        yield made


def killed_writer(store: Store) -> tuple[Path, list[int]]:
    """A segment of four records whose writer was killed, its mark beside it. Returns where each frame ends, too."""
    payloads = [store.record(named(name)) for name in NAMES]
    store.write(*payloads)
    (segment,) = list_segments(store.spool)
    os.truncate(segment, segment.stat().st_size - END_SIZE)
    ends = [SEGMENT_HEADER_SIZE]
    for payload in payloads:
        ends.append(ends[-1] + frame_size(len(payload)))
    assert ends[-1] == segment.stat().st_size
    return segment, ends[1:]


def reports(store: Store) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((store.spool / QUARANTINE).glob("*.json"))]


def check_reported(store: Store, segment: Path, stored: list[str], cause: str) -> None:
    """What lies before the damage is stored, the rest is in quarantine and reported, and a restart changes nothing."""
    for _ in range(2):
        assert store.names() == stored
        assert (store.segments(), store.loader.damaged()) == (0, 1)
        (report,) = reports(store)
        assert report["file"] == segment.name
        assert cause in report["cause"]
        store.restart()
        store.load()


def test_a_truncated_segment_is_noticed_at_every_size(store: Store) -> None:
    """Its mark says that more was acknowledged than it holds."""
    segment, ends = killed_writer(store)
    whole, mark = segment.read_bytes(), mark_path(segment).read_bytes()
    for size in range(0, len(whole), 7):
        segment.write_bytes(whole[:size])
        mark_path(segment).write_bytes(mark)
        before = len(store.names())
        store.load()
        held = sum(end <= size for end in ends)
        assert len(store.names()) - before == held, "what is whole is stored"
        assert store.segments() == 0
        (report,) = reports(store)
        assert report["offset"] <= size
        for path in (store.spool / QUARANTINE).iterdir():
            path.unlink()
        # Else it would go on where it was, as with any segment that is put back.
        store.database.forget_positions([segment.name])
        store.restart()


def test_a_segment_truncated_at_the_end_of_a_frame(store: Store) -> None:
    segment, ends = killed_writer(store)
    os.truncate(segment, ends[1])
    store.load()
    check_reported(store, segment, ["a", "b"], f"was synced up to offset {ends[-1]}")


def test_a_segment_truncated_after_it_was_loaded_in_part(store: Store) -> None:
    segment, ends = killed_writer(store)
    store.database.load([], {segment.name: Position(ends[2], 3)})
    store.restart()
    os.truncate(segment, ends[0])
    mark_path(segment).unlink()  # even so: more was read of it than it holds
    store.load()
    check_reported(store, segment, [], f"was synced up to offset {ends[2]}")


def test_what_a_killed_writer_had_not_synced_is_synced_before_it_is_loaded(store: Store) -> None:
    segment, ends = killed_writer(store)
    mark_path(segment).write_bytes(ends[0].to_bytes(8, "little"))
    files = FaultyFiles()
    files.fail("fdatasync", errno.EIO)
    reader = SegmentReader(segment, NODE, Position(), files)
    with pytest.raises(OSError, match="Input/output"):
        reader.read(1000)
    assert len(reader.read(1000)) == len(NAMES)
    reader.read(1000)
    assert files.calls.count("fdatasync") == 2, "once, but for the one that failed"
    reader.close()


def test_a_last_frame_that_was_acknowledged_is_no_torn_tail(store: Store) -> None:
    segment, _ = killed_writer(store)
    data = bytearray(segment.read_bytes())
    data[-9] ^= 1
    segment.write_bytes(data)
    store.load()
    assert (store.spool / QUARANTINE / segment.name).read_bytes() == bytes(data), "nothing is cut"
    check_reported(store, segment, ["a", "b", "c"], "checksum")


@pytest.mark.parametrize("seed", range(3))
def test_a_zeroed_block(store: Store, seed: int) -> None:
    segment, ends = killed_writer(store)
    start = random.Random(seed).randrange(ends[0], ends[2] - 64)
    data = bytearray(segment.read_bytes())
    data[start : start + 64] = bytes(64)
    segment.write_bytes(data)
    store.load()
    held = sum(end <= start for end in ends)
    check_reported(store, segment, NAMES[:held], "")


def test_every_flipped_bit_is_noticed(store: Store) -> None:
    """Of a small segment, every bit of header, frames and padding: nothing wrong is ever stored."""
    payload = store.record(named("a"))
    store.write(payload)
    (segment,) = list_segments(store.spool)
    whole = segment.read_bytes()[:-END_SIZE]
    found: list[int] = []
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(data)
        os.utime(segment)
        payloads = _payloads(segment)
        assert payloads in ([], [payload])
        found.append(len(payloads))
    padding = 8 * (-len(payload) % 8)
    assert sum(found) == padding, "the bits of the padding alone mean nothing"


def _payloads(segment: Path) -> list[bytes]:
    try:
        reader = SegmentReader(segment, NODE, Position())
    except SpoolDamage:
        return []
    try:
        return [frame.payload for frame in reader.read(2**40)]
    except SpoolDamage:
        return []
    finally:
        reader.close()


def test_a_segment_that_is_removed_while_the_node_is_down(store: Store) -> None:
    segment, _ = killed_writer(store)
    segment.unlink()
    clear_leftovers(store.spool)  # as the node does at its start
    store.load()
    check_reported(store, segment, [], "missing")
    assert not mark_path(segment).exists()


def test_a_segment_that_is_removed_while_it_is_read(store: Store) -> None:
    async def use(writer: SpoolWriter) -> None:
        (segment,) = list_segments(store.spool)
        await writer.append(store.record(named("a")))
        store.load()
        await writer.append(store.record(named("lost")))
        segment.unlink()
        with pytest.raises(SpoolUnavailable):  # not a 202 for what nobody will ever read
            await writer.append(store.record(named("refused")))
        await writer.append(store.record(named("b")))
        store.load()

    with_writer(store.spool, use)
    store.load()
    assert store.names() == ["a", "b"]
    assert store.loader.damaged() == 1
    assert "missing" in reports(store)[0]["cause"]


def test_a_segment_that_its_writer_could_not_finish_making_is_not_missing(store: Store) -> None:
    """It takes back its name; the loader may have seen it by then."""

    async def use(writer: SpoolWriter) -> None:
        store.load()
        assert store.loader._readers
        (segment,) = list_segments(store.spool)
        segment.unlink()
        store.load()

    with_writer(store.spool, use)
    assert store.loader.damaged() == 0


def test_marks_of_what_was_stored_or_set_aside_accuse_nobody(store: Store) -> None:
    segment, _ = killed_writer(store)
    aside = store.spool / QUARANTINE
    aside.mkdir()
    segment.rename(aside / segment.name)  # killed before the mark was removed
    mark_path(store.spool / "0-1.seg").write_bytes((SEGMENT_HEADER_SIZE).to_bytes(8, "little"))
    (store.spool / "0-2.tmp").write_bytes(b"half")
    clear_leftovers(store.spool)
    assert [path.name for path in store.spool.iterdir()] == [QUARANTINE]
    assert reports(store) == []


def test_a_live_segment_that_is_damaged_is_left_by_its_writer_then_set_aside(store: Store) -> None:
    """Nothing more is acknowledged into a file that cannot be loaded."""

    async def use(writer: SpoolWriter) -> None:
        (segment,) = list_segments(store.spool)
        for name in ("a", "b"):
            await writer.append(store.record(named(name)))
        with segment.open("r+b") as file:
            file.seek(segment.stat().st_size - 9)
            file.write(b"?")
        store.load()
        assert store.loader.damaged() == 0, "it has a writer"
        assert segment.exists()
        assert store.names() == ["a"]
        assert "damaged" in (store.loader._segments_at_fault() or ""), "health says so meanwhile"
        assert not store.loader.step(), "and nothing spins"
        assert close_request(segment).exists()
        await writer.append(store.record(named("c")))
        assert len(list_segments(store.spool)) == 2, "the writer has gone on"
        store.load()
        assert store.names() == ["a", "c"]
        assert (store.segments(), store.loader.damaged()) == (1, 1)
        assert store.loader._segments_at_fault() is None
        assert not close_request(segment).exists()

    with_writer(store.spool, use)
    store.load()
    assert (store.names(), store.segments(), store.loader.damaged()) == (["a", "c"], 0, 1)


def test_what_was_refused_is_not_loaded_while_it_cannot_be_cut_off(store: Store) -> None:
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        await writer.append(store.record(named("a")))
        files.fail("fdatasync", errno.EIO)
        files.fail("ftruncate", errno.EIO, times=2)
        with pytest.raises(SpoolUnavailable):
            await writer.append(store.record(named("refused")))
        first = list_segments(store.spool)[0]
        await writer.append(store.record(named("b")))
        assert b"refused" in first.read_bytes()
        store.load()
        assert store.names() == ["a", "b"]
        files.fail("fdatasync", errno.EIO)
        with pytest.raises(SpoolUnavailable):
            await writer.append(store.record(named("refused again")))
        assert b"refused" not in first.read_bytes(), "cut off when the disk let us"

    with_writer(store.spool, use, files=files)
    store.load()
    assert (store.names(), store.segments(), store.loader.damaged()) == (["a", "b"], 0, 0)


def test_torn_copies_are_few_and_do_not_count_against_the_limit(tmp_path: Path) -> None:
    for n in range(KEPT_TORN + 3):
        write(tmp_path, [record(str(n))])
        segment = list_segments(tmp_path)[-1]
        with segment.open("r+b") as file:
            file.truncate(segment.stat().st_size - END_SIZE)
            file.seek(0, os.SEEK_END)
            file.write(b"\xff" * 1000)
        read_all(tmp_path)
    assert len(list(tmp_path.glob("*.torn"))) == KEPT_TORN
    assert spool_size(tmp_path) == sum(path.stat().st_size for path in list_segments(tmp_path))
