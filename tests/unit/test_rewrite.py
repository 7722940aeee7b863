"""Property paths give right answers without casts: novamesh.sql.rewrite and what it builds on."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novamesh.errors import RequestError
from novamesh.sql import check
from novamesh.store.migrations import SPACE

CORPUS = Path(__file__).parents[1] / "data" / "sql" / "variant.json"

# 1 is sent as 1, 1.0 and "1"; numbers stand beside text; keys are odd; values are absent, null, true, lists and objects
EVENTS: list[dict[str, Any]] = [
    {"k": 1, "n": 5, "s": "b", "ok": True, "tags": ["x", "y"], "at": "2026-01-02T03:04:05Z", "big": 9007199254740993},
    {"k": 1.0, "n": 0.5, "s": "a", "ok": False, "tags": [], "at": "2026-01-02T03:04:05+02:00", "big": 9007199254740992},
    {
        "k": "1",
        "n": 100,
        "s": "c",
        "ok": "true",
        "tags": ["y"],
        "at": "2026-03-01",
        "o": {"a": {"b": 7}, "l": [{"q": 2}, {"q": 3}]},
    },
    {"k": 2, "n": "7", "s": 10, "ok": None, "a.b": 1, "odd key": 2, "select": 3, "": 4},
    {"k": "x", "n": "free", "s": "9", "K": "upper"},
    {},
]


def connected(events: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(SPACE.format(schema="p1"))
    fill(connection, events)
    return connection


def fill(connection: duckdb.DuckDBPyConnection, events: list[dict[str, Any]]) -> None:
    connection.execute("DELETE FROM p1.events_shredded")
    rows = json.dumps([{"u": str(place), "p": event} for place, event in enumerate(events, 1)])
    connection.execute(
        "INSERT INTO p1.events_shredded SELECT uuid(), 'v', j ->> 'u', TIMESTAMP '2026-02-01', (j -> 'p')::VARIANT, NULL,"
        " TIMESTAMP '2026-02-01', 'b' FROM (SELECT unnest(?::JSON[]) j)",
        [rows],
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connected(EVENTS)
    yield connection
    connection.close()


def rows(sql: str, engine: duckdb.DuckDBPyConnection, *, careful: bool = False) -> list[Any]:
    found: list[Any] = plain(engine.execute(check(sql, schema="p1", limit=1000, careful=careful).sql).fetchall())
    return found


def plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, str)) else float(value)


def users(condition: str) -> str:
    return f"SELECT list(user_id ORDER BY user_id) AS u FROM events WHERE {condition}"


WHERE = [
    ("properties.n > 4", "134"),
    ("4 < properties.n", "134"),
    ("properties.n >= 0.5 AND properties.n < 100", "124"),
    ("properties.n = 7", "4"),
    ("properties.n = '7'", "4"),
    ("properties.n <> 7", "123"),
    ("properties.n IN (5, 7)", "14"),
    ("properties.n NOT IN (5, 7)", "23"),
    ("properties.n IN ('free', '7')", "45"),
    ("properties.n IN (5, 'free')", "15"),
    ("properties.n BETWEEN 1 AND 50", "14"),
    ("50 BETWEEN properties.n AND 60", "124"),
    ("properties.k = 1", "123"),
    ("properties.k = 1.0", "123"),
    ("properties.k = '1'", "123"),
    ("properties.k = 'x'", "5"),
    ("properties.k != 'x'", "1234"),
    ("properties.k = properties.k", "12345"),
    ("properties.k IS DISTINCT FROM 1", "456"),
    ("properties.n > properties.k", "134"),
    ("user_id = properties.k", "1"),
    ("properties.k = user_id", "1"),
    ("(properties.k, properties.s) IN ((1, 'a'), (2, '10'))", "24"),
    ("properties.big = 9007199254740993", "1"),
    ("properties.big = 9007199254740992", "2"),
    ("properties.big > 9007199254740992", "1"),
    ("properties.ok", "13"),
    ("NOT properties.ok", "2"),
    ("properties.ok = true", "13"),
    ("properties.ok IS TRUE", "13"),
    ("properties.ok IS NOT TRUE", "2456"),
    ("properties.ok AND properties.n > 5", "3"),
    ("properties.ok IS NULL", "456"),
    ("properties.k IS NOT NULL", "12345"),
    ("properties.s LIKE '%b%'", "1"),
    ("properties.s NOT LIKE 'a'", "1345"),
    ("properties.s ILIKE 'A'", "2"),
    ("properties.s ~ '^[0-9]+$'", "45"),
    ("lower(properties.s) = 'b'", "1"),
    ("contains(properties.s, 'c')", "3"),
    ("starts_with(properties.s, '1')", "4"),
    ("length(properties.s) = 2", "4"),
    ("properties.at > TIMESTAMP '2026-01-02 02:00:00'", "13"),
    ("properties.at < timestamp", "12"),
    ("timestamp < properties.at", "3"),
    ("properties.at::DATE = DATE '2026-01-02'", "12"),
    ("properties.at >= DATE '2026-02-01'", "3"),
    ("date_trunc('month', properties.at) = '2026-03-01'", "3"),
    ("year(properties.at) = 2026", "123"),
    ("properties.at + INTERVAL 1 DAY > TIMESTAMP '2026-01-03 02:00:00'", "13"),
    ("'x' IN properties.tags", "1"),
    ("list_contains(properties.tags, 'y')", "13"),
    ("len(properties.tags) > 0", "13"),
    ("properties.tags @> ['x', 'y']", "1"),
    ("properties.n IN (SELECT properties.k FROM events)", ""),
    ("properties.k IN (SELECT properties.k FROM events WHERE user_id = '2')", "123"),
    ("properties.k IN (SELECT 2)", "4"),
    ("properties.k = ANY (SELECT '2')", "4"),
    ("user_id IN (SELECT properties.k FROM events)", "12"),
    ("properties.n = (SELECT max(properties.n) FROM events WHERE user_id < '5')", "3"),
    (
        "EXISTS (SELECT 1 FROM events o WHERE o.properties.k = events.properties.k AND o.user_id <> events.user_id)",
        "123",
    ),
    ("coalesce(properties.missing, properties.n) > 4", "134"),
    ("coalesce(properties.n, 0) < 1", "256"),
    ("CASE WHEN properties.ok THEN properties.n ELSE 0 END > 1", "13"),
    ("CASE properties.k WHEN 1 THEN true ELSE false END", "123"),
    ("if(properties.ok, properties.n > 5, false)", "3"),
    ("properties ->> 's' = 'b'", "1"),
    ("properties -> 'k' = 1", "123"),
    ("properties -> 'o' -> 'a' ->> 'b' = '7'", "3"),
    ("properties ->> '$.o.a.b' = '7'", "3"),
    ("properties -> 'o' -> 'l' -> 1 ->> 'q' = '3'", "3"),
    ("properties.o.a.b = 7", "3"),
    ("properties.o.l[2].q = 3", "3"),
    ("properties['o']['a']['b'] = 7", "3"),
    ("properties['odd key'] = 2", "4"),
    ('properties."a.b" = 1', "4"),
    ("properties.K = 'upper'", "5"),
    ("variant_extract(properties, '') = 4", "4"),
    ("properties.k.deeper IS NULL", "123456"),
    ("sqrt(properties.n) = 10", "3"),
    ("properties.n::INT = 7", "4"),
    ("properties.n % 2 = 1", "14"),
    ("-properties.n = -5", "1"),
    ("abs(properties.n) = 5", "1"),
    ("greatest(properties.n, 50) = 50", "1245" + "6"),
    ("properties.n + properties.k = 6", "1"),
    ("coalesce(properties -> 'k', 0) = 1", "123"),
    ("if(properties -> 'k' = 1, true, false)", "123"),
    ("properties.tags = ['x', 'y']", "1"),
    ("properties['t' || 'ags'] IS NOT NULL", "123"),
    ("properties.at::VARCHAR LIKE '2026-01%'", "12"),
    ("properties.k = '1' AND properties.s IN ('a', 'b')", "12"),
]


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(("condition", "expected"), WHERE)
def test_condition(condition: str, expected: str, careful: bool, engine: duckdb.DuckDBPyConnection) -> None:
    assert rows(users(condition), engine, careful=careful) == [[list(expected) or None]]


SELECT = [
    # a path that is only selected is the value as it was sent
    ("properties.k FROM events ORDER BY user_id", [[1], [1], ["1"], [2], ["x"], [None]]),
    ("properties.o FROM events WHERE user_id = '3'", [[{"a": {"b": 7}, "l": [{"q": 2}, {"q": 3}]}]]),
    ("properties.tags[1], properties.tags[-1], properties.tags[1:1] FROM events WHERE user_id = '1'", [["x", "y", ["x"]]]),
    # aggregates
    ("sum(properties.n), avg(properties.n), count(properties.n) FROM events", [[112.5, 28.125, 5]]),
    ("sum(DISTINCT properties.n) FROM events", [[112.5]]),
    ("median(properties.n), quantile_cont(properties.n, 0.5) FROM events", [[6.0, 6.0]]),
    ("percentile_cont(0.5) WITHIN GROUP (ORDER BY properties.n) FROM events", [[6.0]]),
    ("min(properties.n), max(properties.n) FROM events", [[0.5, "free"]]),
    ("min(properties.n), max(properties.n) FROM events WHERE user_id < '4'", [[0.5, 100]]),
    ("max(properties.n) FILTER (WHERE user_id < '2') FROM events", [[5]]),
    ("max(properties.n) + 1 FROM events WHERE user_id < '4'", [[101.0]]),
    ("max(properties.missing) FROM events", [[None]]),
    ("max(properties.big) FROM events", [[9007199254740993]]),
    ("arg_max(user_id, properties.n), arg_min(properties.s, properties.n) FROM events WHERE user_id < '5'", [["3", "a"]]),
    ("count(DISTINCT properties.k), approx_count_distinct(properties.k) FROM events", [[3, 3]]),
    ("mode(properties.k) FROM events", [["1"]]),
    ("string_agg(properties.s, '' ORDER BY user_id) FROM events", [["bac109"]]),
    ("list(properties.n ORDER BY properties.n DESC) FROM events WHERE user_id < '5'", [[[100, "7", 5, 0.5]]]),
    ("list(DISTINCT properties.k ORDER BY properties.k) FROM events WHERE user_id < '5'", [[["1", "2"]]]),
    ("count_if(properties.ok), bool_or(properties.ok) FROM events", [[2, True]]),
    ("any_value(properties.s), first(properties.s ORDER BY user_id DESC) FROM events WHERE user_id = '1'", [["b", "b"]]),
    ("sum(properties.n) FROM events HAVING max(properties.n) IS NOT NULL", [[112.5]]),
    ("sum(CASE WHEN properties.ok THEN properties.n ELSE 0 END) FROM events", [[105.0]]),
    ("sum(properties.n * properties.k) FROM events", [[119.5]]),
    ("sum(properties.n) FILTER (WHERE properties.k = 1) FROM events", [[105.5]]),
    # groups: one for each value, shown as it was sent
    ("properties.k, count() FROM events WHERE user_id <> '3' GROUP BY properties.k ORDER BY 2 DESC, 1", [[1, 2], [2, 1], ["x", 1], [None, 1]]),
    ("count(), sum(properties.n) FROM events GROUP BY properties.k ORDER BY 1 DESC, 2", [[3, 105.5], [1, 7.0], [1, None], [1, None]]),
    ("properties.s, count() FROM events GROUP BY 1 ORDER BY 1", [["9", 1], [10, 1], ["a", 1], ["b", 1], ["c", 1], [None, 1]]),
    ("properties.s AS x, count() FROM events GROUP BY x HAVING x > 'a' ORDER BY x DESC", [["c", 1], ["b", 1]]),
    ("properties.s, count() FROM events GROUP BY ALL ORDER BY ALL LIMIT 2", [["9", 1], [10, 1]]),
    ("event, properties.ok, count() FROM events GROUP BY ALL ORDER BY ALL", [["v", False, 1], ["v", True, 2], ["v", None, 3]]),
    ("upper(properties.s), count() FROM events GROUP BY properties.s ORDER BY 1 LIMIT 3", [["10", 1], ["9", 1], ["A", 1]]),
    ("upper(properties.s), count() FROM events GROUP BY upper(properties.s) ORDER BY 1 LIMIT 3", [["10", 1], ["9", 1], ["A", 1]]),
    ("properties['s'], count() FROM events e GROUP BY e.properties.s ORDER BY 1 LIMIT 1", [["9", 1]]),
    ("properties ->> 's', count() FROM events GROUP BY properties.s ORDER BY 1 LIMIT 1", [["10", 1]]),
    ("properties.n > 4 AS big, count() FROM events GROUP BY big ORDER BY big", [[False, 1], [True, 3], [None, 2]]),
    ("coalesce(properties.missing, properties.k) AS c, count() FROM events GROUP BY c ORDER BY c", [["1", 3], ["2", 1], ["x", 1], [None, 1]]),
    ("coalesce(properties.missing, properties.k), count() FROM events GROUP BY coalesce(properties.missing, properties.k) ORDER BY 2 DESC LIMIT 1", [["1", 3]]),
    ("coalesce(properties.missing, properties.k), count() FROM events GROUP BY ALL ORDER BY 2 DESC LIMIT 1", [["1", 3]]),
    ("properties.k, count() FROM events GROUP BY ROLLUP (properties.k) ORDER BY 2 DESC, 1 LIMIT 2", [[None, 6], ["1", 3]]),
    ("properties.k, count() FROM events GROUP BY GROUPING SETS ((properties.k), ()) ORDER BY 2 DESC, 1 LIMIT 2", [[None, 6], ["1", 3]]),
    ("properties.at::DATE AS d, count() FROM events GROUP BY d ORDER BY d", [["2026-01-02", 2], ["2026-03-01", 1], [None, 3]]),
    ("properties.s FROM events GROUP BY 1 HAVING sum(properties.n) > 50", [["c"]]),
    ("properties.k, sum(count(*)) OVER (ORDER BY properties.k) FROM events WHERE user_id <> '3' GROUP BY properties.k ORDER BY 1", [[1, 2], [2, 3], ["x", 4], [None, 5]]),
    ("properties.s, length(properties.s), count() FROM events GROUP BY ALL ORDER BY 1 LIMIT 2", [["9", 1, 1], [10, 2, 1]]),
    ("properties.o.a.b, count() FROM events GROUP BY properties.o ORDER BY 2 LIMIT 1", [[7, 1]]),
    ("s, count() FROM (SELECT properties.s AS s FROM events) GROUP BY s ORDER BY s LIMIT 1", [["9", 1]]),
    # distinct
    ("DISTINCT 'x' AS x, properties.ok FROM events ORDER BY 2 LIMIT 1", [["x", False]]),
    ("count(*) FROM (SELECT DISTINCT properties.k FROM events)", [[4]]),
    ("DISTINCT properties.s FROM events ORDER BY 1 DESC", [["c"], ["b"], ["a"], [10], ["9"], [None]]),
    ("DISTINCT event, properties.ok FROM events ORDER BY ALL", [["v", False], ["v", True], ["v", None]]),
    ("count(*) FROM (SELECT DISTINCT * FROM (SELECT properties.k FROM events))", [[4]]),
    ("DISTINCT ON (properties.k) user_id FROM events ORDER BY user_id", [["1"], ["4"], ["5"], ["6"]]),
    ("count(*) FROM (SELECT properties.k FROM events UNION SELECT properties.n FROM events)", [[9]]),
    ("properties.k FROM events INTERSECT SELECT properties.n + 0.5 FROM events ORDER BY 1", [[1.0], [None]]),
    ("properties.n AS n FROM events UNION ALL SELECT properties.k FROM events ORDER BY n LIMIT 1", [[0.5]]),
    ("properties.n FROM events UNION ALL SELECT properties.n FROM events ORDER BY 1 LIMIT 3", [[0.5], [0.5], [5]]),
    ("properties.n FROM events UNION ALL SELECT properties.n FROM events ORDER BY n LIMIT 3", [[0.5], [0.5], [5]]),
    # order: numbers by value, then text, then nothing
    ("properties.n FROM events ORDER BY properties.n", [[0.5], [5], ["7"], [100], ["free"], [None]]),
    ("properties.n FROM events ORDER BY properties.n DESC", [["free"], [100], ["7"], [5], [0.5], [None]]),
    ("properties.n FROM events ORDER BY properties.n NULLS FIRST LIMIT 2", [[None], [0.5]]),
    ("properties.n FROM events ORDER BY 1 LIMIT 1", [[0.5]]),
    ("properties.n AS event FROM events ORDER BY event LIMIT 1", [[0.5]]),
    ("user_id FROM events ORDER BY properties.n * -1 LIMIT 1", [["3"]]),
    ("user_id, row_number() OVER (ORDER BY properties.n) FROM events ORDER BY 2 LIMIT 2", [["2", 1], ["1", 2]]),
    ("user_id, count() OVER (PARTITION BY properties.k) FROM events ORDER BY 1 LIMIT 4", [["1", 3], ["2", 3], ["3", 3], ["4", 1]]),
    ("user_id FROM events QUALIFY row_number() OVER (PARTITION BY properties.k ORDER BY properties.n DESC) = 1 ORDER BY 1", [["3"], ["4"], ["5"], ["6"]]),
    ("max(properties.n) OVER (ORDER BY user_id) FROM events ORDER BY user_id LIMIT 3", [[5], [5], [100]]),
    ("lag(properties.n) OVER (ORDER BY user_id) + 1 FROM events ORDER BY user_id LIMIT 2", [[None], [6.0]]),
    ("sum(properties.n) OVER (ORDER BY properties.n RANGE BETWEEN 5 PRECEDING AND CURRENT ROW) FROM events WHERE user_id < '4' ORDER BY user_id", [[5.5], [0.5], [100.0]]),
    # through other queries
    ("k, sum(n) FROM (SELECT properties.k, properties.n FROM events) GROUP BY k ORDER BY 2 LIMIT 2", [[2, 7.0], [1, 105.5]]),
    ("x.p FROM (SELECT properties.n FROM events) AS x(p) WHERE x.p > 50", [[100]]),
    ("a.properties.s FROM (SELECT * FROM events) a WHERE a.properties.n > 50", [["c"]]),
    ("count() FROM events a JOIN events b ON a.properties.k = b.properties.k", [[11]]),
    ("count() FROM events a JOIN events b ON a.properties.k = b.user_id", [[4]]),
    ("t, count() FROM events, unnest(properties.tags) u(t) GROUP BY t ORDER BY t", [["x", 1], ["y", 2]]),
    ("unnest(properties.tags) FROM events WHERE user_id = '1'", [["x"], ["y"]]),
    ("u.i.q * 2 FROM events, unnest(properties.o.l) AS u(i) ORDER BY 1", [[4.0], [6.0]]),
    ("list_transform(properties.o.l, x -> x.q + 1) FROM events WHERE user_id = '3'", [[[3.0, 4.0]]]),
    ("[x.q FOR x IN properties.o.l IF x.q > 2] FROM events WHERE user_id = '3'", [[[3]]]),
    ("properties.n AS n, n + 1 FROM events WHERE n > 50", [[100, 101.0]]),
    # casts and functions
    ("properties.n::DOUBLE, properties.n::VARCHAR FROM events WHERE user_id >= '4' ORDER BY user_id", [[7.0, "7"], [None, "free"], [None, None]]),
    ("properties.at::TIMESTAMP FROM events WHERE user_id < '4' ORDER BY user_id", [["2026-01-02T03:04:05"], ["2026-01-02T01:04:05"], ["2026-03-01T00:00:00"]]),
    ("properties.tags::VARCHAR[] FROM events WHERE user_id = '1'", [[["x", "y"]]]),
    ("json_extract_string(properties::JSON, '$.s') FROM events WHERE user_id = '1'", [["b"]]),
    ("json_extract_string(properties, '$.s'), properties::VARCHAR LIKE '{%' FROM events WHERE user_id = '1'", [["b", True]]),
    ("properties.s || '!', concat(properties.s, '?'), round(properties.n / 3, 2) FROM events WHERE user_id = '1'", [["b!", "b?", 1.67]]),
    ("nullif(properties.s, 'b'), nullif(properties.n, 5), ifnull(properties.missing, 'none') FROM events WHERE user_id = '1'", [[None, None, "none"]]),
    ("least(properties.n, properties.k), extract(month FROM properties.at), strftime(properties.at, '%Y') FROM events WHERE user_id = '1'", [[1.0, 1, "2026"]]),
    ("array_to_string(properties.tags, '-'), length(properties.s), len(properties.tags) FROM events WHERE user_id = '1'", [["x-y", 1, 2]]),
]  # fmt: skip


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(("query", "expected"), SELECT)
def test_select(query: str, expected: list[Any], careful: bool, engine: duckdb.DuckDBPyConnection) -> None:
    assert rows(f"SELECT {query}", engine, careful=careful) == expected


def corpus() -> list[Any]:
    return [
        pytest.param(case["sql"], case["want"], id=case["name"]) for case in json.loads(CORPUS.read_text())["cases"]
    ]


@pytest.mark.parametrize(("sql", "want"), corpus())
def test_corpus(sql: str, want: list[Any]) -> None:
    connection = connected(json.loads(CORPUS.read_text())["events"])
    assert rows(sql, connection) == approximately(want)
    connection.close()


def approximately(value: Any) -> Any:
    if isinstance(value, list):
        return [approximately(part) for part in value]
    return pytest.approx(value, abs=1e-9) if isinstance(value, float) else value


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ("properties.k = $x", 1, "123"),
        ("properties.k = $x", "1", "123"),
        ("properties.k = $x", 1.0, "123"),
        ("properties.k IN ($x, 2)", 1, "1234"),
        ("properties.n > $x", 6, "34"),
        ("properties.n > $x", "6", "34"),
        ("$x > properties.n", 6, "12"),
        ("properties.at > $x", "2026-02", "3"),
        ("properties.n BETWEEN $x AND 50", 6, "4"),
        ("properties.ok = $x", True, "13"),
        ("properties.s LIKE $x", "%b%", "1"),
        ("user_id = $x", "2", "2"),
    ],
)
def test_bound_value(
    condition: str, value: Any, expected: str, careful: bool, engine: duckdb.DuckDBPyConnection
) -> None:
    sql = check(users(condition), schema="p1", limit=9, careful=careful).sql
    assert engine.execute(sql, {"x": value}).fetchall() == [(list(expected),)]


def test_now_is_plain_utc(engine: duckdb.DuckDBPyConnection) -> None:
    sql = check("SELECT now(), now() AT TIME ZONE 'UTC', current_timestamp", schema="p1", limit=1).sql
    assert sql.startswith('SELECT make_timestamp(epoch_us(now())) AS "__nm_0", now() AT TIME ZONE')
    assert [str(kind[1]) for kind in engine.execute(sql).description or []] == ["TIMESTAMP"] * 3


def test_careful_reads_what_the_engine_cannot_cast() -> None:
    connection = connected([{"n": {"a": 1, "A": 2}}, {"n": 3}])
    sql = "SELECT sum(properties.n), count(DISTINCT properties.n) FROM events"
    with pytest.raises(duckdb.Error, match="duplicate name"):
        rows(sql, connection)
    assert rows(sql, connection, careful=True) == [[3.0, 2]]
    connection.close()


def test_a_path_in_a_user_cast_to_variant_is_still_refused() -> None:
    with pytest.raises(RequestError):
        check("SELECT TRY_CAST(properties.tags AS VARIANT[]) FROM events", schema="p1", limit=1)


scalars = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, 2.0, -0.5, 1.5]),
    st.sampled_from(["1", "2", "1.5", "x", "y", "", "-3"]),
    st.booleans(),
    st.none(),
)


def text(value: Any) -> str | None:
    """What the engine's text of a value is, 1.0 being 1."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if float(value).is_integer() else repr(value)


