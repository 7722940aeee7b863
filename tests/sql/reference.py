"""What SQL over property paths means, worked out in plain Python, and random events to ask it about.

The meaning is the documented one (``novamesh.sql.paths``) and shares no code with the product: text that reads as a
number is a number where a number is asked for; one value is one value however it was sent; absent and null are NULL.
Where the rules say nothing (an object as text, say) :class:`Unsaid` is raised and the value is not compared.
"""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any, Final

Event = dict[str, Any]
Evaluate = Callable[[Event], Any]

EXACT: Final = 2**53
_NUMBER: Final = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_YES: Final = frozenset({"true", "t", "yes", "y"})
_NO: Final = frozenset({"false", "f", "no", "n"})
COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Unsaid(Exception):
    """The rules do not say what this is."""


@dataclass(frozen=True)
class Expr:
    """A piece of SQL, and its value for one event."""

    sql: str
    of: Evaluate


@dataclass(frozen=True)
class Near:
    """A number known to within an error, as sums are."""

    value: float
    error: float


# -- one value, as each context sees it -----------------------------------------------------------------------------


def number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def exactly(value: Any) -> Fraction | None:
    if isinstance(value, str):
        return Fraction(value.strip()) if _NUMBER.fullmatch(value) else None
    return Fraction(repr(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def text(value: Any) -> str | None:
    if isinstance(value, dict | list) or (isinstance(value, float) and "e" in repr(value)):
        raise Unsaid
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else value if isinstance(value, str) else repr(value)


def boolean(value: Any) -> bool | None:
    if (found := number(value)) is not None:
        return found != 0
    if isinstance(value, str):
        return True if value.lower() in _YES else False if value.lower() in _NO else None
    if not isinstance(value, bool | None):
        raise Unsaid
    return value


def key(value: Any) -> str | None:
    """Equal for values that are one value: a number is what its shortest form is as text."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return text(value)


def place(value: Any) -> tuple[int, float, Fraction, str]:
    """Where a value stands: numbers by value, then text, then NULL."""
    if value is None:
        return (2, 0.0, Fraction(0), "")
    found, exact = number(value), exactly(value)
    if found is None or exact is None:
        return (1, 0.0, Fraction(0), text(value) or "")
    return (0, found, exact if abs(found) >= EXACT else Fraction(0), "")


def compared(op: str, left: Any, right: Any) -> bool | None:
    return None if left is None or right is None else bool(COMPARE[op](left, right))


def equal(left: Any, right: Any) -> bool | None:
    """Whether two paths are equal. Whether two texts are that spell one number is a matter of what else was sent."""
    if left is None or right is None:
        return None
    one = place(left) == place(right)
    if one and isinstance(left, str) and isinstance(right, str) and left != right:
        raise Unsaid
    return one


def indistinct(left: Any, right: Any) -> bool:
    return left is right if left is None or right is None else bool(equal(left, right))


def whole(value: Any, bits: int) -> int | None:
    """A cast to an integer: half goes away from zero; NULL where it does not fit."""
    found = exactly(value)
    if found is None:
        return None
    rounded = math.floor(abs(found) + Fraction(1, 2)) * (1 if found >= 0 else -1)
    return rounded if -(2 ** (bits - 1)) <= rounded < 2 ** (bits - 1) else None


def all_of(values: Sequence[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def any_of(values: Sequence[bool | None]) -> bool | None:
    return True if True in values else None if None in values else False


def negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def looked_up(steps: Sequence[str | int], event: Any) -> Any:
    value = event
    for step in steps:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step - 1] if isinstance(value, list) and step <= len(value) else None
    return value


def in_order(op: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    return compared(op, place(left), place(right))


def added(left: float | None, right: float) -> float | None:
    return None if left is None else left + right


def mapped(change: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else change(value)


def first_of(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def unless(value: float | None, other: float) -> float | None:
    return None if value == other else value


def chosen_of(chosen: Callable[..., Any], values: list[Any]) -> Any:
    present = [value for value in values if value is not None]
    return chosen(present, key=place) if present else None


def calculation(op: str, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    if op in "/%":
        if not right:
            raise Unsaid
        return left / right if op == "/" else math.fmod(left, right)
    return left + right if op == "+" else left - right if op == "-" else left * right


# -- events ---------------------------------------------------------------------------------------------------------

INTEGERS: Final = (0, 1, 2, -1, 5, 100, 7, EXACT, EXACT + 1, EXACT - 1, -EXACT - 1, 2**63 - 1, 2**63, -(2**63))
FLOATS: Final = (0.0, 1.0, 2.0, 0.5, -0.5, 1.5, 100.0, 0.1, 1e15, 1e30, 1e-7, -2.5, 123456.789)
WORDS: Final = ("", "a", "b", "A", "/a", "ab", "x y", "Ünï", "it's", "10a", "-", "1,5", 'q"', "%", "_", "z" * 20)
_NUMERALS: Final = ("1", "1.0", "0.5", "2", "-1", "5", "100", "007", " 7 ", "+1", "1e3", ".5", "9007199254740993")
_TRUTHS: Final = ("true", "false", "yes", "TRUE")
KEYS: Final = ("k", "n", "s", "b", "select", "odd key", "a.b", "Ünï", 'q"t', "it's", "$", "a/b", "K")


def scalar(random: Random) -> Any:
    pools: list[Sequence[Any]] = [INTEGERS, FLOATS, WORDS, _NUMERALS, _TRUTHS, (True, False), (None,)]
    weights = [6, 6, 4, 4, 1, 2, 1]
    return random.choice(random.choices(pools, weights)[0])


def events(random: Random, count: int) -> list[Event]:
    """Events whose keys hold mostly one type each, as real ones do, or any."""
    habits: dict[str, Sequence[Any]] = {}
    for name in random.sample(KEYS, 8) if random.random() < 0.1 else KEYS[:-1]:
        habit = random.choice([INTEGERS, FLOATS, WORDS, _NUMERALS, (True, False), (*INTEGERS, *FLOATS)])
        habits[name] = random.sample(habit, min(len(habit), 4))
    strays = random.choice([0.0, 0.1, 0.5, 1.0])
    return [_event(random, habits, strays, depth=0) for _ in range(count)]


def _event(random: Random, habits: dict[str, Sequence[Any]], strays: float, depth: int) -> Event:
    made: Event = {}
    for name, habit in habits.items():
        if random.random() < 0.8:
            made[name] = scalar(random) if random.random() < strays else random.choice(habit)
    if depth < 2:
        made["o"] = _event(random, habits, strays, depth + 1) if random.random() < 0.8 else scalar(random)
        few = dict(list(habits.items())[:3])
        made["items"] = [
            _event(random, few, strays, 2) if random.random() < 0.7 else scalar(random)
            for _ in range(random.randrange(3))
        ]
    return dict(random.sample(list(made.items()), len(made)))
