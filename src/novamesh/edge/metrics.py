"""``GET /metrics``: what this node knows of itself, for Prometheus. Every edge worker gives the same figures."""

import time
from collections.abc import Iterator

from granian.rsgi import HTTPProtocol, Scope

from novamesh import __version__
from novamesh.edge.worker import Worker
from novamesh.spool.writer import spool_size
from novamesh.status import metrics
from novamesh.status.exposition import CONTENT_TYPE, Family, Sample, expose
from novamesh.status.ledger import Ledger
from novamesh.status.metrics import Snapshot
from novamesh.store.contract import StoreStatus

# Of each: the name, the kind, the field of a ledger's entry, and what it counts.
_LEDGER = (
    ("events_accepted_total", "counter", "accepted", "Events that were accepted since the data directory was made."),
    (
        "events_stored",
        "gauge",
        "stored",
        "Accepted events that are stored, those that were removed on purpose included.",
    ),
    ("events_duplicate", "gauge", "duplicates", "Accepted events that were dropped because they had been sent before."),
    ("events_quarantined", "gauge", "quarantined", "Accepted events that the database refused."),
    ("events_waiting", "gauge", "waiting", "Accepted events that wait in the spool."),
    ("events_damaged", "gauge", "damaged", "Accepted events in damaged segments that were set aside."),
    (
        "events_missing",
        "gauge",
        "missing",
        "Accepted events that the last recount did not find. Anything but 0 is a loss.",
    ),
)


async def exposition(worker: Worker, _scope: Scope, protocol: HTTPProtocol) -> int:
    """All figures. Those of a store that does not answer are left out."""
    now = time.time()
    families = [
        *_node(worker, now),
        *_requests(metrics.read(worker.run_directory, now)),
        *_store(worker.store if worker.store_problem is None else None),
        *_events(worker.ledger()),
    ]
    protocol.response_bytes(200, [("content-type", CONTENT_TYPE), ("cache-control", "no-store")], expose(families))
    return 0


def _one(name: str, help: str, value: float | None, kind: str = "gauge", **labels: str) -> Family:
    return Family(f"novamesh_{name}", kind, help, [] if value is None else [Sample(value, labels)])


def _node(worker: Worker, now: float) -> Iterator[Family]:
    config = worker.config
    labels = {"version": __version__, "node": config.node, "region": config.region}
    yield _one("info", "The node; always 1.", 1, **labels)
    parts = {problem.part for problem in worker.problems()}
    shown = [Sample(int(part not in parts), {"part": part}) for part in ("spool", "store", "loader", "ledger")]
    yield Family("novamesh_healthy", "gauge", "Whether a part of the node is well.", shown)
    uptime = worker.uptime.report(now)
    if uptime.first_start is not None:
        yield _one("uptime_ratio", "Share of the last 30 days in which events could be accepted.", uptime.percent / 100)
    yield _one("spool_bytes", "Size of the spool's files.", spool_size(worker.spool_directory))


def _requests(snapshot: Snapshot) -> Iterator[Family]:
    accepted = snapshot.requests - snapshot.refused - snapshot.failed
    outcomes = {"success": accepted, "refused": snapshot.refused, "failed": snapshot.failed}
    yield Family(
        "novamesh_http_requests_total",
        "counter",
        "Requests answered since the node's start: success is 1xx to 3xx, refused 4xx, failed 5xx.",
        [Sample(count, {"outcome": outcome}) for outcome, count in outcomes.items()],
    )
    yield _one("edge_workers", "Edge workers that are alive.", snapshot.workers)
    yield _one("accepting", "Whether an edge worker can accept events.", int(snapshot.accepting))
    for name, value in (("p50", snapshot.p50_ms), ("p99", snapshot.p99_ms)):
        seconds = None if value is None else value / 1000
        yield _one(f"accept_latency_{name}_seconds", "Latency of accepted requests in the last hour.", seconds)


def _store(store: StoreStatus | None) -> Iterator[Family]:
    yield _one("store_up", "Whether the store answers.", int(store is not None))
    if store is not None:
        yield _one("store_lag_seconds", "Age of the oldest event that is being loaded.", store.lag_s)
        yield _one("store_backlog_bytes", "Bytes in the spool that are not loaded.", store.backlog_bytes)
        yield _one("spool_damaged_segments", "Segments in spool/quarantine.", store.damaged)


def _events(ledger: Ledger | None) -> Iterator[Family]:
    for name, kind, field, text in _LEDGER:
        samples = [Sample(getattr(entry, field), _labels(space)) for space, entry in (ledger or {}).items()]
        yield Family(f"novamesh_{name}", kind, text, samples)


def _labels(space: str) -> dict[str, str]:
    project, _, kind = space.partition(".")
    return {"project": project, "kind": kind or "live"}
