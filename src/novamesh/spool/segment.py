"""Segment files: their names, how one is made durable, how one tells whether it has a writer."""

import contextlib
import errno
import fcntl
import mmap
import os
import struct
from pathlib import Path

from novamesh.spool.files import SYSTEM, Files, write_all
from novamesh.spool.frame import SEGMENT_HEADER_SIZE, SegmentHeader, encode_segment_header

SUFFIX = ".seg"
MARK_SUFFIX = ".mark"
TORN_SUFFIX = ".torn"
TEMPORARY_SUFFIX = ".tmp"
CLOSE_SUFFIX = ".close"
_MARK = struct.Struct("<Q")


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
        return is_locked(descriptor)
    finally:
        os.close(descriptor)


def is_locked(descriptor: int) -> bool:
    """Whether some process holds the lock of a file as its writer. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def read_mark(segment: Path) -> int:
    """Offset up to which a segment is synced; 0 when there is no mark. After a power cut it may be less than is."""
    try:
        with mark_path(segment).open("rb") as file, mmap.mmap(file.fileno(), _MARK.size, prot=mmap.PROT_READ) as mark:
            # As it is written: in one piece.
            return int(_MARK.unpack(mark[:])[0])
    except (FileNotFoundError, ValueError):
        return 0  # ValueError: the file is shorter than a mark


def close_request(segment: Path) -> Path:
    """The file by which a reader asks the writer of a segment to write no more to it: it is damaged, or is to go."""
    return segment.with_name(segment.name + CLOSE_SUFFIX)


def remove(segment: Path, files: Files = SYSTEM) -> None:
    """Delete a segment and its mark, durably. Raises OSError."""
    # In this order: a mark without its segment says that the segment is missing.
    files.unlink(mark_path(segment))
    files.unlink(segment)
    files.unlink(close_request(segment))
    files.sync_directory(segment.parent)


class OpenSegment:
    """A new segment, open for its one writer. Raises OSError from every step of its making."""

    def __init__(self, directory: Path, node_id: bytes, files: Files = SYSTEM) -> None:
        created_us = _created_us(directory, files.now_us())
        self.path = directory / f"{created_us:016d}-{os.getpid()}{SUFFIX}"
        self.offset = SEGMENT_HEADER_SIZE
        self.sequence = 0
        self._files = files
        self._close_request = str(close_request(self.path))
        temporary = self.path.with_suffix(TEMPORARY_SUFFIX)
        self.descriptor = files.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            # The lock comes before the name: a reader must never see a new segment without a writer.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            write_all(files, self.descriptor, [encode_segment_header(SegmentHeader(created_us, node_id))])
            files.fsync(self.descriptor)
            self._mark = _create_mark(mark_path(self.path), files)
            files.rename(temporary, self.path)
            files.sync_directory(directory)
        except BaseException:
            os.close(self.descriptor)
            for leftover in (temporary, mark_path(self.path), self.path):
                with contextlib.suppress(OSError):
                    files.unlink(leftover)
            raise
        self.mark(self.offset)

    def mark(self, offset: int) -> None:
        """Tell readers that everything before ``offset`` is synced."""
        self.offset = offset
        # Eight aligned bytes: the processor stores them in one piece. (`pack_into` would write zeros first.)
        self._mark[:] = _MARK.pack(offset)

    def is_given_up(self) -> bool:
        """Whether a reader has asked that nothing more be written to this segment."""
        return os.access(self._close_request, os.F_OK)

    def sync(self) -> None:
        """Sync what was written. Raises OSError, also if the file was deleted: nothing in it will ever be read."""
        self._files.fdatasync(self.descriptor)
        if self._files.fstat(self.descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "the segment was deleted", self.path.name)

    def cut_back(self) -> None:
        """Take off what is behind the last good sync, for good. Raises OSError."""
        self._files.ftruncate(self.descriptor, self.offset)
        self._files.fsync(self.descriptor)

    def close(self) -> None:
        """Give up the lock. The mark stays: it says what a reader must find."""
        self._mark.close()
        with contextlib.suppress(OSError):
            self._files.close(self.descriptor)


def _created_us(directory: Path, now_us: int) -> int:
    """When a new segment is made: later than all that are there, in quarantine too, also if the clock was set back.

    So names keep the order, and none is used twice.
    """
    times = (path.name.partition("-")[0] for path in directory.rglob(f"*{SUFFIX}"))
    return max(now_us, 1 + max((int(text) for text in times if text.isdecimal()), default=0))


def _create_mark(path: Path, files: Files) -> mmap.mmap:
    descriptor = files.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # Written, not only made long: storing into a hole on a full disk kills the process (SIGBUS).
        write_all(files, descriptor, [_MARK.pack(0)])
        return mmap.mmap(descriptor, _MARK.size)
    finally:
        files.close(descriptor)
