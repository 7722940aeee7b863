"""What the server does not offer: cutting a connection, so that a client sees that its answer is not whole."""

import contextlib
import os
import socket
from pathlib import Path


def cut(client: str) -> None:
    """Shut the connection whose other end is ``client`` (``host:port``), and with it all that it carries.

    A response that has begun can no longer become an error. Ending it would make what was sent look whole:
    only a broken transfer says that something is missing. The server has no call for it, so the connection
    is looked up among this process's descriptors.
    """
    for entry in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as connection:
            if _name(connection.getpeername()) == client.replace("[", "").replace("]", ""):
                connection.shutdown(socket.SHUT_RDWR)


def _name(peer: object) -> str:
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
