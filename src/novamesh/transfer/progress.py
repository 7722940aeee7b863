"""The progress file of an import, beside its data: how far it came, and which keys its batches have.

A batch's Idempotency-Key is made of the import's random id, the place where the batch starts and a hash of what it
holds. So whoever goes on from a place sends the same batches with the same keys, and the node stores those once that it
has already; other contents have other keys, and are never taken for something else.

Everything before ``place`` was answered by the node. What lies behind it may have been sent; an import that was
stopped in order says that nothing was (``settled``).
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from novamesh.errors import NovameshError
from novamesh.transfer.source import Place

VERSION = 1
SUFFIX = ".novamesh-import"
LOCK_SUFFIX = ".lock"
_EDGE_BYTES = 64 * 1024
# A node forgets keys after 24 hours, unless its dedup_window_s says otherwise; some are left for the clocks.
SAFE_S = 20 * 3600


class ProgressError(NovameshError):
    """An import cannot go on from its progress file. The message says why and what to do."""


class Fingerprint(msgspec.Struct, frozen=True):
    """A file's size in bytes, and SHA-256 of its first and last 64 KiB."""

    size: int
    head: str
    tail: str


class Counts(msgspec.Struct):
    """Items read = accepted + refused."""

    read: int = 0
    accepted: int = 0
    refused: int = 0


class Progress(msgspec.Struct, kw_only=True):
    """What the file holds. ``options`` are those on which the batches depend; ``at`` is in seconds since 1970.

    ``sender`` tells one API key from another and nothing more of it: another may be of another project.
    """

    version: int = VERSION
    id: str
    target: str
    sender: str
    options: str
    file: Fingerprint
    position: int = 0
    line: int = 0
    counts: Counts
    refused_bytes: int = 0
    at: float = 0.0
    settled: bool = True

    @property
    def place(self) -> Place:
        return Place(self.position, self.line)

    def key(self, start: int, body: bytes) -> str:
        """The Idempotency-Key of the batch that starts there."""
        return f"import-{self.id}-{start}-{hashlib.sha256(body).hexdigest()[:16]}"


def sender_of(key: str) -> str:
    """What is kept of an API key."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def begin(target: str, sender: str, options: str, file: Fingerprint) -> Progress:
    """The progress of an import that has sent nothing yet."""
    return Progress(id=secrets.token_hex(8), target=target, sender=sender, options=options, file=file, counts=Counts())


def resume(path: Path, target: str, sender: str, options: str, file: Fingerprint, *, go_on: bool) -> Progress | None:
    """Where the import that left this file stopped; None if there is no such file.

    Raises :class:`ProgressError` if it was for another node or with other options; unless ``go_on``, also if the file
    or the key has changed, or if it is so long ago that the node may have forgotten the keys of what was under way.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Progress)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ProgressError(f"the progress file {path} cannot be read ({error}); remove it to start anew") from None
    again = f"remove {path} to import all of it anew"
    if found.version != VERSION:
        raise ProgressError(f"{path} was written by another version of novamesh; go on with that one, or {again}")
    if found.file != file and not go_on:
        raise ProgressError(
            f"the file has changed since its import was interrupted; if it is the same up to line {found.line:,}, go on"
            f" with --go-on; otherwise put it back, or {again}"
        )
    if found.target != target:
        raise ProgressError(f"the import was begun for {found.target}; give --url {found.target}, or {again}")
    if found.sender != sender and not go_on:
        raise ProgressError("the import was begun with another key; if that is of the same project, go on with --go-on")
    if found.options != options:
        raise ProgressError(f"the import was begun with other options ({found.options}); give the same, or {again}")
    if not found.settled and not go_on and not 0 <= time.time() - found.at < SAFE_S:
        raise ProgressError(
            "the import was killed more than 20 hours ago, and the node may have forgotten what came last: some"
            f" thousand events behind line {found.line:,} could be stored twice; see with novamesh query which are"
            " there, then go on with --go-on"
        )
    return msgspec.structs.replace(found, file=file, sender=sender)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else imports with this progress file while the block runs.

    Raises :class:`ProgressError` if somebody does. The lock has a file of its own, since each save replaces the other;
    what a killed import leaves of it is in nobody's way.
    """
    lock = path.with_name(path.name + LOCK_SUFFIX)
    try:
        descriptor = _lock(lock)
    except BlockingIOError:
        raise ProgressError(f"another import of this file is running ({lock} is locked); wait for its end") from None
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)  # before it is free: whoever waits for this one sees that it is gone
        os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner has removed it meanwhile


def save(path: Path, progress: Progress) -> None:
    """Write the file anew, so that it is whole whatever happens. Raises :class:`ProgressError`."""
    progress.at = time.time()
    draft = path.with_name(path.name + ".tmp")
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(progress) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ProgressError:
    return ProgressError(
        f"the progress file {path} cannot be written: {error.strerror}; give --state-dir DIR, where it can"
    )


def fingerprint(path: Path) -> Fingerprint:
    """Raises :class:`ProgressError`."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = _hash(file)
            file.seek(max(0, size - _EDGE_BYTES))
            return Fingerprint(size, head, _hash(file))
    except OSError as error:
        raise ProgressError(f"cannot read {path}: {error.strerror}") from None


def _hash(file: IO[bytes]) -> str:
    return hashlib.sha256(file.read(_EDGE_BYTES)).hexdigest()[:32]
