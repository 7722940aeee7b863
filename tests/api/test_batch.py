"""POST /v1/batch: up to 500 events, all or nothing."""

import gzip
import re
from typing import Any

import httpx
import pytest

from tests.api.contract import JSON, encoded, expect_error, stored
from tests.support import RunningNode

LIMIT = 10 * 1024 * 1024


def post(client: httpx.Client, body: object, path: str = "/v1/batch", **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body if isinstance(body, bytes) else encoded(body)
    return client.post(path, content=content, headers={**JSON, **names})


def events(user: str, count: int) -> list[dict[str, Any]]:
    return [{"event": f"e{place}", "user_id": user} for place in range(count)]


def test_accepted(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    answer = post(client, {"events": events(user, 2)})
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["accepted", "events", "batch_id"]
    assert (body["accepted"], body["events"]) == (True, 2)
    assert re.fullmatch("b_[0-9a-f]{28}", body["batch_id"])
    rows = stored(shared_node, user, 2, "event, batch_id")
    assert rows == [["e0", body["batch_id"]], ["e1", body["batch_id"]]]


def test_each_batch_has_an_id_of_its_own(client: httpx.Client, user: str) -> None:
    answers = [post(client, {"events": events(user, 1)}).json() for _ in range(20)]
    assert len({answer["batch_id"] for answer in answers}) == 20


@pytest.mark.parametrize("count", [1, 500])
def test_sizes(client: httpx.Client, shared_node: RunningNode, user: str, count: int) -> None:
    assert post(client, {"events": events(user, count)}).json()["events"] == count
    assert stored(shared_node, user, count) == [[f"e{place}"] for place in range(count)]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({}, "/events", "`events` is required"),
        ({"events": None}, "/events", "`events` is required"),
        ({"events": []}, "/events", "is empty"),
        ({"events": {}}, "/events", "must be an array of 1 to 500 events, not an object"),
        ({"events": "e"}, "/events", "not a string"),
        ({"events": [{"event": "e"}] * 501}, "/events", "split it into batches of at most 500"),
        ({"events": [{"event": "e"}] * 10_000}, "/events", "10,000 events"),
        ({"event": "e"}, "/event", "did you mean `events`?"),
        ({"events": [{"event": "e"}], "contxt": {}}, "/contxt", "did you mean `context`?"),
        ({"events": [{"event": "e"}], "zzz": {}}, "/zzz", "only `events` and `context`"),
        ({"events": [{"event": "e"}], "context": []}, "/context", "must be an object, not an array"),
        ({"events": [{"event": "e"}], "context": {"x": "y" * 70_000}}, "/context", "send a smaller one"),
        ([{"event": "e"}], "", 'an object with the array "events", not an array'),
        (7, "", "not a number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused(client: httpx.Client, body: object, pointer: str, words: str) -> None:
    for path in ("/v1/batch", "/v1/batch?partial=true"):
        answer = expect_error(post(client, body, path), 400, "invalid_event")
        assert pointer in [detail["pointer"] for detail in answer["details"]]
        assert words in " ".join(detail["message"] for detail in answer["details"])


def test_one_bad_event_and_nothing_is_queued(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    batch = events(user, 10)
    batch[3]["event"] = ""
    batch[7] = {"event": "e", "user_id": user, "timestamp": "never", "userId": user}
    body = expect_error(post(client, {"events": batch}), 400, "invalid_event")
    assert body["message"].startswith("2 of 10 events are not valid")
    assert [(detail["index"], detail["pointer"]) for detail in body["details"]] == [
        (3, "/events/3/event"),
        (7, "/events/7/timestamp"),
        (7, "/events/7/userId"),
    ]
    assert "`user_id`" in body["details"][2]["message"]
    shared_node.settle()
    assert stored(shared_node, user, 0) == []


def test_every_bad_event_of_a_full_batch_is_listed(client: httpx.Client) -> None:
    body = expect_error(post(client, {"events": [{}, 5, None, "e"] * 125}), 400, "invalid_event")
    assert [detail["index"] for detail in body["details"]] == list(range(500))


def test_partial(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    batch = events(user, 6)
    batch[2]["timestamp"] = "never"
    batch[4]["event"] = 5
    answer = post(client, {"events": batch}, "/v1/batch?partial=true")
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) == {"accepted", "events", "batch_id", "rejected"}
    assert (body["accepted"], body["events"]) == (True, 4)
    assert [(fault["index"], fault["pointer"]) for fault in body["rejected"]] == [
        (2, "/events/2/timestamp"),
        (4, "/events/4/event"),
    ]
    assert all(fault["message"] for fault in body["rejected"])
    assert stored(shared_node, user, 4) == [["e0"], ["e1"], ["e3"], ["e5"]]


def test_partial_with_nothing_to_reject(client: httpx.Client, user: str) -> None:
    for value in ("true", "True", "1"):
        body = post(client, {"events": events(user, 2)}, f"/v1/batch?partial={value}").json()
        assert (body["events"], body["rejected"]) == (2, [])
    for value in ("false", "0"):
        assert "rejected" not in post(client, {"events": events(user, 2)}, f"/v1/batch?partial={value}").json()


def test_partial_with_nothing_that_is_good(client: httpx.Client) -> None:
    body = expect_error(post(client, {"events": [{}, {}]}, "/v1/batch?partial=true"), 400, "invalid_event")
    assert [detail["index"] for detail in body["details"]] == [0, 1]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("partial=yes", "must be true or false"),
        ("partial=", "must be true or false"),
        ("partial=true&partial=true", "twice"),
        ("patrial=true", "did you mean `partial`?"),
        ("x=1", "knows `partial`"),
    ],
)
def test_parameters(client: httpx.Client, user: str, query: str, words: str) -> None:
    answer = post(client, {"events": events(user, 1)}, f"/v1/batch?{query}")
    assert words in expect_error(answer, 400, "invalid_parameter")["message"]


def test_context_is_shared_and_an_events_own_keys_win(
    client: httpx.Client, shared_node: RunningNode, user: str
) -> None:
    batch = events(user, 4)
    batch[1]["context"] = {"app": "kiosk", "device": {"os": "linux"}}
    batch[2]["context"] = {}
    batch[3]["context"] = None
    context = {"app": "shop", "release": "2.4", "device": {"os": "ios", "model": "x"}}
    assert post(client, {"events": batch, "context": context}).status_code == 202
    own = {"app": "kiosk", "release": "2.4", "device": {"os": "linux"}}
    assert stored(shared_node, user, 4, "context") == [[context], [own], [context], [context]]


def test_an_id_is_stored_once_within_and_across_batches(
    client: httpx.Client, shared_node: RunningNode, user: str
) -> None:
    batch = [{"event": f"e{place}", "user_id": user, "id": f"{user}-{place % 3}"} for place in range(6)]
    for _ in range(2):
        assert post(client, {"events": batch}).json()["events"] == 6
    assert client.post("/v1/ingest", json={**batch[0], "event": "again"}).status_code == 202
    shared_node.settle()
    assert stored(shared_node, user, 3) == [["e0"], ["e1"], ["e2"]]


def test_an_idempotency_key_makes_a_retry_safe(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    first = post(client, {"events": events(user, 3)}, Idempotency_Key=user)
    retry = post(client, {"events": events(user, 3)}, Idempotency_Key=user)
    assert first.status_code == retry.status_code == 202
    assert first.json() == retry.json()
    single = client.post("/v1/ingest", json={"event": "x", "user_id": user}, headers={"Idempotency-Key": user})
    assert single.status_code == 202
    other = post(client, {"events": events(user, 1)}, Idempotency_Key=user + "-2")
    assert other.json()["batch_id"] != first.json()["batch_id"]
    shared_node.settle()
    assert sorted(stored(shared_node, user, 4)) == [["e0"], ["e0"], ["e1"], ["e2"]]


def test_a_refused_batch_does_not_use_its_idempotency_key_up(
    client: httpx.Client, shared_node: RunningNode, user: str
) -> None:
    assert post(client, {"events": [{}]}, Idempotency_Key=user).status_code == 400
    assert post(client, {"events": events(user, 1)}, Idempotency_Key=user).status_code == 202
    stored(shared_node, user, 1)


def test_gzip(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    content = gzip.compress(encoded({"events": events(user, 500)}))
    assert post(client, content, Content_Encoding="gzip").json()["events"] == 500
    stored(shared_node, user, 500)


def large_batch(size: int) -> bytes:
    """A batch of 100 events and exactly this many bytes."""
    event = b'{"event":"e","properties":{"x":"%s"}}'
    parts = [event % (b"x" * ((size - 6_000) // 100))] * 99
    start = b'{"events":[' + b",".join(parts) + b","
    last = b'{"event":"e","properties":{"x":"'
    return start + last + b"x" * (size - len(start) - len(last) - len(b'"}}]}')) + b'"}}]}'


def test_the_size_limit(client: httpx.Client) -> None:
    content = large_batch(LIMIT)
    assert len(content) == LIMIT
    assert post(client, content).json()["events"] == 100
    assert post(client, gzip.compress(content), Content_Encoding="gzip").status_code == 202
    content = large_batch(LIMIT + 1)
    assert str(LIMIT) in expect_error(post(client, content), 413, "payload_too_large")["message"]
    expect_error(post(client, gzip.compress(content), Content_Encoding="gzip"), 413, "payload_too_large")


def test_a_batch_that_is_not_json(client: httpx.Client) -> None:
    for content in (b"", b"[", b'{"events":[{"event":"e"}', b'{"events":[{"event":"e"},]}', b"\xff"):
        expect_error(post(client, content), 400, "invalid_json")
