"""The embedded database: opened, locked down, and loaded exactly once.

One process opens it; that process's loader thread is the only writer. Queries run on cursors of
their own and see whole transactions only.
"""

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import duckdb

from novamesh.config import Config
from novamesh.spool.reader import Position
from novamesh.spool.segment import sync_directory
from novamesh.store import receipts
from novamesh.store.contract import project_of, schema_for
from novamesh.store.dedup import Seen
from novamesh.store.migrations import SPACE, migrate
from novamesh.store.paths import SHAPES, PathBudget, plain_condition
from novamesh.store.units import Fault, Loaded, Unit, body, event_id, is_array, time_of, without

log = logging.getLogger(__name__)

FILE_NAME = "store.duckdb"

# What the database says of one event's content. Everything else is about the disk or the machine.
POISON = (duckdb.DataError, duckdb.ProgrammingError, duckdb.IntegrityError, duckdb.NotSupportedError)

_EVENTS = (
    '[{"event":"VARCHAR","user_id":"VARCHAR","timestamp":"VARCHAR","id":"VARCHAR",'
    '"properties":"JSON","context":"JSON"}]'
)
# The edge writes timestamps in UTC, so the plain cast (which ignores offsets) is right.
_STAGE = f"""
CREATE OR REPLACE TEMP TABLE staged AS
SELECT (batch || lpad(to_hex(n), 4, '0'))::UUID AS id,
       e.event AS event, e.user_id AS user_id, coalesce(e.timestamp::TIMESTAMP, received_at) AS "timestamp",
       e.properties AS properties, e.context AS context, received_at,
       CASE WHEN named THEN 'b_' || batch END AS batch_id, e.id AS client_id, {SHAPES}
FROM (
    SELECT batch, named, first, last, make_timestamp("at") AS received_at,
           unnest(range(len(list))) AS n, unnest(list) AS e
    FROM (
        SELECT * EXCLUDE (body), from_json(body, '{_EVENTS}') AS list
        FROM (SELECT unnest(?::VARCHAR[]) AS batch, unnest(?::BOOLEAN[]) AS named, unnest(?::BIGINT[]) AS "at",
                     unnest(?::BIGINT[]) AS first, unnest(?::BIGINT[]) AS last, unnest(?::VARCHAR[]) AS body)))
WHERE n BETWEEN first AND last
"""
_COLUMNS = 'id, event, user_id, "timestamp", {0}, {1}, received_at, batch_id'


