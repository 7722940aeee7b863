"""(a) requests a second and (b) events a second at the edge, durable, against an empty handler."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.empty import empty_server
from bench.events import BATCH_SIZE, batches, compressed, single
from bench.report import Row
from bench.wrk import Load, load
from tests.support import RunningNode, running_node

CONNECTIONS = (1, 64, 256)
BATCH_CONNECTIONS = 16


@contextmanager
def paused_store(node: RunningNode) -> Iterator[None]:
    """The store stops loading: what is left is the edge's own speed."""
    (store,) = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(store, signal.SIGCONT)


def _checked(result: Load) -> Load:
    if result.refused or result.broken:
        raise RuntimeError(f"{result.refused} answers were not 2xx, {result.broken} connections broke")
    return result


def requests(directory: Path, seconds: float) -> list[Row]:
    """(a)"""
    rows = []
    with empty_server() as empty, running_node(directory / "requests") as node:
        headers = {**node.headers, "Content-Type": "application/json"}
        for connections in CONNECTIONS:
            base = _checked(load(empty, seconds, connections))
            rows.append(_requests("empty handler", connections, base, base, ""))
            health = _checked(load(node.url + "/v1/health", seconds, connections))
            rows.append(_requests("GET /v1/health", connections, health, base, ""))
            with paused_store(node):
                body = [single()]
                alone = _checked(load(node.url + "/v1/ingest", seconds, connections, headers, body))
            aim = "≥ 0.40" if connections == 64 else ""
            rows.append(_requests("POST /v1/ingest, store paused", connections, alone, base, aim))
            both = _checked(load(node.url + "/v1/ingest", seconds, connections, headers, body))
            rows.append(_requests("POST /v1/ingest, store loading", connections, both, base, ""))
    return rows


def _requests(what: str, connections: int, result: Load, base: Load, aim: str) -> Row:
    note = f"p50 {result.p50_ms:.2f} ms, p99 {result.p99_ms:.2f} ms"
    ratio = None if result is base else result.per_s / base.per_s
    return Row("a", f"{what}, {connections} connections", result.per_s, "req/s", ratio, "the empty handler", aim, note)


def events(directory: Path, seconds: float) -> list[Row]:
    """(b)"""
    rows: list[Row] = []
    plain = batches(8)
    with running_node(directory / "events") as node:
        headers = {**node.headers, "Content-Type": "application/json"}
        for name, bodies, extra in (
            ("plain", plain, {}),
            ("gzip", [compressed(body) for body in plain], {"Content-Encoding": "gzip"}),
        ):
            with paused_store(node):
                alone = _checked(load(node.url + "/v1/batch", seconds, BATCH_CONNECTIONS, {**headers, **extra}, bodies))
            first = rows[0].value if rows else alone.per_s * BATCH_SIZE
            rows.append(_events(f"{name}, store paused", alone, first, "≥ 700,000" if not rows else ""))
            both = _checked(load(node.url + "/v1/batch", seconds, BATCH_CONNECTIONS, {**headers, **extra}, bodies))
            rows.append(_events(f"{name}, store loading", both, first, ""))
    return rows


def _events(what: str, result: Load, first: float, aim: str) -> Row:
    value = result.per_s * BATCH_SIZE
    note = f"p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    return Row(
        "b", f"POST /v1/batch, 500 events, {what}", value, "events/s", value / first, "plain, store paused", aim, note
    )
