"""GET /v1/query: formats, limits, names, values, and what may not be asked."""

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.contract import expect_error, stored
from tests.support import DEADLINE_S, RunningNode, run_cli, wait_for

MakeNode = Callable[..., RunningNode]

# Sends some rows, then computes for hours. One thread of the store takes them in this order.
ROWS_THEN_HOURS = (
    "SELECT range FROM range(3000) UNION ALL"
    " SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"
)
HOURS = "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b"


@pytest.fixture
def visits(client: httpx.Client, shared_node: RunningNode, user: str) -> str:
    """A user with 4 page views and 2 clicks."""
    batch = [
        {"event": name, "user_id": user, "properties": {"page": page, "ms": ms}}
        for name, page, ms in (
            ("page_view", "/", 10),
            ("page_view", "/", 20.5),
            ("page_view", "/a,b", 30),
            ("page_view", '/"q"\n', 40),
            ("click", None, 1),
            ("click", "/", 2),
        )
    ]
    assert client.post("/v1/batch", json={"events": batch}).status_code == 202
    stored(shared_node, user, len(batch))
    return user


def test_the_documented_answer(shared_node: RunningNode, visits: str) -> None:
    answer = shared_node.query(
        f"SELECT event, count() FROM events WHERE user_id = '{visits}' GROUP BY event ORDER BY 2 DESC LIMIT 10"
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    body = answer.json()
    assert list(body) == ["columns", "rows", "meta"]
    assert body["columns"] == ["event", "count"]
    assert body["rows"] == [["page_view", 4], ["click", 2]]
    meta = body["meta"]
    assert type(meta.pop("elapsed_ms")) is int
    assert meta == {"rows": 2, "truncated": False, "types": ["VARCHAR", "BIGINT"]}


# ---- formats


def test_json_is_a_row_a_line(shared_node: RunningNode, visits: str) -> None:
    sql = f"SELECT properties.page, properties FROM events WHERE user_id = '{visits}' ORDER BY id"
    text = shared_node.query(sql).text
    lines = text.split("\n")
    assert len(lines) == 1 + 6 + 2
    assert lines[0] == '{"columns": ["page","properties"], "rows": ['
    assert [json.loads(line.removesuffix(",")) for line in lines[1:7]] == json.loads(text)["rows"]
    assert lines[-2].startswith('], "meta": {')


def test_ndjson(shared_node: RunningNode, visits: str) -> None:
    sql = f"SELECT event, count() FROM events WHERE user_id = '{visits}' GROUP BY event ORDER BY event"
    answer = shared_node.query(sql, format="ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.startswith('{"event":"click","count":2}\n{"event":"page_view","count":4}\n{"meta":{')
    meta = json.loads(answer.text.splitlines()[-1])["meta"]
    assert (meta["rows"], meta["truncated"], meta["types"]) == (2, False, ["VARCHAR", "BIGINT"])


def test_ndjson_keeps_columns_of_one_name_apart(shared_node: RunningNode) -> None:
    first = shared_node.query("SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS a_1", format="ndjson").text.splitlines()[0]
    assert sorted(json.loads(first).values()) == [1, 2, 3, 4]


def test_csv(shared_node: RunningNode, visits: str) -> None:
    sql = f"SELECT event, properties.page::VARCHAR, properties.ms, NULL AS nothing FROM events WHERE user_id = '{visits}' ORDER BY id"
    answer = shared_node.query(sql, format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    assert rows[0] == ["event", "page" if rows[0][1] == "page" else rows[0][1], "ms", "nothing"]
    assert rows[1:] == [
        ["page_view", "/", "10", ""],
        ["page_view", "/", "20.5", ""],
        ["page_view", "/a,b", "30", ""],
        ["page_view", '/"q"\n', "40", ""],
        ["click", "", "1", ""],
        ["click", "/", "2", ""],
    ]


@pytest.mark.parametrize("name", ["json", "ndjson", "csv"])
def test_no_rows(shared_node: RunningNode, name: str) -> None:
    answer = shared_node.query("SELECT event, count() FROM events WHERE false GROUP BY event", format=name)
    assert answer.status_code == 200
    if name == "json":
        assert (answer.json()["columns"], answer.json()["rows"]) == (["event", "count"], [])
    elif name == "ndjson":
        assert json.loads(answer.text)["meta"]["rows"] == 0
    else:
        assert answer.text.splitlines() == ["event,count"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("application/json", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("Application/X-NDJSON", "application/x-ndjson"),
        ("application/x-ndjson, */*;q=0.1", "application/x-ndjson"),
        ("text/csv", "text/csv; charset=utf-8"),
    ],
)
def test_accept(client: httpx.Client, accept: str, kind: str) -> None:
    answer = client.get("/v1/query", params={"q": "SELECT 1"}, headers={"Accept": accept})
    assert answer.headers["content-type"] == kind
    named = client.get("/v1/query", params={"q": "SELECT 1", "format": "csv"}, headers={"Accept": accept})
    assert named.headers["content-type"] == "text/csv; charset=utf-8"


def test_rows_leave_while_later_ones_are_computed(make_node: MakeNode) -> None:
    node = make_node(query_threads=1)
    for name in ("json", "ndjson", "csv"):
        parameters = {"q": ROWS_THEN_HOURS, "format": name, "limit": "5000"}
        with node.client() as client, client.stream("GET", "/v1/query", params=parameters) as answer:
            lines = answer.iter_lines()
            assert answer.status_code == 200
            assert len([next(lines) for _ in range(1000)]) == 1000


# ---- limit


@pytest.mark.parametrize(
    ("asked", "limit", "rows", "truncated"),
    [
        (999, None, 999, False),
        (1000, None, 1000, False),
        (1001, None, 1000, True),
        (60_000, 1, 1, True),
        (60_000, 3000, 3000, True),
        (60_000, 50_000, 50_000, True),
        (50_000, 50_000, 50_000, False),
        (1, 50_000, 1, False),
    ],
)
def test_limit(shared_node: RunningNode, asked: int, limit: int | None, rows: int, truncated: bool) -> None:
    parameters = {} if limit is None else {"limit": limit}
    for sql in (f"SELECT range FROM range({asked})", f"SELECT range FROM range(100000) LIMIT {asked}"):
        body = shared_node.query(sql, **parameters).json()
        assert len(body["rows"]) == rows
        assert (body["meta"]["rows"], body["meta"]["truncated"]) == (rows, truncated)


# ---- names and values


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("count()", "count"),
        ("count(*)", "count"),
        ("count(DISTINCT event)", "count"),
        ("sum(properties.ms)", "sum"),
        ("max(timestamp)", "max"),
        ("min(properties.page)", "min"),
        ("count() AS n", "n"),
        ('count() AS "Zahl — ü"', "Zahl — ü"),
    ],
)
def test_names_of_aggregates(shared_node: RunningNode, expression: str, name: str) -> None:
    assert shared_node.query(f"SELECT {expression} FROM events").json()["columns"] == [name]


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("event", "event"),
        ("properties.page", "page"),
        ("properties.a.b", "b"),
        ("properties['page']", "page"),
        ("upper(event)", "upper"),
        ("1 + 1", "?column?"),
        ("'x'", "?column?"),
        ("date_trunc('day', timestamp)", "date_trunc"),
    ],
)
def test_names(shared_node: RunningNode, expression: str, name: str) -> None:
    assert shared_node.query(f"SELECT {expression} FROM events LIMIT 1").json()["columns"] == [name]


