"""What is read of the tables behind ``events``, and that it gives what the view gives."""

from collections.abc import Iterator

import duckdb
import pytest

from novamesh.sql.guard import check
from novamesh.sql.hoist import Extent
from tests.unit.store_files import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Three events as VARIANT, two as JSON."""
    with Store(tmp_path_factory.mktemp("hoist") / "data", max_shredded_paths=1) as store:
        store.take([{"event": name, "properties": {"k": 1}} for name in ("a", "b", "b")])
        store.take([{"event": name, "properties": {"other": name}} for name in ("a", "c")])
        yield store


def run(store: Store, sql: str) -> list[tuple[object, ...]]:
    return store.rows(check(sql, schema="p_default", limit=100).sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) FROM events", [(5,)]),
        ("SELECT count() FROM events AS e", [(5,)]),
        ("SELECT count() AS n, count(*) * 2, 'x' FROM events", [(5, 10, "x")]),
        ("SELECT count(*) FROM events UNION ALL SELECT count() FROM events", [(5,), (5,)]),
        ("WITH t AS (SELECT count(*) AS n FROM events) SELECT n + 1 FROM t", [(6,)]),
        ("SELECT 1 WHERE 5 = (SELECT count(*) FROM events)", [(1,)]),
    ],
)
def test_counts_are_not_read(store: Store, sql: str, expected: list[tuple[object, ...]]) -> None:
    assert '"events_plain") AS' in check(sql, schema="p_default", limit=100).sql
    assert run(store, sql) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) FROM events WHERE event = 'b'", [(2,)]),
        ("SELECT count(*), max(event) FROM events", [(5, "c")]),
        ("SELECT count(*) FILTER (event = 'a') FROM events", [(2,)]),
        ("SELECT count(event) FROM events", [(5,)]),
        ("SELECT count(DISTINCT event) FROM events", [(3,)]),
        ("SELECT count(*) FROM events GROUP BY event ORDER BY 1", [(1,), (2,), (2,)]),
        ("SELECT count(*) FROM events, events e", [(25,)]),
        ("SELECT count(*) FROM (SELECT * FROM events LIMIT 2)", [(2,)]),
        ("SELECT DISTINCT count(*) OVER () FROM events", [(5,)]),
        ("SELECT count(*) FROM events HAVING count(*) > 5", []),
        ("SELECT count(*), EXISTS (SELECT count(*) FROM quarantine HAVING count(*) > 0) FROM events", [(5, False)]),
        ("SELECT 1 FROM events", [(1,)] * 5),
    ],
)
def test_other_counts_are(store: Store, sql: str, expected: list[tuple[object, ...]]) -> None:
    assert "__nm_n" not in check(sql, schema="p_default", limit=100).sql
    assert run(store, sql) == expected


def test_a_count_within_an_extent_is_one_of_its_events(store: Store) -> None:
    sql = check("SELECT count(*) FROM events", schema="p_default", limit=None, extent=Extent(2, 1)).sql
    assert store.rows(sql) == [(3,)]


@pytest.mark.parametrize(
    ("sql", "columns", "expected"),
    [
        ("SELECT count(*) FROM events WHERE event = 'b'", '"event"', [(2,)]),
        ("SELECT count(*) FROM events e WHERE e.event = 'b' AND Timestamp IS NOT NULL", '"event", "timestamp"', [(2,)]),
        ("SELECT count(*) FROM events WHERE 1 = 1", '"timestamp"', [(5,)]),
        (
            "SELECT count(*) FROM events WHERE properties.k = 1",
            "TRY_CAST(CAST(properties['k'] AS TEXT) AS DOUBLE) AS",
            [(3,)],
        ),
        (
            "SELECT event AS properties, sum(properties.k) FROM events GROUP BY 1 ORDER BY 1",
            '"event", ',
            [("a", 1.0), ("b", 2.0), ("c", None)],
        ),
        (
            "SELECT count(*) FROM events a WHERE EXISTS (SELECT 1 FROM events b WHERE b.event = a.event AND b.id <> a.id)",
            '"id", "event"',
            [(4,)],
        ),
        (
            "SELECT count(*), sum(a.properties.k) FROM events a JOIN (SELECT event FROM events) b USING (event)",
            '"event", ',
            [(9, 6.0)],
        ),
    ],
)
def test_only_columns_that_are_named_are_read(
    store: Store, sql: str, columns: str, expected: list[tuple[object, ...]]
) -> None:
    assert f"FROM (SELECT {columns}" in check(sql, schema="p_default", limit=100).sql
    assert run(store, sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT *, properties.k FROM events",
        "SELECT e.*, properties.k FROM events e",
        "SELECT usr_id, properties.k FROM events",
        "SELECT e, properties.k FROM events e",
        "SELECT count(*), max(properties.k) FROM events NATURAL JOIN (SELECT id FROM events)",
    ],
)
def test_all_columns_are_where_it_cannot_be_told(sql: str) -> None:
    assert "FROM (SELECT *, " in check(sql, schema="p_default", limit=100).sql


def test_a_column_that_does_not_exist_is_told_with_those_that_do(store: Store) -> None:
    with pytest.raises(duckdb.BinderException, match="user_id"):
        run(store, "SELECT usr_id, properties.k FROM events")
