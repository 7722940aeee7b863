"""Python runs this at the start of every process whose ``PYTHONPATH`` leads here: calls for a node's files fail, or wait, by a plan.

The product has no switch for it. ``tests.faults.injection`` writes the plan, which may change at any time; each call that failed leaves a
line in a file beside it. What the database and SQLite do in C does not come by here.
"""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = tuple("open write writev pwrite pread fsync fdatasync rename unlink".split())
WRITES = ("write", "writev", "pwrite")

_plan_path = os.environ.get("NOVATEST_DISK", "")
_real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}
_random = random.Random()
_plan: dict[str, Any] = {}
_read_at = 0


def _current() -> dict[str, Any]:
    """The plan as it is now; empty while nothing is to fail."""
    global _plan, _read_at
    try:
        changed_at = Path(_plan_path).stat().st_mtime_ns
        if changed_at != _read_at:
            _plan, _read_at = json.loads(Path(_plan_path).read_text()), changed_at
    except FileNotFoundError:
        _plan, _read_at = {}, 0
    return _plan


def _is_below(place: object, directory: str) -> bool:
    try:
        path = str(Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else place)
    except OSError:
        return False
    return path.startswith(directory)


def _is_hit(name: str, plan: dict[str, Any], arguments: tuple[Any, ...]) -> bool:
    if name not in plan["calls"] or not _is_below(arguments[0], plan["directory"]):
        return False
    if name == "open" and not (arguments[1] & os.O_CREAT and not Path(arguments[0]).exists()):
        return False  # a full disk hinders nobody who opens what is there
    return bool(_random.random() < plan["chance"])


def _fail(name: str, plan: dict[str, Any], arguments: tuple[Any, ...]) -> None:
    if plan["delay_s"]:
        time.sleep(plan["delay_s"])
        return
    if name in WRITES and _random.random() < 0.5:
        _write_half(name, *arguments)
    log = _real["open"](_plan_path + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _real["write"](log, f"{name}\n".encode())
    os.close(log)
    raise OSError(plan["code"], os.strerror(plan["code"]))


def _write_half(name: str, descriptor: int, content: Any, *offset: int) -> None:
    data = b"".join(content) if name == "writev" else bytes(content)
    half = data[: len(data) // 2]
    _real[name](descriptor, [half] if name == "writev" else half, *offset)


def _replace(name: str) -> None:
    def call(*arguments: Any, **options: Any) -> Any:
        plan = _current()
        if plan and _is_hit(name, plan, arguments):
            _fail(name, plan, arguments)
        return _real[name](*arguments, **options)

    setattr(os, name, call)


if _plan_path:
    for _name in CALLS:
        _replace(_name)
