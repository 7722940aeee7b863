"""What ClickHouse's and PostgreSQL's users write, translated: novamesh.sql.idioms. What the rows are: tests/api/test_idioms.py."""

import random

import pytest
from sqlglot import exp

from novamesh.errors import InvalidQuery, QueryNotAllowed
from novamesh.sql import check, functions
from novamesh.sql.idioms import formats as idiom_formats
from novamesh.sql.idioms import syntax as idiom_syntax
from novamesh.sql.idioms import table as idiom_table
from novamesh.sql.idioms import translate as idioms
from novamesh.sql.parse import MAX_NODES, generate, parse
from tests.api import idiom_cases, idiom_families

TRANSLATED = [
    ("uniq(user_id)", "count(DISTINCT user_id)"),
    ("UNIQ(user_id)", "count(DISTINCT user_id)"),
    ("uniqHLL12(user_id)", "approx_count_distinct(user_id)"),
    ("sumIf(x, a OR b)", "sum(x) FILTER(WHERE a OR b)"),
    ("sumIf(x, a) OVER (ORDER BY b)", "sum(x) FILTER(WHERE a) OVER (ORDER BY b)"),
    ("uniqIf(x, a) FILTER (WHERE b OR c)", "count(DISTINCT x) FILTER(WHERE (a) AND (b OR c))"),
    ("any(x)", "any_value(x)"),
    ("x = any(y)", "x = ANY(y)"),
    ("first_value(x)", "first(x)"),
    ("last_value(x) OVER (ORDER BY y)", "LAST_VALUE(x) OVER (ORDER BY y)"),
    ("groupArray(x)", "list(x) FILTER(WHERE NOT x IS NULL)"),
    ("groupArray(x ORDER BY y)", "list(x ORDER BY y) FILTER(WHERE NOT x IS NULL)"),
    ("groupArrayIf(2)(x, a)", "list_slice(list(x) FILTER(WHERE (NOT x IS NULL) AND (a)), 1, 2)"),
    ("groupArray(2)(x) OVER ()", "list_slice(list(x) FILTER(WHERE NOT x IS NULL) OVER (), 1, 2)"),
    ("quantile(0.9)(x)", "quantile_cont(x, 0.9)"),
    ("quantile(x, 0.9)", "quantile(x, 0.9)"),
    ("quantiles(0.5, 0.9)(f(x))", "quantile_cont(f(x), [0.5, 0.9])"),
    ("topK(10)(x)", "approx_top_k(x, 10)"),
    ("toDate(a)", "CAST(a AS DATE)"),
    ("toDate(a, 'UTC')", "CAST((CAST(a AS TIMESTAMP) AT TIME ZONE 'UTC' AT TIME ZONE 'UTC') AS DATE)"),
    ("toStartOfHour(toDateTime(a))", "date_trunc('hour', CAST(a AS TIMESTAMP))"),
    ("toStartOfInterval(a, INTERVAL 2 WEEK)", "time_bucket(INTERVAL '2' WEEK, a, CAST('1970-01-05' AS TIMESTAMP))"),
    ("addDays(a, b + 1)", "CAST(a AS TIMESTAMP) + to_days(b + 1)"),
    ("subtractDays(a, 1) - b", "(CAST(a AS TIMESTAMP) - to_days(1)) - b"),
    ("date_add(DAY, 1, a)", "CAST(a AS TIMESTAMP) + to_days(1)"),
    ("date_sub('day', a, b)", "date_sub('day', a, b)"),
    ("now() - 7 * 86400", "now() - to_seconds(7 * 86400)"),
    ("x - 3600", "x - 3600"),
    ("toInt64(a)", "TRY_CAST(trunc(TRY_CAST(CAST(a AS TEXT) AS DECIMAL(38, 9))) AS BIGINT)"),
    ("toInt64(a / 2)", "TRY_CAST(trunc(a / 2) AS BIGINT)"),
    ("toUInt8(a = 2)", "CAST(a = 2 AS UTINYINT)"),
    ("toDecimal64(a, 2)", "CAST(trunc(TRY_CAST(CAST(a AS TEXT) AS DECIMAL(38, 18)), 2) AS DECIMAL(18, 2))"),
    ("a::UInt64", "CAST(a AS UBIGINT)"),
    ("a::jsonb", "CAST(a AS JSON)"),
    ("CAST(a, 'Float64')", "CAST(a AS DOUBLE)"),
    ("JSONExtractString(properties, 'a', 1)", "CAST(properties['a'][1] AS TEXT)"),
    ("JSONExtractString(body, 'a', 1)", "CAST(json_extract_string(body, '$.\"a\"[0]') AS TEXT)"),
    ("properties ? 'a'", "variant_exists(properties, 'a')"),
    ('properties @> \'{"a": {"b": -1}, "c": "d"}\'', "(properties['a']['b'] = -1 AND properties['c'] = 'd')"),
    ("properties.a @> '[\"b\"]'", "(list_has_all(properties.a, ['b']))"),
    ("properties->'a'->>-1", "CAST((properties -> 'a')[-1] AS TEXT)"),
    ("properties#>>'{a,0}'", "CAST(properties['a'][1] AS TEXT)"),
    ("multiIf(a, 1, b, 2, 3)", "CASE WHEN a THEN 1 WHEN b THEN 2 ELSE 3 END"),
    ("NOT isNull(a)", "NOT (a IS NULL)"),
    ("intDiv(a + 1, b) * 2", "((a + 1) // b) * 2"),
    ("has(a, 1)", "list_contains(a, 1)"),
    ("arrayMap(x -> 1, a)", "list_transform(a, LAMBDA x : 1)"),
    ("position(a, 'b')", "strpos(a, 'b')"),
    ("position('b' IN a)", "STRPOS(a, 'b')"),
    ("extract(a, '(b)')", "regexp_extract(a, '(b)', 1, 's')"),
    ("extract(a, '(?:b)\\(')", "regexp_extract(a, '(?:b)\\(', 0, 's')"),
    ("extract(hour FROM a)", "EXTRACT(HOUR FROM a)"),
    ("a !~* 'b'", "NOT regexp_matches(a, 'b', 'i')"),
    ("'a' IN [x.b FOR x IN c]", "list_contains([x.b FOR x IN c], 'a')"),
    ("'a' IN ['b']", "'a' IN ('b')"),
]

