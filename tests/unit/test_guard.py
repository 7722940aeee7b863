"""What may run and what may not: novamesh.sql.guard."""

import contextlib
import json
import logging
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from novamesh.errors import InvalidQuery, QueryNotAllowed, RequestError
from novamesh.sql import Checked, check, guard, parse, warm
from novamesh.store.migrations import SPACE

CORPORA = Path(__file__).parents[1] / "data" / "sql"

DENY = [
    # other statements
    "DELETE FROM events",
    "UPDATE events SET event = 'x'",
    "INSERT INTO events SELECT * FROM events",
    "DROP TABLE events",
    "CREATE TABLE t AS SELECT 1",
    "SELECT event INTO t FROM events",
    "ALTER TABLE events ADD COLUMN x INT",
    "ATTACH ':memory:' AS m",
    "COPY events TO '/tmp/x.csv'",
    "copy (select 1) to '/tmp/x.csv'",
    "SET threads = 64",
    "RESET ALL",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CHECKPOINT",
    "BEGIN",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPLAIN ANALYZE SELECT 1",
    "DESCRIBE p1.events",
    "DESCRIBE (events)",
    "SHOW ALL TABLES",
    "EXPLAIN COPY (SELECT 1) TO '/tmp/x.csv'",
    "SUMMARIZE events",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE events",
    "SELECT 1 -- x\n; DROP TABLE events",
    "SELECT 1\0; DROP TABLE events",
    # statements inside a SELECT
    "WITH x AS (COPY (SELECT 'x') TO '/tmp/x') SELECT 1",
    "WITH x AS (DELETE FROM events RETURNING *) SELECT * FROM x",
    "WITH x AS (SELECT 1) INSERT INTO events SELECT * FROM x",
    "WITH x AS (SELECT 1) COPY x TO '/tmp/x'",
    "SELECT * FROM (PIVOT events ON event USING count(*))",
    "SELECT * FROM (DESCRIBE events)",
    "SELECT event FROM events FOR UPDATE",
    "FROM events |> SELECT event",
    "SELECT lower(event AS e) FROM events",
    # tables
    "SELECT * FROM internal.api_keys",
    "SELECT * FROM main.events",
    "SELECT * FROM p1.events",
    'SELECT * FROM "p1"."events"',
    "SELECT * FROM memory.p1.events",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM duckdb_settings",
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM some_dataframe",
    "SELECT (SELECT count(*) FROM other)",
    "SELECT 1 UNION ALL SELECT count(*) FROM other",
    "SELECT * FROM events WHERE EXISTS (SELECT 1 FROM other)",
    "SELECT list_transform([1], lambda x: (SELECT max(key) FROM other))",
    "SELECT 1 FROM (WITH own AS (SELECT 1) SELECT * FROM own) x, own",
    "WITH events AS (SELECT * FROM other) SELECT * FROM events",
    "WITH RECURSIVE events AS (SELECT 1 UNION ALL SELECT 1 FROM events) SELECT * FROM events",
    # functions
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM READ_TEXT('/etc/passwd')",
    "SELECT * FROM \"read_text\"('/etc/passwd')",
    "SELECT * FROM read_text/**/('/etc/passwd')",
    "SELECT * FROM system.main.read_text('/etc/passwd')",
    "SELECT * FROM read_text($$/etc/passwd$$)",
    "SELECT * FROM read_text(E'/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "FROM read_parquet('x')",
    "SELECT * FROM glob('*')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM pragma_table_info('events')",
    "SELECT * FROM events, LATERAL read_text(event)",
    "SELECT getenv('HOME')",
    "SELECT current_setting('threads')",
    "SELECT current_database()",
    "SELECT version()",
    "SELECT sleep_ms(1000)",
    "SELECT error('x')",
    "SELECT nextval('s')",
    "SELECT setseed(0.5)",
    "SELECT write_log('x')",
    "SELECT stats(event) FROM events",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT list_aggregate([1], 'nextval')",
    "SELECT list_aggregate([1], event) FROM events",
    "SELECT count(*) FROM upper('x')",
    "SELECT event.upper() FROM events",
    # casts
    "SELECT '[]'::JSON::VARIANT",
    "SELECT TRY_CAST('[]' AS VARIANT[])",
    "SELECT from_json('[]', '\"VARIANT\"')",
    "SELECT 'x'::INET",
    "SELECT 'a'::ENUM('a')",
    "SELECT 'x'::own_type",
    # bombs
    "SELECT repeat('x', 1000000000)",
    "SELECT repeat(repeat('x', 1000), 1000)",
    "SELECT repeat('x', user_id::INT) FROM events",
    "SELECT replace(replace(repeat('a', 100), 'a', 'aaaaaaaaaaaaaaa'), 'a', 'aaaaaaaaaaaaaaa')",
    "SELECT lpad('x', 2000000000)",
    "SELECT rpad('x', 20000, 'y')",
    "SELECT bitstring('1', 2000000000)",
    "SELECT list_resize([1], 2000000000)",
    "SELECT format('{:>2000000000}', 'x')",
    "SELECT format('{:>{}}', 'x', 2000000000)",
    "SELECT printf('%2000000000d', 1)",
    "SELECT printf('%*d', 2000000000, 1)",
    "SELECT levenshtein(event, user_id) FROM events",
    "SELECT list_zip(range(100000000), range(100000000))",
    "SELECT regexp_matches(event, '((x{1000}){1000}){1000}') FROM events",
    "SELECT event ~ '((x{1000}){1000}){1000}' FROM events",
    "SELECT regexp_matches(event, user_id) FROM events",
    "SELECT count(*) FROM events GROUP BY CUBE (1, 2, 3, 4, 5, 6)",
    "SELECT list_transform([1], x -> list_transform([x], y -> list_transform([y], z -> z)))",
    "SELECT 1 IN (" + ", ".join(map(str, range(guard.MAX_IN_LIST + 1))) + ")",
    "SELECT " + "NOT " * 100 + "true",
    "SELECT " + "- " * 100 + "1",
    "SELECT " + "(" * 100 + "1" + ")" * 100,
    "SELECT " + "CASE WHEN true THEN " * 100 + "1" + " END" * 100,
    "SELECT 1" + " + 1" * 1000,
    "SELECT " + "lower(" * 100 + "event" + ")" * 100 + " FROM events",
    "SELECT * FROM " + ", ".join(f"events e{n}" for n in range(20)),
    "SELECT * FROM events " + "JOIN events " * 20,
    " UNION ALL ".join(["SELECT 1"] * 30),
    "SELECT * FROM (" * 15 + "SELECT 1" + ")" * 15,
    "WITH " + ", ".join(f"a{n} AS (SELECT 1)" for n in range(30)) + " SELECT 1",
    "WITH a0 AS (SELECT 1), "
    + ", ".join(f"a{n} AS NOT MATERIALIZED (SELECT 1 FROM a{n - 1} x, a{n - 1} y)" for n in range(1, 8))
    + " SELECT * FROM a7",
    "SELECT '" + "x" * parse.MAX_TEXT + "'",
]

