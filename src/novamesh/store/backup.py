"""Copies of a data directory: made while the node runs, checked, put back.

A backup is a directory like a data directory, and a manifest::

    backup.json     format, version, when, events, and size and SHA-256 of every file
    node.json  keys.db  status.db
    store/          the database at one moment (with its log, if it could not be checkpointed)
    ledger/         what had been accepted, counted
    spool/          every segment there was then: what the database has of them, its positions say

While the store holds still (:class:`~novamesh.store.contract.HoldRequest`) the database's files do not change and no
segment is deleted; the node goes on accepting into the spool. So database and spool fit together, and loading goes on
in a restored directory exactly where it was. Live segments are copied up to their mark: what was synced.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from novamesh import __version__
from novamesh.datadir import DataDirectory
from novamesh.errors import NovameshError
from novamesh.spool.files import SYSTEM, write_new
from novamesh.spool.repair import QUARANTINE
from novamesh.spool.segment import has_writer, list_segments, read_mark
from novamesh.store.damage import FILE_NAME

MANIFEST = "backup.json"
FORMAT = 1
PARTIAL_SUFFIX = ".partial"


class BackupRefused(NovameshError):
    """A backup cannot be made or restored. The message says why and what to do."""


class File(msgspec.Struct, frozen=True):
    """One file of a backup: its path in it, its size in bytes and its SHA-256 in hexadecimal digits."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. ``events`` are those in the database; more may wait in the spool."""

    format: int
    version: str
    made_at: str
    events: int
    files: list[File]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def copy(directory: DataDirectory, target: Path, events: int, still: Callable[[], None]) -> Manifest:
    """Copy the directory to ``target``, which must not exist. For while nothing writes to the database.

    ``still`` is called when all is copied, and raises if something may have written meanwhile. Raises
    :class:`BackupRefused`, OSError and what ``still`` raises; then there is nothing at ``target``.
    """
    partial = _new_directory(target)
    try:
        for database in (directory.keys, directory.status):
            if database.exists():
                _copy_sqlite(database, partial / database.name)
        _copy_all(_files(directory.store), partial / directory.store.name)
        # Before the segments: what they have beyond the counts will be counted, as after any kill.
        _copy_all(_files(directory.ledger), partial / directory.ledger.name)
        _copy_spool(directory.spool, partial / directory.spool.name)
        _copy_all([directory.identity], partial)
        still()
        manifest = Manifest(
            FORMAT, __version__, datetime.now(UTC).isoformat(timespec="seconds"), events, _list(partial)
        )
        write_new(SYSTEM, partial / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        for folder in (partial / directory.store.name, partial / directory.spool.name, partial):
            SYSTEM.sync_directory(folder)
        partial.rename(target)
        SYSTEM.sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def check(backup: Path) -> Manifest:
    """The manifest, after every file was compared with it. Raises :class:`BackupRefused` and OSError."""
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupRefused(f"{backup} is no backup: there is no {MANIFEST} in it") from None
    except msgspec.MsgspecError as error:
        raise BackupRefused(f"{backup / MANIFEST} is damaged: {error}") from None
    if manifest.format > FORMAT:
        raise BackupRefused(
            f"{backup} was made by novamesh {manifest.version}: restore it with that version or a newer"
        )
    for file in manifest.files:
        path = backup / file.path
        if not path.is_file() or path.stat().st_size != file.size or _sha256(path) != file.sha256:
            raise BackupRefused(f"{path} is missing or not what was backed up: use another backup")
    return manifest


def restore(backup: Path, directory: DataDirectory) -> Manifest:
    """Make ``directory`` from a backup. It must be new or empty, or be the one that was backed up, without a database.

    In the second case its own spool, keys and history are kept, and segments that only the backup has are put back:
    their events are in the lost database alone. Raises :class:`BackupRefused` and OSError.
    """
    manifest = check(backup)
    if directory.identity.exists():
        _complete(backup, manifest, directory)
    elif directory.path.exists() and any(directory.path.iterdir()):
        raise BackupRefused(f"{directory.path} holds other files; restore into an empty directory")
    else:
        _put(backup, manifest.files, directory.path)
    return manifest


def _complete(backup: Path, manifest: Manifest, directory: DataDirectory) -> None:
    if directory.identity.read_bytes() != (backup / directory.identity.name).read_bytes():
        raise BackupRefused(
            f"{directory.path} belongs to another node than the backup; restore into an empty directory"
        )
    if any(path.suffix in (".duckdb", ".wal") for path in _files(directory.store)):
        raise BackupRefused(
            f"{directory.path} has a database; move {directory.store} away first, or restore into an empty directory"
        )
    folders = (directory.store.name, directory.spool.name)
    wanted = [file for file in manifest.files if Path(file.path).parent.as_posix() in folders]
    _put(backup, [file for file in wanted if not _is_there(file, directory)], directory.path)


def _is_there(file: File, directory: DataDirectory) -> bool:
    """Whether the directory has a file of the backup, be it a segment that was set aside since."""
    return (directory.path / file.path).exists() or (directory.spool / QUARANTINE / Path(file.path).name).exists()


def _put(backup: Path, files: Iterable[File], target: Path) -> None:
    """Copy files of a backup to where they belong; what makes it whole last: the database, and ``node.json``."""
    folders = {target}
    for file in sorted(files, key=lambda file: (file.path == "node.json", file.path.endswith(FILE_NAME))):
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folders.add(path.parent)
        for folder in folders if file.path == "node.json" else ():
            SYSTEM.sync_directory(folder)
        # By a rename: a node that waits for its database must not find half of one.
        draft = path.with_name(path.name + PARTIAL_SUFFIX)
        draft.unlink(missing_ok=True)
        _copy_file(backup / file.path, draft)
        draft.rename(path)
    for folder in folders:
        SYSTEM.sync_directory(folder)


def _new_directory(target: Path) -> Path:
    if target.exists():
        raise BackupRefused(f"{target} exists already; name a new directory")
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    # What an earlier backup that was cut off has left.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    return partial


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.is_file()] if directory.exists() else []


