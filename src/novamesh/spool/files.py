"""What the spool needs of the operating system: a small protocol, and the system itself.

Everything in ``spool/`` and the loader goes through it, so that tests can put any fault at any step.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Files(Protocol):
    """Descriptors and paths, as in :mod:`os`. Every call raises OSError, except those for the time."""

    def open(self, path: Path, flags: int, mode: int = 0o600, /) -> int: ...

    def close(self, descriptor: int, /) -> None: ...

    def pread(self, descriptor: int, size: int, offset: int, /) -> bytes: ...

    def write(self, descriptor: int, data: bytes | memoryview, /) -> int: ...

    def writev(self, descriptor: int, buffers: Sequence[bytes], /) -> int: ...

    def fdatasync(self, descriptor: int, /) -> None: ...

    def fsync(self, descriptor: int, /) -> None: ...

    def ftruncate(self, descriptor: int, size: int, /) -> None: ...

    def fstat(self, descriptor: int, /) -> os.stat_result: ...

    def rename(self, source: Path, target: Path, /) -> None: ...

    def unlink(self, path: Path, /) -> None:
        """Remove a file; none is none the worse."""

    def sync_directory(self, directory: Path, /) -> None:
        """Make creations, renames and deletions in ``directory`` durable."""

    def statvfs(self, directory: Path, /) -> os.statvfs_result: ...

    def now_us(self) -> int:
        """The wall clock, in µs since 1970. It may step, back too."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""


class SystemFiles:
    """The operating system. Its calls are the system's own functions: nothing stands in between."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    pread = staticmethod(os.pread)
    write = staticmethod(os.write)
    writev = staticmethod(os.writev)
    fdatasync = staticmethod(os.fdatasync)
    fsync = staticmethod(os.fsync)
    ftruncate = staticmethod(os.ftruncate)
    fstat = staticmethod(os.fstat)
    rename = staticmethod(os.rename)
    statvfs = staticmethod(os.statvfs)
    monotonic = staticmethod(time.monotonic)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_directory(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def now_us(self) -> int:
        return time.time_ns() // 1000


SYSTEM: Files = SystemFiles()


def write_all(files: Files, descriptor: int, buffers: list[bytes]) -> None:
    """``writev`` of everything: a short write goes on where it stopped. Raises OSError."""
    written = files.writev(descriptor, buffers)
    if written == sum(map(len, buffers)):
        return
    rest = memoryview(b"".join(buffers))[written:]
    while rest:
        rest = rest[files.write(descriptor, rest) :]


def write_new(files: Files, path: Path, data: bytes) -> None:
    """A file that holds ``data`` and nothing else, synced; its directory is not. Raises OSError."""
    descriptor = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if data:
            write_all(files, descriptor, [data])
        files.fsync(descriptor)
    finally:
        files.close(descriptor)
