"""(h) queries that want too much: how soon they end when their client goes, what memory they leave, and what
ingestion feels of them meanwhile."""

import contextlib
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.events import BATCH_SIZE, batches, compressed, single
from bench.report import Row
from bench.store import fill
from bench.wrk import Load, load
from tests.hostile import LIMIT_CASES, post_query, store_pid
from tests.memory import peak, reset_peak, resident
from tests.support import RunningNode, running_node

EVENTS = 500_000
CONNECTIONS, PAUSE_MS = 4, 5
MIB = 1024 * 1024
# Memory that was let go is back with the system a second or two later.
GIVEN_BACK_S = 3.0


class Ended(NamedTuple):
    """How one statement ended: seconds until the next query was answered, and the store's RSS in MiB."""

    free_s: float
    before: float
    peak: float
    after: float
    load: Load


def measure(directory: Path, seconds: float) -> Iterator[Row]:
    """All of group h; each statement runs for so many seconds beside a steady client of /v1/ingest."""
    with running_node(directory / "hostile", query_max_concurrent=1) as node, node.client() as client:
        fill(node, [compressed(body) for body in batches(100)], EVENTS // BATCH_SIZE)
        node.wait_for_count(EVENTS)
        hostile = [case for case in LIMIT_CASES if _may_run(node, case["sql"])]
        refused = len(LIMIT_CASES) - len(hostile)
        yield Row("h", "queries that want too much, refused outright", refused, "", note=f"of {len(LIMIT_CASES)}")
        _round_trip(client)
        yield Row("h", "no query: SELECT 1", _round_trip(client) * 1000, "ms")
        quiet = _ingest(node, seconds)
        what = f"no query: POST /v1/ingest, {CONNECTIONS} connections"
        yield Row("h", what, quiet.p50_ms, "ms", note=f"p50; p99 {quiet.p99_ms:.1f} ms")
        ended = []
        for case in hostile:
            ended.append(_run(node, client, case["sql"], seconds))
            yield _row(case["name"].removeprefix("dos/"), ended[-1], quiet)
        yield from _in_all(ended, quiet)
        node.stop()


def _row(name: str, ended: Ended, quiet: Load) -> Row:
    memory = f"store's RSS {ended.before:.0f}, peak {ended.peak:.0f}, after {ended.after:.0f} MiB"
    ingest = f"ingest p50 {ended.load.p50_ms:.1f} ms, p99 {ended.load.p99_ms:.1f} ms"
    ratio = ended.load.p50_ms / quiet.p50_ms
    what = f"{name}: SELECT 1 after its client went"
    return Row("h", what, ended.free_s * 1000, "ms", note=f"{memory}; {ingest}, {ratio:.1f} of no query")


def _in_all(ended: list[Ended], quiet: Load) -> Iterator[Row]:
    slowest = max(one.free_s for one in ended)
    yield Row("h", "slowest SELECT 1 after a client went", slowest * 1000, "ms", aim="≤ 500")
    for name, before, found in (
        ("p50", quiet.p50_ms, sorted(one.load.p50_ms for one in ended)),
        ("p99", quiet.p99_ms, sorted(one.load.p99_ms for one in ended)),
    ):
        middle, note = found[len(found) // 2], f"no query {before:.1f} ms, worst {found[-1]:.1f} ms"
        yield Row("h", f"ingest {name} beside them, median", middle, "ms", middle / before, "no query", note=note)
    lost = sum(one.load.refused + one.load.broken for one in ended)
    yield Row("h", "ingest requests refused or broken beside them", lost, "", aim="0")


def _may_run(node: RunningNode, sql: str) -> bool:
    with post_query(node, sql) as client:
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            return not client.recv(4096).startswith(b"HTTP/1.1 403")
    return True


def _run(node: RunningNode, client: httpx.Client, sql: str, seconds: float) -> Ended:
    store = store_pid(node)
    before = resident(store)
    reset_peak(store)
    loads: list[Load] = []
    steady = threading.Thread(target=lambda: loads.append(_ingest(node, seconds)))
    steady.start()
    # Some end by themselves when they have all the memory there is: begin again.
    while not _goes_on(node, sql, steady):
        pass
    free_s = _round_trip(client)
    most = peak(store)
    time.sleep(GIVEN_BACK_S)
    return Ended(free_s, before / MIB, most / MIB, resident(store_pid(node)) / MIB, loads[0])


def _goes_on(node: RunningNode, sql: str, steady: threading.Thread) -> bool:
    """Run a statement until the load ends, then hang up. False if it was answered before that."""
    with post_query(node, sql) as client:
        while steady.is_alive():
            if select.select([client], [], [], 0.02)[0]:
                return False
        return True


def _round_trip(client: httpx.Client) -> float:
    started = time.perf_counter()
    client.get("/v1/query", params={"q": "SELECT 1"}).raise_for_status()
    return time.perf_counter() - started


def _ingest(node: RunningNode, seconds: float) -> Load:
    headers = {**node.headers, "Content-Type": "application/json"}
    return load(node.url + "/v1/ingest", seconds, CONNECTIONS, headers, [single()], PAUSE_MS)
