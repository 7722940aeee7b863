"""``GET /v1/export``: all rows, in every format, and on from where a reader was cut off."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tests.api.contract import expect_error
from tests.support import RunningNode, running_node

EVENTS = 60_000
SQL = "SELECT event, user_id, properties.n FROM events WHERE properties.n % 3 = 0"
EXPECTED = [n for n in range(EVENTS) if n % 3 == 0]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("export") / "data") as node:
        node.send([{"event": "e", "user_id": f"u{n}", "properties": {"n": n}} for n in range(EVENTS)])
        node.wait_for_count(EVENTS)
        yield node


def export(node: RunningNode, **parameters: Any) -> httpx.Response:
    with node.client() as client:
        return client.get("/v1/export", params=parameters)


def numbers(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    *rows, last = [json.loads(line) for line in answer.text.splitlines()]
    assert last["meta"]["rows"] == len(rows)
    assert last["meta"]["truncated"] is False
    return [row["n"] for row in rows]


def test_ndjson_is_the_default(filled: RunningNode) -> None:
    answer = export(filled, q=SQL)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert sorted(numbers(answer)) == EXPECTED


def test_more_rows_than_a_query_may_give(filled: RunningNode) -> None:
    assert len(numbers(export(filled, q="SELECT properties.n FROM events"))) == EVENTS
    assert len(export(filled, q="SELECT i FROM range(200000) t(i)", format="csv").text.splitlines()) == 200_001


def test_csv(filled: RunningNode) -> None:
    header, *lines = export(filled, q=SQL, format="csv").text.splitlines()
    assert header == "event,user_id,n"
    assert sorted(int(line.rsplit(",", 1)[1]) for line in lines) == EXPECTED


def test_parquet(filled: RunningNode) -> None:
    answer = export(filled, q="SELECT properties.n::BIGINT AS n FROM events", format="parquet")
    file = parquet.ParquetFile(io.BytesIO(answer.content))
    assert file.num_row_groups > 1  # written as the rows came
    assert sorted(file.read()["n"].to_pylist()) == list(range(EVENTS))


def test_arrow(filled: RunningNode) -> None:
    answer = export(filled, q="SELECT properties.n::BIGINT AS n FROM events", format="arrow")
    assert sorted(arrow.ipc.open_stream(answer.content).read_all()["n"].to_pylist()) == list(range(EVENTS))


@pytest.mark.parametrize("after", [1, 777, len(EXPECTED) - 1, len(EXPECTED)])
def test_on_from_where_it_was_cut(filled: RunningNode, after: int) -> None:
    whole = export(filled, q=SQL)
    rest = export(filled, q=SQL, cursor=whole.headers["export-cursor"], after=after)
    assert numbers(rest) == numbers(whole)[after:]
    assert rest.headers["export-cursor"] == whole.headers["export-cursor"]


def test_later_events_are_not_in_what_is_resumed(tmp_path: Path) -> None:
    with running_node(tmp_path / "data") as node:
        node.post("/v1/ingest", {"event": "first"})
        node.wait_for_count(1)
        whole = export(node, q="SELECT event FROM events")
        node.post("/v1/ingest", {"event": "second"})
        node.wait_for_count(2)
        cursor = whole.headers["export-cursor"]
        assert export(node, q="SELECT event FROM events", cursor=cursor).text.count('"event"') == 1
        assert export(node, q="SELECT event FROM events").text.count('"event"') == 2


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM events",
        "SELECT DISTINCT event FROM events",
        "SELECT event FROM events ORDER BY timestamp",
        "SELECT event FROM events LIMIT 3",
        "SELECT a.event FROM events a JOIN events b ON a.id = b.id",
        "SELECT row_number() OVER () FROM events",
        "SELECT unnest([1, 2]) FROM events",
        "SELECT event FROM events UNION ALL SELECT event FROM events",
        "WITH e AS (FROM events) SELECT event FROM e",
        "SELECT 1",
    ],
)
def test_what_has_no_order_cannot_be_resumed(filled: RunningNode, sql: str) -> None:
    answer = export(filled, q=sql)
    assert answer.status_code == 200
    assert "export-cursor" not in answer.headers
    assert "from its start" in expect_error(export(filled, q=sql, cursor="e1.1.0"), 400, "invalid_parameter")["message"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "invalid_parameter"),
        ({"q": SQL, "format": "json"}, "invalid_parameter"),
        ({"q": SQL, "format": "xml"}, "invalid_parameter"),
        ({"q": SQL, "limit": 3}, "invalid_parameter"),
        ({"q": SQL, "after": 3}, "invalid_parameter"),
        ({"q": SQL, "cursor": "e1.x.0"}, "invalid_parameter"),
        ({"q": SQL, "cursor": "e1.1"}, "invalid_parameter"),
        ({"q": SQL, "cursor": "e9.1.0"}, "invalid_parameter"),
        ({"q": SQL, "cursor": "e1.1.0", "after": "-1"}, "invalid_parameter"),
        ({"q": "SELECT nope FROM events"}, "invalid_query"),
        ({"q": "SELECT $x FROM events"}, "invalid_parameter"),
        ({"q": "DROP TABLE events"}, "query_not_allowed"),
    ],
)
def test_faults(filled: RunningNode, parameters: dict[str, Any], code: str) -> None:
    expect_error(export(filled, **parameters), 403 if code == "query_not_allowed" else 400, code)


def test_needs_a_key(filled: RunningNode) -> None:
    assert httpx.get(filled.url + "/v1/export", params={"q": SQL}).status_code == 401
    assert httpx.post(filled.url + "/v1/export", headers=filled.headers).status_code == 405


def test_a_reader_that_goes_frees_its_place(filled: RunningNode) -> None:
    endless = "SELECT i, repeat('x', 1000) AS x FROM range(1000000000) t(i)"
    for _ in range(5):  # more than run at once
        with filled.client() as client, client.stream("GET", "/v1/export", params={"q": endless}) as answer:
            assert answer.status_code == 200
            next(answer.iter_bytes())
    assert len(numbers(export(filled, q=SQL))) == len(EXPECTED)
