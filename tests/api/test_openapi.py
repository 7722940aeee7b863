"""``/openapi.json``, and that the answers of a real node are as it says: every success, every error that is cheap."""

import re
from typing import Any

import httpx
import pytest

from novamesh.edge.api.openapi import document
from tests.api.contract import connected, head, read_answer
from tests.conformity import check, operation, strict
from tests.support import RunningNode, run_cli, wait_for

BATCH = "b_" + "0" * 28
GOOD = {"event": "openapi"}
# What takes time, luck or a sick node: tests elsewhere see to those.
DEAR = {"408", "414", "429", "431", "500", "503"}

Case = tuple[str, str, dict[str, Any], int]
# Of each: the path as the document names it, what stands in its place in the request, what is sent, the status.
CASES: list[Case] = [
    ("GET /", "", {}, 200),
    ("GET /console", "", {}, 200),
    ("GET /console", "", {"headers": {"If-None-Match": "*"}}, 304),
    ("GET /console/{file}", "LICENSES.txt", {}, 200),
    ("GET /console/{file}", "LICENSES.txt", {"headers": {"If-None-Match": "*"}}, 304),
    ("GET /console/{file}", "nothing.js", {}, 404),
    ("GET /metrics", "", {}, 200),
    ("GET /openapi.json", "", {}, 200),
    ("GET /v1/health", "", {}, 200),
    ("GET /v1/ready", "", {}, 200),
    ("POST /v1/ingest", "", {"json": GOOD}, 202),
    ("POST /v1/ingest", "?wait=stored", {"json": GOOD}, 202),
    ("POST /v1/ingest", "", {"json": {"evnt": "x"}}, 400),
    ("POST /v1/ingest", "", {"content": b"{"}, 400),
    ("POST /v1/ingest", "?wait=x", {"json": GOOD}, 400),
    ("POST /v1/ingest", "", {"json": GOOD, "headers": {"Content-Encoding": "gzip"}}, 400),
    ("POST /v1/ingest", "", {"json": GOOD, "key": ""}, 401),
    ("POST /v1/ingest", "", {"json": GOOD, "key": "query"}, 403),
    ("POST /v1/ingest", "", {"content": b" " * 300_000}, 413),
    ("POST /v1/ingest", "", {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
    ("POST /v1/ingest", "", {"json": GOOD, "headers": {"Content-Encoding": "br"}}, 415),
    ("POST /v1/batch", "", {"json": {"events": [GOOD, GOOD], "context": {"a": 1}}}, 202),
    ("POST /v1/batch", "?wait=stored", {"json": {"events": [GOOD]}}, 202),
    ("POST /v1/batch", "?partial=true", {"json": {"events": [GOOD, {}]}}, 202),
    ("POST /v1/batch", "", {"json": {"events": [GOOD], "context": 3}}, 400),
    ("POST /v1/batch", "", {"json": {"events": [GOOD, {}, {"event": "x", "id": 1}]}}, 400),
    ("POST /v1/batch", "", {"json": {"events": [GOOD]}, "headers": {"Idempotency-Key": "k" * 300}}, 400),
    ("POST /v1/batch", "", {"json": {"events": [GOOD]}, "key": ""}, 401),
    ("POST /v1/batch", "", {"json": {"events": [GOOD]}, "key": "query"}, 403),
    ("POST /v1/batch", "", {"content": b" " * 11_000_000}, 413),
    ("POST /v1/batch", "", {"content": b"x", "headers": {"Content-Type": "text/csv"}}, 415),
    ("GET /v1/batches/{batch_id}", BATCH, {}, 404),
    ("GET /v1/batches/{batch_id}", "b_1", {}, 400),
    ("GET /v1/batches/{batch_id}", BATCH, {"key": ""}, 401),
    ("GET /v1/batches/{batch_id}", BATCH, {"key": "query"}, 403),
    *(("GET /v1/query", "", {"params": {"q": "FROM events LIMIT 2", "format": one}}, 200) for one in ("json", "csv", "ndjson", "arrow", "parquet")),
    ("GET /v1/query", "", {"params": {"q": "SELECT [1, {'a': NULL}], now()"}}, 400),
    ("GET /v1/query", "", {"params": {"q": "SELECT 1, [], NULL, {'a': 1.5}, now()"}}, 200),
    ("GET /v1/query", "", {"params": {"q": "EXPLAIN SELECT 1"}}, 200),
    ("GET /v1/query", "", {"params": {"q": "SHOW TABLES"}}, 200),
    ("GET /v1/query", "", {"params": {"q": "SELECT evnt FROM events"}}, 400),
    ("GET /v1/query", "", {"params": {"q": "SELECT 1", "limit": 0}}, 400),
    ("GET /v1/query", "", {"params": {}}, 400),
    ("GET /v1/query", "", {"params": {"q": "SELECT 1"}, "headers": {"X": "x" * 140_000}}, 431),
    ("GET /v1/query", "", {"params": {"q": "SELECT 1"}, "key": ""}, 401),
    ("GET /v1/query", "", {"params": {"q": "SELECT 1"}, "key": "ingest"}, 403),
    ("GET /v1/query", "", {"params": {"q": "DELETE FROM events"}}, 403),
    ("POST /v1/query", "", {"json": {"q": "SELECT $a AS a"}}, 400),
    ("POST /v1/query", "", {"json": {"q": "SELECT $a AS a", "params": {"a": "x"}, "limit": 1}}, 200),
    ("POST /v1/query", "", {"json": {"q": "SELECT 1", "format": "csv"}}, 200),
    ("POST /v1/query", "", {"json": {"sql": "SELECT 1"}}, 400),
    ("POST /v1/query", "", {"content": b"["}, 400),
    ("POST /v1/query", "", {"json": {"q": "SELECT 1"}, "key": ""}, 401),
    ("POST /v1/query", "", {"json": {"q": "DROP TABLE events"}}, 403),
    ("POST /v1/query", "", {"content": b" " * 2_000_000}, 413),
    ("POST /v1/query", "", {"content": b"x", "headers": {"Content-Type": "text/csv"}}, 415),
    *(("GET /v1/export", "", {"params": {"q": "FROM events", "format": one}}, 200) for one in ("ndjson", "csv", "arrow", "parquet")),
    ("GET /v1/export", "", {"params": {"q": "SELECT count() FROM events"}}, 200),
    ("GET /v1/export", "", {"params": {"q": "FROM events", "format": "json"}}, 400),
    ("GET /v1/export", "", {"params": {"q": "FROM events", "after": 1}}, 400),
    ("GET /v1/export", "", {"params": {"q": "FROM events"}, "key": ""}, 401),
    ("GET /v1/export", "", {"params": {"q": "FROM duckdb_settings()"}}, 403),
    ("GET /v1/schema", "", {}, 200),
    ("GET /v1/schema", "?x=1", {}, 400),
    ("GET /v1/schema", "", {"key": ""}, 401),
    ("GET /v1/schema", "", {"key": "ingest"}, 403),
    ("GET /v1/tail", "?x=1", {}, 400),
    ("GET /v1/tail", "", {"key": ""}, 401),
    ("GET /v1/tail", "", {"key": "ingest"}, 403),
    ("DELETE /v1/users/{user_id}", "u_of_nobody", {"key": "admin"}, 200),
    ("DELETE /v1/users/{user_id}", "", {"key": "admin"}, 400),
    ("DELETE /v1/users/{user_id}", "u_1", {"key": ""}, 401),
    ("DELETE /v1/users/{user_id}", "u_1", {"key": "query"}, 403),
]  # fmt: skip


@pytest.fixture(scope="module")
def keys(shared_node: RunningNode) -> dict[str, str]:
    """Keys by the one scope they have; one that has two is the node's own."""
    made = {"": "nm_live_wrong", "both": shared_node.key}
    for scope in ("ingest", "query", "admin"):
        said = run_cli("keys", "create", "--data-dir", shared_node.data_dir, "--scope", scope)
        made[scope] = said.stdout.strip()
    wait_for(lambda: send(shared_node, made, ("GET /v1/schema", "", {"key": "admin"}, 403)).status_code == 403)
    return made


def send(node: RunningNode, keys: dict[str, str], case: Case) -> httpx.Response:
    where, rest, options, _ = case
    method, _, path = where.partition(" ")
    sent = {"key": "both", **options}
    headers = {"Authorization": f"Bearer {keys[sent.pop('key')]}", **sent.pop("headers", {})}
    return httpx.request(method, node.url + path.partition("{")[0] + rest, headers=headers, timeout=60, **sent)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}{case[1]}-{case[3]}")
def test_answers_are_as_documented(shared_node: RunningNode, keys: dict[str, str], case: Case) -> None:
    answer = send(shared_node, keys, case)
    assert answer.status_code == case[3], answer.text
    check(answer, case[0].partition(" ")[2])


def test_a_receipt_is_as_documented(shared_node: RunningNode) -> None:
    sent = shared_node.post("/v1/batch?wait=stored", {"events": [GOOD]}).json()
    with shared_node.client() as client:
        answer = client.get(f"/v1/batches/{sent['batch_id']}")
    assert answer.status_code == 200
    check(answer, "/v1/batches/{batch_id}")
    assert re.fullmatch(
        operation("/v1/batches/{batch_id}", "GET")["parameters"][0]["schema"]["pattern"], sent["batch_id"]
    )


def test_an_address_that_is_too_long_is_as_documented(shared_node: RunningNode) -> None:
    """httpx would not send it."""
    with connected(shared_node) as connection:
        connection.sendall(head("GET /v1/query?q=" + "x" * 70_000))
        status, body = read_answer(connection)
    assert status == 414
    request = httpx.Request("GET", shared_node.url + "/v1/query")
    check(httpx.Response(status, content=body, request=request), "/v1/query")


def test_a_tail_is_as_documented(shared_node: RunningNode) -> None:
    with shared_node.client() as client, client.stream("GET", "/v1/tail", params={"event": "none"}) as answer:
        assert next(answer.iter_lines()).startswith("retry: ")
        (media,) = operation("/v1/tail", "GET")["responses"]["200"]["content"]
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)


