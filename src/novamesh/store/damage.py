"""How one tells that the database file does not hold what was written to it."""

import duckdb

FILE_NAME = "store.duckdb"


class DatabaseDamaged(Exception):
    """The database file is damaged: this process must end, and the next one sets the file aside."""


def is_damage(error: duckdb.Error) -> bool:
    """Whether the file, or its log, is damaged: not locked, not unreadable, not of a newer version.

    The engine has no class of its own for it. What a query can put into a message is of another class than these.
    """
    text = str(error)
    if type(error) in (duckdb.Error, duckdb.FatalException):
        return "Corrupt database file" in text or "Corrupt WAL file" in text
    said = ("is not a valid DuckDB database file", "Could not read enough bytes from file")
    return isinstance(error, duckdb.IOException) and FILE_NAME in text and any(part in text for part in said)
