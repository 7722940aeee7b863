"""Writing the database's file anew, without the room of what was deleted."""

import duckdb

from novamesh.config import Config
from novamesh.spool.files import SYSTEM
from novamesh.store.damage import FILE_NAME
from novamesh.store.duckdb import Database


def compact(config: Config) -> tuple[int, int]:
    """Write the database's file anew, without what was deleted. For a stopped node: the caller has its directory.

    Returns the file's size before and after, in bytes. Raises ``duckdb.Error`` and OSError; the old file stays then.
    """
    file = config.data_path / "store" / FILE_NAME
    draft = file.with_name(FILE_NAME + ".compact")
    draft.unlink(missing_ok=True)
    Database(config).close()  # what is in its log goes into the file
    before = file.stat().st_size
    try:
        with duckdb.connect() as connection:
            connection.execute(f"SET memory_limit = '{config.query_memory_limit_bytes}B'")
            connection.execute("SET preserve_insertion_order = true")
            for path, name, mode in ((file, "old", "READ_ONLY"), (draft, "new", "READ_WRITE")):
                literal = str(path).replace("'", "''")
                connection.execute(f"ATTACH '{literal}' AS {name} ({mode})")
            connection.execute("COPY FROM DATABASE old TO new")
            connection.execute("CHECKPOINT new")
        draft.chmod(file.stat().st_mode & 0o777)
        draft.rename(file)
        SYSTEM.sync_directory(file.parent)
    finally:
        draft.unlink(missing_ok=True)
    return before, file.stat().st_size
