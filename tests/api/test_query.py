"""GET /v1/query: what may be asked, how the answer looks, and what is said when there is none."""

import csv
import io
import json
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.api.contract import connected as connection_to
from tests.api.contract import expect_error, head, read_answer, stored
from tests.support import RunningNode, run_cli, wait_for

# Rows enough that they cannot all be made before the first has left, or the time limit has passed.
ENDLESS = "SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b"


def ask(
    client: httpx.Client, sql: str, headers: dict[str, str] | None = None, /, **parameters: str | int
) -> httpx.Response:
    return client.get("/v1/query", params={"q": sql, **parameters}, headers=headers)


def answer_to(client: httpx.Client, sql: str, **parameters: str | int) -> dict[str, Any]:
    answer = ask(client, sql, **parameters)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def value_of(client: httpx.Client, expression: str) -> Any:
    return answer_to(client, f"SELECT {expression} AS v")["rows"][0][0]


@pytest.fixture(scope="module", autouse=True)
def store(shared_node: RunningNode) -> None:
    """The store answers: before it does, queries get a 503."""
    shared_node.settle()


# ---- formats


def test_json(client: httpx.Client) -> None:
    answer = ask(client, "SELECT range AS n, 'a\nb' AS t FROM range(3)")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert list(document) == ["columns", "rows", "meta"]
    assert document["columns"] == ["n", "t"]
    assert document["rows"] == [[0, "a\nb"], [1, "a\nb"], [2, "a\nb"]]
    meta = document["meta"]
    assert isinstance(meta.pop("elapsed_ms"), int)
    assert meta == {"rows": 3, "truncated": False, "types": ["BIGINT", "VARCHAR"]}


def test_json_is_a_row_a_line(client: httpx.Client) -> None:
    lines = ask(client, "SELECT range AS n, 'a\nb' AS t FROM range(3)").text.splitlines()
    assert json.loads(lines[0] + "]}") == {"columns": ["n", "t"], "rows": []}
    assert [json.loads(line.removesuffix(",")) for line in lines[1:4]] == [[0, "a\nb"], [1, "a\nb"], [2, "a\nb"]]
    assert lines[4].startswith("]")
    assert len(lines) == 5


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 5000])
def test_every_size_is_one_document(client: httpx.Client, count: int) -> None:
    document = answer_to(client, f"SELECT range AS n FROM range({count})", limit=50_000)
    assert document["rows"] == [[n] for n in range(count)]
    assert (document["meta"]["rows"], document["meta"]["truncated"]) == (count, False)


@pytest.mark.parametrize("how", [{"format": "ndjson"}, {"accept": "application/x-ndjson"}])
def test_ndjson(client: httpx.Client, how: dict[str, str]) -> None:
    parameters = {name: value for name, value in how.items() if name == "format"}
    headers = {name: value for name, value in how.items() if name == "accept"}
    answer = ask(client, "SELECT range AS n, 'ä' AS t FROM range(2)", headers, **parameters)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.text.endswith("}\n")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[:2] == [{"n": 0, "t": "ä"}, {"n": 1, "t": "ä"}]
    assert list(lines[2]) == ["meta"]
    assert lines[2]["meta"]["rows"] == 2
    assert len(lines) == 3


def test_ndjson_without_rows_is_its_last_line(client: httpx.Client) -> None:
    lines = ask(client, "SELECT 1 AS n WHERE false", format="ndjson").text.splitlines()
    assert [list(json.loads(line)) for line in lines] == [["meta"]]


def test_ndjson_keys_are_distinct(client: httpx.Client) -> None:
    line = ask(client, "SELECT 1 AS n, 2 AS n", format="ndjson").text.splitlines()[0]
    assert sorted(json.loads(line).values()) == [1, 2]


