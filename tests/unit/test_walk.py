"""Counting what waits in a segment: the same as a reader finds, whatever is wrong with it, and nothing is changed."""

import random
from pathlib import Path

import pytest

from novamesh.event.record import Record, decode, encode
from novamesh.spool.frame import SEGMENT_HEADER_SIZE, encode_frame, frame_size
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import SpoolDamage
from novamesh.spool.segment import list_segments
from novamesh.spool.walk import PIECE_BYTES, Waiting, count_waiting
from tests.unit.spool_files import NODE, write

ALL = 1 << 62
START = Position()


def payload(n: int, space: str = "default", size: int = 10) -> bytes:
    return encode(Record(space=space, batch=f"{n:028x}", at=n, n=n), b"[" + b"x" * size + b"]")


def segment(directory: Path, payloads: list[bytes]) -> Path:
    write(directory, payloads, segment_bytes=1 << 30)
    (path,) = list_segments(directory)
    return path


def count(path: Path, start: Position = START, limit: int | None = None, counted: int = ALL) -> Waiting:
    before = path.read_bytes()
    found = count_waiting(path, NODE, start, limit, counted)
    assert path.read_bytes() == before
    return found


def totals(found: Waiting) -> tuple[int, int, int]:
    return found.whole.total(), found.behind.total(), found.uncounted.total()


@pytest.mark.parametrize("size", [0, 100, PIECE_BYTES - 300, PIECE_BYTES, 3 * PIECE_BYTES])
def test_all_frames_are_counted_by_space(tmp_path: Path, size: int) -> None:
    spaces = ["default", "default.test", "other"]
    path = segment(tmp_path, [payload(n + 1, spaces[n % 3], size + n % 17) for n in range(60)])
    found = count(path)
    assert found.whole == {space: sum(n + 1 for n in range(60) if n % 3 == k) for k, space in enumerate(spaces)}
    assert (found.behind, found.uncounted) == ({}, {})


def test_from_a_position_to_a_limit(tmp_path: Path) -> None:
    path = segment(tmp_path, [payload(n) for n in range(1, 11)])
    reader = SegmentReader(path, NODE, Position())
    ends = [frame.end for frame in reader.read(ALL)]
    reader.close()
    assert count(path, Position(ends[2], 3)).whole.total() == 55 - 6
    assert count(path, Position(ends[2], 3), limit=ends[4]).whole.total() == 4 + 5
    assert count(path, Position(ends[9], 10)).whole.total() == 0
    assert count(path, limit=0).whole.total() == 0


def test_what_lies_behind_the_counted_offset(tmp_path: Path) -> None:
    path = segment(tmp_path, [payload(n) for n in range(1, 5)])
    reader = SegmentReader(path, NODE, Position())
    ends = [frame.end for frame in reader.read(ALL)]
    reader.close()
    assert [totals(count(path, counted=end)) for end in (0, ends[0], ends[3])] == [(10, 0, 10), (10, 0, 9), (10, 0, 0)]


def test_a_torn_tail_is_no_event(tmp_path: Path) -> None:
    whole = segment(tmp_path, [payload(1), payload(2)])
    data = whole.read_bytes()[: -frame_size(1)]
    last = b"".join(encode_frame(3, payload(3)))
    for cut in range(len(last)):
        whole.write_bytes(data + last[:cut])
        assert totals(count(whole, counted=len(data))) == (3, 0, 0), cut
        # What was never synced may have its length, and nothing in it.
        zeroed = last[:cut].ljust(len(last), b"\0")
        whole.write_bytes(data + zeroed)
        assert totals(count(whole, counted=len(data))) == ((6, 0, 3) if zeroed == last else (3, 0, 0)), cut
    whole.write_bytes(data + last)
    assert totals(count(whole, counted=len(data))) == (6, 0, 3)


def test_damage_anywhere_costs_no_more_than_the_frame_it_is_in(tmp_path: Path) -> None:
    """A reader gets what is before the damage; the rest is found behind it."""
    path = segment(tmp_path, [payload(n) for n in range(1, 7)])
    data = path.read_bytes()
    rng = random.Random(1)
    for place in rng.sample(range(SEGMENT_HEADER_SIZE, len(data)), 150):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        readable, position = readable_events(path)
        found = count_waiting(path, NODE, position, None, 0)
        assert readable + found.whole.total() + found.behind.total() in range(21 - 6, 22), place


def readable_events(path: Path) -> tuple[int, Position]:
    """Events a reader gets before the damage, and where it stops."""
    reader = SegmentReader(path, NODE, Position())
    events = 0
    try:
        while not reader.finished:
            events += sum(decode(frame.payload)[0].n for frame in reader.read(ALL))
    except SpoolDamage:
        pass
    finally:
        reader.close()
    return events, reader.position


def test_a_damaged_header_hides_no_frame(tmp_path: Path) -> None:
    path = segment(tmp_path, [payload(n) for n in range(1, 5)])
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    assert totals(count(path)) == (0, 10, 0)


def test_a_segment_of_another_node_holds_nothing_of_this_one(tmp_path: Path) -> None:
    path = segment(tmp_path, [payload(1)])
    assert totals(count_waiting(path, b"another node's id", Position(), None, 0)) == (0, 0, 0)


def test_a_record_that_cannot_be_read_ends_nothing_but_itself(tmp_path: Path) -> None:
    path = segment(tmp_path, [payload(1), b"\x01{}\n[]", payload(2), b"\x01{}\n[]", b"\x01{}\n[]", payload(3)])
    assert totals(count(path)) == (1, 5, 0)
