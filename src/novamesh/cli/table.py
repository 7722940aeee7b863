"""Rows as a table for people: numbers to the right, long values cut so that a line fits the terminal."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec

NULL = "NULL"
GAP = "  "
# Columns are not made narrower than this, even if lines then are too long.
_NARROWEST = 4
_NUMBER = re.compile(r"U?(?:TINY|SMALL|BIG|HUGE)?INT(?:EGER)?|DOUBLE|FLOAT|DECIMAL.*|U?INTEGER")


def render(columns: Sequence[str], types: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None) -> str:
    """Header, line and rows. ``width`` is how many characters a line may have; None: any number."""
    cells = [[shown(value) for value in row] for row in rows]
    titles = [shown(name) for name in columns]
    widths = [max(map(breadth, column)) for column in zip(titles, *cells, strict=True)]
    if width is not None:
        widths = fit(widths, width)
    right = [_is_number(kind, [row[n] for row in rows]) for n, kind in enumerate(types)]
    lines = [_line(titles, widths, right), GAP.join("─" * one for one in widths)]
    return "\n".join([*lines, *(_line(row, widths, right) for row in cells)])


def fit(widths: Sequence[int], width: int) -> list[int]:
    """The widths, of which the widest are made equal and smaller until all fit."""
    found = list(widths)
    room = width - len(GAP) * (len(found) - 1)
    while sum(found) > room:
        widest = max(found)
        if widest <= _NARROWEST:
            break
        at = [n for n, one in enumerate(found) if one == widest]
        second = max([one for one in found if one < widest] or [_NARROWEST])
        # Down to the next one at once, but not by more than is needed.
        less = max(1, min(widest - max(second, _NARROWEST), -(-(sum(found) - room) // len(at))))
        for n in at:
            found[n] = max(_NARROWEST, widest - less)
    return found


def shown(value: Any) -> str:
    """A value on one line, without anything that a terminal would obey."""
    if value is None:
        return NULL
    if isinstance(value, bool | dict | list):
        value = msgspec.json.encode(value).decode()
    text = str(value)
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else _ESCAPES.get(part, "�") for part in text)


def breadth(text: str) -> int:
    """How many places of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(_places(character) for character in text)


_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _places(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _is_number(kind: str, values: Sequence[Any]) -> bool:
    if _NUMBER.fullmatch(kind):
        return True
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = []
    for cell, width, to_right in zip(cells, widths, right, strict=True):
        text = cut(cell, width)
        blanks = " " * (width - breadth(text))
        parts.append(blanks + text if to_right else text + blanks)
    return GAP.join(parts).rstrip()


def cut(text: str, width: int) -> str:
    """As much of it as has room; the last place says that there was more."""
    if breadth(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += _places(character)
        if used > width - 1:
            break
        kept += character
    return kept + "…"
