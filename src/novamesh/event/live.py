"""Accepted events as a reader of the live tail gets them: the columns of the table ``events``, as JSON. Pure: no I/O.

Times are ISO 8601, UTC, with ``Z``; what an event does not have is null. The ``id`` is the one the event has in the
database, unless it is found there to have been sent before.
"""

import uuid
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from novamesh.errors import NovameshError
from novamesh.event.record import Record

_NULL = Raw(b"null")


class UnreadableEvents(NovameshError):
    """The events of a record are not what its header says."""


class LiveEvent(msgspec.Struct, gc=False):
    """One event of a record; ``timestamp`` is None if its time is that of receipt."""

    event: str
    user_id: str | None = None
    timestamp: str | None = None
    properties: Raw = _NULL
    context: Raw = _NULL


class _Row(msgspec.Struct, gc=False):
    id: str
    event: str
    user_id: str | None
    timestamp: str
    properties: Raw
    context: Raw
    received_at: str
    batch_id: str | None


_decoder = msgspec.json.Decoder(list[LiveEvent])
_encoder = msgspec.json.Encoder()


def read_events(record: Record, events: bytes) -> list[LiveEvent]:
    """The events behind a record's header. Raises :class:`UnreadableEvents`."""
    try:
        found = _decoder.decode(events)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableEvents(str(error)) from None
    if len(found) != record.n:
        raise UnreadableEvents(f"the record holds {len(found)} events and its header says {record.n}")
    return found


def encode_row(record: Record, place: int, event: LiveEvent) -> bytes:
    """The event at a ``place`` of its record as one line of JSON."""
    received_at = _iso(record.at)
    return _encoder.encode(
        _Row(
            id=str(uuid.UUID(f"{record.batch}{place:04x}")),
            event=event.event,
            user_id=event.user_id,
            timestamp=event.timestamp or received_at,
            properties=event.properties,
            context=event.context,
            received_at=received_at,
            batch_id=record.batch_id,
        )
    )


def _iso(at_us: int) -> str:
    seconds, micros = divmod(at_us, 1_000_000)
    at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return at.isoformat().replace("+00:00", "Z")
