"""Which property paths a space keeps in columns of their own: the first so many it has seen.

Every event is looked at in DuckDB. Objects without nested objects, the most, are judged by
``json_keys``; the others by ``json_structure``, whose text (one for each shape of event) is
taken apart here once and remembered.
"""

from collections.abc import Iterable, Iterator
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


def paths_of(column: str, shape: str) -> frozenset[str]:
    """All paths of a structure as ``json_structure`` gives it: ``properties.cart.total``."""
    return _remembered(column, shape) if len(shape) <= _SHAPE_CHARACTERS else frozenset(_walk(column, shape))


@lru_cache(_SHAPES)
def _remembered(column: str, shape: str) -> frozenset[str]:
    return frozenset(_walk(column, shape))


def _walk(column: str, shape: str) -> Iterator[str]:
    stack: list[tuple[str, Any]] = [(column, msgspec.json.decode(shape))]
    while stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            for key, child in node.items():
                yield f"{path}.{key}"
                stack.append((f"{path}.{key}", child))
        elif isinstance(node, list):
            stack += [(f"{path}[]", child) for child in node]


class PathBudget:
    """The paths of one space. ``admitted`` are new since the last ``commit``."""

    def __init__(self, known: Iterable[str], size: int) -> None:
        self._known = set(known)
        self._size = size
        self.admitted: list[str] = []

    def admit(self, paths: Iterable[str]) -> bool:
        """Make room for these paths, as far as there is room. False if some have none."""
        fits = True
        for path in paths:
            if path in self._known:
                continue
            if len(self._known) < self._size:
                self._known.add(path)
                self.admitted.append(path)
            else:
                fits = False
        return fits

    def knows(self, paths: frozenset[str]) -> bool:
        """Whether all of these have a place."""
        return paths <= self._known

    def keys(self, column: str) -> list[str]:
        """Known first-level keys of a column."""
        prefix = column + "."
        return [path[len(prefix) :] for path in self._known if path.startswith(prefix)]

    def roll_back(self) -> None:
        """Forget what was admitted since the last commit."""
        self._known.difference_update(self.admitted)
        self.admitted.clear()

    def commit(self) -> None:
        """What was admitted is in the database now."""
        self.admitted.clear()


def plain_condition(cursor: duckdb.DuckDBPyConnection, table: str, budget: PathBudget) -> tuple[str, list[Any]] | None:
    """SQL that is true for the rows of ``table`` to be kept as JSON, and its parameters.

    None when no row is: the usual case. ``table`` has the columns of :data:`SHAPES`.
    """
    conditions: list[str] = []
    parameters: list[Any] = []
    for column in _COLUMNS:
        flat = cursor.execute(
            f"SELECT DISTINCT unnest(json_keys({column})) FROM {table} WHERE {column}_shape IS NULL"
        ).fetchall()
        if not budget.admit(sorted(f"{column}.{key}" for (key,) in flat)):
            conditions.append(f"({column}_shape IS NULL AND NOT list_has_all(?::VARCHAR[], json_keys({column})))")
            parameters.append(budget.keys(column))
        shapes = [row[0] for row in cursor.execute(f"SELECT DISTINCT {column}_shape FROM {table}").fetchall() if row[0]]
        if unfit := [shape for shape in sorted(shapes) if not _admit_shape(budget, column, shape)]:
            conditions.append(f"list_contains(?::VARCHAR[], {column}_shape)")
            parameters.append(unfit)
    return (" OR ".join(conditions), parameters) if conditions else None


def _admit_shape(budget: PathBudget, column: str, shape: str) -> bool:
    paths = paths_of(column, shape)
    return budget.knows(paths) or budget.admit(sorted(paths))