@pytest.mark.parametrize("how", [{"format": "csv"}, {"accept": "text/csv"}])
def test_csv(client: httpx.Client, how: dict[str, str]) -> None:
    parameters = {name: value for name, value in how.items() if name == "format"}
    headers = {name: value for name, value in how.items() if name == "accept"}
    sql = """SELECT 1 AS n, 'a,"b"\nc' AS "t,1", NULL AS nothing, true AS yes, 'nan'::DOUBLE AS f"""
    answer = ask(client, sql, headers, **parameters)
    assert answer.headers["content-type"].startswith("text/csv")
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == [
        ["n", "t,1", "nothing", "yes", "f"],
        ["1", 'a,"b"\nc', "", "true", ""],
    ]
    assert answer.text.count("\r\n") == 2


def test_a_format_that_is_named_wins_over_accept(client: httpx.Client) -> None:
    answer = ask(client, "SELECT 1 AS n", {"accept": "text/csv"}, format="json")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html,*/*;q=0.8"])
def test_json_is_the_default(client: httpx.Client, accept: str) -> None:
    assert ask(client, "SELECT 1 AS n", {"accept": accept}).headers["content-type"] == "application/json"


# ---- limits


@pytest.mark.parametrize(("limit", "rows"), [(None, 1000), (1, 1), (7, 7), (50_000, 50_000)])
def test_limit(client: httpx.Client, limit: int | None, rows: int) -> None:
    parameters = {} if limit is None else {"limit": limit}
    document = answer_to(client, "SELECT range AS n FROM range(60000)", **parameters)
    assert len(document["rows"]) == document["meta"]["rows"] == rows
    assert document["meta"]["truncated"] is True


def test_a_result_of_just_the_limit_is_not_truncated(client: httpx.Client) -> None:
    meta = answer_to(client, "SELECT range AS n FROM range(5)", limit=5)["meta"]
    assert (meta["rows"], meta["truncated"]) == (5, False)


def test_the_statements_own_limit_holds_too(client: httpx.Client) -> None:
    document = answer_to(client, "SELECT range AS n FROM range(60) ORDER BY n DESC LIMIT 2 OFFSET 1", limit=5)
    assert (document["rows"], document["meta"]["truncated"]) == ([[58], [57]], False)


# ---- names and values


def test_the_documented_query(client: httpx.Client) -> None:
    document = answer_to(client, "SELECT event, count() FROM events GROUP BY event LIMIT 10")
    assert document["columns"] == ["event", "count"]
    assert document["meta"]["types"] == ["VARCHAR", "BIGINT"]


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("count()", "count"),
        ("count(*)", "count"),
        ("count(DISTINCT user_id)", "count"),
        ("sum(length(event))", "sum"),
        ("max(timestamp)", "max"),
        ("any_value(properties.page)", "any_value"),
        ("count() AS n", "n"),
        ('count() AS "My Count"', "My Count"),
    ],
)
def test_names_of_aggregates(client: httpx.Client, expression: str, name: str) -> None:
    assert answer_to(client, f"SELECT {expression} FROM events")["columns"] == [name]


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("properties.page", "page"),
        ("properties.a.b", "b"),
        ("event", "event"),
        ("events.event", "event"),
        ("upper(event)", "upper"),
    ],
)
def test_names(client: httpx.Client, expression: str, name: str) -> None:
    assert answer_to(client, f"SELECT {expression} FROM events LIMIT 1")["columns"] == [name]


def test_all_columns(client: httpx.Client) -> None:
    document = answer_to(client, "SELECT * FROM events LIMIT 1")
    assert {"event", "user_id", "timestamp", "properties", "context", "id", "received_at"} <= set(document["columns"])
    assert len(document["columns"]) == len(document["meta"]["types"]) == len(document["rows"][0])


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("9007199254740993", 9007199254740993),
        ("-9223372036854775808", -9223372036854775808),
        ("18446744073709551615::UBIGINT", 18446744073709551615),
        ("170141183460469231731687303715884105727::HUGEINT", 170141183460469231731687303715884105727),
        ("1.5::DOUBLE", 1.5),
        ("0.1::FLOAT", 0.1),
        ("12.50::DECIMAL(10, 2)", 12.5),
        ("'nan'::DOUBLE", None),
        ("'inf'::DOUBLE", None),
        ("'-inf'::DOUBLE", None),
        ("'nan'::FLOAT", None),
        ("NULL", None),
        ("true", True),
        ("'☃ \"quoted\" \\ \u2028'", '☃ "quoted" \\ \u2028'),
        ("''", ""),
        ("TIMESTAMP '2026-01-31 12:00:00'", "2026-01-31T12:00:00Z"),
        ("TIMESTAMP '2026-01-31 12:00:00.123456'", "2026-01-31T12:00:00.123456Z"),
        ("TIMESTAMPTZ '2026-01-31 12:00:00+02:00'", "2026-01-31T10:00:00Z"),
        ("DATE '2026-01-31'", "2026-01-31"),
        ("NULL::TIMESTAMP", None),
        ("[1, 2, NULL]", [1, 2, None]),
        ("{'a': 1, 'b': [true]}", {"a": 1, "b": [True]}),
        ('\'{"a": [1, {"b": null}]}\'::JSON', {"a": [1, {"b": None}]}),
        ("[1.25::DECIMAL(5, 2)]", [1.25]),
    ],
)
def test_values(client: httpx.Client, expression: str, value: Any) -> None:
    found = value_of(client, expression)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("expression", ["['nan'::DOUBLE, 1.0]", "{'a': 'inf'::DOUBLE}"])
def test_what_is_not_a_number_is_null_inside_of_json_too(client: httpx.Client, expression: str) -> None:
    found = value_of(client, expression)
    assert all(
        value is None or math.isfinite(value) for value in (found.values() if isinstance(found, dict) else found)
    )


def test_integers_beyond_2_to_the_53_keep_all_their_digits(client: httpx.Client) -> None:
    answer = ask(client, "SELECT 9007199254740993 AS n, 12345678901234567890.12::DECIMAL(30, 2) AS d")
    assert "[9007199254740993,12345678901234567890.12]" in answer.text.replace(" ", "")


# ---- parameters


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "`q` is missing"),
        ("format=csv", "`q` is missing"),
        ("q=SELECT+1&format=xml", "`format` must be one of json, csv, ndjson"),
        ("q=SELECT+1&format=", "`format` must be one of"),
        ("q=SELECT+1&limit=0", "from 1 to 50000"),
        ("q=SELECT+1&limit=-1", "from 1 to 50000"),
        ("q=SELECT+1&limit=abc", "from 1 to 50000"),
        ("q=SELECT+1&limit=", "from 1 to 50000"),
        ("q=SELECT+1&limit=1.5", "from 1 to 50000"),
        ("q=SELECT+1&limit=50001", "from 1 to 50000"),
        ("q=SELECT+1&limit=" + "9" * 100, "from 1 to 50000"),
        ("q=SELECT+1&limit=%D9%A1", "from 1 to 50000"),
        ("q=SELECT+1&lmit=5", "did you mean `limit`?"),
        ("q=SELECT+1&Format=csv", "did you mean `format`?"),
        ("q=SELECT+1&zzz=5", "knows `q`, `format`, `limit`"),
        ("q=SELECT+1&q=SELECT+2", "`q` is given twice"),
        ("q=SELECT+1&limit=1&limit=1", "`limit` is given twice"),
        ("q=%FF", "cannot be read"),
    ],
)
def test_parameters(client: httpx.Client, query: str, words: str) -> None:
    assert words in expect_error(client.get(f"/v1/query?{query}"), 400, "invalid_parameter")["message"]


# ---- what may not be run, and what cannot be


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM events",
        "INSERT INTO events VALUES (1)",
        "UPDATE events SET event = 'x'",
        "DROP TABLE events",
        "CREATE TABLE t AS SELECT 1",
        "ATTACH 'x.db'",
        "COPY events TO '/tmp/x.csv'",
        "PRAGMA database_list",
        "SET threads = 1",
        "INSTALL httpfs",
        "EXPORT DATABASE '/tmp/x'",
        "CALL duckdb_settings()",
        "CHECKPOINT",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM information_schema.tables",
        "SELECT getenv('HOME')",
    ],
)
def test_refused(client: httpx.Client, sql: str) -> None:
    before = answer_to(client, "SELECT count() FROM events")["rows"]
    document = ask(client, sql).json()
    expect_error(ask(client, sql), 403, "query_not_allowed")
    assert "root:" not in document["message"]
    assert answer_to(client, "SELECT count() FROM events")["rows"][0][0] >= before[0][0]


@pytest.mark.parametrize(
    "sql", ["SELEC 1", "SELECT", "SELECT (1", "SELECT 'a", "SELECT 1; SELECT 2", "", "   ", "garbage", "SELECT 1 FROM"]
)
def test_what_cannot_be_parsed(client: httpx.Client, sql: str) -> None:
    expect_error(ask(client, sql), 400, "invalid_query")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT evnt FROM events", "event"),
        ("SELECT event FROM events WHERE usr_id = 'x'", "user_id"),
        ("SELECT event FROM events ORDER BY timestmp", "timestamp"),
    ],
)
def test_an_unknown_column_is_told_with_the_nearest(client: httpx.Client, sql: str, words: str) -> None:
    message = expect_error(ask(client, sql), 400, "invalid_query")["message"]
    assert words in message


def test_the_position_of_a_mistake_is_told(client: httpx.Client) -> None:
    message = expect_error(ask(client, "SELECT event FROM events WHERE (event = 'x'"), 400, "invalid_query")["message"]
    assert "line" in message.lower()


@pytest.mark.parametrize("sql", ["SELECT 'x'::INTEGER", "SELECT 9223372036854775807 + 1"])
def test_a_query_that_fails_while_it_runs(client: httpx.Client, sql: str) -> None:
    expect_error(ask(client, sql), 400, "invalid_query")


# The largest integer is passed 49,000 rows on, when megabytes of rows have left.
FAILS_LATE = "SELECT repeat('x', 300) AS t, 9223372036854726807 + r.n AS n FROM range(50000) AS r(n)"


def test_json_that_fails_midway_says_so_at_its_end(client: httpx.Client) -> None:
    answer = ask(client, FAILS_LATE, limit=50_000)
    assert answer.status_code == 200
    document = answer.json()
    assert list(document) == ["columns", "rows", "error", "message"]
    assert document["error"] == "invalid_query"
    assert 0 < len(document["rows"]) < 50_000


def test_ndjson_that_fails_midway_says_so_in_its_last_line(client: httpx.Client) -> None:
    lines = [json.loads(line) for line in ask(client, FAILS_LATE, limit=50_000, format="ndjson").text.splitlines()]
    assert list(lines[-1]) == ["error", "message"]
    assert all(list(line) == ["t", "n"] for line in lines[:-1])
    assert 0 < len(lines[:-1]) < 50_000


def test_csv_that_fails_midway_is_cut_off(shared_node: RunningNode) -> None:
    parameters: dict[str, str | int] = {"q": FAILS_LATE, "limit": 50_000, "format": "csv"}
    with shared_node.client() as client, pytest.raises(httpx.RemoteProtocolError):
        client.get("/v1/query", params=parameters)
    with shared_node.client() as client:
        assert value_of(client, "1") == 1


# ---- requests


def test_head_has_no_body(client: httpx.Client, shared_node: RunningNode) -> None:
    answer = client.head("/v1/query", params={"q": "SELECT 1 AS n"})
    assert (answer.status_code, answer.content) == (200, b"")
    key = f"Authorization: Bearer {shared_node.key}"
    with connection_to(shared_node) as connection:
        connection.sendall(head("HEAD /v1/query?q=SELECT+1", key, "Connection: close"))
        content = b""
        while part := connection.recv(65536):
            content += part
    assert content.startswith(b"HTTP/1.1 200 ")
    assert content.endswith(b"\r\n\r\n")


def test_a_query_without_a_key(shared_node: RunningNode) -> None:
    expect_error(httpx.get(shared_node.url + "/v1/query?q=SELECT+1"), 401, "unauthorized")


def test_a_long_query(client: httpx.Client) -> None:
    numbers = ", ".join(map(str, range(2000)))
    assert answer_to(client, f"SELECT count() FROM range(1000, 3000) AS t(n) WHERE n IN ({numbers})")["rows"] == [
        [1000]
    ]


# ---- who sees what


def project_client(node: RunningNode, *options: str) -> httpx.Client:
    made = run_cli("keys", "create", f"--data-dir={node.data_dir}", *options)
    assert made.returncode == 0, made.stderr
    client = httpx.Client(base_url=node.url, headers={"Authorization": f"Bearer {made.stdout.strip()}"}, timeout=60)
    wait_for(lambda: ask(client, "SELECT 1").status_code == 200, what="the new key")
    return client


@pytest.fixture
def others(shared_node: RunningNode) -> Iterator[list[httpx.Client]]:
    """A test key of the default project, and keys of two other projects."""
    clients = [
        project_client(shared_node, "--test"),
        project_client(shared_node, "--project=north"),
        project_client(shared_node, "--project=south"),
    ]
    yield clients
    for client in clients:
        client.close()


def test_projects_and_test_keys_see_only_their_own(client: httpx.Client, others: list[httpx.Client], user: str) -> None:
    everybody = [client, *others]
    sql = f"SELECT event FROM events WHERE user_id = '{user}'"
    for place, one in enumerate(everybody):
        answer = one.post("/v1/ingest", json={"event": f"from {place}", "user_id": user, "id": user})
        assert answer.status_code == 202
    for place, one in enumerate(everybody):
        rows = wait_for(lambda one=one: answer_to(one, sql)["rows"], what="the event")  # type: ignore[misc]
        assert rows == [[f"from {place}"]]
    north = others[1]
    for name in ("south.events", "default.events", '"default.test".events', "main.events", "default.main.events"):
        answer = ask(north, f"SELECT * FROM {name}")
        assert answer.status_code in (400, 403), (name, answer.text)


# ---- limits of a node


def test_a_query_that_takes_too_long(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(query_time_limit_ms=300, workers=1)
    answered(node)
    message = expect_error(node.query(ENDLESS), 400, "query_timeout")["message"]
    assert "0.3 s" in message
    answered(node)


def answered(node: RunningNode) -> None:
    """A query is answered. On a busy machine any may take longer than it has."""
    rows = wait_for(lambda: node.query("SELECT 1 AS n").json().get("rows"), what="an answer in time")
    assert rows == [[1]]


def test_a_client_that_goes_away_frees_its_slot(make_node: Callable[..., RunningNode], user: str) -> None:
    node = make_node(query_max_concurrent=1, query_time_limit_ms=3_600_000, workers=1)
    node.settle()
    key = f"Authorization: Bearer {node.key}"
    path = str(httpx.URL("/v1/query", params={"q": ENDLESS}))
    for _ in range(3):
        with connection_to(node) as connection:
            connection.sendall(head(f"GET {path}", key))
            assert node.post("/v1/ingest", {"event": "e", "user_id": user}).status_code == 202
    assert node.rows("SELECT 1 AS n") == [[1]]
    stored(node, user, 3)


def test_more_queries_than_may_run_at_once_wait_their_turn(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(query_max_concurrent=1, workers=1)
    node.settle()
    counts: list[int] = []

    def count() -> None:
        counts.append(node.rows("SELECT count() FROM range(1000000)")[0][0])

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1_000_000] * 8


def test_rows_leave_before_the_last_is_made(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=1)
    node.settle()
    sql = "SELECT range AS n, repeat('x', 1000) AS t FROM range(50000)"
    with (
        node.client() as client,
        client.stream("GET", "/v1/query", params={"q": sql, "limit": 50_000, "format": "ndjson"}) as answer,
    ):
        lines = answer.iter_lines()
        assert json.loads(next(lines))["n"] == 0
        assert sum(1 for _ in lines) == 50_000


def test_the_answer_to_a_raw_request(shared_node: RunningNode) -> None:
    with connection_to(shared_node) as connection:
        connection.sendall(head("GET /v1/query", f"Authorization: Bearer {shared_node.key}"))
        status, body = read_answer(connection)
    assert (status, json.loads(body)["error"]) == (400, "invalid_parameter")
