"""Every idiom of ClickHouse and PostgreSQL on a node: the rows of the form that DuckDB has for it."""

from collections.abc import Iterator

import pytest

from tests.api import idiom_cases, idiom_families
from tests.support import RunningNode, running_node

EXPRESSIONS = [*idiom_cases.TIMES, *idiom_cases.VALUES, *idiom_families.EXPRESSIONS]
AGGREGATES = [*idiom_cases.AGGREGATES, *idiom_families.AGGREGATES]
STATEMENTS = [*idiom_cases.STATEMENTS, *idiom_families.STATEMENTS]

Pair = tuple[str, str]


@pytest.fixture(scope="module")
def idiomatic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that holds the events of the cases and no others."""
    with running_node(tmp_path_factory.mktemp("idioms") / "data", workers=1) as node:
        node.send(idiom_cases.EVENTS)
        node.wait_for_count(len(idiom_cases.EVENTS))
        yield node


def first_of(pair: Pair) -> str:
    return pair[0]


@pytest.mark.parametrize("pair", AGGREGATES, ids=first_of)
def test_aggregates(idiomatic: RunningNode, pair: Pair) -> None:
    found, wanted = (idiomatic.rows(f"SELECT {aggregate} AS v FROM events") for aggregate in pair)
    assert found == wanted
    assert found != [[None]]


@pytest.mark.parametrize("pair", EXPRESSIONS, ids=first_of)
def test_expressions(idiomatic: RunningNode, pair: Pair) -> None:
    found, wanted = (idiomatic.rows(f"SELECT {value} AS v FROM events ORDER BY id") for value in pair)
    assert found == wanted
    assert len(found) == len(idiom_cases.EVENTS)


@pytest.mark.parametrize("pair", STATEMENTS, ids=first_of)
def test_statements(idiomatic: RunningNode, pair: Pair) -> None:
    found, wanted = map(idiomatic.rows, pair)
    assert found == wanted
    assert found


def test_columns_are_named_as_they_were_written(idiomatic: RunningNode) -> None:
    sql = (
        "SELECT toDate(timestamp), uniq(user_id), quantile(0.5)(properties.ms), sumIf(properties.ms, true),"
        " isNull(any(user_id)), JSONExtractString(any(properties), 'page') FROM events GROUP BY ALL ORDER BY uniq DESC"
    )
    names = ["todate", "uniq", "quantile", "sumif", "isnull", "jsonextractstring"]
    answer = idiomatic.query(sql)
    assert answer.status_code == 200, answer.text
    assert answer.json()["columns"] == names


def test_weeks_start_on_sunday_in_clickhouse(idiomatic: RunningNode) -> None:
    sql = "SELECT toStartOfWeek(timestamp), toStartOfWeek(timestamp, 0, 'Asia/Tokyo') FROM events ORDER BY timestamp"
    days = ["2026-01-25", "2026-02-01", "2026-02-01", "2026-03-01"]
    assert idiomatic.rows(sql) == [[day, "2026-02-01" if day == "2026-01-25" else day] for day in days]


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("SELECT count() FROM events FORMAT JSON", 400),
        ("SELECT event FROM events LIMIT 1 BY event", 400),
        ("SELECT toDate()", 400),
        ("SELECT windowFunnel(10)(timestamp, event = 'a') FROM events", 403),
    ],
)
def test_refusals(idiomatic: RunningNode, sql: str, status: int) -> None:
    answer = idiomatic.query(sql)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == {400: "invalid_query", 403: "query_not_allowed"}[status]


def test_placeholders_go_on_counting_beside_the_operator(idiomatic: RunningNode) -> None:
    body = {"q": "SELECT ?, properties ? 'paid', ? FROM events WHERE event = ?", "params": [1, 2, "signup"]}
    assert idiomatic.post("/v1/query", body).json()["rows"] == [[1, False, 2]]
