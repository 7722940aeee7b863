"""The opening of the database: what stands in the way is told and waited for, and nothing begins anew by itself.

The database holds, beside the events, how far each segment is loaded and which ids were seen. So an empty one is made
only in a data directory that never had one: ``store/made`` says that it has (docs/decisions/0007).
"""

import logging
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import msgspec

from novamesh.config import Config
from novamesh.errors import NovameshError
from novamesh.spool.files import SYSTEM, Files, write_new
from novamesh.store.damage import FILE_NAME, is_damage
from novamesh.store.duckdb import Database

log = logging.getLogger(__name__)

MADE = "made"
DAMAGE = "damage.json"
DAMAGED_PREFIX = "damaged-"
# A file shorter than the engine's three headers never held a table: its making was cut short.
HEADERS_BYTES = 3 * 4096

_RESTORE = "restore a backup with `novamesh restore`. Events are accepted and kept in the spool meanwhile."
_DAMAGED = f"the database of this node is damaged and was set aside; {_RESTORE}"
_MISSING = f"the database file of this node is missing; {_RESTORE}"
_LOCKED = "the database file of this node is in use by another program; close that, and the store goes on by itself"
_CLOSED = "the database of this node cannot be opened; its log says why, and the store goes on trying"


class Damage(msgspec.Struct, frozen=True):
    """What was found, and when. Kept beside the damaged file."""

    found_at: str
    cause: str


class DatabaseClosed(NovameshError):
    """There is no database for now. The message is for everybody; ``cause``, for the log, may name paths."""

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(reason)
        self.cause = cause


def open_database(config: Config, files: Files = SYSTEM) -> Database:
    """The database, made if this data directory never had one.

    Raises :class:`DatabaseClosed` while it is damaged (then it is moved to ``store/damaged-<time>/``), missing, in use
    or not to be read; StartError if it is newer than this version; OSError.
    """
    directory = config.data_path / "store"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    file, made = directory / FILE_NAME, directory / MADE
    _finish_moving(directory, files)
    if made.exists() and not file.exists():
        aside = sorted(directory.glob(DAMAGED_PREFIX + "*"))
        cause = f"{file} is not there; to begin with an empty database remove {made}"
        raise DatabaseClosed(_DAMAGED if aside else _MISSING, cause)
    if not made.exists() and file.exists() and file.stat().st_size < HEADERS_BYTES:
        log.warning("the making of the database was cut short, it is made again", extra={"file": str(file)})
        files.unlink(file)
    try:
        database = Database(config)
    except duckdb.Error as error:
        cause = str(error).splitlines()[0]
        if is_damage(error):
            note_damage(directory, cause, files)
            _finish_moving(directory, files)
            raise DatabaseClosed(_DAMAGED, cause) from None
        raise DatabaseClosed(_LOCKED if "Could not set lock" in cause else _CLOSED, cause) from None
    if not made.exists():
        write_new(files, made, b"")
        files.sync_directory(directory)
    return database


def note_damage(directory: Path, cause: str, files: Files = SYSTEM) -> None:
    """Have the database in ``directory`` set aside by the next process that opens it. Raises OSError."""
    now = datetime.fromtimestamp(files.now_us() / 1_000_000, UTC)
    write_new(files, directory / DAMAGE, msgspec.json.encode(Damage(now.strftime("%Y%m%dT%H%M%SZ"), cause)))
    # Said before anything is moved: an empty database must not take the place of the one that is being moved.
    write_new(files, directory / MADE, b"")
    files.sync_directory(directory)


def _finish_moving(directory: Path, files: Files) -> None:
    """Move a database that is known to be damaged aside, with its log. Does nothing if there is none.

    Goes on where a process before this one was killed.
    """
    note = directory / DAMAGE
    if not note.exists():
        return
    try:
        damage = msgspec.json.decode(note.read_bytes(), type=Damage)
    except msgspec.MsgspecError:
        files.unlink(note)  # its writer was killed in the middle: what it saw will be seen again
        return
    target = directory / (DAMAGED_PREFIX + damage.found_at)
    target.mkdir(exist_ok=True, mode=0o700)
    for name in (f"{FILE_NAME}.wal", FILE_NAME):
        if (directory / name).exists():
            files.rename(directory / name, target / name)
    files.rename(note, target / DAMAGE)
    files.sync_directory(target)
    files.sync_directory(directory)
    log.error(
        "the database is damaged and was set aside: restore a backup with `novamesh restore`",
        extra={"moved_to": str(target), "cause": damage.cause},
    )