def test_the_columns_of_events(shared_node: RunningNode, visits: str) -> None:
    body = shared_node.query(f"SELECT * FROM events WHERE user_id = '{visits}' LIMIT 1").json()
    assert dict(zip(body["columns"], body["meta"]["types"], strict=True)) == {
        "id": "UUID",
        "event": "VARCHAR",
        "user_id": "VARCHAR",
        "timestamp": "TIMESTAMP",
        "properties": "VARIANT",
        "context": "VARIANT",
        "received_at": "TIMESTAMP",
        "batch_id": "VARCHAR",
    }
    row = dict(zip(body["columns"], body["rows"][0], strict=True))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", row["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", row["received_at"])


VALUES: list[tuple[str, str, str]] = [
    ("1", "INTEGER", "1"),
    ("9007199254740993", "BIGINT", "9007199254740993"),
    ("18446744073709551615::UBIGINT", "UBIGINT", "18446744073709551615"),
    ("170141183460469231731687303715884105727::HUGEINT", "HUGEINT", "170141183460469231731687303715884105727"),
    ("1.10::DECIMAL(10, 2)", "DECIMAL(10,2)", "1.10"),
    ("1234567890123456789.123456789::DECIMAL(38, 9)", "DECIMAL(38,9)", "1234567890123456789.123456789"),
    ("0.1::DOUBLE", "DOUBLE", "0.1"),
    ("0.1::FLOAT", "FLOAT", "0.1"),
    ("'nan'::DOUBLE", "DOUBLE", "null"),
    ("'inf'::DOUBLE", "DOUBLE", "null"),
    ("'-inf'::DOUBLE", "DOUBLE", "null"),
    ("'nan'::FLOAT", "FLOAT", "null"),
    ("true", "BOOLEAN", "true"),
    ("NULL::INTEGER", "INTEGER", "null"),
    ("'a\"b\\ ☃'", "VARCHAR", '"a\\"b\\\\ ☃"'),
    ("TIMESTAMP '2026-01-31 13:45:00'", "TIMESTAMP", '"2026-01-31T13:45:00Z"'),
    ("TIMESTAMP '2026-01-31 13:45:00.5'", "TIMESTAMP", '"2026-01-31T13:45:00.5Z"'),
    ("TIMESTAMPTZ '2026-01-31 13:45:00+02'", "TIMESTAMP WITH TIME ZONE", '"2026-01-31T11:45:00Z"'),
    ("DATE '2026-01-31'", "DATE", '"2026-01-31"'),
    ("[1, NULL, 2]", "INTEGER[]", "[1,null,2]"),
    ("{'a': 1, 'b': 'x'}", "STRUCT(a INTEGER, b VARCHAR)", '{"a":1,"b":"x"}'),
    ("""'{"a": [1, null, "x"]}'::JSON""", "JSON", '{"a": [1, null, "x"]}'),
]


