"""Losses that an operator takes as known: what may be written off, and the record that is kept of it.

Events in the spool's files can be lost for good: they are accepted, and nobody has them. To write them off is one
transaction: the counter ``written_off`` of each space, a record of when, how many and why, and the names of all
segments that are not in the spool then. What is found in one of these later, because it was put back or repaired, was
written off: it is taken off the counter in the transaction that loads it (``Arrived.returned``), and until then counts
as ``Recount.returning``. So every event is on one side of the ledger only, whatever comes back and when.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import duckdb
import msgspec

from novamesh.spool import tally
from novamesh.spool.files import SYSTEM, Files
from novamesh.spool.repair import QUARANTINE, REPORT_SUFFIX, note_written_off, read_report
from novamesh.spool.segment import list_segments
from novamesh.store.contract import Gaps, Recount
from novamesh.store.duckdb import Database
from novamesh.store.loss import Loss, LostSegment, WriteOff, WriteOffRequest
from novamesh.store.recount import WRITE_OFFS_VERSION, Places, version_of
from novamesh.store.setaside import is_foreign, list_missing, list_set_aside

log = logging.getLogger(__name__)

NOTHING = "no accepted event is missing, so there is nothing to write off"
CHANGED = "what is missing has changed since it was shown, so nothing was written off; run the command again"
_SURPLUS = "more events are there than were counted as accepted: a start of the node counts them; then try again"
_WHOLE = "{events:,} events are whole in damaged segments: load them with novamesh quarantine replay first"
_ELSEWHERE = (
    "what is missing is missing in the database, and only what the spool has lost can be written off; novamesh verify "
    "says what to do"
)
_LOADING = "loading fails, so the loss may still grow: {error}; see to that first"

_COUNT = """
INSERT INTO novamesh.counters (space, stored, duplicates, quarantined, written_off) VALUES (?, 0, 0, 0, ?)
ON CONFLICT (space) DO UPDATE SET written_off = written_off + excluded.written_off
"""
_GONE = "INSERT OR IGNORE INTO novamesh.lost_segments SELECT unnest(?::VARCHAR[])"


def read_write_offs(connection: duckdb.DuckDBPyConnection) -> list[WriteOff]:
    """All records, the oldest first. Raises ``duckdb.Error``."""
    if version_of(connection) < WRITE_OFFS_VERSION:
        return []
    rows = connection.execute("SELECT record FROM novamesh.write_offs ORDER BY rowid").fetchall()
    return [msgspec.json.decode(record, type=WriteOff) for (record,) in rows]


class WriteOffs:
    """What is missing, and writing it off. Raises ``duckdb.Error`` and OSError."""

    def __init__(self, database: Database, places: Places, files: Files = SYSTEM) -> None:
        self._database = database
        self._places = places
        self._files = files

    def find(self, spaces: Mapping[str, Recount], error: str | None) -> Loss:
        """What a recount found to be lost; ``error``: why the loader cannot load."""
        events = {space: one.gaps.spool for space, one in spaces.items() if one.gaps.spool > 0}
        return Loss(events, self._set_aside(), _refusal(spaces, events, error))

    def write(self, request: WriteOffRequest, spaces: Mapping[str, Recount], error: str | None) -> Loss:
        """Write off what was shown, if that is what a recount of now found. For the loader's thread."""
        loss = self.find(spaces, error)
        if loss.refused is None and loss != request.loss:
            loss = msgspec.structs.replace(loss, refused=CHANGED)
        if loss.refused is not None:
            return loss
        record = WriteOff(self._files.now_us() // 1_000_000, request.reason, loss.events, loss.segments)
        gone = self._gone()
        with self._database.transaction() as writer:
            writer.executemany(_COUNT, [*loss.events.items()])
            writer.execute("INSERT INTO novamesh.write_offs VALUES (?)", [msgspec.json.encode(record).decode()])
            writer.execute(_GONE, [[*gone]])
        self._database.lost |= gone
        log.warning("a loss was written off", extra={"events": loss.events, "reason": record.reason})
        self._mark(record)
        return loss

    def finish(self) -> None:
        """Mark the reports of segments whose loss is written off: those that a process left which was killed right
        after it, and those made later, of segments that were missing then already."""
        with self._database.cursor() as cursor:
            records = read_write_offs(cursor)
        for record in records:
            self._mark(record)
        # All that was not loaded of these is written off: that they are missing is no news.
        for path in list_missing(self._places.spool) if records else []:
            if path.name in self._database.lost and not read_report(path).written_off:
                self._note(path, records[-1].at)

    def _mark(self, record: WriteOff) -> None:
        for segment in record.segments:
            path = self._places.spool / QUARANTINE / segment.file
            report = read_report(path)
            # One that was put back and set aside again has another report: that is another matter.
            as_known = (report.offset, report.found_at) == (segment.offset, segment.found_at)
            is_there = path.exists() or path.with_suffix(REPORT_SUFFIX).exists()
            if as_known and is_there and not report.written_off:
                self._note(path, record.at)

    def _note(self, path: Path, at: int) -> None:
        try:
            note_written_off(path, at, self._files)
        except OSError as error:
            # It is written off all the same; the next recount tries again.
            log.error("a report cannot be written", extra={"file": path.name, "cause": str(error)})

    def _set_aside(self) -> list[LostSegment]:
        """This node's segments in quarantine whose loss is not written off yet."""
        spool, node_id = self._places.spool, self._places.node_id
        there = [_lost(path, missing=False) for path in list_set_aside(spool) if not is_foreign(path, node_id)]
        missing = [_lost(path, missing=True) for path in list_missing(spool)]
        found = [segment for segment in (*there, *missing) if segment is not None]
        return sorted(found, key=lambda segment: segment.file)

    def _gone(self) -> set[str]:
        """All segments that are known and not in the spool: those that are lost, and others, which never come back."""
        known = {*tally.read(self._places.ledger).segments}
        known |= {path.name for path in (*list_set_aside(self._places.spool), *list_missing(self._places.spool))}
        return known - {path.name for path in list_segments(self._places.spool)}


def _refusal(spaces: Mapping[str, Recount], events: Mapping[str, int], error: str | None) -> str | None:
    if error is not None:
        return _LOADING.format(error=error)
    gaps = [one.gaps for one in spaces.values()]
    if any(gap.spool < 0 for gap in gaps):
        return _SURPLUS
    if whole := sum(gap.damaged for gap in gaps):
        return _WHOLE.format(events=whole)
    if events:
        return None
    return _ELSEWHERE if any(gap != Gaps() for gap in gaps) else NOTHING


def _lost(path: Path, *, missing: bool) -> LostSegment | None:
    report = read_report(path)
    if report.written_off:
        return None
    size = 0 if missing else path.stat().st_size
    return LostSegment(path.name, report.offset, report.cause, report.found_at, size, missing)
