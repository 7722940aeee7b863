"""What is refused or damaged is kept, shown, loaded again once and dropped only when somebody says so: real nodes,
and the command as an operator runs it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from novamesh.datadir import DataDirectory
from novamesh.event.record import Record, batch_for_key, encode, new_batch
from novamesh.spool.frame import KIND_END, SegmentHeader, encode_frame, encode_segment_header
from novamesh.spool.segment import list_segments
from tests.support import RunningNode, clean_environment, run_cli, wait_for

MakeNode = Callable[..., RunningNode]
Event = dict[str, Any]
RUBBISH = "rubbish"


def bad(user: str) -> Event:
    """An event the edge would not accept, and the database refuses."""
    return {"event": "bad", "user_id": user, "timestamp": RUBBISH}


def inject(
    node: RunningNode, *batches: list[Event], space: str = "default", spoil: bytes = b"", key: str | None = None
) -> list[str]:
    """Put records into the spool as an edge worker with a fault would; gives their batch ids.

    With a ``key`` they are requests with this Idempotency-Key. The record that holds ``spoil`` does not match its checksum.
    """
    at = time.time_ns() // 1000
    records = [
        Record(
            space=space,
            batch=batch_for_key(space, key) if key else new_batch(at),
            at=at,
            n=len(events),
            named=True,
            key=key,
        )
        for events in batches
    ]
    parts = [encode_segment_header(SegmentHeader(at, DataDirectory(node.data_dir).node_id()))]
    for n, (record, events) in enumerate(zip(records, batches, strict=True), 1):
        parts += encode_frame(n, encode(record, json.dumps(events, separators=(",", ":")).encode()))
    parts += encode_frame(len(records) + 1, KIND_END)
    content = b"".join(parts)
    temporary = node.data_dir / "spool" / f"{at:016d}-1.tmp"
    temporary.write_bytes(content.replace(spoil, spoil.swapcase()) if spoil else content)
    temporary.rename(temporary.with_suffix(".seg"))
    return [f"b_{record.batch}" for record in records]


def mend(node: RunningNode) -> None:
    """Of a stopped node: make refused events such that the database takes them, as its next version might."""
    with duckdb.connect(node.data_dir / "store" / "store.duckdb") as connection:
        connection.execute("UPDATE p_default.quarantine SET body = replace(body, ?, '2026-01-01T00:00:00Z')", [RUBBISH])


def command(node: RunningNode, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_cli("quarantine", *arguments, f"--data-dir={node.data_dir}")


def listed(node: RunningNode, *arguments: str) -> list[dict[str, Any]]:
    done = command(node, "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def replayed(node: RunningNode, *arguments: str) -> dict[str, int]:
    done = command(node, "replay", "--json", *arguments)
    outcome: dict[str, int] = json.loads(done.stdout)
    assert done.returncode == (1 if outcome["refused"] else 0), done.stderr
    return outcome


def check_ledger(node: RunningNode) -> None:
    """Every event is where the node's counts say."""
    done = run_cli("verify", f"--data-dir={node.data_dir}")
    assert done.returncode == 0, done.stdout + done.stderr


