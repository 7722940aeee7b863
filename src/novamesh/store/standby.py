"""What answers in the store's place while there is no database: to every request, why."""

import contextlib
import logging
import socket
import threading
from pathlib import Path

from novamesh.config import Config
from novamesh.errors import StoreUnavailable
from novamesh.store.contract import REQUEST_LIMIT, error_message
from novamesh.store.duckdb import Database
from novamesh.store.listener import listen
from novamesh.store.opening import DatabaseClosed, open_database

log = logging.getLogger(__name__)

RETRY_S = 1.0
# An edge worker sends its request in one piece, at once.
REQUEST_S = 1.0


def wait_for_database(config: Config, socket_path: Path, stopping: threading.Event) -> Database | None:
    """The database, as soon as it can be opened; None if the process is told to stop before.

    What is in the way is logged when it changes, not at every try. Raises StartError, OSError.
    """
    standby: Standby | None = None
    said = ""
    try:
        while True:
            try:
                return open_database(config)
            except DatabaseClosed as closed:
                if str(closed) != said:
                    log.error("there is no database", extra={"reason": str(closed), "cause": closed.cause})
                    said = str(closed)
                standby = standby or Standby(socket_path)
                standby.reason = str(closed)
            if stopping.wait(RETRY_S):
                return None
    finally:
        if standby is not None:
            standby.close()


class Standby:
    """Listens on the store's socket, in a thread of its own. ``reason`` is what it says."""

    def __init__(self, path: Path) -> None:
        self.reason = ""
        self._listener = listen(path)
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests."""
        # Closing alone does not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(REQUEST_S)
                self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        data = b""
        while not data.endswith(b"\n") and len(data) <= REQUEST_LIMIT:
            part = client.recv(65536)
            if not part:
                return
            data += part
        sentence = self.reason[:1].upper() + self.reason[1:]
        client.sendall(error_message(StoreUnavailable(sentence.rstrip(".") + ".")))
