"""``GET /metrics``: what this node knows of itself, for Prometheus. Every edge worker gives the same figures."""

import multiprocessing
import time
from collections.abc import Iterator

from granian.rsgi import HTTPProtocol, Scope

from novamesh import __version__
from novamesh.edge.worker import Worker
from novamesh.spool.writer import spool_size
from novamesh.status import metrics, processes
from novamesh.status.exposition import CONTENT_TYPE, Family, Sample, expose, histogram
from novamesh.status.ledger import Ledger
from novamesh.status.metrics import Snapshot, Totals
from novamesh.store.contract import StoreStatus

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

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
    (
        "events_written_off",
        "gauge",
        "written_off",
        "Accepted events that are lost, which an operator has taken as known.",
    ),
)


async def exposition(worker: Worker, _scope: Scope, protocol: HTTPProtocol) -> int:
    """All figures. Those of a store that does not answer, and of files that cannot be read, are left out."""
    now = time.time()
    files = metrics.load(worker.run_directory)
    totals = metrics.totals(files, now)
    families = [
        *_node(worker, now),
        *_requests(metrics.snapshot(files, now)),
        *_totals(totals),
        *_processes(worker, totals.pids),
        _one("store_bytes", "Size of the database's files.", worker.figure(processes.size, worker.store_directory)),
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
    yield _one("spool_bytes", "Size of the spool's files.", worker.figure(spool_size, worker.spool_directory))


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


def _totals(totals: Totals) -> Iterator[Family]:
    errors = [Sample(count, {"code": code}) for code, count in totals.errors.items()]
    yield Family("novamesh_http_errors_total", "counter", "Errors answered since the node's start, by code.", errors)
    yield _one(
        "accepted_bytes_total",
        "Bytes of accepted events since the node's start, as they are kept in the spool.",
        totals.counts["accepted_bytes"],
        "counter",
    )
    yield _histogram("accept_duration_seconds", "Time from a request's headers to its 202.", totals.latencies)
    outcomes = [
        Sample(totals.counts[f"queries_{outcome}"], {"outcome": outcome})
        for outcome in ("answered", "refused", "failed", "cancelled")
    ]
    yield Family(
        "novamesh_queries_total", "counter", "Queries and exports that are over, since the node's start.", outcomes
    )
    yield _histogram("query_duration_seconds", "Time from a query's check to its end.", totals.durations)
    yield _one("tails_open", "Live tails that are open.", totals.counts["tails_open"])
    yield _one("tail_events_total", "Events given to live tails.", totals.counts["tail_events"], "counter")
    yield _one(
        "tail_dropped_events_total", "Events that live tails left out.", totals.counts["tail_dropped"], "counter"
    )


def _histogram(name: str, help: str, counts: list[int]) -> Family:
    """Each value counts as the middle of its bucket, at most 1/32 off."""
    values = ((metrics.bucket_middle_ns(index) / 1e9, count) for index, count in enumerate(counts) if count)
    return histogram(f"novamesh_{name}", help, BOUNDS_S, values)


def _processes(worker: Worker, workers: list[int]) -> Iterator[Family]:
    """Of each process by its own number: a sum would go back when one of them dies."""
    pids = [("edge", pid) for pid in workers]
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        pids.append(("supervisor", parent.pid))
    if worker.store is not None and worker.store_problem is None and worker.store.pid:
        pids.append(("store", worker.store.pid))
    found = [
        ({"role": role, "pid": str(pid)}, usage) for role, pid in pids if (usage := processes.usage(pid)) is not None
    ]
    yield Family(
        "novamesh_process_resident_memory_bytes",
        "gauge",
        "Resident memory of each process.",
        [Sample(usage.resident_bytes, labels) for labels, usage in found],
    )
    yield Family(
        "novamesh_process_cpu_seconds_total",
        "counter",
        "Processor time of each process.",
        [Sample(usage.cpu_s, labels) for labels, usage in found],
    )


def _store(store: StoreStatus | None) -> Iterator[Family]:
    yield _one("store_up", "Whether the store answers.", int(store is not None))
    if store is not None:
        yield _one("store_lag_seconds", "Age of the oldest event that is being loaded.", store.lag_s)
        yield _one("store_backlog_bytes", "Bytes in the spool that are not loaded.", store.backlog_bytes)
        yield _one("spool_damaged_segments", "Segments in spool/quarantine that are not written off.", store.damaged)


def _events(ledger: Ledger | None) -> Iterator[Family]:
    for name, kind, field, text in _LEDGER:
        samples = [Sample(getattr(entry, field), _labels(space)) for space, entry in (ledger or {}).items()]
        yield Family(f"novamesh_{name}", kind, text, samples)


def _labels(space: str) -> dict[str, str]:
    project, _, kind = space.partition(".")
    return {"project": project, "kind": kind or "live"}
