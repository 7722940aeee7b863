"""How many events a second each key may send, counted once for all workers of a node.

The file ``<data dir>/run/rates``, which all workers map, has a token bucket of 8 bytes for each key, at the place of
the key's number: the time at which the bucket will be full again, as a double of ``CLOCK_MONOTONIC`` seconds, which is
one clock for all processes. That one number is the whole bucket (the generic cell rate algorithm): what is missing in
it at ``now`` is ``(full_at - now) * rate``, and taking n events moves it by ``n / rate``.

A bucket is read and written under a lock of its 8 bytes of the file, which ends with the process that holds it. So
the limit holds for the node, exactly, and no worker can keep it locked by dying. A worker that finds it locked
:data:`TRIES` times in a row (its holder was stopped between two instructions) goes on without. That is the one error
there is: what others take at that moment may be taken once more.
"""

import contextlib
import fcntl
import math
import mmap
import os
from pathlib import Path
from typing import NamedTuple

from novamesh.config import Config
from novamesh.keys import Key

NAME = "rates"
# Keys beyond this number share buckets. The file is sparse: a bucket that is not used takes no room.
BUCKETS = 1 << 20
_SIZE = 8
TRIES = 200
# What a key may send at once if nobody has said: so long at its rate, and a whole batch at least.
BURST_S = 5
LEAST_BURST = 500


class Rate(NamedTuple):
    """Events a second, and events at once."""

    per_s: int
    burst: int


class Standing(NamedTuple):
    """A bucket after it was asked: whether the events were taken, how many more it holds, seconds until it is full
    and, if they were not taken, until it holds enough of them."""

    taken: bool
    remaining: int
    full_s: float
    wait_s: float = 0.0


def rate_of(key: Key, config: Config) -> Rate | None:
    """What a key may send: its own rate, or the node's; None is no limit."""
    per_s = config.key_rate if key.rate is None else key.rate
    if not per_s:
        return None
    burst = key.burst or (config.key_burst if key.rate is None else 0)
    return Rate(per_s, burst or max(BURST_S * per_s, LEAST_BURST))


def reset(directory: Path) -> None:
    """Fill all buckets. For the start of a node: the clock begins anew with the system."""
    (directory / NAME).unlink(missing_ok=True)


class Rates:
    """The buckets of all keys. For one thread. Raises OSError."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._descriptor, BUCKETS * _SIZE)
        self._map = mmap.mmap(self._descriptor, BUCKETS * _SIZE)
        self._full_at = memoryview(self._map).cast("d")

    def close(self) -> None:
        self._full_at.release()
        self._map.close()
        os.close(self._descriptor)

    def look(self, number: int, rate: Rate, now: float) -> Standing:
        """The bucket of the key of this number, as it is."""
        return _standing(self._full_at[number % BUCKETS], rate, now, taken=True)

    def take(self, number: int, rate: Rate, events: int, now: float) -> Standing:
        """Take so many events out of a bucket, if it holds them; a negative number gives back."""
        place = number % BUCKETS
        locked = self._lock(place)
        try:
            before = max(self._full_at[place], now)
            after = before + events / rate.per_s
            missing_s = after - now - rate.burst / rate.per_s
            # Below a millionth of an event it is the error of the arithmetic.
            if missing_s * rate.per_s > 1e-6:
                return _standing(before, rate, now, taken=False)._replace(wait_s=missing_s)
            self._full_at[place] = after
            return _standing(after, rate, now, taken=True)
        finally:
            if locked:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _SIZE, place * _SIZE)

    def _lock(self, place: int) -> bool:
        for _ in range(TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SIZE, place * _SIZE)
                return True
            os.sched_yield()  # it may be waiting for this very core
        return False


def _standing(full_at: float, rate: Rate, now: float, *, taken: bool) -> Standing:
    full_s = max(0.0, full_at - now)
    return Standing(taken, max(0, math.floor(rate.burst - full_s * rate.per_s + 1e-6)), full_s)
