"""The ledger, counted anew: what the writers counted against what is in the spool's files and the database's tables."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import duckdb

from novamesh.spool import tally
from novamesh.spool.reader import Position
from novamesh.spool.repair import QUARANTINE
from novamesh.spool.segment import has_writer, list_segments
from novamesh.spool.tally import Counted
from novamesh.spool.walk import Waiting, count_waiting
from novamesh.store.contract import Counters, Recount, schema_for, space_for

_COUNTERS = "space, received, stored, duplicates, quarantined, recovered, erased, expired, dropped, written_off"
# By the version of the schema that was the first to have them; the last has them all.
_OLD_COUNTERS = {
    0: """space, stored + duplicates + quarantined, stored, duplicates, quarantined,
    stored + duplicates + quarantined, 0, 0, 0, 0""",
    4: "space, received, stored, duplicates, quarantined, recovered, erased, expired, dropped, 0",
}
WRITE_OFFS_VERSION = 5


class Places(NamedTuple):
    """Where the spool is, the node it belongs to, and where the writers' counts are."""

    spool: Path
    node_id: bytes
    ledger: Path


class _Tables(NamedTuple):
    """What the database says at one moment; ``rows`` are those of the events and of the quarantine, by space."""

    counters: dict[str, Counters]
    positions: dict[str, Position]
    lost: frozenset[str]
    rows: dict[str, tuple[int, int]]


def read_counters(connection: duckdb.DuckDBPyConnection, columns: str = _COUNTERS) -> dict[str, Counters]:
    """The counters of all spaces. Raises ``duckdb.Error``."""
    rows = connection.execute(f"SELECT {columns} FROM novamesh.counters").fetchall()
    return {space: Counters(*counts) for space, *counts in rows}


def read_lost(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The segments of which all that was not loaded was written off. Raises ``duckdb.Error``."""
    return frozenset(name for (name,) in connection.execute("SELECT segment FROM novamesh.lost_segments").fetchall())


def version_of(connection: duckdb.DuckDBPyConnection) -> int:
    """The version of the schema. Raises ``duckdb.Error``."""
    row = connection.execute("SELECT max(version) FROM novamesh.migrations").fetchone()
    return int(row[0] or 0) if row else 0


def recount(connection: duckdb.DuckDBPyConnection | None, places: Places) -> dict[str, Recount]:
    """Every space, counted anew. While it runs, nothing may delete segments; events may come in and be loaded.

    Without a ``connection`` there is no database. Raises ``duckdb.Error`` and OSError.
    """
    # In this order: what is loaded by the first moment was counted by the third, and what had no writer at the second
    # has a final count at the third. So the frames between the position and the counted offset are those that the
    # counts have and the counters have not.
    tables = _read_tables(connection) if connection is not None else _Tables({}, {}, frozenset(), {})
    live = _list(places.spool)
    counted = tally.read(places.ledger)
    # Of those that are new since, the counts have what lies before the offset they name, as of any with a writer.
    live = dict.fromkeys(_list(places.spool), True) | live
    waiting, damaged, uncounted, returning = (Counter[str]() for _ in range(4))
    for name, is_live in live.items():
        path, found = _count(places, name, is_live, tables.positions.get(name, Position()), counted)
        uncounted += found.uncounted
        returning += found.whole + found.behind - found.uncounted if name in tables.lost else Counter()
        damaged += found.behind
        if path.parent.name == QUARANTINE:
            damaged += found.whole
        else:
            waiting += found.whole
    spaces = {*tables.counters, *tables.rows, *counted.counts, *waiting, *damaged}
    result = {}
    for space in sorted(spaces):
        counters = tables.counters.get(space, Counters())
        rows, quarantine_rows = tables.rows.get(space, (0, 0))
        accepted = counted.counts.get(space, 0) + counters.recovered + uncounted[space]
        result[space] = Recount(
            accepted, waiting[space], damaged[space], rows, quarantine_rows, counters, returning[space]
        )
    return result


def _list(spool: Path) -> dict[str, bool]:
    """All segments, also those set aside, and whether each has a writer. One set aside meanwhile is in both places."""
    live = {path.name: _is_live(path) for path in list_segments(spool)}
    aside = spool / QUARANTINE
    return live | {path.name: False for path in (list_segments(aside) if aside.exists() else [])}


def _is_live(path: Path) -> bool:
    try:
        return has_writer(path)
    except FileNotFoundError:
        return False  # it was set aside since


def _count(places: Places, name: str, is_live: bool, position: Position, counted: Counted) -> tuple[Path, Waiting]:
    """Where a segment is now, and what waits in it."""
    offset = counted.segments.get(name, 0)
    limit = offset if is_live else None
    for directory in (places.spool, places.spool / QUARANTINE):
        path = directory / name
        try:
            return path, count_waiting(
                path, places.node_id, position, limit, offset, damaged=directory.name == QUARANTINE
            )
        except FileNotFoundError:
            continue
    raise FileNotFoundError(f"the segment {name} was removed while it was counted")


def _read_tables(connection: duckdb.DuckDBPyConnection) -> _Tables:
    connection.begin()
    try:
        positions = connection.execute('SELECT segment, "offset", sequence FROM novamesh.positions').fetchall()
        tables = connection.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
        schemas = {schema for schema, table in tables if table == "quarantine"}
        version = version_of(connection)
        knows = version >= WRITE_OFFS_VERSION
        columns = _COUNTERS if knows else _OLD_COUNTERS[max(first for first in _OLD_COUNTERS if first <= version)]
        return _Tables(
            read_counters(connection, columns),
            {segment: Position(offset, sequence) for segment, offset, sequence in positions},
            read_lost(connection) if knows else frozenset(),
            {space: _rows(connection, space) for schema in schemas if (space := space_for(schema)) is not None},
        )
    finally:
        connection.rollback()


def _rows(connection: duckdb.DuckDBPyConnection, space: str) -> tuple[int, int]:
    schema = schema_for(space)
    row = connection.execute(
        f'SELECT (SELECT count(*) FROM "{schema}".events_shredded) + (SELECT count(*) FROM "{schema}".events_plain),'
        f' (SELECT coalesce(sum(events), 0)::BIGINT FROM "{schema}".quarantine)'
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
