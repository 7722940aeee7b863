"""What to do with bytes that are not a frame: cut a torn tail, set a damaged segment aside."""

import logging
import os
from pathlib import Path

import msgspec

from novamesh.errors import NovameshError
from novamesh.spool.files import SYSTEM, Files, write_new
from novamesh.spool.frame import SEGMENT_HEADER_SIZE, find_frame, is_end
from novamesh.spool.segment import (
    CLOSE_SUFFIX,
    MARK_SUFFIX,
    SUFFIX,
    TEMPORARY_SUFFIX,
    TORN_SUFFIX,
    close_request,
    mark_path,
    read_mark,
)

log = logging.getLogger(__name__)

QUARANTINE = "quarantine"
REPORT_SUFFIX = ".json"
# For people who want to look at one: it was never acknowledged, so the oldest may go.
KEPT_TORN = 8
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
    for old in sorted(segment.parent.glob(f"*{TORN_SUFFIX}"))[:-KEPT_TORN]:
        files.unlink(old)
    log.warning("torn tail cut", extra={"file": segment.name, "offset": offset, "bytes": len(tail), "cause": cause})


class DamageReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a segment in ``quarantine/``; ``found_at`` is in seconds since 1970, as is ``written_off``: when
    an operator took its loss as known, 0 if none did."""

    file: str
    offset: int
    cause: str
    found_at: int
    note: str
    written_off: int = 0


def read_report(segment: Path) -> DamageReport:
    """The report of a segment in ``quarantine/``; one that says so if it cannot be read."""
    try:
        return msgspec.json.decode(segment.with_suffix(REPORT_SUFFIX).read_bytes(), type=DamageReport)
    except (OSError, msgspec.MsgspecError):
        return DamageReport(segment.name, 0, "its report cannot be read", 0, "")


def note_written_off(segment: Path, at: int, files: Files = SYSTEM) -> None:
    """Say in the report of a segment in ``quarantine/`` that its loss was written off ``at``. Raises OSError."""
    report = msgspec.structs.replace(read_report(segment), written_off=at)
    # Cut short, it is cleared away at the next start, and is not taken for a segment meanwhile.
    draft = segment.parent.parent / (segment.name + TEMPORARY_SUFFIX)
    write_new(files, draft, msgspec.json.format(msgspec.json.encode(report)))
    files.rename(draft, segment.with_suffix(REPORT_SUFFIX))
    files.sync_directory(segment.parent)


def remove_set_aside(segment: Path, files: Files = SYSTEM) -> None:
    """Delete a segment in ``quarantine/``, if it is there, and its report, durably. Raises OSError."""
    # In this order: a report without its segment says that the segment is missing.
    files.unlink(segment.with_suffix(REPORT_SUFFIX))
    files.unlink(segment)
    files.sync_directory(segment.parent)


def set_aside(damage: SpoolDamage, files: Files = SYSTEM) -> Path:
    """Move a damaged segment to ``quarantine/`` with a report beside it. Returns its new path.

    Raises OSError; what was done by then is done again by the next try.
    """
    segment = damage.segment
    directory = segment.parent / QUARANTINE
    note = "Everything before the offset is stored. Nothing from the offset on is."
    _report(damage, note, files)
    target = directory / segment.name
    files.rename(segment, target)
    files.unlink(mark_path(segment))
    files.unlink(close_request(segment))
    files.sync_directory(directory)
    files.sync_directory(segment.parent)
    log.error("damaged segment set aside", extra={"file": segment.name, "offset": damage.offset, "cause": damage.cause})
    return target


def report_missing(segment: Path, offset: int, synced: int, files: Files = SYSTEM) -> None:
    """Report a segment that somebody else has removed. ``offset``: up to where it was loaded, as far as is known;
    ``synced``: what was in it. Raises OSError."""
    cause = f"the segment is missing; it was synced up to offset {synced}" if synced else "the segment is missing"
    damage = SpoolDamage(segment, offset, cause)
    _report(damage, "What the segment held from the offset on, if the store had not loaded it, is lost.", files)
    files.unlink(mark_path(segment))
    files.unlink(close_request(segment))
    log.error("segment is missing", extra={"file": segment.name, "offset": offset, "synced": synced})


def withdraw_report(segment: Path, files: Files = SYSTEM) -> None:
    """A segment that is loaded was perhaps reported as missing before it was put back. Raises OSError."""
    report = (segment.parent / QUARANTINE / segment.name).with_suffix(REPORT_SUFFIX)
    if report.exists():
        files.unlink(report)
        files.sync_directory(report.parent)


def quarantined(spool: Path) -> set[str]:
    """Names, without their suffix, of the segments that were set aside or reported as missing."""
    try:
        return {path.stem for path in (spool / QUARANTINE).iterdir()}
    except FileNotFoundError:
        return set()


def unresolved(spool: Path) -> set[str]:
    """Those of which the loss is not written off."""
    directory = spool / QUARANTINE
    return {name for name in quarantined(spool) if not read_report(directory / (name + SUFFIX)).written_off}


def clear_leftovers(directory: Path, files: Files = SYSTEM) -> None:
    """See to what a killed node left, when there is no writer: half-made segments, and marks without a segment.

    A mark that says more than a segment starts with is that of one which is missing: that is reported.
    """
    aside = {path.name for path in (directory / QUARANTINE).glob(f"*{SUFFIX}")}
    for path in list(directory.iterdir()):
        if path.name.endswith((TEMPORARY_SUFFIX, CLOSE_SUFFIX)):
            files.unlink(path)
        elif path.name.endswith(MARK_SUFFIX):
            segment = path.with_name(path.name.removesuffix(MARK_SUFFIX))
            if segment.exists():
                continue
            synced = read_mark(segment)
            if synced > SEGMENT_HEADER_SIZE and segment.name not in aside:
                report_missing(segment, 0, synced, files)
            else:
                files.unlink(path)


def _report(damage: SpoolDamage, note: str, files: Files) -> None:
    """What is known of a segment, in ``quarantine/`` where it is or would be."""
    directory = damage.segment.parent / QUARANTINE
    directory.mkdir(exist_ok=True)
    found_at = files.now_us() // 1_000_000
    report = DamageReport(damage.segment.name, damage.offset, damage.cause, found_at, note)
    path = (directory / damage.segment.name).with_suffix(REPORT_SUFFIX)
    write_new(files, path, msgspec.json.format(msgspec.json.encode(report)))
    files.sync_directory(directory)


def _read_from(descriptor: int, offset: int, files: Files) -> bytes:
    parts = []
    while part := files.pread(descriptor, READ_BYTES, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
