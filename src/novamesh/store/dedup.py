"""Exactly once for what clients send again: ids of events and Idempotency-Keys, remembered for a window."""

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

import duckdb

from novamesh.store.units import Unit, time_of

_KEY = "md5('e' || client_id)::UUID"


class Seen:
    """The tables ``seen`` of all spaces. For the writer, inside its transactions. Raises ``duckdb.Error``."""

    def __init__(self, writer: duckdb.DuckDBPyConnection, window: timedelta) -> None:
        self._writer = writer
        self._window = window

    def spans(self, units: list[Unit]) -> list[list[Unit]]:
        """The units in parts that are each no longer than the window: what repeats within a part is a duplicate.

        All of a load is one part, unless it holds a backlog from before the window.
        """
        parts: list[list[Unit]] = []
        window_us = self._window / timedelta(microseconds=1)
        first = last = 0
        for unit in units:
            first, last = min(first, unit.record.at), max(last, unit.record.at)
            if not parts or last - first > window_us:
                parts.append([])
                first = last = unit.record.at
            parts[-1].append(unit)
        return parts

    def drop_batches(self, schema: str, units: list[Unit]) -> list[Unit]:
        """Leave out the records whose Idempotency-Key was seen in the window, and note the new ones."""
        if not any(unit.record.key for unit in units):
            return units
        keyed = {_batch_key(unit.record.key): unit.record.at for unit in units if unit.record.key}
        rows = self._writer.execute(
            f'SELECT key::VARCHAR, max("at") FROM "{schema}".seen WHERE list_contains(?::UUID[], key) GROUP BY 1',
            [[*keyed]],
        ).fetchall()
        seen: dict[str, datetime] = dict(rows)
        owners: dict[str, int] = {}
        kept, fresh = [], []
        for unit in units:
            key = _batch_key(unit.record.key) if unit.record.key else None
            if key is not None:
                received = time_of(unit.record.at)
                # Parts of one record (see Unit) share its key and are not each other's duplicates.
                if owners.get(key, id(unit.record)) != id(unit.record):
                    continue
                if key in seen and seen[key] >= received - self._window:
                    continue
                if key not in owners:
                    owners[key] = id(unit.record)
                    fresh.append((key, received))
            kept.append(unit)
        if fresh:
            self._writer.executemany(f'INSERT INTO "{schema}".seen VALUES (?, ?)', fresh)
        return kept

    def drop_events(self, schema: str) -> int:
        """Of events with the same client id keep the first, if none was seen in the window.

        Returns how many were dropped.
        """
        row = self._writer.execute("SELECT count(client_id) FROM staged").fetchone()
        if not row or not row[0]:
            return 0
        dropped = self._writer.execute(
            f"""
            DELETE FROM staged WHERE client_id IS NOT NULL AND rowid NOT IN (
                SELECT min(s.rowid) FROM staged s WHERE client_id IS NOT NULL AND NOT EXISTS (
                    SELECT 1 FROM "{schema}".seen
                    WHERE key = {_KEY} AND "at" >= s.received_at - ?::INTERVAL)
                GROUP BY client_id)
            """,
            [self._window],
        ).fetchone()
        self._writer.execute(
            f'INSERT INTO "{schema}".seen SELECT {_KEY}, received_at FROM staged WHERE client_id IS NOT NULL'
        )
        return int(dropped[0]) if dropped else 0

    def prune(self, now: datetime) -> None:
        """Forget what was seen before the window, in every space there is."""
        rows = self._writer.execute("SELECT schema_name FROM duckdb_tables() WHERE table_name = 'seen'").fetchall()
        for (schema,) in rows:
            self._writer.execute(f'DELETE FROM "{schema}".seen WHERE "at" < ?', [now - self._window])


def _batch_key(key: str) -> str:
    return str(UUID(bytes=hashlib.md5(b"b" + key.encode(), usedforsecurity=False).digest()))
