"""The last hour, minute by minute, of all edge workers together: what the status page draws.

All of it is measured. A minute in which no worker was seen has no figures, and one in which nothing was accepted has a
rate of 0 and no latencies. Workers that died are counted as long as the node runs (see :mod:`novamesh.status.metrics`).
"""

import math
from pathlib import Path

import msgspec

from novamesh.status.metrics import SLOT_S, SLOTS, Slot, merged, percentiles_ms, slots

# A rate over less time than this would be noise: the minute has just begun, or the node ended at once.
LEAST_S = 5.0


class Minute(msgspec.Struct, frozen=True):
    """One minute that begins at ``start_s`` (unix seconds).

    ``events_s`` is the mean of the events accepted per second while a worker was seen; ``None`` if none was, or for
    less than :data:`LEAST_S`. The latencies are those of accepted requests; ``None`` if there were none.
    """

    start_s: int
    events_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class Reader:
    """The history for whoever asks, measured at most once a second: that takes 1 to 2 ms for each worker there was."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read_at = -math.inf
        self._minutes: tuple[Minute, ...] = ()

    def minutes(self, now_s: float) -> tuple[Minute, ...]:
        """What :func:`history` gives, up to one second old."""
        if not 0 <= now_s - self._read_at < 1:
            self._minutes, self._read_at = history(self._directory, now_s), now_s
        return self._minutes


def history(directory: Path, now_s: float) -> tuple[Minute, ...]:
    """The 60 minutes up to ``now_s`` (unix seconds), oldest first; the last one is still running."""
    by_minute: dict[int, list[Slot]] = {}
    for slot in slots(directory, now_s):
        by_minute.setdefault(slot.minute, []).append(slot)
    return tuple(_minute(minute, by_minute.get(minute, [])) for minute in _hour(now_s))


def no_history(now_s: float) -> tuple[Minute, ...]:
    """The same minutes, none of them measured."""
    return tuple(Minute(minute * SLOT_S) for minute in _hour(now_s))


def _hour(now_s: float) -> range:
    last = int(now_s) // SLOT_S
    return range(last - SLOTS + 1, last + 1)


def _minute(minute: int, workers: list[Slot]) -> Minute:
    start_s = minute * SLOT_S
    if not workers:
        return Minute(start_s)
    seen_s = max(slot.last_s for slot in workers) - min(slot.first_s for slot in workers)
    events = sum(slot.events for slot in workers)
    rate = events / seen_s if seen_s >= LEAST_S else None
    return Minute(start_s, rate, *percentiles_ms(merged(workers), 0.50, 0.99))
