"""The live tails of one worker. One follower reads what all workers have synced, while there is a tail, and gives it to
all of them; without a tail nothing is done, and a request that sends events never does anything for one."""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from novamesh.config import Config
from novamesh.errors import TooManyQueries
from novamesh.event.live import LiveEvent, UnreadableEvents, encode_row, read_events
from novamesh.event.record import Record, decode
from novamesh.keys import Key
from novamesh.spool.follow import Followed, Follower
from novamesh.status.metrics import WorkerMetrics

log = logging.getLogger(__name__)

POLL_S = 0.05
LONGEST_POLL_S = 1.0
# Looks that fail are repeated for so long; then readers are told.
FAILED_S = 5.0
# Of the time at most a fifth goes into tails: after each look so many times its own time passes.
REST = 4
# One round of the event loop gives so much time to tails.
ROUND_S = 0.005
# What may wait for one reader. Beyond it events are left out, and counted.
WAITING_EVENTS = 1000
WAITING_BYTES = 1024 * 1024
RETRY_AFTER_S = 5


class Filter(NamedTuple):
    """What a tail wants: events of these names, or of all, of one user, or of all."""

    names: frozenset[str]
    user_id: str | None

    def takes_all(self) -> bool:
        return not self.names and self.user_id is None

    def takes(self, event: LiveEvent) -> bool:
        return (not self.names or event.event in self.names) and (self.user_id is None or event.user_id == self.user_id)


class Counted:
    """Events of a tail that nobody has counted yet: those that were taken, and those that were left out."""

    __slots__ = ("dropped", "shown")

    def __init__(self) -> None:
        self.shown = self.dropped = 0