ALLOW = [
    "SELECT 1",
    "SELECT 1;",
    "select event, count() from events group by event order by 2 desc limit 10",
    "SELECT count(*), count(DISTINCT user_id), count(event) FROM events",
    'SELECT * FROM "events"',
    "SELECT * FROM EVENTS",
    "SELECT events.event, EVENTS.user_id FROM Events",
    "SELECT e.* FROM events AS e",
    "SELECT * EXCLUDE (properties) REPLACE (upper(event) AS event) FROM events",
    "SELECT COLUMNS('event|user_id') FROM events",
    "SELECT columns(c -> c LIKE 'e%') FROM events",
    "FROM events",
    "FROM events SELECT event WHERE user_id = '1'",
    "(SELECT event FROM events) UNION (SELECT 'x') ORDER BY 1",
    "SELECT 1 EXCEPT SELECT 2 INTERSECT SELECT 3",
    "SELECT 1 AS a UNION ALL BY NAME SELECT 2 AS a",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT * FROM (VALUES (1), (2)) v(x)",
    "WITH a AS (SELECT * FROM events) SELECT * FROM a",
    "WITH a(x) AS MATERIALIZED (SELECT 1), b AS NOT MATERIALIZED (SELECT * FROM a) SELECT * FROM b",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t",
    "WITH events AS (SELECT event FROM events) SELECT * FROM events",
    "WITH read_text AS (SELECT 1 AS x) SELECT x FROM read_text",
    "WITH count(n) AS (SELECT 1) SELECT n FROM count",
    "SELECT 1 AS read_text, 2 AS getenv",
    "SELECT ';DROP TABLE events' AS x",
    "SELECT E'it\\'s', $$dollar$$, 'it''s'",
    "SELECT 1 /* read_text('x') */ -- DROP TABLE events",
    "SELECT * FROM range(3) r(i), generate_series(1, 2) s(j), unnest([1, 2]) u(k)",
    "SELECT * FROM range(3) range(i)",
    "SELECT e.event, x.n FROM events e, LATERAL (SELECT length(e.event) AS n) x",
    "SELECT unnest([1, 2, 3])",
    "SELECT a.event FROM events a JOIN events b USING (user_id) LEFT JOIN events c ON a.id = c.id",
    "SELECT a.event FROM events a ASOF JOIN events b ON a.user_id = b.user_id AND a.timestamp >= b.timestamp",
    "SELECT a.event FROM events a SEMI JOIN events b USING (id) ANTI JOIN events c ON a.id <> c.id",
    "SELECT event FROM events CROSS JOIN (SELECT 1)",
    "SELECT count(*) FILTER (WHERE event = 'a') FROM events",
    "SELECT event, row_number() OVER (PARTITION BY event ORDER BY timestamp) FROM events",
    "SELECT event FROM events QUALIFY row_number() OVER (PARTITION BY event ORDER BY timestamp) = 1",
    "SELECT lag(event, 1, 'none') OVER w, first_value(event) OVER w FROM events WINDOW w AS (ORDER BY timestamp)",
    "SELECT lag(event IGNORE NULLS) OVER (ORDER BY timestamp ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM events",
    "SELECT sum(1) OVER (ORDER BY timestamp RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW) FROM events",
    "SELECT event FROM events GROUP BY ALL HAVING count() > 0 ORDER BY ALL",
    "SELECT event, user_id, count(*) FROM events GROUP BY ROLLUP (event, user_id)",
    "SELECT event, grouping(event) FROM events GROUP BY GROUPING SETS ((event), ())",
    "SELECT DISTINCT ON (event) event, timestamp FROM events ORDER BY timestamp DESC",
    "SELECT event FROM events LIMIT 5 OFFSET 2",
    "SELECT event FROM events LIMIT 10%",
    "SELECT event FROM events USING SAMPLE 10",
    "SELECT event FROM events WHERE event IN ('a', 'b') AND user_id NOT IN (SELECT user_id FROM events)",
    "SELECT event FROM events WHERE event LIKE 'a%' OR event ILIKE 'B%' OR event ~ '^c' OR event SIMILAR TO 'd.*'",
    "SELECT event FROM events WHERE timestamp BETWEEN '2026-01-01' AND '2026-02-01' AND event IS NOT NULL",
    "SELECT event FROM events WHERE NOT EXISTS (SELECT 1 FROM events WHERE event = 'x')",
    "SELECT date_trunc('day', timestamp), extract(year FROM timestamp), timestamp::DATE FROM events",
    "SELECT strftime(timestamp, '%Y-%m-%d'), dayname(timestamp), date_diff('day', timestamp, received_at) FROM events",
    "SELECT time_bucket(INTERVAL 15 MINUTE, timestamp), timestamp - INTERVAL '1 day' FROM events",
    "SELECT DATE '2026-01-01' + 1, TIMESTAMP '2026-01-01 00:00:00' AT TIME ZONE 'UTC' IS NULL, current_date",
    "SELECT quantile_cont(length(event), [0.5, 0.95]), approx_count_distinct(user_id) FROM events",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY length(event)), mode() WITHIN GROUP (ORDER BY event) FROM events",
    "SELECT string_agg(event, ', ' ORDER BY timestamp DESC), list(event ORDER BY event NULLS LAST) FROM events",
    "SELECT arg_max(event, timestamp), max(event, 2), any_value(event), histogram(event) FROM events",
    "SELECT CASE event WHEN 'a' THEN 1 ELSE 2 END, if(true, 1, 2), coalesce(event, 'x'), nullif(event, 'x') FROM events",
    "SELECT upper(event), substring(event FROM 1 FOR 2), trim(BOTH 'x' FROM event), position('a' IN event) FROM events",
    "SELECT event || 'x', concat_ws('-', event, user_id), split_part(event, '_', 1), regexp_extract(event, '(a+)', 1) FROM events",
    "SELECT repeat('x', 10), lpad(event, 10, '0'), format('{:>10} {}', 'x', 1), replace(event, 'a', 'b') FROM events",
    "SELECT 7 // 2, 7 % 2, 2 ** 3, 2 ^ 3, -1, ~1, 1 << 2, 1 & 3, 1 | 2, xor(1, 2), @(-1), round(1.5, 1), 1_000, 1e3",
    "SELECT list_transform([1, 2], x -> x + 1), list_filter([1, 2], lambda x: x > 1), [x * 2 FOR x IN [1, 2] IF x > 1]",
    "SELECT [1, 2][1], [1, 2, 3][1:2], {'a': 1}.a, {'a': 1}['a'], MAP {'a': 1}['a'], struct_pack(b := 2), (1, 2)",
    "SELECT json_extract('{\"a\": 1}', '$.a'), '{\"a\": 1}'::JSON -> 'a', '{\"a\": 1}'::JSON ->> 'a'",
    "SELECT properties.page, properties['page'], properties.cart.items[1].sku, e.properties.\"odd key\" FROM events e",
    "SELECT properties.page::VARCHAR AS p, count(*) FROM events GROUP BY ALL",
    "SELECT ['a']::VARCHAR[], [1]::DOUBLE[], {'a': 1}::STRUCT(a BIGINT), 1::DECIMAL(10, 2), '{}'::JSON",
    "SELECT count(*) FROM events e WHERE e.user_id = ANY (SELECT user_id FROM events)",
    "SELECT reason: event, n: count() FROM events GROUP BY event",
    "SELECT current_user",
    "SELECT levenshtein(event, 'page_view') FROM events",
    "SELECT 1 IN (" + ", ".join(map(str, range(guard.MAX_IN_LIST))) + ")",
]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    connection.execute(SPACE.format(schema="p1"))
    connection.execute(
        "INSERT INTO p1.events_shredded SELECT uuid(), 'a', i::VARCHAR, TIMESTAMP '2026-01-01' + to_days(i::INT),"
        " {'page': '/a', 'n': i}::VARIANT, NULL, TIMESTAMP '2026-01-02', 'b' FROM range(5) t(i)"
    )
    yield connection
    connection.close()


