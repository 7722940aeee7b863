"""(j) backup, restore, erasing a person, retention and compaction of a large database, while events keep coming in."""

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from bench.events import BATCH_SIZE, batches, compressed, single
from bench.report import Row
from bench.store import fill
from tests.support import RunningNode, run_cli, running_node, wait_for

EVENTS = 5_000_000
PAUSE_S = 0.005
USER = "u12345"
COUNT = "SELECT count(*) FROM events"
LOAD_DEADLINE_S = 600.0
MIB = 1024 * 1024


class Sender:
    """One steady client of ``/v1/ingest``; remembers how long each request took and what was accepted."""

    def __init__(self, node: RunningNode) -> None:
        self.accepted = 0
        self.refused = 0
        self._latencies: list[float] = []
        self._stopping = threading.Event()
        self._node = node
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        body = single()
        headers = {"Content-Type": "application/json"}
        with self._node.client() as client:
            while not self._stopping.wait(PAUSE_S):
                started = time.perf_counter()
                answer = client.post("/v1/ingest", content=body, headers=headers)
                self._latencies.append(time.perf_counter() - started)
                self.accepted += answer.status_code == 202
                self.refused += answer.status_code != 202

    def during(self, call: Callable[[], object]) -> tuple[float, str]:
        """Seconds a call takes, and what this client felt of it."""
        before = len(self._latencies)
        started = time.perf_counter()
        call()
        took = time.perf_counter() - started
        wait_for(lambda: len(self._latencies) > before + 20, what="requests meanwhile")
        felt = sorted(1000 * latency for latency in self._latencies[before:])
        p99 = felt[int(0.99 * (len(felt) - 1))]
        return took, f"ingest meanwhile p50 {statistics.median(felt):.1f} ms, p99 {p99:.1f} ms, worst {felt[-1]:.1f} ms"

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


def measure(directory: Path, seconds: float) -> Iterator[Row]:
    """All of group j. Raises AssertionError if an event is missing, or there twice, at any point."""
    node_directory, copy = directory / "upkeep", directory / "copy"
    with running_node(node_directory, workers=1) as node:
        bodies = batches(100)
        old = [body.replace(b'"timestamp": "2026', b'"timestamp": "2020') for body in bodies]
        fill(node, [compressed(body) for body in bodies + old], EVENTS // BATCH_SIZE)
        wait_for(lambda: node.count() == EVENTS, LOAD_DEADLINE_S, "the events")
        headers = _admin(node)
        sender = Sender(node)
        _, felt = sender.during(lambda: time.sleep(seconds))
        yield Row("j", "nothing but one client", EVENTS, "events", note=felt)
        took, felt = sender.during(lambda: _command("backup", copy, f"--data-dir={node.data_dir}"))
        manifest = json.loads((copy / "backup.json").read_text())
        size = sum(file["size"] for file in manifest["files"]) / MIB
        yield Row("j", "novamesh backup", took, "s", note=f"{size:,.0f} MiB; {felt}")
        assert manifest["events"] >= EVENTS
        yield from _restored(directory, copy, manifest["events"])
        theirs = node.rows(f"SELECT count(*) FROM events WHERE user_id = '{USER}'")[0][0]
        answers: list[httpx.Response] = []
        url = f"{node.url}/v1/users/{USER}"
        took, felt = sender.during(lambda: answers.append(httpx.delete(url, headers=headers, timeout=60)))
        erased = answers[0].json()["events"]
        assert erased == theirs > 0, (erased, theirs)
        yield Row("j", "DELETE /v1/users/{user_id}", took, "s", note=f"{erased:,} events; {felt}")
        ancient = node.rows("SELECT count(*) FROM events WHERE timestamp < '2021-01-01'")[0][0]
        took, felt = sender.during(lambda: _command("retention", "365d", f"--data-dir={node.data_dir}"))
        yield Row("j", "novamesh retention 365d", took, "s", note=f"{ancient:,} old events; {felt}")
        sender.stop()
        assert sender.refused == 0
        left = EVENTS + sender.accepted - erased - ancient
        node.wait_for_count(left)
        _command("verify", f"--data-dir={node.data_dir}")
        yield Row("j", "events left, all accounted for", left, "events", note="novamesh verify: 0")
        node.stop()
        yield from _compacted(node)


def _admin(node: RunningNode) -> dict[str, str]:
    made = run_cli("keys", "create", "--scope", "admin", f"--data-dir={node.data_dir}").stdout.strip()
    headers = {"Authorization": f"Bearer {made}"}
    url = f"{node.url}/v1/users/nobody"
    wait_for(lambda: httpx.delete(url, headers=headers, timeout=60).status_code == 200, what="the key")
    return headers


def _restored(directory: Path, copy: Path, events: int) -> Iterator[Row]:
    started = time.perf_counter()
    _command("restore", copy, f"--data-dir={directory / 'restored'}")
    yield Row("j", "novamesh restore", time.perf_counter() - started, "s", note="every file checked")
    with running_node(directory / "restored") as restored:
        restored.key = _key(restored)
        found = wait_for(lambda: max(restored.count() - events, 0) + 1, what="the restored events") - 1
        yield Row(
            "i", "events in the restored node", events + found, "events", note=f"{found:,} of them from the spool"
        )
        assert restored.count() >= events
        restored.stop()


def _key(node: RunningNode) -> str:
    made = run_cli("keys", "create", f"--data-dir={node.data_dir}").stdout.strip()
    headers = {"Authorization": f"Bearer {made}"}
    url = f"{node.url}/v1/query"
    wait_for(lambda: httpx.get(url, params={"q": COUNT}, headers=headers).status_code == 200, what="the key")
    return made


def _compacted(node: RunningNode) -> Iterator[Row]:
    file = node.data_dir / "store" / "store.duckdb"
    before = file.stat().st_size / MIB
    started = time.perf_counter()
    _command("compact", f"--data-dir={node.data_dir}")
    after = file.stat().st_size / MIB
    yield Row("j", "novamesh compact", time.perf_counter() - started, "s", note=f"{before:,.0f} -> {after:,.0f} MiB")


def _command(*arguments: str | Path) -> None:
    done = run_cli(*arguments)
    assert done.returncode == 0, done.stderr
