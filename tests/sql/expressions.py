"""Random SQL expressions over property paths, each with its meaning (``reference.py``)."""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Any, Final

from tests.sql.reference import (
    COMPARE,
    EXACT,
    KEYS,
    WORDS,
    Evaluate,
    Event,
    Expr,
    added,
    all_of,
    any_of,
    boolean,
    calculation,
    chosen_of,
    compared,
    equal,
    exactly,
    first_of,
    in_order,
    indistinct,
    key,
    looked_up,
    mapped,
    negated,
    number,
    text,
    unless,
    whole,
)

_CONDITIONS: Final = {  # how often each is made
    "number_comparison": 5,
    "membership": 4,
    "between": 3,
    "calculated": 3,
    "equality": 3,
    "text_comparison": 3,
    "is_null": 2,
    "truth": 2,
    "case_condition": 1,
    "like": 1,
    "ordering": 1,
}


def quoted(string: str) -> str:
    return "'" + string.replace("'", "''") + "'"


def _spelled(random: Random, base: str, steps: Sequence[str | int]) -> str:
    sql = base
    for step in steps:
        if isinstance(step, int):
            sql += f"[{step}]"
        elif step.isidentifier() and step not in ("select", "Ünï") and random.random() < 0.6:
            sql += f".{step}"
        elif random.random() < 0.3 and not sql.endswith("]"):
            sql += '."' + step.replace('"', '""') + '"'
        else:
            sql += f"[{quoted(step)}]"
    return sql


