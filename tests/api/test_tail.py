"""``GET /v1/tail``: what is accepted is seen, exactly once, by those who may; what is left out is counted."""

import copy
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import httpx
import pytest

from novamesh.spool.tally import SUFFIX
from tests.api.contract import expect_error
from tests.api.tailing import Reader, reading
from tests.support import DEADLINE_S, RunningNode, run_cli, running_node, wait_for

KEY_TAILS = 6


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """With two edge workers, each of which is a tail's only one."""
    settings = {"workers": 2, "tail_key_concurrent": KEY_TAILS, "tail_rate": 100_000}
    with running_node(tmp_path_factory.mktemp("tail") / "data", **settings) as node:
        node.settle()
        yield node


def create(node: RunningNode, *options: str) -> str:
    """A new key, once all workers know it: each refreshes by itself, so each is asked."""
    done = run_cli("keys", "create", f"--data-dir={node.data_dir}", *options)
    key = done.stdout.strip()
    with node.clients_of_workers() as clients:
        for client in clients:
            wait_for(partial(knows, client, key), what="the key")
    return key


def knows(client: httpx.Client, key: str) -> bool:
    return client.get("/v1/query", headers=bearer(key)).status_code != 401


def of_project(node: RunningNode, project: str) -> RunningNode:
    """The same node with the key of another project: a tail may begin with events that were sent just before it."""
    other = copy.copy(node)
    other.key = create(node, f"--project={project}")
    return other


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def send(node: RunningNode, *names: str, key: str = "", **fields: Any) -> None:
    """Events of these names, each by a connection of its own."""
    for name in names:
        answer = httpx.post(node.url + "/v1/ingest", json={"event": name, **fields}, headers=bearer(key or node.key))
        assert answer.status_code == 202


def accepted_by_workers(node: RunningNode) -> int:
    """How many workers have accepted something."""
    ledger = node.data_dir / "ledger"
    return sum(b'"default"' in path.read_bytes() for path in ledger.glob("*" + SUFFIX))


def test_events_through_both_workers_are_seen_once_and_as_queries_show_them(node: RunningNode) -> None:
    with reading(node) as first, reading(node) as second, reading(node) as third:
        readers = (first, second, third)
        names = [f"once-{n}" for n in range(60)]
        send(node, *names[:40], user_id="once", properties={"page": "/", "n": 2**60}, timestamp="2026-01-31T12:00:00.5")
        assert accepted_by_workers(node) == 2
        events = [{"event": name, "user_id": "once", "context": {"a": [1.5, "ä\n"]}} for name in names[40:]]
        node.send(events, context={"shared": True})
        send(node, "once-last")
        for reader in readers:
            reader.wait_for("once-last")
            # Sent by way of the other worker, one may come after what was sent later.
            wait_for(lambda reader=reader: len(reader.names()) > len(names), what="all events")  # type: ignore[misc]
    for reader in readers:
        seen = [event for event in reader.events() if event["user_id"] == "once"]
        assert Counter(event["event"] for event in seen) == Counter(names)
        assert reader.dropped() == 0
        assert reader.headers["content-type"] == "text/event-stream"
        assert reader.headers["cache-control"] == "no-store"
    wait_for(lambda: node.rows("SELECT count() FROM events WHERE user_id = 'once'") == [[60]])
    answer = node.query(
        "SELECT id, event, user_id, timestamp, properties, context, received_at, batch_id FROM events"
        " WHERE user_id = 'once'",
        format="ndjson",
    )
    stored = [json.loads(line) for line in answer.text.splitlines()[:-1]]

    def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of the same time: which digits behind a second's point may be left out is not the same."""
        times = ("timestamp", "received_at")
        rows = [{**row, **{name: row[name].rstrip("Z").rstrip("0") for name in times}} for row in rows]
        return sorted(rows, key=lambda row: str(row["event"]))

    seen = [event for event in first.events() if event["user_id"] == "once"]
    assert comparable(seen) == comparable(stored)


def test_a_connection_s_events_keep_their_order(node: RunningNode) -> None:
    with reading(node, event="order") as reader, node.client() as client:
        for n in range(50):
            assert client.post("/v1/ingest", json={"event": "order", "properties": {"n": n}}).status_code == 202
        wait_for(lambda: len(reader.events()) == 50)
    assert [event["properties"]["n"] for event in reader.events()] == list(range(50))


