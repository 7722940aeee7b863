"""What clients send, judged against the plain reference: events, batches, times, compressed bodies, parameters."""

import json
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from novamesh.edge import request
from novamesh.edge.query import read_fields
from novamesh.errors import InvalidEncoding, InvalidEvent, InvalidJson, InvalidParameter, PayloadTooLarge, RequestError
from novamesh.event import timestamp
from novamesh.event.accept import Accepted, accept_batch, accept_event
from novamesh.event.record import Record, RecordError, decode, encode
from novamesh.sql.parameters import bind
from novamesh.store.contract import schema_for
from tests.api.contract import deflated, encoded, zstandard
from tests.fuzz import reference
from tests.fuzz.target import Target, check_error, webhooks, words

INFLATE_LIMIT = 32 * 1024
_KNOWN = ("q", "format", "limit", "partial")


def judged(accept: Callable[[], Accepted]) -> Accepted | RequestError:
    """What was accepted, or the error, which is one a client may see."""
    try:
        return accept()
    except (InvalidJson, InvalidEvent) as error:
        check_error(error)
        return error


def kept(accepted: Accepted) -> list[dict[str, Any]]:
    """The events as they went into the spool, read with the standard library."""
    events: list[dict[str, Any]] = json.loads(accepted.events)
    assert len(events) == accepted.count
    for event in events:
        if "timestamp" in event:
            assert event["timestamp"].endswith("Z"), event
            time = reference.utc(event["timestamp"])
            assert time is not None, event
            event["timestamp"] = reference.micros(time)
    again = accept_batch(b'{"events":%s}' % accepted.events)
    assert again.events == accepted.events, "what is canonical is changed when it is accepted again"
    return events


def event(body: bytes) -> None:
    """One event is accepted if, and only if, the reference takes it, and with its values."""
    outcome = judged(lambda: accept_event(body))
    # The same event beside one that is wrong is read by the exact reader, not by the native one.
    beside = judged(lambda: accept_batch(b'{"events":[0,%s]}' % body, partial=True))
    try:
        wanted = reference.canonical(reference.load(body))
    except reference.NotJson:
        assert isinstance(outcome, RequestError)
        return
    except reference.Ambiguous:
        if isinstance(outcome, Accepted):
            kept(outcome)
        return
    if wanted is None:
        assert isinstance(outcome, InvalidEvent), "the reference refuses what was accepted"
        assert isinstance(beside, InvalidEvent)
        return
    assert isinstance(outcome, Accepted), f"refused: {outcome}"
    assert reference.same(kept(outcome), [wanted])
    assert isinstance(beside, Accepted), f"refused: {beside}"
    assert beside.events == outcome.events, "the two readers differ"


def batch(data: bytes) -> None:
    """A batch is all or nothing; a partial one is its good events, and every bad one by index."""
    partial, body = data[:1] == b"p", data[1:]
    outcome = judged(lambda: accept_batch(body, partial=partial))
    try:
        wanted = _wanted_batch(reference.load(body), partial)
    except reference.NotJson:
        assert isinstance(outcome, RequestError)
        return
    except reference.Ambiguous:
        if isinstance(outcome, Accepted):
            kept(outcome)
        return
    if wanted is None:
        assert isinstance(outcome, InvalidEvent), "the reference refuses what was accepted"
        return
    good, bad = wanted
    assert isinstance(outcome, Accepted), f"refused: {outcome}"
    assert reference.same(kept(outcome), good)
    assert {detail.index for detail in outcome.rejected} == bad


def _wanted_batch(value: Any, partial: bool) -> tuple[list[dict[str, Any]], set[int]] | None:
    if not isinstance(value, dict) or not value.keys() <= {"events", "context"}:
        return None
    events, shared = value.get("events"), value.get("context")
    if not isinstance(events, list) or not 1 <= len(events) <= 500 or not reference.is_shared(shared):
        return None
    found = [reference.canonical(event) for event in events]
    good = [event for event in found if event is not None]
    if not good or (len(good) < len(found) and not partial):
        return None
    if shared:
        good = [{**event, "context": {**shared, **event.get("context", {})}} for event in good]
    return good, {place for place, event in enumerate(found) if event is None}


