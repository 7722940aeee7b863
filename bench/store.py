"""(c) from spool to queryable, (d) freshness, (e) queries, (f) size, memory and start."""

import contextlib
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import httpx

from bench import memory
from bench.api import Api
from bench.edge import paused_store
from bench.events import BATCH_SIZE, batches, compressed
from bench.report import Row
from bench.wrk import load
from novamesh.sql.guard import check
from tests.support import RunningNode, running_node, wait_for

FILLED_EVENTS = 1_000_000
DISTINCT_BATCHES = 200
PROBES = 60
QUERY_ROUNDS = 30

QUERIES = {
    "count": "SELECT count(*) FROM events",
    "by event": "SELECT event, count() FROM events GROUP BY event ORDER BY 2 DESC",
    "by property": "SELECT properties.page::VARCHAR, count() FROM events GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "by minute": "SELECT date_trunc('minute', timestamp), count(DISTINCT user_id) FROM events GROUP BY 1 ORDER BY 1",
    "1,000 rows": "SELECT event, user_id, timestamp, properties FROM events LIMIT 1000",
}


def fill(node: RunningNode, bodies: list[bytes], count: int) -> None:
    """Send so many batches, one after the other."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    with node.client() as client:
        for n in range(count):
            client.post("/v1/batch", content=bodies[n % len(bodies)], headers=headers).raise_for_status()


def loading(directory: Path) -> tuple[list[Row], float, str]:
    """(c). Also gives the events/s, and the key of the node whose data is left in ``directory/filled``."""
    plain = batches(DISTINCT_BATCHES)
    count = FILLED_EVENTS // BATCH_SIZE
    with running_node(directory / "filled", spool_limit_bytes=16 * 2**30) as node:
        with paused_store(node):
            fill(node, [compressed(body) for body in plain], count)
            started = time.perf_counter()
        wait_for(lambda: node.count() == FILLED_EVENTS, 600, "all events")
        elapsed = time.perf_counter() - started
        node.stop()
    bare = bare_load(directory, plain, count)
    rate = FILLED_EVENTS / elapsed
    bare_rate = FILLED_EVENTS / bare
    return (
        [
            Row("c", "bare INSERT … SELECT of the same rows in process", bare_rate, "events/s"),
            Row(
                "c",
                "spool to queryable, 1,000,000 events",
                rate,
                "events/s",
                rate / bare_rate,
                "the bare INSERT",
                "≥ 150,000",
            ),
        ],
        rate,
        node.key,
    )


def bare_load(directory: Path, plain: list[bytes], count: int) -> float:
    """Seconds DuckDB alone takes to turn the same JSON into the same table, checkpoint included."""
    texts = [json.dumps(json.loads(body)["events"], separators=(",", ":")) for body in plain]
    form = '[{"event":"VARCHAR","user_id":"VARCHAR","timestamp":"VARCHAR","properties":"JSON"}]'
    with duckdb.connect(directory / "bare.duckdb", config={"threads": os.cpu_count() or 1}) as connection:
        connection.execute(
            "CREATE TABLE events (id UUID, event VARCHAR, user_id VARCHAR, timestamp TIMESTAMP, properties VARIANT)"
        )
        started = time.perf_counter()
        for first in range(0, count, DISTINCT_BATCHES):
            connection.execute(
                "INSERT INTO events SELECT uuid(), e.event, e.user_id, e.timestamp::TIMESTAMP, e.properties::VARIANT"
                f" FROM (SELECT unnest(from_json(body, '{form}')) e FROM (SELECT unnest(?::VARCHAR[]) body))",
                [texts[: min(DISTINCT_BATCHES, count - first)]],
            )
        connection.execute("CHECKPOINT")
        return time.perf_counter() - started


def freshness(directory: Path, sustained: float) -> list[Row]:
    """(d) at half of what can be loaded."""
    connections = 8
    per_connection = sustained / 2 / BATCH_SIZE / connections
    pause_ms = max(1, round(1000 / per_connection) - 5)
    seconds = 25.0
    with running_node(directory / "fresh") as node:
        headers = {**node.headers, "Content-Type": "application/json", "Content-Encoding": "gzip"}
        bodies = [compressed(body) for body in batches(20)]
        results = []
        pressure = threading.Thread(
            target=lambda: results.append(
                load(node.url + "/v1/batch", seconds, connections, headers, bodies, pause_ms=pause_ms)
            )
        )
        pressure.start()
        time.sleep(3)
        ages = [_probe(node, n) for n in range(PROBES) if pressure.is_alive()]
        pressure.join()
    ages.sort()
    rate = results[0].per_s * BATCH_SIZE
    note = f"{len(ages)} probes at {rate:,.0f} events/s, polled every few ms"
    return [
        Row("d", "from 202 to visible, p50", statistics.median(ages) * 1000, "ms", note=note),
        Row(
            "d", "from 202 to visible, p99", ages[min(len(ages) - 1, int(len(ages) * 0.99))] * 1000, "ms", aim="≤ 1,000"
        ),
    ]


def _probe(node: RunningNode, n: int) -> float:
    """Seconds from the 202 of one event to its row."""
    user = f"probe-{n}"
    node.post("/v1/ingest", {"event": "probe", "user_id": user}).raise_for_status()
    started = time.perf_counter()
    # As a user would who looks at what has just come in: the time keeps the query away from older rows.
    recent = "received_at > now() - INTERVAL 1 MINUTE"
    sql = f"SELECT count(*) FROM events WHERE {recent} AND event = 'probe' AND user_id = '{user}'"
    wait_for(lambda: node.rows(sql) == [[1]], 30, user)
    return time.perf_counter() - started


def queries(directory: Path, key: str) -> list[Row]:
    """(e) on the million events of (c)."""
    rows = []
    with running_node(directory / "filled") as node, contextlib.closing(Api(node.url, key)) as client:
        through = {name: _median_ms(partial(client.ask, sql)) for name, sql in QUERIES.items()}
        node.stop()
    with duckdb.connect(directory / "filled" / "store" / "store.duckdb", read_only=True) as connection:
        for name, sql in QUERIES.items():
            text = check(sql, schema="p_default", limit=1000).sql
            bare = _median_ms(partial(_run, connection, text))
            aim = "≤ 3 ms more" if name == "count" else ""
            note = f"{through[name] - bare:+.1f} ms; bare {bare:.1f} ms"
            rows.append(Row("e", f"query {name}", through[name], "ms", through[name] / bare, "bare DuckDB", aim, note))
    return rows


def _run(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    connection.execute(sql).fetchall()


def _median_ms(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(QUERY_ROUNDS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def size_and_memory(directory: Path) -> list[Row]:
    """(f)"""
    data = directory / "filled"
    size = (data / "store" / "store.duckdb").stat().st_size
    with duckdb.connect(data / "store" / "store.duckdb", read_only=True) as connection:
        used = connection.execute("SELECT used_blocks * block_size FROM pragma_database_size()").fetchone()
    assert used is not None
    note = f"{used[0] / FILLED_EVENTS:.1f} B in use, the rest is free for what comes next"
    rows = [Row("f", "bytes on disk an event, typical web events", size / FILLED_EVENTS, "B", aim="≤ 40", note=note)]
    started = time.perf_counter()
    with running_node(directory / "idle") as node:
        wait_for(lambda: httpx.get(node.url + "/v1/ready").status_code == 200, what="readiness")
        rows.append(Row("f", "from the command to ready, new directory", time.perf_counter() - started, "s"))
        time.sleep(2)
        idle = memory.of_node(node)
        rows.append(_memory("idle", idle, "≤ 250"))
        fill(node, [compressed(body) for body in batches(20)], 400)
        rows.append(_memory("after 200,000 events", memory.of_node(node), ""))
        node.process.send_signal(signal.SIGTERM)
        node.process.wait()
    return rows


def _memory(when: str, figures: dict[str, float], aim: str) -> Row:
    note = ", ".join(f"{name} {value:.0f}" for name, value in figures.items() if name != "sum of RSS")
    return Row("f", f"resident memory, all processes, {when}", figures["sum of RSS"], "MiB", aim=aim, note=note)
