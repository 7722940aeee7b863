"""Two collections of statements, through the API of a real node: what may not run, and what must be answered right."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.memory import peak, reset_peak, resident
from tests.support import RunningNode, running_node, wait_for

# Longer statements do not fit into a URL: the server refuses them before any of our code sees them.
URL_LIMIT = 40_000
DATA = Path(__file__).parents[1] / "data" / "sql"
SANDBOX = [case for case in json.loads((DATA / "sandbox.json").read_text()) if len(case["sql"]) < URL_LIMIT]
VARIANT = json.loads((DATA / "variant.json").read_text())
MIB = 1024 * 1024
# What a store with few events has for itself, generously.
IDLE_BYTES = 200 * MIB


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that holds the events of the second collection, and gives queries little time."""
    path = tmp_path_factory.mktemp("corpora") / "data"
    with running_node(path, query_time_limit_ms=1500, query_memory_limit_bytes=512 * MIB) as node:
        events = [
            {"event": "v", "user_id": str(place), "properties": properties}
            for place, properties in enumerate(VARIANT["events"], 1)
        ]
        assert node.post("/v1/batch", {"events": events}).status_code == 202
        node.wait_for_count(len(events))
        yield node


def in_time(node: RunningNode, sql: str) -> httpx.Response:
    """The answer to a query that needs little time, once a busy machine gives it that."""

    def answered() -> httpx.Response | None:
        answer = node.query(sql)
        is_late = answer.status_code == 400 and answer.json()["error"] == "query_timeout"
        return None if is_late else answer

    return wait_for(answered, what=f"an answer to {sql}")


def _statuses(kind: str) -> set[int]:
    return {"deny": {400, 403}, "limit": {200, 400, 403}, "allow": {200}}[kind]


@pytest.mark.parametrize("case", SANDBOX, ids=lambda case: case["name"])
def test_what_may_run(node: RunningNode, case: dict[str, str], tmp_path: Path) -> None:
    sql = case["sql"].replace("{DIR}", str(tmp_path)).replace("{DB}", str(node.data_dir / "store/store.duckdb"))
    answer = in_time(node, sql) if case["must"] == "allow" else node.query(sql)
    assert answer.status_code in _statuses(case["must"]), answer.text[:500]
    if answer.status_code != 200:
        assert answer.json()["error"] in {"invalid_query", "query_not_allowed", "query_timeout", "query_too_large"}
        assert str(node.data_dir) not in answer.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", VARIANT["cases"], ids=lambda case: case["name"])
def test_right_answers_without_casts(node: RunningNode, case: dict[str, Any]) -> None:
    answer = in_time(node, case["sql"])
    assert answer.status_code == 200, answer.text
    assert _close(answer.json()["rows"], case["want"]), answer.text


def test_the_node_is_well_after_all_that(node: RunningNode) -> None:
    assert node.count() == len(VARIANT["events"])
    wait_for(lambda: node.get("/v1/health").json()["status"] == "ok", what="a node that is well")


def test_a_query_that_took_all_memory_gives_it_back(node: RunningNode) -> None:
    (store,) = node.children()["store"]
    wait_for(lambda: resident(store) < IDLE_BYTES, what="memory given back by the queries before")
    sql = next(case["sql"] for case in SANDBOX if case["name"] == "dos/map_big")

    def takes_all() -> bool:
        """On a busy machine its time may be over before."""
        reset_peak(store)
        assert node.query(sql).json()["error"] in {"query_too_large", "query_timeout"}
        return peak(store) > 2 * IDLE_BYTES

    wait_for(takes_all, what="a query that takes all memory")
    wait_for(lambda: resident(store) < IDLE_BYTES, what="memory given back")


def _close(found: Any, wanted: Any) -> bool:
    """Equal, numbers within 1e-9 of each other."""
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(_close, found, wanted))
    numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
    if numbers and not isinstance(found, bool) and not isinstance(wanted, bool):
        return bool(abs(found - wanted) <= 1e-9 * max(1.0, abs(wanted)))
    return bool(type(found) is type(wanted) and found == wanted)
