"""A store for tests: a real database and loader on a spool in a directory of the test's own."""

import itertools
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from novamesh.config import Config
from novamesh.event.record import Record, decode, encode
from novamesh.spool.files import SYSTEM, Files
from novamesh.spool.segment import list_segments
from novamesh.spool.tally import Tally
from novamesh.spool.writer import SpoolWriter
from novamesh.store.contract import Recount
from novamesh.store.duckdb import Database
from novamesh.store.loader import Loader
from novamesh.store.recount import Places, read_counters, recount
from novamesh.store.units import Loaded
from tests.unit.spool_files import NODE, SEGMENT_BYTES, with_writer, write

NOW = 1_767_225_600_000_000  # 2026-01-01, in µs
HOUR = 3_600_000_000

Event = dict[str, Any]


class Store:
    """What the store process has, without the process. ``die`` is its end, ``start`` a new one."""

    def __init__(self, directory: Path, files: Files = SYSTEM, **settings: Any) -> None:
        self.files = files
        self.config = Config(data_dir=str(directory), query_threads=2, **settings)
        self.spool = directory / "spool"
        self.spool.mkdir(parents=True, exist_ok=True)
        self.places = Places(self.spool, NODE, directory / "ledger")
        self.places.ledger.mkdir(exist_ok=True)
        self.file = directory / "store" / "store.duckdb"
        self._batches = (f"{n:028x}" for n in itertools.count(1))
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.die()

    def start(self) -> None:
        self.database = Database(self.config)
        self.loader = Loader(self.database, *self.places, self.files)

    def die(self) -> None:
        self.loader.close()
        self.database.close()

    def restart(self) -> None:
        self.die()
        self.start()

    def record(self, events: list[Event] | bytes, space: str = "default", at: int = NOW, **header: Any) -> bytes:
        """A record's payload; ``events`` in bytes go in as they are."""
        body = events if isinstance(events, bytes) else canonical(events)
        header = {"n": len(events), "named": True, "batch": next(self._batches), **header}
        return encode(Record(space=space, at=at, **header), body)

    def write(self, *payloads: bytes, segment_bytes: int = SEGMENT_BYTES) -> None:
        write(self.spool, list(payloads), segment_bytes)

    def accept(self, *payloads: bytes, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Write as an edge worker does, which counts what it has written."""
        tally = Tally(self.places.ledger, self.spool)

        async def use(writer: SpoolWriter) -> None:
            for payload in payloads:
                record, _ = decode(payload)
                await writer.append(payload, record.space, record.n)

        with_writer(self.spool, use, segment_bytes, tally=tally)
        tally.close()

    def recount(self) -> dict[str, Recount]:
        with self.database.cursor() as cursor:
            return recount(cursor, self.places)

    def send(self, events: list[Event] | bytes, space: str = "default", at: int = NOW, **header: Any) -> None:
        """One record in a segment of its own."""
        self.write(self.record(events, space, at, **header))

    def load(self) -> None:
        """Step until nothing is left."""
        while self.loader.step():
            pass

    def take(self, events: list[Event] | bytes, space: str = "default", at: int = NOW, **header: Any) -> None:
        """Send and load."""
        self.send(events, space, at, **header)
        self.load()

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.database.cursor() as cursor:
            return cursor.execute(sql, parameters).fetchall()

    def names(self, schema: str = "p_default", table: str = "events") -> list[str]:
        """The names of all events, sorted."""
        return [name for (name,) in self.rows(f'SELECT event FROM "{schema}".{table} ORDER BY event')]

    def values(self, table: str = "events", column: str = "properties") -> dict[str, Any]:
        """A column's values by event name."""
        rows = self.rows(f"SELECT event, to_json({column})::VARCHAR FROM p_default.{table}")
        return {event: None if text is None else json.loads(text) for event, text in rows}

    def totals(self) -> Loaded:
        """Stored, duplicates, quarantined: as is shown, which is what the tables say."""
        with self.database.cursor() as cursor:
            assert self.database.counters == read_counters(cursor)
        return self.database.totals()

    def segments(self) -> int:
        return len(list_segments(self.spool))

    def positions(self) -> int:
        return len(self.rows("FROM novamesh.positions"))


def make_older(database: Path, version: int) -> None:
    """Of a closed database: bring it back to an older schema, 2 or 4, as the release of that time left it."""
    with duckdb.connect(database) as connection:
        for (schema,) in connection.execute(
            "SELECT schema_name FROM duckdb_tables() WHERE table_name = 'seen'"
        ).fetchall():
            for column in ("id", "project"):
                connection.execute(f'ALTER TABLE "{schema}".quarantine DROP COLUMN {column}')
            connection.execute(f'DROP TABLE "{schema}".batches')
        connection.execute("DROP TABLE novamesh.write_offs")
        connection.execute("DROP TABLE novamesh.lost_segments")
        connection.execute("ALTER TABLE novamesh.counters DROP COLUMN written_off")
        if version < 4:
            for column in ("received", "recovered", "erased", "expired", "dropped"):
                connection.execute(f"ALTER TABLE novamesh.counters DROP COLUMN {column}")
            connection.execute("ALTER TABLE novamesh.positions DROP COLUMN finished")
            connection.execute("DROP TABLE novamesh.retention")
        connection.execute("DELETE FROM novamesh.migrations WHERE version > ?", [version])


def canonical(events: list[Event]) -> bytes:
    """Events as the edge writes them: JSON without white space."""
    return json.dumps(events, separators=(",", ":"), ensure_ascii=False).encode()


def named(*names: str) -> list[Event]:
    """Events that have nothing but a name."""
    return [{"event": name} for name in names]