def number(value: Any) -> float | None:
    try:
        return float(text(value) or "")
    except ValueError:
        return None


def order(value: Any) -> tuple[float, str]:
    found = number(value)
    return (math.inf if found is None else found, text(value) or "")


@pytest.fixture(scope="module")
def empty() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connected([])
    yield connection
    connection.close()


@settings(max_examples=60, deadline=None)
@given(values=st.lists(scalars, max_size=8))
def test_answers_are_those_of_plain_values(values: list[Any], empty: duckdb.DuckDBPyConnection) -> None:
    fill(empty, [{} if value is None else {"v": value} for value in values])
    present = [value for value in values if value is not None]
    numbers = [found for value in present if (found := number(value)) is not None]

    total, distinct, count = rows(
        "SELECT sum(properties.v), count(DISTINCT properties.v), count(properties.v) FROM events", empty
    )[0]
    assert total == (pytest.approx(sum(numbers)) if numbers else None)
    assert (distinct, count) == (len({text(value) for value in present}), len(present))

    groups = rows("SELECT properties.v, count() FROM events GROUP BY properties.v", empty)
    assert len(groups) == len({text(value) for value in values})
    assert all(group in [[value, group[1]] for value in values] for group in groups)
    assert len(rows("SELECT DISTINCT properties.v FROM events", empty)) == len(groups)

    ordered = [value for (value,) in rows("SELECT properties.v FROM events ORDER BY properties.v", empty)]
    assert [order(value) for value in ordered if value is not None] == sorted(map(order, present))
    assert ordered[len(present) :] == [None] * (len(values) - len(present))

    least, most = rows("SELECT min(properties.v), max(properties.v) FROM events", empty)[0]
    assert (order(least), order(most)) == (
        (min(map(order, present)), max(map(order, present))) if present else (order(None),) * 2
    )

    for sign, literal in (("=", 1), (">", 0.5), ("<=", 2)):
        found = rows(f"SELECT count() FROM events WHERE properties.v {sign} {literal}", empty)[0][0]
        assert found == len([n for n in numbers if (n == 1, n > 0.5, n <= 2)[("=", ">", "<=").index(sign)]])
    assert rows("SELECT count() FROM events WHERE properties.v = 'x'", empty) == [[values.count("x")]]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("list_sum([properties.n, properties.m])", 11.5),
        ("list_sum([x.p FOR x IN properties.items])", 14.65),
        ("list_contains([x.q FOR x IN properties.items], 10)", True),
        ("list_sum(list_transform(properties.items, lambda i: i.q * i.p))", 143.3),
        ("len(list_filter(properties.items, lambda i: i.p > 10))", 1),
        ("list_sum(properties.xs[1:3])", 3.9),
        ("properties.m // 4", 2.0),
        ("(properties.n, properties.m) < (2, 1)", True),
        ("properties.n = ANY([1.5, 7])", True),
        ("'b' = ANY(properties.tags)", True),
        ("string_agg(DISTINCT event, ',')", "v"),
        ("count(DISTINCT (event, properties.n))", 1),
    ],
)
def test_lists_rows_and_lambdas(expression: str, expected: object) -> None:
    items = [{"q": 2, "p": 0.4}, {"q": "10", "p": 14.25}]
    event = {"n": 1.5, "m": 10, "items": items, "xs": [1.5, "2", 0.4], "tags": ["a", "b"]}
    with connected([event]) as engine:
        (found,) = rows(f"SELECT {expression} FROM events", engine)
    assert found == [pytest.approx(expected)]
