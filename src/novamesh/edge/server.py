"""The HTTP server and its workers: starts them, and again what dies of them."""

import contextlib
import logging
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

from granian.constants import Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from novamesh.config import KIB, Config
from novamesh.descriptors import connections
from novamesh.logs import dict_config
from novamesh.restarts import Restarts

log = logging.getLogger(__name__)

BACKLOG = 4096
# What a client may make a worker keep of its headers: the longest address (64 KiB) fits.
HEADER_BYTES = 128 * KIB
HTTP2_STREAMS = 128


class EdgeServer(MPServer):
    """Granian's server, with two things of its own, for which it overrides and calls what is private there (2.8).

    A worker that dies soon after its start is started again, later each time, and takes no other with it: the server
    would end all of them. While it waits for its workers to end, the file ``stopping`` tells them so: a live tail never
    ends by itself.
    """

    stopping: Path | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stopped = threading.Event()
        """Set when the server is told to end."""
        self._restarts = [Restarts() for _ in range(self.workers)]

    def signal_handler_interrupt(self, *_: Any) -> None:
        # Not here: a handler may interrupt the thread that waits for an event while it has the event's lock.
        threading.Thread(target=self._stop, name="signals").start()

    def _stop(self) -> None:
        self.stopped.set()
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def shutdown(self, exit_code: int = 0) -> None:
        if self.stopping is not None:
            with contextlib.suppress(OSError):  # a full disk: then what does not end is cut off when the time is up
                self.stopping.touch()
        self.interrupt_children.clear()  # what died just now is not started again; ending is no failure for that
        super().shutdown(exit_code)  # type: ignore[no-untyped-call]

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        due_s: dict[int, float] = {}  # when which dead worker is started again
        while not self.stopped.is_set():
            self.main_loop_interrupt.wait(max(0.0, min(due_s.values()) - time.monotonic()) if due_s else None)
            # Before what it tells of is looked at: what comes meanwhile sets it again.
            self.main_loop_interrupt.clear()
            while self.interrupt_children:
                self._put_off(self.interrupt_children.pop(0), due_s)
            if self.reload_signal:
                due_s.clear()  # all are started anew
                self._reload(spawn_target, target_loader)  # type: ignore[no-untyped-call]
            for worker in [worker for worker, at_s in due_s.items() if at_s <= time.monotonic()]:
                del due_s[worker]
                if not self._start_again(worker, spawn_target, target_loader):
                    self._put_off(worker, due_s)

    def _put_off(self, worker: int, due_s: dict[int, float]) -> None:
        due_s[worker] = time.monotonic() + self._restarts[worker].delay_s()

    def _start_again(self, worker: int, spawn_target: Any, target_loader: Any) -> bool:
        """Whether it runs."""
        if self.wrks[worker].is_alive():  # type: ignore[no-untyped-call] # started anew on SIGHUP meanwhile
            return True
        self._restarts[worker].started()
        process = self._spawn_worker(worker, spawn_target, target_loader)
        try:
            process.start()  # type: ignore[no-untyped-call]
        except OSError as error:
            log.error("an edge worker cannot be started, trying again", extra={"cause": str(error)})
            return False
        self.wrks[worker] = process
        return True


def load_edge(config: Config) -> Any:
    """The application of a worker process. Imported there only: it takes 30 MB that the supervisor can do without."""
    from novamesh.edge.app import Application

    return Application(config)


def make_server(config: Config) -> EdgeServer:
    """The HTTP server with this node's settings."""
    multiprocessing.set_start_method("spawn", force=True)
    return EdgeServer(
        "novamesh.edge.app",
        address=config.host,
        port=config.port,
        interface=Interfaces.RSGI,
        workers=config.edge_workers,
        loop=Loops.uvloop,
        websockets=False,
        backlog=BACKLOG,
        backpressure=connections(config),  # the server counts connections by it, not requests
        http1_settings=HTTP1Settings(header_read_timeout=config.header_timeout_ms, max_buffer_size=HEADER_BYTES),
        http2_settings=HTTP2Settings(max_headers_size=HEADER_BYTES, max_concurrent_streams=HTTP2_STREAMS),
        ssl_cert=Path(config.tls_cert) if config.tls_cert else None,
        ssl_key=Path(config.tls_key) if config.tls_key else None,
        ssl_protocol_min=SSLProtocols.tls12,
        log_level=LogLevels.warning,
        log_dictconfig=dict_config(config.log_level),
        workers_kill_timeout=config.stop_timeout_s,
    )
