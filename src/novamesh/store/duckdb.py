"""The embedded database: opened, locked down, and loaded exactly once.

One process opens it; that process's loader thread is the only writer. Queries run on cursors of
their own and see whole transactions only.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import duckdb

from novamesh.config import Config
from novamesh.errors import NovameshError
from novamesh.spool.reader import Position
from novamesh.store import receipts, upkeep
from novamesh.store.closing import close_idle
from novamesh.store.contract import Counters, ExtentAnswer, project_of, schema_for
from novamesh.store.damage import FILE_NAME
from novamesh.store.dedup import Seen
from novamesh.store.migrations import SPACE, migrate
from novamesh.store.paths import SHAPES, PathBudget, plain_condition
from novamesh.store.recount import read_counters, read_lost
from novamesh.store.units import (
    Arrived,
    Fault,
    Loaded,
    Miscounted,
    Unit,
    arrived,
    body,
    event_id,
    is_array,
    size_of,
    time_of,
    without,
)
from novamesh.store.upkeep import Erased

log = logging.getLogger(__name__)

# What the database says of one event's content. Everything else is about the disk or the machine.
POISON = (
    duckdb.DataError,
    duckdb.ProgrammingError,
    duckdb.IntegrityError,
    duckdb.NotSupportedError,
    Miscounted,
)

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
NOTHING = Arrived()
_COLUMNS = 'id, event, user_id, "timestamp", {0}, {1}, received_at, batch_id'


class Mismatch(NovameshError):
    """A load does not add up. It is undone, and its events stay in the spool."""


class Database:
    """The database file and everything that is done to it. Raises ``duckdb.Error``."""

    def __init__(self, config: Config) -> None:
        self.directory = directory = config.data_path / "store"
        scratch = directory / "tmp"
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._retention_days = config.retention_days
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
        try:
            self._connection.execute("SET GLOBAL TimeZone = 'UTC'")
            migrate(self._connection)
            self._connection.execute("SET GLOBAL enable_external_access = false")
            self._connection.execute("SET GLOBAL lock_configuration = true")
        except BaseException:
            self._connection.close()  # while it is open no other file can take its place
            raise
        self._writer = self._connection.cursor()
        self._seen = Seen(self._writer, timedelta(seconds=config.dedup_window_s))
        self.damage: str | None = None  # set by whoever is told that the file is damaged
        self._spaces_lock = threading.Lock()
        self._spaces: set[str] = set()
        self._budgets: dict[str, PathBudget] = {}
        self.counters: dict[str, Counters] = read_counters(self._writer)
        self.lost = read_lost(self._writer)  # segments of which all that is not loaded was written off

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor for one query, to be used by one thread."""
        return self._connection.cursor()

    @property
    def writer(self) -> duckdb.DuckDBPyConnection:
        """The one cursor that writes, for the loader's thread alone."""
        return self._writer

    def close(self) -> None:
        """Checkpoint and close."""
        close_idle(self._writer, self._connection)

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

    def finish_positions(self, segments: Iterable[str]) -> None:
        """The segments are loaded to their end, and about to be deleted."""
        self._writer.execute(
            "UPDATE novamesh.positions SET finished = true WHERE list_contains(?::VARCHAR[], segment)", [[*segments]]
        )

    def finished_positions(self) -> set[str]:
        """Segments that were loaded to their end."""
        rows = self._writer.execute("SELECT segment FROM novamesh.positions WHERE finished").fetchall()
        return {name for (name,) in rows}

    def forget_positions(self, segments: Iterable[str]) -> None:
        """The segments are deleted: their positions are of no use."""
        self._writer.execute("DELETE FROM novamesh.positions WHERE list_contains(?::VARCHAR[], segment)", [[*segments]])

    def totals(self) -> Loaded:
        """Events loaded since the database was made."""
        spaces = self.counters.values()
        return Loaded(
            sum(one.stored for one in spaces),
            sum(one.duplicates for one in spaces),
            sum(one.quarantined for one in spaces),
        )

    def add_recovered(self, events: dict[str, int]) -> None:
        """Note events, by space, that were accepted though nobody had counted them. For the thread that loads."""
        with self.transaction():
            for space, recovered in events.items():
                self.count(space, Loaded(0, 0, 0), Arrived(0, recovered))

    def events(self) -> int:
        """How many events all spaces have."""
        with self.cursor() as cursor:
            spaces = cursor.execute("SELECT space FROM novamesh.counters").fetchall()
            tables = []
            for (space,) in spaces:
                self.ensure_space(space)
                tables += [
                    f'(SELECT count(*) FROM "{schema_for(space)}".events_{kind})' for kind in ("shredded", "plain")
                ]
            row = cursor.execute(f"SELECT {' + '.join(tables) or '0'}").fetchone()
        return int(row[0]) if row else 0

    def extent(self, space: str) -> ExtentAnswer:
        """Row numbers below those told are those of the events there are now."""
        ends = [
            f'(SELECT coalesce(max(rowid) + 1, 0) FROM "{schema_for(space)}".events_{kind})'
            for kind in ("shredded", "plain")
        ]
        removed = "(SELECT coalesce(sum(erased + expired), 0)::BIGINT FROM novamesh.counters WHERE space = ?)"
        with self.cursor() as cursor:
            row = cursor.execute(f"SELECT {', '.join(ends)}, {removed}", [space]).fetchone()
        return ExtentAnswer(*row) if row else ExtentAnswer(0, 0, 0)

    def load(self, units: list[Unit], positions: dict[str, Position]) -> Loaded:
        """Store the events and the positions behind them, in one transaction.

        What the database refuses goes to ``quarantine``, event by event. Raises ``duckdb.Error``
        when the fault is not in an event; nothing is stored then.
        """
        for space in {unit.record.space for unit in units}:
            self.ensure_space(space)
        try:
            return self._transaction(units, [], positions, arrived(units))
        except POISON as error:
            log.warning("a load was refused, looking for the event at fault", extra={"cause": str(error)})
        faults = self.find_faults(units)
        bad = {id(fault.unit.record): set[int]() for fault in faults}
        for fault in faults:
            bad[id(fault.unit.record)].update(range(fault.unit.first, fault.unit.last + 1))
        good = [part for unit in units for part in without(unit, bad.get(id(unit.record), set()))]
        return self._transaction(good, faults, positions, arrived(units))

    def drop_unloaded(self, events: dict[str, Arrived], segment: str, position: Position) -> None:
        """Count events of a segment, by space, as dropped, and the segment as loaded up to ``position``."""
        with self.transaction():
            for space, sent in events.items():
                self.count(space, Loaded(0, 0, sent.received), sent, dropped=sent.received)
            self._move({segment: position})

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
        self._seen.prune(now)

    def erase(self, space: str, user_id: str) -> Erased:
        """Remove one person's events, for good (see :mod:`novamesh.store.upkeep`)."""
        self.ensure_space(space)
        with self.transaction() as writer:
            return upkeep.erase(writer, space, user_id)

    def retention_days(self) -> dict[str, int]:
        """For how long events are kept, by project; projects that say nothing are left out."""
        with self.cursor() as cursor:
            return dict(cursor.execute("SELECT project, days FROM novamesh.retention ORDER BY project").fetchall())

    def keep_for(self, project: str, days: int | None) -> None:
        """Set a project's retention; None: as the node's setting says, 0: for ever."""
        self._writer.execute("DELETE FROM novamesh.retention WHERE project = ?", [project])
        if days is not None:
            self._writer.execute("INSERT INTO novamesh.retention VALUES (?, ?)", [project, days])

    def expire(self, now: datetime) -> int:
        """Remove the events that are older than their project keeps them. Returns how many."""
        chosen = self.retention_days()
        spaces = [space for (space,) in self._writer.execute("SELECT space FROM novamesh.counters").fetchall()]
        expired = 0
        for space in spaces:
            days = chosen.get(project_of(space), self._retention_days)
            if days:
                self.ensure_space(space)
                with self.transaction() as writer:
                    expired += upkeep.expire(writer, space, now - timedelta(days=days))
        return expired

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """While the block runs nothing writes to the database's files: they can be copied. For the loader's thread."""
        with self._spaces_lock:
            try:
                self._writer.execute("CHECKPOINT")
            except duckdb.TransactionException as error:
                # Somebody is reading what a checkpoint would remove. The log beside the file holds the rest.
                log.info("copied without a checkpoint", extra={"cause": str(error)})
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The writer, in a transaction that is committed at the end of the block, or rolled back. For the loader's
        thread."""
        self._writer.begin()
        try:
            yield self._writer
            counters = read_counters(self._writer)  # now: nothing may fail once it is committed
            self._writer.commit()
        except BaseException:
            self._roll_back()
            raise
        self.counters = counters
        for budget in list(self._budgets.values()):
            budget.commit()

    def _transaction(
        self, units: list[Unit], faults: list[Fault], positions: dict[str, Position], spaces: dict[str, Arrived]
    ) -> Loaded:
        total = Loaded(0, 0, 0)
        with self.transaction():
            for space in sorted(spaces):
                loaded = self._load_space(
                    space,
                    [unit for unit in units if unit.record.space == space],
                    [fault for fault in faults if fault.unit.record.space == space],
                    spaces[space],
                )
                total = total.plus(loaded)
            self._move(positions)
        return total

    def _move(self, positions: dict[str, Position]) -> None:
        if positions:
            self._writer.executemany(
                'INSERT OR REPLACE INTO novamesh.positions (segment, "offset", sequence) VALUES (?, ?, ?)',
                [(name, *position) for name, position in positions.items()],
            )

    def _roll_back(self) -> None:
        for budget in list(self._budgets.values()):
            budget.roll_back()
        try:
            self._writer.rollback()
        except duckdb.Error as error:
            log.debug("nothing to roll back", extra={"cause": str(error)})

    def _load_space(self, space: str, units: list[Unit], faults: list[Fault], sent: Arrived) -> Loaded:
        loaded = Loaded(0, 0, 0)
        # What is at fault may have been sent again, too.
        everything = sorted([*units, *(f.unit for f in faults)], key=lambda u: u.record.at) if faults else units
        for part in self._seen.spans(everything):
            loaded = loaded.plus(self._load_part(space, part, {id(fault.unit): fault for fault in faults}))
        if sum(loaded) != sent.received:
            # Not to be committed: the segments would be deleted.
            raise Mismatch(f"{sent.received} events of {space} were to be loaded, {sum(loaded)} were")
        self.count(space, loaded, sent)
        return loaded

    def _load_part(self, space: str, part: list[Unit], faults: dict[int, Fault]) -> Loaded:
        """Units of one space that repeat each other, if at all, within the window; ``faults`` by the ids of theirs."""
        schema = schema_for(space)
        new = self._seen.drop_batches(schema, part)
        kept = {id(unit) for unit in new} if len(new) < len(part) else set()
        repeats = [unit for unit in part if id(unit) not in kept] if len(new) < len(part) else []
        good = [unit for unit in new if id(unit) not in faults] if faults else new
        bad = [faults[id(unit)] for unit in new if id(unit) in faults] if faults else []
        stored, duplicates = self.insert(space, schema, good) if good else (0, 0)
        self.quarantine(schema, bad)
        receipts.note(self._writer, schema, good, bad, stored)
        receipts.note_repeats(self._writer, schema, repeats)
        return Loaded(stored, duplicates + size_of(repeats), sum(fault.unit.size for fault in bad))

    def count(self, space: str, loaded: Loaded, sent: Arrived = NOTHING, dropped: int = 0) -> None:
        """Add to the counters of a space. For the loader's thread, in a transaction."""
        self._writer.execute(
            "INSERT INTO novamesh.counters (space, stored, duplicates, quarantined, received, recovered, dropped)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (space) DO UPDATE SET"
            " stored = stored + excluded.stored, duplicates = duplicates + excluded.duplicates,"
            " quarantined = quarantined + excluded.quarantined, received = received + excluded.received,"
            " recovered = recovered + excluded.recovered, dropped = dropped + excluded.dropped",
            [space, *loaded, sent.received, sent.recovered, dropped],
        )
        if sent.returned:
            self._writer.execute(
                "UPDATE novamesh.counters SET written_off = greatest(0, written_off - ?) WHERE space = ?",
                [sent.returned, space],
            )

    def insert(self, space: str, schema: str, units: list[Unit]) -> tuple[int, int]:
        """Stage the events and store those that are new. For the loader's thread, in a transaction.

        Returns how many were stored, and how many dropped because their ids were seen.
        """
        self._stage(units)
        dropped = self._seen.drop_events(schema)
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
        return stored, dropped

    def _stage(self, units: list[Unit]) -> None:
        records = [unit.record for unit in units]
        row = self._writer.execute(
            _STAGE,
            [
                [record.batch for record in records],
                [record.named for record in records],
                [record.at for record in records],
                [unit.first for unit in units],
                [unit.bound for unit in units],
                [unit.events for unit in units],
            ],
        ).fetchone()
        expected, found = sum(unit.size for unit in units), int(row[0]) if row else 0
        if found != expected:
            raise Miscounted(f"the record does not hold as many events as it says: {found} instead of {expected}")

    def quarantine(self, schema: str, faults: list[Fault], now: datetime | None = None) -> None:
        """Keep what was refused, as refused ``now``. For the loader's thread, in a transaction."""
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