NAMED = [
    ("uniq(user_id)", "uniq"),
    ("toDate(timestamp)", "todate"),
    ("sumIf(properties.a, true)", "sumif"),
    ("groupArray(2)(event)", "grouparray"),
    ("groupArray(2)(event) OVER ()", "grouparray"),
    ("isNull(event)", "isnull"),
    ("JSONExtractString(properties, 'page')", "jsonextractstring"),
    ("properties ? 'page'", "?column?"),
    ("properties->'tags'->-1", "?column?"),
    ("event ~* 'x'", "?column?"),
    ("toDate(timestamp) + 1", "?column?"),
    ("(SELECT uniq(event) FROM events)", "uniq"),
]

REFUSED = [
    ("SELECT toDate(1, 2, 3)", "toDate takes other arguments: toDate(t) or toDate(t, 'Europe/Paris')"),
    ("SELECT sumIf()", "sumIf takes other arguments: sumIf(…, condition)"),
    ("SELECT windowFunnel(10)(a, b = 1)", "cookbook"),
    ("SELECT make_interval(days => 1)", "write INTERVAL 7 DAY"),
    ("SELECT formatDateTime(now(), '%g')", "%g is not available; write strftime"),
    ("SELECT formatDateTime(now(), event) FROM events", "Give formatDateTime its format as a plain string"),
    ("SELECT toStartOfInterval(now(), event) FROM events", "toStartOfInterval(t, INTERVAL 15 MINUTE)"),
    ("SELECT properties @> '{\"a\": [1, null]}' FROM events", "write properties.a = 'value'"),
    ("SELECT properties @> '{}' FROM events", "write properties.name = 'value'"),
    ("SELECT properties @> ? FROM events", "write properties.name = 'value'"),
    ("SELECT event = 'a' ? 1 : 2 FROM events", "write if(condition, a, b)"),
    ("SELECT cityHash64(event) FROM events", "write hash(x)"),
    ("SELECT properties ?| array['a'] FROM events", "variant_exists(properties, 'a') OR"),
    ("SELECT event FROM events LIMIT 3 BY event, user_id LIMIT 5", "LIMIT 3 BY event, user_id"),
    (
        "SELECT event FROM events LIMIT 3 BY event",
        "QUALIFY row_number() OVER (PARTITION BY event ORDER BY timestamp) <= 3",
    ),
    ("SELECT event FROM events LIMIT 3 OFFSET 1 BY event", "QUALIFY row_number()"),
    ("SELECT count() FROM events FORMAT JSON", "format=json"),
    ("SELECT count() FROM events WHERE true FORMAT JSONEachRow", "format=ndjson"),
    ("SELECT count() FROM events FORMAT Pretty", "json, csv, ndjson, arrow and parquet"),
    ("SELECT count() FROM events SETTINGS max_threads = 1", "leave it off"),
    ("SELECT count() FROM events SAMPLE 0.1", "TABLESAMPLE 10%"),
    ("SELECT count() FROM events PREWHERE true WHERE true", "write one WHERE, with AND"),
    ("SELECT count() FROM events ARRAY JOIN properties.tags AS tag", "unnest(properties.tags) AS t(tag)"),
    ("SELECT event, count() FROM events GROUP BY event WITH TOTALS", "GROUP BY ROLLUP"),
    ("SELECT event FROM events ORDER BY event WITH FILL", "generate_series"),
    ("SELECT event FROM events ORDER BY event LIMIT 1 WITH TIES", "QUALIFY rank()"),
    ("WITH toDate(timestamp) AS d SELECT d FROM events", "SELECT … AS x"),
    ("SELECT properties.n.:Int64 FROM events", "properties.name::BIGINT"),
    ("SELECT 1 FROM events a ANY LEFT JOIN events b USING (id)", "ASOF JOIN"),
    ("SELECT quantileBFloat16(0.5)(event) FROM events", "quantileBFloat16 does not take two pairs of brackets"),
    ("SELECT quantileBFloat16(0.5)(properties.n) FROM events", "only the parametric functions"),
    ("SELECT event IN LATERAL .", "without a dot"),
    ("SELECT 1 FROM events WHERE id GLOBAL IN (SELECT id FROM events)", "there is one node"),
]

