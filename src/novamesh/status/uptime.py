"""Uptime, measured: a heartbeat that is kept in ``status.db``.

The supervisor calls :meth:`Uptime.beat` every :data:`HEARTBEAT_S` seconds. Time counts as *up* only between two beats
of one run that follow each other closely and both say that events can be accepted. All other time since the first beat
is *down*: a stop, a crash, a sleeping machine, a restart however short. So an outage is at most one heartbeat too long
in the report, and never too short.

::

    intervals(id, start_s, end_s)                      up-time; unix seconds, UTC; older than 31 days: pruned
    state(id = 1, first_start_s, last_beat_s, accepting)

The time since the last beat is not known yet: it counts neither way until :data:`GRACE_S` has passed without a beat,
then it is down. Percentages are rounded down, so 100 says that nothing at all was missed.

The clock may jump. Intervals may therefore overlap or lie in the future; a report merges them and cuts them to its
window, so no second counts twice and no percentage leaves 0..100. A step back never deletes what was measured before.
A clock that runs more than 31 days ahead makes the history look old and prunes it: those days then show as down.
"""

import math
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from novamesh.errors import StartError

HEARTBEAT_S = 5
GRACE_S = 3 * HEARTBEAT_S
DAYS = 30
DAY_S = 86_400
WINDOW_S = DAYS * DAY_S
KEEP_S = WINDOW_S + DAY_S

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS intervals (id INTEGER PRIMARY KEY, start_s REAL NOT NULL, end_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS intervals_end ON intervals (end_s);
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    first_start_s REAL NOT NULL, last_beat_s REAL NOT NULL, accepting INTEGER NOT NULL
);
"""

_RECORD_BEAT = """
INSERT INTO state (id, first_start_s, last_beat_s, accepting) VALUES (1, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET last_beat_s = excluded.last_beat_s, accepting = excluded.accepting
"""

Interval = tuple[float, float]


class Day(msgspec.Struct, frozen=True):
    """One UTC day. ``percent`` is ``None`` for a day before the first start: no data.

    ``outages`` are its times without up-time, oldest first, as unix seconds; together they last ``down_s``.
    """

    date: str
    percent: float | None
    down_s: float
    outages: tuple[Interval, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """Uptime of the last 30 days, or since the first start if that is later.

    ``percent`` is 0..100 in steps of 0.01. ``first_start`` is in unix seconds; while it is ``None`` nothing was
    measured yet and ``percent`` is 0. ``days`` are 30 UTC days, oldest first, today last.
    """

    percent: float
    first_start: float | None
    days: tuple[Day, ...]


class State(msgspec.Struct, frozen=True):
    """The one row of ``state``: the first beat ever, the last one and what it said."""

    first_start_s: float
    last_beat_s: float
    accepting: bool


class Uptime:
    """The writer. One per node, in the supervisor. Raises :class:`StartError` if the file cannot be used.

    A process that holds one must not fork: the child would take the parent's file locks for its own and read pages
    that are being written (sqlite.org/howtocorrupt.html, 2.6). Start workers by spawn or exec.
    """

    def __init__(self, path: Path) -> None:
        self._db = _open(path)
        self._current: tuple[int, float, float] | None = None  # (id, start, end) of the interval that beats extend

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Beats of a later :class:`Uptime` begin a new interval: between them the node was stopped."""
        self._db.close()

    def beat(self, now: float, accepting: bool) -> None:
        """Record that at ``now`` (unix seconds) the node could, or could not, accept events.

        Raises :class:`sqlite3.Error` if the disk refuses; the next beat carries on within :data:`GRACE_S`.
        """
        with self._db:
            current = self._extended(now) if accepting else None
            self._db.execute(_RECORD_BEAT, (now, now, accepting))
            self._db.execute("DELETE FROM intervals WHERE end_s < ?", (now - KEEP_S,))
        self._current = current

    def report(self, now: float) -> Report:
        """The report as of ``now`` (unix seconds)."""
        return _measure(self._db, now)

    def _extended(self, now: float) -> tuple[int, float, float]:
        """The current interval, made to end at ``now``; a new one where the old cannot be carried on.

        A clock that steps back into the interval shortens it: the same time is being lived again and counts once.
        """
        if self._current is not None:
            key, start, end = self._current
            if start <= now <= end + GRACE_S:
                self._db.execute("UPDATE intervals SET end_s = ? WHERE id = ?", (now, key))
                return key, start, now
        key = self._db.execute("INSERT INTO intervals (start_s, end_s) VALUES (?, ?)", (now, now)).lastrowid or 0
        return key, now, now


class Reader:
    """Reports for any other process: never fails, never waits long, reads the file at most once a second.

    A file that is missing, locked or damaged gives the last report there was, else one without data.
    """

    def __init__(self, path: Path, *, timeout_s: float = 0.05) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro"
        self._timeout_s = timeout_s
        self._read_at = -math.inf
        self._report: Report | None = None

    def report(self, now: float) -> Report:
        """The report as of ``now`` (unix seconds), up to one second old."""
        if self._report is None or not 0 <= now - self._read_at < 1:
            self._report = self._read(now) or self._report or no_data(now)
            self._read_at = now
        return self._report

    def _read(self, now: float) -> Report | None:
        # Opened anew each time: a kept one would go on reading a file that was replaced, and is bound to one thread.
        try:
            db = sqlite3.connect(self._uri, uri=True, timeout=self._timeout_s)
        except sqlite3.Error:
            return None
        try:
            return _measure(db, now)
        except sqlite3.Error:
            return None
        finally:
            db.close()


def no_data(now: float) -> Report:
    """The report of a node that was never started."""
    return Report(0.0, None, tuple(Day(_date(start), None, 0.0) for start in _day_starts(now)))


def report(state: State, intervals: Iterable[Interval], now: float) -> Report:
    """Pure: what ``state`` and ``intervals`` (ordered by start) say as of ``now``."""
    spans = list(_merged(intervals))
    first = _first_start(state, spans, now)
    silent_s = now - state.last_beat_s
    end = state.last_beat_s if 0 <= silent_s <= GRACE_S else now
    fallback = 100.0 if state.accepting and silent_s <= GRACE_S else 0.0
    starts = _day_starts(now)
    up_by_day = _up_by_day(spans, starts[0], max(first, starts[0]), end)
    outages = _between(spans, first, end)
    days = tuple(
        _day(start, min(end, start + DAY_S) - max(first, start), up_s, fallback, _within(outages, start, start + DAY_S))
        if first < start + DAY_S
        else Day(_date(start), None, 0.0)
        for start, up_s in zip(starts, up_by_day, strict=True)
    )
    begin = max(first, now - WINDOW_S)
    up_s = sum(_overlap(span, begin, end) for span in spans)
    return Report(_percent(up_s, end - begin, fallback), first, days)


def _open(path: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, check_same_thread=False)
    except sqlite3.Error as error:
        raise StartError(f"cannot open {path}: {error}") from None
    try:
        _prepare(db, path)
    except sqlite3.Error as error:
        db.close()
        raise StartError(f"cannot use {path}: {error}; move it away to measure uptime anew") from None
    except StartError:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StartError(f"{path} was written by a newer novamesh; start that version, or move the file away")
    db.execute("PRAGMA journal_mode = WAL")
    # A beat lost to a power cut is down-time anyway, so a sync every 5 s would buy nothing.
    db.execute("PRAGMA synchronous = NORMAL")
    db.executescript(_SCHEMA)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _measure(db: sqlite3.Connection, now: float) -> Report:
    # Two reads without a transaction: intervals that grew after the state was read are cut to it.
    row = db.execute("SELECT first_start_s, last_beat_s, accepting FROM state").fetchone()
    if row is None:
        return no_data(now)
    spans = db.execute(
        "SELECT start_s, end_s FROM intervals WHERE end_s >= ? AND start_s <= ? ORDER BY start_s", (now - WINDOW_S, now)
    )
    return report(State(row[0], row[1], bool(row[2])), spans, now)


def _first_start(state: State, spans: list[Interval], now: float) -> float:
    """The first start, in unix seconds. If the clock ran ahead then, the first measured second before ``now``."""
    if state.first_start_s <= now:
        return state.first_start_s
    return min([start for start, _ in spans if start <= now], default=now)


def _merged(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """Overlapping intervals as one, so that no second counts twice."""
    current: Interval | None = None
    for start, end in intervals:
        if current is None:
            current = start, end
        elif start <= current[1]:
            current = current[0], max(current[1], end)
        else:
            yield current
            current = start, end
    if current is not None:
        yield current


def _overlap(span: Interval, begin: float, end: float) -> float:
    return max(0.0, min(span[1], end) - max(span[0], begin))


def _up_by_day(spans: list[Interval], base: float, begin: float, end: float) -> list[float]:
    """Seconds of up-time in each of the 30 days from ``base``, counting only what lies in ``begin``..``end``."""
    up = [0.0] * DAYS
    for start, stop in spans:
        start, stop = max(start, begin), min(stop, end)
        if start < stop:
            for index in range(int((start - base) // DAY_S), min(int((stop - base) // DAY_S), DAYS - 1) + 1):
                up[index] += _overlap((start, stop), base + index * DAY_S, base + (index + 1) * DAY_S)
    return up


def _between(spans: list[Interval], begin: float, end: float) -> list[Interval]:
    """What lies between the merged ``spans``, from ``begin`` to ``end``; nothing is between two that follow at once."""
    gaps: list[Interval] = []
    for start, stop in [*spans, (end, end)]:
        until = min(start, end)
        if begin < until and gaps and gaps[-1][1] == begin:  # a single beat ends no outage: it is no up-time
            gaps[-1] = gaps[-1][0], until
        elif begin < until:
            gaps.append((begin, until))
        begin = max(begin, stop)
    return gaps


def _within(gaps: list[Interval], begin: float, end: float) -> tuple[Interval, ...]:
    return tuple((max(start, begin), min(stop, end)) for start, stop in gaps if start < end and stop > begin)


def _day(start: float, elapsed_s: float, up_s: float, fallback: float, outages: tuple[Interval, ...]) -> Day:
    down_s = round(max(0.0, elapsed_s - up_s), 3)
    return Day(_date(start), _percent(up_s, elapsed_s, fallback), down_s, outages)


def _percent(up_s: float, elapsed_s: float, fallback: float) -> float:
    """``up_s`` of ``elapsed_s`` in percent, rounded down to 0.01; ``fallback`` where no time has passed."""
    if elapsed_s <= 0:
        return fallback
    # The millionth makes up for binary fractions: 99.98 must not become 99.97.
    return min(100.0, math.floor(up_s / elapsed_s * 10_000 + 1e-6) / 100)


def _day_starts(now: float) -> list[float]:
    """Unix seconds at which each of the last 30 UTC days begins, oldest first. Unix days have 86,400 s, always."""
    today = now // DAY_S * DAY_S
    return [today - (DAYS - 1 - index) * DAY_S for index in range(DAYS)]


def _date(start: float) -> str:
    return datetime.fromtimestamp(start, UTC).date().isoformat()
