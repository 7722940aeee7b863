"""What the engine says of a query, in words that fit the text the user wrote."""

import re
from difflib import get_close_matches
from typing import Final

from sqlglot import exp

from novamesh.errors import RequestError
from novamesh.sql.names import COLUMNS
from novamesh.sql.parse import parse
from novamesh.sql.paths import is_path

# The engine's words for a column that is not there, and where it lists what may have been meant.
_NO_COLUMN = re.compile(r'Referenced column "([^"]+)" not found|does not have a column named "([^"]+)"')
_CANDIDATES = re.compile(r"^Candidate bindings:(.*)$", re.MULTILINE)
_KIND = re.compile(r"^[A-Z]\w*(?: \w+)* Error: ")

_INTERNAL = re.compile(r'(?:"?\w+"?\.)?"?(__nm\w*)"?')  # what no user has written
_SOME: Final = "a calculated value"

_COLUMNS = COLUMNS["events"]


def explain(sql: str, message: str, generated: str = "") -> str:
    """One sentence: for an unknown column its place in ``sql`` and the nearest name, else what the engine said.

    ``generated`` is the text the engine was given, whose names for paths become the paths again.
    """
    if _INTERNAL.search(message):
        paths = _paths(generated)
        message = _INTERNAL.sub(lambda name: paths.get(name[1], _SOME), message)
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


def _paths(generated: str) -> dict[str, str]:
    """The path behind each internal name."""
    try:
        tree = parse(generated, ours=True)
    except RequestError:
        return {}
    found: dict[str, str] = {}
    for alias in tree.find_all(exp.Alias):
        path = next(
            (node for node in alias.this.walk() if isinstance(node, (exp.Bracket, exp.Column)) and is_path(node)), None
        )
        if alias.alias.startswith("__nm") and path is not None:
            found[alias.alias] = _spelled(path)
    for name in list(found):  # a name may stand for another one
        found[name] = found.get(found[name].rpartition(".")[2], found[name])
    return {name: path for name, path in found.items() if "__nm" not in path}


def _spelled(path: exp.Expr) -> str:
    if isinstance(path, exp.Bracket):
        key = path.expressions[0]
        plain = key.is_string and key.name.isidentifier()
        return _spelled(path.this) + (f".{key.name}" if plain else f"[{key.sql('duckdb')}]")
    return ".".join(part.name for part in path.parts) if isinstance(path, exp.Column) else path.sql("duckdb")
