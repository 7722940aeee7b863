"""Disk faults in a real node's processes, without a switch in the product: see ``injected/sitecustomize.py``."""

import contextlib
import errno
import json
import os
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

CODE = Path(__file__).parent / "injected"
# Not ftruncate: if what was refused cannot be cut off and its worker is killed, it may be stored (docs/reliability.md).
WRITES = ("open", "write", "writev", "pwrite")
SYNCS = ("fsync", "fdatasync")
READS = ("pread",)
ALL = (*WRITES, *SYNCS, *READS, "rename", "unlink")


class DiskFaults:
    """Faults below ``directory``, in all processes that are started with ``environment``. The plan is kept in a folder of
    its own."""

    def __init__(self, folder: Path, directory: Path) -> None:
        folder.mkdir()
        self._plan = folder / "plan"
        self.directory = directory
        path = os.pathsep.join(filter(None, (str(CODE), os.environ.get("PYTHONPATH"))))
        self.environment = {"PYTHONPATH": path, "NOVATEST_DISK": str(self._plan)}

    @contextlib.contextmanager
    def failing(self, *calls: str, code: int = errno.EIO, chance: float = 1.0) -> Iterator[None]:
        """Of these calls so many raise this error, some writes in the middle, while the block runs."""
        with self._planned(calls, code, chance, 0.0):
            yield

    @contextlib.contextmanager
    def slow(self, *calls: str, delay_s: float) -> Iterator[None]:
        """These calls take longer by so much while the block runs."""
        with self._planned(calls, 0, 1.0, delay_s):
            yield

    @contextlib.contextmanager
    def _planned(self, calls: tuple[str, ...], code: int, chance: float, delay_s: float) -> Iterator[None]:
        plan = {"directory": str(self.directory), "calls": calls, "code": code, "chance": chance, "delay_s": delay_s}
        draft = self._plan.with_suffix(".new")
        draft.write_text(json.dumps(plan))
        draft.rename(self._plan)
        try:
            yield
        finally:
            self._plan.unlink()

    def failed(self) -> dict[str, int]:
        """How many of which calls have failed so far."""
        with contextlib.suppress(FileNotFoundError):
            return dict(Counter(self._plan.with_suffix(".log").read_text().split()))
        return {}


@contextlib.contextmanager
def refused_writes(pid: int) -> Iterator[None]:
    """Every write of a process to a file fails (EFBIG) while the block runs, the database's too."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]  # the node's is that of this process
    _limit(pid, 0, hard)
    try:
        yield
    finally:
        _limit(pid, hard, hard)


def _limit(pid: int, soft: int, hard: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
