"""What docs/sql.md shows works: every query, expression, value and name of it is tried on a node."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.api import docs_outputs
from tests.api.docs_events import shop_events
from tests.support import RunningNode, running_node

PAGE = (Path(__file__).parents[2] / "docs/sql.md").read_text()

Block = tuple[str, str]


def blocks() -> list[Block]:
    """The queries, each with the heading it stands under."""
    found, heading = [], ""
    for match in re.finditer(r"^#+ ([^\n]+)$|^```sql\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        heading = match[1] or heading
        if match[2]:
            found.append((heading, match[2].strip()))
    return found


def table(text: str, header: str) -> list[list[str]]:
    """The cells of the table whose header line begins with ``header``."""
    lines = text.partition(f"\n{header}")[2].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" |")])
    return rows


def code(cell: str) -> list[str]:
    """The pieces of code in a cell."""
    return [a or b for a, b in re.findall(r"`` (.+?) ``|`([^`]+)`", cell)]


CASTS = table(PAGE, "| sent |")
COOKBOOK = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
EMPTY = {"Quarantine"}  # a node that works has nothing in it
IDIOMS = [piece for row in table(PAGE, "| written | the same") for cell in row for piece in code(cell)]
INSTEAD = [piece for row in table(PAGE, "| there |") for piece in code(row[1])][:-1]
NAMES = [(piece, code(name)[0]) for cell, name in table(PAGE, "| expression |") for piece in code(cell)]
VALUES = table(PAGE, "| type | SQL |")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with the shop's events, and with an event for each row of the table of casts."""
    with running_node(tmp_path_factory.mktemp("shop") / "data", workers=1) as node:
        events = shop_events(datetime.now(UTC))
        events += [{"event": "cast", "properties": {"v": json.loads(code(row[0])[0])}} for row in CASTS]
        node.send(events)
        node.settle()
        yield node


@pytest.fixture(scope="module")
def fixed(shop: RunningNode) -> RunningNode:
    return docs_outputs.with_fixed_events(shop)


def answer_to(node: RunningNode, sql: str) -> dict[str, Any]:
    answer = node.query(sql)
    assert answer.status_code == 200, f"{answer.text}\n{sql}"
    document: dict[str, Any] = answer.json()
    return document


def test_there_is_something_to_try() -> None:
    assert len(blocks()) > len(COOKBOOK) >= 20
    assert len(CASTS) == 10
    assert len(IDIOMS) > 100
    assert len(INSTEAD) > 10
    assert len(NAMES) > 10
    assert len(VALUES) > 15


@pytest.mark.parametrize(("heading", "sql"), blocks(), ids=lambda text: text.split("\n")[0])
def test_queries(shop: RunningNode, heading: str, sql: str) -> None:
    document = answer_to(shop, sql)
    assert "?column?" not in document["columns"]
    if heading not in EMPTY:
        assert document["rows"]


@pytest.mark.parametrize("heading", COOKBOOK)
def test_outputs(fixed: RunningNode, heading: str) -> None:
    """What is shown below a query is what it gives."""
    sql, shown = docs_outputs.queries(PAGE)[heading]
    assert shown == docs_outputs.output(docs_outputs.answer(fixed, sql)), "if the new output is right, run scripts/docs"
    assert (heading in EMPTY) == (docs_outputs.NO_ROWS in shown)


@pytest.mark.parametrize("expression", IDIOMS + INSTEAD)
def test_idioms(shop: RunningNode, expression: str) -> None:
    sql = expression if expression.startswith("SELECT ") else f"SELECT {expression} FROM events"
    answer_to(shop, sql)


@pytest.mark.parametrize(("expression", "name"), NAMES)
def test_names(shop: RunningNode, expression: str, name: str) -> None:
    assert answer_to(shop, f"SELECT {expression} FROM events LIMIT 1")["columns"] == [name]


@pytest.mark.parametrize("row", VALUES, ids=lambda row: row[0])
def test_values(shop: RunningNode, row: list[str]) -> None:
    (sql,), (shown,), in_csv = code(row[1]), code(row[2]), "".join(code(row[3]))
    assert shop.query(f"SELECT {sql} AS v").text.splitlines()[1] == f"[{shown}]"
    assert shop.query(f"SELECT {sql} AS v", format="ndjson").text.splitlines()[0] == f'{{"v":{shown}}}'
    assert shop.query(f"SELECT {sql} AS v, 1 AS n", format="csv").text == f"v,n\r\n{in_csv},1\r\n"


def test_casts(shop: RunningNode) -> None:
    types = re.findall(r"`::(\w+)`", PAGE.partition("\n| sent |")[2].partition("\n")[0])
    values = ", ".join(f"properties.v::{kind}" for kind in types)
    rows = answer_to(shop, f"SELECT {values} FROM events WHERE event = 'cast' ORDER BY id")["rows"]
    assert rows == [[json.loads(code(cell)[0]) for cell in row[1:]] for row in CASTS]


def test_paths(shop: RunningNode) -> None:
    for cell, _ in table(PAGE, "| written |"):
        for path in code(cell):
            answer_to(shop, f"SELECT {path} FROM events AS e WHERE {path} IS NOT NULL")


def test_one_value_is_one_value_and_order_is_by_number(shop: RunningNode) -> None:
    mixed = "FROM events WHERE event = 'mixed'"
    assert shop.rows(f"SELECT count() {mixed} AND properties.value = 1") == [[3]]
    assert shop.rows(f"SELECT count() {mixed} AND properties.value = '1'") == [[3]]
    groups = shop.rows(f"SELECT properties.value, count() {mixed} GROUP BY 1 ORDER BY 1")
    assert groups[0][1] == 3
    assert [value for value, _ in groups[1:4]] == [9.5, 10, 9007199254740993]
    assert groups[-1] == [None, 2]
    assert shop.rows(f"SELECT properties.value {mixed} ORDER BY 1 DESC")[-2:] == [[None], [None]]


def test_null_and_absent(shop: RunningNode) -> None:
    sql = (
        "SELECT json_type(properties, '$.value'), variant_exists(properties, 'value') FROM events"
        " WHERE event = 'mixed' AND properties.value IS NULL ORDER BY 1"
    )
    assert shop.rows(sql) == [["NULL", True], [None, False]]


def test_integers_beyond_2_to_the_53(shop: RunningNode) -> None:
    sql = "SELECT sum(properties.value::BIGINT), sum(properties.value) FROM events WHERE properties.value = 9007199254740993"
    assert shop.rows(sql) == [[9007199254740993, 9007199254740992.0]]


def test_days_are_counted_by_midnights(shop: RunningNode) -> None:
    evening, morning = "TIMESTAMP '2026-01-30 23:00:00'", "TIMESTAMP '2026-01-31 01:00:00'"
    assert shop.rows(f"SELECT date_diff('day', {evening}, {morning}), date_sub('day', {evening}, {morning})") == [
        [1, 0]
    ]


def test_the_week_of_a_month_starts_on_monday(shop: RunningNode) -> None:
    assert shop.rows("SELECT date_trunc('week', DATE '2026-02-01')::DATE") == [["2026-01-26"]]


def test_the_events_are_of_now() -> None:
    now = datetime.now(UTC)
    last = max(datetime.fromisoformat(event["timestamp"]) for event in shop_events(now))
    assert timedelta(0) < now - last < timedelta(hours=1)
