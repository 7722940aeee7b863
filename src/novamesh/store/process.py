"""The store process: ``python -m novamesh.store.process``, started by the node's supervisor.

Its settings come as JSON on standard input, which stays open as long as the supervisor lives:
when it closes, the process ends. On SIGTERM it loads what is left in the spool, then ends.
"""

import logging
import os
import signal
import sys
import threading
import time

import duckdb
import msgspec

from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.errors import StartError
from novamesh.logs import configure, log_thread
from novamesh.spool.repair import unresolved
from novamesh.store.admin import Admin
from novamesh.store.audit import Auditor
from novamesh.store.contract import (
    EXIT_REFUSED,
    SOCKET_NAME,
    ReceiptRequest,
    StatusRequest,
    StoreStatus,
    WaitRequest,
)
from novamesh.store.damage import DatabaseDamaged, is_damage
from novamesh.store.duckdb import Database
from novamesh.store.loader import Loader
from novamesh.store.memory import bound
from novamesh.store.opening import note_damage
from novamesh.store.quarantine_admin import QuarantineAdmin
from novamesh.store.queries import QUERY_THREAD, Limits, QueryServer
from novamesh.store.recount import Places
from novamesh.store.standby import wait_for_database
from novamesh.store.whereabouts import Whereabouts

log = logging.getLogger(__name__)

EXIT_DATABASE = 71
EXIT_THREAD = 73


class StoreProcess:
    """Database, loader and query server of one node."""

    def __init__(self, config: Config, database: Database, stopping: threading.Event) -> None:
        directory = DataDirectory(config.data_path)
        places = Places(directory.spool, directory.node_id(), directory.ledger)
        self._stopping = stopping
        self._spool = directory.spool
        self._database = database
        self._loader = Loader(self._database, *places)
        self._auditor = Auditor(self._database, self._loader, places)
        whereabouts = Whereabouts(self._database, self._loader, directory.spool)
        admin = Admin(self._database, self._loader, directory, config.retention_days, self._stopping)
        self._queries = QueryServer(
            self._database,
            directory.run / SOCKET_NAME,
            {
                StatusRequest: self._status,
                **self._auditor.answers(),
                ReceiptRequest: whereabouts.receipt,
                WaitRequest: whereabouts.awaited,
                **admin.answers(),
                **QuarantineAdmin(self._database, self._loader, places, self._auditor.recount).answers(),
            },
            Limits(
                time_s=config.query_time_limit_ms / 1000,
                concurrent=config.query_max_concurrent,
                export_time_s=config.export_time_limit_ms / 1000,
                exports=config.export_max_concurrent,
                result_bytes=config.query_result_limit_bytes,
                key_concurrent=config.query_key_concurrent,
                key_waiting=config.query_key_waiting,
                key_exports=config.export_key_concurrent,
                slow_s=config.slow_query_ms / 1000,
            ),
            admin.hold,
        )

    def run(self) -> None:
        """Serve until told to stop. Raises ``duckdb.FatalException`` and :class:`DatabaseDamaged`."""
        threading.Thread(target=self._auditor.run, args=(self._stopping,), name="auditor", daemon=True).start()
        self._queries.start()
        log.info("store is ready")
        try:
            self._loader.run(self._stopping)
        finally:
            self._queries.close()
        self._loader.close()
        self._database.close()
        log.info("store has stopped")

    def _status(self, _request: StatusRequest) -> StoreStatus:
        progress = self._loader.progress(time.time())
        loaded = self._database.totals()
        return StoreStatus(
            backlog_bytes=progress.backlog_bytes,
            lag_s=progress.lag_s,
            damaged=len(unresolved(self._spool)),
            stored=loaded.stored,
            duplicates=loaded.duplicates,
            quarantined=loaded.quarantined,
            loader_error=self._loader.error,
            spaces=self._database.counters,
            gaps=self._auditor.gaps,
            pid=os.getpid(),
        )


def _stop_on_signal(stopping: threading.Event) -> None:
    """Not in a handler: that may interrupt the very thread that waits for the event, while it has the event's lock."""
    signal.sigwait({signal.SIGTERM})
    stopping.set()


def _end_with_parent() -> None:
    """End this process when the supervisor is gone: the pipe it holds is at its end then."""
    os.read(sys.stdin.fileno(), 1)
    log.error("the supervisor is gone, the store ends")
    os._exit(1)


def end_with_thread(failed: threading.ExceptHookArgs) -> None:
    """End this process when one of its threads fails, to be started again: without one of them it would answer nobody,
    for ever. A query takes none along."""
    log_thread(failed)
    if failed.thread is None or failed.thread.name != QUERY_THREAD:
        os._exit(EXIT_THREAD)


def _read_line(descriptor: int) -> bytes:
    """The first line, and not a byte more: what follows is watched for its end."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return line


def main() -> int:
    """Run the store. Returns the exit status."""
    config = msgspec.json.decode(_read_line(sys.stdin.fileno()), type=Config)
    configure(config.log_level)
    threading.excepthook = end_with_thread
    bound(config.query_memory_limit_bytes)
    directory = DataDirectory(config.data_path)
    stopping = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # by whichever way it was started
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    threading.Thread(target=_stop_on_signal, args=(stopping,), name="signals", daemon=True).start()
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    try:
        database = wait_for_database(config, directory.run / SOCKET_NAME, stopping)
        if database is not None:
            StoreProcess(config, database, stopping).run()
    except StartError as error:
        log.error(str(error))
        return EXIT_REFUSED
    except (DatabaseDamaged, duckdb.Error) as error:
        cause = str(error).splitlines()[0]
        log.error("the database failed", extra={"cause": cause})
        if isinstance(error, DatabaseDamaged) or is_damage(error):
            # It is still open, by queries too: the next process, which has none, moves it.
            note_damage(directory.store, cause)
        return EXIT_DATABASE
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    # Everything is closed. The database's bindings would list their own types as leaks in an orderly exit.
    os._exit(status)
