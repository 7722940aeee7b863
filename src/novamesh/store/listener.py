"""The store's Unix socket."""

import os
import socket
from pathlib import Path

BACKLOG = 128


def listen(path: Path) -> socket.socket:
    """A socket at ``path`` that no other user may connect to; one that is there is replaced. Raises OSError."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mask, not a chmod afterwards: the socket must never be open to others.
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener
