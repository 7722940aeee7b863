"""A node: starts store, then edge; restarts what dies; stops edge, drains the spool, stops store."""

import contextlib
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from novamesh import tls
from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.descriptors import raise_limit
from novamesh.edge import rates
from novamesh.edge.server import load_edge, make_server
from novamesh.errors import StartError
from novamesh.keys import KeyStore
from novamesh.restarts import Restarts
from novamesh.spool import tally
from novamesh.spool.repair import clear_leftovers
from novamesh.status import metrics
from novamesh.status.uptime import HEARTBEAT_S, Uptime
from novamesh.store.contract import EXIT_REFUSED
from novamesh.store.memory import ENVIRONMENT

log = logging.getLogger(__name__)


class Node:
    """One node on one data directory. ``run`` returns when it was told to stop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.directory = DataDirectory(config.data_path)
        self._store = StoreSupervisor(config)
        self._port: socket.socket | None = None
        self._stopping = threading.Event()

    def open(self) -> str | None:
        """Take port and data directory. Returns the first key's secret if the directory is new.

        Raises :class:`StartError`; nothing is touched then.
        """
        check_certificate(self.config)
        self._port = hold_port(self.config)
        raise_limit(self.config)
        os.umask(0o077)  # whatever this node and its children write is for nobody else
        new = self.directory.open()
        try:
            self._clear_up()
        except OSError as error:
            raise self.directory.unusable(error) from None
        keys = KeyStore(self.directory.keys)
        try:
            return keys.create("default", name="first key") if new else None
        finally:
            keys.close()

    def _clear_up(self) -> None:
        """See to what the last run left. Raises OSError."""
        clear_leftovers(self.directory.spool)
        try:
            tally.fold(self.directory.ledger, self.directory.spool)
            self.directory.describe(self.config)
        except OSError as error:
            # A full disk, perhaps. The counts hold without it, and are folded at another start.
            log.error("the counts of the last run cannot be folded", extra={"cause": str(error)})
        metrics.reset(self.directory.run)
        rates.reset(self.directory.run)

    def run(self, on_listening: Callable[[], None]) -> int:
        """Serve until SIGTERM or SIGINT; ``on_listening`` is called, in a thread, once connections are taken.

        Returns the exit status.
        """
        uptime = Uptime(self.directory.status)
        heartbeat = threading.Thread(target=self._beat, args=(uptime,), name="heartbeat", daemon=True)
        announcer = threading.Thread(target=self._announce, args=(on_listening,), name="announcer", daemon=True)
        self._store.start()
        heartbeat.start()
        announcer.start()
        try:
            self._serve_edge()
        finally:
            self._stopping.set()
            status = self._store.stop(self.config.stop_timeout_s)
            heartbeat.join()
            announcer.join()
            uptime.close()
            self.directory.close()
            if self._port is not None:
                self._port.close()
        return status

    def _serve_edge(self) -> None:
        """Run the HTTP server until it is told to end."""
        server = make_server(self.config)
        server.stopped, server.stopping = self._stopping, self.directory.stopping
        server.on_startup(partial(server.stopping.unlink, missing_ok=True))
        server.serve(target_loader=partial(load_edge, self.config), wrap_loader=False)

    def _announce(self, on_listening: Callable[[], None]) -> None:
        """The server only tells when it starts its workers; they listen a moment later."""
        while not self._stopping.wait(0.02):
            with contextlib.suppress(OSError):
                socket.create_connection((self.config.host, self.config.port), timeout=1).close()
                on_listening()
                return

    def _beat(self, uptime: Uptime) -> None:
        """Record when this node could accept events. Until it first can, there is nothing to record."""
        before = False
        while not self._stopping.is_set():
            accepting = self._accepting()
            try:
                if accepting or before:
                    uptime.beat(time.time(), accepting)
            except sqlite3.Error as error:
                log.error("the heartbeat cannot be written", extra={"cause": str(error)})
            before = accepting
            self._stopping.wait(HEARTBEAT_S if accepting else 0.1)

    def _accepting(self) -> bool:
        return metrics.read(self.directory.run, time.time()).accepting


class StoreSupervisor:
    """Runs the store process and starts it again when it dies.

    ``refused`` is set when the store says that starting again will not help.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="store-supervisor", daemon=True)
        self._stopping = threading.Event()
        self.refused = threading.Event()

    def start(self) -> None:
        """Start the process and the thread that watches it."""
        self._process = self._spawn()
        self._thread.start()

    def stop(self, timeout_s: float) -> int:
        """Let the store load what is left, then end it. Returns the node's exit status."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                log.warning("the store did not stop in time; what is left in the spool is loaded at the next start")
                self._process.kill()
                self._process.wait()
        self._thread.join()
        return 1 if self.refused.is_set() else 0

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "novamesh.store.process"]
        # A SIGTERM that comes before the process takes it waits until then: it would end it with a full spool.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **ENVIRONMENT})
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert process.stdin is not None
        # Left open: its end tells the store that this process is gone.
        with contextlib.suppress(BrokenPipeError):  # it has died already, which whoever waits for it will see
            process.stdin.write(msgspec.json.encode(self._config) + b"\n")
            process.stdin.flush()
        return process

    def _watch(self) -> None:
        restarts = Restarts()
        while self._process is not None:
            status = self._process.wait()
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            if self._stopping.is_set():
                return
            if status == EXIT_REFUSED:
                self.refused.set()
                os.kill(os.getpid(), signal.SIGTERM)
                return
            log.error("the store has died, starting it again", extra={"status": status})
            if not self._start_again(restarts):
                return

    def _start_again(self, restarts: Restarts) -> bool:
        """Whether it runs; not if the node is told to stop meanwhile."""
        while not self._stopping.wait(restarts.delay_s()):
            restarts.started()
            try:
                self._process = self._spawn()
            except OSError as error:
                log.error("the store cannot be started, trying again", extra={"cause": str(error)})
                continue
            if self._stopping.is_set():  # too late for ``stop`` to have met this process
                self._process.terminate()
            return True
        return False


def check_certificate(config: Config) -> None:
    """Raises :class:`StartError` if the certificate or its key cannot be used; says when it soon cannot."""
    if config.tls_cert:
        valid_s = tls.check(Path(config.tls_cert), Path(config.tls_key))
        if valid_s < tls.SOON_S:
            log.warning("the TLS certificate expires soon, renew it", extra={"expires": tls.until(valid_s)})


def check_port(config: Config) -> None:
    """Raises :class:`StartError` if somebody listens on the node's address, or nobody can.

    The server shares its port between workers, so it would not notice itself.
    """
    with _port_errors(config), _port_socket(config) as probe:
        probe.listen()


def hold_port(config: Config) -> socket.socket:
    """The same; what it returns is bound and takes no connections. As long as it is open no other node can start on the
    address, also before the server listens there and between one server and the next."""
    check_port(config)
    with _port_errors(config):
        held = _port_socket(config, socket.SO_REUSEPORT)
        # What connections of an earlier server have left was no hindrance; for those who ask from now on this is one.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        return held


def _port_socket(config: Config, *options: int) -> socket.socket:
    """Bound to the node's address. Raises OSError."""
    family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind((config.host, config.port))
    except BaseException:
        bound.close()
        raise
    return bound


@contextlib.contextmanager
def _port_errors(config: Config) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; choose another --host or --port"
        ) from None
