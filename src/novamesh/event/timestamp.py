"""Times of events: RFC 3339 and the forms of ISO 8601 that clients send, as UTC.

Accepted: ``2026-01-31``, then optionally ``T``, ``t`` or a space, ``13:45``, ``:30``, ``.123456789``
and ``Z``, ``z``, ``+02``, ``+0200`` or ``+02:00``. Without an offset a time is UTC; a bare date is
midnight UTC. Fractions are rounded to microseconds, half up. Years 1970 to 2100, counted in UTC.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import attrgetter

import msgspec

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
EXAMPLE = "2026-01-31T13:45:00Z"

_SHORT_FORM = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<minute>\d\d:\d\d)(?P<second>:\d\d(?:\.\d+)?)?(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
# All that is accepted, and little else (a 29th of February), for who reads a schema.
PATTERN = (
    "^(?:19(?:69|[7-9][0-9])|20[0-9]{2}|210[01])-"
    "(?:02-(?:0[1-9]|[12][0-9])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01]))"
    r"(?:[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?"
    "(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?$"
)
_zone_of = attrgetter("tzinfo")


def parse(text: str) -> datetime:
    """``text`` as a UTC time with microseconds. Raises ``ValueError`` with a sentence for the client."""
    if "\0" in text:  # what follows it msgspec does not look at
        raise ValueError(_UNREADABLE)
    try:
        value = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        value = _parse_short(text)
    return to_utc(value)


def to_utc(value: datetime) -> datetime:
    """``value`` in UTC; one without an offset is UTC already. Raises ``ValueError`` outside 1970–2100."""
    try:
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # year 1 or 9999, shifted out of what datetime can hold
        raise ValueError(_OUT_OF_RANGE) from None
    if not EARLIEST <= value <= LATEST:
        raise ValueError(_OUT_OF_RANGE)
    return value


def all_canonical(values: Iterable[datetime]) -> bool:
    """Whether every value is in UTC and in range: the usual case, told without a Python step per value."""
    times = list(values)
    if not times:
        return True
    # One zone first: times with and without an offset cannot be compared.
    return set(map(_zone_of, times)) == {UTC} and min(times) >= EARLIEST and max(times) <= LATEST


def _parse_short(text: str) -> datetime:
    """The forms msgspec leaves out: no time, no seconds, or an offset of hours only."""
    match = _SHORT_FORM.fullmatch(text)
    if match is None:
        raise ValueError(_UNREADABLE)
    date, minute, second, zone = match.group("date", "minute", "second", "zone")
    zone = zone or "Z"
    full_zone = zone if len(zone) != len("+02") else f"{zone}:00"
    try:
        return msgspec.convert(f"{date}T{minute or '00:00'}{second or ':00'}{full_zone}", datetime)
    except msgspec.ValidationError:
        raise ValueError(_UNREADABLE) from None


_OUT_OF_RANGE = f"must be in the years 1970 to 2100, such as {EXAMPLE}"
_UNREADABLE = f"must be an ISO 8601 time such as {EXAMPLE}, 2026-01-31T13:45:00+02:00 or 2026-01-31"