def _copy_all(files: Iterable[Path], target: Path) -> None:
    target.mkdir(exist_ok=True, mode=0o700)
    for path in files:
        _copy_file(path, target / path.name)


def _copy_spool(spool: Path, target: Path) -> None:
    target.mkdir(exist_ok=True, mode=0o700)
    for segment in list_segments(spool):
        # In this order: a segment that has no writer any more is whole.
        live = has_writer(segment)
        _copy_file(segment, target / segment.name, read_mark(segment) if live else None)
    if set_aside := _files(spool / QUARANTINE):
        _copy_all(set_aside, target / QUARANTINE)


def _copy_file(source: Path, target: Path, size: int | None = None) -> None:
    """Copy the first ``size`` bytes, or all of them, and sync."""
    with source.open("rb") as reader, target.open("xb") as writer:
        os.fchmod(writer.fileno(), 0o600)
        left = os.fstat(reader.fileno()).st_size if size is None else size
        while left > 0:
            copied = os.sendfile(writer.fileno(), reader.fileno(), None, min(left, 1 << 30))
            if copied == 0:
                raise BackupRefused(f"{source} became shorter while it was copied; try again")
            left -= copied
        os.fsync(writer.fileno())


def _copy_sqlite(source: Path, target: Path) -> None:
    """SQLite's own online backup: the node goes on using the file."""
    reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
    writer = sqlite3.connect(target)
    try:
        reader.backup(writer)
    finally:
        writer.close()
        reader.close()
    target.chmod(0o600)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _list(directory: Path) -> list[File]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return [File(str(path.relative_to(directory)), path.stat().st_size, _sha256(path)) for path in paths]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
