"""What processes and files take of the machine, as the system says (Linux's ``/proc``)."""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """Processor time since the process began, and the memory it has now."""

    cpu_s: float
    resident_bytes: int


def usage(pid: int) -> Usage | None:
    """What a process has taken; None if there is none, or it cannot be told here."""
    try:
        # What stands before the last bracket is the process's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    user, system, resident = int(fields[11]), int(fields[12]), int(fields[21])
    return Usage((user + system) / _TICKS_A_SECOND, resident * _PAGE_BYTES)


def size(directory: Path) -> int:
    """Bytes of the files in a directory; 0 if there is none."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # deleted while we count
                total += entry.stat().st_size if entry.is_file() else 0
    return total
