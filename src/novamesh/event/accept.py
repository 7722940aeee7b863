"""Request bodies → canonical events, or one error that lists every fault.

The way of a body: UTF-8, then the native decoder, then what the decoder cannot tell (blank names, time
zones), then the canonical encoding. Only when the decoder refuses is the body taken apart, event by event,
to accept what is rare but right and to say exactly what is wrong.
"""

import re
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Raw

from novamesh.errors import Detail, InvalidEvent, InvalidJson
from novamesh.event import timestamp
from novamesh.event.model import (
    BATCH,
    ENCODER,
    EVENT,
    MAX_DEPTH,
    MAX_EVENTS,
    MAX_SHARED_CONTEXT_BYTES,
    RAW_FIELDS,
    RAW_ITEMS,
    RAW_VALUE,
    Event,
    Fault,
    kind_of,
    read_event,
    read_object,
    unknown_fields,
)

BATCH_FIELDS = ("events", "context")

_NUL = b"\\u0000"
_name_of = attrgetter("event")
_id_of = attrgetter("id")
_time_of = attrgetter("timestamp")


class Accepted(msgspec.Struct, frozen=True):
    """``events`` is the UTF-8 text of a JSON array of ``count`` events in canonical form: known fields
    only, absent ones omitted, times in UTC with ``Z``, the shared context merged into each event.
    ``rejected`` lists the faults of the events left out of a partial batch.
    """

    events: bytes
    count: int
    rejected: tuple[Detail, ...] = ()


def accept_event(body: bytes) -> Accepted:
    """Accept the body of ``POST /v1/ingest``, one event.

    Raises :class:`InvalidJson` or :class:`InvalidEvent`.
    """
    _check_utf8(body)
    try:
        event = EVENT.decode(body)
    except (msgspec.DecodeError, RecursionError):  # includes ValidationError
        return _accept_event_exactly(body)
    if not _settle([event], body):
        return _accept_event_exactly(body)
    return _accepted([event])


def accept_batch(body: bytes, *, partial: bool = False) -> Accepted:
    """Accept the body of ``POST /v1/batch``: all events or, with ``partial``, the good ones.

    Raises :class:`InvalidJson`, or :class:`InvalidEvent` with a detail for every fault of every bad event.
    """
    _check_utf8(body)
    try:
        batch = BATCH.decode(body)
    except (msgspec.DecodeError, RecursionError):  # includes ValidationError
        return _accept_batch_exactly(body, partial)
    shared = batch.context
    if not _settle(batch.events, body) or (shared and _is_too_large(shared)):
        return _accept_batch_exactly(body, partial)
    _share(shared, batch.events)
    return _accepted(batch.events)


def _accepted(events: list[Event], rejected: tuple[Detail, ...] = ()) -> Accepted:
    return Accepted(ENCODER.encode(events), len(events), rejected)


def _settle(events: list[Event], body: bytes) -> bool:
    """Put times into UTC; False if an event breaks a rule that the decoder does not know, or may."""
    if not all(map(str.strip, set(map(_name_of, events)))):  # few distinct names in a batch
        return False
    if not all(map(str.strip, filter(None, map(_id_of, events)))):
        return False
    if timestamp.all_canonical(filter(None, map(_time_of, events))):
        return True
    if _NUL in body:  # the decoder takes a time without a zone that ends there, whatever follows
        return False
    try:
        for event in events:
            if event.timestamp is not None:
                event.timestamp = timestamp.to_utc(event.timestamp)
    except ValueError:
        return False
    return True


def _share(shared: dict[str, Any] | None, events: Iterable[Event]) -> None:
    """Give each event the batch's context; the keys of its own win."""
    if not shared:
        return
    for event in events:
        event.context = {**shared, **event.context} if event.context else shared


def _is_too_large(shared: dict[str, Any]) -> bool:
    return len(ENCODER.encode(shared)) > MAX_SHARED_CONTEXT_BYTES


def _accept_event_exactly(body: bytes) -> Accepted:
    raw = _well_formed(body)
    kind = kind_of(raw)
    if kind != "an object":
        advice = "; send several events to POST /v1/batch" if kind == "an array" else ""
        raise _invalid([Detail("", f"The body must be one event object, not {kind}{advice}.")])
    event, faults = read_event(raw)
    if event is None:
        details = [Detail(fault.pointer, fault.message) for fault in faults]
        raise _invalid(details)
    return _accepted([event])


def _accept_batch_exactly(body: bytes, partial: bool) -> Accepted:
    raw = _well_formed(body)
    kind = kind_of(raw)
    if kind != "an object":
        raise _invalid([Detail("", f'The body must be an object with the array "events", not {kind}.')])
    fields = RAW_FIELDS.decode(raw)
    shared, faults = _read_shared(fields)
    items, more = _read_items(fields)
    unknown = [name for name in fields if name not in BATCH_FIELDS]
    faults += [*more, *unknown_fields(unknown, BATCH_FIELDS, "a batch has only `events` and `context`.")]
    events, details = _read_events(items)
    if faults or not events or (details and not partial):
        whole = [Detail(fault.pointer, fault.message) for fault in faults]
        raise _invalid(whole + details, 0 if faults else len(items))
    _share(shared, events)
    return _accepted(events, tuple(details))


def _read_shared(fields: dict[str, Raw]) -> tuple[dict[str, Any] | None, list[Fault]]:
    try:
        shared = read_object("context", bytes(fields.get("context", b"null")))
    except Fault as fault:
        return None, [fault]
    if shared and _is_too_large(shared):
        reason = f"may have at most {MAX_SHARED_CONTEXT_BYTES:,} bytes, because it is stored with every event"
        return None, [Fault("/context", f"The `context` of a batch {reason}: send a smaller one.")]
    return shared, []