def checked(sql: str, limit: int = 1000) -> Checked:
    return check(sql, schema="p1", limit=limit)


def corpus(must: str) -> list[Any]:
    path = CORPORA / "sandbox.json"
    return [pytest.param(case["sql"], id=case["name"]) for case in json.loads(path.read_text()) if case["must"] == must]


@pytest.mark.parametrize("sql", [*(pytest.param(sql, id=sql[:60].replace("\0", "0")) for sql in DENY), *corpus("deny")])
def test_refused(sql: str) -> None:
    with pytest.raises((InvalidQuery, QueryNotAllowed)) as caught:
        checked(sql)
    message = caught.value.message
    assert message
    assert "\n" not in message
    assert parse.MARK not in message


@pytest.mark.parametrize("sql", [*(pytest.param(sql, id=sql[:60]) for sql in ALLOW), *corpus("allow")])
def test_allowed_and_runs(sql: str, engine: duckdb.DuckDBPyConnection) -> None:
    result = checked(sql)
    assert engine.execute(result.sql).fetchall() is not None
    assert base_tables(result.sql) <= {"p1.events", "p1.events_shredded", "p1.events_plain"}


@pytest.mark.parametrize("sql", corpus("limit"))
def test_what_the_engine_limits_is_checked_fast_or_refused(sql: str) -> None:
    with contextlib.suppress(InvalidQuery, QueryNotAllowed):
        checked(sql)


