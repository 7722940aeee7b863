"""What an operator asks of a running store: to erase a person, to keep events for so long, to hold still for a copy."""

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from novamesh.datadir import DataDirectory
from novamesh.spool.segment import close_request, has_writer, list_segments
from novamesh.store.contract import (
    EraseAnswer,
    EraseRequest,
    HoldAnswer,
    RetentionAnswer,
    RetentionRequest,
)
from novamesh.store.duckdb import Database
from novamesh.store.loader import Loader
from novamesh.store.queries import Answers

log = logging.getLogger(__name__)

# Long enough for what is in the spool to be loaded on a node that keeps up with what comes in.
DRAIN_S = 30.0
DRAIN_POLL_S = 0.05
# A copy that takes longer has stopped; meanwhile the spool grows.
HOLD_LIMIT_S = 3600.0
HOLD_POLL_MS = 100


class Admin:
    """Answers requests that change the database, or its being written to, on the loader's thread."""

    def __init__(
        self,
        database: Database,
        loader: Loader,
        directory: DataDirectory,
        otherwise_days: int,
        stopping: threading.Event,
    ) -> None:
        self._database = database
        self._loader = loader
        self._directory = directory
        self._otherwise_days = otherwise_days
        self._stopping = stopping

    def answers(self) -> Answers:
        """What answers which request; a HoldRequest, which keeps its connection, is for :meth:`hold`."""
        return {EraseRequest: self._erase, RetentionRequest: self._retention}

    def _erase(self, request: EraseRequest) -> EraseAnswer:
        """Load what is in the spool, then remove the person. Segments that are loaded are deleted on the way."""
        complete = self._drain()
        erased = self._loader.tasks.call(lambda: self._database.erase(request.space, request.user_id))
        log.info("a person's events were erased", extra={"space": request.space, "events": sum(erased)})
        return EraseAnswer(erased.events, erased.quarantined, complete)

    def _retention(self, request: RetentionRequest) -> RetentionAnswer:
        """How long events are kept; changed first, if that is asked."""
        project, expired = request.project, 0
        if project is not None:
            self._loader.tasks.call(lambda: self._database.keep_for(project, request.days))
            expired = self._loader.tasks.call(self._loader.expire)
        return RetentionAnswer(self._database.retention_days(), self._otherwise_days, expired)

    def hold(self, client: socket.socket, tell: Callable[[HoldAnswer], None]) -> None:
        """Keep the loader from writing until the client hangs up."""
        self._loader.tasks.call(lambda: self._hold(client, tell))

    def _hold(self, client: socket.socket, tell: Callable[[HoldAnswer], None]) -> None:
        events = self._database.events()
        with self._database.at_rest():
            tell(HoldAnswer(events))
            end = time.monotonic() + HOLD_LIMIT_S
            hung_up = select.poll()
            hung_up.register(client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
            while not hung_up.poll(HOLD_POLL_MS) and not self._stopping.is_set():
                if time.monotonic() > end:
                    log.error("a copy took too long, loading goes on without it")
                    return

    def _ask_to_close(self, segment: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # loaded and deleted by now
            if has_writer(segment):
                close_request(segment).touch()

    def _drain(self) -> bool:
        """Wait until no segment of now is left in the spool. Returns whether that came."""
        segments = {path.name for path in list_segments(self._directory.spool)}
        for name in segments:
            self._ask_to_close(self._directory.spool / name)
        end = time.monotonic() + DRAIN_S
        while segments & {path.name for path in list_segments(self._directory.spool)}:
            if time.monotonic() > end:
                return False
            time.sleep(DRAIN_POLL_S)
        return True