def _read_items(fields: dict[str, Raw]) -> tuple[list[Raw], list[Fault]]:
    raw = bytes(fields.get("events", b"null"))
    kind = kind_of(raw)
    if kind == "null":
        return [], [Fault("/events", f"`events` is required: send an array of 1 to {MAX_EVENTS} events.")]
    if kind != "an array":
        return [], [Fault("/events", f"`events` must be an array of 1 to {MAX_EVENTS} events, not {kind}.")]
    items = RAW_ITEMS.decode(raw)
    if not items:
        return [], [Fault("/events", "`events` is empty: send at least one event.")]
    if len(items) > MAX_EVENTS:
        advice = f"split it into batches of at most {MAX_EVENTS}"
        return [], [Fault("/events", f"`events` holds {len(items):,} events: {advice}.")]
    return items, []


def _read_events(items: list[Raw]) -> tuple[list[Event], list[Detail]]:
    events: list[Event] = []
    details: list[Detail] = []
    for index, item in enumerate(items):
        event, faults = read_event(bytes(item))
        if event is not None:
            events.append(event)
        details.extend(Detail(f"/events/{index}{fault.pointer}", fault.message, index) for fault in faults)
    return events, details


def _invalid(details: list[Detail], events: int = 0) -> InvalidEvent:
    """The error for ``details``; ``events`` is the size of the batch if only its events are at fault."""
    if not events:
        return InvalidEvent(details[0].message, details=tuple(details))
    bad = len({detail.index for detail in details})
    count = f"{bad} of {events} events {'is' if bad == 1 else 'are'} not valid"
    return InvalidEvent(f"{count}: correct what `details` lists and send the batch again.", details=tuple(details))


# ---- JSON -----------------------------------------------------------------------------------------------

_BLANKS = b" \t\r\n"
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_AT_BYTE = re.compile(r"(?:JSON is malformed: )?(.*) \(byte (\d+)\)")
# An escaped half of a surrogate pair without its other half, where no backslash is escaped.
_LONE_SURROGATE = re.compile(rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]", re.DOTALL)
_NOT_A_NUMBER = re.compile(rb"-?(?:NaN|Infinity)")
_BRACKET = re.compile(rb'[^][{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^][{}"]*+)*+([][{}])', re.DOTALL)
_CUT_DEPTH = 64
_MAX_CUT_BRACKETS = 200_000
_TOO_DEEP = f"The body is nested too deeply: `properties` and `context` may have at most {MAX_DEPTH} levels."


def _check_utf8(body: bytes) -> None:
    if body.isascii():
        return
    if body.startswith(_BYTE_ORDER_MARKS):
        raise InvalidJson("Remove the byte order mark at the start of the body and send the JSON as UTF-8.")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"Encode the body as UTF-8: byte {error.start} is not valid UTF-8.") from None


def _well_formed(body: bytes) -> bytes:
    """The JSON value in ``body`` without blanks around it. Raises :class:`InvalidJson`.

    What nests so deeply that no decoder follows is cut to a depth that is still too deep to be accepted.
    """
    try:
        return bytes(RAW_VALUE.decode(body))
    except msgspec.DecodeError as error:
        raise _invalid_json(body, error) from None
    except RecursionError:
        return _cut(body)


def _invalid_json(body: bytes, error: msgspec.DecodeError) -> InvalidJson:
    if not body.strip(_BLANKS):
        return InvalidJson("The body is empty: send a JSON object.")
    found = _AT_BYTE.fullmatch(str(error))
    if found is None or "surrogate" in found[1]:  # msgspec calls some lone surrogates truncated input
        lone = _lone_surrogate(body)
        if lone is not None:
            return InvalidJson(f"Send whole characters: byte {lone} starts half of a surrogate pair.")
    if found is None:
        return InvalidJson(f"The body ends before its JSON does, after {len(body)} bytes: send all of it.")
    reason, offset = found[1], int(found[2])
    if _NOT_A_NUMBER.match(body, max(0, offset - 2)) or _NOT_A_NUMBER.match(body, offset):
        return InvalidJson(f"Send null or a string instead of NaN or Infinity at byte {offset}: JSON has neither.")
    return InvalidJson(f"Correct the JSON of the body: {reason} at byte {offset}.")


def _lone_surrogate(body: bytes) -> int | None:
    found = _LONE_SURROGATE.search(body.replace(rb"\\", b"__"))
    return found.start() if found else None


def _cut(body: bytes) -> bytes:
    """``body`` with what is nested below 64, 128, … levels replaced by ``[]``, each part checked to be JSON."""
    if body.count(b"[") + body.count(b"{") > _MAX_CUT_BRACKETS:
        # Telling where would take seconds, and no client sends this by chance.
        raise _invalid([Detail("", _TOO_DEEP)])
    parts = [bytearray()]
    depth = position = 0
    for match in _BRACKET.finditer(body):
        at = match.start(1)
        if match[1] in b"[{":
            if depth and depth % _CUT_DEPTH == 0:
                parts[-1] += body[position:at]
                parts.append(bytearray())
                position = at
            depth += 1
        else:
            depth -= 1
            if depth > 0 and depth % _CUT_DEPTH == 0:
                _check_part(parts.pop() + body[position : at + 1])
                parts[-1] += b"[]"
                position = at + 1
    parts[-1] += body[position:]
    if len(parts) > 1:
        raise InvalidJson(f"The body ends before its JSON does, after {len(body)} bytes: send all of it.")
    return _check_part(parts[0])


def _check_part(part: bytearray) -> bytes:
    try:
        return bytes(RAW_VALUE.decode(part))
    except (msgspec.DecodeError, RecursionError):
        raise InvalidJson("Correct the JSON of the body: it is malformed where it is nested deeply.") from None