@pytest.mark.parametrize(
    ("sql", "kind", "words"),
    [
        ("", InvalidQuery, "empty"),
        (" ; ", InvalidQuery, "empty"),
        ("-- nothing", InvalidQuery, "empty"),
        ("SELECT count( FROM events", InvalidQuery, "line 1, column"),
        ("SELECT event\nFROM events\nWHERE event = = 1", InvalidQuery, "line 3"),
        ("SELECT 'x", InvalidQuery, "parsed"),
        ("SELECT list(DISTINCT) FROM events", InvalidQuery, "needs an argument"),
        ("SELECT max(DISTINCT ORDER BY event) FROM events", InvalidQuery, "an argument|parsed"),
        ("SELECT 1; SELECT 2", InvalidQuery, "one statement"),
        ("SELECT INTERVAL '30' min", InvalidQuery, "30 minutes"),
        ("SELECT $b, ?", InvalidQuery, r"all numbered \(\$1, \?\); here are \$1, \$b$"),
        ("SELECT cuont(*) FROM events", QueryNotAllowed, "nearest allowed name is count"),
        ("SELECT * FROM event", QueryNotAllowed, "nearest allowed name is events"),
        ("WITH _ AS (SELECT 1) SELECT * FROM f", QueryNotAllowed, "Table f does not exist; read events$"),
        ("SELECT * FROM x.events", QueryNotAllowed, "without a schema"),
        ("DESCRIBE tables", QueryNotAllowed, "LIMIT 1"),
        ("DROP TABLE events", QueryNotAllowed, "queries only read"),
        ("SELECT repeat('x', 99999)", QueryNotAllowed, "at most 10000"),
    ],
)
def test_reason_says_what_to_do(sql: str, kind: type[RequestError], words: str) -> None:
    with pytest.raises(kind, match=words):
        checked(sql)


