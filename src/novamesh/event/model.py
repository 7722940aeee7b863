"""What one event may hold: limits, the native decoders, and the exact check that names every fault.

Two readers of the same rules. The native one (:data:`EVENT`, :data:`BATCH`) decodes and checks in one
pass but is stricter than the rules: it knows 8 of the 32 levels (its type grows exponentially with
each), signed 64-bit integers, and times with seconds. What it refuses, :func:`read_event` reads exactly.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from math import isinf
from typing import TYPE_CHECKING, Annotated, Any, Union

import msgspec
from msgspec import Meta, Raw
from msgspec.json import Decoder

from novamesh.event import timestamp

MAX_EVENTS = 500
MAX_NAME_CHARACTERS = 200
MAX_DEPTH = 32  # the properties object itself is level 1
MAX_SHARED_CONTEXT_BYTES = 64 * 1024  # it is written once for each of up to 500 events
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1

_FAST_DEPTH = 8
_MAX_FAULTS_PER_FIELD = 5
_MAX_SHOWN_CHARACTERS = 40
_MAX_POINTER_CHARACTERS = 80
_MAX_LOCATE_BYTES = 256 * 1024  # beyond it a fault is named by its field: walking 10 MB in Python takes a second


if TYPE_CHECKING:
    BoundedJson = Any
else:

    def _bounded_json(levels: int) -> Any:
        """A type for JSON values that hold at most ``levels`` nested arrays and objects."""
        scalar = Union[None, bool, Annotated[int, Meta(ge=MIN_INTEGER, le=2**63 - 1)], float, str]  # noqa: UP007
        value = scalar
        for _ in range(levels):
            value = Union[scalar, list[value], dict[str, value]]  # noqa: UP007
        return value

    BoundedJson = _bounded_json(_FAST_DEPTH - 1)

# Patterns are for who reads the schema: blank names and forms of time are checked apart.
Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARACTERS, extra_json_schema={"pattern": r"\S"})]
TimeText = Annotated[str, Meta(extra_json_schema={"pattern": timestamp.PATTERN})]
JsonObject = dict[str, BoundedJson]


class Event(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """One event; its encoding is the canonical form. ``timestamp`` is UTC once it is accepted."""

    event: Name
    properties: JsonObject | None = None
    user_id: str | None = None
    timestamp: datetime | None = None
    id: Name | None = None
    context: JsonObject | None = None


class EventText(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event whose time is still text, for the forms that msgspec does not read."""

    event: Name
    properties: JsonObject | None = None
    user_id: str | None = None
    timestamp: TimeText | None = None
    id: Name | None = None
    context: JsonObject | None = None


