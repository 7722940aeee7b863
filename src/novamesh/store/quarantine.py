"""Events that the database refused: what there is, loading them again, dropping them for good.

Both are exactly once, for each is one transaction: the rows leave ``quarantine``, the events come into ``events``, and
counters and receipts follow.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from novamesh.event.record import Record
from novamesh.store import receipts
from novamesh.store.contract import Outcome, Selection, project_of, schema_for
from novamesh.store.duckdb import POISON, Database
from novamesh.store.units import Fault, Loaded, Unit, size_of, without

log = logging.getLogger(__name__)

# Rows loaded again at a time: few, because finding each that is refused again takes several tries, and meanwhile
# nothing new is loaded. More and more while none is.
REPLAY_EVENTS, MAX_REPLAY_EVENTS = 100, 5000
REPLAY_BYTES = 8 * 1024 * 1024
_ORDER = "ORDER BY quarantined_at, id, rowid"


class Quarantine:
    """The tables ``quarantine`` of all spaces. Raises ``duckdb.Error``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._most = REPLAY_EVENTS

    def survey(self, project: str | None, selection: Selection) -> tuple[dict[str, int], int, int]:
        """Events by space, the time (µs) of the last refusal among them, and events dropped in all. For any thread."""
        events: dict[str, int] = {}
        until = total_dropped = 0
        where, parameters = _where(selection)
        with self._database.cursor() as cursor:
            counters = cursor.execute("SELECT space, dropped FROM novamesh.counters ORDER BY space").fetchall()
            for space, dropped in counters:
                if project not in (None, project_of(space)):
                    continue
                total_dropped += dropped
                self._database.ensure_space(space)
                row = cursor.execute(
                    "SELECT coalesce(sum(events), 0)::BIGINT, coalesce(epoch_us(max(quarantined_at)), 0)"
                    f' FROM "{schema_for(space)}".quarantine WHERE {where}',
                    parameters,
                ).fetchone()
                if row and row[0]:
                    events[space], until = row[0], max(until, row[1])
        return events, until, total_dropped

    def replay(self, space: str, selection: Selection) -> Outcome:
        """Load some of the events again; what is refused again stays, with its new reason. For the loader's thread."""
        self._database.ensure_space(space)
        units = [unit for _, unit in self._rows(space, selection)]
        if not units:
            return Outcome()
        try:
            outcome = self._load(space, selection, units, [])
            self._most = min(2 * self._most, MAX_REPLAY_EVENTS)
        except POISON:
            outcome = self._load(space, selection, units, self._database.find_faults(units))
            self._most = REPLAY_EVENTS
        return outcome

    def drop(self, space: str, selection: Selection) -> Outcome:
        """Delete the events, and count them as dropped. For the loader's thread."""
        self._database.ensure_space(space)
        table = f'"{schema_for(space)}".quarantine'
        where, parameters = _where(selection)
        with self._database.transaction() as writer:
            row = writer.execute(f"SELECT coalesce(sum(events), 0)::BIGINT FROM {table} WHERE {where}", parameters)
            (dropped,) = row.fetchone() or (0,)
            receipts.note_dropped(writer, schema_for(space), table, where, parameters)
            writer.execute(f"DELETE FROM {table} WHERE {where}", parameters)
            self._database.count(space, Loaded(0, 0, 0), dropped=dropped)
        log.warning("events dropped from quarantine", extra={"space": space, "events": dropped})
        return Outcome(dropped=dropped)

    def _rows(self, space: str, selection: Selection) -> list[tuple[int, Unit]]:
        """Some of the events, oldest refusal first: row number, and what is to be loaded."""
        table = f'"{schema_for(space)}".quarantine'
        where, parameters = _where(selection)
        rows = self._database.writer.execute(
            f"""
            SELECT rowid, replace(id::VARCHAR, '-', '')[:28], batch_id IS NOT NULL, event_index, events,
                   epoch_us(received_at), body
            FROM {table} WHERE rowid IN (
                SELECT rowid FROM (
                    SELECT rowid, quarantined_at, id, strlen(body) AS size FROM {table} WHERE {where}
                    {_ORDER} LIMIT {self._most})
                QUALIFY sum(size) OVER ({_ORDER} ROWS UNBOUNDED PRECEDING) - size < {REPLAY_BYTES})
            {_ORDER}
            """,
            parameters,
        ).fetchall()
        return [(row[0], _unit(space, *row[1:])) for row in rows]

    def _load(self, space: str, selection: Selection, units: list[Unit], faults: list[Fault]) -> Outcome:
        """Take the units out of quarantine and store them, but for the faults."""
        schema = schema_for(space)
        whole = {id(unit) for unit in units}
        again = {id(fault.unit): fault.reason for fault in faults if id(fault.unit) in whole}
        pieces = [fault for fault in faults if id(fault.unit) not in whole]
        bad: dict[int, set[int]] = {}
        for unit, _ in faults:
            bad.setdefault(id(unit.record), set()).update(range(unit.first, unit.last + 1))
        good = [part for unit in units for part in without(unit, bad.get(id(unit.record), set()))]
        with self._database.transaction() as writer:
            # Only this thread writes, so these are the same rows; their numbers hold within a transaction.
            rows = [(rowid, unit) for (rowid, _), unit in zip(self._rows(space, selection), units, strict=True)]
            now = _after(selection.until)
            writer.execute(
                f'DELETE FROM "{schema}".quarantine WHERE rowid IN (SELECT unnest(?::BIGINT[]))',
                [[rowid for rowid, unit in rows if id(unit) not in again]],
            )
            if kept := [(again[id(unit)], now, rowid) for rowid, unit in rows if id(unit) in again]:
                writer.executemany(
                    f'UPDATE "{schema}".quarantine SET reason = ?, quarantined_at = ? WHERE rowid = ?', kept
                )
            self._database.quarantine(schema, pieces, now)
            stored, duplicates = self._database.insert(space, schema, good) if good else (0, 0)
            self._database.count(space, Loaded(stored, duplicates, -size_of(good)))
            receipts.note_replayed(writer, schema, good)
        left = writer.execute(
            f'SELECT 1 FROM "{schema}".quarantine WHERE {_where(selection)[0]} LIMIT 1', _where(selection)[1]
        ).fetchone()
        refused = sum(fault.unit.size for fault in faults)
        return Outcome(stored, duplicates, refused, left=left is not None)


def _where(selection: Selection) -> tuple[str, list[Any]]:
    """The selection as a condition, and its parameters."""
    conditions = {
        "batch_id = ?": selection.batch,
        "id = ?::UUID": selection.id,
        "quarantined_at <= make_timestamp(?)": selection.until,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    return " AND ".join(given) or "true", [*given.values()]


def _after(until: int | None) -> datetime:
    """The time now; later than what is selected, so that nothing is tried twice, whatever the clock does."""
    now = datetime.now(UTC).replace(tzinfo=None)
    if until is None:
        return now
    return max(now, datetime.fromtimestamp(until / 1_000_000, UTC).replace(tzinfo=None) + timedelta(microseconds=1))


def _unit(space: str, batch: str, named: bool, place: int, events: int, at: int, body: str) -> Unit:
    """What a row holds, to be loaded as it was the first time, but for its Idempotency-Key: that is done with."""
    record = Record(space=space, batch=batch, at=at, n=place + events, named=named)
    # A record that could not be taken apart is kept as it was; an event alone goes back to its place.
    array = "[" + "null," * place + body + "]" if body.lstrip().startswith("{") and events == 1 else body
    return Unit(record, array, place, place + events - 1)
