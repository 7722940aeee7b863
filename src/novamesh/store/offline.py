"""The ledger of a node that is stopped: its files are opened here."""

import contextlib
from collections.abc import Iterator

import duckdb

from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.errors import StartError
from novamesh.store.contract import RecountAnswer
from novamesh.store.damage import FILE_NAME
from novamesh.store.loss import Loss, LossRequest, WriteOffRequest
from novamesh.store.opening import open_database
from novamesh.store.recount import Places, recount
from novamesh.store.writeoff import WriteOffs, read_write_offs


def recount_stopped(directory: DataDirectory) -> RecountAnswer:
    """Every space, counted anew; for reading only. The directory must be taken. Raises :class:`StartError`."""
    path = directory.store / FILE_NAME
    with _told(directory):
        if not path.exists():  # the store was never up, or its database is gone: then all that it had is missing
            return RecountAnswer(recount(None, _places(directory)))
        with duckdb.connect(path, read_only=True) as connection:
            return RecountAnswer(recount(connection, _places(directory)), read_write_offs(connection))


def write_off_stopped(config: Config, directory: DataDirectory, request: LossRequest | WriteOffRequest) -> Loss:
    """What is lost, and, if that is asked, written off. The directory must be taken.

    Raises :class:`StartError` and :class:`~novamesh.store.opening.DatabaseClosed`.
    """
    path = directory.store / FILE_NAME
    if not path.exists():
        raise StartError(f"there is no database {path}, so what is lost cannot be told; restore a backup first")
    places = _places(directory)
    with _told(directory), contextlib.closing(open_database(config)) as database:
        write_offs = WriteOffs(database, places)
        with database.cursor() as cursor:
            spaces = recount(cursor, places)
        if isinstance(request, LossRequest):
            return write_offs.find(spaces, None)
        return write_offs.write(request, spaces, None)


def _places(directory: DataDirectory) -> Places:
    return Places(directory.spool, directory.node_id(), directory.ledger)


@contextlib.contextmanager
def _told(directory: DataDirectory) -> Iterator[None]:
    """What goes wrong in the block, as a sentence."""
    try:
        yield
    except duckdb.Error as error:
        cause = str(error).splitlines()[0]
        raise StartError(f"the database {directory.store / FILE_NAME} cannot be read: {cause}") from None
    except OSError as error:
        raise StartError(f"the files in {directory.path} cannot be counted: {error}") from None