def test_a_rate_that_is_used_up_is_as_documented(shared_node: RunningNode) -> None:
    said = run_cli(
        "keys", "create", "--data-dir", shared_node.data_dir, "--scope", "ingest", "--rate", "1", "--burst", "1"
    )
    keys = {"both": said.stdout.strip()}
    case: Case = ("POST /v1/ingest", "", {"json": GOOD}, 429)

    def refused() -> httpx.Response | None:
        answer = send(shared_node, keys, case)
        return answer if answer.status_code == 429 else None

    check(wait_for(refused, what="the end of the rate"), "/v1/ingest")


def test_every_status_that_is_cheap_was_seen() -> None:
    seen = {(where, str(status)) for where, _, _, status in CASES if str(status) not in DEAR}
    seen |= {("GET /openapi.json", "304"), ("GET /v1/batches/{batch_id}", "200"), ("GET /v1/tail", "200")}
    documented = {
        (f"{method.upper()} {path}", status)
        for path, item in strict()["paths"].items()
        for method in item
        for status in item[method]["responses"]
        if status not in DEAR
    }
    assert documented == seen


def test_the_document_is_served(shared_node: RunningNode) -> None:
    answer = httpx.get(shared_node.url + "/openapi.json")
    assert answer.json() == document(shared_node.url)
    etag = answer.headers["etag"]
    for known in (etag, f'"x", W/{etag}', "*"):
        again = httpx.get(shared_node.url + "/openapi.json", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        check(again, "/openapi.json")
        head_alone = httpx.head(shared_node.url + "/openapi.json", headers={"If-None-Match": known})
        assert (head_alone.status_code, head_alone.headers["etag"]) == (304, etag)
    for path in ("/openapi.json", "/console"):  # it is none of ours, and the document has no 400 there
        unreadable = httpx.get(shared_node.url + path, headers={b"If-None-Match": b'"\xff"'})
        assert unreadable.status_code == 200
    other = httpx.get(shared_node.url + "/openapi.json", headers={"If-None-Match": '"x"'})
    assert other.content == answer.content
