"""Closes connections on which nothing happens. The server closes those that are slow with their headers; of those that
never send a byte, and of idle HTTP/2 connections, it knows no end.

What has come and gone on a connection, and when, the system knows (Linux's ``tcp_info``), so nothing is counted here
on the way of a request. A thread looks at all connections of the process now and then: for ten thousand of them that
takes some 0.2 s, so the pause grows with what a look takes.
"""

import contextlib
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from novamesh.config import Config
from novamesh.edge.connection import peer_name

log = logging.getLogger(__name__)

PAUSE_S = 0.5
# Of the time of one thread at most so much goes into looking.
_WORK_PART = 0.05
# With so many of the connections there may be, those that do nothing go ten times as early.
PRESSED_PART = 0.75
PRESSED_FACTOR = 10
_LISTEN = 10
# Of struct tcp_info: state; ms since data was last sent and received; bytes received.
_INFO = struct.Struct("=B43xI4xI72xQ")


class Limits(NamedTuple):
    """In milliseconds: for a connection that has sent nothing yet, and for one that has."""

    silent: int
    idle: int

    def over(self, found: "Found") -> bool:
        """Whether a connection has done nothing for too long."""
        if not found.received:
            return found.quiet_ms > self.silent
        return found.quiet_ms > self.idle


class Found(NamedTuple):
    """A connection: for how long (ms) nothing has come or gone, and how many bytes have come at all."""

    quiet_ms: int
    received: int


class IdleWatch:
    """A thread that ends with :meth:`stop`. ``busy`` are clients (``host:port``) who wait for an answer."""

    def __init__(self, config: Config, most: int, busy: Container[str]) -> None:
        self._limits = Limits(config.header_timeout_ms, config.idle_timeout_ms)
        self._most = most
        self._busy = busy
        self._stopping = threading.Event()
        self._pressed = False
        self._thread = threading.Thread(target=self._run, name="idle-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause_s = PAUSE_S
        while not self._stopping.wait(pause_s):
            started = time.thread_time()
            try:
                self.look()
            except OSError as error:
                log.error("idle connections cannot be looked for", extra={"cause": str(error)})
            pause_s = max(PAUSE_S, (time.thread_time() - started) / _WORK_PART)

    def look(self) -> int:
        """One round. Returns how many connections were open."""
        limits = self._limits
        if self._pressed:
            limits = Limits(limits.silent // PRESSED_FACTOR, limits.idle // PRESSED_FACTOR)
        count = 0
        for entry in Path("/dev/fd").iterdir():
            with contextlib.suppress(OSError):
                count += self._look_at(int(entry.name), limits)
        self._pressed = count > PRESSED_PART * self._most
        return count

    def _look_at(self, descriptor: int, limits: Limits) -> bool:
        """Whether it is a connection; OSError if it is no TCP socket at all."""
        # Closing a copy of a file's descriptor would end the locks that SQLite has on it.
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        # A copy: the number may be another connection's by the time it is closed.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=os.dup(descriptor)) as connection:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
            state, sent_ms, received_ms, received = _INFO.unpack(info)
            if state == _LISTEN:
                return False
            found = Found(min(sent_ms, received_ms), received)
            if limits.over(found) and not (received and peer_name(connection) in self._busy):
                connection.shutdown(socket.SHUT_RDWR)
            return True
