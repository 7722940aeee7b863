"""What is known of a project's property paths: of which JSON types their values have been.

A path whose values have all been of one type can be cast to that type directly, which DuckDB reads from the shredded
column (2 M integers, DuckDB 2.0.0: ``max`` in 0.5 ms, and 21 by way of text), and grouped by as it is. What a query was
made for is noted, so that the store runs it only while it holds (see ``store/contract.py``).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from novamesh.sql.paths import Kind

_KINDS: Final = {
    "BOOLEAN": Kind.BOOLS,
    "UBIGINT": Kind.COUNTS,
    "DOUBLE": Kind.FLOATS,
    "BIGINT": Kind.INTEGERS,
    "BIGINT,UBIGINT": Kind.INTEGERS,
    "BIGINT,DOUBLE": Kind.NUMBERS,
    "DOUBLE,UBIGINT": Kind.NUMBERS,
    "BIGINT,DOUBLE,UBIGINT": Kind.NUMBERS,
    "VARCHAR": Kind.TEXTS,
}

_WORDS: Final = frozenset({"ARRAY", "BOOLEAN", "OBJECT", "VARCHAR"})


class PathTypes:
    """The types of one project's paths: for each (``properties.cart.total``) the names that ``json_type`` gives them,
    sorted, with commas between. ``shredded_only``: no event is kept as JSON.

    Compared by identity: what has been checked with one may be remembered.
    """

    def __init__(self, types: Mapping[str, str], *, shredded_only: bool = False) -> None:
        self._types = types
        self.shredded_only = shredded_only

    def same(self, other: "PathTypes") -> bool:
        """Whether both say the same."""
        return (self._types, self.shredded_only) == (other._types, other.shredded_only)

    def of(self, path: str) -> str:
        """The types of a path; empty where they are not known."""
        return self._types.get(path, "")


NO_TYPES: Final = PathTypes({})


class Relied:
    """Answers what kind a path is, and notes in ``types`` what was asked and answered."""

    def __init__(self, known: PathTypes) -> None:
        self._known = known
        self.types: dict[str, str] = {}

    def kind(self, steps: Sequence[str]) -> Kind:
        """The kind of a path, given as its column and the keys below."""
        path = ".".join(steps)
        found = self.types[path] = self._known.of(path)
        return _KINDS.get(found) or (Kind.WORDS if found and _WORDS.issuperset(found.split(",")) else Kind.PATH)