@pytest.mark.parametrize(
    ("sql", "end"),
    [
        ("SELECT event FROM events", "LIMIT 11"),
        ("SELECT event FROM events LIMIT 5", "LIMIT 5"),
        ("SELECT event FROM events LIMIT 11", "LIMIT 11"),
        ("SELECT event FROM events LIMIT 5000 OFFSET 3", "LIMIT 11 OFFSET 3"),
        ("SELECT event FROM events OFFSET 3", "LIMIT 11 OFFSET 3"),
        ("SELECT event FROM events ORDER BY timestamp DESC", "ORDER BY timestamp DESC LIMIT 11"),
        ("SELECT 1 UNION ALL SELECT 2", "SELECT 2 LIMIT 11"),
        ("WITH a AS (SELECT 1 LIMIT 99) SELECT * FROM a", "FROM a LIMIT 11"),
        ("SELECT event FROM events LIMIT 50%", ') AS "__nm" LIMIT 11'),
        ("SELECT event FROM events LIMIT (SELECT 3)", ') AS "__nm" LIMIT 11'),
        ("SELECT event FROM events LIMIT $n", ') AS "__nm" LIMIT 11'),
        ("SELECT event FROM events LIMIT ALL", ') AS "__nm" LIMIT 11'),
        ("SELECT event FROM events LIMIT 1 + 1", ') AS "__nm" LIMIT 11'),
        ("SELECT event FROM events FETCH FIRST 5 ROWS ONLY", ') AS "__nm" LIMIT 11'),
        ("(SELECT 1)", ') AS "__nm" LIMIT 11'),
        ("VALUES (1)", ' AS "__nm"("__nm_0") LIMIT 11'),
    ],
)
def test_limit(sql: str, end: str, engine: duckdb.DuckDBPyConnection) -> None:
    result = checked(sql, limit=10)
    assert result.sql.endswith(end)
    if "$" not in sql:
        engine.execute(result.sql)


@pytest.mark.parametrize(
    ("sql", "runs"),
    [
        ("SELECT event FROM events", 'SELECT event FROM "p1"."events" AS "events" LIMIT 11'),
        ("SELECT event FROM Events", 'SELECT event FROM "p1"."events" AS "Events" LIMIT 11'),
        ('SELECT event FROM "events" e', 'SELECT event FROM "p1"."events" AS e LIMIT 11'),
        ("SELECT reason FROM quarantine", 'SELECT reason FROM "p1"."quarantine" AS "quarantine" LIMIT 11'),
        (
            "WITH events AS (SELECT event FROM events) SELECT event FROM events",
            'WITH events AS (SELECT event FROM "p1"."events" AS "events") SELECT event FROM events LIMIT 11',
        ),
        (
            "WITH a AS (WITH events AS (SELECT 1 AS x) SELECT x FROM events) SELECT event FROM a, events",
            'WITH a AS (WITH events AS (SELECT 1 AS x) SELECT x FROM events) SELECT event FROM a, "p1"."events" AS "events"'
            " LIMIT 11",
        ),
    ],
)
def test_tables_are_qualified_by_scope(sql: str, runs: str) -> None:
    assert checked(sql, limit=10).sql == runs


