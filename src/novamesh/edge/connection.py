"""What the server does not offer: cutting a connection, and knowing how much of an answer its client has taken."""

import asyncio
import contextlib
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

# What may wait in this process for one client, and from where on it is worth looking.
BACKLOG_BYTES = 4 * 1024 * 1024
_UNWATCHED_BYTES = 1024 * 1024
# Longer than the store waits: it gives up first, and says why.
STALL_S = 90.0
_LONGEST_PAUSE_S = 0.02
_BYTES_ACKED = struct.Struct("=120xQ")  # of Linux's struct tcp_info


def cut(client: str) -> None:
    """Shut the connection whose other end is ``client`` (``host:port``), and with it all that it carries.

    A response that has begun can no longer become an error. Ending it would make what was sent look whole:
    only a broken transfer says that something is missing. The server has no call for it, so the connection
    is looked up among this process's descriptors.
    """
    for connection in _connections(client):
        connection.shutdown(socket.SHUT_RDWR)


class Backlog:
    """Keeps an answer from piling up in this process when its client reads slowly.

    The server takes all it is given at once and keeps it until the client has read it, so the system is asked
    how much that is. What is no part of the answer (headers, lengths of chunks) counts as taken, too, which is little.
    """

    def __init__(self, client: str, most: int = BACKLOG_BYTES, unwatched: int = _UNWATCHED_BYTES) -> None:
        self._client = client
        self._most = most
        self._unwatched = unwatched
        self._connection: socket.socket | None = None
        self._given = 0
        self._acked_before = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    async def give(self, size: int) -> None:
        """So many more bytes were given to the server: wait until not too many are left. Raises TimeoutError."""
        self._given += size
        if self._given > self._unwatched and self._connection is None:
            self._connection = next((found.dup() for found in _connections(self._client)), None)
            # What was given before is not counted: some of it may have been taken, and must not be waited for.
            self._given, self._acked_before = 0, self._acked()
        pause_s, waiting = 0.001, self._waiting()
        stalled_at = time.monotonic() + STALL_S
        while waiting > self._most:
            if time.monotonic() > stalled_at:
                raise TimeoutError("the client reads nothing")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            before, waiting = waiting, self._waiting()
            if waiting < before:
                stalled_at = time.monotonic() + STALL_S

    def _waiting(self) -> int:
        """At least so many bytes."""
        return self._given - (self._acked() - self._acked_before) if self._connection is not None else 0

    def _acked(self) -> int:
        """What the other end has confirmed since the connection was made."""
        if self._connection is None:
            return 0
        info = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(info)[0])


def _connections(client: str) -> Iterator[socket.socket]:
    """This process's connections to ``client``, each open until the next is asked for."""
    for entry in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):
            number = int(entry.name)
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as connection:
                if peer_name(connection) == client:
                    yield connection


def peer_name(connection: socket.socket) -> str:
    """Who is at the other end, as the server names clients; empty if that is no TCP. Raises OSError."""
    peer = connection.getpeername()
    if not isinstance(peer, tuple):
        return ""
    host, port, *_ = peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
