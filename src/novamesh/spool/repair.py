"""What to do with bytes that are not a frame: cut a torn tail, set a damaged segment aside."""

import logging
import os
from pathlib import Path

import msgspec

from novamesh.errors import NovameshError
from novamesh.spool.files import SYSTEM, Files, write_new
from novamesh.spool.frame import find_frame, is_end
from novamesh.spool.segment import TORN_SUFFIX, mark_path

log = logging.getLogger(__name__)

QUARANTINE = "quarantine"
READ_BYTES = 4 * 1024 * 1024


class SpoolDamage(NovameshError):
    """A segment holds bytes that are neither a frame nor a torn tail."""

    def __init__(self, segment: Path, offset: int, cause: str) -> None:
        super().__init__(f"{segment.name} is damaged at offset {offset}: {cause}")
        self.segment = segment
        self.offset = offset
        self.cause = cause


def cut_torn_tail(segment: Path, offset: int, cause: str, files: Files = SYSTEM) -> None:
    """Cut what lies behind the last whole frame, after a copy of it is kept.

    Raises :class:`SpoolDamage` if a whole frame follows, be it only the end of a segment that was
    closed in order: then ``offset`` is in the middle of what was written, and cutting would lose it.
    Raises OSError; what was done by then is done again by the next try.
    """
    descriptor = files.open(segment, os.O_RDWR)
    try:
        tail = _read_from(descriptor, offset, files)
        # Frames are aligned from the start of the file, and so is the tail.
        if find_frame(tail, 0) is not None or is_end(tail):
            raise SpoolDamage(segment, offset, cause)
        write_new(files, segment.with_name(segment.name + TORN_SUFFIX), tail)
        files.sync_directory(segment.parent)
        files.ftruncate(descriptor, offset)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)
    log.warning("torn tail cut", extra={"file": segment.name, "offset": offset, "bytes": len(tail), "cause": cause})


def set_aside(damage: SpoolDamage, files: Files = SYSTEM) -> Path:
    """Move a damaged segment to ``quarantine/`` with a report beside it. Returns its new path.

    Raises OSError; what was done by then is done again by the next try.
    """
    segment = damage.segment
    directory = segment.parent / QUARANTINE
    directory.mkdir(exist_ok=True)
    target = directory / segment.name
    report = {
        "file": segment.name,
        "offset": damage.offset,
        "cause": damage.cause,
        "found_at": files.now_us() // 1_000_000,
        "note": "Everything before the offset is stored. Nothing from the offset on is.",
    }
    write_new(files, target.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(report)))
    files.sync_directory(directory)
    files.rename(segment, target)
    files.unlink(mark_path(segment))
    files.sync_directory(directory)
    files.sync_directory(segment.parent)
    log.error("damaged segment set aside", extra={"file": segment.name, "offset": damage.offset, "cause": damage.cause})
    return target


def _read_from(descriptor: int, offset: int, files: Files) -> bytes:
    parts = []
    while part := files.pread(descriptor, READ_BYTES, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
