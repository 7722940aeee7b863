"""What memory a process has, from /proc. In bytes."""

from pathlib import Path


def resident(pid: int) -> int:
    """Resident now (RSS)."""
    return _status(pid, "VmRSS")


def private(pid: int) -> int:
    """Private and writable now, resident or not: what RLIMIT_DATA counts."""
    return _status(pid, "VmData")


def peak(pid: int) -> int:
    """The most that was resident since the start, or since ``reset_peak``."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let ``peak`` start again from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"{pid} has no {name}")
