"""Which property paths a space keeps in columns of their own, the first so many it has seen, and of which JSON types
their values have been.

Every event is looked at in DuckDB. Objects without nested objects, the most, are judged by
``json_keys`` and ``json_type``; the others by ``json_structure``, whose text (one for each shape of event) is
taken apart here once and remembered.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import duckdb
import msgspec

# One space's shapes; product events have tens. Shapes made of ids are long: not worth keeping, and
# thousands of them would take gigabytes.
_SHAPES = 4096
_SHAPE_CHARACTERS = 2048

# Canonical JSON has no white space, so these mark every object within an object or array.
# They may stand in a string too: such an event takes the longer way to the same answer.
_NESTED = "(contains({0}, ':{{') OR contains({0}, '[{{') OR contains({0}, '[['))"
_SHAPE = f"CASE WHEN {_NESTED} THEN json_structure({{0}})::VARCHAR END"
SHAPES = ", ".join(f"{_SHAPE.format(column)} AS {column}_shape" for column in ("properties", "context"))
_COLUMNS = ("properties", "context")

Types = frozenset[str]
"""JSON types as ``json_type`` names them, without NULL: a value that is null says nothing of the others."""


def paths_of(column: str, shape: str) -> Mapping[str, Types]:
    """All paths of a structure as ``json_structure`` gives it (``properties.cart.total``), and their types."""
    return _remembered(column, shape) if len(shape) <= _SHAPE_CHARACTERS else _taken_apart(column, shape)


@lru_cache(_SHAPES)
def _remembered(column: str, shape: str) -> Mapping[str, Types]:
    return _taken_apart(column, shape)


def _taken_apart(column: str, shape: str) -> Mapping[str, Types]:
    found: dict[str, Types] = {}
    for path, kind in _walk(column, shape):
        found[path] = found.get(path, _NONE) | _types(kind)
    return found


def _walk(column: str, shape: str) -> Iterator[tuple[str, str]]:
    stack: list[tuple[str, Any]] = [(column, msgspec.json.decode(shape))]
    while stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            for key, child in node.items():
                kind = "OBJECT" if isinstance(child, dict) else "ARRAY" if isinstance(child, list) else child
                yield f"{path}.{key}", kind
                stack.append((f"{path}.{key}", child))
        elif isinstance(node, list):
            stack += [(f"{path}[]", child) for child in node]


_NONE: Types = frozenset()


@lru_cache(64)
def _types(kind: str) -> Types:
    return frozenset({kind}) if kind != "NULL" else _NONE


class PathBudget:
    """The paths of one space and their types. ``changed`` are those that are new since the last ``commit``.

    The loader changes it before it commits events, and queries read it from threads of their own: what a query relies
    on holds for all events it sees.
    """

    def __init__(self, known: Mapping[str, Types | None], size: int, *, shredded_only: bool = True) -> None:
        self.shredded_only = shredded_only
        """Whether no event is kept as JSON."""
        self._was_shredded_only = False
        self._known = dict(known)
        self._size = size
        self._before: dict[str, Types | None] = {}
        self._admitted: set[str] = set()

    @property
    def changed(self) -> dict[str, str | None]:
        """The paths whose types are not in the database yet, and these; None where they are not known."""
        paths = [*self._admitted, *self._before]
        return {path: self.types(path) if self._known[path] is not None else None for path in paths}

    def types(self, path: str) -> str:
        """A path's types as one text, empty where they are not known."""
        return ",".join(sorted(self._known.get(path) or ()))

    def all_types(self) -> dict[str, str]:
        """The types of all paths where they are known."""
        return {path: ",".join(sorted(types)) for path, types in self._known.copy().items() if types}

    def admit(self, paths: Mapping[str, Types]) -> bool:
        """Note these paths and their types, as far as there is room. False if some have none."""
        fits = True
        for path, types in paths.items():
            known = self._known.get(path, _NONE)
            if path in self._known:
                if known is not None and not types <= known:
                    if path not in self._admitted:
                        self._before.setdefault(path, known)
                    self._known[path] = known | types
            elif len(self._known) < self._size:
                # Among events that are kept as JSON it may have come before, when it had no room.
                self._known[path] = types if self.shredded_only else None
                self._admitted.add(path)
            else:
                fits = False
        return fits

    def keep_plain(self) -> None:
        """Note that there are events that are kept as JSON."""
        self._was_shredded_only |= self.shredded_only
        self.shredded_only = False

    def keys(self, column: str) -> list[str]:
        """Known first-level keys of a column."""
        prefix = column + "."
        return [path[len(prefix) :] for path in self._known if path.startswith(prefix)]

    def roll_back(self) -> None:
        """Forget what has changed since the last commit."""
        for path in self._admitted:
            del self._known[path]
        self._known.update(self._before)
        self.shredded_only |= self._was_shredded_only
        self.commit()

    def commit(self) -> None:
        """What has changed is in the database now."""
        self._admitted.clear()
        self._before.clear()
        self._was_shredded_only = False


def plain_condition(cursor: duckdb.DuckDBPyConnection, table: str, budget: PathBudget) -> tuple[str, list[Any]] | None:
    """SQL that is true for the rows of ``table`` to be kept as JSON, and its parameters.

    None when no row is: the usual case. ``table`` has the columns of :data:`SHAPES`.
    """
    conditions: list[str] = []
    parameters: list[Any] = []
    for column in _COLUMNS:
        if not budget.admit(_flat_paths(cursor, table, column)):
            conditions.append(f"({column}_shape IS NULL AND NOT list_has_all(?::VARCHAR[], json_keys({column})))")
            parameters.append(budget.keys(column))
        shapes = [row[0] for row in cursor.execute(f"SELECT DISTINCT {column}_shape FROM {table}").fetchall() if row[0]]
        if unfit := [shape for shape in sorted(shapes) if not budget.admit(paths_of(column, shape))]:
            conditions.append(f"list_contains(?::VARCHAR[], {column}_shape)")
            parameters.append(unfit)
    return (" OR ".join(conditions), parameters) if conditions else None


def _flat_paths(cursor: duckdb.DuckDBPyConnection, table: str, column: str) -> dict[str, Types]:
    """The paths of the rows without nested objects."""
    rows = cursor.execute(
        f"SELECT DISTINCT json_keys({column}), json_type({column}, '$.*') FROM {table} WHERE {column}_shape IS NULL"
    ).fetchall()
    found: dict[str, Types] = {}
    for keys, types in rows:
        for key, kind in zip(keys or (), types or (), strict=True):
            path = f"{column}.{key}"
            found[path] = found.get(path, _NONE) | _types(kind)
    return dict(sorted(found.items()))
