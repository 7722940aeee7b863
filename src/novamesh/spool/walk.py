"""How many events wait in a segment: counted by the headers of frames and records, without reading what is in them.

Nothing is changed: a torn tail is not cut, a damaged segment not set aside. Of what its writer has counted, and so
synced, checksums are not looked at as long as the frames follow each other: damage inside of a payload is found when it
is loaded.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from novamesh.event.record import RecordError, decode_header
from novamesh.spool.frame import (
    ALIGNMENT,
    FRAME_HEADER_SIZE,
    SEGMENT_HEADER_SIZE,
    FrameError,
    decode_frame,
    decode_frame_header,
    decode_segment_header,
    find_frame,
    frame_size,
)
from novamesh.spool.reader import Position

# A record's header with the longest Idempotency-Key, every character of it escaped, fits in several times.
HEADERS_BYTES = 2048
PIECE_BYTES = 4 * HEADERS_BYTES


class Waiting(NamedTuple):
    """Events by space: ``whole`` frames that follow each other from the start, ``behind`` those that follow damage.
    ``uncounted`` are those of both that lie behind the offset up to which the writer counted."""

    whole: Counter[str]
    behind: Counter[str]
    uncounted: Counter[str]


class _Step(NamedTuple):
    """A record frame: the offset behind it, and whose and how many its events are."""

    end: int
    space: str
    events: int


def count_waiting(
    path: Path, node_id: bytes, start: Position, limit: int | None, counted: int, *, damaged: bool = False
) -> Waiting:
    """The events from ``start`` on, up to the offset ``limit`` (None: the end). Of a segment of another node: none.

    Of one that is known to be ``damaged`` every checksum is looked at. Raises OSError.
    """
    found = Waiting(Counter(), Counter(), Counter())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        end = os.fstat(descriptor).st_size
        end = end if limit is None else min(end, limit)
        offset = start.offset or SEGMENT_HEADER_SIZE
        part, sequence, trusted = found.whole, start.sequence, 0 if damaged else counted
        try:
            if decode_segment_header(os.pread(descriptor, SEGMENT_HEADER_SIZE, 0)).node_id != node_id:
                return found
        except FrameError:
            part, sequence, trusted = found.behind, -1, 0
        while offset < end:
            before = offset
            for step in _steps(descriptor, offset, end, sequence, trusted):
                part[step.space] += step.events
                if step.end > counted:
                    found.uncounted[step.space] += step.events
                offset = step.end
            # A whole frame that cannot be read as a record must not be found for ever.
            stuck = sequence < 0 and offset == before
            following = _find_frame(descriptor, offset + ALIGNMENT if stuck else offset, end)
            if following is None:
                break
            offset, part, sequence, trusted = following, found.behind, -1, 0
        return found
    finally:
        os.close(descriptor)


def _steps(descriptor: int, offset: int, end: int, sequence: int, trusted: int) -> Iterator[_Step]:
    """Record frames that follow each other from ``offset`` on; the first has the number after ``sequence``, -1: any.

    From the offset ``trusted`` on their checksums are looked at.
    """
    piece, base = b"", offset
    while offset + FRAME_HEADER_SIZE < end:
        at = offset - base
        if at + HEADERS_BYTES > len(piece):
            piece, base, at = os.pread(descriptor, min(PIECE_BYTES, end - offset), offset), offset, 0
        try:
            header = decode_frame_header(piece, at, end - offset)
            size = frame_size(header.length)
            if sequence >= 0 and header.sequence != sequence + 1:
                return
            if offset + size > trusted:
                decode_frame(os.pread(descriptor, size, offset), 0, header.sequence, size)
            record = decode_header(piece[at + FRAME_HEADER_SIZE : at + FRAME_HEADER_SIZE + header.length])
        except (FrameError, RecordError):
            return  # damage, a torn tail, or the frame that ends the segment
        offset += size
        sequence = header.sequence
        yield _Step(offset, record.space, record.n)


def _find_frame(descriptor: int, start: int, end: int) -> int | None:
    """The first whole record frame that begins at ``start`` or behind it."""
    found = find_frame(os.pread(descriptor, max(0, end - start), start), 0)
    return None if found is None else start + found
