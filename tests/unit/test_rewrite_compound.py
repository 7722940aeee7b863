"""Paths in compound places: set operations, joins USING, rows, structs and lists (``novamesh.sql.compound``)."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from novamesh.errors import QueryNotAllowed
from novamesh.sql import check
from novamesh.store.migrations import SPACE
from tests.unit.test_rewrite import connected, fill, plain

# one value in three spellings, numbers that text would order wrongly, text, lists, nothing
EVENTS: list[dict[str, Any]] = [
    {"k": 1, "n": 5, "s": "a", "tags": [1, "x"], "o": {"a": 2}},
    {"k": 1.0, "n": 100, "s": "b", "tags": [1.0, "x"], "o": {"a": 2.0}},
    {"k": "1", "n": 9, "s": "abc", "tags": ["1", "x"]},
    {"k": 20, "n": "x", "s": "abd"},
    {},
]


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connected(EVENTS)
    yield connection
    connection.close()


def rows(sql: str, engine: duckdb.DuckDBPyConnection, *, careful: bool = False) -> list[Any]:
    found: list[Any] = plain(engine.execute(check(sql, schema="p1", limit=1000, careful=careful).sql).fetchall())
    return found


N = "(SELECT properties.n AS n FROM events)"
UNITED = f"(SELECT n FROM {N} a UNION SELECT n FROM {N} b)"

KEYS: list[tuple[str, list[Any]]] = [
    (f"SELECT n FROM {UNITED} q ORDER BY n", [["5"], ["9"], ["100"], ["x"], [None]]),
    (f"SELECT n FROM {UNITED} q ORDER BY n DESC LIMIT 2", [["x"], ["100"]]),
    (f"SELECT sum(n), max(n), min(n) FROM {UNITED} q", [[114, "x", "5"]]),
    (f"SELECT count(*) FROM {UNITED} q WHERE n > 5", [[2]]),
    (f"SELECT count(*) FROM {UNITED} q JOIN events ON properties.n = q.n", [[4]]),
    (f"SELECT n, count(*) FROM {UNITED} q WHERE n < 10 GROUP BY n ORDER BY n", [["5", 1], ["9", 1]]),
    (
        f"SELECT n, lag(n) OVER (ORDER BY n) > 6 AS p FROM {UNITED} q WHERE n < 200 ORDER BY n",
        [["5", None], ["9", False], ["100", True]],
    ),
    (f"SELECT coalesce(n, 0) + 1 AS m FROM {UNITED} q ORDER BY m", [[1], [1], [6], [10], [101]]),
    (f"SELECT DISTINCT n FROM {UNITED} q UNION ALL SELECT n FROM {UNITED} r ORDER BY n LIMIT 3", [["5"], ["5"], ["9"]]),
    (
        "SELECT properties.n AS n FROM events INTERSECT SELECT properties.n FROM events ORDER BY n LIMIT 3",
        [["5"], ["9"], ["100"]],
    ),
    (
        "SELECT properties.n AS n, count(*) FROM events GROUP BY CUBE (properties.n) ORDER BY properties.n LIMIT 3",
        [["5", 1], ["9", 1], ["100", 1]],
    ),
    ("SELECT properties.n * 2 AS n FROM events GROUP BY ROLLUP (properties.n) ORDER BY n LIMIT 3", [[10], [18], [200]]),
    ("SELECT count(*) FROM events WHERE nullif(properties.n, properties.k) > 8", [[2]]),
    ("SELECT mode(properties.k), mode(properties.k) + 1 FROM events", [["1", 2]]),
    ("SELECT mode() WITHIN GROUP (ORDER BY properties.k) = 1 AS m FROM events", [[True]]),
]


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(("sql", "expected"), KEYS)
def test_keys_are_values(sql: str, expected: list[Any], careful: bool, engine: duckdb.DuckDBPyConnection) -> None:
    """What UNION, CUBE, nullif and mode make of paths is text that orders and counts as the value it stands for."""
    assert rows(sql, engine, careful=careful) == expected


A = "(SELECT user_id AS u, properties.k AS k FROM events)"
B = "(SELECT user_id AS v, properties.k AS k, properties.n AS n FROM events)"

JOINS: list[tuple[str, list[Any]]] = [
    (f"SELECT count(*) FROM {A} a JOIN {B} b USING (k)", [[10]]),
    (f"SELECT count(*) FROM {A} a NATURAL JOIN {B} b", [[10]]),
    (f"SELECT k, count(*) FROM {A} a JOIN {B} b USING (k) GROUP BY k ORDER BY k", [["1", 9], ["20", 1]]),
    (f"SELECT a.k, b.k FROM {A} a JOIN {B} b USING (k) WHERE k > 3", [["20", "20"]]),
    (f"SELECT * FROM {A} a JOIN {B} b USING (k) WHERE b.n = 'x'", [["4", "20", "4", "x"]]),
    (f"SELECT * EXCLUDE (k) FROM {A} a JOIN {B} b USING (k) WHERE b.n = 'x'", [["4", "4", "x"]]),
    (
        f"SELECT u, v, k FROM {A} a LEFT JOIN (SELECT * FROM {B} q WHERE v = '1') b USING (k) ORDER BY u",
        [["1", "1", "1"], ["2", "1", "1"], ["3", "1", "1"], ["4", None, "20"], ["5", None, None]],
    ),
    (
        f"SELECT u FROM {A} a SEMI JOIN (SELECT * FROM {B} q WHERE v = '1') b USING (k) ORDER BY u",
        [["1"], ["2"], ["3"]],
    ),
    (f"SELECT u FROM {A} a ANTI JOIN (SELECT * FROM {B} q WHERE v = '1') b USING (k) ORDER BY u", [["4"], ["5"]]),
    (f"SELECT k, u, v FROM {A} a FULL JOIN (SELECT 7 AS k, 'v' AS v) b USING (k) WHERE k = 7", [[7, None, "v"]]),
    (f"SELECT count(*) FROM {A} JOIN {B} USING (k)", [[10]]),
    (f"SELECT count(*) FROM {A} a JOIN {B} b USING (k) JOIN {A} c USING (k)", [[28]]),
    (f"WITH a AS {A}, b AS {B} SELECT count(*) FROM a JOIN b USING (k)", [[10]]),
    (f"WITH a AS {A} SELECT count(*) FROM a AS x JOIN a AS y USING (k)", [[10]]),
    (f"WITH a AS {A} SELECT count(*) FROM a AS x(u, kk) JOIN a AS y(w, kk) USING (kk)", [[10]]),
    (f"SELECT count(*) FROM ({A} a JOIN {B} b USING (k))", [[10]]),
    (f"SELECT count(*) FROM {A} a JOIN (SELECT 1.0 AS k) b USING (k)", [[3]]),
    (f"SELECT count(*) FROM {A} a JOIN (SELECT '20' AS k) b USING (k)", [[1]]),
    ("SELECT count(*) FROM (SELECT properties.k AS user_id FROM events) q JOIN events USING (user_id)", [[3]]),
    (f"SELECT count(*) FROM (SELECT * REPLACE (u::INT AS k) FROM {A} q) a JOIN {B} b USING (k)", [[3]]),
    (f"SELECT count(*) FROM (SELECT * EXCLUDE (k) FROM {A} q) a NATURAL JOIN (SELECT v AS u, k FROM {B} r) b", [[5]]),
]


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(("sql", "expected"), JOINS)
def test_joins_by_name(sql: str, expected: list[Any], careful: bool, engine: duckdb.DuckDBPyConnection) -> None:
    """``*`` has the columns it has without paths, and the joined one once, as text."""
    assert rows(sql, engine, careful=careful) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM events a JOIN events b USING (properties)",
        "SELECT count(*) FROM events a NATURAL JOIN events b",
        f"SELECT count(*) FROM {A} a ASOF JOIN {B} b USING (k)",
        f"SELECT count(*) FROM events, unnest(properties.tags) AS t(k) JOIN {B} b USING (k)",
    ],
)
def test_joins_by_name_that_are_refused(sql: str) -> None:
    with pytest.raises(QueryNotAllowed, match=r"write ON a\.k = b\.k"):
        check(sql, schema="p1", limit=1000)


STRUCTS = "(SELECT {'a': properties.k, 'b': properties.n} AS s, user_id FROM events)"

PARTS: list[tuple[str, list[Any]]] = [
    ("SELECT count(DISTINCT (properties.k, event)) FROM events", [[3]]),
    ("SELECT count(DISTINCT {'a': properties.k}) FROM events", [[3]]),
    ("SELECT count(DISTINCT [properties.k]) FROM events", [[3]]),
    ("SELECT count(*) AS n FROM events GROUP BY (properties.k, event) ORDER BY n", [[1], [1], [3]]),
    (
        "SELECT {'a': properties.k} AS s, count(*) AS n FROM events GROUP BY s ORDER BY n DESC LIMIT 1",
        [[{"a": "1"}, 3]],
    ),
    (f"SELECT s.a + 1, count(*) FROM {STRUCTS} q WHERE s.a > 1 GROUP BY s", [[21, 1]]),
    ("SELECT count(*) FROM (SELECT {'a': properties.k} AS s FROM events) q GROUP BY ALL", [[5]]),
    (
        "SELECT s, count(*) AS n FROM (SELECT {'a': properties.k} AS s FROM events WHERE properties.n < 50) q GROUP BY ALL",
        [[{"a": 1}, 2]],
    ),
    ("SELECT count(*) FROM (SELECT DISTINCT {'a': properties.k} FROM events) q", [[3]]),
    ("SELECT count(*) FROM (SELECT DISTINCT * FROM (SELECT [properties.k] AS l FROM events) r) q", [[3]]),
    ("SELECT {'a': properties.k} AS s FROM events INTERSECT SELECT {'a': 1} ORDER BY s.a", [[{"a": "1"}]]),
    (
        "SELECT DISTINCT ON (s) user_id FROM (SELECT {'a': properties.k} AS s, user_id FROM events) q ORDER BY s, user_id",
        [["1"], ["4"], ["5"]],
    ),
    ("SELECT max(n) FROM (SELECT count(*) OVER (PARTITION BY (properties.k, event)) AS n FROM events) q", [[3]]),
    ("SELECT user_id FROM events ORDER BY (properties.n, 1) DESC LIMIT 2", [["4"], ["2"]]),
    (f"SELECT user_id FROM {STRUCTS} q WHERE s.b > 50", [["2"]]),
    (f"SELECT sum(s.b), max(s.b) FROM {STRUCTS} q", [[114, "x"]]),
    (f"SELECT count(*) FROM {STRUCTS} q WHERE s = {{'a': 1, 'b': 5}}", [[1]]),
    (f"SELECT count(*) FROM {STRUCTS} q WHERE s IN ({{'a': '1', 'b': 5}}, {{'a': 1, 'b': 100}})", [[2]]),
    (f"SELECT count(*) FROM {STRUCTS} q JOIN {STRUCTS} r ON q.s = r.s", [[5]]),
    ("SELECT {'a': properties.k}.a = 1 AS y FROM events WHERE properties.n < 50", [[True], [True]]),
    ("SELECT r.s.a > 3 AS y FROM (SELECT {'s': {'a': properties.k}} AS r FROM events) q ORDER BY y LIMIT 1", [[False]]),
    ("SELECT row(properties.k, 1) = (1, 1) AS y FROM events WHERE properties.n < 50", [[True], [True]]),
    ("SELECT (properties.k, 1)[1] + 1 AS y FROM events WHERE properties.n < 50", [[2], [2]]),
    ("SELECT struct_extract(struct_pack(a := properties.k), 'a') > 3 AS y FROM events WHERE user_id = '4'", [[True]]),
    ("SELECT coalesce({'a': properties.k}, {'a': 0}).a + 1 AS y FROM events WHERE user_id = '4'", [[21]]),
    ("SELECT any_value(properties.o).a + 1 AS y FROM events", [[3]]),
    (
        "SELECT max((properties.n, 1)), min({'a': properties.n}) FROM events WHERE properties.n < 200",
        [[[100, 1], {"a": 5}]],
    ),
    (
        "SELECT unnest(list({'a': properties.n})).a > 8 AS y FROM events WHERE properties.n < 200 ORDER BY y",
        [[False], [True], [True]],
    ),
    (
        "SELECT count(*) FROM events WHERE (properties.k, properties.n) IN (SELECT properties.k, properties.n FROM events)",
        [[4]],
    ),
    (
        "SELECT count(*) FROM events WHERE (properties.k, user_id) NOT IN (SELECT * FROM (SELECT properties.k, '2' FROM events WHERE user_id = '1') q)",
        [[4]],
    ),
    (
        "SELECT count(*) FROM events WHERE properties.k IN (SELECT * FROM (SELECT properties.k FROM events WHERE user_id = '1') q)",
        [[3]],
    ),
    (
        "SELECT count(*) FROM events WHERE properties.k IN (SELECT properties.k FROM events WHERE user_id = '1' UNION ALL SELECT 20)",
        [[4]],
    ),
    (
        "SELECT count(*) FROM events WHERE properties.k = ANY (SELECT * FROM (SELECT properties.k FROM events WHERE user_id = '1') q)",
        [[3]],
    ),
]

LISTS: list[tuple[str, list[Any]]] = [
    (
        "SELECT [properties.k] = [1], [properties.k, properties.n] <> [1, 100] FROM events WHERE user_id < '3'",
        [[True, True], [True, False]],
    ),
    ("SELECT count(*) FROM events WHERE properties.tags = [1, 'x']", [[3]]),
    ("SELECT count(*) FROM events a JOIN events b ON [a.properties.k] = [b.properties.k]", [[11]]),
    ("SELECT len(list_distinct(list(properties.k))), list_unique(list(properties.k)) FROM events", [[2, 2]]),
    (
        "SELECT list_sort(list(properties.n)), list_reverse_sort(list(properties.n)), list_grade_up(list(properties.n)) FROM events",
        [[[5, 9, 100, "x", None], ["x", 100, 9, 5, None], [1, 3, 2, 4, 5]]],
    ),
    (
        "SELECT list_sort(properties.tags), list_reverse(properties.tags) FROM events WHERE user_id = '2'",
        [[[1, "x"], ["x", 1]]],
    ),
    (
        "SELECT list_contains(properties.tags, '1'), list_contains(properties.tags, 1), list_contains(properties.tags, properties.k) FROM events WHERE user_id < '4'",
        [[True, True, True]] * 3,
    ),
    (
        "SELECT '1' IN properties.tags, 1 IN properties.tags, properties.k IN properties.tags, 'x' IN properties.tags, 'y' IN properties.tags FROM events WHERE user_id < '4'",
        [[True, True, True, True, False]] * 3,
    ),
    (
        "SELECT list_contains([1, 20], properties.k), list_contains(['1', 'x'], properties.k), list_position([20, 1.0], properties.k) FROM events WHERE user_id < '3'",
        [[True, True, 2]] * 2,
    ),
    (
        "SELECT list_has_any(properties.tags, ['1']), list_has_all([1, 'x', 3], properties.tags), properties.tags @> ['1'] FROM events WHERE user_id < '4'",
        [[True, True, True]] * 3,
    ),
    (
        "SELECT properties.n = ANY (list) FROM events, (SELECT list(properties.n) AS list FROM events) q WHERE user_id < '3'",
        [[True], [True]],
    ),
    (
        "SELECT list_sum(properties.tags), list_max(list(properties.n)) FROM events WHERE user_id = '3' GROUP BY properties.tags",
        [[1, 9]],
    ),
    ("SELECT list_aggregate(list(properties.n), 'max') FROM events", [[100]]),
    (
        "SELECT list_filter(list(properties.n), lambda x: x > 8), [x + 1 FOR x IN list(properties.n) IF x > 8] FROM events",
        [[[100, 9], [101, 10]]],
    ),
    (
        "SELECT list_append(properties.tags, 'y'), list_prepend('y', properties.tags), list_append(['y'], properties.k) FROM events WHERE user_id = '1'",
        [[[1, "x", "y"], ["y", 1, "x"], ["y", "1"]]],
    ),
    ("SELECT DISTINCT properties.s[1:2] AS two FROM events ORDER BY two", [["a"], ["ab"], ["b"], [None]]),
    (
        "SELECT properties.tags[1:1], properties.tags[1:1] = [1], len(properties.tags[2:]) FROM events WHERE user_id < '3'",
        [[[1], True, 1]] * 2,
    ),
    ("SELECT map([properties.s], [properties.n])['a'] + 1 AS y FROM events WHERE user_id = '1'", [[6]]),
    ("SELECT MAP {properties.s: properties.n}['a'] + 1 AS y FROM events WHERE user_id = '1'", [[6]]),
    (
        "SELECT MAP {'1': 5}[properties.k], map_extract(MAP {'1': 5}, properties.k), element_at(MAP {'1': 5}, properties.k) FROM events WHERE user_id = '2'",
        [[5, [5], [5]]],
    ),
]

EXTREMES: list[tuple[str, list[Any]]] = [
    ("SELECT max(DISTINCT properties.n), min(DISTINCT properties.n) FROM events", [["x", 5]]),
    ("SELECT max(DISTINCT properties.n) FILTER (WHERE properties.n < 50) FROM events", [[9]]),
    ("SELECT max(properties.n, 2), min(properties.n, 2) FROM events", [[["x", 100], [5, 9]]]),
    ("SELECT min(properties.n, 2)[1] + 1 AS y FROM events", [[6]]),
    ("SELECT max(properties.n, 2) FILTER (WHERE properties.k = 1) FROM events", [[[100, 9]]]),
    (
        "SELECT arg_max(user_id, properties.n, 2), arg_min(properties.n, properties.n, 2)[2] + 1 FROM events",
        [[["4", "2"], 10]],
    ),
]


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(("sql", "expected"), PARTS + LISTS + EXTREMES)
def test_parts(sql: str, expected: list[Any], careful: bool, engine: duckdb.DuckDBPyConnection) -> None:
    """Paths in rows, structs, lists and maps are compared, grouped and ordered as they are alone."""
    assert rows(sql, engine, careful=careful) == expected


GROUPS: list[tuple[str, list[Any]]] = [
    ("SELECT properties -> 'k', count(*) AS n FROM events GROUP BY 1 ORDER BY n DESC LIMIT 1", [[1, 3]]),
    ("SELECT (properties -> 'k') AS g, count(*) AS n FROM events GROUP BY g ORDER BY n DESC LIMIT 1", [[1, 3]]),
    ("SELECT count(*) AS n FROM events GROUP BY properties -> 'k' ORDER BY n", [[1], [1], [3]]),
    (
        "SELECT properties -> 'o' -> 'a' AS a, count(*) FROM events GROUP BY properties -> 'o' -> 'a' ORDER BY a",
        [[2, 2], [None, 3]],
    ),
    ("SELECT properties -> 'tags' -> 1 AS a, count(*) FROM events GROUP BY ALL ORDER BY a", [["x", 3], [None, 2]]),
    (
        "SELECT properties -> 'k' AS k, count(*) FROM events GROUP BY ROLLUP (properties -> 'k') ORDER BY k LIMIT 1",
        [["1", 3]],
    ),
    ("SELECT properties.k AS p, count(*) FROM events WHERE p = '1' GROUP BY p", [[1, 3]]),
    (
        "SELECT properties.k AS p, count(*) FROM events WHERE p > 1 OR p IS NULL GROUP BY 1 ORDER BY p",
        [[20, 1], [None, 1]],
    ),
    ("SELECT properties.k AS p, properties.k + 1 AS q FROM events WHERE q > 3 GROUP BY p", [[20, 21]]),
    ("SELECT properties -> 'k' AS p, count(*) FROM events WHERE p = 1 GROUP BY ALL", [[1, 3]]),
    ("SELECT properties.n AS event, count(*) FROM events WHERE event = 'v' GROUP BY 1 ORDER BY 1 LIMIT 1", [[5, 1]]),
    ("SELECT properties.k AS p FROM events WHERE p IN (SELECT p FROM (SELECT 20 AS p) q) GROUP BY p", [[20]]),
]

MIXED: list[tuple[str, list[Any]]] = [
    (
        "SELECT properties.k IN (1.0, 'a'), properties.k NOT IN (1.00, 'a'), properties.k IN ('a', 20.50) FROM events WHERE user_id = '1'",
        [[True, False, False]],
    ),
    ("SELECT properties.s NOT IN (1, 'a') AS y FROM events WHERE user_id = '2'", [[True]]),
    (
        "SELECT CASE properties.k WHEN -1.0 THEN 'minus' WHEN 1.0 THEN 'one' WHEN 'a' THEN 'a' END AS y FROM events WHERE user_id = '3'",
        [["one"]],
    ),
    (
        "SELECT properties.k IN (20, event), properties.k IN (true, '1') FROM events WHERE user_id = '4'",
        [[True, False]],
    ),
]


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(("sql", "expected"), GROUPS + MIXED)
def test_groups_and_mixed_lists(
    sql: str, expected: list[Any], careful: bool, engine: duckdb.DuckDBPyConnection
) -> None:
    assert rows(sql, engine, careful=careful) == expected


SPELLED: list[tuple[str, list[Any]]] = [
    (
        "SELECT properties ->> 'o', properties.tags::VARCHAR, (properties.o::VARCHAR) FROM events WHERE user_id = '1'",
        [['{"a":2}', '[1,"x"]', '{"a":2}']],
    ),
    (
        "SELECT properties ->> 's', properties.k::VARCHAR, properties.o.a::VARCHAR FROM events WHERE user_id = '2'",
        [["b", "1.0", "2.0"]],
    ),
    ("SELECT o::VARCHAR AS t FROM (SELECT properties.o AS o FROM events) q ORDER BY t LIMIT 1", [['{"a":2.0}']]),
    (
        "SELECT e.properties.o::VARCHAR FROM events e JOIN events f ON e.user_id = f.user_id WHERE f.properties ->> 'o' IS NOT NULL AND f.user_id = '1'",
        [['{"a":2}']],
    ),
]


@pytest.mark.parametrize("careful", [False, True], ids=["", "careful"])
@pytest.mark.parametrize(("sql", "expected"), SPELLED)
def test_text_of_lists_and_objects(
    sql: str, expected: list[Any], careful: bool, engine: duckdb.DuckDBPyConnection
) -> None:
    assert rows(sql, engine, careful=careful) == expected


def test_text_that_looks_like_json_is_itself() -> None:
    sent = ['{"a": 1}', "[x", "{", '"', ""]
    with duckdb.connect() as connection:
        connection.execute(SPACE.format(schema="p1"))
        fill(connection, [{"t": text} for text in sent])
        assert rows("SELECT properties ->> 't' FROM events ORDER BY user_id", connection) == [[text] for text in sent]


def test_json_is_read_below_the_view_and_only_where_the_text_looks_like_it() -> None:
    """Outside the CASE it would be read of every event."""
    sql = check("SELECT properties ->> 'page' FROM events", schema="p1", limit=10).sql
    shown, tables = sql.split(" FROM ", 1)
    assert "JSON" not in shown
    assert (
        tables.count("THEN json_extract_string(CAST(properties['page'] AS JSON), '$') ELSE CAST(")
        == tables.count("AS JSON")
        == 2
    )
