"""An export: a file for each day (UTC, by ``timestamp``), named when it is whole, and a list of what is there.

``.novamesh-export.json`` in the directory says which days are done, with how many events and bytes. A day is written
again if the node has another number of events for it by now, if its file is not as the list says, and if it is today.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import msgspec

from novamesh.client import Client, ClientError, Incomplete
from novamesh.errors import NovameshError, by_code
from novamesh.transfer.zstd import ZstdFile

FORMATS = ("parquet", "ndjson", "ndjson.zst")
LIST_NAME = ".novamesh-export.json"
MAX_DAYS = 50_000  # rows of a query
WAITS_S = (0.5, 1.0, 2.0, 4.0)  # before a day that was cut is tried again
# What events are made of again. The node adds the rest, and whoever imports them gets a new one.
NDJSON_COLUMNS = "id, event, user_id, timestamp, properties, context"
PARQUET_COLUMNS = f"{NDJSON_COLUMNS}, received_at, batch_id"


class ExportError(NovameshError):
    """An export cannot be made or gone on with. The message says why and what to do."""


class Day(NamedTuple):
    """One day's events at the node."""

    date: date
    events: int


class Written(msgspec.Struct, frozen=True):
    """A day's file: its events and bytes."""

    events: int
    bytes: int


class Listing(msgspec.Struct):
    """What the list in a directory holds. ``days`` by their file's name."""

    format: str
    where: str
    days: dict[str, Written] = {}


class Export:
    """An export to a directory. Making one reads its list. Raises :class:`ExportError`."""

    def __init__(self, client: Client, directory: Path, format: str, where: str = "") -> None:
        self._client = client
        self._directory = directory
        self._where = where
        self._format = format
        self._path = directory / LIST_NAME
        self.listing = self._read_list()

    def days(self, first: date | None, last: date | None) -> list[Day]:
        """Which days there are, from ``first`` to ``last``, both included. Raises :class:`ClientError`."""
        bounds = [f"timestamp >= TIMESTAMP '{first} 00:00:00'"] if first else []
        bounds += _before_the_end(last) if last else []
        result = self._client.query(
            f"SELECT timestamp::DATE AS day, count(*) AS events FROM events{self._condition(bounds)}"
            " GROUP BY day ORDER BY day",
            limit=MAX_DAYS,
        )
        if result.truncated:
            raise ExportError(f"there are events of more than {MAX_DAYS:,} days; give --from and --to")
        return [Day(date.fromisoformat(day), events) for day, events in result.rows]

    def is_whole(self, day: Day) -> bool:
        """Whether the file of a day that is over holds all that the node has of it."""
        name = self._name(day.date)
        written = self.listing.days.get(name)
        path = self._directory / name
        if written is None or day.date >= datetime.now(UTC).date() or not path.exists():
            return False
        return written == Written(day.events, path.stat().st_size)

    def write(self, day: Day, shown: Callable[[], None]) -> Written:
        """Write one day's file; ``shown`` is called as they come. What was cut is tried again from its start.

        Raises :class:`ClientError` and :class:`ExportError`.
        """
        path = self._directory / self._name(day.date)
        # Of this export alone: another one may write the same day.
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            written = Written(self._fetch_patiently(day.date, draft, shown), draft.stat().st_size)
            draft.replace(path)
            self._note(path.name, written)
        except OSError as error:
            raise ExportError(f"cannot write {path}: {error.strerror or error}") from None
        finally:
            draft.unlink(missing_ok=True)
        return written

    def _fetch_patiently(self, day: date, path: Path, shown: Callable[[], None]) -> int:
        for wait_s in WAITS_S:
            try:
                return self._fetch(day, path, shown)
            except ClientError as error:
                if not (error.passing or isinstance(error, Incomplete)):
                    raise
            time.sleep(wait_s)
        return self._fetch(day, path, shown)

    def _fetch(self, day: date, path: Path, shown: Callable[[], None]) -> int:
        columns = PARQUET_COLUMNS if self._format == "parquet" else NDJSON_COLUMNS
        bounds = [f"timestamp >= TIMESTAMP '{day} 00:00:00'", *_before_the_end(day)]
        sql = f"SELECT {columns} FROM events{self._condition(bounds)}"
        with self._client.export(sql, format=self._format.partition(".")[0]) as parts, path.open("wb") as file:
            if self._format == "parquet":
                events = _copy_parquet(parts, file, path, shown)
            else:
                events = _copy_lines(parts, file, self._format.endswith(".zst"), shown)
            file.flush()
            os.fsync(file.fileno())
        return events

    def _condition(self, bounds: list[str]) -> str:
        # A comment at the end of what was given must not take the parenthesis with it.
        conditions = bounds + ([f"({self._where}\n)"] if self._where else [])
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    def _name(self, day: date) -> str:
        return f"{day}.{self._format}"

    def _read_list(self) -> Listing:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Listing)
        except FileNotFoundError:
            return Listing(self._format, self._where)
        except (OSError, msgspec.MsgspecError) as error:
            raise ExportError(f"{self._path} cannot be read ({error}); remove it to export all days again") from None
        if (found.format, found.where) != (self._format, self._where):
            condition = f"--where {found.where!r}" if found.where else "without --where"
            raise ExportError(
                f"{self._directory} holds an export of other events (--format {found.format}, {condition}); give the"
                " same, or another directory"
            )
        return found

    def _note(self, name: str, written: Written) -> None:
        self.listing.days[name] = written
        draft = self._path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(self.listing), indent=1))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)


def _before_the_end(day: date) -> list[str]:
    """The condition for times up to the end of a day; none follows the last that there is."""
    return [] if day == date.max else [f"timestamp < TIMESTAMP '{day + timedelta(days=1)} 00:00:00'"]


def _copy_parquet(parts: Iterator[bytes], file: IO[bytes], path: Path, shown: Callable[[], None]) -> int:
    """The number of rows, of the footer: a file that was cut has none."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    for part in parts:
        file.write(part)
        shown()
    file.flush()
    try:
        return int(parquet.ParquetFile(path).metadata.num_rows)
    except (arrow.ArrowException, OSError):
        raise Incomplete("the answer was cut off; what came is not whole") from None


class _Sink(Protocol):
    def write(self, data: bytes, /) -> Any: ...


def _copy_lines(parts: Iterator[bytes], file: IO[bytes], compress: bool, shown: Callable[[], None]) -> int:
    """The number of lines without the last one, which says whether the answer is whole."""
    if not compress:
        return _copy_rows(parts, file, shown)
    with ZstdFile(file, "wb") as sink:
        return _copy_rows(parts, sink, shown)


def _copy_rows(parts: Iterator[bytes], sink: _Sink, shown: Callable[[], None]) -> int:
    rows, held = 0, b""
    for part in parts:
        data = held + part
        # The last line is held back until another one follows.
        cut = data.rfind(b"\n", 0, max(0, len(data) - 1)) + 1
        sink.write(data[:cut])
        rows += data.count(b"\n", 0, cut)
        held = data[cut:]
        shown()
    try:
        end = msgspec.json.decode(held, type=dict[str, Any])
    except msgspec.MsgspecError:
        end = {}
    if "meta" in end:
        return rows
    told = f"the export failed midway: {end.get('message', 'its answer is not whole')}"
    kind = by_code().get(str(end.get("error")))
    # The next attempt would take as long to fail for the same reason.
    raise ExportError(told) if kind is not None and kind.status < 500 else Incomplete(told)
