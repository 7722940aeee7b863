"""``POST /v1/ingest`` and ``POST /v1/batch``: validate, spool, answer when it is on disk, or when the store has it."""

import time
from typing import Self

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.request import read_body, read_flag, read_header, read_parameters
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter
from novamesh.event.accept import Accepted, accept_batch, accept_event
from novamesh.event.record import Record, batch_for_key, encode, new_batch
from novamesh.keys import Key
from novamesh.spool.writer import Place
from novamesh.store.contract import Awaited

Headers = list[tuple[str, str]]
JSON_HEADERS: Headers = [("content-type", "application/json")]
MAX_KEY_CHARACTERS = 255
_ACCEPTED_ONE = b'{"accepted": true, "queued": 1}'


async def ingest(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """One event. Returns the number of events accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "ingest")
    waits = _waits(read_parameters(scope.query_string, ("wait",)))
    config = worker.config
    body = await read_body(scope, protocol, config.event_limit_bytes, config.body_timeout_ms / 1000)
    record, place = await _spool(worker, key, scope, accept_event(body), named=False)
    if not waits:
        protocol.response_bytes(202, JSON_HEADERS, _ACCEPTED_ONE)
        return 1
    return await _answer_stored(worker, protocol, record, place, {"accepted": True, "queued": 1})


async def batch(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Up to 500 events. Returns the number of events accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "ingest")
    values = read_parameters(scope.query_string, ("partial", "wait"))
    partial, waits = read_flag(values, "partial"), _waits(values)
    config = worker.config
    body = await read_body(scope, protocol, config.batch_limit_bytes, config.body_timeout_ms / 1000)
    accepted = accept_batch(body, partial=partial)
    record, place = await _spool(worker, key, scope, accepted, named=True)
    answer: dict[str, object] = {"accepted": True, "events": accepted.count, "batch_id": record.batch_id}
    if partial:
        answer["rejected"] = accepted.rejected
    if waits:
        return await _answer_stored(worker, protocol, record, place, answer)
    protocol.response_bytes(202, JSON_HEADERS, msgspec.json.encode(answer))
    return accepted.count


class Waited(int):
    """Events accepted by a request that then waited for the store, for ``ns``: by its own wish, which is no latency."""

    ns: int

    def __new__(cls, events: int, ns: int) -> Self:
        made = super().__new__(cls, events)
        made.ns = ns
        return made


async def _answer_stored(
    worker: Worker, protocol: HTTPProtocol, record: Record, place: Place, answer: dict[str, object]
) -> int:
    """Answer when the store has the events; at the limit, as if nobody had asked for more than that they are queued."""
    started = time.perf_counter_ns()
    awaited = Awaited(place.segment, place.end, record.space, record.batch)
    status = await worker.waiting.until_stored(awaited, worker.config.stored_timeout_ms / 1000)
    if status != "queued":
        answer["status"] = status
    protocol.response_bytes(202, JSON_HEADERS, msgspec.json.encode(answer))
    return Waited(record.n, time.perf_counter_ns() - started)


def _waits(values: dict[str, str]) -> bool:
    """Whether the answer is to wait. Raises :class:`InvalidParameter`."""
    wait = values.get("wait")
    if wait not in (None, "stored"):
        raise InvalidParameter(
            "The parameter `wait` must be stored; without it the answer comes when events are on disk."
        )
    return wait is not None


async def _spool(worker: Worker, key: Key, scope: Scope, accepted: Accepted, named: bool) -> tuple[Record, Place]:
    """Make the events durable. Raises :class:`SpoolFull` and :class:`SpoolUnavailable`."""
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
    return record, await worker.spool.append(encode(record, accepted.events))


def _idempotency_key(scope: Scope) -> str | None:
    value = read_header(scope, "idempotency-key")
    if value is None:
        return None
    if not 1 <= len(value) <= MAX_KEY_CHARACTERS:
        raise InvalidParameter(f"The Idempotency-Key must have 1 to {MAX_KEY_CHARACTERS} characters.")
    return value
