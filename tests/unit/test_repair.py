"""What is a torn tail and what is damage: nothing that was acknowledged may be taken for the former."""

from pathlib import Path

import pytest

from novamesh.spool.frame import FRAME_HEADER_SIZE, SEGMENT_HEADER_SIZE, frame_size
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import SpoolDamage, cut_torn_tail, set_aside
from novamesh.spool.segment import TORN_SUFFIX, list_segments, mark_path
from tests.unit.spool_files import NODE, read, record, write

PAYLOADS = [record("one"), record("two" * 20), record("three")]
END_SIZE = frame_size(1)
LAST_SIZE = frame_size(len(PAYLOADS[-1]))


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A segment that was closed in order: three frames and the end."""
    write(tmp_path, PAYLOADS)
    (path,) = list_segments(tmp_path)
    return path


def torn(segment: Path) -> Path:
    return segment.with_name(segment.name + TORN_SUFFIX)


def damage_in(segment: Path) -> tuple[list[bytes], SpoolDamage | None]:
    """The payloads a reader gets, and the damage it meets behind them."""
    payloads: list[bytes] = []
    try:
        reader = SegmentReader(segment, NODE, Position())
    except SpoolDamage as damage:
        return payloads, damage
    try:
        while not reader.finished:
            payloads += [frame.payload for frame in reader.read(2**40)]
    except SpoolDamage as damage:
        return payloads, damage
    finally:
        reader.close()
    return payloads, None


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_no_flipped_bit_loses_or_changes_an_acknowledged_payload(closed: Path, flip: int) -> None:
    """In a segment that was closed in order every payload was acknowledged."""
    whole = closed.read_bytes()
    ends = len(whole) - END_SIZE
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= flip
        closed.write_bytes(changed)
        payloads, damage = damage_in(closed)
        assert payloads == PAYLOADS[: len(payloads)], place
        assert payloads == PAYLOADS or damage is not None, place
        if damage is not None:
            assert place < ends, "damage to the end alone loses nothing"
            assert closed.read_bytes() == bytes(changed), "what is damaged is left as it is"
        if place < SEGMENT_HEADER_SIZE:
            assert (payloads, damage and damage.offset) == ([], 0), place


def test_damage_to_the_last_record_is_no_torn_tail(closed: Path) -> None:
    data = bytearray(closed.read_bytes())
    start = len(data) - END_SIZE - LAST_SIZE
    data[start + FRAME_HEADER_SIZE + 3] ^= 1
    closed.write_bytes(data)
    payloads, damage = damage_in(closed)
    assert payloads == PAYLOADS[:-1]
    assert damage is not None
    assert (damage.segment, damage.offset, damage.cause) == (closed, start, "the frame's checksum does not match")
    assert not torn(closed).exists()
    assert set_aside(damage).read_bytes() == bytes(data)
    assert list_segments(closed.parent) == []


def test_a_last_record_that_is_missing_is_damage(closed: Path) -> None:
    data = closed.read_bytes()
    closed.write_bytes(data[: -END_SIZE - LAST_SIZE] + data[-END_SIZE:])
    payloads, damage = damage_in(closed)
    assert payloads == PAYLOADS[:-1]
    assert damage is not None
    assert "number 4, expected 3" in damage.cause


def test_an_end_torn_at_every_offset_loses_nothing(closed: Path) -> None:
    whole = closed.read_bytes()
    last = len(whole) - END_SIZE
    for size in range(last, len(whole)):
        closed.write_bytes(whole[:size])
        assert read(closed) == PAYLOADS
        assert closed.stat().st_size == last
        assert not torn(closed).exists() or torn(closed).read_bytes() == whole[last:size]


def test_a_cut_that_was_interrupted_is_made_again(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the copy, before the cut."""
    data = closed.read_bytes()[:-END_SIZE]
    closed.write_bytes(data + b"\xff" * 30)
    torn(closed).write_bytes(b"\xff" * 10)
    cut_torn_tail(closed, len(data), "rubbish")
    assert (closed.read_bytes(), torn(closed).read_bytes()) == (data, b"\xff" * 30)


def test_the_mark_goes_with_the_segment_that_is_set_aside(closed: Path) -> None:
    mark_path(closed).write_bytes(bytes(8))
    set_aside(SpoolDamage(closed, 64, "a cause"))
    assert not mark_path(closed).exists()
