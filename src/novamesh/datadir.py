"""The data directory: where everything lies, which format it has, and that one node uses it."""

import errno
import fcntl
import os
import uuid
from pathlib import Path

import msgspec

from novamesh.config import Config
from novamesh.errors import StartError
from novamesh.spool.files import SYSTEM

FORMAT = 1


class DirectoryInUse(StartError):
    """Another process has taken the data directory."""


class Identity(msgspec.Struct, frozen=True):
    """``node.json``: the directory's format and the id that spool segments carry."""

    format: int
    node_id: uuid.UUID


class Running(msgspec.Struct, frozen=True):
    """``run/node.json``: what a node is called, where it answers and its process.

    ``url`` is for clients, ``local_url`` for commands of this machine: a proxy does not pass on all that they ask.
    """

    node: str
    region: str
    url: str
    pid: int
    local_url: str = ""

    @property
    def address(self) -> str:
        """Where a command of this machine reaches it."""
        return self.local_url or self.url


class DataDirectory:
    """Paths in a data directory, and its opening. Making one touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool = path / "spool"
        self.ledger = path / "ledger"
        self.store = path / "store"
        self.run = path / "run"
        self.keys = path / "keys.db"
        self.status = path / "status.db"
        self.identity = path / "node.json"
        self.stopping = self.run / "stopping"  # there while the edge is to end what never ends by itself
        self._running = self.run / "node.json"
        self._lock: int | None = None

    def node_id(self) -> bytes:
        """The 16 bytes that mark this directory's segments."""
        return self._read_identity().node_id.bytes

    def open(self) -> bool:
        """Take the directory for this process; create it if it is not there.

        Returns whether it is new. Raises :class:`StartError` if it is in use, not writable, or
        written by a newer version: nothing is touched then.
        """
        try:
            self._check_existing()
            return self._open()
        except OSError as error:
            raise self.unusable(error) from None

    def describe(self, config: Config) -> None:
        """Leave word in ``run/`` of the node that runs here. Raises OSError."""
        running = Running(config.node, config.region, config.base_url, os.getpid(), config.local_url)
        draft = self._running.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(running))
        draft.rename(self._running)

    def running(self) -> Running | None:
        """The node that runs here or ran here last; None if none has left word."""
        try:
            return msgspec.json.decode(self._running.read_bytes(), type=Running)
        except (OSError, msgspec.MsgspecError):
            return None

    def open_stopped(self) -> bool:
        """Take the directory for this process if no node uses it. Returns whether it could; nothing is made or changed.

        Raises :class:`StartError` if there is no node's data, or it cannot be used.
        """
        if not self.holds(self.identity):
            raise StartError(f"there is no node's data in {self.path}; run novamesh serve first or give --data-dir")
        try:
            self._check_existing()
            self._take_lock()
        except DirectoryInUse:
            return False
        except OSError as error:
            raise self.unusable(error) from None
        return True

    def holds(self, path: Path) -> bool:
        """Whether a file of this directory is there. Raises :class:`StartError` if that cannot be seen."""
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self.unusable(error) from None
        return True

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_existing(self) -> None:
        if not self.identity.exists():
            # A start that was cut short may have left some of these.
            begun = {"lock", "node.tmp", self.spool.name, self.ledger.name, self.store.name, self.run.name}
            if self.path.exists() and any(entry.name not in begun for entry in self.path.iterdir()):
                raise StartError(
                    f"data directory {self.path} holds other files; choose an empty directory or one of novamesh"
                )
            return
        identity = self._read_identity()
        if identity.format > FORMAT:
            raise StartError(
                f"data directory {self.path} was written by a newer novamesh (format {identity.format}, this one"
                f" reads {FORMAT}); run that version"
            )

    def _open(self) -> bool:
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        self._take_lock()
        for directory in (self.spool, self.ledger, self.store, self.run):
            directory.mkdir(exist_ok=True, mode=0o700)
        if self.identity.exists():
            return False
        temporary = self.identity.with_suffix(".tmp")
        # Synced before the first event is accepted: without it the node would not start on what is in the spool.
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(Identity(FORMAT, uuid.uuid4())))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.identity)
        SYSTEM.sync_directory(self.path)
        SYSTEM.sync_directory(self.path.parent)
        return True

    def _take_lock(self) -> None:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DirectoryInUse(
                f"data directory {self.path} is in use by another node; stop that one or choose another directory"
            ) from None
        self._lock = descriptor

    def unusable(self, error: OSError) -> StartError:
        """What to say of an error that the disk gave at the start."""
        reason = os.strerror(error.errno) if error.errno else str(error)
        if isinstance(error, PermissionError):
            reason += "; run this as the user to whom it belongs"
        return StartError(f"data directory {self.path} cannot be used: {reason}")

    def _read_identity(self) -> Identity:
        try:
            return msgspec.json.decode(self.identity.read_bytes(), type=Identity)
        except msgspec.MsgspecError as error:
            raise StartError(f"{self.identity} is damaged: {error}") from None
