"""Segments in ``spool/quarantine/``: what is whole in them, loading it, dropping them for good."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from novamesh.errors import InvalidParameter
from novamesh.event.record import OtherVersion, RecordError, decode
from novamesh.spool.frame import SEGMENT_HEADER_SIZE, FrameError, decode_segment_header, frame_size
from novamesh.spool.reader import Position
from novamesh.spool.repair import QUARANTINE, REPORT_SUFFIX, read_report, remove_set_aside
from novamesh.spool.salvage import salvage
from novamesh.spool.segment import SUFFIX, list_segments
from novamesh.spool.walk import count_waiting
from novamesh.store.contract import Outcome, SetAsideSegment
from novamesh.store.duckdb import Database
from novamesh.store.loader import LOAD_BYTES, Loader
from novamesh.store.recount import Places
from novamesh.store.units import Arrived, Unit, size_of

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
        return size_of(self.units)


def list_set_aside(spool: Path) -> list[Path]:
    """The segments in quarantine that are there."""
    directory = spool / QUARANTINE
    return list_segments(directory) if directory.exists() else []


def list_missing(spool: Path) -> list[Path]:
    """Where segments would be of which there is only a report."""
    reported = sorted(path.with_suffix(SUFFIX) for path in (spool / QUARANTINE).glob("*" + REPORT_SUFFIX))
    # In this order: one that is being set aside is reported first, then moved.
    return [path for path in reported if not (spool / path.name).exists() and not path.exists()]


def is_foreign(path: Path, node_id: bytes) -> bool:
    """Whether another node wrote a segment. If its header cannot be read, it is taken for one of this node's."""
    with path.open("rb") as file:
        head = file.read(SEGMENT_HEADER_SIZE)
    try:
        return decode_segment_header(head).node_id != node_id
    except FrameError:
        return False


class SetAside:
    """The segments in ``spool/quarantine/``, also those that are missing: of these there is only a report.

    Their positions say what is loaded of them, as for all others. Raises ``duckdb.Error`` and OSError.
    """

    def __init__(self, database: Database, loader: Loader, places: Places) -> None:
        self._database = database
        self._loader = loader
        self._spool = places.spool
        self._directory = places.spool / QUARANTINE
        self._node_id = places.node_id

    def survey(self) -> list[SetAsideSegment]:
        """All of them. For any thread."""
        return sorted([*self._survey_there(), *self._survey_missing()], key=lambda segment: segment.file)

    def _survey_there(self) -> Iterator[SetAsideSegment]:
        for path in list_set_aside(self._spool):
            try:
                events = self._whole(path, self._loader.position(path.name), _ALL).events
                unreadable, size = self._unreadable(path), path.stat().st_size
            except FileNotFoundError:
                continue  # dropped meanwhile
            yield _described(path, size, events, unreadable)

    def _survey_missing(self) -> Iterator[SetAsideSegment]:
        for path in list_missing(self._spool):
            yield _described(path, 0, 0, 0, missing=True)

    def _unreadable(self, path: Path) -> int:
        """Bytes behind the damage that are in no whole record, whatever is loaded by now."""
        return self._whole(path, Position(read_report(path).offset), _ALL).unreadable

    def replay(self, name: str, *, foreign: bool) -> Outcome:
        """Load some of what is whole. When nothing is left, delete the segment if all of it could be read.

        For the loader's thread. Raises :class:`InvalidParameter` if there is no such segment.
        """
        path = self._path(name)
        if not path.exists():
            return Outcome(note="it is missing, so there is nothing to load; put it back into spool/ if it is found")
        if not foreign and is_foreign(path, self._node_id):
            return Outcome(note="it belongs to another node; name it by --file to load it all the same")
        whole = self._whole(path, self._loader.position(name), LOAD_BYTES, self._loader.counted_in(name))
        positions = {name: whole.position}
        if whole.position != self._loader.position(name):
            loaded = self._database.load(whole.units, positions)
            self._loader.note(positions)
            log.warning("damaged segment loaded again", extra={"file": name, "events": whole.events})
            return Outcome(loaded.stored, loaded.duplicates, loaded.quarantined, left=True)
        if whole.refused is not None:
            return Outcome(note=whole.refused)
        if unreadable := self._unreadable(path):
            return Outcome(note=f"{unreadable} bytes cannot be read; what could is stored, so it may be dropped")
        self._loader.delete_set_aside(path)
        return Outcome(note="all of it is stored")

    def drop(self, name: str) -> Outcome:
        """Delete a segment, or the report of one that is missing. What is whole in it and not loaded is counted as
        dropped; of another node's segment, whose events this one has not accepted, nothing is.

        For the loader's thread. Raises :class:`InvalidParameter` if there is no such segment.
        """
        path = self._path(name)
        if not path.exists():
            # Its position stays: put back, it must not be loaded from its start again.
            remove_set_aside(path)
            return Outcome()
        events = self._waiting(path)
        self._database.drop_unloaded(events, name, Position(path.stat().st_size))
        self._loader.delete_set_aside(path)
        dropped = sum(sent.received for sent in events.values())
        log.warning("damaged segment dropped", extra={"file": name, "events": dropped})
        return Outcome(dropped=dropped)

    def _waiting(self, path: Path) -> dict[str, Arrived]:
        """What the ledger has in this segment: whole events that are not loaded."""
        counted = self._loader.counted_in(path.name)
        found = count_waiting(path, self._node_id, self._loader.position(path.name), None, counted, damaged=True)
        events = found.whole + found.behind
        lost = path.name in self._database.lost
        return {
            space: Arrived(count, found.uncounted[space], count - found.uncounted[space] if lost else 0)
            for space, count in events.items()
        }

    def _path(self, name: str) -> Path:
        for path in (*list_set_aside(self._spool), *list_missing(self._spool)):
            if path.name == name:
                return path
        raise InvalidParameter(f"There is no segment {name} in spool/{QUARANTINE}; see novamesh quarantine list.")

    def _whole(self, path: Path, start: Position, max_bytes: int, counted: int = 0) -> Whole:
        """``counted``: up to which offset its writer has counted what it accepted."""
        frames, unreadable = salvage(path, start.offset, max_bytes)
        units: list[Unit] = []
        position = start
        lost = path.name in self._database.lost
        for frame in frames:
            try:
                record, events = decode(frame.payload)
                known = frame.end <= counted
                units.append(Unit(record, events.decode(), 0, record.n - 1, known, lost and known))
            except OtherVersion as error:
                # Not passed over: a newer version can still load it.
                return Whole(units, position, unreadable, f"{error}; run that version to load the rest")
            except (RecordError, UnicodeDecodeError):
                unreadable += frame_size(len(frame.payload))
            position = Position(frame.end, frame.sequence)
        return Whole(units, position, unreadable, None)


def _described(path: Path, size: int, events: int, unreadable: int, *, missing: bool = False) -> SetAsideSegment:
    report = read_report(path)
    return SetAsideSegment(
        path.name,
        report.offset,
        report.cause,
        report.found_at,
        size,
        events,
        unreadable,
        missing,
        written_off=report.written_off > 0,
    )
