"""What commands say to the store of a running node, over its Unix socket."""

import contextlib
import socket
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from novamesh.datadir import DataDirectory
from novamesh.errors import NovameshError, StoreUnavailable
from novamesh.store.contract import DATA, ERROR, MESSAGE, SOCKET_NAME, Request, decode_error

Told = TypeVar("Told", bound=msgspec.Struct)


class NotRunning(NovameshError):
    """The command needs a running node, and there is none on the data directory."""


def ask(directory: DataDirectory, request: Request, kind: type[Told]) -> Told:
    """The store's answer. Raises :class:`NotRunning`, :class:`StoreUnavailable` and what the store reports."""
    with asking(directory, request, kind) as answer:
        return answer


@contextlib.contextmanager
def asking(directory: DataDirectory, request: Request, kind: type[Told]) -> Iterator[Told]:
    """The same, and the connection stays open while the block runs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(directory.run / SOCKET_NAME))
        except OSError:
            raise NotRunning(
                f"no node answers on {directory.path}: start it with novamesh serve, or give --data-dir"
            ) from None
        connection.sendall(msgspec.json.encode(request) + b"\n")
        header, size = MESSAGE.unpack(_read(connection, MESSAGE.size))
        body = _read(connection, size)
        if header == ERROR:
            raise decode_error(body)
        assert header == DATA
        yield msgspec.json.decode(body, type=kind)


def _read(connection: socket.socket, size: int) -> bytes:
    data = connection.recv(size, socket.MSG_WAITALL) if size else b""
    if len(data) < size:
        raise StoreUnavailable("the store of the node went away; try again in a moment")
    return data