@pytest.mark.parametrize(("expression", "kind", "shown"), VALUES, ids=[row[0] for row in VALUES])
def test_values(shared_node: RunningNode, expression: str, kind: str, shown: str) -> None:
    text = shared_node.query(f"SELECT {expression} AS v").text
    assert json.loads(text)["meta"]["types"] == [kind]
    found = text.split("\n")[1].removeprefix("[").removesuffix("]")
    assert found.replace(" ", "") == shown.replace(" ", "")
    assert parsed(found) == parsed(shown)


def parsed(text: str) -> Any:
    """JSON without rounding a number."""
    return json.loads(text, parse_float=str)


# ---- what may not be asked


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "`q` is missing"),
        ("format=csv", "`q` is missing"),
        ("q=SELECT+1&format=xml", "json, csv, ndjson"),
        ("q=SELECT+1&format=", "json, csv, ndjson"),
        ("q=SELECT+1&limit=0", "from 1 to 50000"),
        ("q=SELECT+1&limit=-1", "from 1 to 50000"),
        ("q=SELECT+1&limit=abc", "from 1 to 50000"),
        ("q=SELECT+1&limit=", "from 1 to 50000"),
        ("q=SELECT+1&limit=1.5", "from 1 to 50000"),
        ("q=SELECT+1&limit=50001", "from 1 to 50000"),
        ("q=SELECT+1&limit=%D9%A3", "from 1 to 50000"),
        ("q=SELECT+1&limit=" + "9" * 5000, "from 1 to 50000"),
        ("q=SELECT+1&q=SELECT+2", "`q` is given twice"),
        ("q=SELECT+1&fromat=csv", "did you mean `format`?"),
        ("q=SELECT+1&Limit=5", "did you mean `limit`?"),
        ("q=SELECT+1&zzz=5", "`q`, `format`, `limit`"),
        ("q=%ff", "percent-encode"),
    ],
    ids=lambda value: value[:40],
)
def test_parameters(client: httpx.Client, query: str, words: str) -> None:
    body = expect_error(client.get(f"/v1/query?{query}"), 400, "invalid_parameter")
    assert words in body["message"]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO events VALUES (1)",
        "UPDATE events SET event = 'x'",
        "DELETE FROM events",
        "DROP TABLE events",
        "CREATE TABLE x AS SELECT 1",
        "COPY events TO '/tmp/x'",
        "WITH x AS (COPY events TO '/tmp/x') SELECT 1",
        "ATTACH '/tmp/x'",
        "PRAGMA database_list",
        "SET threads = 1",
        "EXPLAIN SELECT 1",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM p_default.events",
        "SELECT * FROM t_default.events",
        "SELECT getenv('HOME')",
        "SELECT current_setting('threads')",
    ],
)
def test_statements_that_may_not_run(shared_node: RunningNode, sql: str) -> None:
    expect_error(shared_node.query(sql), 403, "query_not_allowed")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "empty"),
        ("  -- nothing\n", "empty"),
        ("SELECT event FROM events WHERE", "line 1, column 30"),
        ("SELECT\n  event,\nFROM events GROUP BY (", "line 3"),
        ("SELECT 'x", ""),
        ("SELECT 1; SELECT 2", "Only one statement"),
        ("SELECT \0", ""),
        ("SELECT 'x'::INTEGER", "x"),
        ("SELECT event + 1 FROM events", ""),
    ],
)
def test_what_cannot_be_understood(shared_node: RunningNode, sql: str, words: str) -> None:
    assert words in expect_error(shared_node.query(sql), 400, "invalid_query")["message"]