class Database:
    """The database file and everything that is done to it. Raises ``duckdb.Error``."""

    def __init__(self, config: Config) -> None:
        self._directory = directory = config.data_path / "store"
        scratch = directory / "tmp"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._max_paths = config.max_shredded_paths
        self._connection = duckdb.connect(
            directory / FILE_NAME,
            config={
                "threads": config.query_threads or os.cpu_count() or 1,
                "memory_limit": f"{config.query_memory_limit_bytes}B",
                "temp_directory": str(scratch),
                "max_temp_directory_size": f"{4 * config.query_memory_limit_bytes}B",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                # Without them, memory that a large query has used stays with the process for good.
                "allocator_background_threads": True,
            },
        )
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
        migrate(self._connection)
        self._connection.execute("SET GLOBAL enable_external_access = false")
        self._connection.execute("SET GLOBAL lock_configuration = true")
        self._writer = self._connection.cursor()
        self._seen = Seen(self._writer, timedelta(seconds=config.dedup_window_s))
        self._spaces_lock = threading.Lock()
        self._spaces: set[str] = set()
        self._budgets: dict[str, PathBudget] = {}

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor for one query, to be used by one thread."""
        return self._connection.cursor()

    @property
    def writer(self) -> duckdb.DuckDBPyConnection:
        """The one cursor that writes, for the loader's thread alone."""
        return self._writer

    def close(self) -> None:
        """Checkpoint and close."""
        self._writer.close()
        self._connection.close()

    def ensure_space(self, space: str) -> None:
        """Make the tables of a space, if they are not there."""
        if space in self._spaces:
            return
        with self._spaces_lock, self._connection.cursor() as cursor:
            if space in self._spaces:  # another thread was first, and may be using what it made
                return
            cursor.execute(SPACE.format(schema=schema_for(space)))
            rows = cursor.execute("SELECT path, types FROM novamesh.paths WHERE space = ?", [space]).fetchall()
            known = {path: frozenset(types.split(",")) - {""} if types is not None else None for path, types in rows}
            plain = cursor.execute(f'FROM "{schema_for(space)}".events_plain SELECT 1 LIMIT 1').fetchone()
            self._budgets[space] = PathBudget(known, self._max_paths, shredded_only=plain is None)
            self._spaces.add(space)

    def path_types(self, space: str) -> tuple[dict[str, str], bool]:
        """Of which JSON types the values of each path have been, for the paths of which that is known; and whether no
        event is kept as JSON."""
        self.ensure_space(space)
        budget = self._budgets[space]
        return budget.all_types(), budget.shredded_only

    def holds(self, space: str, relied: dict[str, str], *, shredded_only: bool = False) -> bool:
        """Whether these are the types of these paths, and no event is kept as JSON if that is asked.

        For the events a cursor sees if it has its snapshot already.
        """
        budget = self._budgets[space]
        if shredded_only and not budget.shredded_only:
            return False
        return all(budget.types(path) == types for path, types in relied.items())

    def positions(self) -> dict[str, Position]:
        """How far each segment is loaded, by file name."""
        rows = self._writer.execute('SELECT segment, "offset", sequence FROM novamesh.positions').fetchall()
        return {segment: Position(offset, sequence) for segment, offset, sequence in rows}

    def forget_positions(self, segments: Iterable[str]) -> None:
        """The segments are deleted: their positions are of no use."""
        self._writer.execute("DELETE FROM novamesh.positions WHERE list_contains(?::VARCHAR[], segment)", [[*segments]])

    def sync_directory(self) -> None:
        """Make the files themselves durable: the database syncs only what is in them."""
        sync_directory(self._directory)

    def drop_unloaded(self, events: dict[str, int], segment: str, position: Position) -> None:
        """Count events of a segment, by space, as dropped, and the segment as loaded up to ``position``."""
        with self.transaction():
            for space, dropped in events.items():
                self.count(space, Loaded(0, 0, 0), dropped)
            self._move({segment: position})

    def totals(self) -> Loaded:
        """Events loaded since the database was made."""
        with self._connection.cursor() as cursor:
            row = cursor.execute(
                "SELECT coalesce(sum(stored), 0)::BIGINT, coalesce(sum(duplicates), 0)::BIGINT,"
                " coalesce(sum(quarantined), 0)::BIGINT FROM novamesh.counters"
            ).fetchone()
        return Loaded(*row) if row else Loaded(0, 0, 0)

    def extent(self, space: str) -> tuple[int, int]:
        """How many rows the tables of a space have: row numbers below are those of the events there are now."""
        with self.cursor() as cursor:
            counts = [f'(SELECT count(*) FROM "{schema_for(space)}".events_{kind})' for kind in ("shredded", "plain")]
            row = cursor.execute(f"SELECT {', '.join(counts)}").fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def load(self, units: list[Unit], positions: dict[str, Position]) -> Loaded:
        """Store the events and the positions behind them, in one transaction.

        What the database refuses goes to ``quarantine``, event by event. Raises ``duckdb.Error``
        when the fault is not in an event; nothing is stored then.
        """
        for space in {unit.record.space for unit in units}:
            self.ensure_space(space)
        try:
            return self._transaction(units, [], positions)
        except POISON as error:
            log.warning("a load was refused, looking for the event at fault", extra={"cause": str(error)})
        faults = self.find_faults(units)
        bad = {id(fault.unit.record): set[int]() for fault in faults}
        for fault in faults:
            bad[id(fault.unit.record)].update(range(fault.unit.first, fault.unit.last + 1))
        good = [part for unit in units for part in without(unit, bad.get(id(unit.record), set()))]
        return self._transaction(good, faults, positions)

    def refused(self, space: str, batches: list[str]) -> set[str]:
        """Those of the batches of which an event is in quarantine. For any thread."""
        self.ensure_space(space)
        with self.cursor() as cursor:
            rows = cursor.execute(
                "SELECT DISTINCT batch FROM (SELECT replace(id::VARCHAR, '-', '')[:28] AS batch"
                f' FROM "{schema_for(space)}".quarantine) WHERE batch IN (SELECT unnest(?::VARCHAR[]))',
                [batches],
            ).fetchall()
        return {batch for (batch,) in rows}

    def prune_seen(self, now: datetime) -> None:
        """Forget the ids whose window is over."""
        self._seen.prune([schema_for(space) for space in list(self._spaces)], now)

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The writer, in a transaction that is committed at the end of the block, or rolled back. For the writer's
        thread."""
        self._writer.begin()
        try:
            yield self._writer
            self._writer.commit()
        except BaseException:
            self._roll_back()
            raise
        for budget in list(self._budgets.values()):
            budget.commit()

    def _transaction(self, units: list[Unit], faults: list[Fault], positions: dict[str, Position]) -> Loaded:
        total = Loaded(0, 0, 0)
        with self.transaction():
            for space in sorted({unit.record.space for unit in units + [fault.unit for fault in faults]}):
                loaded = self._load_space(
                    space,
                    [unit for unit in units if unit.record.space == space],
                    [fault for fault in faults if fault.unit.record.space == space],
                )
                total = Loaded(*(a + b for a, b in zip(total, loaded, strict=True)))
            self._move(positions)
        return total

    def _move(self, positions: dict[str, Position]) -> None:
        if positions:
            self._writer.executemany(
                "INSERT OR REPLACE INTO novamesh.positions VALUES (?, ?, ?)",
                [(name, *position) for name, position in positions.items()],
            )

    def _roll_back(self) -> None:
        for budget in list(self._budgets.values()):
            budget.roll_back()
        try:
            self._writer.rollback()
        except duckdb.Error as error:
            log.debug("nothing to roll back", extra={"cause": str(error)})

    def _load_space(self, space: str, units: list[Unit], faults: list[Fault]) -> Loaded:
        schema = schema_for(space)
        sent = [*units, *(fault.unit for fault in faults)]
        # What is at fault was sent again, too.
        kept = self._seen.drop_batches(schema, sorted(sent, key=lambda u: u.record.at) if faults else sent)
        repeats: list[Unit] = []
        if len(kept) < len(sent):
            left = {id(unit) for unit in kept}
            repeats = [unit for unit in sent if id(unit) not in left]
            units = [unit for unit in units if id(unit) in left]
            faults = [fault for fault in faults if id(fault.unit) in left]
        stored = self.insert(space, schema, units) if units else 0
        quarantined = sum(fault.unit.size for fault in faults)
        self.quarantine(schema, faults)
        receipts.note(self._writer, schema, units, faults, stored)
        receipts.note_repeats(self._writer, schema, repeats)
        loaded = Loaded(stored, sum(unit.size for unit in sent) - stored - quarantined, quarantined)
        self.count(space, loaded)
        return loaded

    def count(self, space: str, loaded: Loaded, dropped: int = 0) -> None:
        """Add to the counters of a space. For the writer, in a transaction."""
        self._writer.execute(
            "INSERT INTO novamesh.counters (space, stored, duplicates, quarantined, dropped) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (space) DO UPDATE SET"
            " stored = stored + excluded.stored, duplicates = duplicates + excluded.duplicates,"
            " quarantined = quarantined + excluded.quarantined, dropped = dropped + excluded.dropped",
            [space, *loaded, dropped],
        )

    def insert(self, space: str, schema: str, units: list[Unit]) -> int:
        """Stage the events and store those that are new. Returns their number. For the writer, in a transaction."""
        self._stage(units)
        self._seen.drop_events(schema)
        budget = self._budgets[space]
        plain = plain_condition(self._writer, "staged", budget)
        if changed := budget.changed:
            self._writer.execute(
                "DELETE FROM novamesh.paths WHERE space = ? AND list_contains(?::VARCHAR[], path)", [space, [*changed]]
            )
            self._writer.executemany(
                "INSERT INTO novamesh.paths VALUES (?, ?, ?)", [(space, *change) for change in changed.items()]
            )
        if plain is not None:
            budget.keep_plain()
        condition, parameters = plain or ("false", [])
        stored = 0
        shredded = _COLUMNS.format("properties::VARIANT", "context::VARIANT")
        for table, columns, where in (
            ("events_shredded", shredded, f"NOT ({condition})"),
            ("events_plain", _COLUMNS.format("properties", "context"), condition),
        ):
            if where == "false":
                continue
            # A condition on a JSON column that is NULL is NULL, and such a row has no paths.
            where = f"coalesce({where}, {table == 'events_shredded'})"
            row = self._writer.execute(
                f'INSERT INTO "{schema}".{table} SELECT {columns} FROM staged WHERE {where}', parameters
            ).fetchone()
            stored += int(row[0]) if row else 0
        return stored

    def _stage(self, units: list[Unit]) -> None:
        records = [unit.record for unit in units]
        self._writer.execute(
            _STAGE,
            [
                [record.batch for record in records],
                [record.named for record in records],
                [record.at for record in records],
                [unit.first for unit in units],
                [unit.last for unit in units],
                [unit.events for unit in units],
            ],
        )

    def quarantine(self, schema: str, faults: list[Fault], now: datetime | None = None) -> None:
        """Keep what was refused, as refused ``now``. For the writer, in a transaction."""
        now = now or datetime.now(UTC).replace(tzinfo=None)
        rows = []
        for unit, reason in faults:
            record, first = unit.record, unit.first
            ids = event_id(record.batch, first), project_of(record.space)
            rows.append((time_of(record.at), record.batch_id, first, unit.size, reason, body(unit), now, *ids))
        if rows:
            self._writer.executemany(f'INSERT INTO "{schema}".quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)', rows)

    def find_faults(self, units: list[Unit]) -> list[Fault]:
        """The units the database refuses, each as small as can be told apart."""
        reason = self._try(units)
        if reason is None:
            return []
        if len(units) > 1:
            middle = len(units) // 2
            return self.find_faults(units[:middle]) + self.find_faults(units[middle:])
        unit = units[0]
        if unit.size == 1 or not is_array(unit):
            return [Fault(unit, reason)]
        middle = (unit.first + unit.last) // 2
        return self.find_faults([unit._replace(last=middle)]) + self.find_faults([unit._replace(first=middle + 1)])

    def _try(self, units: list[Unit]) -> str | None:
        """Why the database refuses these units, or None; nothing is stored."""
        self._writer.begin()
        try:
            for space in {unit.record.space for unit in units}:
                self.insert(space, schema_for(space), [u for u in units if u.record.space == space])
        except POISON as error:
            return str(error).splitlines()[0]
        finally:
            self._roll_back()
        return None
