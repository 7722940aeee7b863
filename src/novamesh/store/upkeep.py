"""What takes events out of the database on purpose: one person's, or old ones. Every event taken out is counted.

All of it runs on the loader's thread, between two loads (see :mod:`novamesh.store.tasks`), in a transaction of the
caller's. Raises ``duckdb.Error``.
"""

from datetime import datetime
from typing import Any, NamedTuple

import duckdb
import msgspec

from novamesh.store import receipts
from novamesh.store.contract import schema_for

_TABLES = ("events_shredded", "events_plain")
_PAGE_ROWS = 1000
_COUNT = """
UPDATE novamesh.counters SET erased = erased + ?, expired = expired + ?, dropped = dropped + ? WHERE space = ?
"""


class Erased(NamedTuple):
    """Events of one person that are gone: from ``events``, and from ``quarantine``."""

    events: int
    quarantined: int


def erase(writer: duckdb.DuckDBPyConnection, space: str, user_id: str) -> Erased:
    """Remove all that is stored of one person in one space."""
    schema = schema_for(space)
    events = sum(_delete(writer, f'"{schema}".{table} WHERE user_id = ?', [user_id]) for table in _TABLES)
    erased = Erased(events, _erase_quarantined(writer, schema, user_id))
    writer.execute(_COUNT, [erased.events, 0, erased.quarantined, space])
    return erased


def expire(writer: duckdb.DuckDBPyConnection, space: str, before: datetime) -> int:
    """Remove the events that happened, or were received, before a time (UTC, without a zone). Returns how many.

    Either counts: an event that claims to be of the year 2099 must not stay for ever. Receipts of batches that were
    received before it go, too.
    """
    schema = schema_for(space)
    where = 'WHERE "timestamp" < $before OR received_at < $before'
    events = sum(_delete(writer, f'"{schema}".{table} {where}', {"before": before}) for table in _TABLES)
    quarantined = _sum(
        writer, f'SELECT sum(events) FROM "{schema}".quarantine WHERE received_at < $before', {"before": before}
    )
    for table in ("quarantine", "batches"):
        _delete(writer, f'"{schema}".{table} WHERE received_at < $before', {"before": before})
    writer.execute(_COUNT, [0, events, quarantined, space])
    return events + quarantined


def _erase_quarantined(writer: duckdb.DuckDBPyConnection, schema: str, user_id: str) -> int:
    """Rows of a single event go whole. Of a row that holds several, as they could not be told apart, one's own do."""
    gone = 0
    rows = writer.cursor().execute(f'SELECT rowid, batch_id, received_at, events, body FROM "{schema}".quarantine')
    while page := rows.fetchmany(_PAGE_ROWS):
        for row, batch_id, received_at, events, body in page:
            rest = _others(body, user_id)
            if rest is None:
                continue
            if rest:
                change = f'UPDATE "{schema}".quarantine SET events = ?, body = ? WHERE rowid = ?'
                writer.execute(change, [len(rest), msgspec.json.encode(rest).decode(), row])
            else:
                writer.execute(f'DELETE FROM "{schema}".quarantine WHERE rowid = ?', [row])
            receipts.note_gone(writer, schema, batch_id, received_at, events - len(rest))
            gone += events - len(rest)
    return gone


class _Person(msgspec.Struct):
    user_id: Any = None


def _others(body: str, user_id: str) -> list[msgspec.Raw] | None:
    """What is left of a quarantined text without one person's events; None if none of them is theirs.

    Of a text that cannot be read nothing is left if it has their id in it: it is theirs as far as can be told.
    """
    try:
        if msgspec.json.decode(body, type=_Person).user_id == user_id:
            return []
    except (msgspec.MsgspecError, RecursionError):
        return _others_in_array(body, user_id)
    return None


def _others_in_array(body: str, user_id: str) -> list[msgspec.Raw] | None:
    try:
        people = msgspec.json.decode(body, type=list[_Person])
        events = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return [] if user_id in body else None
    rest = [event for event, person in zip(events, people, strict=True) if person.user_id != user_id]
    return rest if len(rest) < len(events) else None


def _delete(writer: duckdb.DuckDBPyConnection, what: str, parameters: list[str] | dict[str, datetime]) -> int:
    row = writer.execute(f"DELETE FROM {what}", parameters).fetchone()
    return int(row[0]) if row else 0


def _sum(writer: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, datetime]) -> int:
    row = writer.execute(query, parameters).fetchone()
    return int(row[0] or 0) if row else 0
