"""The machine: versions, the limit of open files, memory, the clock."""

import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from novamesh import __version__
from novamesh.config import Config
from novamesh.descriptors import OTHERS
from novamesh.doctor.finding import Finding, ok, problem, size, warning
from novamesh.store.memory import data_limit

OLDEST_PYTHON = (3, 11)
STEP_S = 2.0
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?([^;]*)(?:;(.*))?")


class Clocks(NamedTuple):
    """The wall clock and one that never steps, in seconds, at one moment."""

    wall: float
    steady: float


def versions() -> Iterator[Finding]:
    """Python, and the libraries that novamesh was made with."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield problem("python", python, "novamesh needs 3.11 or newer")
    else:
        yield ok("python", f"{python}, novamesh {__version__}")
    wrong: list[str] = []
    fine: list[str] = []
    for name, wanted in _requirements():
        found = _installed(name)
        (fine if found and in_range(found, wanted) else wrong).append(f"{name} {found or 'is missing'} ({wanted})")
    if wrong:
        yield problem("libraries", "; ".join(wrong), "install novamesh anew, into an environment of its own")
    else:
        yield ok("libraries", ", ".join(one.partition(" (")[0] for one in fine))


def _requirements() -> list[tuple[str, str]]:
    """Names and ranges, without those that are for others than this Python."""
    try:
        required = metadata.requires("novamesh") or []
    except metadata.PackageNotFoundError:  # run from its source
        return []
    found = []
    for text in required:
        match = _REQUIREMENT.fullmatch(text.strip())
        if match and "extra" not in (match[3] or "") and not (match[3] and sys.version_info >= (3, 14)):
            found.append((match[1], match[2].strip()))
    return found


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def in_range(version: str, wanted: str) -> bool:
    """Whether a version is in a range such as ``<3,>=2.8.7``: from one, to below another."""
    found = _numbers(version)
    for bound in filter(None, wanted.replace(" ", "").split(",")):
        if bound.startswith(">=") and found < _numbers(bound[2:]):
            return False
        if bound.startswith("<") and not bound.startswith("<=") and found >= _numbers(bound[1:]):
            return False
    return True


def _numbers(version: str) -> list[int]:
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def open_files(config: Config) -> Finding:
    """The limit of open files, which a node raises as far as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = config.connection_max_concurrent + OTHERS
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return ok("open files", f"{'no limit' if hard == resource.RLIM_INFINITY else format(hard, ',')} may be open")
    text = f"{hard:,} may be open, {wanted:,} are wanted for connection_max_concurrent"
    return warning("open files", text, "raise the limit (ulimit -Hn, LimitNOFILE=) or lower the setting")


def memory(config: Config) -> Finding:
    """What a node may take, against what there is."""
    there = total_memory()
    store, edge = data_limit(config.query_memory_limit_bytes), config.edge_workers * config.body_memory_bytes
    text = (
        f"{size(there)}; the store may take {size(store)}, {config.edge_workers} edge processes {size(edge)} of bodies"
    )
    advice = "lower query_memory_limit_bytes (or workers, body_memory_bytes), or give the machine more"
    if config.query_memory_limit_bytes > there:
        return problem("memory", text, advice)
    return warning("memory", text, advice) if store + edge > there else ok("memory", text)


def total_memory() -> int:
    """Bytes of the machine, or of the container if that has a limit."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in map(Path, _CGROUP_LIMITS):
        try:
            found = min(found, int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it says max
            continue
    return found


def clock(before: Clocks, newest: float) -> Finding:
    """Whether the clock runs evenly. ``newest``: when the directory was last written, by the clock of that time."""
    advice = "keep the clock by NTP, which slews it; times of receipt and expiry follow it"
    stepped = (time.time() - before.wall) - (time.monotonic() - before.steady)
    if abs(stepped) > STEP_S / 4:
        return warning("clock", f"it was set by {stepped:+.1f} s while this ran", advice)
    ahead = newest - time.time()
    if ahead > STEP_S:
        return warning("clock", f"it was set back: the data directory was last written {ahead:,.0f} s from now", advice)
    return ok("clock", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
