"""Finding one record in the spool: its header is looked for among the bytes, then its frame is checked."""

import os
import time
from pathlib import Path

from novamesh.event.record import Record, RecordError, decode, header_start
from novamesh.spool.frame import ALIGNMENT, FRAME_HEADER_SIZE, SEGMENT_HEADER_SIZE, claimed_size, frame_at
from novamesh.spool.segment import has_writer, read_mark

CHUNK_BYTES = 4 * 1024 * 1024


class SearchTooLong(Exception):
    """The deadline came before the end of the segment."""


def find_record(segment: Path, start: int, space: str, batch: str, deadline: float) -> Record | None:
    """The header of the first record of a client's batch that lies at or behind ``start`` in a segment, or None.

    Only what is synced is looked at. Searching bytes takes an eighth of the time of walking from frame to frame where
    events come one by one; a record begins with a control character, which JSON text cannot hold, so that no event can
    pass for a header. Raises :class:`SearchTooLong` when ``time.monotonic()`` is past ``deadline``, OSError when the
    segment cannot be read (FileNotFoundError: the store deletes segments).
    """
    wanted = header_start(space, batch)
    descriptor = os.open(segment, os.O_RDONLY)
    try:
        end = read_mark(segment) if has_writer(segment) else os.fstat(descriptor).st_size
        offset = max(start, SEGMENT_HEADER_SIZE)
        while data := os.pread(descriptor, max(0, min(CHUNK_BYTES, end - offset)), offset):
            if time.monotonic() > deadline:
                raise SearchTooLong
            at = data.find(wanted)
            while at >= 0:
                record = _record_at(descriptor, offset + at - FRAME_HEADER_SIZE, end)
                if record is not None and record.named:
                    return record
                at = data.find(wanted, at + 1)
            if offset + len(data) >= end:
                break
            # A header that begins in this part and ends in the next one is found in the next.
            offset += max(1, len(data) - len(wanted) + 1)
        return None
    finally:
        os.close(descriptor)


def _record_at(descriptor: int, position: int, end: int) -> Record | None:
    """The header of the record whose frame is at ``position``, if there is a whole one before ``end``."""
    if position < SEGMENT_HEADER_SIZE or position % ALIGNMENT:
        return None
    size = claimed_size(os.pread(descriptor, FRAME_HEADER_SIZE, position))
    if size > end - position:
        return None
    frame = frame_at(os.pread(descriptor, size, position), 0)
    try:
        return decode(frame.payload)[0] if frame is not None else None
    except RecordError:
        return None
