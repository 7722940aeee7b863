"""``POST /v1/ingest`` and ``POST /v1/batch``: validate, spool, answer when it is on disk."""

import time

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.gate import PACED_BYTES, Entry, Headers
from novamesh.edge.request import read_body, read_flag, read_header, read_parameters
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter, RequestError
from novamesh.event.accept import Accepted, accept_batch, accept_event
from novamesh.event.record import Record, batch_for_key, encode, new_batch
from novamesh.keys import Key

JSON_HEADERS: Headers = [("content-type", "application/json")]
MAX_KEY_CHARACTERS = 255
_ACCEPTED_ONE = b'{"accepted": true, "queued": 1}'


async def ingest(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """One event. Returns the number of events accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "ingest")
    with worker.gate.enter(key, scope, sends=True) as entry:
        read_parameters(scope.query_string, ())
        config = worker.config
        body = await read_body(scope, protocol, config.event_limit_bytes, config.body_timeout_ms / 1000, entry)
        await _spool(worker, key, scope, accept_event(body), entry, named=False)
        protocol.response_bytes(202, [*JSON_HEADERS, *entry.headers], _ACCEPTED_ONE)
    return 1


async def batch(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Up to 500 events. Returns the number of events accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "ingest")
    with worker.gate.enter(key, scope, sends=True) as entry:
        partial = read_flag(read_parameters(scope.query_string, ("partial",)), "partial")
        config = worker.config
        body = await read_body(scope, protocol, config.batch_limit_bytes, config.body_timeout_ms / 1000, entry)
        if len(body) > PACED_BYTES:
            await worker.gate.pace.wait()
        accepted = accept_batch(body, partial=partial)
        record = await _spool(worker, key, scope, accepted, entry, named=True)
        answer: dict[str, object] = {"accepted": True, "events": accepted.count, "batch_id": record.batch_id}
        if partial:
            answer["rejected"] = accepted.rejected
        protocol.response_bytes(202, [*JSON_HEADERS, *entry.headers], msgspec.json.encode(answer))
    return accepted.count


async def _spool(worker: Worker, key: Key, scope: Scope, accepted: Accepted, entry: Entry, named: bool) -> Record:
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
        await worker.spool.append(encode(record, accepted.events), space, accepted.count)
    except RequestError:
        entry.give_back(accepted.count)
        raise
    return record


def _idempotency_key(scope: Scope) -> str | None:
    value = read_header(scope, "idempotency-key")
    if value is None:
        return None
    if not 1 <= len(value) <= MAX_KEY_CHARACTERS:
        raise InvalidParameter(f"The Idempotency-Key must have 1 to {MAX_KEY_CHARACTERS} characters.")
    return value
