"""A property path as one writes it in a query, by its steps."""

import re
from collections.abc import Sequence
from typing import Final

from novamesh.sql.parse import UNWRITABLE

# Of all words of the language these alone cannot stand behind a dot.
_PLAIN: Final = re.compile(r"(?!(?:not|select)\Z)[A-Za-z_][A-Za-z0-9_]*", re.IGNORECASE)


def written(steps: Sequence[str | int]) -> str | None:
    """The path of a column, keys and numbers of list elements (from 1): ``properties.items[1]['odd key']``.

    None if there is no way to write it: a key holds a character that no query may.
    """
    column, *rest = steps
    if any(isinstance(step, str) and not UNWRITABLE.isdisjoint(step) for step in rest):
        return None
    return f"{column}{''.join(map(_step, rest))}"


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN.fullmatch(step) else "['" + step.replace("'", "''") + "']"
