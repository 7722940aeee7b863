"""What is sent is what is found: values come back by SQL as they went in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.api.contract import JSON, encoded, stored
from tests.support import RunningNode

WEBHOOKS = Path(__file__).parent.parent / "data" / "webhooks.json"


def paths(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every value in a document with its path and type, so that True is not 1 and 1 is not 1.0."""
    if isinstance(value, dict):
        yield path, "object", len(value)
        for key in sorted(value):
            yield from paths(value[key], f"{path}/{key}")
    elif isinstance(value, list):
        yield path, "array", len(value)
        for place, item in enumerate(value):
            yield from paths(item, f"{path}/{place}")
    else:
        yield path, type(value).__name__, value


def expect_same(found: Any, sent: Any) -> None:
    assert list(paths(found)) == list(paths(sent))


def test_webhooks(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    sent = json.loads(WEBHOOKS.read_text("utf-8"))["events"]
    answer = client.post("/v1/batch", json={"events": [{**event, "user_id": user} for event in sent]})
    assert answer.json()["events"] == len(sent), answer.text
    rows = stored(shared_node, user, len(sent), "event, properties, context")
    for event, (name, properties, context) in zip(sent, rows, strict=True):
        assert name == event["event"]
        expect_same(properties, event["properties"])
        expect_same(context, event["context"])


def test_webhooks_one_by_one_escaped_and_as_ndjson(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    sent = json.loads(WEBHOOKS.read_text("utf-8"))["events"]
    for event in sent:
        content = json.dumps({**event, "user_id": user}, ensure_ascii=True, indent=2).encode()
        assert client.post("/v1/ingest", content=content).status_code == 202
    stored(shared_node, user, len(sent))
    sql = f"SELECT event, properties, context FROM events WHERE user_id = '{user}'"
    lines = [json.loads(line) for line in shared_node.query(sql, format="ndjson").text.split("\n")[:-1]]
    assert lines[-1]["meta"]["types"] == ["VARCHAR", "VARIANT", "VARIANT"]
    found = {line["event"]: line for line in lines[:-1]}
    for event in sent:
        expect_same(found[event["event"]], event)


TIMESTAMPS = {
    "2026-01-31T13:45:00Z": "2026-01-31T13:45:00Z",
    "2026-01-31T13:45:00z": "2026-01-31T13:45:00Z",
    "2026-01-31t13:45:00Z": "2026-01-31T13:45:00Z",
    "2026-01-31 13:45:00Z": "2026-01-31T13:45:00Z",
    "2026-01-31T13:45:00+02:00": "2026-01-31T11:45:00Z",
    "2026-01-31T13:45:00-0330": "2026-01-31T17:15:00Z",
    "2026-01-31T13:45:00+14": "2026-01-30T23:45:00Z",
    "2026-12-31T23:30:00-01:00": "2027-01-01T00:30:00Z",
    "2024-02-29T00:00:00+00:01": "2024-02-28T23:59:00Z",
    "2026-01-31T13:45:00": "2026-01-31T13:45:00Z",
    "2026-01-31T13:45": "2026-01-31T13:45:00Z",
    "2026-01-31": "2026-01-31T00:00:00Z",
    "2026-01-31T13:45:00.5Z": "2026-01-31T13:45:00.5Z",
    "2026-01-31T13:45:00.000001Z": "2026-01-31T13:45:00.000001Z",
    "2026-01-31T13:45:00.123456789Z": "2026-01-31T13:45:00.123457Z",
    "2026-01-31T13:45:59.9999999Z": "2026-01-31T13:46:00Z",
    "1970-01-01T00:00:00Z": "1970-01-01T00:00:00Z",
    "2100-12-31T23:59:59.999999Z": "2100-12-31T23:59:59.999999Z",
}


def test_timestamps(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    batch = [{"event": sent, "user_id": user, "timestamp": sent} for sent in TIMESTAMPS]
    # One by one too: a batch of mixed forms takes another way through the decoder than a single event.
    assert client.post("/v1/batch", json={"events": batch}).status_code == 202
    for event in batch:
        assert client.post("/v1/ingest", json=event).status_code == 202
    rows = stored(shared_node, user, 2 * len(batch), "event, timestamp")
    assert rows == [list(item) for item in TIMESTAMPS.items()] * 2


def test_integers_are_exact_and_searchable(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    integers = [0, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1]
    batch = [{"event": str(n), "user_id": user, "properties": {"n": n}} for n in integers]
    assert client.post("/v1/batch", json={"events": batch}).status_code == 202
    rows = stored(shared_node, user, len(integers), "event, properties, properties.n")
    assert rows == [[str(n), {"n": n}, n] for n in integers]
    for n in integers:
        sql = f"SELECT event FROM events WHERE user_id = '{user}' AND properties.n = {n}"
        assert shared_node.rows(sql) == [[str(n)]]


def test_a_key_that_occurs_twice_has_its_last_value(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    content = b'{"event":"e","user_id":"%s","properties":{"a":1,"a":{"b":1,"b":2}}}' % user.encode()
    assert client.post("/v1/ingest", content=content, headers=JSON).status_code == 202
    assert stored(shared_node, user, 1, "properties") == [[{"a": {"b": 2}}]]


def test_absent_null_and_empty(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    batch: list[dict[str, Any]] = [
        {"event": "absent"},
        {"event": "null", "properties": None, "context": None},
        {"event": "empty", "properties": {}, "context": {}},
        {"event": "inside", "properties": {"a": None}, "context": {"a": {}, "b": []}},
    ]
    batch = [{**event, "user_id": user} for event in batch]
    assert client.post("/v1/batch", json={"events": batch}).status_code == 202
    assert stored(shared_node, user, 4, "event, properties, context") == [
        ["absent", None, None],
        ["null", None, None],
        ["empty", {}, {}],
        ["inside", {"a": None}, {"a": {}, "b": []}],
    ]


@pytest.mark.parametrize("many", [300, 3000])
def test_many_distinct_keys(client: httpx.Client, shared_node: RunningNode, user: str, many: int) -> None:
    sent = [{f"key {place} of {row}": place for place in range(many // 10)} for row in range(10)]
    batch = [{"event": "e", "user_id": user, "properties": properties} for properties in sent]
    assert client.post("/v1/batch", json={"events": batch}).status_code == 202
    for (found,), properties in zip(stored(shared_node, user, 10, "properties"), sent, strict=True):
        expect_same(found, properties)


texts = st.text(st.characters(codec="utf-8"), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-1000, 1000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["", "null", "true", "1", "1.0", "2026-01-31", "2026-01-31T13:45:00Z", "[1]", '{"a":1}', "\x00"])
)
keys = st.sampled_from(["a", "b", "A", "a.b", "", "id", "name", "0", "$", "é"]) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(keys, values, max_size=6)


def generated(count: int) -> list[tuple[Any, Any]]:
    """So many pairs of documents, the same in every run."""
    pairs: list[tuple[Any, Any]] = []

    @settings(max_examples=count, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(st.tuples(documents, documents))
    def collect(pair: tuple[Any, Any]) -> None:
        pairs.append(pair)

    collect()
    return pairs


def test_any_json(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    sent = generated(500)[:500]
    batch = [
        {"event": "e", "user_id": user, "properties": properties, "context": context} for properties, context in sent
    ]
    answer = client.post("/v1/batch", content=encoded({"events": batch}), headers=JSON)
    assert answer.status_code == 202, answer.text
    rows = stored(shared_node, user, len(sent), "properties, context")
    for (properties, context), (found_properties, found_context) in zip(sent, rows, strict=True):
        expect_same(found_properties, properties)
        expect_same(found_context, context)