class Batch(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Body of ``POST /v1/batch``."""

    events: Annotated[list[Event], Meta(min_length=1, max_length=MAX_EVENTS)]
    context: JsonObject | None = None


class Fault(Exception):
    """One thing that is wrong. ``pointer`` (RFC 6901) starts at the value that was read."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.message = message


EVENT = Decoder(Event)
BATCH = Decoder(Batch)
RAW_VALUE = Decoder(Raw)
RAW_FIELDS = Decoder(dict[str, Raw])
RAW_ITEMS = Decoder(list[Raw])
ENCODER = msgspec.json.Encoder()

_EVENT_TEXT = Decoder(EventText)
_STRING = Decoder(str)
_OBJECT = Decoder(dict[str, Any])


def read_event(raw: bytes) -> tuple[Event | None, list[Fault]]:
    """The event in ``raw``, or every fault found in it. ``raw`` is well-formed JSON in valid UTF-8."""
    try:
        text = _EVENT_TEXT.decode(raw)
        if text.event.strip() and (text.id is None or text.id.strip()):
            when = None if text.timestamp is None else timestamp.parse(text.timestamp)
            return Event(text.event, text.properties, text.user_id, when, text.id, text.context), []
    except (msgspec.ValidationError, ValueError):
        pass  # rare but right, or wrong: the exact check tells
    return _read_exactly(raw)


def read_object(name: str, raw: bytes) -> dict[str, Any] | None:
    """A JSON object within the limits of depth and numbers; null is absent. Raises :class:`Fault`."""
    kind = kind_of(raw)
    if kind == "null":
        return None
    if kind != "an object":
        raise Fault(f"/{name}", f"`{name}` must be an object, not {kind}.")
    if deeper_than(raw, MAX_DEPTH):
        advice = "flatten it, or send the deep part as a string"
        raise Fault(f"/{name}", f"`{name}` may be nested at most {MAX_DEPTH} levels deep: {advice}.")
    try:
        if not _has_huge_integer(raw):
            return _OBJECT.decode(raw)
    except msgspec.ValidationError:
        pass  # a number beyond the range of a double, or an integer of thousands of digits
    raise Fault(
        _number_pointer(name, raw),
        f"`{name}` holds a number too large to be kept (64-bit integers, doubles up to 1.8e308): send it as a string.",
    )


def unknown_fields(names: Iterable[str], known: tuple[str, ...], advice: str) -> Iterator[Fault]:
    """A fault for each of the first few ``names``, with the nearest known field."""
    for name in islice(names, _MAX_FAULTS_PER_FIELD):
        near = _nearest(name[:_MAX_SHOWN_CHARACTERS], known)
        hint = f"did you mean `{near}`?" if near else advice
        if name == "events" and near != name:  # a batch, sent to the endpoint for one event
            hint = "POST /v1/batch takes several events."
        yield Fault(pointer_to(name), f"`{shown(name)}` is not a known field: {hint}")


def deeper_than(raw: bytes, limit: int) -> bool:
    """Whether arrays and objects nest deeper than ``limit``. Exact, and without a Python step per value."""
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    brackets = _QUOTED.sub(b"", raw).translate(_TO_SQUARE, _NOT_BRACKETS)
    for _ in range(limit):  # each round takes away the innermost level
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def kind_of(raw: bytes) -> str:
    """What ``raw`` (well-formed JSON without leading blanks) is, in words for a message."""
    return _KINDS.get(raw[:1], "a number")


def pointer_to(*keys: str | int) -> str:
    """JSON pointer (RFC 6901). It ends at a parent where the whole would repeat too much of the input."""
    pointer = ""
    for key in keys:
        longer = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
        if len(longer) > _MAX_POINTER_CHARACTERS:
            break
        pointer = longer
    return pointer


def shown(text: str) -> str:
    """``text`` short and printable, to stand in a message."""
    short = text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"
    return "".join(character if character.isprintable() else "?" for character in short)


def _read_exactly(raw: bytes) -> tuple[Event | None, list[Fault]]:
    kind = kind_of(raw)
    if kind != "an object":
        return None, [Fault("", f"An event must be an object, not {kind}.")]
    fields = RAW_FIELDS.decode(raw)
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, read in _READERS.items():
        try:
            values[name] = read(name, bytes(fields.pop(name, _NULL)))
        except Fault as fault:
            faults.append(fault)
    faults.extend(unknown_fields(fields, FIELDS, "put it inside `properties`."))
    return (None, faults) if faults else (Event(**values), [])


def _read_event_name(name: str, raw: bytes) -> str:
    value = _read_name(name, raw)
    if value is None:
        advice = f"send the event's name, a string of 1 to {MAX_NAME_CHARACTERS} characters"
        raise Fault(f"/{name}", f"`{name}` is required: {advice}.")
    return value


def _read_name(name: str, raw: bytes) -> str | None:
    value = _read_string(name, raw)
    if value is None:
        return None
    if not value.strip():
        raise Fault(f"/{name}", f"`{name}` must not be blank.")
    if len(value) > MAX_NAME_CHARACTERS:
        raise Fault(f"/{name}", f"`{name}` may have at most {MAX_NAME_CHARACTERS} characters, not {len(value)}.")
    return value


def _read_timestamp(name: str, raw: bytes) -> datetime | None:
    value = _read_string(name, raw, f" such as {timestamp.EXAMPLE}")
    try:
        return None if value is None else timestamp.parse(value)
    except ValueError as error:
        raise Fault(f"/{name}", f"`{name}` {error}, not {shown(value or 'an empty string')}.") from None


def _read_string(name: str, raw: bytes, example: str = "") -> str | None:
    kind = kind_of(raw)
    if kind == "null":
        return None
    if kind != "a string":
        raise Fault(f"/{name}", f"`{name}` must be a string{example}, not {kind}.")
    return _STRING.decode(raw)


_READERS: dict[str, Callable[[str, bytes], Any]] = {
    "event": _read_event_name,
    "properties": read_object,
    "user_id": _read_string,
    "timestamp": _read_timestamp,
    "id": _read_name,
    "context": read_object,
}
FIELDS = tuple(_READERS)
_NULL = Raw(b"null")
_KINDS = {b"{": "an object", b"[": "an array", b'"': "a string", b"t": "a boolean", b"f": "a boolean", b"n": "null"}

_QUOTED = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# Integers of 19 digits or more, outside strings: shorter ones always fit 64 bits.
_LONG_INTEGER = re.compile(rb"(?<![\d.eE+-])-?\d{19,}+(?![.eE])")
_LONGEST_INTEGER = len(str(MIN_INTEGER))


def _fits(digits: bytes | str) -> bool:
    return len(digits) <= _LONGEST_INTEGER and MIN_INTEGER <= int(digits) <= MAX_INTEGER


def _has_huge_integer(raw: bytes) -> bool:
    if _LONG_INTEGER.search(raw) is None:
        return False
    numbers = _QUOTED.sub(b'""', raw)
    return not all(_fits(match.group()) for match in _LONG_INTEGER.finditer(numbers))


def _number_pointer(name: str, raw: bytes) -> str:
    """Where the first number outside the limits is."""
    if len(raw) > _MAX_LOCATE_BYTES:
        return f"/{name}"
    # json.loads keeps the digits apart that msgspec refuses; the depth is bounded by now.
    value = json.loads(raw, parse_int=lambda digits: 0 if _fits(digits) else float("inf"))
    rest: list[tuple[tuple[str | int, ...], Any]] = [((name,), value)]
    while rest:
        keys, value = rest.pop()
        if isinstance(value, float) and isinf(value):
            return pointer_to(*keys)
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        rest.extend(((*keys, key), child) for key, child in reversed(list(children)))
    return f"/{name}"


# What other event APIs call these fields.
_OTHER_NAMES = {
    "name": "event",
    "type": "event",
    "action": "event",
    "props": "properties",
    "attributes": "properties",
    "data": "properties",
    "payload": "properties",
    "user": "user_id",
    "uid": "user_id",
    "distinctid": "user_id",
    "time": "timestamp",
    "ts": "timestamp",
    "date": "timestamp",
    "createdat": "timestamp",
    "eventid": "id",
    "messageid": "id",
    "insertid": "id",
    "uuid": "id",
    "batch": "events",
}


@lru_cache(maxsize=1024)
def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    plain = re.sub(r"[\W_]", "", name).lower()
    other = _OTHER_NAMES.get(plain)
    if other in known:
        return other
    by_plain = {field.replace("_", ""): field for field in known}
    near = get_close_matches(plain, by_plain, 1, 0.7)
    return by_plain[near[0]] if near else None
