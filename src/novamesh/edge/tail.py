"""``GET /v1/tail``: events as they are accepted, as Server-Sent Events (WHATWG HTML, section 9.2)."""

import asyncio
import logging
import time
from functools import partial

import msgspec
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope

from novamesh.edge.call import named
from novamesh.edge.connection import Backlog, cut
from novamesh.edge.request import ClientGone, read_number, read_pairs
from novamesh.edge.tails import Filter, Tail
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter, RequestError, SpoolUnavailable

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/event-stream"
HEADERS = [("content-type", CONTENT_TYPE), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
PING_S = 15.0
# How long a reader waits before it connects again, in ms.
RETRY_MS = 1000
# How often, at most, a reader is told what was left out.
DROPPED_S = 1.0
# How long what waits for a reader may take, when its tail ends.
LAST_S = 1.0
# What may be under way to a reader before events are kept back, and then left out.
BACKLOG_BYTES = 256 * 1024

_PARAMETERS = ("event", "user_id", "rate")
_REASONS = {
    "stopping": "The node stops; connect again.",
    "key_revoked": "The key was revoked or has expired; use another one.",
    "failed": "The node failed to go on; its log says why. Connect again.",
}


async def tail(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Send events until one of both sides ends it. Returns 0: no events were accepted."""
    authorization = scope.headers.get("authorization")
    key = worker.keyring.authorize(authorization, "query")
    wanted, rate = _read(scope.query_string, worker.config.tail_rate)
    if scope.method == "HEAD":
        protocol.response_stream(200, HEADERS)
        return 0
    worker.tails.enter(key)
    worker.busy[scope.client] += 1
    opened = Tail(key.space, wanted, rate, partial(_refusal, worker, authorization))
    try:
        await _join(worker, opened)
        await _serve(opened, scope, protocol)
    finally:
        worker.tails.part(opened)
        worker.leave(scope.client)
        worker.tails.leave(key)
    return 0


async def _join(worker: Worker, opened: Tail) -> None:
    """Raises :class:`SpoolUnavailable`."""
    try:
        await worker.tails.join(opened)
    except OSError:
        raise SpoolUnavailable("The disk of this node cannot be read; connect again.") from None


def _read(query_string: str, most: int) -> tuple[Filter, int]:
    """What is wanted, and how many events a second at most. Raises :class:`InvalidParameter`."""
    pairs = read_pairs(query_string, _PARAMETERS)
    values = {name: value for name, value in pairs if name != "event"}
    if len(values) < sum(name != "event" for name, _ in pairs):
        raise InvalidParameter("Only the parameter `event` may be given more than once.")
    for name, value in pairs:
        if not value.strip():  # no event has such a name or user: nothing would ever be shown
            raise InvalidParameter(f"The parameter `{name}` is blank; give it a value or leave it out.")
    rate = read_number(values, "rate", most, most)
    return Filter(frozenset(value for name, value in pairs if name == "event"), values.get("user_id")), rate


def _refusal(worker: Worker, authorization: str | None) -> str | None:
    """Why the reader may see no more, or None."""
    try:
        worker.keyring.authorize(authorization, "query")
    except RequestError:
        return "key_revoked"
    return None


async def _serve(opened: Tail, scope: Scope, protocol: HTTPProtocol) -> None:
    gone = asyncio.ensure_future(protocol.client_disconnect())
    sending = asyncio.ensure_future(_send(opened, scope, protocol))
    try:
        await asyncio.wait((sending, gone, opened.ended), return_when=asyncio.FIRST_COMPLETED)
        if opened.ended.done():
            await asyncio.wait((sending, gone), timeout=LAST_S, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            if not gone.done():
                cut(scope.client)  # it reads nothing; of an HTTP/2 connection a reader may leave one stream alone
            raise ClientGone
        sending.result()
    except ProtocolClosed:
        raise ClientGone from None
    except OSError as error:
        # It reads nothing, or there are no descriptors left to see whether it does. An error it can no longer be.
        if not isinstance(error, TimeoutError):
            log.warning("a tail was cut off", extra={"cause": str(error), **named(protocol)})
        cut(scope.client)
        raise ClientGone from None
    finally:
        gone.cancel()
        sending.cancel()
        await asyncio.wait((sending,))


async def _send(opened: Tail, scope: Scope, protocol: HTTPProtocol) -> None:
    transport = protocol.response_stream(200, HEADERS)
    await transport.send_bytes(f"retry: {RETRY_MS}\n\n".encode())
    sent_at = told_at = time.monotonic()
    with Backlog(scope.client, BACKLOG_BYTES, BACKLOG_BYTES // 2) as backlog:
        while True:
            ended = opened.ended.done()
            now = time.monotonic()
            data = b"".join(b"event: event\ndata: " + row + b"\n\n" for row in opened.take())
            if (ended or now - told_at >= DROPPED_S) and (dropped := opened.take_dropped()):
                data += _message("dropped", {"count": dropped})
                told_at = now
            if ended:
                reason = opened.ended.result()
                await transport.send_bytes(data + _message("end", {"reason": reason, "message": _REASONS[reason]}))
                return
            if not data and now - sent_at >= PING_S:
                data = b": ping\n\n"
            if data:
                await transport.send_bytes(data)
                await backlog.give(len(data))
                sent_at = now
            await _wait(opened)


async def _wait(opened: Tail) -> None:
    """Until there is something to send, or it is time to look whether there is."""
    try:
        async with asyncio.timeout(DROPPED_S):
            await opened.ready.wait()
    except TimeoutError:
        return


def _message(kind: str, data: dict[str, object]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
