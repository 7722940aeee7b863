"""What commands say to the store of a running node, over its Unix socket."""

import contextlib
import socket
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO, TypeVar

import msgspec

from novamesh.datadir import DataDirectory
from novamesh.errors import NovameshError, StoreUnavailable
from novamesh.store.contract import (
    DATA,
    END,
    ERROR,
    MESSAGE,
    SOCKET_NAME,
    HoldAnswer,
    HoldRequest,
    Request,
    decode_error,
)

Told = TypeVar("Told", bound=msgspec.Struct)


class NotRunning(NovameshError):
    """The command needs a running node, and there is none on the data directory."""


def ask(directory: DataDirectory, request: Request, kind: type[Told], limit_s: float | None = None) -> Told:
    """The store's answer; ``limit_s`` is how long it may be silent.

    Raises :class:`NotRunning`, :class:`StoreUnavailable` and what the store reports.
    """
    with asking(directory, request, kind, limit_s) as answer:
        return answer


@contextlib.contextmanager
def asking(
    directory: DataDirectory, request: Request, kind: type[Told], limit_s: float | None = None
) -> Iterator[Told]:
    """The same, and the connection stays open while the block runs."""
    with contextlib.closing(_messages(directory, request, limit_s)) as messages:
        for body in messages:
            yield msgspec.json.decode(body, type=kind)
            return
        raise _gone()


@contextlib.contextmanager
def holding(directory: DataDirectory) -> Iterator[tuple[HoldAnswer, Callable[[], None]]]:
    """The store holds still while the block runs: its answer, and what raises :class:`StoreUnavailable` if it has not
    done so until then, because it died, was stopped or has waited long enough."""
    with _connected(directory, None) as connection, connection.makefile("rb") as answer:
        _send(connection, HoldRequest())
        kind, body = _read(answer)
        if kind != DATA:
            raise _gone()

        def still() -> None:
            try:
                connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return  # it says no more for as long as it holds
            except OSError:
                pass
            raise StoreUnavailable("the store did not hold still until all was copied; there is no backup, try again")

        yield msgspec.json.decode(body, type=HoldAnswer), still


def data(directory: DataDirectory, request: Request) -> Generator[bytes, None, None]:
    """What a query's answer holds, in pieces as they come. Raises as :func:`ask`."""
    return _messages(directory, request, None)


def _messages(directory: DataDirectory, request: Request, limit_s: float | None) -> Generator[bytes, None, None]:
    """The bodies of the data messages, to the end."""
    with _connected(directory, limit_s) as connection, connection.makefile("rb") as answer:
        _send(connection, request)
        while (message := _read(answer))[0] != END:
            if message[0] == DATA:
                yield message[1]


@contextlib.contextmanager
def _connected(directory: DataDirectory, limit_s: float | None) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(limit_s)
        try:
            connection.connect(str(directory.run / SOCKET_NAME))
        except OSError:
            raise _no_answer(directory) from None
        yield connection


def _send(connection: socket.socket, request: Request) -> None:
    try:
        connection.sendall(msgspec.json.encode(request) + b"\n")
    except OSError:
        raise _gone() from None


def _read(answer: BinaryIO) -> tuple[bytes, bytes]:
    """The next message's kind and body."""
    try:
        header = answer.read(MESSAGE.size)
        kind, size = MESSAGE.unpack(header) if len(header) == MESSAGE.size else (b"", 0)
        body = answer.read(size)
    except TimeoutError:
        raise StoreUnavailable("the store of the node does not answer; try again in a moment") from None
    except OSError:
        raise _gone() from None
    if not kind or len(body) < size:
        raise _gone()
    if kind == ERROR:
        raise decode_error(body)
    return kind, body


def _gone() -> StoreUnavailable:
    return StoreUnavailable("the store of the node went away; try again in a moment")


def _no_answer(directory: DataDirectory) -> NovameshError:
    if not directory.open_stopped():
        return StoreUnavailable("the store of the node is starting or restarting; try again in a moment")
    directory.close()
    path = directory.path
    return NotRunning(f"no node is running on {path}; start it with novamesh serve --data-dir {path}")
