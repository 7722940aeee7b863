"""One edge worker's state: its spool writer, keys, metrics, and what it knows of the store."""

import asyncio
import logging
import multiprocessing
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.descriptors import connections
from novamesh.edge import client
from novamesh.edge.auth import REFRESH_S, Keyring
from novamesh.edge.checking import Checking
from novamesh.edge.gate import Gate
from novamesh.edge.idle import IdleWatch
from novamesh.edge.rates import Rates
from novamesh.edge.tails import Tails
from novamesh.edge.waiting import Waiting
from novamesh.errors import RequestError
from novamesh.spool import tally
from novamesh.spool.tally import Tally
from novamesh.spool.writer import Limits, SpoolWriter
from novamesh.sql.types import PathTypes
from novamesh.status import history
from novamesh.status.health import Problem, Since, store_problems
from novamesh.status.ledger import Ledger, ledger
from novamesh.status.metrics import WorkerMetrics
from novamesh.status.uptime import Reader
from novamesh.store.contract import SOCKET_NAME, StoreStatus

log = logging.getLogger(__name__)

STORE_INTERVAL_S = 1.0

Read = TypeVar("Read")


class Worker:
    """Made in the worker's process, before its loop runs. Raises OSError."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        directory = DataDirectory(config.data_path)
        self.config = config
        self.run_directory = directory.run
        self.spool_directory = directory.spool
        self.ledger_directory = directory.ledger
        self.store_directory = directory.store
        self.socket = directory.run / SOCKET_NAME
        self.keyring = Keyring(directory.keys, config.base_url)
        self.uptime = Reader(directory.status)
        self.metrics = WorkerMetrics(directory.run, os.getpid())
        self.store: StoreStatus | None = None
        self.store_problem: str | None = "the store has not answered yet"
        self.rates = Rates(directory.run)
        self.gate = Gate(config, self.rates)
        self.busy: Counter[str] = Counter()  # connections (host:port) on which an answer is awaited
        self.types: dict[str, PathTypes] = {}  # of each space, as the store last said
        self.checking = Checking()
        self.idle = IdleWatch(config, connections(config), self.busy)
        limits = Limits(directory.spool, config.spool_limit_bytes, config.disk_reserve_bytes)
        self._tally = Tally(directory.ledger, directory.spool)
        self.spool = SpoolWriter(
            directory.spool, directory.node_id(), config.spool_segment_bytes, limits, loop, self._tally
        )
        self.waiting = Waiting(self.socket)
        self.tails = Tails(config, directory.spool, directory.ledger, directory.stopping, self.metrics)
        self._unreadable: set[Path] = set()  # directories of figures, when last asked for
        self.since = Since()
        self.history = history.Reader(directory.run)
        self._tasks = [loop.create_task(self._tend()), loop.create_task(self._ask_store())]
        self.idle.start()
        self.metrics.heartbeat(time.time(), self.accept_problem() is None)

    def close(self) -> None:
        """Sync and close everything. For when the loop has stopped."""
        for task in self._tasks:
            task.cancel()
        self.idle.stop()
        self.tails.close()
        self.waiting.close()
        self.checking.close()
        self.spool.stop()
        self._tally.close()
        self.metrics.heartbeat(time.time(), False)
        self.metrics.close()
        self.keyring.close()
        self.rates.close()

    def leave(self, client: str) -> None:
        """One answer less is awaited on a connection."""
        self.busy[client] -= 1
        if not self.busy[client]:
            del self.busy[client]

    def problems(self) -> list[Problem]:
        """The parts that are unwell now."""
        found = []
        if reason := self.accept_problem():
            found.append(Problem("spool", reason))
        if self.store_problem:
            found.append(Problem("store", self.store_problem))
        elif self.store is not None:
            found += store_problems(self.store)
        return found

    def ledger(self) -> Ledger | None:
        """What became of all events, as of now; None while the store does not answer, or the tallies cannot be read."""
        if self.store is None or self.store_problem is not None:
            return None
        counted = self.figure(tally.read, self.ledger_directory)
        return None if counted is None else ledger(counted.counts, self.store)

    def figure(self, read: Callable[[Path], Read], directory: Path) -> Read | None:
        """What is read of a directory only to be shown; None while that fails: just then the rest must be seen."""
        try:
            found = read(directory)
        except OSError as error:
            if directory not in self._unreadable:
                log.error("a figure cannot be read", extra={"directory": directory.name, "cause": str(error)})
            self._unreadable.add(directory)
            return None
        self._unreadable.discard(directory)
        return found

    def accept_problem(self) -> str | None:
        """Why this worker cannot accept events now, or None."""
        return self.spool.refusal() or self.spool.failure()

    async def _tend(self) -> None:
        """What has to be looked at twice a second."""
        parent = multiprocessing.parent_process()
        while True:
            try:
                self.keyring.refresh()
            except sqlite3.Error as error:
                log.error("the keys cannot be read", extra={"cause": str(error)})
            self.metrics.heartbeat(time.time(), self.accept_problem() is None)
            self.since.note(self.problems(), time.time())
            self.spool.tend()
            if parent is not None and not parent.is_alive():
                log.error("the supervisor is gone, the worker ends")
                self.tails.end("stopping")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            await asyncio.sleep(REFRESH_S)

    async def _ask_store(self) -> None:
        while True:
            try:
                self.store = await client.ask_status(self.socket)
                self.store_problem = None
            except RequestError as error:
                self.store_problem = error.message
            await asyncio.sleep(STORE_INTERVAL_S)