NATIVE = [
    "WITH totals AS (SELECT 1 AS n) SELECT n FROM totals",
    "WITH fill(n) AS (SELECT 1) SELECT n FROM fill",
    "SELECT final.event FROM events AS final",
    "SELECT event AS format FROM events",
    "SELECT event AS final, user_id AS prewhere FROM events",
    "SELECT array.event FROM events AS array JOIN events AS b ON array.id = b.id",
    "SELECT event FROM events WHERE user_id = ? OR event = 'x'",
    "SELECT 1 WHERE 'a' LIKE ANY(['a'])",
]


def translated(sql: str) -> str:
    tree = parse(f"SELECT {sql}")
    idioms.translate(tree)
    return generate(tree).removeprefix("SELECT ")


@pytest.mark.parametrize(("written", "expected"), TRANSLATED)
def test_translation(written: str, expected: str) -> None:
    assert translated(written) == expected


@pytest.mark.parametrize(("written", "name"), NAMED)
def test_a_column_keeps_the_name_that_was_written(written: str, name: str) -> None:
    checked = check(f"SELECT {written} FROM events", schema="p1", limit=None)
    assert checked.names == {"__nm_0": name}


def test_the_name_can_be_ordered_by() -> None:
    sql = check("SELECT event, uniq(user_id) FROM events GROUP BY event ORDER BY uniq", schema="p1", limit=None).sql
    assert 'count(DISTINCT user_id) AS "uniq"' in sql