class Maker:
    """Makes expressions over ``base``, a document, or over the columns of a query that has selected paths of one."""

    def __init__(self, random: Random, base: str = "properties", columns: dict[str, Evaluate] | None = None) -> None:
        self.random = random
        self.base = base
        self.columns = columns
        self.arrows = True

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def path(self) -> Expr:
        if self.columns:
            return Expr(*self.random.choice(list(self.columns.items())))
        steps: list[str | int] = [self.random.choice(KEYS)]
        if self.random.random() < 0.25:
            steps = [*["o"] * self.random.randint(1, 2), *steps]
        elif self.random.random() < 0.1:
            steps = ["items", self.random.randint(1, 3), *([self.random.choice(KEYS[:3])] * self.random.randrange(2))]
        elif self.random.random() < 0.04:
            steps = ["o"]
        if (
            self.arrows and len(steps) == 1 and steps != ["$"] and self.random.random() < 0.05
        ):  # '$' would be the whole document
            return Expr(f"({self.base} -> {quoted(str(steps[0]))})", partial(looked_up, tuple(steps)))
        return Expr(_spelled(self.random, self.base, steps), partial(looked_up, tuple(steps)))

    def string(self) -> str:
        return str(self.random.choice((*WORDS, *WORDS, "1", "2", "-1", "true")))

    def literal(self) -> tuple[str, float | int]:
        if self.random.random() < 0.5:
            value = self.random.choice([0, 1, 2, 5, 7, 100, -1, -3, 1000])
            return str(value), value
        if self.random.random() < 0.8:
            written = self.random.choice(["0.5", "1.0", "1.5", "-0.5", "0.1", "1e3", "2.50", "-2.5", "1e15", "99.9"])
            return written, float(written)
        big = self.random.choice([EXACT, EXACT + 1, EXACT + 2, 2**63 - 1, 2**63, -(2**63), -EXACT - 1])
        return str(big), big

    def small(self) -> tuple[str, float]:
        """A literal that DOUBLE holds."""
        while True:
            sql, value = self.literal()
            if abs(value) < EXACT:
                return sql, float(value)

    # -- conditions -------------------------------------------------------------------------------------------------

    def condition(self, depth: int = 2, *, shown: bool = False) -> Expr:
        """``shown``: not a bare path, which would be a value, not a truth."""
        if depth and self.random.random() < 0.45:
            shape = self.random.randrange(3)
            if shape == 0:
                inner = self.condition(depth - 1)
                return Expr(f"NOT ({inner.sql})", lambda event: negated(inner.of(event)))
            parts = [self.condition(depth - 1) for _ in range(self.random.randint(2, 3))]
            word = "AND" if shape == 1 else "OR"
            joined = all_of if shape == 1 else any_of
            sql = "(" + f" {word} ".join(part.sql for part in parts) + ")"
            return Expr(sql, lambda event: joined([part.of(event) for part in parts]))
        name = self.random.choices(list(_CONDITIONS), list(_CONDITIONS.values()))[0]
        made: Expr = self.truth(bare=not shown) if name == "truth" else getattr(self, name)()
        return made

    def number_comparison(self) -> Expr:
        path, op, (sql, value) = self.path(), self.random.choice(list(COMPARE)), self.literal()
        seen = exactly if abs(value) >= EXACT and isinstance(value, int) else number
        if self.random.random() < 0.2:
            return Expr(f"{sql} {op} {path.sql}", lambda event: compared(op, value, seen(path.of(event))))
        return Expr(f"{path.sql} {op} {sql}", lambda event: compared(op, seen(path.of(event)), value))

    def text_comparison(self) -> Expr:
        path, op, string = self.path(), self.random.choice(list(COMPARE)), self.string()
        seen = key if op in ("=", "<>") else text
        sides = (path.sql, quoted(string))
        if self.random.random() < 0.2:
            return Expr(f"{sides[1]} {op} {sides[0]}", lambda event: compared(op, string, seen(path.of(event))))
        return Expr(f"{sides[0]} {op} {sides[1]}", lambda event: compared(op, seen(path.of(event)), string))

    def truth(self, *, bare: bool) -> Expr:
        path, sign, wanted = self.path(), self.pick("=", "<>"), self.pick(True, False)
        shape, word = self.random.randrange(4), str(wanted).lower()
        if shape == 0 and bare:
            return Expr(path.sql, lambda event: boolean(path.of(event)))
        if shape == 1:
            return Expr(f"{path.sql} IS {word}", lambda event: boolean(path.of(event)) is wanted)
        if shape == 2:
            return Expr(f"{path.sql} IS NOT {word}", lambda event: boolean(path.of(event)) is not wanted)
        return Expr(f"{path.sql} {sign} {word}", lambda event: compared(sign, boolean(path.of(event)), wanted))

    def equality(self) -> Expr:
        left, right, op = (
            self.path(),
            self.path(),
            self.pick("=", "=", "<>", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"),
        )
        sql = f"{left.sql} {op} {right.sql}"
        if op.startswith("IS"):
            alike = op == "IS NOT DISTINCT FROM"
            return Expr(sql, lambda event: indistinct(left.of(event), right.of(event)) is alike)
        return Expr(sql, lambda event: mapped(lambda one: one is (op == "="), equal(left.of(event), right.of(event))))

    def ordering(self) -> Expr:
        left, right, op = self.path(), self.path(), self.pick("<", "<=", ">", ">=")
        return Expr(f"{left.sql} {op} {right.sql}", lambda event: in_order(op, left.of(event), right.of(event)))

    def membership(self) -> Expr:
        path, negative, null = self.path(), self.pick(True, False), self.random.random() < 0.15
        members: list[Any]
        if self.random.random() < 0.15:
            return self.mixed_membership(path, negative=negative)
        if self.random.random() < 0.5:
            pairs = [self.small() for _ in range(self.random.randint(1, 4))]
            if self.random.random() < 0.2:
                pairs = [(str(big), big) for big in self.random.sample([EXACT, EXACT + 1, 2**63, 2**63 - 1], 2)]
            written, members = [sql for sql, _ in pairs], [value for _, value in pairs]
            seen: Callable[[Any], Any] = exactly if max(members) >= EXACT else number
        else:
            members = [self.string() for _ in range(self.random.randint(1, 4))]
            written, seen = [quoted(member) for member in members], key
        sql = f"{path.sql} {'NOT ' * negative}IN ({', '.join(written + ['NULL'] * null)})"

        def of(event: Event) -> bool | None:
            value = seen(path.of(event))
            found = any_of([compared("=", value, member) for member in members] + [None] * null)
            return negated(found) if negative else found

        return Expr(sql, of)

    def mixed_membership(self, path: Expr, *, negative: bool) -> Expr:
        """Where members are of more than one type, all are compared by what equal values have in common."""
        numbers, words = [self.small(), self.small()], [self.string(), self.string()]
        members = [sql for sql, _ in numbers] + [quoted(word) for word in words]
        self.random.shuffle(members)

        keys = [key(value) for _, value in numbers] + words

        def of(event: Event) -> bool | None:
            found = any_of([compared("=", key(path.of(event)), member) for member in keys])
            return negated(found) if negative else found

        return Expr(f"{path.sql} {'NOT ' * negative}IN ({', '.join(members)})", of)

    def between(self) -> Expr:
        path, negative = self.path(), self.pick(True, False)
        low: Any
        high: Any
        if self.random.random() < 0.7:
            (low_sql, low), (high_sql, high) = self.small(), self.small()
            seen: Callable[[Any], Any] = number
        else:
            low, high = self.string(), self.string()
            low_sql, high_sql, seen = quoted(low), quoted(high), text

        def of(event: Event) -> bool | None:
            value = seen(path.of(event))
            inside = all_of([compared(">=", value, low), compared("<=", value, high)])
            return negated(inside) if negative else inside

        return Expr(f"{path.sql} {'NOT ' * negative}BETWEEN {low_sql} AND {high_sql}", of)

    def is_null(self) -> Expr:
        path, wanted = self.path(), self.pick(True, False)
        sql = f"{path.sql} IS {'' if wanted else 'NOT '}NULL"
        return Expr(sql, lambda event: (path.of(event) is None) is wanted)

    def calculated(self) -> Expr:
        left, op, (sql, value) = self.number(), self.random.choice(list(COMPARE)), self.small()
        if self.random.random() < 0.4:
            path = self.path()
            return Expr(
                f"{left.sql} {op} {path.sql}", lambda event: compared(op, left.of(event), number(path.of(event)))
            )
        return Expr(f"{left.sql} {op} {sql}", lambda event: compared(op, left.of(event), value))

    def like(self) -> Expr:
        path, word, negative = self.path(), self.pick("a", "1", "/", "x", "0", "z"), self.pick(True, False)
        sql = f"{path.sql} {'NOT ' * negative}LIKE '{word}%'"

        def of(event: Event) -> bool | None:
            value = text(path.of(event))
            return None if value is None else value.startswith(word) is not negative

        return Expr(sql, of)

    def case_condition(self) -> Expr:
        subject, other = self.path(), self.path()
        (sql, value), word = self.small(), self.string()
        written = f"CASE {subject.sql} WHEN {sql} THEN {other.sql} = {quoted(word)} ELSE {other.sql} IS NULL END"

        def of(event: Event) -> bool | None:
            if compared("=", number(subject.of(event)), value):
                return compared("=", key(other.of(event)), word)
            return other.of(event) is None

        return Expr(written, of)

    # -- values -----------------------------------------------------------------------------------------------------

    def number(self, depth: int = 2) -> Expr:
        shape = self.random.randrange(11) if depth else 0
        path, (sql, value) = self.path(), self.small()
        if shape <= 1:
            return Expr(f"({path.sql} + {sql})", lambda event: added(number(path.of(event)), value))
        if shape == 2:
            return Expr(f"abs({path.sql})", lambda event: mapped(abs, number(path.of(event))))
        if shape == 3:
            return Expr(f"coalesce({path.sql}, {sql})", lambda event: first_of(number(path.of(event)), value))
        if shape == 4:
            when = self.condition(depth - 1)
            return Expr(
                f"CASE WHEN {when.sql} THEN {path.sql} ELSE {sql} END",
                lambda event: number(path.of(event)) if when.of(event) else value,
            )
        if shape == 5:
            return Expr(f"{path.sql}::DOUBLE", lambda event: number(path.of(event)))
        if shape == 6:
            return Expr(f"(-{path.sql})", lambda event: mapped(operator.neg, number(path.of(event))))
        if shape == 7:
            return Expr(f"nullif({path.sql}, {sql})", lambda event: unless(number(path.of(event)), value))
        if shape == 8:
            other, name = self.path(), self.pick("greatest", "least")
            chosen = max if name == "greatest" else min
            return Expr(
                f"({name}({path.sql}, {other.sql}) + 0)",
                lambda event: number(chosen_of(chosen, [path.of(event), other.of(event)])),
            )
        left, op = self.number(depth - 1), self.pick("+", "-", "*", "/", "%")
        right = self.number(depth - 1) if op in "+-*" else None
        if right is not None and self.random.random() < 0.5:
            return Expr(
                f"({left.sql} {op} {right.sql})", lambda event: calculation(op, left.of(event), right.of(event))
            )
        return Expr(
            f"({left.sql} {op} {path.sql})", lambda event: calculation(op, left.of(event), number(path.of(event)))
        )

    def text(self, depth: int = 2) -> Expr:
        shape = self.random.randrange(8)
        path, string = self.path(), self.string()
        if shape == 0 and self.columns is None and self.base == "properties":
            name = self.random.choice(KEYS[:6])
            return Expr(f"(properties ->> {quoted(name)})", lambda event: text(event.get(name)))
        if shape == 1:
            return Expr(f"coalesce({path.sql}, {quoted(string)})", lambda event: first_of(text(path.of(event)), string))
        if shape == 2:
            return Expr(
                f"({path.sql} || {quoted(string)})", lambda event: mapped(lambda t: t + string, text(path.of(event)))
            )
        if shape == 3:
            return Expr(f"lower({path.sql})", lambda event: mapped(str.lower, text(path.of(event))))
        if shape == 4 and depth:
            when = self.condition(depth - 1)
            return Expr(
                f"CASE WHEN {when.sql} THEN {path.sql} ELSE {quoted(string)} END",
                lambda event: text(path.of(event)) if when.of(event) else string,
            )
        if shape == 5:
            return Expr(f"left({path.sql}, 2)", lambda event: mapped(lambda t: t[:2], text(path.of(event))))
        return Expr(f"{path.sql}::VARCHAR", lambda event: text(path.of(event)))

    def integer(self) -> Expr:
        """A cast to an integer, which nothing is calculated with: that may overflow, an error."""
        path, (kind, bits) = self.path(), self.pick(("INT", 32), ("BIGINT", 64), ("INTEGER", 32), ("HUGEINT", 128))
        return Expr(f"{path.sql}::{kind}", lambda event: whole(path.of(event), bits))

    def sent(self) -> Expr:
        """A value that comes back as it was sent."""
        path, other, shape = self.path(), self.path(), self.random.randrange(4)
        if shape == 0:
            return Expr(f"coalesce({path.sql}, {other.sql})", lambda event: first_of(path.of(event), other.of(event)))
        if shape == 1:
            when = self.condition(1)
            return Expr(
                f"CASE WHEN {when.sql} THEN {path.sql} ELSE {other.sql} END",
                lambda event: path.of(event) if when.of(event) else other.of(event),
            )
        return path