class Tail:
    """What is to be sent to one reader. ``rate`` is in events a second. ``check`` says why the reader may have no more,
    or None."""

    def __init__(self, space: str, wanted: Filter, rate: int, check: Callable[[], str | None]) -> None:
        self.space = space
        self.wanted = wanted
        self.check = check
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ready = asyncio.Event()
        self._rate = rate
        self._credit = float(rate)
        self._credited_at = time.monotonic()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self.counted = Counted()

    def has_room(self) -> bool:
        """Whether an event would be taken now."""
        return self._credit >= 1 and len(self._waiting) < WAITING_EVENTS and self._bytes < WAITING_BYTES

    def offer(self, row: bytes) -> bool:
        """One event that is wanted. Returns whether it is taken; if not, it is counted."""
        if not self.has_room():
            self.drop(1)
            return False
        self.counted.shown += 1
        self._credit -= 1
        self._waiting.append(row)
        self._bytes += len(row)
        return True

    def drop(self, events: int) -> None:
        """Events that were not looked at."""
        self._dropped += events
        self.counted.dropped += events

    def take(self) -> list[bytes]:
        """All that waits."""
        rows = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        self.ready.clear()
        return rows

    def take_dropped(self) -> int:
        """How many events were left out since this was last asked."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def end(self, reason: str) -> None:
        """Nothing more will come."""
        if not self.ended.done():
            self.ended.set_result(reason)
        self.ready.set()

    def credit(self, now: float) -> None:
        """Let the time since the last call count for its rate."""
        self._credit = min(self._rate, self._credit + (now - self._credited_at) * self._rate)
        self._credited_at = now


class Tails:
    """All tails of a worker. For the event loop's thread. ``stopping`` is a file that is there when the node stops."""

    def __init__(self, config: Config, spool: Path, ledger: Path, stopping: Path, metrics: WorkerMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self._spool = spool
        self._ledger = ledger
        self._stopping = stopping
        self._keys: Counter[str] = Counter()
        self._tails: list[Tail] = []
        self._opening = asyncio.Lock()
        self._follower: Follower | None = None
        self._task: asyncio.Task[None] | None = None
        self._failing_since: float | None = None
        self._said = False  # that it fails

    def __len__(self) -> int:
        return self._keys.total()

    def enter(self, key: Key) -> None:
        """Count one more tail of a key. Raises :class:`TooManyQueries`."""
        if len(self) >= self._config.tail_max_concurrent:
            raise TooManyQueries(
                f"{len(self)} tails are open in this edge process, which is as many as may be; try again when others"
                " have ended.",
                retry_after=RETRY_AFTER_S,
            )
        if self._keys[key.id] >= self._config.tail_key_concurrent:
            raise TooManyQueries(
                f"{self._keys[key.id]} tails of this key are open in this edge process, which is as many as one key"
                " may have; close one before opening another.",
                retry_after=RETRY_AFTER_S,
            )
        self._keys[key.id] += 1
        self._metrics.add("tails_open", 1)

    def leave(self, key: Key) -> None:
        """One tail of a key less."""
        self._metrics.add("tails_open", -1)
        self._keys[key.id] -= 1
        if not self._keys[key.id]:
            del self._keys[key.id]

    async def join(self, tail: Tail) -> None:
        """From now on the tail gets what is accepted. Raises OSError."""
        async with self._opening:
            if self._follower is None:
                try:
                    self._follower = await asyncio.to_thread(Follower, self._spool, self._ledger)
                except OSError as error:
                    self._say_failure(error)
                    raise
                self._failing_since = None
                self._task = asyncio.get_running_loop().create_task(self._run(self._follower))
            self._tails.append(tail)

    def part(self, tail: Tail) -> None:
        """The tail gets nothing more."""
        if tail in self._tails:
            self._tails.remove(tail)

    def end(self, reason: str) -> None:
        """End all."""
        for tail in self._tails:
            tail.end(reason)

    def close(self) -> None:
        """For when the loop has stopped."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, follower: Follower) -> None:
        """Look until there is no tail left."""
        pause_s = POLL_S
        try:
            while True:
                await asyncio.sleep(pause_s)
                async with self._opening:  # who joined during a look would miss what it finds
                    if not self._tails:
                        self._follower = self._task = None
                        return
                    started = time.monotonic()
                    await self._look(follower)
                rest_s = 2 * pause_s if self._failing_since is not None else REST * (time.monotonic() - started)
                pause_s = min(LONGEST_POLL_S, max(POLL_S, rest_s))
        finally:
            follower.close()

    async def _look(self, follower: Follower) -> None:
        try:
            self._check()
            found = await _to_its_end(partial(follower.read, {tail.space for tail in self._tails}))
            self._note_success()
            await self._give(found)
        except OSError as error:
            self._note_failure(error)
        except Exception:
            log.exception("live tails failed")
            self.end("failed")

    def _note_failure(self, error: OSError) -> None:
        self._say_failure(error)
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= FAILED_S:
            self.end("failed")

    def _note_success(self) -> None:
        self._failing_since = None
        if self._said:
            self._said = False
            log.warning("what is accepted can be followed again")

    def _say_failure(self, error: OSError) -> None:
        """Once, until it goes again: readers come back every second."""
        if not self._said:
            self._said = True
            log.error("what is accepted cannot be followed", extra={"cause": str(error)})

    def _check(self) -> None:
        stopping = self._stopping.exists()
        for tail in self._tails:
            if reason := "stopping" if stopping else tail.check():
                tail.end(reason)

    async def _give(self, found: Followed) -> None:
        now = round_began = time.monotonic()
        for tail in self._tails:
            tail.credit(now)
            tail.drop(found.missed[tail.space])
        for record, payload in found.records:
            self._give_record(record, payload)
            if time.monotonic() - round_began > ROUND_S:
                self._wake()
                await asyncio.sleep(0)
                round_began = time.monotonic()
        self._wake()

    def _wake(self) -> None:
        for tail in self._tails:
            tail.ready.set()
            counted, tail.counted = tail.counted, Counted()
            self._metrics.add("tail_events", counted.shown)
            self._metrics.add("tail_dropped", counted.dropped)

    def _give_record(self, record: Record, payload: bytes) -> None:
        tails = [tail for tail in self._tails if tail.space == record.space]
        full = [tail for tail in tails if tail.wanted.takes_all() and not tail.has_room()]
        for tail in full:
            tail.drop(record.n)
        if tails := [tail for tail in tails if tail not in full]:
            try:
                events = read_events(*decode(payload))
            except UnreadableEvents as error:
                log.error("accepted events cannot be read", extra={"batch": record.batch, "cause": str(error)})
                for tail in tails:
                    tail.drop(record.n)
                return
            _give_events(record, events, tails)


async def _to_its_end(read: Callable[[], Followed]) -> Followed:
    """Read in a thread. Whoever is cancelled waits for it all the same: the follower is closed after that."""
    reading = asyncio.ensure_future(asyncio.to_thread(read))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait((reading,))
        raise


def _give_events(record: Record, events: list[LiveEvent], tails: list[Tail]) -> None:
    for place, event in enumerate(events):
        row = b""
        for tail in tails:
            if tail.wanted.takes(event):
                if tail.has_room():
                    row = row or encode_row(record, place, event)
                tail.offer(row)
