"""``GET /v1/schema`` of a real node: what it says is there can be asked for as it is written."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from novamesh.sql.functions import ALLOWED, TABLE_FUNCTIONS
from novamesh.sql.names import COLUMNS
from tests.api.contract import expect_error
from tests.support import RunningNode, run_cli, running_node, wait_for

ODD = [
    "odd key",
    "a'b",
    'q"q',
    "a.b",
    "",
    "1",
    "select",
    "ключ",
    "a\\b",
    "[1]",
    "{}",
    "*",
    "%s",
    "$x",
    "?",
    "\n",
    "A",
    "a",
]
EVENTS: list[dict[str, Any]] = [
    {"event": "odd", "properties": dict.fromkeys(ODD, 1)},
    {
        "event": "nested",
        "properties": {"cart": {"total": 9.5, "odd key": {"x": 1}}, "items": [{"sku": "a"}, {"sku": 7}]},
    },
    *({"event": "view", "properties": {"page": f"/{n}"}, "context": {"device": "phone"}} for n in range(6)),
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("schema") / "data", workers=1) as node:
        node.send(EVENTS)
        node.wait_for_count(len(EVENTS))
        yield node


def key(node: RunningNode, *options: str) -> str:
    made = run_cli("keys", "create", "--data-dir", node.data_dir, *options)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    wait_for(lambda: schema(node, secret).status_code != 401, what="the key")
    return secret


def schema(node: RunningNode, secret: str = "", **parameters: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secret or node.key}"}
    return httpx.get(node.url + "/v1/schema", headers=headers, params=parameters, timeout=60)


def test_what_it_says(filled: RunningNode) -> None:
    answer = schema(filled)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document = answer.json()
    assert list(document) == ["columns", "events", "properties", "functions", "sampled", "truncated"]
    assert [column["name"] for column in document["columns"]] == list(COLUMNS["events"])
    described = filled.rows("DESCRIBE events")
    assert [[column["name"], column["type"]] for column in document["columns"]] == described
    assert document["events"] == [
        {"name": "view", "count": 6},
        {"name": "nested", "count": 1},
        {"name": "odd", "count": 1},
    ]
    assert document["functions"] == sorted(ALLOWED | TABLE_FUNCTIONS)
    assert (document["sampled"], document["truncated"]) == (len(EVENTS), False)
    page = next(one for one in document["properties"] if one["path"] == "properties.page")
    assert page["examples"][0] in [f"/{n}" for n in range(6)]
    assert page | {"examples": []} == {
        "path": "properties.page", "name": "page", "types": ["string"], "share": 0.75, "examples": []
    }  # fmt: skip


def test_every_path_can_be_asked_for_as_it_is_written(filled: RunningNode) -> None:
    found = schema(filled).json()["properties"]
    assert len(found) == len(ODD) + len(["cart", "total", "odd key", "x", "items", "[1]", "sku", "page", "device"])
    paths = [one["path"] for one in found]
    counts = filled.rows(f"SELECT {', '.join(f'count({path})' for path in paths)} FROM events")[0]
    assert counts == [round(one["share"] * len(EVENTS)) for one in found]
    assert {one["name"] for one in found} >= {*ODD, "sku", "total", "device"}


def test_a_key_for_tests_is_told_of_test_events(filled: RunningNode) -> None:
    secret = key(filled, "--scope", "query", "--test")
    document = schema(filled, secret).json()
    assert (document["events"], document["properties"], document["sampled"]) == ([], [], 0)


def test_another_project_is_told_of_its_own(filled: RunningNode) -> None:
    secret = key(filled, "--scope", "query", "--project", "other")
    assert schema(filled, secret).json()["properties"] == []


def test_who_may_ask(filled: RunningNode) -> None:
    expect_error(httpx.get(filled.url + "/v1/schema"), 401, "unauthorized")
    expect_error(schema(filled, key(filled, "--scope", "ingest")), 403, "forbidden")
    expect_error(schema(filled, table="events"), 400, "invalid_parameter")
    expect_error(httpx.post(filled.url + "/v1/schema"), 405, "method_not_allowed")