def receipt(node: RunningNode, batch_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{node.url}/v1/batches/{batch_id}", headers=node.headers)
    return answer.json() if answer.status_code == 200 else {"status": answer.status_code}


def wait_for_refused(node: RunningNode, expected: int) -> None:
    sql = "SELECT coalesce(sum(events), 0) FROM quarantine"
    wait_for(lambda: node.rows(sql) == [[expected]], what=f"{expected} events in quarantine")


def restart(node: RunningNode, between: Callable[[], None] = lambda: None) -> None:
    node.stop()
    between()
    node.restart()
    wait_for(lambda: node.query("SELECT 1").status_code == 200, what="the store")


# ---- events


def test_the_way_of_a_refused_event(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    (batch_id, other) = inject(node, [{"event": "good", "user_id": "a"}, bad("b")], [bad("c")])
    wait_for_refused(node, 2)
    assert receipt(node, batch_id)["status"] == "quarantined"

    (row,) = node.rows(f"SELECT * FROM quarantine WHERE batch_id = '{batch_id}'")
    columns = node.query("SELECT * FROM quarantine").json()["columns"]
    seen = dict(zip(columns, row, strict=True))
    assert (seen["project"], seen["event_index"], seen["events"]) == ("default", 1, 1)
    assert json.loads(seen["body"]) == bad("b")
    assert RUBBISH in seen["reason"]

    assert {event["batch_id"]: (event["project"], event["test"]) for event in listed(node)} == {
        batch_id: ("default", False),
        other: ("default", False),
    }
    (event,) = listed(node, "--batch", batch_id)
    assert (event["kind"], event["id"], event["body"]) == ("event", seen["id"], seen["body"])
    table = command(node, "list").stdout.splitlines()
    assert table[0].split()[:2] == ["ID", "PROJECT"]
    assert len(table) == 3
    assert seen["id"] in table[1] or seen["id"] in table[2]

    assert replayed(node) == {"stored": 0, "duplicates": 0, "refused": 2}
    wait_for_refused(node, 2)
    restart(node, lambda: mend(node))
    assert replayed(node, "--batch", other) == {"stored": 1, "duplicates": 0, "refused": 0}
    assert replayed(node, "--id", seen["id"]) == {"stored": 1, "duplicates": 0, "refused": 0}
    assert replayed(node) == {"stored": 0, "duplicates": 0, "refused": 0}
    assert node.rows("SELECT user_id, id FROM events WHERE event = 'bad' ORDER BY user_id")[0] == ["b", seen["id"]]
    assert node.count() == 3
    assert (receipt(node, batch_id)["status"], receipt(node, batch_id)["stored"]) == ("stored", 2)
    assert command(node, "list").stdout == "Nothing is in quarantine.\n"
    restart(node)
    assert (node.count(), replayed(node)["stored"]) == (3, 0)
    check_ledger(node)


def test_projects_are_kept_apart(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    inject(node, [bad("a")])
    inject(node, [bad("b")], space="default.test")
    inject(node, [bad("c")], space="other")
    assert node.count() == 0  # the store is there
    wait_for(lambda: len(listed(node)) == 3, what="all that is refused")
    assert [event["test"] for event in listed(node, "--project", "default")] == [False, True]
    assert listed(node, "--project", "nobody") == []
    assert node.rows("SELECT count(*) FROM quarantine") == [[1]], "a key sees its own"
    assert command(node, "drop", "--yes", "--project", "default").stdout == "2 events dropped.\n"
    assert [event["project"] for event in listed(node)] == ["other"]
    assert "2 dropped so far" in command(node, "list").stderr


def test_a_drop_asks_first(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    (batch_id,) = inject(node, [{"event": "good"}, bad("a")])
    wait_for_refused(node, 1)
    for answer, dropped in (("", False), ("n\n", False), ("y\n", True)):
        done = subprocess.run(
            [sys.executable, "-m", "novamesh.cli", "quarantine", "drop", "--all", f"--data-dir={node.data_dir}"],
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            env=clean_environment(),
            check=False,
        )
        assert "Drop 1 event?" in done.stderr
        assert (done.returncode == 0) == dropped
        assert len(listed(node)) == (0 if dropped else 1)
    assert receipt(node, batch_id) | {"received_at": ""} == {
        "batch_id": batch_id,
        "events": 2,
        "status": "quarantined",
        "received_at": "",
        "stored": 1,
        "duplicates": 0,
        "quarantined": 0,
        "dropped": 1,
    }
    restart(node)
    check_ledger(node)
    assert "1 dropped so far" in command(node, "list").stderr
    assert command(node, "drop", "--all", "--yes").stdout == "There is nothing to drop.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["drop"], "say what to drop"),
        (["drop", "--all", "--project", "a"], "say what to drop"),
        (["list", "--batch", "b_1"], "28 hexadecimal digits"),
        (["list", "--id", "1"], "UUID"),
        (["replay", "--file", "none.seg"], "no segment none.seg"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage(shared_node: RunningNode, arguments: list[str], words: str) -> None:
    done = command(shared_node, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_without_a_node(make_node: MakeNode, tmp_path: Path) -> None:
    for name in ("list", "replay"):
        done = run_cli("quarantine", name, f"--data-dir={tmp_path / 'nothing'}")
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no node's data in" in done.stderr
    assert not (tmp_path / "nothing").exists()
    node = make_node(workers=1)
    node.kill()  # its socket is still there
    done = command(node, "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no node is running on {node.data_dir}; start it with novamesh serve" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def fill_quarantine(node: RunningNode, count: int) -> None:
    """Of a stopped node: so many refused events that the database takes now, made of the one there is."""
    mend(node)
    with duckdb.connect(node.data_dir / "store" / "store.duckdb") as connection:
        connection.execute(
            """
            CREATE TABLE made AS SELECT * REPLACE (
                replace(body, '"u"', format('"u{}"', n)) AS body, n % 500 AS event_index,
                format('{:08x}', 1 + n // 500) || substr(id::VARCHAR, 9, 24) || format('{:04x}', n % 500) AS id)
            FROM p_default.quarantine, range(?) t(n)""",
            [count],
        )
        connection.execute("DELETE FROM p_default.quarantine")
        connection.execute("INSERT INTO p_default.quarantine SELECT * EXCLUDE (n) FROM made")
        connection.execute("UPDATE novamesh.counters SET quarantined = $n, received = $n, recovered = $n", {"n": count})
        connection.execute("DROP TABLE made")


def test_a_node_killed_while_it_loads_again(make_node: MakeNode) -> None:
    """Whatever the moment: each event is in quarantine or stored, and in the end stored once."""
    rng = random.Random(11)
    node = make_node(workers=1)
    count = 8000
    inject(node, [bad("u")])
    wait_for_refused(node, 1)
    restart(node, lambda: fill_quarantine(node, count))
    for _ in range(4):
        arguments = [sys.executable, "-m", "novamesh.cli", "quarantine", "replay", f"--data-dir={node.data_dir}"]
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
        ) as command_:
            before = node.count()
            wait_for(lambda: node.count() > before or command_.poll() is not None, what="a part of it")  # noqa: B023
            time.sleep(rng.random() * 0.05)  # not a wait for anything: the moment is to be random
            node.kill()
            command_.wait(60)
        node.restart()
        wait_for(lambda: node.query("SELECT 1").status_code == 200, what="the store")
        stored, kept = node.count(), node.rows("SELECT count(*) FROM quarantine")[0][0]
        assert stored + kept == count
    replayed(node)
    assert replayed(node)["stored"] == 0
    assert node.rows("SELECT count(*), count(DISTINCT user_id), count(DISTINCT id) FROM events") == [[count] * 3]
    assert node.rows("SELECT count(*) FROM quarantine") == [[0]]
    check_ledger(node)


# ---- segments that were set aside


def test_the_way_of_a_damaged_segment(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    first, spoiled, last = inject(
        node,
        [{"event": "e", "user_id": "before"}],
        [{"event": "e", "user_id": "spoiled"}],
        [{"event": "e", "user_id": "behind"}],
        spoil=b"spoiled",
    )
    assert node.count() <= 1  # the store is there
    (segment,) = wait_for(lambda: listed(node), what="the segment in quarantine")
    assert segment["kind"] == "segment"
    assert (segment["events"], segment["cause"]) == (1, "the frame's checksum does not match")
    assert segment["offset"] % 8 == 0
    assert node.rows("SELECT user_id FROM events") == [["before"]]
    assert [receipt(node, of)["status"] for of in (first, spoiled, last)] == ["stored", 404, "quarantined"]
    table = command(node, "list").stdout.splitlines()
    assert table[0].startswith("FILE")
    assert segment["file"] in table[1]
    wait_for(lambda: node.get("/v1/health").json()["status"] == "degraded", what="a node that says so")

    assert replayed(node)["stored"] == 1
    assert replayed(node, "--file", segment["file"])["stored"] == 0
    restart(node)
    assert replayed(node)["stored"] == 0
    assert node.rows("SELECT user_id FROM events ORDER BY user_id") == [["before"], ["behind"]]
    assert receipt(node, last)["status"] == "stored"
    check_ledger(node)  # counted anew after the replay, which has left nothing that is whole in the segment
    (left,) = listed(node)
    assert (left["events"], left["unreadable"]) == (0, segment["unreadable"])

    assert command(node, "drop", "--yes", "--file", segment["file"]).stdout == "0 events dropped.\n"
    assert listed(node) == []
    assert list((node.data_dir / "spool" / "quarantine").iterdir()) == []
    wait_for(lambda: node.get("/v1/health").json()["status"] == "ok", what="a node that is well")


def test_whole_events_that_are_dropped_with_a_segment_are_counted(make_node: MakeNode) -> None:
    node = make_node(workers=1)
    inject(node, [{"event": "spoiled"}], [{"event": "e"}] * 3, spoil=b"spoiled")
    assert node.count() == 0  # the store is there
    wait_for(lambda: listed(node), what="the segment in quarantine")
    done = command(node, "drop", "--all", "--yes")
    assert done.stdout == "3 events dropped.\n"
    assert "3 dropped so far" in command(node, "list").stderr
    check_ledger(node)


# ---- waiting while the store dies


def test_who_waits_for_what_is_refused_is_told(make_node: MakeNode) -> None:
    """A repeat of a request whose events are in quarantine: they are not stored, and the answer does not say so."""
    node = make_node(workers=1, stored_timeout_ms=60_000)
    (batch_id,) = inject(node, [{"event": "good"}, bad("a")], key="k")
    wait_for_refused(node, 1)
    body = {"events": [{"event": "good"}, {"event": "bad"}]}
    for _ in range(2):
        answer = node.post("/v1/batch?wait=stored", body, {"Idempotency-Key": "k"}).json()
        assert answer == {"accepted": True, "events": 2, "batch_id": batch_id, "status": "quarantined"}
    wait_for_refused(node, 1)
    assert receipt(node, batch_id)["status"] == "quarantined"
    restart(node, lambda: mend(node))
    replayed(node)
    answer = node.post("/v1/batch?wait=stored", body, {"Idempotency-Key": "k"}).json()
    assert (answer["status"], node.count()) == ("stored", 2)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    yield


def spooled(node: RunningNode, marks: list[bytes]) -> bool:
    """Whether every mark is in some segment; listed each time, as a worker makes its first one when it is sent something."""
    held = b"".join(path.read_bytes() for path in list_segments(node.data_dir / "spool"))
    return all(mark in held for mark in marks)


def test_who_waits_is_answered_by_the_next_store(make_node: MakeNode) -> None:
    node = make_node(workers=2, stored_timeout_ms=60_000)
    node.post("/v1/ingest?wait=stored", {"event": "first"})
    for round_ in range(3):
        (store,) = wait_for(lambda: node.children()["store"], what="a store")

        def send(place: int, round_: int = round_) -> tuple[str, Any]:
            user = f"{round_}-{place}"
            return user, node.post("/v1/ingest?wait=stored", {"event": "e", "user_id": user}).json()

        with ThreadPoolExecutor(16) as threads, stopped(store):
            sent = [threads.submit(send, place) for place in range(16)]
            marks = [f'"user_id":"{round_}-{place}"'.encode() for place in range(16)]
            wait_for(lambda: spooled(node, marks), what="the events on disk")  # noqa: B023
            os.kill(store, signal.SIGKILL)
            answers = [future.result() for future in sent]
        assert [answer.get("status") for _, answer in answers] == ["stored"] * 16
        for user, _ in answers:
            assert node.rows(f"SELECT count(*) FROM events WHERE user_id = '{user}'") == [[1]]
