"""Segments that were set aside for damage: what is whole in them, loading it, dropping them for good."""

import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from novamesh.errors import InvalidParameter
from novamesh.event.record import OtherVersion, RecordError, decode
from novamesh.spool.frame import SEGMENT_HEADER_SIZE, FrameError, decode_segment_header, frame_size
from novamesh.spool.reader import Position
from novamesh.spool.repair import QUARANTINE, read_report, remove_set_aside
from novamesh.spool.salvage import salvage
from novamesh.spool.segment import has_writer, list_segments
from novamesh.store.contract import Outcome, SetAsideSegment
from novamesh.store.duckdb import Database
from novamesh.store.loader import LOAD_BYTES, Loader
from novamesh.store.units import Unit

log = logging.getLogger(__name__)

_ALL = 1 << 62


class Whole(NamedTuple):
    """Whole records of a segment, the position behind them, bytes that are in none of them, and why it ends there."""

    units: list[Unit]
    position: Position
    unreadable: int
    refused: str | None

    @property
    def events(self) -> int:
        return sum(unit.size for unit in self.units)


class SetAside:
    """The segments in ``spool/quarantine/``. Their positions say what is loaded of them, as for all others.

    Raises ``duckdb.Error`` and OSError.
    """

    def __init__(self, database: Database, loader: Loader, spool: Path, node_id: bytes) -> None:
        self._database = database
        self._loader = loader
        self._directory = spool / QUARANTINE
        self._node_id = node_id

    def survey(self) -> list[SetAsideSegment]:
        """All of them. For any thread."""
        found = []
        for path in self._segments():
            report = read_report(path)
            try:
                events = self._whole(path, self._loader.position(path.name), _ALL).events
                unreadable, size = self._unreadable(path), path.stat().st_size
            except FileNotFoundError:
                continue  # dropped meanwhile
            found.append(
                SetAsideSegment(path.name, report.offset, report.cause, report.found_at, size, events, unreadable)
            )
        return found

    def _unreadable(self, path: Path) -> int:
        """Bytes behind the damage that are in no whole record, whatever is loaded by now."""
        return self._whole(path, Position(read_report(path).offset), _ALL).unreadable

    def replay(self, name: str, *, foreign: bool) -> Outcome:
        """Load some of what is whole. When nothing is left, delete the segment if all of it could be read.

        For the writer's thread. Raises :class:`InvalidParameter` if there is no such segment.
        """
        path = self._path(name)
        if not foreign and self._is_foreign(path):
            return Outcome(note="it belongs to another node; name it by --file to load it all the same")
        whole = self._whole(path, self._loader.position(name), LOAD_BYTES)
        positions = {name: whole.position}
        if whole.position != self._loader.position(name):
            loaded = self._database.load(whole.units, positions)
            self._loader.note(loaded, positions)
            log.warning("damaged segment loaded again", extra={"file": name, "events": whole.events})
            return Outcome(loaded.stored, loaded.duplicates, loaded.quarantined, left=True)
        if whole.refused is not None:
            return Outcome(note=whole.refused)
        if has_writer(path):
            return Outcome(note="an edge worker is still writing to it; load the rest when that has moved on")
        if unreadable := self._unreadable(path):
            return Outcome(note=f"{unreadable} bytes cannot be read; what could is stored, so it may be dropped")
        self._delete(path)
        return Outcome(note="all of it is stored")

    def drop(self, name: str) -> Outcome:
        """Delete a segment; what is whole in it and not loaded is counted as dropped.

        For the writer's thread. Raises :class:`InvalidParameter` if there is no such segment, or it has a writer.
        """
        path = self._path(name)
        if has_writer(path):
            raise InvalidParameter(f"An edge worker is still writing to {name}; drop it when that has moved on.")
        events: Counter[str] = Counter()
        whole = self._whole(path, self._loader.position(name), _ALL)
        if not self._is_foreign(path):  # what another node accepted is not this one's to account for
            for unit in whole.units:
                events[unit.record.space] += unit.size
        self._database.drop_unloaded(events, name, whole.position)
        self._delete(path)
        log.warning("damaged segment dropped", extra={"file": name, "events": whole.events})
        return Outcome(dropped=events.total())

    def _delete(self, path: Path) -> None:
        self._database.sync_directory()
        remove_set_aside(path)
        self._loader.forget(path.name)

    def _segments(self) -> list[Path]:
        return list_segments(self._directory) if self._directory.exists() else []

    def _path(self, name: str) -> Path:
        for path in self._segments():
            if path.name == name:
                return path
        raise InvalidParameter(f"There is no segment {name} in spool/{QUARANTINE}; see novamesh quarantine list.")

    def _is_foreign(self, path: Path) -> bool:
        """Whether another node wrote it. If its header cannot be read, it is taken for one of this node's."""
        with path.open("rb") as file:
            head = file.read(SEGMENT_HEADER_SIZE)
        try:
            return decode_segment_header(head).node_id != self._node_id
        except FrameError:
            return False

    def _whole(self, path: Path, start: Position, max_bytes: int) -> Whole:
        frames, unreadable = salvage(path, start.offset, max_bytes)
        units: list[Unit] = []
        position = start
        for frame in frames:
            try:
                record, events = decode(frame.payload)
                units.append(Unit(record, events.decode(), 0, record.n - 1))
            except OtherVersion as error:
                # Not passed over: a newer version can still load it.
                return Whole(units, position, unreadable, f"{error}; run that version to load the rest")
            except (RecordError, UnicodeDecodeError):
                unreadable += frame_size(len(frame.payload))
            position = Position(frame.end, frame.sequence)
        return Whole(units, position, unreadable, None)
