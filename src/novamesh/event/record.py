"""What one accepted request becomes in the spool: a header and its events. Pure: no I/O.

A record is the payload of a spool frame::

    0   1  kind, b"\\x01"
    1   h  header: one line of JSON, ``{"space":…,"batch":…,"at":…,"n":…}`` and, where they
           differ from their defaults, ``"named":true``, ``"key":…``, ``"v":…``
    1+h 1  newline
    2+h    the events: a JSON array, as :mod:`novamesh.event.accept` encodes it

``space`` is where the events are kept (see ``Key.space``). ``batch`` is 28 hexadecimal digits,
laid out as the first 112 bits of a UUID version 7
(RFC 9562: milliseconds, version, variant, random); the event at place *i* has the UUID made of
these and *i* in the last 16 bits. ``named`` says whether clients know it as a batch; ``at`` is
the time of receipt in µs; ``n`` the number of events; ``key`` the client's Idempotency-Key.
"""

import contextlib
import hashlib
import random
import re
import secrets
from typing import Annotated

import msgspec
from msgspec import Meta

from novamesh.errors import NovameshError

VERSION = 1
_KIND = b"\x01"
_BATCH_PREFIX = "b_"
_BATCH = re.compile("[0-9a-f]{28}")
_LATEST = 253_402_300_799_999_999  # the last microsecond of the year 9999


class RecordError(NovameshError):
    """The payload is not a record this version can read."""


class OtherVersion(RecordError):
    """The record was written by a version whose records this one does not read."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record's header. What is read is checked: the store builds names and ids of it."""

    space: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,40}(\.test)?\Z")]
    batch: Annotated[str, Meta(pattern=r"^[0-9a-f]{28}\Z")]
    at: Annotated[int, Meta(ge=0, le=_LATEST)]
    n: Annotated[int, Meta(ge=1, le=1 << 16)]
    named: bool = False
    key: str | None = None
    v: int = VERSION

    @property
    def batch_id(self) -> str | None:
        """The batch's id as clients see it; None for a single event."""
        return _BATCH_PREFIX + self.batch if self.named else None


class _Version(msgspec.Struct):
    v: int = VERSION


# Seeded by the system once: asking it for every batch takes longer than all the rest. Ids are no secrets.
_random = random.Random(secrets.randbits(128))
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record, events: bytes) -> bytes:
    """The payload of a spool frame."""
    return b"".join((_KIND, _encoder.encode(record), b"\n", events))


def read_batch_id(name: str) -> str | None:
    """The batch of an id as clients see it, or None if it is none."""
    digits = name.removeprefix(_BATCH_PREFIX)
    return digits if name.startswith(_BATCH_PREFIX) and _BATCH.fullmatch(digits) else None


def header_start(space: str, batch: str) -> bytes:
    """What every record of a batch begins with, and nothing else in the spool holds."""
    return _KIND + f'{{"space":"{space}","batch":"{batch}"'.encode()


def decode(payload: bytes) -> tuple[Record, bytes]:
    """Header and events. Raises :class:`RecordError`."""
    header, separator, events = payload[1:].partition(b"\n")
    if payload[:1] != _KIND or not separator:
        raise RecordError("the payload is not a record")
    return _decode_header(header), events


def decode_header(start: bytes) -> Record:
    """The header, of a payload's first bytes. Raises :class:`RecordError`."""
    end = start.find(b"\n")
    if start[:1] != _KIND or end < 0:
        raise RecordError("the payload is not a record")
    return _decode_header(start[1:end])


def _decode_header(header: bytes) -> Record:
    try:
        record = _decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _check_version(header)
        raise RecordError(f"the record's header cannot be read: {error}") from None
    if record.v != VERSION:
        raise _other_version(record.v)
    return record


def _check_version(header: bytes) -> None:
    """A header of another version may have other fields: then that is what is wrong with it."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if (version := msgspec.json.decode(header, type=_Version).v) != VERSION:
            raise _other_version(version)


def _other_version(version: int) -> OtherVersion:
    return OtherVersion(f"the record has version {version}, this node reads {VERSION}")


def new_batch(at_us: int) -> str:
    """A fresh batch: 28 hexadecimal digits that sort by time."""
    return _layout(at_us // 1000, _random.getrandbits(58))


def batch_for_key(space: str, key: str) -> str:
    """The batch an Idempotency-Key stands for: the same for each retry."""
    digest = hashlib.sha256(f"{space}\0{key}".encode()).digest()
    return _layout(int.from_bytes(digest[:6], "big"), int.from_bytes(digest[6:14], "big") >> 6, version=8)


def _layout(high: int, random: int, version: int = 7) -> str:
    """48 bits, 4 of version, 12 random, 2 of variant, 46 random: RFC 9562 without the last 16."""
    return f"{high:012x}{version:x}{random >> 46:03x}{1 << 47 | random & (1 << 46) - 1:012x}"
