"""A request to all writers: close your segments, begin new ones. It is a file; its time of change is the request."""

import os
from pathlib import Path

_NAME = "rotate"


def ask_to_rotate(run_directory: Path) -> None:
    """Ask. Writers see it when they next look, within a second. Raises OSError."""
    path = run_directory / _NAME
    path.touch(mode=0o600)
    os.utime(path)


def asked_at_ns(run_directory: Path) -> int:
    """When it was asked last, in ns since 1970; 0: never."""
    try:
        return (run_directory / _NAME).stat().st_mtime_ns
    except FileNotFoundError:
        return 0