def test_filters(node: RunningNode) -> None:
    with (
        reading(node, event=["buy", "sell"]) as by_name,
        reading(node, user_id="u_1") as by_user,
        reading(node, event=["buy", "end"], user_id="u_1") as by_both,
    ):
        send(node, "buy", "sell", "look", user_id="u_1")
        send(node, "buy", "buyer", "BUY", user_id="u_2")
        send(node, "end", user_id="u_1")
        send(node, "sell")
        by_user.wait_for("end")
        by_both.wait_for("end")
        # One that another worker has taken may come after it.
        for reader, events in ((by_name, 4), (by_user, 4), (by_both, 2)):
            wait_for(lambda reader=reader, events=events: len(reader.events()) >= events)  # type: ignore[misc]
    assert sorted(by_name.names()) == ["buy", "buy", "sell", "sell"]
    assert sorted(by_user.names()) == ["buy", "end", "look", "sell"]
    assert sorted(by_both.names()) == ["buy", "end"]
    assert not by_name.dropped() + by_user.dropped() + by_both.dropped()


def test_other_projects_and_test_keys_have_tails_of_their_own(node: RunningNode) -> None:
    keys = {"default": node.key, "default.test": create(node, "--test"), "shop": create(node, "--project=shop")}
    with ExitStack() as stack:
        readers = {space: stack.enter_context(reading(node, key)) for space, key in keys.items()}
        for space, key in keys.items():
            send(node, f"of-{space}", f"end-{space}", key=key)
        for space, reader in readers.items():
            reader.wait_for(f"of-{space}")
            reader.wait_for(f"end-{space}")
    for space, reader in readers.items():
        assert set(reader.names()) == {f"of-{space}", f"end-{space}"}
        assert reader.dropped() == 0


