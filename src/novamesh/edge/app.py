"""The RSGI application: routes, the one error shape, and a worker's start and end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope

from novamesh.config import Config
from novamesh.edge import cors, export, health, ingest, metrics, query, receipts, schema, tail, users
from novamesh.edge.accesslog import FailureLog, note_access
from novamesh.edge.api import openapi
from novamesh.edge.call import Call, HeadCall
from novamesh.edge.console import serving as console
from novamesh.edge.drain import Drain
from novamesh.edge.request import ClientGone
from novamesh.edge.worker import Worker
from novamesh.errors import InternalError, MethodNotAllowed, NotFound, RequestError, RequestTimeout
from novamesh.logs import configure
from novamesh.sql.guard import warm

log = logging.getLogger(__name__)

Handler = Callable[[Worker, Scope, HTTPProtocol], Awaitable[int]]

ROUTES: dict[str, dict[str, Handler]] = {
    "/": {"GET": health.page},
    "/console": {"GET": console.page},
    "/console/{file}": {"GET": console.file},
    "/v1/health": {"GET": health.health},
    "/v1/ready": {"GET": health.ready},
    "/v1/ingest": {"POST": ingest.ingest},
    "/v1/batch": {"POST": ingest.batch},
    "/v1/batches/{batch_id}": {"GET": receipts.receipt},
    "/v1/query": {"GET": query.query, "POST": query.query},
    "/v1/export": {"GET": export.export},
    "/v1/tail": {"GET": tail.tail},
    "/v1/schema": {"GET": schema.schema},
    "/v1/users/{user_id}": {"DELETE": users.erase},
    "/metrics": {"GET": metrics.exposition},
    "/openapi.json": {"GET": openapi.openapi},
}
# Those whose last part is a parameter, by what stands before it; the handler reads it off the path.
WITH_PARAMETER = {path.partition("{")[0]: methods for path, methods in ROUTES.items() if path.endswith("}")}

# What a web page may ask of another origin: keys that are bound to origins can do nothing else.
FOR_PAGES = ("/v1/ingest", "/v1/batch")


class Application:
    """One worker's application, as Granian runs it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._failures = FailureLog()
        self._logs_access = config.access_log == "on"
        self._drain = Drain(config.batch_limit_bytes)
        self._worker: Worker

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        configure(self._config.log_level)
        try:
            warm()
        except Exception:
            # Whatever is wrong with queries, events must go on coming in.
            log.exception("the SQL parser cannot be warmed up")
        try:
            self._worker = Worker(self._config, loop)
        except OSError as error:
            log.error("an edge worker cannot start, trying again", extra={"cause": str(error)})
            raise SystemExit(1) from None

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._failures.tell()
        self._worker.close()

    async def __rsgi__(self, scope: Scope, server: HTTPProtocol) -> None:
        started = time.perf_counter_ns()
        call: Any = HeadCall(scope, server) if scope.method == "HEAD" else Call(scope, server)
        worker = self._worker
        refused = False
        try:
            events = await _handler(scope)(worker, scope, call)
            if events:
                waited = events.ns if isinstance(events, ingest.Waited) else 0
                worker.metrics.observe(time.perf_counter_ns() - started - waited, time.time(), events)
                worker.metrics.count(202, events)
            else:
                worker.metrics.count(200)
        except (ClientGone, ProtocolClosed):
            pass  # there is nobody to answer
        except RequestError as error:
            refused = not isinstance(error, RequestTimeout)  # whose body is too slow already
            self._answer(call, scope, error)
        except Exception as cause:
            self._answer(call, scope, InternalError("The node failed to answer this request; its log says why."), cause)
        if self._logs_access:
            note_access(call, scope, _route(scope.path), time.perf_counter_ns() - started)
        if refused:
            await self._drain.finish(call, scope)

    def _answer(self, call: Call, scope: Scope, error: RequestError, cause: Exception | None = None) -> None:
        self._worker.metrics.count(error.status)
        self._worker.metrics.count_error(error.code)
        if error.status >= 500:
            self._failures.note(call, scope, error, cause)
        headers = [("content-type", "application/json"), *error.headers]
        if error.retry_after is not None:
            headers.append(("retry-after", str(error.retry_after)))
        with suppress(ProtocolClosed):
            call.response_bytes(error.status, headers, error.body())


def _methods(path: str) -> dict[str, Handler] | None:
    """What may be done at a path."""
    return ROUTES.get(path) or next(
        (methods for before, methods in WITH_PARAMETER.items() if path.startswith(before)), None
    )


def _handler(scope: Scope) -> Handler:
    methods = _methods(scope.path)
    if methods is None:
        raise NotFound(f"There is nothing at this path; the endpoints are {', '.join(ROUTES)}.")
    if scope.method == "OPTIONS" and scope.path in FOR_PAGES and cors.is_preflight(scope):
        return cors.preflight
    handler = methods.get("GET" if scope.method == "HEAD" else scope.method)
    if handler is None:
        allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
        raise MethodNotAllowed(f"Use {allowed} here.", headers=(("allow", allowed),))
    return handler


def _route(path: str) -> str:
    """The path with the names of its parameters in their place; empty if there is nothing at it."""
    if path in ROUTES:
        return path
    return next((route for route in ROUTES if route.endswith("}") and path.startswith(route.partition("{")[0])), "")