def time(data: bytes) -> None:
    """A time is read if, and only if, it has one of the documented forms, and as what it says."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    wanted = reference.utc(text)
    try:
        found = timestamp.parse(text)
    except ValueError:
        assert wanted is None, f"{text!r} is refused"
        return
    assert found == wanted, f"{text!r} is read as {found}, not {wanted}"
    assert timestamp.parse(found.isoformat()) == found


def body(data: bytes) -> None:
    """Compressed bodies: what zlib reads is read, and as zlib does; whole ones round trip, cut ones do not."""
    kind, data = data[:1], data[1:]
    packs: dict[bytes, tuple[Callable[[bytes, int], bytes], Callable[[bytes], bytes]]] = {
        b"g": (request.inflate_gzip, lambda raw: _gzipped(raw)),
        b"d": (request.inflate_deflate, zlib.compress),
        b"r": (request.inflate_deflate, deflated),
        b"z": (request.inflate_zstd, zstandard),
    }
    inflate, pack = packs.get(kind.lower(), packs[b"g"])
    if kind.isupper():  # the bytes are what is to be compressed
        _check_round_trip(inflate, pack, data[:INFLATE_LIMIT])
        return
    found: bytes | RequestError
    try:
        found = inflate(data, INFLATE_LIMIT)
        assert len(found) <= INFLATE_LIMIT
    except (InvalidEncoding, PayloadTooLarge) as error:
        check_error(error)
        found = error
    if kind != b"z":
        wanted = _by_zlib(data, 31 if inflate is request.inflate_gzip else None)
        if wanted is not None:
            assert found == wanted, f"zlib reads {wanted[:40]!r}, we {found!r}"
        else:
            assert not isinstance(found, bytes), f"zlib refuses what we read: {found[:40]!r}"


def _gzipped(raw: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(raw) + packer.flush()


def _check_round_trip(inflate: Callable[[bytes, int], bytes], pack: Callable[[bytes], bytes], raw: bytes) -> None:
    packed = pack(raw)
    assert inflate(packed, len(raw) or 1) == raw
    assert inflate(packed + packed, 2 * len(raw) or 1) == raw + raw
    if len(raw) > 1:
        with suppress(PayloadTooLarge):
            inflate(packed, len(raw) - 1)
            raise AssertionError("more than the limit was inflated")
    for cut in {1, len(packed) // 2, len(packed) - 1} - {0, len(packed)}:
        with suppress(InvalidEncoding):
            inflate(packed[:cut], INFLATE_LIMIT)
            raise AssertionError(f"{cut} of {len(packed)} bytes were taken for the whole")


def _by_zlib(data: bytes, bits: int | None) -> bytes | None:
    """What zlib makes of one or more members, at most the limit; None if it refuses."""
    if bits is None:
        zlib_header = len(data) >= 2 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
        bits = 15 if zlib_header else -15
    out = b""
    try:
        while data:
            stream = zlib.decompressobj(bits)
            out += stream.decompress(data, INFLATE_LIMIT + 1 - len(out))
            if not stream.eof or len(out) > INFLATE_LIMIT:
                return None
            data = stream.unused_data
    except zlib.error:
        return None
    return out


def parameters(data: bytes) -> None:
    """Query strings and the JSON body of a query: known names with text, or an error that says what is wrong."""
    kind, text = data[:1], data[1:]
    try:
        if kind == b"{":
            fields = read_fields(data)
            assert fields.keys() <= {"q", "format", "limit", "params"}
            assert all(isinstance(fields.get(name, ""), str) for name in ("q", "format", "limit"))
            given = fields.get("params", {})
            used = tuple(given) if isinstance(given, dict) else tuple(str(n + 1) for n in range(len(given)))
            assert len(bind(used, given)) == len(given)
            bind(("a",), given)
            return
        values = request.read_parameters(text.decode("latin-1"), _KNOWN)
        assert values.keys() <= set(_KNOWN)
        assert request.read_parameters(urlencode(values), _KNOWN) == values
        assert request.read_flag(values, "partial") in (True, False)
        assert 1 <= request.read_number(values, "limit", 10, 100) <= 100
    except (InvalidParameter, InvalidJson) as error:
        check_error(error)


def record(payload: bytes) -> None:
    """The payload of a frame: a record that round trips and whose names are safe, or an error."""
    try:
        header, events = decode(payload)
    except RecordError:
        return
    assert isinstance(header, Record)
    assert decode(encode(header, events)) == (header, events)
    assert re.fullmatch(r"[pt]_[a-z0-9_]{1,40}", schema_for(header.space))
    assert re.fullmatch(r"[0-9a-f]{28}", header.batch)
    assert 1 <= header.n <= 1 << 16


_JSON_WORDS = (
    *words('{ } [ ] , : null true false "event" "properties" "user_id" "timestamp" "id" "context" "events" "x" ""'),
    *words(r'"\ud800" "\ud83d\ude00" "\u0000" " " "	" NaN -Infinity 1e400 1e-400 -0 -0.0 1.0 0.1 1E2 01 +1 .5'),
    *words("9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775809"),
    *words('"2026-01-31" "2026-01-31T13:45" "2026-01-31T24:00:00Z" "1969-12-31T23:59:60Z" "userId" "props" "a/b~c"'),
    *(
        '"e": "é ☃ 🌊"'.encode(),
        b"\xff",
        b"\xef\xbb\xbf",
        b'{"a":' * 33,
        b"[" * 40,
        b"]" * 40,
        b'"' + b"n" * 201 + b'"',
    ),
)


def _event_seeds() -> list[bytes]:
    whole = {"event": "e", "user_id": "u", "timestamp": "2026-01-31T13:45:00+02:00", "id": "i", "context": {"a": [1]}}
    return [encoded(event) for event in [*webhooks(), whole, {"event": "x", "properties": {"n": 2**64 - 1}}]]


def _batch_seeds() -> list[bytes]:
    events = [*webhooks()[:3], {"event": "b", "context": {"os": "own"}}, {"event": ""}, {"event": "t", "timestamp": 1}]
    batches = [{"events": events}, {"events": events[:4], "context": {"os": "x", "v": 1}}, {"events": [{"event": "e"}]}]
    return [kind + encoded(batch) for kind in (b"a", b"p") for batch in batches]


def _time_seeds() -> list[bytes]:
    texts = (
        "2026-01-31 2026-01-31T13:45:00Z 2026-01-31T13:45:30.123456789+02:00 2026-01-31t13:45-0230 2024-02-29T23:59z"
    )
    return [*words(texts), b"2026-01-31 13:45:00.9999999", b"1970-01-01T00:00:00+00:01", b"2100-12-31T23:59:59.999999Z"]


def _body_seeds() -> list[bytes]:
    raw = encoded({"events": webhooks()[:2]})
    packed = {b"g": _gzipped(raw), b"d": zlib.compress(raw), b"r": deflated(raw), b"z": zstandard(raw)}
    return [kind + content * times for kind, content in packed.items() for times in (1, 2)] + [
        kind + raw for kind in (b"G", b"D", b"R", b"Z")
    ]


def _parameter_seeds() -> list[bytes]:
    fields = {"q": "SELECT $a, $b", "format": "csv", "limit": 10, "params": {"a": 1, "b": [1, "x", None]}}
    strings = (
        "?q=SELECT+1&limit=5&format=json",
        "?partial=true",
        "?q=%E2%98%83&limit=0",
        "?limt=5",
        "?q=1&q=2",
        "?a;b=1",
    )
    return [encoded(fields), b'{"q":"SELECT ?","params":[1]}', *(text.encode() for text in strings)]


def _record_seeds() -> list[bytes]:
    header = Record(
        space="default", batch="0" * 12 + "7" + "0" * 15, at=1_767_225_600_000_000, n=2, named=True, key="k"
    )
    return [encode(header, b'[{"event":"a"},{"event":"b"}]'), encode(Record("p.test", "f" * 28, 0, 1), b"[]")]


TARGETS = (
    Target("event", event, _JSON_WORDS, _event_seeds),
    Target("batch", batch, _JSON_WORDS, _batch_seeds),
    Target("timestamp", time, words("T Z z t + - : . , +02 +0200 -23:59 +24:00 00 24 60 99 02-29 ٣"), _time_seeds),
    Target("body", body, (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x78\x9c", b"\0" * 8, b"\xff" * 4), _body_seeds),
    Target(
        "parameters",
        parameters,
        (*words("& = % %ff + ; q format limit partial params"), *_JSON_WORDS),
        _parameter_seeds,
    ),
    Target("record", record, (*words('"v":2 "n":0 "space":"a.test" "key":"" \\n'), *_JSON_WORDS), _record_seeds),
)