def test_what_is_beyond_the_rate_is_counted(node: RunningNode) -> None:
    sent = 700
    node = of_project(node, "beyond")
    with reading(node, rate=50) as reader, reading(node, rate=50, event="even") as filtered:
        node.send([{"event": "even" if n % 2 == 0 else "odd"} for n in range(sent)])
        wait_for(lambda: len(reader.events()) + reader.dropped() == sent)
        wait_for(lambda: len(filtered.events()) + filtered.dropped() == sent // 2)
        # Once there is time for it again, it goes on.
        before = len(filtered.events())
        wait_for(lambda: _sent(node, "even") and len(filtered.events()) > before)
    assert 50 <= len(reader.events()) < sent
    assert 50 <= len(filtered.events()) < sent // 2


def test_a_reader_that_does_not_read_is_told_what_it_missed_and_holds_nobody_up(node: RunningNode) -> None:
    batches, size = 24, 100
    node = of_project(node, "unread")
    with socket.socket() as slow, reading(node) as quick:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        url = httpx.URL(node.url)
        slow.connect((url.host, url.port))
        slow.settimeout(DEADLINE_S)
        slow.sendall(f"GET /v1/tail HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {node.key}\r\n\r\n".encode())
        head = slow.recv(1024)
        assert head.startswith(b"HTTP/1.1 200")
        for n in range(batches):
            events = [{"event": "large", "user_id": f"{n}-{i}", "properties": {"x": "y" * 1000}} for i in range(size)]
            node.send(events)
        wait_for(lambda: len(quick.events()) + quick.dropped() == batches * size)
        seen, dropped = Counter[str](), 0
        for message in messages(slow, head):
            kind, _, data = message.partition("\ndata: ")
            if kind == "event: event":
                seen[json.loads(data)["user_id"]] += 1
            elif kind == "event: dropped":
                dropped += json.loads(data)["count"]
            if len(seen) + dropped == batches * size:
                break
    assert dropped > 0
    assert set(seen.values()) == {1}


def messages(connection: socket.socket, head: bytes) -> Iterator[str]:
    """The messages of a stream that comes in chunks (RFC 9112, section 7.1)."""
    _, _, raw = head.partition(b"\r\n\r\n")
    body = b""
    while True:
        size, line_end, rest = raw.partition(b"\r\n")
        if not line_end or len(rest) < int(size, 16) + 2:
            raw += connection.recv(1 << 16)
            continue
        body += rest[: int(size, 16)]
        raw = rest[int(size, 16) + 2 :]
        *whole, body = body.split(b"\n\n")
        yield from (message.decode() for message in whole)


def test_so_many_tails_of_a_key_and_no_more(node: RunningNode) -> None:
    key = create(node)
    with ExitStack() as stack:
        statuses: list[int] = []
        while len(statuses) <= 2 * KEY_TAILS and 429 not in statuses:
            reader = Reader(node, key)
            stack.callback(reader.leave)
            statuses.append(reader.status)
        assert statuses.count(200) >= KEY_TAILS
        assert statuses[-1] == 429
        refused = wait_for(lambda: _refused(node, key))
        expect_error(refused, 429, "too_many_queries")
        assert refused.headers["retry-after"] == "5"
    # Those that have gone leave their places.
    with ExitStack() as stack:
        for _ in range(KEY_TAILS):
            stack.enter_context(reading(node, key))


def _refused(node: RunningNode, key: str) -> httpx.Response | None:
    with httpx.Client() as client, client.stream("GET", node.url + "/v1/tail", headers=bearer(key)) as answer:
        if answer.status_code == 200:
            return None
        answer.read()
        return answer


def test_a_revoked_key_sees_no_more(node: RunningNode) -> None:
    key = create(node, "--scope=query")
    with reading(node, key) as reader, reading(node) as other:
        assert run_cli("keys", "revoke", key, f"--data-dir={node.data_dir}").returncode == 0
        assert reader.end() == "key_revoked"
        send(node, "after")
        other.wait_for("after")
    assert reader.names() == []
    assert not other.ended.is_set() or other.messages[-1].kind != "end"


@pytest.mark.parametrize(
    "query",
    ["rate=0", "rate=x", "events=a", "user_id=a&user_id=b", "rate=1000000", "event=", "event=a&event=%20", "user_id="],
)
def test_parameters_that_cannot_be_taken(node: RunningNode, query: str) -> None:
    answer = httpx.get(f"{node.url}/v1/tail?{query}", headers=node.headers)
    expect_error(answer, 400, "invalid_parameter")


def test_who_may_not_query_may_not_tail(node: RunningNode) -> None:
    expect_error(httpx.get(node.url + "/v1/tail"), 401, "unauthorized")
    key = create(node, "--scope=ingest")
    expect_error(httpx.get(node.url + "/v1/tail", headers=bearer(key)), 403, "forbidden")
    answer = httpx.head(node.url + "/v1/tail", headers=node.headers)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_tail_outlives_store_and_workers_and_ends_with_the_node(node: RunningNode) -> None:
    """The last one: it stops the node that the others share."""
    with reading(node) as first, reading(node) as second:
        (store,) = node.children()["store"]
        os.kill(store, signal.SIGKILL)
        send(node, "without-store")
        for reader in (first, second):
            reader.wait_for("without-store")
        edges = node.children()["edge"]
        os.kill(edges[0], signal.SIGKILL)
        wait_for(lambda: len(node.children()["edge"]) == 2 and edges[0] not in node.children()["edge"])
        with reading(node) as third:
            wait_for(lambda: _sent(node, "with-another-worker"))
            third.wait_for("with-another-worker")
            for reader in (first, second):  # whose worker it was may not know yet
                wait_for(lambda reader=reader: reader.ended.is_set() or "with-another-worker" in reader.names())  # type: ignore[misc]
            left = [reader for reader in (first, second) if not reader.ended.is_set()]
            assert node.stop() == 0
            for reader in (third, *left):
                assert reader.end() == "stopping"
                assert reader.dropped() == 0


def _sent(node: RunningNode, name: str) -> bool:
    try:
        send(node, name)
    except httpx.HTTPError:
        return False
    return True


def test_nothing_is_followed_without_a_tail(make_node: Any) -> None:
    node = make_node(workers=1)
    (edge,) = node.children()["edge"]

    def open_segments() -> int:
        """Descriptors for reading: the writer's own is another."""
        found = 0
        for entry in Path(f"/proc/{edge}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += entry.readlink().suffix == ".seg"
        return found

    send(node, "before")
    assert open_segments() == 1
    with reading(node) as reader:
        assert open_segments() == 2
        send(node, "seen")
        reader.wait_for("seen")
    wait_for(lambda: open_segments() == 1, what="the end of following")


def test_leaving_one_stream_of_a_connection_leaves_the_others(make_node: Any) -> None:
    """Over HTTP/2 a reader may give up a stream and go on with the connection."""
    node = make_node(workers=1)
    host, port = httpx.URL(node.url).host, httpx.URL(node.url).port
    protocol = h2.connection.H2Connection()
    protocol.initiate_connection()
    with socket.create_connection((host, port), DEADLINE_S) as connection:

        def ask(stream: int, path: str) -> None:
            head = [(":method", "GET"), (":scheme", "http"), (":authority", "node"), (":path", path)]
            protocol.send_headers(stream, [*head, ("authorization", f"Bearer {node.key}")], end_stream=True)
            connection.sendall(protocol.data_to_send())

        def read_data(stream: int) -> bytes:
            while True:
                received = connection.recv(65536)
                assert received, "the connection was cut"
                for event in protocol.receive_data(received):
                    if isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                        return event.data or b""
                connection.sendall(protocol.data_to_send())

        ask(1, "/v1/tail")
        assert read_data(1) == b"retry: 1000\n\n"
        protocol.reset_stream(1)
        connection.sendall(protocol.data_to_send())
        wait_for(lambda: "novamesh_tails_open 0\n" in httpx.get(node.url + "/metrics").text)
        ask(3, "/v1/health")
        assert b'"status"' in read_data(3)
