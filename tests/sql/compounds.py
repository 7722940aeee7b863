"""Random SELECTs over what is made of paths: rows, structs and lists, compared, counted and grouped."""

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, Final

from tests.sql.expressions import Maker
from tests.sql.reference import Event, all_of, any_of, equal, key, place
from tests.sql.statements import Fault, OneOf, Row, Statement, agrees

_MADE: Final = ("({}, {})", "{{'a': {}, 'b': {}}}", "[{}, {}]", "row({}, {})")


def grouped_by_parts(random: Random) -> Statement:
    """DISTINCT, GROUP BY and PARTITION BY of two paths as one value: how many events each group has."""
    maker = Maker(random)
    paths = [maker.path(), maker.path()]
    made = random.choice(_MADE).format(*(path.sql for path in paths))
    inner = f"(SELECT {made} AS made FROM events)"
    sql = random.choice(
        [
            f"SELECT count(*) FROM events GROUP BY {made}",
            f"SELECT count(*) FROM {inner} AS q GROUP BY made",
            f"SELECT DISTINCT ON (made) count(*) OVER (PARTITION BY made) FROM {inner} AS q",
            f"SELECT count(*) FROM {inner} AS q JOIN (SELECT DISTINCT made FROM {inner} AS r) AS s USING (made) GROUP BY made",
        ]
    )

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        groups = Counter(tuple(key(path.of(event)) for path in paths) for event in events)
        if "USING" in sql and any(None in group for group in groups):
            return  # a NULL in a list or struct is equal to itself in DuckDB, which is not ours to say
        wanted = sorted(groups.values())
        counts = sorted(row[0] for row in found)
        yield None if counts == wanted else Fault(sql, events, wanted, counts)

    return Statement(sql, check)


def counted_parts(random: Random) -> Statement:
    maker = Maker(random)
    paths = [maker.path(), maker.path()]
    sql = f"SELECT count(DISTINCT {random.choice(_MADE).format(*(path.sql for path in paths))}) FROM events"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        wanted = len({tuple(key(path.of(event)) for path in paths) for event in events})
        yield None if found == [(wanted,)] else Fault(sql, events, wanted, found)

    return Statement(sql, check)


def rows_in_query(random: Random) -> Statement:
    maker = Maker(random)
    ours, theirs, where = [maker.path(), maker.path()], [maker.path(), maker.path()], maker.condition(1)
    columns = ", ".join(f"{path.sql} AS c{at}" for at, path in enumerate(theirs))
    query = f"SELECT {columns} FROM events WHERE {where.sql}"
    query = random.choice([query, f"SELECT * FROM ({query}) AS q", f"{query} INTERSECT {query}"])
    sql = f"SELECT user_id FROM events WHERE ({ours[0].sql}, {ours[1].sql}) IN ({query})"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        members = [[path.of(event) for path in theirs] for event in events if where.of(event)]
        names = {int(row[0]) for row in found}
        for name, event in enumerate(events):
            row = [path.of(event) for path in ours]
            wanted = any_of([all_of([equal(*pair) for pair in zip(row, member, strict=True)]) for member in members])
            if (wanted is True) is not (name in names):
                yield Fault(sql, events, wanted, name in names)
                return
        yield None

    return Statement(sql, check)


def best(random: Random) -> Statement:
    """The highest or lowest three, and the one of different values."""
    maker = Maker(random)
    path, name = maker.path(), random.choice(["min", "max"])
    sql = f"SELECT {name}({path.sql}, 3), {name}(DISTINCT {path.sql}), list_sort(list({path.sql})) FROM events"

    def check(events: Sequence[Event], found: list[Row]) -> Iterator[Fault | None]:
        values = [path.of(event) for event in events]
        present = [one for one in values if one is not None]
        places = sorted(map(place, values))
        ordered: list[Any] = [OneOf(tuple(one for one in values if place(one) == at)) for at in places]
        known = ordered[: len(present)]
        top = known[::-1] if name == "max" else known
        three, one, every = found[0]
        right = _all_agree(three or [], top[:3]) and (agrees(one, top[0]) if top else one is None)
        right &= _all_agree(every or [], ordered)
        yield None if right else Fault(sql, events, places, found)

    return Statement(sql, check)


def _all_agree(found: list[Any], wanted: list[Any]) -> bool:
    return len(found) == len(wanted) and all(map(agrees, found, wanted))


SHAPES: Final = (*[grouped_by_parts] * 3, counted_parts, rows_in_query, best)
