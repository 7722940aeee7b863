"""``GET /v1/health``, ``GET /v1/ready`` and the status page."""

import time

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh import __version__
from novamesh.edge.api.documents import Health, Ready
from novamesh.edge.ingest import JSON_HEADERS
from novamesh.edge.page import pages
from novamesh.edge.worker import Worker
from novamesh.errors import Detail, NotReady
from novamesh.status import metrics
from novamesh.status.ledger import Entry, total


async def health(worker: Worker, _scope: Scope, protocol: HTTPProtocol) -> int:
    """Whether the node accepts, and how it has done in the last 30 days."""
    body = msgspec.json.encode(
        Health(
            status="degraded" if worker.problems() else "ok",
            node=worker.config.node,
            region=worker.config.region,
            version=__version__,
            uptime=worker.uptime.report(time.time()).percent,
        )
    )
    protocol.response_bytes(200, JSON_HEADERS, body)
    return 0


async def ready(worker: Worker, _scope: Scope, protocol: HTTPProtocol) -> int:
    """200 when every part is well. Raises :class:`NotReady` that names those that are not."""
    if problems := worker.problems():
        parts = ", ".join(dict.fromkeys(problem.part for problem in problems))
        raise NotReady(
            f"Not ready: {parts}. Wait, or see the details.",
            details=tuple(Detail(pointer=f"/{problem.part}", message=problem.reason) for problem in problems),
        )
    body = msgspec.json.encode(Ready("ready", worker.ledger()))
    protocol.response_bytes(200, JSON_HEADERS, body)
    return 0


async def page(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """The status page; with ``?part=live`` only what its script refreshes."""
    data = page_data(worker, time.time())
    protocol.response_bytes(
        200,
        [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", pages.CONTENT_SECURITY_POLICY),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ],
        pages.render_live(data) if scope.query_string == "part=live" else pages.render(data),
    )
    return 0


def _ledger(worker: Worker) -> Entry | None:
    spaces = worker.ledger()
    return None if spaces is None else total(spaces.values())


def page_data(worker: Worker, now: float) -> pages.PageData:
    """What the status page shows: all of it measured."""
    snapshot = metrics.read(worker.run_directory, now)
    problems = worker.problems()
    return pages.PageData(
        node=worker.config.node,
        region=worker.config.region,
        region_label=worker.config.region_label,
        version=__version__,
        status="degraded" if problems else "ok",
        problems=tuple(problems),
        since=worker.since.note(problems, now),
        p50_ms=snapshot.p50_ms,
        window="last hour",
        minutes=worker.history.minutes(now),
        report=worker.uptime.report(now),
        base_url=worker.config.base_url,
        events_accepted=snapshot.events,
        ledger=_ledger(worker),
        now_s=now,
    )
