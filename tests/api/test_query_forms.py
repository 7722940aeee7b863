"""``POST /v1/query`` with placeholders, the words for looking around, and the formats Arrow and Parquet."""

import contextlib
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

EVENTS = [
    {"event": "view", "user_id": "u1", "timestamp": "2026-01-01T10:00:00Z", "properties": {"page": "/a", "n": 1}},
    {"event": "view", "user_id": "u2", "timestamp": "2026-01-02T10:00:00Z", "properties": {"page": "/b", "n": 2.5}},
    {"event": "buy", "user_id": "u2", "timestamp": "2026-01-03T10:00:00Z", "properties": {"page": "/b", "n": "3"}},
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("forms") / "data") as running:
        running.count()  # once the store is there
        yield running


@pytest.fixture(scope="module")
def filled(node: RunningNode) -> RunningNode:
    node.send(EVENTS)
    node.wait_for_count(len(EVENTS))
    return node


def post(node: RunningNode, **body: Any) -> httpx.Response:
    return node.post("/v1/query", body)


@pytest.mark.parametrize(
    ("where", "params", "expected"),
    [
        ("user_id = $user", {"user": "u2"}, ["view", "buy"]),
        ("user_id = ?", ["u1"], ["view"]),
        ("user_id = ? AND properties.n >= ?", ["u2", 3], ["buy"]),
        ("properties.n BETWEEN ? AND ? AND user_id <> ?", [1, 2.5, "u1"], ["view"]),
        ("properties.page = $1 AND event = $2", ["/b", "buy"], ["buy"]),
        ("event IN $names", {"names": ["buy", "gone"]}, ["buy"]),
        ("timestamp >= $since", {"since": "2026-01-02T12:00:00+03:00"}, ["view", "buy"]),
        ("timestamp >= $since", {"since": "2026-01-02T13:30:00+03:00"}, ["buy"]),
        ("timestamp >= '2026-01-02T13:30:00+03:00'", {}, ["buy"]),
        ("$none IS NULL AND event = 'buy'", {"none": None}, ["buy"]),
        ("$yes AND event = $name", {"yes": True, "name": "'; DROP TABLE events; --"}, []),
        ("properties.n = $n", {"n": 3}, ["buy"]),
        ("properties.n = $n", {"n": "1"}, ["view"]),
    ],
)
def test_placeholders(filled: RunningNode, where: str, params: Any, expected: list[str]) -> None:
    answer = post(filled, q=f"SELECT event FROM events WHERE {where} ORDER BY timestamp", params=params)
    assert answer.status_code == 200, answer.text
    assert [row[0] for row in answer.json()["rows"]] == expected


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({}, "invalid_parameter", "`q`"),
        ({"q": 7}, "invalid_parameter", "string"),
        ({"q": "SELECT 1", "limt": 1}, "invalid_parameter", "did you mean `limit`?"),
        ({"q": "SELECT 1", "limit": "x"}, "invalid_parameter", "whole number"),
        ({"q": "SELECT 1", "limit": True}, "invalid_parameter", "whole number"),
        ({"q": "SELECT 1", "limit": 50_001}, "invalid_parameter", "50000"),
        ({"q": "SELECT 1", "format": "xml"}, "invalid_parameter", "parquet"),
        ({"q": "SELECT 1", "params": 1}, "invalid_parameter", "object or an array"),
        ({"q": "SELECT $user"}, "invalid_parameter", "$user"),
        ({"q": "SELECT $user", "params": {"usr": 1}}, "invalid_parameter", "did you mean $usr?"),
        ({"q": "SELECT 1", "params": {"user": 1}}, "invalid_parameter", "no placeholder $user"),
        ({"q": "SELECT ?", "params": [1, 2]}, "invalid_parameter", "no placeholder $2"),
        ({"q": "SELECT $o", "params": {"o": {"a": 1}}}, "invalid_parameter", "a list of such"),
        ({"q": "SELECT $n", "params": {"n": 2**130}}, "invalid_parameter", "128 bits"),
        ({"q": "DROP TABLE events"}, "query_not_allowed", "DROP"),
        ({"q": "SELECT nope FROM events"}, "invalid_query", "nope"),
        ([1], "invalid_parameter", "object"),
    ],
)
def test_faults(node: RunningNode, body: Any, code: str, says: str) -> None:
    answer = node.post("/v1/query", body)
    status = 403 if code == "query_not_allowed" else 400
    assert says in expect_error(answer, status, code)["message"]


