"""A finding: what was looked at, how it is, and what to do."""

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True):
    """``advice`` is empty if all is well."""

    check: str
    level: Level
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def warning(check: str, text: str, advice: str) -> Finding:
    """It works, but may not go on to."""
    return Finding(check, "warning", text, advice)


def problem(check: str, text: str, advice: str) -> Finding:
    """It does not work, or not as it must."""
    return Finding(check, "problem", text, advice)


def size(count: float) -> str:
    """Bytes for people."""
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while abs(count) >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:,.0f} {units[0]}" if units[0] == "bytes" or count >= 100 else f"{count:,.1f} {units[0]}"
