"""What a load is made of: units, each some events of one record, and what becomes of them."""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from novamesh.errors import NovameshError
from novamesh.event.record import Record

NO_BOUND = 1 << 62


class Unit(NamedTuple):
    """Events ``first`` to ``last`` (inclusive) of one record; ``events`` is its JSON array.

    ``counted``: whether the writer of the spool has counted them as accepted. ``lost``: whether they had been written
    off.
    """

    record: Record
    events: str
    first: int
    last: int
    counted: bool = True
    lost: bool = False

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def bound(self) -> int:
        """The last place to take events from: none for a whole record, so that one that holds more is noticed."""
        return self.last if self.last < self.record.n - 1 else NO_BOUND


class Fault(NamedTuple):
    """A unit the database refused, and why."""

    unit: Unit
    reason: str


class Miscounted(NovameshError):
    """There are more events, or fewer, than there must be."""


class Loaded(NamedTuple):
    """What became of a load's events."""

    stored: int
    duplicates: int
    quarantined: int

    def plus(self, other: "Loaded") -> "Loaded":
        """Both together."""
        return Loaded(*(a + b for a, b in zip(self, other, strict=True)))


class Arrived(NamedTuple):
    """Of one space: how many events a load takes from the spool, how many of them nobody has counted before, and how
    many had been written off."""

    received: int = 0
    recovered: int = 0
    returned: int = 0


def arrived(units: list[Unit]) -> dict[str, Arrived]:
    """By space, what the records say."""
    found: dict[str, Arrived] = {}
    for unit in units:
        received, recovered, returned = found.get(unit.record.space, Arrived())
        found[unit.record.space] = Arrived(
            received + unit.size,
            recovered + (0 if unit.counted else unit.size),
            returned + (unit.size if unit.lost else 0),
        )
    return found


def size_of(units: list[Unit]) -> int:
    """Events of all units together."""
    return sum(unit.size for unit in units)


def time_of(us: int) -> datetime:
    """A record's time of receipt as the database keeps it: UTC, without a zone."""
    return datetime.fromtimestamp(us / 1_000_000, UTC).replace(tzinfo=None)


def event_id(batch: str, place: int) -> str:
    """The UUID of an event, as hexadecimal digits."""
    return f"{batch}{place:04x}"


def without(unit: Unit, bad: set[int]) -> list[Unit]:
    """The parts of a unit that are left when the events ``bad`` are taken out."""
    parts: list[Unit] = []
    for place in range(unit.first, unit.last + 1):
        if place in bad:
            continue
        if parts and parts[-1].last == place - 1:
            parts[-1] = parts[-1]._replace(last=place)
        else:
            parts.append(unit._replace(first=place, last=place))
    return parts


def is_array(unit: Unit) -> bool:
    """Whether the unit's record holds an array: only then can its events be told apart."""
    try:
        return isinstance(msgspec.json.decode(unit.events), list)
    except (msgspec.DecodeError, RecursionError):
        return False


def body(unit: Unit) -> str:
    """The event's own text where it can be told apart and all are there, else the whole record's."""
    try:
        parts = msgspec.json.decode(unit.events, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return unit.events
    return bytes(parts[unit.first]).decode() if unit.size == 1 and len(parts) == unit.record.n else unit.events
