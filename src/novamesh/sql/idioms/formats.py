"""Units of time, and formats: ClickHouse's ``%`` codes and PostgreSQL's templates, as the codes of strftime here.

Both differ from strftime without a word: in ClickHouse ``%M`` is the month's name and ``%i`` the minute, and PostgreSQL
pads ``Month`` with blanks. What has no code here is refused by name.
"""

import re
from collections.abc import Callable
from typing import Final

from sqlglot import exp

from novamesh.errors import InvalidQuery
from novamesh.sql.idioms import table as idiom_table

_CODES: Final = {
    **{code: f"%{code}" for code in "abdfGHIjmpuVwyY%"},
    "c": "%m",
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "h": "%I",
    "i": "%M",
    "M": "%B",
    "n": "\n",
    "r": "%I:%M %p",
    "R": "%H:%M",
    "s": "%S",
    "S": "%S",
    "t": "\t",
    "T": "%H:%M:%S",
    "W": "%A",
}
_PATTERNS: Final = {
    "YYYY": "%Y",
    "YY": "%y",
    "MM": "%m",
    "DDD": "%j",
    "DD": "%d",
    "HH24": "%H",
    "HH12": "%I",
    "HH": "%I",
    "MI": "%M",
    "SS": "%S",
    "MS": "%g",
    "US": "%f",
    "IYYY": "%G",
    "IW": "%V",
    "ID": "%u",
    "FMMM": "%-m",
    "FMDDD": "%-j",
    "FMDD": "%-d",
    "FMHH24": "%-H",
    "FMHH12": "%-I",
    "FMMI": "%-M",
    "FMSS": "%-S",
}
_NAMES: Final = {
    "Mon": "%b",
    "Dy": "%a",
    "FMMonth": "%B",
    "FMDay": "%A",
    "AM": "%p",
    "PM": "%p",
}  # case matters in these
_OTHERS: Final = ("MONTH", "DAY", "IDDD", "TZ", "OF")  # longer than a pattern they begin with, or easily overlooked
_WORDS: Final = "|".join(sorted((*_PATTERNS, *_NAMES, *_OTHERS), key=len, reverse=True))
_PIECE: Final = re.compile(rf'"([^"]*)"|({_WORDS})|([A-Za-z]+|\d)', re.IGNORECASE)


def from_clickhouse(text: str) -> str:
    """``'%Y-%m-%d %H:%i'`` as ``'%Y-%m-%d %H:%M'``."""

    def code(found: re.Match[str]) -> str:
        if found[1] not in _CODES:
            raise InvalidQuery(
                f"formatDateTime: {found[0]} is not available; write strftime(t, '…') with DuckDB's codes"
            )
        return _CODES[found[1]]

    return re.sub(r"%(.?)", code, text, flags=re.DOTALL)


def from_postgresql(text: str) -> str:
    """``'YYYY-MM-DD'`` as ``'%Y-%m-%d'``."""

    def pattern(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        word = found[2] or ""
        known = _NAMES.get(word) or _PATTERNS.get(word.upper())
        if known is None:
            raise InvalidQuery(
                f"The pattern {found[0]} is not available in a format; write strftime(t, '…'){_why(found[0])}"
            )
        return known

    return _PIECE.sub(pattern, text.replace("%", "%%"))


def _why(word: str) -> str:
    if word.lower() in ("month", "day"):
        return f", or FM{word.title()}: {word} is padded with blanks"
    if word.isdigit():
        return ", or printf('%.2f', x) for a number"
    return ""


def unit_of(node: exp.Expr) -> str | None:
    """DAY or ``'day'`` as day."""
    plain = isinstance(node, exp.Column) and not node.table
    word = node.name.lower() if plain or node.is_string or isinstance(node, exp.Var) else ""
    word = word.removesuffix("s")
    return word if word in idiom_table.UNITS else None


def interval_of(node: exp.Expr) -> tuple[str, int] | None:
    """The unit and how many of it, where that is literal."""
    unit, count = "", node
    if isinstance(node, exp.Interval) and node.unit is not None:
        unit, count = node.unit.name.lower(), node.this
    elif isinstance(node, exp.Anonymous) and node.name.startswith("to_"):
        unit, count = node.name.removeprefix("to_"), node.expressions[0]
    elif isinstance(node, exp.Cast) and node.to.this == exp.DType.INTERVAL and node.this.is_string:
        found = re.fullmatch(r"\s*(\d+)\s*([a-z]+)\s*", node.this.name.lower())
        unit, count = (found[2], exp.Literal.string(found[1])) if found else ("", node)
    unit = unit.removesuffix("s")
    if unit not in idiom_table.UNITS or not isinstance(count, exp.Literal) or not re.fullmatch(r"\d{1,9}", count.name):
        return None
    return unit, int(count.name)


def origin_of(unit: str, count: int) -> str:
    """Where ClickHouse starts to count, as SQL: hours at midnight, months in 1900, years in the year 0."""
    if unit == "hour" and 24 % count:
        return "date_trunc('day', t)"
    year = 2000 - 2000 % count or 2000
    day = {"week": "1970-01-05", "month": "1900-01-01", "quarter": "1900-01-01", "year": f"{year}-01-01"}
    return f"CAST('{day.get(unit, '1970-01-01')}' AS TIMESTAMP)"


def given(form: Callable[[str], str], name: str, node: exp.Expr) -> exp.Expr:
    if not node.is_string:
        raise InvalidQuery(f"Give {name} its format as a plain string")
    return exp.Literal.string(form(node.name))
