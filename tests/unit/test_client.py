"""The client, against a server that fails as it is told."""

import threading

import pytest

from novamesh import client as package
from novamesh.client import Client, ClientError, Incomplete, Refused, Stopped, Unreachable
from tests.scripted import Answer, accept, scripted

FULL = Answer(503, {"error": "spool_full", "message": "Full."}, (("Retry-After", "0"),))
LIMITED = Answer(429, {"error": "rate_limited", "message": "Too many."}, (("Retry-After", "0"),))
NONE = Answer(0)
EVENT = {"event": "e"}


def test_public_names() -> None:
    assert package.__all__ == [
        "Client", "ClientError", "Incomplete", "Refused", "Result", "Sent", "Stopped", "Unreachable",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "before",
    [(FULL,), (LIMITED, FULL), (NONE,), (Answer(202, b"{", cut=True), Answer(502, b"<html>"))],
    ids=["503", "429", "no answer", "cut"],
)
def test_a_batch_is_sent_again_with_the_same_key(before: tuple[Answer, ...]) -> None:
    with scripted(*before, accept) as server, Client(server.url, "nm_live_x") as client:
        assert client.send([EVENT, EVENT]).events == 2
    assert len(server.requests) == len(before) + 1
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert len({request.body for request in server.requests}) == 1


def test_each_batch_has_a_key_of_its_own() -> None:
    with scripted(accept) as server, Client(server.url, "nm_live_x") as client:
        for _ in range(3):
            client.send([EVENT])
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 3


def test_retry_after_is_waited_for() -> None:
    stop = threading.Event()
    waits: list[float] = []
    stop.wait = lambda timeout=None: bool(waits.append(timeout or 0))  # type: ignore[method-assign, func-returns-value]
    late = Answer(503, {"error": "spool_full", "message": "Full."}, (("Retry-After", "7"),))
    with scripted(late, accept) as server, Client(server.url, "k", stop=stop) as client:
        client.send([EVENT])
    assert len(waits) == 1
    assert 7 <= waits[0] <= 7 * 1.2


def test_a_retry_after_of_nothing_is_no_leave_to_ask_without_a_pause() -> None:
    stop = threading.Event()
    waits: list[float] = []
    stop.wait = lambda timeout=None: bool(waits.append(timeout or 0))  # type: ignore[method-assign, func-returns-value]
    with scripted(FULL, accept) as server, Client(server.url, stop=stop) as client:
        client.send([EVENT])
    assert [wait >= 0.1 for wait in waits] == [True]


def test_what_will_not_pass_is_raised_at_once() -> None:
    body = {
        "error": "invalid_event",
        "message": "Bad.",
        "details": [{"pointer": "/events/0", "message": "m", "index": 0}],
    }
    with scripted(Answer(400, body)) as server, Client(server.url, "k") as client:
        with pytest.raises(Refused) as refused:
            client.send([EVENT])
        assert (refused.value.status, refused.value.code, refused.value.details[0].index) == (400, "invalid_event", 0)
        assert len(server.requests) == 1


def test_it_gives_up_when_its_time_is_over() -> None:
    with scripted(FULL) as server, Client(server.url, "k", retry_s=0) as client, pytest.raises(Refused, match="Full"):
        client.send([EVENT])
    with pytest.raises(Unreachable, match="nobody listens"):
        Client(server.url, "k", retry_s=0).send([EVENT])


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()
    stop.set()
    with scripted(FULL) as server, Client(server.url, "k", stop=stop) as client, pytest.raises(Stopped):
        client.send([EVENT])


def test_connections_are_kept_and_a_closed_one_is_replaced() -> None:
    closing = accept(type("R", (), {"events": [1]})())._replace(headers=(("Connection", "close"),))
    with scripted(accept, NONE, closing, accept) as server, Client(server.url, "k", retry_s=0) as client:
        for _ in range(3):  # the second meets a connection that ends: it is no failure, for it was a kept one
            client.send([EVENT])
    assert len(server.requests) == 4


def test_an_answer_that_is_cut_is_told() -> None:
    cut = Answer(200, b"a,b\r\n1,", cut=True)
    failed = Answer(200, {"columns": ["a"], "rows": [[1]], "error": "x", "message": "Died."})
    with scripted(cut, failed) as server, Client(server.url, "k", retry_s=0) as client:
        with client.stream("SELECT 1", format="csv") as parts, pytest.raises(Incomplete, match="cut off"):
            list(parts)
        with pytest.raises(Incomplete, match=r"midway: Died\."):
            client.query("SELECT 1")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(404, b"<h1>nginx</h1>"), "404 (Not Found) and is not a novamesh node"),
        (Answer(301, b"", (("Location", "https://other/"),)), "leads to 'https://other/'"),
        (Answer(200, b"<html>"), "not a novamesh node's"),
    ],
)
def test_others_than_a_node_are_told(answer: Answer, said: str) -> None:
    with scripted(answer) as server, Client(server.url, "k", retry_s=0) as client, pytest.raises(ClientError) as error:
        client.send([EVENT])
    assert said in str(error.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "http://", "http://a b", "http://u:p@h", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="address of a node"):
        Client(url, "k")


def test_no_error_shows_the_key() -> None:
    key = "nm_live_" + 32 * "a"
    with pytest.raises(ClientError) as odd:
        Client("http://h", key + "\n")
    with pytest.raises(ClientError) as address:
        Client(f"http://h/?key={key}")
    echo = Answer(401, {"error": "unauthorized", "message": f"Not {key}."})
    with scripted(echo) as server, Client(server.url, key) as client, pytest.raises(Refused) as refused:
        client.query("SELECT 1")
    assert 32 * "a" not in f"{odd.value}{address.value}{refused.value}"
