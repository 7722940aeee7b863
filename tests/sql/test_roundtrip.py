"""What analysts ask, asked twice: of a node without casts, and of a bare DuckDB in SQL that casts everything."""

import base64
import json
import math
import uuid
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pytest

from tests.sql.analytic_events import BATCH_CONTEXT, Event, events
from tests.support import RunningNode, running_node


class Case(NamedTuple):
    """One question: as users ask it, and as bare DuckDB must be asked. ``known``: why the node's answer is still wrong."""

    name: str
    api: str
    bare: str
    columns: tuple[str, ...] = ()
    known: str = ""


def _cases() -> list[Case]:
    """Long statements are lists of lines."""
    rows = json.loads((Path(__file__).parents[1] / "data" / "sql" / "analytic.json").read_text("utf-8"))
    for row in rows:
        row.update({form: "\n".join(row[form]) for form in ("api", "bare") if isinstance(row[form], list)})
    return [Case(**{**row, "columns": tuple(row.get("columns", ()))}) for row in rows]


CASES: Final = _cases()


@pytest.fixture(scope="module")
def sent() -> list[Event]:
    return events()


@pytest.fixture(scope="module")
def node(sent: list[Event], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that holds all events."""
    with running_node(tmp_path_factory.mktemp("roundtrip") / "data", workers=1) as node:
        node.send(sent, context=BATCH_CONTEXT)
        node.wait_for_count(len(sent))
        yield node


@pytest.fixture(scope="module")
def bare(sent: list[Event]) -> Iterator[duckdb.DuckDBPyConnection]:
    """The same rows in a database that knows nothing of the product."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute("CREATE TABLE sent (line JSON)")
        connection.executemany("INSERT INTO sent VALUES (?)", [[json.dumps(_row(event))] for event in sent])
        connection.execute(
            """
            CREATE TABLE events AS SELECT line ->> '$.event' AS event, line ->> '$.user_id' AS user_id,
                (line ->> '$.timestamp')::TIMESTAMP AS "timestamp", line -> '$.properties' AS p, line -> '$.context' AS c
            FROM sent
            """
        )
        connection.execute("CREATE MACRO txt(document, path) AS json_extract_string(document, path)")
        connection.execute("CREATE MACRO num(document, path) AS TRY_CAST(txt(document, path) AS DOUBLE)")
        yield connection


def _row(event: Event) -> Event:
    return {**event, "context": {**BATCH_CONTEXT, **event["context"]}}


def _parameters() -> list[Any]:
    return [
        pytest.param(
            case, id=case.name, marks=[pytest.mark.xfail(reason=case.known, strict=True)] if case.known else []
        )
        for case in CASES
    ]


@pytest.mark.parametrize("case", _parameters())
def test_the_same_answer(node: RunningNode, bare: duckdb.DuckDBPyConnection, case: Case) -> None:
    answer = node.query(case.api, limit=50_000)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    wanted = _bare_rows(bare, case.bare)
    assert wanted, "a query without rows compares nothing"
    rows = found["rows"]
    if not (_is_ordered(case.api) and _is_ordered(case.bare)):
        rows, wanted = sorted(rows, key=_sort_key), sorted(wanted, key=_sort_key)
    assert len(rows) == len(wanted)
    for place, (one, other) in enumerate(zip(rows, wanted, strict=True)):
        assert _same(one, other), f"row {place}: {one} of the node, {other} of DuckDB"
    if case.columns:
        assert tuple(found["columns"]) == case.columns


def test_names_are_distinct() -> None:
    for field in ("name", "api"):
        values = [getattr(case, field) for case in CASES]
        assert sorted(values) == sorted(set(values))


# -- the answers of DuckDB in the form of the API -------------------------------------------------------------------------


def _bare_rows(bare: duckdb.DuckDBPyConnection, sql: str) -> list[list[Any]]:
    result = bare.execute(sql)
    is_json = [str(column[1]) == "JSON" for column in result.description or []]
    return [
        [
            json.loads(value) if parse and value is not None else _plain(value)
            for value, parse in zip(row, is_json, strict=True)
        ]
        for row in result.fetchall()
    ]


def _plain(value: Any) -> Any:
    """A value as JSON holds it. Inside lists and structs times are text already: those queries cast them."""
    if isinstance(value, datetime):
        text = value.isoformat()
        return (text.rstrip("0") if "." in text else text) + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


# -- comparing ------------------------------------------------------------------------------------------------------------


def _is_ordered(sql: str) -> bool:
    """Whether the last ORDER BY stands outside all brackets."""
    tail = sql[sql.rfind("ORDER BY") :] if "ORDER BY" in sql else ")"
    return tail.count("(") == tail.count(")")


def _sort_key(value: Any) -> Any:
    """Any order that does not depend on a float's last digits."""
    if isinstance(value, list):
        return [_sort_key(item) for item in value]
    if isinstance(value, dict):
        return "dict", json.dumps({key: _sort_key(item) for key, item in value.items()}, sort_keys=True)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", f"{value:.6g}"
    return type(value).__name__, str(value)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in found)
    if isinstance(found, float) or isinstance(wanted, float):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (found, wanted))
        return numbers and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
    return type(found) is type(wanted) and bool(found == wanted)
