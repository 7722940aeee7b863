"""What to do with bytes that are not a frame: cut a torn tail, set a damaged segment aside."""

import logging
import os
import time
from pathlib import Path

import msgspec

from novamesh.errors import NovameshError
from novamesh.spool.frame import find_frame, is_end
from novamesh.spool.segment import TORN_SUFFIX, mark_path, sync_directory

log = logging.getLogger(__name__)

QUARANTINE = "quarantine"
REPORT_SUFFIX = ".json"


class SpoolDamage(NovameshError):
    """A segment holds bytes that are neither a frame nor a torn tail."""

    def __init__(self, segment: Path, offset: int, cause: str) -> None:
        super().__init__(f"{segment.name} is damaged at offset {offset}: {cause}")
        self.segment = segment
        self.offset = offset
        self.cause = cause


def cut_torn_tail(segment: Path, offset: int, cause: str) -> None:
    """Cut what lies behind the last whole frame, after a copy of it is kept.

    Raises :class:`SpoolDamage` if a whole frame follows, be it only the end of a segment that was
    closed in order: then ``offset`` is in the middle of what was written, and cutting would lose it.
    """
    with segment.open("r+b") as file:
        file.seek(offset)
        tail = file.read()
        # Frames are aligned from the start of the file, and so is the tail.
        if find_frame(tail, 0) is not None or is_end(tail):
            raise SpoolDamage(segment, offset, cause)
        copy = segment.with_name(segment.name + TORN_SUFFIX)
        with copy.open("wb") as kept:
            kept.write(tail)
            kept.flush()
            os.fsync(kept.fileno())
        file.truncate(offset)
        os.fsync(file.fileno())
    sync_directory(segment.parent)
    log.warning("torn tail cut", extra={"file": segment.name, "offset": offset, "bytes": len(tail), "cause": cause})


class DamageReport(msgspec.Struct, frozen=True):
    """What lies beside a segment that was set aside; ``found_at`` is in seconds since 1970."""

    file: str
    offset: int
    cause: str
    found_at: int
    note: str = "Everything before the offset is stored. Nothing from the offset on is."


def read_report(segment: Path) -> DamageReport:
    """The report beside a set-aside segment; one that says so if it cannot be read."""
    try:
        return msgspec.json.decode(segment.with_suffix(REPORT_SUFFIX).read_bytes(), type=DamageReport)
    except (OSError, msgspec.MsgspecError):
        return DamageReport(segment.name, 0, "its report cannot be read", 0)


def remove_set_aside(segment: Path) -> None:
    """Delete a set-aside segment and its report, durably."""
    segment.unlink(missing_ok=True)
    segment.with_suffix(REPORT_SUFFIX).unlink(missing_ok=True)
    sync_directory(segment.parent)


def set_aside(damage: SpoolDamage) -> Path:
    """Move a damaged segment to ``quarantine/`` with a report beside it. Returns its new path."""
    segment = damage.segment
    directory = segment.parent / QUARANTINE
    directory.mkdir(exist_ok=True)
    target = directory / segment.name
    report = DamageReport(segment.name, damage.offset, damage.cause, int(time.time()))
    target.with_suffix(REPORT_SUFFIX).write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    segment.rename(target)
    mark_path(segment).unlink(missing_ok=True)
    sync_directory(directory)
    sync_directory(segment.parent)
    log.error("damaged segment set aside", extra={"file": segment.name, "offset": damage.offset, "cause": damage.cause})
    return target
