"""GET /v1/batches/{batch_id}, and answers that wait until the store has the events."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from novamesh.edge.app import ROUTES
from tests.api.contract import connected, encoded, expect_error, head, read_answer
from tests.support import RunningNode, run_cli, wait_for

MakeNode = Callable[..., RunningNode]
UNKNOWN = "b_" + "0" * 28


def batch(count: int = 2, user: str = "u", **fields: Any) -> dict[str, Any]:
    return {"events": [{"event": f"e{place}", "user_id": user, **fields} for place in range(count)]}


def send(node: RunningNode, body: object, path: str = "/v1/batch", **headers: str) -> dict[str, Any]:
    answer = node.post(path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


def ask(node: RunningNode, batch_id: str, key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or node.key}"}
    return httpx.get(f"{node.url}/v1/batches/{batch_id}", headers=headers, timeout=60)


def receipt(node: RunningNode, batch_id: str) -> dict[str, Any]:
    answer = ask(node, batch_id)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert list(document)[:4] == ["batch_id", "events", "status", "received_at"]
    assert document["batch_id"] == batch_id
    return document


def settled(node: RunningNode, batch_id: str) -> dict[str, Any]:
    """The receipt once the batch has left the spool."""
    return wait_for(lambda: _unless_queued(ask(node, batch_id)), what="a batch that is no longer queued")


def _unless_queued(answer: httpx.Response) -> dict[str, Any] | None:
    if answer.status_code == 503:  # a store that has just been started
        return None
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document if document["status"] != "queued" else None


def counts(document: dict[str, Any]) -> tuple[int, int, int]:
    return document["stored"], document["duplicates"], document["quarantined"]


@contextmanager
def stopped_store(node: RunningNode) -> Iterator[int]:
    (store,) = wait_for(lambda: node.children()["store"], what="a store")
    os.kill(store, signal.SIGSTOP)
    try:
        yield store
    finally:
        with suppress(ProcessLookupError):  # killed meanwhile
            os.kill(store, signal.SIGCONT)


# ---- receipts


def test_a_receipt(shared_node: RunningNode, user: str) -> None:
    before = datetime.now(UTC)
    sent = send(shared_node, batch(3, user))
    document = settled(shared_node, sent["batch_id"])
    assert (document["events"], document["status"], counts(document)) == (3, "stored", (3, 0, 0))
    received_at = datetime.fromisoformat(document["received_at"])
    assert document["received_at"].endswith("Z")
    assert timedelta(0) <= received_at - before + timedelta(seconds=1)
    rows = shared_node.rows(f"SELECT DISTINCT received_at FROM events WHERE batch_id = '{sent['batch_id']}'")
    assert [[datetime.fromisoformat(row[0])] for row in rows] == [[received_at]]


def test_duplicates_are_stored(shared_node: RunningNode, user: str) -> None:
    events = [{"event": "e", "id": f"{user}-{place}"} for place in range(4)]
    first = send(shared_node, {"events": events[:3]})["batch_id"]
    again = send(shared_node, {"events": events})["batch_id"]
    assert counts(settled(shared_node, first)) == (3, 0, 0)
    document = settled(shared_node, again)
    assert (document["events"], document["status"], counts(document)) == (4, "stored", (1, 3, 0))
    wholly = send(shared_node, {"events": events})["batch_id"]
    document = settled(shared_node, wholly)
    assert (document["events"], document["status"], counts(document)) == (4, "stored", (0, 4, 0))


def test_retries_with_a_key_have_one_receipt(shared_node: RunningNode, user: str) -> None:
    sent = [send(shared_node, batch(2, user), Idempotency_Key=user) for _ in range(3)]
    (batch_id,) = {answer["batch_id"] for answer in sent}
    first = settled(shared_node, batch_id)
    assert (first["events"], counts(first)) == (2, (2, 0, 0))
    shared_node.settle()
    assert receipt(shared_node, batch_id) == first


def test_a_key_that_one_event_had_first(shared_node: RunningNode, user: str) -> None:
    """Nothing of the batch is stored, because a request with this key was; its id has a receipt all the same."""
    send(shared_node, {"event": "e"}, "/v1/ingest?wait=stored", Idempotency_Key=user)
    sent = send(shared_node, batch(2, user), Idempotency_Key=user)
    document = settled(shared_node, sent["batch_id"])
    assert (document["events"], document["status"], counts(document)) == (2, "stored", (0, 2, 0))


def test_a_partial_batch_counts_what_was_taken(shared_node: RunningNode, user: str) -> None:
    body = batch(3, user)
    body["events"][1]["timestamp"] = "never"
    sent = send(shared_node, body, "/v1/batch?partial=true")
    document = settled(shared_node, sent["batch_id"])
    assert (document["events"], document["status"], counts(document)) == (2, "stored", (2, 0, 0))


@pytest.mark.parametrize("key", [None, "a key"])
def test_a_batch_that_may_still_be_in_the_spool_has_a_receipt(make_node: MakeNode, key: str | None) -> None:
    node = make_node(workers=1)
    node.settle()
    headers = {"Idempotency_Key": key} if key else {}
    with stopped_store(node):
        sent = send(node, batch(2), **headers)
        others = [send(node, batch(500, user="x" * 200)) for _ in range(20)]
    found = receipt(node, sent["batch_id"])
    assert (found["events"], found["status"] in ("queued", "stored")) == (2, True)
    assert settled(node, others[-1]["batch_id"])["status"] == "stored"
    assert counts(settled(node, sent["batch_id"])) == (2, 0, 0)


def test_receipts_survive_restarts(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    key = node.key
    batch_id = send(node, batch(2))["batch_id"]
    before = settled(node, batch_id)
    with stopped_store(node):
        later = send(node, batch(5))["batch_id"]
        node.kill()
    node.restart()
    node.key = key
    wait_for(lambda: ask(node, batch_id).status_code == 200, what="a store that answers")
    assert receipt(node, batch_id) == before
    assert counts(settled(node, later)) == (5, 0, 0)


def test_a_store_that_is_down(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    batch_id = send(node, batch(2))["batch_id"]
    settled(node, batch_id)
    (store,) = node.children()["store"]
    (node.data_dir / "run/store.sock").unlink()  # as before the store listens
    expect_error(ask(node, batch_id), 503, "store_unavailable")
    os.kill(store, signal.SIGKILL)
    wait_for(lambda: ask(node, batch_id).status_code == 200, what="the next store")
    assert receipt(node, batch_id)["status"] == "stored"


def test_others_and_unknown_batches_are_not_found(shared_node: RunningNode, user: str) -> None:
    batch_id = send(shared_node, batch(2, user))["batch_id"]
    settled(shared_node, batch_id)
    data = f"--data-dir={shared_node.data_dir}"
    other = run_cli("keys", "create", "--project", "other", data).stdout.strip()
    test = run_cli("keys", "create", "--test", data).stdout.strip()
    messages = set()
    for key in (other, test):
        wait_for(partial(_is_known, shared_node, key), what="the new key")
        messages.add(expect_error(ask(shared_node, batch_id, key), 404, "not_found")["message"])
    messages.add(expect_error(ask(shared_node, UNKNOWN), 404, "not_found")["message"])
    assert len(messages) == 1, "an answer must not tell whether others have the batch"
    assert "/v1/ingest" not in messages.pop()


def _is_known(node: RunningNode, key: str) -> bool:
    return ask(node, UNKNOWN, key).status_code != 401


def test_the_id_of_a_single_event_is_no_batch(shared_node: RunningNode, user: str) -> None:
    send(shared_node, {"event": "e", "user_id": user}, "/v1/ingest?wait=stored")
    ((identifier,),) = shared_node.rows(f"SELECT id::VARCHAR FROM events WHERE user_id = '{user}'")
    expect_error(ask(shared_node, "b_" + identifier.replace("-", "")[:28]), 404, "not_found")


@pytest.mark.parametrize(
    "name", ["b_", "b_1", "b_" + "0" * 27, "b_" + "0" * 29, "b_" + "g" * 28, "b_" + "A" * 28, "0" * 28, "{batch_id}"]
)
def test_malformed_ids(shared_node: RunningNode, name: str) -> None:
    assert "b_" in expect_error(ask(shared_node, name), 400, "invalid_parameter")["message"]


def test_who_may_ask(shared_node: RunningNode) -> None:
    expect_error(httpx.get(f"{shared_node.url}/v1/batches/{UNKNOWN}"), 401, "unauthorized")
    reader = run_cli("keys", "create", "--scope", "query", f"--data-dir={shared_node.data_dir}").stdout.strip()
    wait_for(partial(_is_known, shared_node, reader), what="the new key")
    expect_error(ask(shared_node, UNKNOWN, reader), 403, "forbidden")


def test_paths_around_it(client: httpx.Client, shared_node: RunningNode) -> None:
    assert "/v1/batches/{batch_id}" in expect_error(client.get("/v1/batches"), 404, "not_found")["message"]
    for path in ("/v1/batches/", f"/v1/batches/{UNKNOWN}/", f"/v1/batches/{UNKNOWN}/more"):
        assert "28 hexadecimal digits" in expect_error(client.get(path), 400, "invalid_parameter")["message"]
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = client.request(method, f"/v1/batches/{UNKNOWN}")
        expect_error(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD"
    expect_error(client.get(f"/v1/batches/{UNKNOWN}?partial=true"), 400, "invalid_parameter")
    batch_id = send(shared_node, batch())["batch_id"]
    answer = client.head(f"/v1/batches/{batch_id}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.head(f"/v1/batches/{UNKNOWN}").status_code == 404
    message = expect_error(client.get("/nowhere"), 404, "not_found")["message"]
    assert all(path in message for path in ROUTES)


# ---- waiting until it is stored


def test_what_was_waited_for_is_seen(shared_node: RunningNode, user: str) -> None:
    for place in range(10):
        mine = f"{user}-{place}"
        answer = send(shared_node, {"event": "e", "user_id": mine}, "/v1/ingest?wait=stored")
        assert answer == {"accepted": True, "queued": 1, "status": "stored"}
        assert shared_node.rows(f"SELECT event FROM events WHERE user_id = '{mine}'") == [["e"]]
        sent = send(shared_node, batch(3, mine), "/v1/batch?wait=stored")
        assert list(sent) == ["accepted", "events", "batch_id", "status"]
        assert (sent["events"], sent["status"]) == (3, "stored")
        assert shared_node.rows(f"SELECT count(*) FROM events WHERE batch_id = '{sent['batch_id']}'") == [[3]]


def test_with_the_other_parameters(shared_node: RunningNode, user: str) -> None:
    body = batch(3, user)
    body["events"][1] = {}
    sent = send(shared_node, body, "/v1/batch?partial=true&wait=stored")
    assert (sent["events"], len(sent["rejected"]), sent["status"]) == (2, 1, "stored")


def test_without_it_nothing_changes(shared_node: RunningNode) -> None:
    assert send(shared_node, {"event": "e"}, "/v1/ingest") == {"accepted": True, "queued": 1}
    assert list(send(shared_node, batch())) == ["accepted", "events", "batch_id"]


@pytest.mark.parametrize("path", ["/v1/ingest", "/v1/batch"])
@pytest.mark.parametrize("value", ["", "true", "Stored", "loaded"])
def test_other_values_are_refused(shared_node: RunningNode, path: str, value: str) -> None:
    answer = shared_node.post(f"{path}?wait={value}", {"event": "e"})
    assert "must be stored" in expect_error(answer, 400, "invalid_parameter")["message"]


def test_repeats_and_duplicates_are_stored(shared_node: RunningNode, user: str) -> None:
    for _ in range(2):
        assert send(shared_node, {"event": "e", "id": user}, "/v1/ingest?wait=stored")["status"] == "stored"
        assert send(shared_node, batch(2, user), "/v1/batch?wait=stored", Idempotency_Key=user)["status"] == "stored"
    assert shared_node.rows(f"SELECT count(*) FROM events WHERE user_id = '{user}'") == [[2]]


def test_many_wait_at_once(make_node: MakeNode) -> None:
    node = make_node(workers=2, query_key_waiting=64)

    def send_one(place: int) -> int:
        sent = client.post("/v1/ingest?wait=stored", json={"event": "e", "user_id": f"u{place}"})
        assert (sent.status_code, sent.json().get("status")) == (202, "stored")
        sql = f"SELECT count(*) FROM events WHERE user_id = 'u{place}'"
        return int(client.get("/v1/query", params={"q": sql}).json()["rows"][0][0])

    # One client: to make one for each request would take most of the time. One that closes no connection by itself: it
    # may be another thread's by then.
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=None)
    with node.client(limits=limits) as client, ThreadPoolExecutor(64) as threads:
        assert list(threads.map(send_one, range(300))) == [1] * 300


def test_segments_that_are_finished_meanwhile(make_node: MakeNode) -> None:
    """Each record fills its segment, which is deleted as soon as it is loaded."""
    node = make_node(workers=1, spool_segment_bytes=300_000, batch_limit_bytes=300_000)
    for _ in range(10):
        sent = send(node, batch(500, user="x" * 500), "/v1/batch?wait=stored")
        assert sent["status"] == "stored"
        assert node.rows(f"SELECT count(*) FROM events WHERE batch_id = '{sent['batch_id']}'") == [[500]]


@pytest.mark.parametrize("path", ["/v1/ingest", "/v1/batch"])
def test_at_the_limit_the_plain_202(make_node: MakeNode, path: str) -> None:
    node = make_node(workers=1, stored_timeout_ms=300)
    node.settle()
    body: object = {"event": "e"} if path == "/v1/ingest" else batch()
    with stopped_store(node):
        started = time.monotonic()
        answer = send(node, body, f"{path}?wait=stored")
        assert time.monotonic() - started >= 0.3, "it has waited"
    assert "status" not in answer
    assert answer["accepted"] is True
    assert send(node, body, f"{path}?wait=stored").get("status") in ("stored", None)


def test_a_client_that_goes_while_it_waits(make_node: MakeNode) -> None:
    node = make_node(workers=1, stored_timeout_ms=60_000)
    node.settle()
    content = encoded({"event": "left-behind"}).replace(b" ", b"")
    line = head("POST /v1/ingest?wait=stored", f"Authorization: Bearer {node.key}", f"Content-Length: {len(content)}")
    with stopped_store(node), connected(node) as connection:
        connection.sendall(line + content)
        spool = node.data_dir / "spool"
        wait_for(lambda: any(content in path.read_bytes() for path in spool.glob("*.seg")), what="the event on disk")
        assert read_answer_of_other(node) == 200
    node.wait_for_count(2)
    assert send(node, {"event": "e"}, "/v1/ingest?wait=stored")["status"] == "stored"


def read_answer_of_other(node: RunningNode) -> int:
    """The worker answers others while somebody waits."""
    with connected(node) as connection:
        connection.sendall(head("GET /v1/health"))
        return read_answer(connection)[0]


def test_waiting_is_no_latency(make_node: MakeNode) -> None:
    """The page's figure is what the node takes until the events are on disk."""
    node = make_node(workers=1, stored_timeout_ms=1000)
    node.settle()

    def took(_place: int) -> float:
        """Seconds: those of the wait, and what the node takes, which may be long on a busy machine."""
        started = time.monotonic()
        assert "status" not in send(node, {"event": "e"}, "/v1/ingest?wait=stored")
        return time.monotonic() - started

    with stopped_store(node), ThreadPoolExecutor(8) as threads:
        longest_s = max(threads.map(took, range(8)))
    page = httpx.get(node.url + "/").text
    assert "Latency (p50)" in page
    shown = page.partition("Latency (p50)")[2]
    figure = shown.partition("<dd")[2].partition(">")[2].partition("<")[0]
    assert float(figure.removesuffix(" ms")) < 1000 * 1.04 * (longest_s - 1), (
        "without the wait; it is 3.2 % off at most"
    )
