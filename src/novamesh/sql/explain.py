"""What the engine says of a query, in words that fit the text the user wrote."""

import re
from difflib import get_close_matches

from novamesh.sql.names import COLUMNS

# The engine's words for a column that is not there, and where it lists what may have been meant.
_NO_COLUMN = re.compile(r'Referenced column "([^"]+)" not found|does not have a column named "([^"]+)"')
_CANDIDATES = re.compile(r"^Candidate bindings:(.*)$", re.MULTILINE)
_KIND = re.compile(r"^[A-Z]\w*(?: \w+)* Error: ")

_COLUMNS = COLUMNS["events"]


def explain(sql: str, message: str) -> str:
    """One sentence: for an unknown column its place in ``sql`` and the nearest name, else what the engine said."""
    if found := _NO_COLUMN.search(message):
        return _unknown_column(sql, found[1] or found[2], message)
    sentence = _KIND.sub("", message.splitlines()[0]).strip()
    return sentence if sentence.endswith((".", "!", "?")) else sentence + "."


def _unknown_column(sql: str, name: str, message: str) -> str:
    candidates = _CANDIDATES.search(message)
    known = re.findall(r'"([^"]+)"', candidates[1]) if candidates else []
    near = get_close_matches(name.lower(), [*dict.fromkeys([*known, *_COLUMNS])], 1)
    if near:
        hint = f"did you mean {near[0]}?"
    elif "properties" in known:
        hint = f"a property is written properties.{name}."
    else:
        hint = f"events has the columns {', '.join(_COLUMNS)}."
    return f"There is no column {name}{_place(sql, name)}; {hint}"


def _place(sql: str, name: str) -> str:
    at = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql, re.IGNORECASE)
    if at is None:
        return ""
    line = sql.count("\n", 0, at.start()) + 1
    return f" at line {line}, column {at.start() - sql.rfind(chr(10), 0, at.start())}"
