"""The data directory: where everything lies, which format it has, and that one node uses it."""

import errno
import fcntl
import os
import uuid
from pathlib import Path

import msgspec

from novamesh.errors import StartError
from novamesh.spool.segment import sync_directory

FORMAT = 1


class Identity(msgspec.Struct, frozen=True):
    """``node.json``: the directory's format and the id that spool segments carry."""

    format: int
    node_id: uuid.UUID


class DataDirectory:
    """Paths in a data directory, and its opening. Making one touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool = path / "spool"
        self.store = path / "store"
        self.run = path / "run"
        self.keys = path / "keys.db"
        self.status = path / "status.db"
        self._identity = path / "node.json"
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
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StartError(f"data directory {self.path} cannot be used: {reason}") from None

    def in_use(self) -> bool:
        """Whether a node is running on the directory, or starting."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # Shared, and given up at once: two who look do not see each other.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_existing(self) -> None:
        if not self._identity.exists():
            # A start that was cut short may have left some of these.
            begun = {"lock", "node.tmp", self.spool.name, self.store.name, self.run.name}
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
        for directory in (self.spool, self.store, self.run):
            directory.mkdir(exist_ok=True, mode=0o700)
        if self._identity.exists():
            return False
        temporary = self._identity.with_suffix(".tmp")
        # Synced before the first event is accepted: without it the node would not start on what is in the spool.
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(Identity(FORMAT, uuid.uuid4())))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._identity)
        sync_directory(self.path)
        sync_directory(self.path.parent)
        return True

    def _take_lock(self) -> None:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StartError(
                f"data directory {self.path} is in use by another node; stop that one or choose another directory"
            ) from None
        self._lock = descriptor

    def _read_identity(self) -> Identity:
        try:
            return msgspec.json.decode(self._identity.read_bytes(), type=Identity)
        except msgspec.MsgspecError as error:
            raise StartError(f"{self._identity} is damaged: {error}") from None