@pytest.mark.parametrize("column", ["evnt", "events.evnt", "userid"])
def test_an_unknown_column(shared_node: RunningNode, column: str) -> None:
    body = expect_error(shared_node.query(f"SELECT {column} FROM events"), 400, "invalid_query")
    assert column.removeprefix("events.") in body["message"]


def test_errors_do_not_depend_on_the_format(shared_node: RunningNode) -> None:
    for name in ("json", "ndjson", "csv"):
        expect_error(shared_node.query("SELECT nothing FROM events", format=name), 400, "invalid_query")


def test_methods(client: httpx.Client) -> None:
    parameters = {"q": "SELECT 1"}
    answer = client.head("/v1/query", params=parameters)
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.head("/v1/query").status_code == 400
    refused = client.put("/v1/query", params=parameters)
    expect_error(refused, 405, "method_not_allowed")


# ---- whose events


def test_projects_and_test_keys_are_kept_apart(shared_node: RunningNode, user: str) -> None:
    keys = {
        "one": ("--project", f"one_{user[-8:]}"),
        "one, test": ("--project", f"one_{user[-8:]}", "--test"),
        "two": ("--project", f"two_{user[-8:]}"),
        "default, test": ("--test",),
    }
    clients = {"default": shared_node.client()}
    for name, options in keys.items():
        created = run_cli("keys", "create", *options, "--data-dir", shared_node.data_dir)
        secret = created.stdout.strip()
        assert secret.startswith("nm_test_" if "test" in name else "nm_live_")
        headers = {"Authorization": f"Bearer {secret}"}
        clients[name] = httpx.Client(base_url=shared_node.url, headers=headers, timeout=DEADLINE_S)
    try:
        for name, client in clients.items():
            event = {"event": name, "user_id": user, "id": user}
            wait_for(lambda c=client, e=event: c.post("/v1/ingest", json=e).status_code == 202, what="the new key")  # type: ignore[misc]
        shared_node.settle()
        for name, client in clients.items():
            answer = client.get("/v1/query", params={"q": f"SELECT event FROM events WHERE user_id = '{user}'"})
            assert answer.json()["rows"] == [[name]]
    finally:
        for client in clients.values():
            client.close()


# ---- bounds


def test_the_time_limit(make_node: MakeNode) -> None:
    node = make_node(query_time_limit_ms=1000, query_max_concurrent=1, query_threads=1)
    body = expect_error(node.query(HOURS), 400, "query_timeout")
    assert "1 s" in body["message"]

    lines = node.query(ROWS_THEN_HOURS, format="ndjson", limit=5000).text.splitlines()
    assert json.loads(lines[0]) == {"range": 0}
    assert set(json.loads(lines[-1])) == {"error", "message"}
    assert json.loads(lines[-1])["error"] == "query_timeout"

    document = node.query(ROWS_THEN_HOURS, limit=5000).json()
    assert document["rows"][:2] == [[0], [1]]
    assert document["error"] == "query_timeout"
    assert "meta" not in document

    # CSV cannot say it: the transfer is broken off, so nobody takes what came for all.
    with pytest.raises(httpx.RemoteProtocolError):
        node.query(ROWS_THEN_HOURS, format="csv", limit=5000)
    assert node.rows("SELECT 1") == [[1]]


@pytest.mark.parametrize("sql", [HOURS, ROWS_THEN_HOURS])
def test_a_client_that_goes_away_cancels_its_query(make_node: MakeNode, sql: str) -> None:
    node = make_node(query_max_concurrent=1, query_time_limit_ms=600_000, query_threads=1)
    parameters = {"q": sql, "limit": "5000"}
    with pytest.raises(httpx.ReadTimeout), node.client() as client:
        client.get("/v1/query", params=parameters, timeout=1.0)
    # There is one slot, and this would wait for it.
    assert node.rows("SELECT 1") == [[1]]


def test_a_query_that_needs_too_much_memory(make_node: MakeNode) -> None:
    node = make_node(query_memory_limit_bytes=200_000_000)
    sql = "SELECT string_agg(repeat('x', 1000), '') FROM range(10000000)"
    expect_error(node.query(sql), 400, "query_too_large")
    assert node.rows("SELECT 1") == [[1]]
