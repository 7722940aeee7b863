"""Segment files: their names, how one is made durable, how one tells whether it has a writer."""

import contextlib
import fcntl
import mmap
import os
import struct
import time
from pathlib import Path

from novamesh.spool.frame import SEGMENT_HEADER_SIZE, SegmentHeader, encode_segment_header

SUFFIX = ".seg"
MARK_SUFFIX = ".mark"
TORN_SUFFIX = ".torn"
TEMPORARY_SUFFIX = ".tmp"
_MARK = struct.Struct("<Q")


def sync_directory(directory: Path) -> None:
    """Make creations, renames and deletions in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def list_segments(directory: Path) -> list[Path]:
    """All segments, oldest first."""
    return sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIX))


def mark_path(segment: Path) -> Path:
    """The mark that lies beside a segment."""
    return segment.with_name(segment.name + MARK_SUFFIX)


def has_writer(segment: Path) -> bool:
    """Whether some process is writing this segment (it holds the lock as long as it lives)."""
    descriptor = os.open(segment, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_mark(segment: Path) -> int:
    """Offset up to which a live segment is synced; 0 when there is no mark yet."""
    try:
        with mark_path(segment).open("rb") as file, mmap.mmap(file.fileno(), _MARK.size, prot=mmap.PROT_READ) as mark:
            # As it is written: in one piece.
            return int(_MARK.unpack(mark[:])[0])
    except (FileNotFoundError, ValueError):
        return 0  # ValueError: the file is shorter than a mark


def clear_leftovers(directory: Path) -> None:
    """Remove what a killed writer left: half-made segments and marks. For when there is no writer."""
    for path in directory.iterdir():
        if path.name.endswith((MARK_SUFFIX, TEMPORARY_SUFFIX)):
            path.unlink()


def remove(segment: Path) -> None:
    """Delete a segment and its mark, durably."""
    mark_path(segment).unlink(missing_ok=True)
    segment.unlink(missing_ok=True)
    sync_directory(segment.parent)


class OpenSegment:
    """A new segment, open for its one writer. Raises OSError from every step of its making."""

    def __init__(self, directory: Path, node_id: bytes) -> None:
        created_us = time.time_ns() // 1000
        self.path = directory / f"{created_us:016d}-{os.getpid()}{SUFFIX}"
        self.offset = SEGMENT_HEADER_SIZE
        self.sequence = 0
        temporary = self.path.with_suffix(TEMPORARY_SUFFIX)
        self.descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            # The lock comes before the name: a reader must never see a new segment without a writer.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            write_all(self.descriptor, [encode_segment_header(SegmentHeader(created_us, node_id))])
            os.fsync(self.descriptor)
            self._mark = _create_mark(mark_path(self.path))
            temporary.rename(self.path)
            sync_directory(directory)
        except BaseException:
            os.close(self.descriptor)
            for leftover in (temporary, mark_path(self.path)):
                with contextlib.suppress(OSError):
                    leftover.unlink(missing_ok=True)
            raise
        self.mark(self.offset)

    def mark(self, offset: int) -> None:
        """Tell readers that everything before ``offset`` is synced."""
        self.offset = offset
        # Eight aligned bytes: the processor stores them in one piece. (`pack_into` would write zeros first.)
        self._mark[:] = _MARK.pack(offset)

    def cut_back(self) -> None:
        """Take off what is behind the last good sync, for good. Raises OSError."""
        os.ftruncate(self.descriptor, self.offset)
        os.fsync(self.descriptor)

    def close(self) -> None:
        """Give up the lock. The mark is of no use from here on."""
        self._mark.close()
        # What cannot be removed (the file system may be read-only by now) does no harm.
        with contextlib.suppress(OSError):
            mark_path(self.path).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def _create_mark(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # Written, not only made long: storing into a hole on a full disk kills the process (SIGBUS).
        os.pwrite(descriptor, _MARK.pack(0), 0)
        return mmap.mmap(descriptor, _MARK.size)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, buffers: list[bytes]) -> None:
    """``writev`` of everything: a short write goes on where it stopped. Raises OSError."""
    written = os.writev(descriptor, buffers)
    if written == sum(map(len, buffers)):
        return
    rest = memoryview(b"".join(buffers))[written:]
    while rest:
        rest = rest[os.write(descriptor, rest) :]