@pytest.mark.parametrize(("sql", "form"), REFUSED)
def test_a_refusal_names_the_form_that_does(sql: str, form: str) -> None:
    with pytest.raises((InvalidQuery, QueryNotAllowed)) as error:
        check(sql, schema="p1", limit=None)
    assert form in str(error.value)


@pytest.mark.parametrize("sql", NATIVE)
def test_words_of_other_dialects_are_names_where_they_are_names(sql: str) -> None:
    check(sql, schema="p1", limit=None)


@pytest.mark.parametrize(
    ("written", "near"),
    [("toStartOfHor", "toStartOfHour"), ("cuont", "count"), ("date_trnc", "date_trunc"), ("uniqExat", "uniqExact")],
)
def test_the_nearest_name(written: str, near: str) -> None:
    with pytest.raises(QueryNotAllowed, match=f"{written.lower()} is not allowed; the nearest allowed name is {near}$"):
        check(f"SELECT {written}(event) FROM events", schema="p1", limit=None)


@pytest.mark.parametrize("written", ["currentDatabase", "hax", "unwrap", "xtring", "read_text"])
def test_no_name_is_nearest_that_only_looks_alike(written: str) -> None:
    with pytest.raises(QueryNotAllowed, match=r"is not allowed$"):
        check(f"SELECT {written}(event) FROM events", schema="p1", limit=None)


@pytest.mark.parametrize("written", ["timestampTrunc", "regexp_ilike", "to_variant", "j_s_o_n_b_contains"])
def test_a_refusal_says_the_name_that_was_written(written: str) -> None:
    with pytest.raises(QueryNotAllowed, match=f"^Function {written.lower()} "):
        check(f"SELECT {written}(event, 'a') FROM events", schema="p1", limit=None)


# ---- the table


def test_every_row_is_one_that_may_run() -> None:
    for row in idiom_table.rows():
        sql = row.partition(" = ")[2]
        sql = sql.replace(", s)", ", 2)")  # a DECIMAL's digits are literal
        tree = parse(f"SELECT {sql}")
        for call in tree.find_all(exp.Anonymous):
            assert call.name.lower() in functions.ALLOWED, row


def test_every_row_is_tried_on_a_node() -> None:
    cases = idiom_cases.AGGREGATES + idiom_cases.TIMES + idiom_cases.VALUES + idiom_cases.STATEMENTS
    cases += idiom_families.AGGREGATES + idiom_families.EXPRESSIONS + idiom_families.STATEMENTS
    tried = " ".join(written for written, _ in cases).lower()
    names = {row.partition("(")[0].lower() for row in idiom_table.rows()} | {n.lower() for n in idiom_table.BUILT}
    left = {name for name in names if f"{name}(" not in tried and f"{name}if(" not in tried}
    assert left == set()


def test_rows_repeat_no_argument_but_in_a_filter() -> None:
    for row in idiom_table.rows():
        sql = row.partition(" = ")[2].replace(" FILTER (WHERE x IS NOT NULL)", "")
        tree = parse(f"SELECT {sql}")
        columns = [column.name for column in tree.find_all(exp.Column)]
        assert len(columns) == len(set(columns)), row


# ---- what it must not let through


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT leftPad(event, 1000000000) FROM events",
        "SELECT match(event, '((x{1000}){1000})') FROM events",
        "SELECT extract(event, user_id) FROM events",
        "SELECT replaceRegexpAll(repeat(event, 5000), 'a', 'aaa') FROM events",
        "SELECT arrayReduce('read_text', [event]) FROM events",
        "SELECT arrayZip(arrayEnumerate([1]), range(100000000))",
        "SELECT arrayMap(x -> arrayMap(y -> arrayMap(z -> z, [y]), [x]), [1])",
        "SELECT event ~* '((x{1000}){1000})' FROM events",
        "SELECT CAST(event, 'VARIANT') FROM events",
        "SELECT toString(read_text('/etc/passwd'))",
        "SELECT getenv('HOME') ? 'a'",
        "SELECT * FROM numbers((SELECT max(key) FROM other))",
    ],
)
def test_what_may_not_run_may_not_run_translated(sql: str) -> None:
    with pytest.raises((InvalidQuery, QueryNotAllowed)):
        check(sql, schema="p1", limit=None)


