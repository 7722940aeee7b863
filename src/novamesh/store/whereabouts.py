"""Where events are: in the spool, in the database, or refused. For threads that answer edges, beside the loader's."""

import threading
import time
from pathlib import Path

from novamesh.errors import StoreUnavailable
from novamesh.spool.repair import QUARANTINE, REPORT_SUFFIX
from novamesh.spool.search import SearchTooLong, find_record
from novamesh.spool.segment import list_segments, mark_path
from novamesh.store import receipts
from novamesh.store.contract import (
    Awaited,
    BatchStatus,
    Receipt,
    ReceiptAnswer,
    ReceiptRequest,
    WaitAnswer,
    WaitRequest,
    schema_for,
)
from novamesh.store.duckdb import Database
from novamesh.store.loader import Loader

# Some GB of a backlog can be searched in this time, and nobody waits longer for a receipt.
SEARCH_S = 5.0
# Searches under way or waiting: each has one of the threads that answer for the store's health, too.
SEARCHES = 8


class Whereabouts:
    """Answers :class:`ReceiptRequest` and :class:`WaitRequest`. Raises ``duckdb.Error``."""

    def __init__(self, database: Database, loader: Loader, spool: Path) -> None:
        self._database = database
        self._loader = loader
        self._spool = spool
        self._searching = threading.Lock()
        self._room = threading.BoundedSemaphore(SEARCHES)

    def receipt(self, request: ReceiptRequest) -> ReceiptAnswer:
        """What became of a batch. Raises :class:`StoreUnavailable` when the spool is too large to be searched."""
        self._database.ensure_space(request.space)
        found = self._stored(request) or self._in_spool(request)
        # What was loaded between the first look and the search is found now.
        return ReceiptAnswer(found or self._stored(request))

    def _stored(self, request: ReceiptRequest) -> Receipt | None:
        with self._database.cursor() as cursor:
            return receipts.read(cursor, schema_for(request.space), request.batch)

    def _in_spool(self, request: ReceiptRequest) -> Receipt | None:
        """Look through what is not loaded; one search at a time, so that many do not keep the loader waiting."""
        if not self._room.acquire(blocking=False):
            raise _too_long()
        deadline = time.monotonic() + SEARCH_S
        try:
            with self._searching:
                return self._search(self._spool, "queued", request, deadline) or self._search(
                    self._spool / QUARANTINE, "quarantined", request, deadline
                )
        except SearchTooLong:
            raise _too_long() from None
        finally:
            self._room.release()

    def _search(self, directory: Path, status: BatchStatus, request: ReceiptRequest, deadline: float) -> Receipt | None:
        for segment in list_segments(directory) if directory.exists() else []:
            try:
                start = self._loader.position(segment.name).offset
                record = find_record(segment, start, request.space, request.batch, deadline)
            except FileNotFoundError:
                continue  # loaded and deleted meanwhile
            if record is not None:
                return Receipt(record.n, status, record.at)
        return None

    def awaited(self, request: WaitRequest) -> WaitAnswer:
        """Which of the records have left the spool."""
        statuses = [self._status(record) for record in request.records]
        refused = self._refused([r for r, status in zip(request.records, statuses, strict=True) if status == "stored"])
        return WaitAnswer(
            [
                "quarantined" if (record.space, record.batch) in refused else status
                for record, status in zip(request.records, statuses, strict=True)
            ]
        )

    def _status(self, record: Awaited) -> BatchStatus:
        # In this order: the position of a segment that is gone does not change any more.
        segment = self._spool / record.segment
        gone = not segment.exists()
        if self._loader.position(record.segment).offset >= record.end:
            return "stored"
        if not gone:
            return "queued"
        aside = self._spool / QUARANTINE / record.segment
        if aside.exists():
            return "quarantined"
        # Of one that somebody else took away its mark tells, then its report: nobody knows that it is stored.
        missing = mark_path(segment).exists() or aside.with_suffix(REPORT_SUFFIX).exists()
        return "queued" if missing else "stored"

    def _refused(self, records: list[Awaited]) -> set[tuple[str, str]]:
        """Space and batch of those among the records of which the database refused an event."""
        found = set()
        for space in {record.space for record in records}:
            batches = [record.batch for record in records if record.space == space]
            found |= {(space, batch) for batch in self._database.refused(space, batches)}
        return found


def _too_long() -> StoreUnavailable:
    return StoreUnavailable("This batch may still be waiting to be loaded; ask for its receipt again later.")
