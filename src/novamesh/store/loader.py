"""The loader: follows all spool segments and brings what is in them into the database.

One step gathers whole frames from every segment, hands them to the database together with the
positions behind them, and deletes the segments that are finished. If the process dies anywhere
in a step, the positions say where to go on.
"""

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb

from novamesh.event.record import RecordError, decode
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import QUARANTINE, SpoolDamage, set_aside
from novamesh.spool.segment import list_segments, remove
from novamesh.store.duckdb import Database
from novamesh.store.jobs import Jobs
from novamesh.store.units import Loaded, Unit

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

    def __init__(self, database: Database, spool: Path, node_id: bytes) -> None:
        self._database = database
        self._spool = spool
        self._node_id = node_id
        self._positions = database.positions()
        self._forget_deleted()
        self._readers: dict[Path, SegmentReader] = {}
        self._pruned_at = time.monotonic()
        self._behind_since: float | None = None
        self._failures = 0
        self._unreadable: dict[Path, str] = {}
        self.error: str | None = None
        self.loaded = database.totals()
        self.jobs = Jobs()  # for other threads, done between two rounds

    def run(self, stopping: threading.Event) -> None:
        """Load until ``stopping`` is set, then until nothing is left.

        Ends with ``duckdb.FatalException`` when the database has given up; everything else that
        goes wrong is reported in ``error`` and tried again, with less at a time.
        """
        while True:
            last = stopping.is_set()
            try:
                self.jobs.run()
                loaded = self.step()
                self.error = next(iter(self._unreadable.values()), None)
                self._failures = max(0, self._failures - 1)
            except duckdb.FatalException:
                raise
            except Exception as error:
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
        known_unreadable, self._unreadable = self._unreadable, {}
        try:
            found = self._gather_all()
            ages = [unit.record.at for unit in found.units]
            self._behind_since = min(ages) / 1e6 if ages else None
            if found.units:
                self._add(self._database.load(found.units, found.positions))
        except BaseException:
            self._rewind()
            raise
        self._positions.update(found.positions)
        # Only now: what lies before the damage must be stored before the segment is out of reach.
        for damage in found.damages:
            self._readers.pop(damage.segment).close()
            set_aside(damage)
        deleted = self._delete_finished()
        for path in self._unreadable.keys() - known_unreadable:
            log.error("segment cannot be read", extra={"file": path.name, "cause": self._unreadable[path]})
        if found.is_all and not self._unreadable:
            self._prune()  # not while older events, whose ids must still be known, are waiting
        return bool(found.units or found.damages or deleted)

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

    def note(self, loaded: Loaded, positions: dict[str, Position]) -> None:
        """Something else than a round was committed. For jobs."""
        self._positions.update(positions)
        self._add(loaded)

    def forget(self, segment: str) -> None:
        """A segment is deleted that was set aside. For jobs. Raises ``duckdb.Error``."""
        self._positions.pop(segment, None)
        self._database.forget_positions([segment])

    def damaged(self) -> int:
        """Segments in quarantine."""
        return len(self._quarantined())

    def close(self) -> None:
        """Close all segments."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _open_segments(self) -> bool:
        """Open the oldest segments, as many as may be. Returns whether these are all."""
        segments = list_segments(self._spool)
        for path in segments[:OPEN_SEGMENTS]:
            if path in self._readers:
                continue
            try:
                position = self._positions.get(path.name, Position())
                self._readers[path] = SegmentReader(path, self._node_id, position)
            except SpoolDamage as damage:
                set_aside(damage)
            except OSError as error:
                self._unreadable[path] = str(error)
        return len(segments) <= OPEN_SEGMENTS

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
        for frame in frames:
            try:
                record, events = decode(frame.payload)
                units.append(Unit(record, events.decode(), 0, record.n - 1))
            except (RecordError, UnicodeDecodeError) as error:
                # Its checksum is right, so it was written like this: by a newer version, or wrongly.
                return units, position, SpoolDamage(reader.path, position.offset, str(error))
            position = Position(frame.end, frame.sequence)
        return units, reader.position, None

    def _rewind(self) -> None:
        """Nothing of this round was stored: read it again, from the positions that are."""
        self.close()

    def _add(self, loaded: Loaded) -> None:
        self.loaded = Loaded(*(a + b for a, b in zip(self.loaded, loaded, strict=True)))

    def _delete_finished(self) -> bool:
        finished = [reader for reader in self._readers.values() if reader.finished]
        if not finished:
            return False
        self._database.sync_directory()
        for reader in finished:
            del self._readers[reader.path]
            reader.close()
            remove(reader.path)
            self._positions.pop(reader.path.name, None)
        self._database.forget_positions([reader.path.name for reader in finished])
        return True

    def _forget_deleted(self) -> None:
        """Drop the positions of segments that the process before this one deleted."""
        kept = {path.name for path in [*list_segments(self._spool), *self._quarantined()]}
        if gone := self._positions.keys() - kept:
            self._database.forget_positions(gone)
            self._positions = {name: position for name, position in self._positions.items() if name in kept}

    def _quarantined(self) -> list[Path]:
        directory = self._spool / QUARANTINE
        return list_segments(directory) if directory.exists() else []

    def _prune(self) -> None:
        if time.monotonic() - self._pruned_at >= PRUNE_INTERVAL_S:
            self._pruned_at = time.monotonic()
            self._database.prune_seen(datetime.now(UTC).replace(tzinfo=None) - PRUNE_MARGIN)
