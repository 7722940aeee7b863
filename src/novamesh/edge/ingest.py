"""``POST /v1/ingest`` and ``POST /v1/batch``: validate, spool, answer when it is on disk, or when the store has it."""

import time
from typing import NamedTuple, Self

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.gate import PACED_BYTES, Entry, Headers
from novamesh.edge.request import read_body, read_flag, read_header, read_parameters
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter, RequestError
from novamesh.event.accept import Accepted, accept_batch, accept_event
from novamesh.event.record import Record, batch_for_key, encode, new_batch
from novamesh.keys import Key
from novamesh.spool.writer import Place
from novamesh.store.contract import Awaited

JSON_HEADERS: Headers = [("content-type", "application/json")]
MAX_KEY_CHARACTERS = 255
_ACCEPTED_ONE = b'{"accepted": true, "queued": 1}'


class Queued(NamedTuple):
    """What was accepted: it is on disk. ``answer`` is the 202's body so far, ``headers`` are those of the key."""

    record: Record
    place: Place
    answer: dict[str, object]
    headers: Headers


class Waited(int):
    """Events accepted by a request that then waited for the store, for ``ns``: by its own wish, which is no latency."""

    ns: int

    def __new__(cls, events: int, ns: int) -> Self:
        made = super().__new__(cls, events)
        made.ns = ns
        return made


async def ingest(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """One event. Returns the number of events accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "ingest")
    with worker.gate.enter(key, scope, sends=True) as entry:
        waits = _waits(read_parameters(scope.query_string, ("wait",)))
        record, place = await _take_event(worker, key, scope, protocol, entry)
        if not waits:
            protocol.response_bytes(202, [*JSON_HEADERS, *entry.headers], _ACCEPTED_ONE)
            return 1
    queued = Queued(record, place, {"accepted": True, "queued": 1}, entry.headers)
    return await _answer_stored(worker, scope, protocol, queued)


async def batch(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Up to 500 events. Returns the number of events accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "ingest")
    with worker.gate.enter(key, scope, sends=True) as entry:
        values = read_parameters(scope.query_string, ("partial", "wait"))
        partial, waits = read_flag(values, "partial"), _waits(values)
        queued = await _take_batch(worker, key, scope, protocol, entry, partial)
        if not waits:
            headers = [*JSON_HEADERS, *queued.headers]
            protocol.response_bytes(202, headers, msgspec.json.encode(queued.answer))
            return queued.record.n
    return await _answer_stored(worker, scope, protocol, queued)


# The body is let go of with the frame that has read it: who waits for the store holds none.


async def _take_event(
    worker: Worker, key: Key, scope: Scope, protocol: HTTPProtocol, entry: Entry
) -> tuple[Record, Place]:
    config = worker.config
    body = await read_body(scope, protocol, config.event_limit_bytes, config.body_timeout_ms / 1000, entry)
    return await _spool(worker, key, scope, accept_event(body), entry, named=False)


async def _take_batch(
    worker: Worker, key: Key, scope: Scope, protocol: HTTPProtocol, entry: Entry, partial: bool
) -> Queued:
    config = worker.config
    body = await read_body(scope, protocol, config.batch_limit_bytes, config.body_timeout_ms / 1000, entry)
    if len(body) > PACED_BYTES:
        await worker.gate.pace.wait(len(body))
    accepted = accept_batch(body, partial=partial)
    record, place = await _spool(worker, key, scope, accepted, entry, named=True)
    answer: dict[str, object] = {"accepted": True, "events": accepted.count, "batch_id": record.batch_id}
    if partial:
        answer["rejected"] = accepted.rejected
    return Queued(record, place, answer, entry.headers)


async def _answer_stored(worker: Worker, scope: Scope, protocol: HTTPProtocol, queued: Queued) -> int:
    """Answer when the store has the events; at the limit, as if nobody had asked for more than that they are queued."""
    record, place, answer, headers = queued
    started = time.perf_counter_ns()
    worker.busy[scope.client] += 1
    try:
        awaited = Awaited(place.segment, place.end, record.space, record.batch)
        status = await worker.waiting.until_stored(awaited, worker.config.stored_timeout_ms / 1000)
    finally:
        worker.leave(scope.client)
    if status != "queued":
        answer["status"] = status
    protocol.response_bytes(202, [*JSON_HEADERS, *headers], msgspec.json.encode(answer))
    return Waited(record.n, time.perf_counter_ns() - started)


def _waits(values: dict[str, str]) -> bool:
    """Whether the answer is to wait. Raises :class:`InvalidParameter`."""
    wait = values.get("wait")
    if wait not in (None, "stored"):
        raise InvalidParameter(
            "The parameter `wait` must be stored; without it the answer comes when events are on disk."
        )
    return wait is not None


async def _spool(
    worker: Worker, key: Key, scope: Scope, accepted: Accepted, entry: Entry, named: bool
) -> tuple[Record, Place]:
    """Make the events durable. Raises as :meth:`Entry.count`, :class:`SpoolFull` and :class:`SpoolUnavailable`."""
    at = time.time_ns() // 1000
    repeat = _idempotency_key(scope)
    space = key.space
    record = Record(
        space=space,
        batch=batch_for_key(space, repeat) if repeat else new_batch(at),
        at=at,
        n=accepted.count,
        named=named,
        key=repeat,
    )
    entry.count(accepted.count)
    try:
        place = await worker.spool.append(encode(record, accepted.events), space, accepted.count)
    except RequestError:
        entry.give_back(accepted.count)
        raise
    worker.metrics.add("accepted_bytes", len(accepted.events))
    return record, place


def _idempotency_key(scope: Scope) -> str | None:
    value = read_header(scope, "idempotency-key")
    if value is None:
        return None
    if not 1 <= len(value) <= MAX_KEY_CHARACTERS:
        raise InvalidParameter(f"The Idempotency-Key must have 1 to {MAX_KEY_CHARACTERS} characters.")
    return value
