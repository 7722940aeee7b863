"""What became of batches: a row for each one that clients know by its id, written by the load that takes it in."""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import duckdb

from novamesh.event.record import Record
from novamesh.store.contract import BatchStatus, Receipt
from novamesh.store.units import Fault, Unit


def note(
    writer: duckdb.DuckDBPyConnection, schema: str, taken: Sequence[Unit], faults: Sequence[Fault], stored: int
) -> None:
    """Write the rows of the batches whose units and faults a load takes in, ``stored`` events of them."""
    if not any(unit.record.named for unit in taken) and not faults:
        return
    if not faults and stored == sum(unit.size for unit in taken):
        _note_all_stored(writer, schema)
    else:
        _note_each(writer, schema, taken, faults)


def _note_all_stored(writer: duckdb.DuckDBPyConnection, schema: str) -> None:
    """What is staged says it all: a third of the time for batches of one event, which may be tens of thousands."""
    writer.execute(
        f"""
        INSERT INTO "{schema}".batches
        SELECT (substr(batch_id, 3) || '0000')::UUID, count(*), min(received_at), count(*), 0, 0, 0
        FROM staged WHERE batch_id IS NOT NULL GROUP BY batch_id
        """
    )


def _note_each(writer: duckdb.DuckDBPyConnection, schema: str, taken: Sequence[Unit], faults: Sequence[Fault]) -> None:
    """What is neither stored nor at fault was there before: ``staged`` holds what is left of a batch without it."""
    refused: Counter[int] = Counter()
    for fault in faults:
        refused[id(fault.unit.record)] += fault.unit.size
    units = [*taken, *(fault.unit for fault in faults)]
    records = {id(unit.record): unit.record for unit in units if unit.record.named}
    # Nothing is staged of a space that has nothing but faults, and what is left of another's does not count for it.
    stored = "SELECT batch_id, count(*) AS stored FROM staged GROUP BY batch_id" if taken else "SELECT '', 0"
    writer.execute(
        f"""
        INSERT INTO "{schema}".batches
        SELECT (batch || '0000')::UUID, events, make_timestamp("at"), coalesce(stored, 0),
               events - coalesce(stored, 0) - refused, refused, 0
        FROM (SELECT unnest(?::VARCHAR[]) AS batch, unnest(?::BIGINT[]) AS events, unnest(?::BIGINT[]) AS "at",
                     unnest(?::BIGINT[]) AS refused)
        LEFT JOIN ({stored}) AS kept(batch_id, stored) ON batch_id = 'b_' || batch
        """,
        [*_columns(records.values()), [refused[key] for key in records]],
    )


def note_repeats(writer: duckdb.DuckDBPyConnection, schema: str, repeats: Sequence[Unit]) -> None:
    """Write rows for batches that were seen before by their Idempotency-Key, if there are none: all duplicates."""
    records = {unit.record.batch: unit.record for unit in repeats if unit.record.named}
    if not records:
        return
    writer.execute(
        f"""
        INSERT INTO "{schema}".batches
        SELECT (batch || '0000')::UUID, events, make_timestamp("at"), 0, events, 0, 0
        FROM (SELECT unnest(?::VARCHAR[]) AS batch, unnest(?::BIGINT[]) AS events, unnest(?::BIGINT[]) AS "at")
        WHERE (batch || '0000')::UUID NOT IN (
            SELECT batch FROM "{schema}".batches WHERE batch IN (SELECT (unnest(?::VARCHAR[]) || '0000')::UUID))
        """,
        [*_columns(records.values()), [*records]],
    )


def note_replayed(writer: duckdb.DuckDBPyConnection, schema: str, units: Sequence[Unit]) -> None:
    """These units have left quarantine; those of their events that are staged were stored, the others there before."""
    taken: Counter[tuple[str, int]] = Counter()
    for unit in units:
        if unit.record.named:
            taken[unit.record.batch, unit.record.at] += unit.size
    if not taken:
        return
    writer.execute(
        f"""
        UPDATE "{schema}".batches SET stored = batches.stored + moved.stored, quarantined = quarantined - taken,
               duplicates = duplicates + taken - moved.stored
        FROM (
            SELECT batch, units.received_at, taken, count(staged.id) AS stored
            FROM (SELECT unnest(?::VARCHAR[]) AS batch, make_timestamp(unnest(?::BIGINT[])) AS received_at,
                         unnest(?::BIGINT[]) AS taken) AS units
            LEFT JOIN staged ON staged.batch_id = 'b_' || batch AND staged.received_at = units.received_at
            GROUP BY ALL) AS moved
        WHERE batches.batch = (moved.batch || '0000')::UUID AND batches.received_at = moved.received_at
        """,
        [[batch for batch, _ in taken], [at for _, at in taken], [*taken.values()]],
    )


def note_dropped(writer: duckdb.DuckDBPyConnection, schema: str, table: str, where: str, parameters: list[Any]) -> None:
    """These rows of quarantine are about to be dropped."""
    writer.execute(
        f"""
        UPDATE "{schema}".batches SET quarantined = quarantined - gone.events, dropped = dropped + gone.events
        FROM (SELECT batch_id, received_at, sum(events)::BIGINT AS events FROM {table} WHERE {where} GROUP BY ALL) gone
        WHERE batches.batch = (substr(gone.batch_id, 3) || '0000')::UUID AND batches.received_at = gone.received_at
        """,
        parameters,
    )


def note_gone(
    writer: duckdb.DuckDBPyConnection, schema: str, batch_id: str | None, received_at: datetime, events: int
) -> None:
    """So many events of a batch are taken out of quarantine for good."""
    if batch_id is not None:
        writer.execute(
            f'UPDATE "{schema}".batches SET quarantined = quarantined - $n, dropped = dropped + $n'
            " WHERE batch = (substr($batch, 3) || '0000')::UUID AND received_at = $at",
            {"n": events, "batch": batch_id, "at": received_at},
        )


def read(cursor: duckdb.DuckDBPyConnection, schema: str, batch: str) -> Receipt | None:
    """The receipt of a batch that has left the spool. Raises ``duckdb.Error``."""
    row = cursor.execute(
        "SELECT events, epoch_us(received_at), stored, duplicates, quarantined, dropped"
        f" FROM \"{schema}\".batches WHERE batch = (? || '0000')::UUID"
        " ORDER BY received_at DESC LIMIT 1",  # a key that is used again after the dedup window is a batch of its own
        [batch],
    ).fetchone()
    if row is None:
        return None
    events, received_at, stored, duplicates, quarantined, dropped = row
    status: BatchStatus = "quarantined" if quarantined or dropped else "stored"
    return Receipt(events, status, received_at, stored, duplicates, quarantined, dropped)


def _columns(records: Collection[Record]) -> list[list[Any]]:
    return [[r.batch for r in records], [r.n for r in records], [r.at for r in records]]
