"""A condition on ``timestamp`` keeps a query away from the row groups that cannot hold what it asks for."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from novamesh.sql.guard import check
from novamesh.store.contract import schema_for
from novamesh.store.migrations import SPACE

SCHEMA = schema_for("default")
# Forty days of events in each table, a row group about six days of them.
ROWS, DAYS = 860_000, 40


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    path = tmp_path_factory.mktemp("pruning") / "store.duckdb"
    with duckdb.connect(path, config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(SPACE.format(schema=SCHEMA))
        for table, kind in (("events_shredded", "VARIANT"), ("events_plain", "JSON")):
            connection.execute(
                f"""INSERT INTO "{SCHEMA}".{table} BY NAME
                SELECT uuid() AS id, 'e' AS event, '{{"a": 1}}'::JSON::{kind} AS properties, "at" AS received_at,
                       "at" AS "timestamp"
                FROM (SELECT now()::TIMESTAMP - INTERVAL {DAYS} DAY + i * INTERVAL {DAYS} DAY / {ROWS} AS "at"
                      FROM range({ROWS}) t(i))"""
            )
        connection.execute("CHECKPOINT")
        yield connection


def scans(database: duckdb.DuckDBPyConnection, sql: str) -> dict[str, tuple[int, int]]:
    """Of each table the row groups that the guard's text for a query reads, and those there are."""
    text = check(sql, schema=SCHEMA, limit=1000).sql
    row = database.execute("EXPLAIN (ANALYZE, FORMAT json) " + text).fetchone()
    assert row is not None
    found: dict[str, tuple[int, int]] = {}
    nodes: list[Any] = [json.loads(row[1])]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        if not isinstance(node, dict):
            continue
        nodes += node.values()
        if node.get("type") == "TABLE_SCAN":
            table = node["extra_info"]["Table"].rpartition(".")[2]
            found[table] = (node["row_groups_scanned"], node["total_row_groups_to_scan"])
    return found


@pytest.mark.parametrize("select", ["count()", "sum(properties.a)"])
@pytest.mark.parametrize(
    "condition",
    [
        "timestamp >= now() - INTERVAL 1 DAY",
        "timestamp >= now() - INTERVAL '1 day' AND timestamp < now()",
        "timestamp > today() - 1",
        "timestamp BETWEEN now() - INTERVAL 3 DAY AND now() - INTERVAL 2 DAY",
        "received_at >= now() - INTERVAL 1 DAY",
        "timestamp > now() - INTERVAL 1 HOUR AND properties.a = 1",
        "event = 'e' AND timestamp > current_timestamp - INTERVAL 1 HOUR",
    ],
)
def test_a_few_row_groups_are_read(database: duckdb.DuckDBPyConnection, condition: str, select: str) -> None:
    found = scans(database, f"SELECT {select} FROM events WHERE {condition}")
    assert found.keys() == {"events_shredded", "events_plain"}
    for read, there in found.values():
        assert 1 <= read <= 2
        assert there > 5


def test_a_literal_time_prunes_too(database: duckdb.DuckDBPyConnection) -> None:
    row = database.execute("SELECT strftime(now()::TIMESTAMP - INTERVAL 1 DAY, '%Y-%m-%dT%H:%M:%SZ')").fetchone()
    assert row is not None
    found = scans(database, f"SELECT count() FROM events WHERE timestamp >= '{row[0]}'")
    assert [read <= 2 for read, _ in found.values()] == [True, True]


def test_without_a_condition_all_are_read(database: duckdb.DuckDBPyConnection) -> None:
    found = scans(database, "SELECT sum(properties.a) FROM events")
    assert [read == there for read, there in found.values()] == [True, True]