@pytest.mark.parametrize(
    "template", ["groupArray({})", "anyLast({})", "dateDiff('day', now(), now(), {})", "groupArray(2)({}) OVER ()"]
)
def test_calls_in_calls_do_not_grow_without_bounds(template: str) -> None:
    sql = "event"
    for _ in range(30):
        sql = template.format(sql)
    with pytest.raises(QueryNotAllowed, match="nested too deeply"):
        check(f"SELECT {sql} FROM events", schema="p1", limit=None)


def test_what_is_copied_is_no_more_than_a_query_may_be() -> None:
    sql = "event"
    for _ in range(6):
        sql = f"groupArray({sql})"
    tree = parse(f"SELECT {sql}")
    idioms.translate(tree)
    assert sum(1 for _ in tree.walk()) < 2 * MAX_NODES


def test_quoted_names_of_parametric_calls_are_no_way_around() -> None:
    for arguments in ("", "event", "(0.5)"):
        with pytest.raises((InvalidQuery, QueryNotAllowed)):
            check(f'SELECT "quantile{idiom_syntax.PARAMETRIC}"({arguments}) FROM events', schema="p1", limit=None)


_ARGUMENTS = (
    *("event", "properties.a", "1", "-1", "'a'", "*", "x -> 1", "(1, 2)", "NULL", "DAY", "(SELECT 1)", "x := 1"),
    *("DISTINCT event", "event ORDER BY id", "INTERVAL 1 DAY", "properties->'a'->-1", "?", "count() OVER ()", "''"),
)
_AROUND = ("{}", "{} FILTER (WHERE true)", "{} OVER ()", "{} FILTER (WHERE true) OVER ()", "{} + 1", "{}.a", "{}->'a'")


@pytest.mark.parametrize("seed", range(4))
def test_no_call_of_a_known_name_is_a_fault_of_ours(seed: int) -> None:
    chance = random.Random(seed)
    refused = 0
    for name in sorted(idiom_table.NAMES):
        arguments = ", ".join(chance.choices(_ARGUMENTS, k=seed))
        first = chance.choice(("", "(0.5)", "(1, 2)"))
        sql = chance.choice(_AROUND).format(f"{name}{first}({arguments})")
        try:
            check(f"SELECT {sql} FROM events", schema="p1", limit=None)
        except (InvalidQuery, QueryNotAllowed):
            refused += 1
    assert 0 < refused < len(idiom_table.NAMES)


# ---- formats


@pytest.mark.parametrize(
    ("text", "expected"),
    [("%Y-%m-%d %H:%i:%s", "%Y-%m-%d %H:%M:%S"), ("%M %e", None), ("%M", "%B"), ("100%%", "100%%"), ("%", None)],
)
def test_clickhouse_formats(text: str, expected: str | None) -> None:
    if expected is not None:
        assert idiom_formats.from_clickhouse(text) == expected
        return
    with pytest.raises(InvalidQuery, match="strftime"):
        idiom_formats.from_clickhouse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("YYYY-MM-DD", "%Y-%m-%d"),
        ("yyyymmddhh24miss", "%Y%m%d%H%M%S"),
        ('FMMonth FMDD, "of" YYYY %', "%B %-d, of %Y %%"),
        ("Mon DY", None),
        ("Month", None),
        ("MON", None),
        ("DDth", None),
        ("999.9", None),
        ("YYYY-MM-DDTHH24", None),
    ],
)
def test_postgresql_formats(text: str, expected: str | None) -> None:
    if expected is not None:
        assert idiom_formats.from_postgresql(text) == expected
        return
    with pytest.raises(InvalidQuery, match="strftime"):
        idiom_formats.from_postgresql(text)
