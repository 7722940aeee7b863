"""Result columns are named as PostgreSQL names them: novamesh.sql.names."""

from collections.abc import Iterator

import duckdb
import pytest

from novamesh.sql import check
from novamesh.store.migrations import SPACE

# what stands in SELECT, and PostgreSQL's name for it (17.2, or its nearest kin where PostgreSQL has no such expression)
CASES = [
    ("event", "event"),
    ('"event"', "event"),
    ("events.event", "event"),
    ("e.event", "event"),
    ("event AS kind", "kind"),
    ("event kind", "kind"),
    ('count(*) AS "Total Count"', "Total Count"),
    ("kind: event", "kind"),
    ("1", "?column?"),
    ("'x'", "?column?"),
    ("NULL", "?column?"),
    ("1 + 1", "?column?"),
    ("-1", "?column?"),
    ("event || 'x'", "?column?"),
    ("event = 'x'", "?column?"),
    ("event LIKE 'x'", "?column?"),
    ("event IS NULL", "?column?"),
    ("event IN ('x')", "?column?"),
    ("NOT true", "?column?"),
    ("length(event) BETWEEN 1 AND 2", "?column?"),
    ("(event)", "event"),
    ("(1)", "?column?"),
    ("count()", "count"),
    ("count(*)", "count"),
    ("COUNT(*)", "count"),
    ("Count(DISTINCT event)", "count"),
    ('"count"(*)', "count"),
    ("count(*) FILTER (WHERE event = 'x')", "count"),
    ("sum(length(event))", "sum"),
    ("avg(length(event))", "avg"),
    ("string_agg(event, ',' ORDER BY event)", "string_agg"),
    ("percentile_cont(0.5) WITHIN GROUP (ORDER BY length(event))", "percentile_cont"),
    ("mode() WITHIN GROUP (ORDER BY event)", "mode"),
    ("quantile_cont(length(event), 0.5)", "quantile_cont"),
    ("approx_count_distinct(event)", "approx_count_distinct"),
    ("array_agg(event)", "array_agg"),
    ("list(event)", "list"),
    ("count(*) + 1", "?column?"),
    ("lower(event)", "lower"),
    ("lower(upper(event))", "lower"),
    ("date_trunc('day', timestamp)", "date_trunc"),
    ("DATE_TRUNC('day', timestamp)", "date_trunc"),
    ("extract(year FROM timestamp)", "extract"),
    ("date_part('year', timestamp)", "date_part"),
    ("year(timestamp)", "year"),
    ("now()", "now"),
    ("now()::TIMESTAMP", "now"),
    ("current_date", "current_date"),
    ("current_timestamp::DATE", "current_timestamp"),
    ("current_user", "current_user"),
    ("timestamp AT TIME ZONE 'UTC'", "timezone"),
    ("timestamp::DATE", "timestamp"),
    ("CAST(event AS VARCHAR)", "event"),
    ("TRY_CAST(event AS INT)", "event"),
    ("upper(event)::VARCHAR", "upper"),
    ("'1'::INT", "int4"),
    ("'1'::BIGINT", "int8"),
    ("'1'::DOUBLE", "float8"),
    ("'1'::NUMERIC(10, 2)", "numeric"),
    ("1::VARCHAR", "varchar"),
    ("'t'::BOOLEAN", "bool"),
    ("DATE '2026-01-01'", "date"),
    ("TIMESTAMP '2026-01-01'", "timestamp"),
    ("INTERVAL 1 DAY", "interval"),
    ("INTERVAL '1 day'", "interval"),
    ("['a']::VARCHAR[]", "array"),
    ("'[1]'::INT[]", "int4"),
    ("(1 + 1)::INT", "int4"),
    ("CASE WHEN true THEN 1 END", "case"),
    ("CASE WHEN true THEN 1 ELSE 2 END", "case"),
    ("CASE WHEN true THEN 'x' ELSE event END", "event"),
    ("CASE WHEN true THEN 'x' ELSE upper(event) END", "upper"),
    ("CASE WHEN true THEN 1 ELSE '2'::INT END", "case"),
    ("coalesce(event, 'x')", "coalesce"),
    ("nullif(event, 'x')", "nullif"),
    ("greatest(1, 2)", "greatest"),
    ("if(true, 1, 2)", "if"),
    ("EXISTS (SELECT 1)", "exists"),
    ("(SELECT 1)", "?column?"),
    ("(SELECT 1 AS one)", "one"),
    ("(SELECT max(event) FROM events)", "max"),
    ("(SELECT event FROM events LIMIT 1)", "event"),
    ("1 IN (SELECT 1)", "?column?"),
    ("[1, 2]", "array"),
    ("ARRAY[1, 2]", "array"),
    ("ARRAY(SELECT 1)", "array"),
    ("[1, 2][1]", "array"),
    ("(1, 2)", "row"),
    ("row(1, 2)", "row"),
    ("{'a': 1}", "row"),
    ("MAP {'a': 1}", "map"),
    ("{'a': 1}.a", "a"),
    ("row_number() OVER ()", "row_number"),
    ("count(*) OVER (ORDER BY timestamp)", "count"),
    ("lag(event) OVER (ORDER BY timestamp)", "lag"),
    ("first_value(event IGNORE NULLS) OVER (ORDER BY timestamp)", "first_value"),
    ("list_transform([1], x -> x + 1)", "list_transform"),
    ("[x + 1 FOR x IN [1]]", "array"),
    ("unnest([1, 2])", "unnest"),
    ("trim(event)", "trim"),
    ("substring(event FROM 1)", "substring"),
    ("position('a' IN event)", "position"),
    ("event COLLATE nocase", "event"),
    ("properties", "properties"),
    ("properties.page", "page"),
    ("properties['page']", "page"),
    ("properties.a.b", "b"),
    ("properties.a.b.c.d.e", "e"),
    ("properties['a']['b c']", "b c"),
    ('properties."select"', "select"),
    ("properties.Page", "Page"),
    ("properties.tags[1]", "tags"),
    ("properties.cart.items[1].sku", "sku"),
    ("e.properties.page", "page"),
    ("properties.price::DOUBLE", "price"),
    ("properties['price']::DOUBLE", "price"),
    ("sum(properties.price)", "sum"),
    ("context.ip", "ip"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute(SPACE.format(schema="p1"))
    for place, page in enumerate(("/a", "/a", "/b")):
        connection.execute(
            "INSERT INTO p1.events_shredded VALUES (uuid(), 'v', ?, TIMESTAMP '2026-01-01', {'page': ?, 'n': ?}::VARIANT, NULL,"
            " TIMESTAMP '2026-01-01', 'b')",
            [str(place), page, place],
        )
    yield connection
    connection.close()


def shown(sql: str, engine: duckdb.DuckDBPyConnection) -> list[str]:
    result = check(sql, schema="p1", limit=100)
    engine.execute(result.sql)
    return [result.names.get(column[0], column[0]) for column in engine.description or []]


def rows(sql: str, engine: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    return engine.execute(check(sql, schema="p1", limit=100).sql).fetchall()


@pytest.mark.parametrize(("expression", "name"), CASES)
def test_name(expression: str, name: str) -> None:
    result = check(f"SELECT {expression} FROM events AS e", schema="p1", limit=1)
    assert (result.names or {"": name}) == {next(iter(result.names), ""): name}


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT event, count() FROM events GROUP BY event", ["event", "count"]),
        ("SELECT count(*), count(DISTINCT event), 1, 2 FROM events", ["count", "count", "?column?", "?column?"]),
        ("SELECT *, count(*) OVER () FROM (SELECT event, user_id FROM events)", ["event", "user_id", "count"]),
        ("SELECT * FROM (SELECT 1 AS a), (SELECT 2 AS b)", ["a", "b"]),
        ("SELECT EVENT, Event FROM events", ["event", "event"]),
        ("SELECT COLUMNS('event|user_id') FROM events", ["event", "user_id"]),
        ("SELECT max(COLUMNS('event|user_id')) FROM events", ["event", "user_id"]),
        ("SELECT unnest({'a': 1, 'b': 2})", ["a", "b"]),
        ("FROM (SELECT count() FROM events)", ["count"]),
        ("VALUES (1, 2)", ["column1", "column2"]),
        ("SELECT count() FROM events UNION ALL SELECT 2", ["count"]),
        ("(SELECT upper(event) FROM events) EXCEPT SELECT 'x' ORDER BY 1", ["upper"]),
        ("WITH a AS (SELECT 1) SELECT count(*) FROM a", ["count"]),
        ("SELECT count(*) FROM events LIMIT 10%", ["count"]),
        ("(SELECT count(*) FROM events)", ["count"]),
        ("SELECT lower(event) FROM events GROUP BY ALL ORDER BY ALL", ["lower"]),
    ],
)
def test_names_of_a_result(sql: str, names: list[str], engine: duckdb.DuckDBPyConnection) -> None:
    assert shown(sql, engine) == names


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        # a placeholder can capture nothing
        ("SELECT count(*) FROM events GROUP BY event ORDER BY count(*)", [(3,)]),
        ("SELECT upper(event), count(*) FROM events GROUP BY 1 ORDER BY 2 DESC", [("V", 3)]),
        ("SELECT max(user_id) FROM events ORDER BY 1", [("2",)]),
        ("SELECT user_id || 'x' FROM events ORDER BY user_id DESC LIMIT 1", [("2x",)]),
        ("SELECT -user_id::INT FROM events ORDER BY user_id LIMIT 1", [(0,)]),
        # names that can mean nothing else may be used, as in PostgreSQL
        ("SELECT event, count() FROM events GROUP BY event ORDER BY count DESC", [("v", 3)]),
        ("SELECT lower(user_id), count(*) FROM events GROUP BY lower ORDER BY lower DESC LIMIT 1", [("2", 1)]),
        ("SELECT e, count(*) FROM (SELECT event AS e FROM events) GROUP BY e ORDER BY count", [("v", 3)]),
        (
            "WITH a AS (SELECT user_id AS u FROM events) SELECT u, count(*) FROM a GROUP BY u ORDER BY count, u LIMIT 1",
            [("0", 1)],
        ),
        ("WITH a AS (SELECT * FROM events), b AS (SELECT * FROM a) SELECT count(*) FROM b HAVING count > 2", [(3,)]),
        ("WITH events AS (SELECT user_id FROM events) SELECT count(*) FROM events HAVING count > 2", [(3,)]),
        (
            "WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3) SELECT sum(n) FROM a HAVING sum > 5",
            [(6,)],
        ),
        (
            "SELECT count(*) FROM (events AS a JOIN (SELECT 1 AS n) AS b ON true), range(2) AS r(i) HAVING count > 5",
            [(6,)],
        ),
        (
            "SELECT count(*) FROM (SELECT 1 AS n UNION SELECT 2) AS a, LATERAL (SELECT n + 1 AS m) AS b HAVING count > 1",
            [(2,)],
        ),
        # but what FROM has of that name comes first
        (
            "WITH a AS (SELECT -n AS count, n FROM range(3) AS r(n)) SELECT n, count(*) FROM a GROUP BY n, count ORDER BY count LIMIT 1",
            [(2, 1)],
        ),
        (
            "SELECT n, count(*) FROM (SELECT * FROM (SELECT -n, n FROM range(3) AS r(n)) AS q(count, n)) GROUP BY n, count ORDER BY count LIMIT 1",
            [(2, 1)],
        ),
        (
            "SELECT a.n, count(*) FROM (SELECT 1 AS n) AS a, (SELECT 2 AS m UNION SELECT 7) AS q(count) GROUP BY a.n, count ORDER BY count DESC LIMIT 1",
            [(1, 1)],
        ),
        # a query in a query is used by those names
        ("SELECT count FROM (SELECT count() FROM events)", [(3,)]),
        ("SELECT a.count, b.max FROM (SELECT count(*) FROM events) a, (SELECT max(user_id) FROM events) b", [(3, "2")]),
        ("WITH a AS (SELECT event, count(*) FROM events GROUP BY event) SELECT sum(count) FROM a", [(3,)]),
        ("SELECT upper FROM (SELECT upper(event) FROM events LIMIT 1)", [("V",)]),
        (
            "SELECT date_trunc FROM (SELECT date_trunc('year', timestamp)::VARCHAR AS date_trunc FROM events) LIMIT 1",
            [("2026-01-01 00:00:00",)],
        ),
        # but not where two columns would have it, or where the query means a column of its own by it
        ("SELECT count(*) FROM (SELECT lower(event), lower(user_id) FROM events)", [(3,)]),
        ("SELECT min FROM (SELECT min, max(x) AS min_ FROM (SELECT 1 AS min, 2 AS x) GROUP BY min)", [(1,)]),
    ],
)
def test_names_change_no_rows(sql: str, expected: list[tuple[object, ...]], engine: duckdb.DuckDBPyConnection) -> None:
    assert rows(sql, engine) == expected