def test_bodies_that_are_no_queries(node: RunningNode) -> None:
    expect_error(node.post("/v1/query", b"{"), 400, "invalid_json")
    expect_error(node.post("/v1/query", b""), 400, "invalid_json")
    expect_error(node.post("/v1/query", b"[" * 100_000), 400, "invalid_json")
    expect_error(node.post("/v1/query", b"SELECT 1", {"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    expect_error(node.post("/v1/query", b'{"q": "' + b"x" * 2**20 + b'"}'), 413, "payload_too_large")
    twice = node.post("/v1/query?q=SELECT+1", {"q": "SELECT 1"})
    assert "twice" in expect_error(twice, 400, "invalid_parameter")["message"]


def test_a_placeholder_in_an_address_says_how(node: RunningNode) -> None:
    message = expect_error(node.query("SELECT $user"), 400, "invalid_parameter")["message"]
    assert "POST" in message
    assert '"params"' in message


def test_a_long_query_may_be_posted(node: RunningNode) -> None:
    values = ", ".join(f"'user-{n:040d}'" for n in range(1500))
    assert post(node, q=f"SELECT count() FROM events WHERE user_id IN ({values})").json()["rows"] == [[0]]


@pytest.mark.parametrize("sql", ["DESCRIBE events", "desc events;", "SHOW COLUMNS FROM events"])
def test_describe_events(node: RunningNode, sql: str) -> None:
    answer = node.query(sql).json()
    assert answer["columns"] == ["column_name", "column_type"]
    assert ["properties", "VARIANT"] in answer["rows"]
    everything = node.query("SELECT * FROM events LIMIT 1").json()
    assert answer["rows"] == [
        list(pair) for pair in zip(everything["columns"], everything["meta"]["types"], strict=True)
    ]


def test_describe_quarantine(node: RunningNode) -> None:
    everything = node.query("SELECT * FROM quarantine LIMIT 1").json()
    pairs = [list(pair) for pair in zip(everything["columns"], everything["meta"]["types"], strict=True)]
    assert node.rows("DESCRIBE quarantine") == pairs


def test_show_tables(node: RunningNode) -> None:
    assert node.rows("SHOW TABLES") == [["events"], ["quarantine"]]


def test_describe_a_query(node: RunningNode) -> None:
    rows = node.rows("DESCRIBE SELECT properties.page, count() FROM events GROUP BY 1")
    assert rows == [["page", "VARIANT"], ["count", "BIGINT"]]


def test_explain(node: RunningNode) -> None:
    answer = node.query("EXPLAIN SELECT event, count() FROM events GROUP BY event").json()
    assert answer["columns"] == ["plan"]
    assert any("Aggregate" in line for (line,) in answer["rows"])
    expect_error(node.query("EXPLAIN ANALYZE SELECT 1"), 403, "query_not_allowed")
    message = expect_error(node.query("EXPLAIN SELECT nope FROM events"), 400, "invalid_query")["message"]
    assert "line 1, column 16" in message


def parquet_of(answer: httpx.Response) -> arrow.Table:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    return parquet.read_table(io.BytesIO(answer.content))


def test_parquet(filled: RunningNode) -> None:
    table = parquet_of(filled.query("SELECT event, timestamp, properties FROM events ORDER BY 2", format="parquet"))
    assert table.schema.names == ["event", "timestamp", "properties"]
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    rows = table.to_pylist()
    assert [row["event"] for row in rows] == ["view", "view", "buy"]
    assert rows[0]["timestamp"].isoformat() == "2026-01-01T10:00:00+00:00"
    assert json.loads(rows[1]["properties"]) == EVENTS[1]["properties"]
    answer = filled.query("SELECT event FROM events", format="parquet", limit=2)
    meta = parquet.ParquetFile(io.BytesIO(answer.content)).metadata.metadata
    assert json.loads(meta[b"meta"])["truncated"] is True


def test_arrow(filled: RunningNode) -> None:
    answer = filled.query("SELECT event, count() FROM events GROUP BY event ORDER BY 2", format="arrow")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    with arrow.ipc.open_stream(answer.content) as reader:
        batches = list(reader.iter_batches_with_custom_metadata())
    assert [row for batch in batches for row in batch.batch.to_pylist()] == [
        {"event": "buy", "count": 1},
        {"event": "view", "count": 2},
    ]
    meta = json.loads(batches[-1].custom_metadata[b"meta"])
    assert (meta["rows"], meta["truncated"], meta["types"]) == (2, False, ["VARCHAR", "BIGINT"])


def test_accept_chooses_the_format(filled: RunningNode) -> None:
    headers = {"Accept": "application/vnd.apache.parquet"}
    answer = filled.post("/v1/query", {"q": "SELECT 1 AS a"}, headers)
    assert parquet_of(answer).to_pylist() == [{"a": 1}]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("1::TINYINT", "int8", "1"),
        (
            "170141183460469231731687303715884105727 // 10",
            "decimal128(38, 0)",
            "17014118346046923173168730371588410572",
        ),
        ("1.50::DECIMAL(10, 2)", "decimal128(10, 2)", "1.50"),
        ("DATE '2026-01-02'", "date32[day]", "2026-01-02"),
        ("TIME '10:11:12'", "time64[us]", "10:11:12"),
        ("TIMESTAMP_NS '2026-01-02 03:04:05.123456789'", "timestamp[us, tz=UTC]", "2026-01-02 03:04:05.123457+00:00"),
        ("'2026-01-02 03:04:05+02'::TIMESTAMPTZ", "timestamp[us, tz=UTC]", "2026-01-02 01:04:05+00:00"),
        ("INTERVAL 3 DAY", "string", "3 days"),
        ("'x'::BLOB", "binary", "b'x'"),
        ("[1, 2]", "list<element: int32>", "[1, 2]"),
        ("{'a': 1}", "struct<a: int32>", "{'a': 1}"),
        ("[1::HUGEINT]", "string", "[1]"),
        ("'{\"a\": 1}'::JSON", "string", '{"a":1}'),
        ("NULL", "string", "None"),
        ("'0a000000-0000-0000-0000-000000000000'::UUID", "string", "0a000000-0000-0000-0000-000000000000"),
    ],
)
def test_types_in_parquet(node: RunningNode, value: str, kind: str, expected: str) -> None:
    table = parquet_of(node.query(f"SELECT {value} AS v", format="parquet"))
    assert str(table.schema.field("v").type) == kind
    assert str(table.to_pylist()[0]["v"]) == expected


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_equal_names_and_no_rows(node: RunningNode, form: str) -> None:
    answer = node.query("SELECT 1 AS a, 'x' AS a WHERE false", format=form)
    assert answer.status_code == 200
    data = answer.content
    table = parquet.read_table(io.BytesIO(data)) if form == "parquet" else arrow.ipc.open_stream(data).read_all()
    assert table.schema.names == ["a", "a_1"]
    assert table.num_rows == 0


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_an_error_before_the_first_row_is_an_error(node: RunningNode, form: str) -> None:
    expect_error(node.query("SELECT 'x'::INT", format=form), 400, "invalid_query")


@pytest.mark.parametrize("form", ["arrow", "parquet", "csv"])
def test_an_error_midway_cuts_the_answer(node: RunningNode, form: str) -> None:
    late = "SELECT CASE WHEN i < 40000 THEN i ELSE ('x' || i)::INT END AS v FROM range(50000) t(i)"
    with contextlib.suppress(httpx.RemoteProtocolError):
        # Whole only where the error came before the first row.
        expect_error(node.query(late, format=form, limit=50_000), 400, "invalid_query")


def test_data_dir_is_not_touched(filled: RunningNode) -> None:
    scratch = Path(filled.data_dir) / "store" / "tmp"
    assert list(scratch.iterdir()) == []
