"""Results as bytes: what each type looks like in each format, and the shape of a whole response."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from novamesh.store.results import TEXT_ENCODERS, ResultEncoder, presented


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def response(database: duckdb.DuckDBPyConnection, kind: str, sql: str, chunk: int = 2) -> bytes:
    """A whole response, made as the query server makes it."""
    described = database.execute("DESCRIBE " + sql).fetchall()
    encoder: ResultEncoder = TEXT_ENCODERS[kind]([row[0] for row in described], [row[1] for row in described])
    database.execute(presented(sql, encoder.types))
    body, sent = encoder.head(), 0
    while rows := database.fetchmany(chunk):
        body += encoder.rows(rows, first=sent == 0)
        sent += len(rows)
    return body + encoder.end(encoder.meta(7, sent, False))


def refuse(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def strict(text: str | bytes) -> Any:
    """JSON as RFC 8259 has it: Python's reader takes NaN too."""
    return json.loads(text, parse_constant=refuse)


def csv_rows(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


# Each: an expression, its value in JSON, its field in CSV.
CASES: list[tuple[str, Any, str]] = [
    ("(-128)::TINYINT", -128, "-128"),
    ("32767::SMALLINT", 32767, "32767"),
    ("42", 42, "42"),
    ("(-9223372036854775808)::BIGINT", -(2**63), str(-(2**63))),
    ("18446744073709551615::UBIGINT", 2**64 - 1, str(2**64 - 1)),
    ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1, str(2**127 - 1)),
    ("340282366920938463463374607431768211455::UHUGEINT", 2**128 - 1, str(2**128 - 1)),
    ("1.50::DECIMAL(5,2)", 1.5, "1.50"),
    ("(-12345678901234567.89)::DECIMAL(38,2)", -12345678901234567.89, "-12345678901234567.89"),
    ("0.1::DOUBLE", 0.1, "0.1"),
    ("5e-324::DOUBLE", 5e-324, "5e-324"),
    ("'nan'::DOUBLE", None, ""),
    ("'inf'::DOUBLE", None, ""),
    ("'-inf'::DOUBLE", None, ""),
    ("0.1::FLOAT", 0.1, "0.1"),
    ("'nan'::FLOAT", None, ""),
    ("true", True, "true"),
    ("false", False, "false"),
    ("'plain'", "plain", "plain"),
    ("''", "", ""),
    ("""'a "quote", a comma'""", 'a "quote", a comma', 'a "quote", a comma'),
    ("'a' || chr(10) || 'b' || chr(13) || chr(9) || '\\'", "a\nb\r\t\\", "a\nb\r\t\\"),
    ("'ž 🐎 ' || chr(8232)", "ž 🐎 \u2028", "ž 🐎 \u2028"),
    ("'NaN'", "NaN", "NaN"),
    ("TIMESTAMP '2026-01-02 03:04:05'", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
    ("TIMESTAMP '2026-01-02 03:04:05.123456'", "2026-01-02T03:04:05.123456Z", "2026-01-02T03:04:05.123456Z"),
    ("TIMESTAMPTZ '2026-01-02 03:04:05+02'", "2026-01-02T01:04:05Z", "2026-01-02T01:04:05Z"),
    (
        "'2026-01-02 03:04:05.123456789'::TIMESTAMP_NS",
        "2026-01-02T03:04:05.123456789Z",
        "2026-01-02T03:04:05.123456789Z",
    ),
    ("'2026-01-02 03:04:05'::TIMESTAMP_S", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
    ("'2026-01-02 03:04:05.5'::TIMESTAMP_MS", "2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.5Z"),
    ("DATE '2026-01-02'", "2026-01-02", "2026-01-02"),
    ("TIME '03:04:05.5'", "03:04:05.5", "03:04:05.5"),
    ("TIMETZ '03:04:05+02'", "03:04:05+02", "03:04:05+02"),
    ("INTERVAL '1 month 2 days 3 hours'", "1 month 2 days 03:00:00", "1 month 2 days 03:00:00"),
    (
        "'01234567-89ab-7def-8123-456789ab0000'::UUID",
        "01234567-89ab-7def-8123-456789ab0000",
        "01234567-89ab-7def-8123-456789ab0000",
    ),
    ("'\\x00\\xff'::BLOB", "AP8=", "AP8="),
    ("'101'::BIT", "101", "101"),
    ("'b'::ENUM('a', 'b')", "b", "b"),
    ("[1, NULL, 3]", [1, None, 3], "[1,null,3]"),
    ("[]::INTEGER[]", [], "[]"),
    ("[1, 2]::INTEGER[2]", [1, 2], "[1,2]"),
    ("[1.50]::DECIMAL(5,2)[]", [1.5], "[1.5]"),
    ("['a' || chr(10) || '\"']", ['a\n"'], '["a\\n\\""]'),
    ("[DATE '2026-01-02']", ["2026-01-02"], '["2026-01-02"]'),
    (
        "[[1.5, 'nan'::DOUBLE], ['inf'::DOUBLE, '-inf'::DOUBLE]]",
        [[1.5, None], [None, None]],
        "[[1.5,null],[null,null]]",
    ),
    ("[TIMESTAMP '2026-01-02 03:04:05.5', NULL]", ["2026-01-02T03:04:05.5Z", None], '["2026-01-02T03:04:05.5Z",null]'),
    (
        "[[TIMESTAMPTZ '2026-01-02 03:04:05+02'], [], NULL]",
        [["2026-01-02T01:04:05Z"], [], None],
        '[["2026-01-02T01:04:05Z"],[],null]',
    ),
    (
        "{'a b': TIMESTAMP '2026-01-02', 'c\"{}': [TIMESTAMP_S '2026-01-02 00:00:00'], 'd,(''': 1.5}",
        {"a b": "2026-01-02T00:00:00Z", 'c"{}': ["2026-01-02T00:00:00Z"], "d,('": 1.5},
        '{"a b":"2026-01-02T00:00:00Z","c\\"{}":["2026-01-02T00:00:00Z"],"d,(\'":1.5}',
    ),
    (
        "[{'t': {'u': TIMESTAMP '2026-01-02'}}, NULL]",
        [{"t": {"u": "2026-01-02T00:00:00Z"}}, None],
        '[{"t":{"u":"2026-01-02T00:00:00Z"}},null]',
    ),
    (
        "MAP {TIMESTAMP '2026-01-02': {'t': TIMESTAMP '2026-01-03'}}",
        {"2026-01-02T00:00:00Z": {"t": "2026-01-03T00:00:00Z"}},
        '{"2026-01-02T00:00:00Z":{"t":"2026-01-03T00:00:00Z"}}',
    ),
    ("NULL::STRUCT(t TIMESTAMP)", None, ""),
    ("{'TIMESTAMP': 'x'}", {"TIMESTAMP": "x"}, '{"TIMESTAMP":"x"}'),
    ("(TIMESTAMP '2026-01-02', 1, 'a')", ["2026-01-02T00:00:00Z", 1, "a"], '["2026-01-02T00:00:00Z",1,"a"]'),
    ("(1, 'a')", [1, "a"], '[1,"a"]'),
    ("{'a': 1, 'b': ['x']}", {"a": 1, "b": ["x"]}, '{"a":1,"b":["x"]}'),
    ("{'NaN': 'nan'::FLOAT, 'say': '\"NaN\\'}", {"NaN": None, "say": '"NaN\\'}, '{"NaN":null,"say":"\\"NaN\\\\"}'),
    ("MAP {'k': 1}", {"k": 1}, '{"k":1}'),
    ("union_value(n := 1)", {"n": 1}, '{"n":1}'),
    ("'a'::VARIANT", "a", "a"),
    ("1.5::DOUBLE::VARIANT", 1.5, "1.5"),
    ("'nan'::DOUBLE::VARIANT", None, "null"),
    ("""'{"a": [1, "x", null]}'::JSON::VARIANT""", {"a": [1, "x", None]}, '{"a":[1,"x",null]}'),
    ("""('{"a":' || chr(10) || ' 1}')::JSON""", {"a": 1}, '{"a":1}'),
    ("'null'::JSON", None, "null"),
]
TYPES = (
    "INTEGER HUGEINT DECIMAL(5,2) DOUBLE FLOAT BOOLEAN VARCHAR TIMESTAMP TIMESTAMPTZ TIMESTAMP_NS DATE TIME INTERVAL UUID"
    " BLOB BIT INTEGER[] INTEGER[2] DECIMAL(5,2)[] STRUCT(a|INTEGER) MAP(VARCHAR,INTEGER) VARIANT JSON"
).split()


@pytest.mark.parametrize(("expression", "value", "field"), CASES, ids=[case[0] for case in CASES])
def test_a_value_in_each_format(database: duckdb.DuckDBPyConnection, expression: str, value: Any, field: str) -> None:
    sql = f"SELECT {expression} AS v, 'end' AS e"
    assert strict(response(database, "json", sql))["rows"] == [[value, "end"]]
    assert strict(response(database, "ndjson", sql).splitlines()[0]) == {"v": value, "e": "end"}
    assert csv_rows(response(database, "csv", sql)) == [["v", "e"], [field, "end"]]


@pytest.mark.parametrize("kind", TYPES)
def test_null_of_each_type(database: duckdb.DuckDBPyConnection, kind: str) -> None:
    sql = f"SELECT NULL::{kind.replace('|', ' ')} AS v, 1 AS e"
    assert strict(response(database, "json", sql))["rows"] == [[None, 1]]
    assert strict(response(database, "ndjson", sql).splitlines()[0]) == {"v": None, "e": 1}
    assert response(database, "csv", sql) == b"v,e\r\n,1\r\n"


def test_exact_digits_reach_the_client(database: duckdb.DuckDBPyConnection) -> None:
    body = response(database, "json", "SELECT 1.10::DECIMAL(38,2), 12345678901234567890123456789.01::DECIMAL(38,2)")
    assert b"[1.10,12345678901234567890123456789.01]" in body


# ---- Whole responses ------------------------------------------------------------------------------------

SEVERAL = """SELECT i, 'line' || chr(10) || i AS text, {'a': i} AS doc FROM range(5) t(i) ORDER BY i"""


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_a_json_document_has_a_row_a_line(database: duckdb.DuckDBPyConnection, chunk: int) -> None:
    body = response(database, "json", SEVERAL, chunk)
    document = strict(body)
    assert document["columns"] == ["i", "text", "doc"]
    assert document["rows"] == [[n, f"line\n{n}", {"a": n}] for n in range(5)]
    types = ["BIGINT", "VARCHAR", "STRUCT(a BIGINT)"]
    assert document["meta"] == {"elapsed_ms": 7, "rows": 5, "truncated": False, "types": types}
    first, *lines, last = body.decode().splitlines()
    assert first.startswith('{"columns"')
    assert [strict(line.rstrip(",")) for line in lines] == document["rows"]
    assert last.startswith('], "meta"')


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_ndjson_ends_with_meta(database: duckdb.DuckDBPyConnection, chunk: int) -> None:
    *lines, last = response(database, "ndjson", SEVERAL, chunk).decode().splitlines()
    assert [strict(line) for line in lines] == [{"i": n, "text": f"line\n{n}", "doc": {"a": n}} for n in range(5)]
    assert strict(last)["meta"]["rows"] == 5


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_csv_has_a_header_and_quotes_what_needs_it(database: duckdb.DuckDBPyConnection, chunk: int) -> None:
    body = response(database, "csv", SEVERAL, chunk)
    assert body.startswith(b'i,text,doc\r\n0,"line\n0","{""a"":0}"\r\n')
    assert csv_rows(body)[1:] == [[str(n), f"line\n{n}", f'{{"a":{n}}}'] for n in range(5)]


def test_an_empty_result(database: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT 1 AS a, 'x' AS b WHERE false"
    document = strict(response(database, "json", sql))
    assert (document["columns"], document["rows"], document["meta"]["rows"]) == (["a", "b"], [], 0)
    (line,) = response(database, "ndjson", sql).splitlines()
    assert strict(line)["meta"]["types"] == ["INTEGER", "VARCHAR"]
    assert response(database, "csv", sql) == b"a,b\r\n"


def test_columns_of_the_same_name(database: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT 1 AS n, 2 AS n, 3 AS n_1, 4 AS n"
    document = strict(response(database, "json", sql))
    assert (document["columns"], document["rows"]) == (["n", "n", "n_1", "n"], [[1, 2, 3, 4]])
    line = strict(response(database, "ndjson", sql).splitlines()[0])
    assert sorted(line.values()) == [1, 2, 3, 4]
    assert (line["n"], line["n_1"]) == (1, 2)
    assert response(database, "csv", sql) == b"n,n,n_1,n\r\n1,2,3,4\r\n"


def test_column_names_of_any_kind(database: duckdb.DuckDBPyConnection) -> None:
    name = 'a "b", ž\n🐎'
    sql = f"""SELECT 1 AS "{name.replace('"', '""')}", 2 AS "select" """
    assert strict(response(database, "json", sql))["columns"] == [name, "select"]
    assert strict(response(database, "ndjson", sql).splitlines()[0]) == {name: 1, "select": 2}
    assert csv_rows(response(database, "csv", sql)) == [[name, "select"], ["1", "2"]]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_failure_midway_leaves_whole_json(database: duckdb.DuckDBPyConnection, rows: int) -> None:
    def failed(kind: str) -> bytes:
        encoder = TEXT_ENCODERS[kind](["a"], ["INTEGER"])
        body = encoder.head() + (encoder.rows([(1,)], first=True) if rows else b"")
        return body + (encoder.error("invalid_query", 'It "failed".') or b"cut")

    trailer = {"error": "invalid_query", "message": 'It "failed".'}
    assert strict(failed("json")) == {"columns": ["a"], "rows": [[1]] * rows, **trailer}
    assert strict(failed("ndjson").splitlines()[-1]) == trailer
    assert failed("csv").endswith(b"cut")
