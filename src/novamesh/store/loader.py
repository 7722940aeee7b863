"""The loader: follows all spool segments and brings what is in them into the database.

One step gathers whole frames from every segment, hands them to the database together with the
positions behind them, and deletes the segments that are finished. If the process dies anywhere
in a step, the positions say where to go on.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb

from novamesh.event.record import RecordError, decode
from novamesh.spool import tally
from novamesh.spool.files import SYSTEM, Files
from novamesh.spool.frame import SEGMENT_HEADER_SIZE
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import SpoolDamage, quarantined, remove_set_aside, report_missing, set_aside, withdraw_report
from novamesh.spool.segment import SUFFIX, close_request, has_writer, list_segments, read_mark, remove
from novamesh.store.damage import DatabaseDamaged, is_damage
from novamesh.store.duckdb import Database
from novamesh.store.tasks import Tasks
from novamesh.store.units import Unit, time_of

log = logging.getLogger(__name__)

POLL_S = 0.05
# Large enough that a load's fixed cost does not count, small enough that the events of one load
# are seen well within a second, and that a backlog of any size is loaded within the memory there is.
LOAD_BYTES = 12 * 1024 * 1024
# Far more than there are workers, far less than files that a process may open.
OPEN_SEGMENTS = 256
PRUNE_INTERVAL_S = 300
# No event takes longer from its time of receipt until it can be read from the spool.
PRUNE_MARGIN = timedelta(hours=1)
RETRY_S = 1.0
# How long a load waits for a recount before it leaves finished segments to the next one.
DELETE_WAIT_S = 0.05
EXPIRE_INTERVAL_S = 3600


class Progress(NamedTuple):
    """What is still to be loaded: bytes in the spool, and the age in seconds of the oldest of it."""

    backlog_bytes: int
    lag_s: float


class Round(NamedTuple):
    """What one load takes: events, the positions behind them, and damage met. ``is_all`` if nothing is left."""

    units: list[Unit]
    positions: dict[str, Position]
    damages: list[SpoolDamage]
    is_all: bool


class Loader:
    """Loads one node's spool. ``run`` is for a thread of its own; ``step`` is one round."""

    def __init__(self, database: Database, spool: Path, node_id: bytes, ledger: Path, files: Files = SYSTEM) -> None:
        self._files = files
        self._database = database
        self._spool = spool
        self._node_id = node_id
        self._ledger = ledger
        self._counted: dict[str, int] = {}  # up to where the writers of segments that are gone have counted
        self._deleting = threading.Lock()
        self._recovered: dict[str, int] = {}  # events that are still to be noted as such
        self._positions = database.positions()
        self._forget_deleted()
        self._readers: dict[Path, SegmentReader] = {}
        self._pruned_at = self._started_at = files.monotonic()
        self._started_us = files.now_us()
        self._expired_at = float("-inf")
        self._behind_since: float | None = None
        self._failures = 0
        self._unreadable: dict[Path, str] = {}
        self._given_up: dict[Path, SpoolDamage] = {}
        self.error: str | None = None
        self.tasks = Tasks()  # of other threads, done between two rounds

    def run(self, stopping: threading.Event) -> None:
        """Load until ``stopping`` is set, then until nothing is left.

        Ends with ``duckdb.FatalException`` when the database has given up and :class:`DatabaseDamaged` when its file is
        damaged; everything else that goes wrong is reported in ``error`` and tried again, with less at a time.
        """
        try:
            self._run(stopping)
        finally:
            self.tasks.close()

    def _run(self, stopping: threading.Event) -> None:
        while True:
            last = stopping.is_set()
            self.tasks.run()
            try:
                loaded = self.step()
                self.error = self._segments_at_fault()
                self._failures = max(0, self._failures - 1)
            except (duckdb.FatalException, DatabaseDamaged):
                raise
            except Exception as error:
                if isinstance(error, duckdb.Error) and is_damage(error):
                    raise DatabaseDamaged(str(error)) from None
                self._failures += 1
                self.error = (str(error) or type(error).__name__).splitlines()[0]
                unexpected = not isinstance(error, duckdb.Error | OSError)
                log.error("loading failed, will try again", extra={"cause": self.error}, exc_info=unexpected)
                if last:
                    return
                stopping.wait(RETRY_S)
                continue
            if not loaded:
                if last:
                    return
                stopping.wait(POLL_S)

    def step(self) -> bool:
        """One round, oldest segment first. Returns whether there was anything to do.

        A segment that the disk does not give keeps only itself from being loaded.
        """
        if self._database.damage:  # what is in the spool now can be loaded after a backup was restored
            raise DatabaseDamaged(self._database.damage)
        known_unreadable, self._unreadable = self._unreadable, {}
        if recovered := self._recovered:
            self._database.add_recovered(recovered)
            self._recovered = {}
        try:
            found = self._gather_all()
            ages = [unit.record.at for unit in found.units]
            self._behind_since = min(ages) / 1e6 if ages else None
            if found.units:
                self._database.load(found.units, found.positions)
        except BaseException:
            self._rewind()
            raise
        self._positions.update(found.positions)
        # Only now: what lies before the damage must be stored before the segment is out of reach.
        aside = [damage for damage in found.damages if self._give_up(damage)]
        deleted = self._delete_finished()
        for path in self._unreadable.keys() - known_unreadable:
            log.error("segment cannot be read", extra={"file": path.name, "cause": self._unreadable[path]})
        if found.is_all and not self._unreadable and not self._given_up:
            self._expire()
            self._prune()  # not while older events, whose ids must still be known, are waiting
        return bool(found.units or aside or deleted)

    def progress(self, now: float) -> Progress:
        """How far behind the loader is. May be called from another thread."""
        backlog = 0
        for path in list_segments(self._spool):
            loaded = self._positions.get(path.name, Position()).offset
            try:
                backlog += max(0, path.stat().st_size - loaded)
            except FileNotFoundError:
                continue
        since = self._behind_since
        return Progress(backlog, max(0.0, now - since) if since is not None else 0.0)

    def position(self, segment: str) -> Position:
        """How far a segment is loaded. May be called from another thread."""
        return self._positions.get(segment, Position())

    def note(self, positions: dict[str, Position]) -> None:
        """Something else than a round has committed these. For tasks."""
        self._positions.update(positions)

    def delete_set_aside(self, segment: Path) -> None:
        """Delete a segment in quarantine of which nothing is to be loaded any more. For tasks. Raises ``duckdb.Error``
        and OSError."""
        with self.segments_kept():
            self._files.sync_directory(self._database.directory)
            self._database.finish_positions([segment.name])
            remove_set_aside(segment, self._files)
            self._positions.pop(segment.name, None)
            self._counted.pop(segment.name, None)
            self._database.forget_positions([segment.name])

    def damaged(self) -> int:
        """Segments that were set aside, or are missing, also those whose loss is written off."""
        return len(quarantined(self._spool))

    @contextlib.contextmanager
    def segments_kept(self) -> Iterator[None]:
        """No segment is deleted while the block runs. For another thread."""
        with self._deleting:
            yield

    def recover(self, events: dict[str, int]) -> None:
        """Note, with the next step, events that nobody had counted as accepted. For another thread, and once."""
        self._recovered = events

    def close(self) -> None:
        """Close all segments."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _open_segments(self) -> bool:
        """Open the oldest segments, as many as may be. Returns whether these are all."""
        segments = list_segments(self._spool)
        self._report_vanished(set(segments))
        for path in segments[:OPEN_SEGMENTS]:
            if path in self._readers or self._is_held(path):
                continue
            try:
                position = self._positions.get(path.name, Position())
                self._readers[path] = SegmentReader(path, self._node_id, position, self._files)
            except SpoolDamage as damage:
                self._give_up(damage)
            except OSError as error:
                self._unreadable[path] = str(error)
        return len(segments) <= OPEN_SEGMENTS

    def _report_vanished(self, there: set[Path]) -> None:
        """Only the loader deletes segments that hold something: one that is known and not there was taken away."""
        for path in self._readers.keys() - there:
            reader = self._readers.pop(path)
            reader.close()
            position, synced = self.position(path.name), read_mark(path)
            if max(reader.position.offset, synced) > SEGMENT_HEADER_SIZE:
                report_missing(path, position.offset, synced, self._files)

    def _is_held(self, path: Path) -> bool:
        """Whether the segment is known to be damaged and still has its writer; without one it is looked at again."""
        if path not in self._given_up:
            return False
        if has_writer(path):
            return True
        del self._given_up[path]
        return False

    def _give_up(self, damage: SpoolDamage) -> bool:
        """Set a damaged segment aside. Returns whether that is done.

        A segment that has a writer stays where it is until the writer has gone on to another, as it is asked to: what
        it acknowledges meanwhile lies behind the damage, and must be found there.
        """
        path = damage.segment
        if path in self._readers:
            self._readers.pop(path).close()
        if not has_writer(path):
            set_aside(damage, self._files)
            return True
        close_request(path).touch()
        self._given_up[path] = damage
        log.error("live segment is damaged", extra={"file": path.name, "offset": damage.offset, "cause": damage.cause})
        return False

    def _segments_at_fault(self) -> str | None:
        """What is wrong with the first segment that cannot be loaded now, or None."""
        return next((str(cause) for cause in (*self._unreadable.values(), *self._given_up.values())), None)

    def _gather_all(self) -> Round:
        """What one load takes from all segments."""
        found = Round([], {}, [], is_all=self._open_segments())
        room = max(1, LOAD_BYTES >> self._failures)
        for reader in list(self._readers.values()):
            before = reader.position.offset
            try:
                units, position, damage = self._gather(reader, room)
            except OSError as error:
                # The reader may be ahead of what is stored by now: it is opened again where that ends.
                self._readers.pop(reader.path).close()
                self._unreadable[reader.path] = str(error)
                continue
            found.units.extend(units)
            found.positions[reader.path.name] = position
            found.damages.extend([damage] if damage else [])
            room -= reader.position.offset - before
            if room <= 0:
                return found._replace(is_all=False)
        return found

    def _gather(self, reader: SegmentReader, max_bytes: int) -> tuple[list[Unit], Position, SpoolDamage | None]:
        """What follows in a segment, the position behind it, and what is wrong there."""
        units: list[Unit] = []
        position = reader.position
        try:
            frames = reader.read(max_bytes)
        except SpoolDamage as damage:
            return units, position, damage
        name = reader.path.name
        counted = None if reader.live else self.counted_in(name)
        lost = name in self._database.lost
        for frame in frames:
            try:
                record, events = decode(frame.payload)
                known = counted is None or frame.end <= counted
                units.append(Unit(record, events.decode(), 0, record.n - 1, known, lost and known))
            except (RecordError, UnicodeDecodeError) as error:
                # Its checksum is right, so it was written like this: by a newer version, or wrongly.
                return units, position, SpoolDamage(reader.path, position.offset, str(error))
            position = Position(frame.end, frame.sequence)
        return units, reader.position, None

    def counted_in(self, segment: str) -> int:
        """Up to which offset the writer of a segment, which is gone, has counted its events. For the loader's thread.
        Raises OSError."""
        if segment not in self._counted:
            self._counted[segment] = tally.read(self._ledger).segments.get(segment, 0)
        return self._counted[segment]

    def _rewind(self) -> None:
        """Nothing of this round was stored: read it again, from the positions that are."""
        self.close()

    def _delete_finished(self) -> bool:
        finished = [reader for reader in self._readers.values() if reader.finished]
        if not finished or not self._deleting.acquire(timeout=DELETE_WAIT_S):
            return False
        try:
            # The files themselves: the database syncs only what is in them.
            self._files.sync_directory(self._database.directory)
            names = [reader.path.name for reader in finished]
            self._database.finish_positions(names)
            for reader in finished:
                del self._readers[reader.path]
                reader.close()
                remove(reader.path, self._files)
                withdraw_report(reader.path, self._files)
                self._positions.pop(reader.path.name, None)
                self._counted.pop(reader.path.name, None)
            self._database.forget_positions(names)
        finally:
            self._deleting.release()
        return True

    def _forget_deleted(self) -> None:
        """Drop the positions of segments that the process before this one deleted.

        Not those of segments that somebody else took away: put back, they are not to be loaded from their start again.
        """
        kept = {path.name for path in list_segments(self._spool)}
        kept |= {name + SUFFIX for name in quarantined(self._spool)}
        if gone := self._database.finished_positions() - kept:
            self._database.forget_positions(gone)
            self._positions = {name: position for name, position in self._positions.items() if name not in gone}

    def _expire(self) -> None:
        if self._files.monotonic() - self._expired_at >= EXPIRE_INTERVAL_S:
            self._expired_at = self._files.monotonic()
            self.expire()

    def expire(self) -> int:
        """Remove what is older than it is kept. Returns how many events. For the loader's own thread."""
        if expired := self._database.expire(time_of(self._now_us())):
            log.info("old events removed", extra={"events": expired})
        return expired

    def _prune(self) -> None:
        if self._files.monotonic() - self._pruned_at >= PRUNE_INTERVAL_S:
            self._pruned_at = self._files.monotonic()
            self._database.prune_seen(time_of(self._now_us()) - PRUNE_MARGIN)

    def _now_us(self) -> int:
        """The time by which things are forgotten and removed. A clock that jumps ahead, and will be set back, must not
        make the node forget what it saw a minute ago."""
        steady_us = self._started_us + int(1e6 * (self._files.monotonic() - self._started_at))
        return min(steady_us, self._files.now_us())
