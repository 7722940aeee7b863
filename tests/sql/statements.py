"""Random SELECTs, and what their rows must be: the shapes of query that ``expressions.py``'s expressions stand in."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cmp_to_key
from random import Random
from typing import Any, Final

from tests.sql.expressions import Maker
from tests.sql.reference import Evaluate, Event, Expr, Near, Unsaid, compared, equal, key, number, place, text

Row = tuple[Any, ...]
_ITEMS: Final = 40


@dataclass(frozen=True)
class Fault:
    """A case that went wrong."""

    case: str
    event: Any
    wanted: Any
    found: Any


@dataclass(frozen=True)
class Statement:
    """A SELECT. ``check`` tells for each of its cases whether it was right; ``alone`` are its cases one by one."""

    sql: str
    check: Callable[[Sequence[Event], list[Row]], Iterator[Fault | None]]
    alone: tuple["Statement", ...] = ()


@dataclass(frozen=True)
class Item:
    """A select item: an expression, and whether it must come back in the very type it was sent in."""

    expr: Expr
    as_sent: bool = False

    def agrees(self, found: Any, wanted: Any) -> bool:
        return same(found, wanted) if self.as_sent else agrees(found, wanted)


@dataclass(frozen=True)
class OneOf:
    """Any of these values, as it was sent."""

    values: tuple[Any, ...]


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(same(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(same, found, wanted))
    return type(found) is type(wanted) and bool(found == wanted)


def agrees(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, OneOf):
        return any(same(found, value) for value in wanted.values)
    found = float(found) if isinstance(found, Decimal) else found
    if isinstance(found, bool) or isinstance(wanted, bool) or found is None or wanted is None:
        return found is wanted
    if isinstance(wanted, Near):
        return isinstance(found, int | float) and abs(found - wanted.value) <= wanted.error
    if isinstance(found, int) and isinstance(wanted, int):
        return found == wanted
    if isinstance(found, int | float) and isinstance(wanted, int | float):
        return math.isclose(found, wanted, rel_tol=1e-9)
    return same(found, wanted)


# -- a value for each row -------------------------------------------------------------------------------------------


def _items(maker: Maker, count: int) -> list[Item]:
    made: list[Item] = []
    for _ in range(count):
        shape = maker.random.choices(["condition", "number", "text", "integer", "sent"], [8, 4, 3, 1, 3])[0]
        expr: Expr = maker.condition(shown=True) if shape == "condition" else getattr(maker, shape)()
        made.append(Item(expr, as_sent=shape == "sent"))
    return made


def rows(random: Random, from_: str, maker: Maker, items: list[Item], where: Expr | None) -> Statement:
    columns = "".join(f", {item.expr.sql} AS c{at}" for at, item in enumerate(items))
    sql = f"{from_.format(columns)}" + (f" WHERE {where.sql}" if where else "")

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        cells = {int(row[0]): row[1:] for row in found}
        if where is not None:
            yield from _kept(where, events, set(cells))
        for at, item in enumerate(items):
            said = False
            for name, row in cells.items():
                try:
                    wanted = item.expr.of(events[name])
                except Unsaid:
                    continue
                said = True
                if not item.agrees(row[at], wanted):
                    yield Fault(item.expr.sql, events[name], wanted, row[at])
                    break
            else:
                if said:
                    yield None

    alone = tuple(rows(random, from_, maker, [item], where) for item in items) if len(items) > 1 else ()
    return Statement(sql, check, alone)


def _kept(where: Expr, events: Sequence[Event], found: set[int]) -> Iterator[Fault | None]:
    said = False
    for name, event in enumerate(events):
        try:
            wanted = where.of(event) is True
        except Unsaid:
            continue
        said = True
        if wanted is not (name in found):
            yield Fault(f"WHERE {where.sql}", event, wanted, name in found)
            return
    if said:
        yield None


def scalars(random: Random) -> Statement:
    base = random.choice(["properties", "properties", "events.properties"])
    maker = Maker(random, base)
    where = maker.condition() if random.random() < 0.3 else None
    return rows(random, "SELECT user_id{} FROM events", maker, _items(maker, _ITEMS), where)


def filtered(random: Random) -> Statement:
    maker = Maker(random)
    return rows(random, "SELECT user_id{} FROM events", maker, [], maker.condition())


def selected_before(random: Random) -> Statement:
    """Over the columns of a query in a query, which a UNION makes keys, or the fields of a struct."""
    inner = Maker(random)
    paths = [inner.path() for _ in range(3)]
    columns: dict[str, Evaluate] = {f"v{at}": path.of for at, path in enumerate(paths)}
    query = "SELECT user_id, " + ", ".join(f"{path.sql} AS v{at}" for at, path in enumerate(paths)) + " FROM events"
    if random.random() < 0.3:
        fields = ", ".join(f"'v{at}': {path.sql}" for at, path in enumerate(paths))
        query = f"SELECT user_id, {{{{{fields}}}}} AS s FROM events"
        columns = {f"s.{name}": of for name, of in columns.items()}
    elif random.random() < 0.3:
        query = f"{query} UNION {query}"
        columns = {name: _keyed(of) for name, of in columns.items()}
    if random.random() < 0.5:
        from_ = f"WITH q AS ({query}) SELECT user_id{{}} FROM q"
    else:
        from_ = f"SELECT user_id{{}} FROM ({query}) AS q"
    maker = Maker(random, columns=columns)
    return rows(random, from_, maker, _items(maker, _ITEMS), maker.condition() if random.random() < 0.3 else None)


def _keyed(of: Evaluate) -> Evaluate:
    def value(event: Event) -> str | None:
        text(of(event))  # not said of all
        return key(of(event))

    return value


def in_query(random: Random) -> Statement:
    outer, inner, where = Maker(random), Maker(random), Maker(random).condition(1)
    path, other = outer.path(), inner.path()
    word = random.choice(["IN", "NOT IN"])
    sql = f"SELECT user_id FROM events WHERE {path.sql} {word} (SELECT {other.sql} FROM events WHERE {where.sql})"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        members = [other.of(event) for event in events if where.of(event)]

        def of(event: Event) -> bool | None:
            hits = [equal(path.of(event), member) for member in members]
            inside = True if True in hits else None if None in hits else False
            return inside if word == "IN" or inside is None else not inside

        yield from _kept(Expr(sql, of), events, {int(row[0]) for row in found})

    return Statement(sql, check)


# -- a value for many rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Aggregate:
    sql: str
    of: Callable[[Sequence[Event]], Any]


def aggregate(maker: Maker) -> Aggregate:
    makers = [_numeric_aggregate, _numeric_aggregate, _counting_aggregate, _extreme, _extreme, _logical_aggregate]
    made: Aggregate = maker.random.choice(makers)(maker)
    if maker.random.random() < 0.15:
        where, inner = maker.condition(1), made.of
        return Aggregate(
            f"{made.sql} FILTER (WHERE {where.sql})", lambda events: inner([e for e in events if where.of(e)])
        )
    return made


def _numeric_aggregate(maker: Maker) -> Aggregate:
    path = maker.path()
    value = Expr(path.sql, lambda event: number(path.of(event))) if maker.random.random() < 0.7 else maker.number(1)
    name = maker.pick("sum", "sum", "avg", "median", "quantile_cont", "sum(DISTINCT")
    if name == "quantile_cont":
        return Aggregate(f"quantile_cont({value.sql}, 0.5)", lambda events: _reduced("median", value, events))
    sql = f"{name} {value.sql})" if name.endswith("DISTINCT") else f"{name}({value.sql})"
    return Aggregate(sql, lambda events: _reduced(name, value, events))


def _reduced(name: str, value: Expr, events: Sequence[Event]) -> Near | None:
    found = [one for one in (value.of(event) for event in events) if one is not None]
    if not found:
        return None
    if name == "sum(DISTINCT":
        found = list(set(found))
    error = 1e-9 * sum(map(abs, found)) + 1e-300
    if name == "median":
        found.sort()
        middle = len(found) // 2
        return Near(found[middle] if len(found) % 2 else found[middle - 1] / 2 + found[middle] / 2, error)
    return Near(math.fsum(found) / (len(found) if name == "avg" else 1), error)


def _counting_aggregate(maker: Maker) -> Aggregate:
    path, shape = maker.path(), maker.random.randrange(4)
    if shape == 0:
        return Aggregate("count(*)", len)
    if shape == 1:
        return Aggregate(f"count({path.sql})", lambda events: sum(path.of(event) is not None for event in events))
    return Aggregate(
        f"count(DISTINCT {path.sql})",
        lambda events: len({key(path.of(event)) for event in events} - {None}),
    )


def _extreme(maker: Maker) -> Aggregate:
    name, shape = maker.pick("min", "max"), maker.random.randrange(4)
    chosen: Callable[[list[Any]], Any] = min if name == "min" else max
    if shape == 0:
        value = maker.pick(maker.number, maker.text)(1)

        def plain(events: Sequence[Event]) -> Any:
            present = [one for one in map(value.of, events) if one is not None]
            return chosen(present) if present else None

        return Aggregate(f"{name}({value.sql})", plain)
    path = maker.path()

    def of(events: Sequence[Event]) -> OneOf | None:
        present = [one for one in map(path.of, events) if one is not None]
        best = chosen([place(one) for one in present]) if present else None
        return OneOf(tuple(one for one in present if place(one) == best)) if present else None

    return Aggregate(f"{name}({path.sql})", of)


def _logical_aggregate(maker: Maker) -> Aggregate:
    condition, name = maker.condition(1), maker.pick("count_if", "bool_or", "bool_and", "count(*)")
    if name in ("count_if", "count(*)"):
        sql = (
            f"count_if({condition.sql})" if name == "count_if" else f"sum(CASE WHEN {condition.sql} THEN 1 ELSE 0 END)"
        )

        def counted(events: Sequence[Event]) -> int | None:
            found = [condition.of(event) for event in events]
            none = not found if name == "count(*)" else set(found) <= {None}  # count_if of nothing is NULL in DuckDB
            return None if none else found.count(True)

        return Aggregate(sql, counted)

    def of(events: Sequence[Event]) -> bool | None:
        known = [one for one in map(condition.of, events) if one is not None]
        return (any(known) if name == "bool_or" else all(known)) if known else None

    return Aggregate(f"{name}({condition.sql})", of)


def aggregates(random: Random) -> Statement:
    maker = Maker(random)
    where = maker.condition() if random.random() < 0.5 else Expr("true", lambda _: True)
    return _aggregated([aggregate(maker) for _ in range(_ITEMS)], where)


def _aggregated(items: list[Aggregate], where: Expr) -> Statement:
    sql = f"SELECT {', '.join(f'{item.sql} AS c{at}' for at, item in enumerate(items))} FROM events WHERE {where.sql}"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        kept = [event for event in events if where.of(event)]
        for item, cell in zip(items, found[0], strict=True):
            yield from _cell(item, kept, cell, f"{item.sql} WHERE {where.sql}")

    return Statement(sql, check, tuple(_aggregated([item], where) for item in items) if len(items) > 1 else ())


def _cell(item: Aggregate, events: Sequence[Event], found: Any, case: str) -> Iterator[Fault | None]:
    try:
        wanted = item.of(events)
    except Unsaid:
        return
    yield None if agrees(found, wanted) else Fault(case, events, wanted, found)


# -- groups ---------------------------------------------------------------------------------------------------------


def _shown(value: Any) -> Any:
    """What tells groups apart, of a value in a result."""
    return value if value is None or not isinstance(value, Decimal) else float(value)


def grouped(random: Random) -> Statement:
    maker = Maker(random)
    keys: list[tuple[Expr, Callable[[Any], Any]]] = []
    for _ in range(random.choice([1, 1, 1, 2])):
        shape = random.choices(["path", "number", "text", "condition"], [6, 1, 1, 1])[0]
        expr: Expr = maker.condition(1, shown=True) if shape == "condition" else getattr(maker, shape)()
        keys.append((expr, key if shape == "path" else _shown))
    items = [aggregate(maker) for _ in range(3)]
    where = maker.condition(1) if random.random() < 0.3 else Expr("true", lambda _: True)
    having = random.random() < 0.2
    by = ", ".join(_key_sql(random, expr, at) for at, (expr, _) in enumerate(keys, 1))
    columns = [f"{expr.sql} AS g{at}" for at, (expr, _) in enumerate(keys, 1)] + [item.sql for item in items]
    sql = f"SELECT {', '.join(columns)} FROM events WHERE {where.sql} GROUP BY {by}" + " HAVING count(*) > 1" * having

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        groups: dict[Row, list[Event]] = {}
        for event in events:
            if where.of(event):
                groups.setdefault(tuple(seen(expr.of(event)) for expr, seen in keys), []).append(event)
        groups = {name: members for name, members in groups.items() if len(members) > having}
        seen_groups = Counter(tuple(seen(cell) for (_, seen), cell in zip(keys, row, strict=False)) for row in found)
        faults: list[Fault] = []
        yield None if seen_groups == Counter(groups.keys()) else Fault(sql, events, Counter(groups.keys()), seen_groups)
        for row in found:
            name = tuple(seen(cell) for (_, seen), cell in zip(keys, row, strict=False))
            for item, cell in zip(items, row[len(keys) :], strict=True):
                faults += (fault for fault in _cell(item, groups.get(name, []), cell, sql) if fault)
        yield faults[0] if faults else None

    return Statement(sql, check)


def _key_sql(random: Random, expr: Expr, at: int) -> str:
    return random.choice([expr.sql, str(at), f"g{at}"])


def distinct(random: Random) -> Statement:
    maker = Maker(random)
    paths = [maker.path() for _ in range(random.randint(1, 2))]
    sql = f"SELECT DISTINCT {', '.join(path.sql for path in paths)} FROM events"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        wanted = Counter({tuple(key(path.of(event)) for path in paths) for event in events})
        keys = Counter(tuple(map(key, row)) for row in found)
        yield None if keys == wanted else Fault(sql, events, wanted, keys)

    return Statement(sql, check)


def united(random: Random) -> Statement:
    maker = Maker(random)
    left, right, word = maker.path(), maker.path(), maker.pick("UNION", "INTERSECT", "EXCEPT", "UNION ALL")
    sql = f"SELECT {left.sql} FROM events {word} SELECT {right.sql} FROM events"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        one, other = ([key(side.of(event)) for event in events] for side in (left, right))
        if word == "UNION ALL":
            wanted = Counter(one + other)
        else:
            a, b = set(one), set(other)
            wanted = Counter(a | b if word == "UNION" else a & b if word == "INTERSECT" else a - b)
        keys = Counter(key(row[0]) for row in found)
        yield None if keys == wanted else Fault(sql, events, wanted, keys)

    return Statement(sql, check)


# -- orders, joins, windows -----------------------------------------------------------------------------------------


def ordered(random: Random) -> Statement:
    maker = Maker(random)
    terms = [(maker.path(), random.choice(["", "ASC", "DESC"]), random.choice(["", "", "FIRST", "LAST"]))]
    terms += [(maker.path(), "", "")] if random.random() < 0.3 else []
    by = ", ".join(f"{path.sql} {way}{f' NULLS {nulls}' if nulls else ''}" for path, way, nulls in terms)
    limit = random.randint(1, 10) if random.random() < 0.3 else None
    sql = f"SELECT user_id FROM events ORDER BY {by}" + (f" LIMIT {limit}" if limit else "")

    def order(one: Event, other: Event) -> int:
        for path, way, nulls in terms:
            a, b = path.of(one), path.of(other)
            if (a is None) != (b is None):
                return (1 if a is None else -1) * (-1 if nulls == "FIRST" else 1)
            if place(a) != place(b):
                return (-1 if place(a) < place(b) else 1) * (-1 if way == "DESC" else 1)
            if repr(a) != repr(b):  # one value sent in two ways: either may come first
                return 0
        return 0

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        names = [int(row[0]) for row in found]
        firsts = [place(terms[0][0].of(event)) for event in sorted(events, key=cmp_to_key(order))]
        right = len(set(names)) == len(names) == min(limit or len(events), len(events))
        right &= [place(terms[0][0].of(events[name])) for name in names] == firsts[: len(names)]
        pairs = itertools.pairwise(names)
        right &= all(order(events[one], events[other]) <= 0 for one, other in pairs)
        yield None if right else Fault(sql, events, "sorted", [[p.of(events[n]) for p, _, _ in terms] for n in names])

    return Statement(sql, check)


def joined(random: Random) -> Statement:
    left, right = Maker(random, "a.properties"), Maker(random, "b.properties")
    one, other = left.path(), right.path()
    outer, more = random.random() < 0.3, left.condition(1) if random.random() < 0.3 else None
    sql = f"SELECT a.user_id, b.user_id FROM events a {'LEFT ' * outer}JOIN events b ON {one.sql} = {other.sql}"
    sql += f" AND {more.sql}" if more else ""
    alike: Callable[[Any, Any], bool | None] = equal
    if more is None and random.random() < 0.4:
        alike = _of_one_key
        sides = [
            f"(SELECT user_id AS {at}, {path.sql} AS k FROM events {at})" for at, path in (("a", one), ("b", other))
        ]
        by_name = random.choice(["{} x NATURAL {}JOIN {} y", "{} x {}JOIN {} y USING (k)"])
        sql = f"SELECT a, b FROM {by_name.format(sides[0], 'LEFT ' * outer, sides[1])}"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        wanted: Counter[Row] = Counter()
        keys = [other.of(event) for event in events]
        for at, event in enumerate(events):
            mine = one.of(event) if more is None or more.of(event) else None
            hits: list[Row] = [(str(at), str(name)) for name, theirs in enumerate(keys) if alike(mine, theirs)]
            wanted.update(hits or ([(str(at), None)] if outer else []))
        yield None if Counter(found) == wanted else Fault(sql, events, wanted, Counter(found))

    return Statement(sql, check)


def _of_one_key(one: Any, other: Any) -> bool | None:
    return compared("=", key(one), key(other))


def windowed(random: Random) -> Statement:
    maker = Maker(random)
    by, items = maker.path(), [aggregate(maker) for _ in range(3)]
    items = [item for item in items if "DISTINCT" not in item.sql]
    columns = "".join(f", {item.sql} OVER (PARTITION BY {by.sql})" for item in items)
    sql = f"SELECT user_id{columns} FROM events"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        groups: dict[str | None, list[Event]] = {}
        for event in events:
            groups.setdefault(key(by.of(event)), []).append(event)
        faults: list[Fault] = []
        for row in found:
            members = groups[key(by.of(events[int(row[0])]))]
            for item, cell in zip(items, row[1:], strict=True):
                faults += (fault for fault in _cell(item, members, cell, sql) if fault)
        yield faults[0] if faults else None

    return Statement(sql, check)


STATEMENTS: Final = (
    *[scalars] * 3,
    *[filtered] * 4,
    *[selected_before] * 2,
    in_query,
    *[aggregates] * 2,
    *[grouped] * 3,
    distinct,
    united,
    *[ordered] * 3,
    joined,
    windowed,
)