def test_schema_is_quoted() -> None:
    assert '"a ""b"""."events"' in check("FROM events", schema='a "b"', limit=1).sql


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("SELECT INTERVAL '1 day ago' = INTERVAL '-1' DAY", True),
        ("SELECT epoch(INTERVAL '30 min')", 1800.0),
        ("SELECT epoch(INTERVAL '2 hrs 5 secs')", 7205.0),
        ("SELECT epoch(INTERVAL 2 HOURS)", 7200.0),
        ('SELECT \'{"a.b": 1, "a": {"b": 2}}\'::JSON ->> \'a.b\'', "1"),
        ("SELECT '{\"a[0]\": 1}'::JSON ->> 'a[0]'", "1"),
        ("SELECT '{\"utm:source\": 1}'::JSON ->> 'utm:source'", "1"),
        ("SELECT '{\"a\": {\"b\": 2}}'::JSON ->> '$.a.b'", "2"),
        ("SELECT '{\"a\": 1}'::JSON ->> 'a' = '1'", True),
        ("SELECT [1, 2, 3][-1]", 3),
        ("SELECT [10, 20, 30][i + 1] FROM range(1, 2) t(i)", 20),
        ("SELECT count() FROM range(3)", 3),
        ("SELECT datediff('week', DATE '2026-01-01', DATE '2026-01-15')", 2),
        ("SELECT list_sort([2, 1, NULL])[1]", 1),
        ("SELECT strptime('2026', '%Y') = TIMESTAMP '2026-01-01'", True),
        ("SELECT 5 IS NOT DISTINCT FROM 5", True),
        ("SELECT -2 ** 2", 4.0),
    ],
)
def test_rows_are_those_the_text_asks_for(sql: str, value: object, engine: duckdb.DuckDBPyConnection) -> None:
    assert engine.execute(checked(sql).sql).fetchone() == (value,)


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for sql in DENY:
        with pytest.raises(RequestError):
            checked(sql)
    assert caplog.records == []


def test_warm() -> None:
    warm()


def base_tables(sql: str) -> set[str]:
    """The tables with a schema in a text, by sqlglot's own reading of it; by the engine's of what sqlglot cannot read, such
    as a query among arguments without parentheses."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except sqlglot.ParseError:
        row = duckdb.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
        assert row is not None
        return {*_base_tables(json.loads(row[0]))}
    return {f"{table.db}.{table.name}" for table in tree.find_all(exp.Table) if table.db}


def _base_tables(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("type") == "BASE_TABLE" and node["schema_name"]:
            yield f"{node['schema_name']}.{node['table_name']}"
        node = [*node.values()]
    if isinstance(node, list):
        for part in node:
            yield from _base_tables(part)


def test_tables_are_found_in_what_sqlglot_cannot_read() -> None:
    """It writes this itself, for ``range( , )``."""
    sql = "SELECT * FROM range() AS r(i), (SELECT * FROM s.t) AS t"
    with pytest.raises(sqlglot.ParseError):
        sqlglot.parse_one(sql, dialect="duckdb")
    assert base_tables(sql) == {"s.t"}


words = st.sampled_from(
    "SELECT FROM events WHERE ( ) , . * + - [ ] { } : ; 'x' \"x\" 1 a WITH AS COPY TO read_text count sum NOT IN CASE WHEN THEN END"
    " JOIN ON UNION GROUP BY ORDER LIMIT OVER INTERVAL day :: VARCHAR -> ->> lambda properties internal /* */ -- $$ E'x' SET ?".split()
)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=string.printable + "é\0\ue000\u2028", max_size=80))
def test_any_text_is_refused_or_checked(sql: str) -> None:
    refused_or_safe(sql)


@settings(max_examples=500, deadline=None)
@given(st.lists(words, max_size=30))
def test_any_words_are_refused_or_checked(parts: list[str]) -> None:
    refused_or_safe("SELECT " + " ".join(parts))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(ALLOW[:-1]), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), words), max_size=4))
def test_any_change_of_a_query_is_refused_or_checked(sql: str, changes: list[tuple[float, int, str]]) -> None:
    for where, width, word in changes:
        place = int(where * len(sql))
        sql = sql[:place] + " " + word + " " + sql[place + width :]
    refused_or_safe(sql)


def refused_or_safe(sql: str) -> None:
    try:
        result = checked(sql)
    except (InvalidQuery, QueryNotAllowed):
        return
    assert base_tables(result.sql) <= {"p1.events", "p1.events_shredded", "p1.events_plain", "p1.quarantine"}
    guard._confirm(result.sql, "p1")
