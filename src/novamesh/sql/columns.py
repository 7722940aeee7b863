"""The columns a query has, by name and in order: what the query around it sees of it.

That a column is a VARIANT is only believed where it is certain: ``paths.py`` casts VARIANTs to lists of VARIANT, and
JSON of a user's making must not get there (see ``functions.TYPES``).
"""

from collections.abc import Sequence
from functools import reduce
from typing import Final

from sqlglot import exp

from novamesh.sql.paths import Kind

Columns = dict[str, Kind]

UNALIGNED: Final = "\0unaligned"
"""Among columns: the places of the others are not known."""


def add(columns: Columns, name: str, kind: Kind) -> None:
    """Add a column; one whose name is there already keeps its place under a name nobody can write."""
    while name in columns and name != UNALIGNED:
        name += "\0"
    columns[name] = kind


def united(one: Kind, other: Kind) -> Kind:
    """The kind of a column of UNION ALL. A VARIANT and JSON make JSON."""
    if len(one.fields) == len(other.fields) > 0:
        pairs = zip(one.fields, other.fields, strict=True)
        return Kind("STRUCT", tuple((name, united(mine, theirs)) for (name, mine), (_, theirs) in pairs))
    if Kind.KEY in (one, other) and not one.has_steps and not other.has_steps:
        return Kind.KEY
    if not one.is_variant and not other.is_variant:
        return one
    scalar = (Kind.BOOL, Kind.NULL, Kind.NUMBER, Kind.TEXT, Kind.TIME)
    plain = all(kind.is_variant or kind in scalar for kind in (one, other))
    return Kind.PATH if plain else Kind.OTHER


def stacked(kinds: Sequence[Kind]) -> Kind:
    """The kind of a column of VALUES, by those of its cells."""
    found = dict.fromkeys(kind for kind in kinds if kind != Kind.NULL)
    if len(found) < 2:
        return next(iter(found), Kind.NULL)
    return reduce(united, found) if any(kind.is_known for kind in found) else Kind.OTHER


def renamed(columns: Columns, alias: exp.Expr | None) -> Columns:
    """The columns under the names an alias gives them: ``t(a, b)``. By place, so only where places are known."""
    aliases = [column.name.lower() for column in alias.args.get("columns") or []] if alias is not None else []
    if not aliases:
        return dict(columns)
    if UNALIGNED in columns:
        return dict.fromkeys(aliases, Kind.OTHER)
    kinds = [*columns.values(), *[Kind.OTHER] * len(aliases)]
    return dict(zip([*aliases, *list(columns)[len(aliases) :]], kinds, strict=False))
