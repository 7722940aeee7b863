"""The ledger of a node that is stopped: its files are opened here, for reading only."""

import duckdb

from novamesh.datadir import DataDirectory
from novamesh.errors import StartError
from novamesh.store.contract import Recount
from novamesh.store.damage import FILE_NAME
from novamesh.store.recount import Places, recount


def recount_stopped(directory: DataDirectory) -> dict[str, Recount]:
    """Every space, counted anew. The directory must be taken. Raises :class:`StartError`."""
    path = directory.store / FILE_NAME
    places = Places(directory.spool, directory.node_id(), directory.ledger)
    try:
        if not path.exists():  # the store was never up, or its database is gone: then all that it had is missing
            return recount(None, places)
        with duckdb.connect(path, read_only=True) as connection:
            return recount(connection, places)
    except duckdb.Error as error:
        cause = str(error).splitlines()[0]
        raise StartError(f"the database {path} cannot be read: {cause}") from None
    except OSError as error:
        raise StartError(f"the files in {directory.path} cannot be counted: {error}") from None
