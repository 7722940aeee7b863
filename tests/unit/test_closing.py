"""The end of a database that others are still reading."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from novamesh.store import closing
from tests.support import DEADLINE_S


@contextmanager
def reading(connection: duckdb.DuckDBPyConnection, pipe: Path) -> Iterator[Callable[[], None]]:
    """A query on a cursor of its own, that reads a pipe. It ends when the function that is given is called."""

    def read() -> None:
        with connection.cursor() as cursor:
            cursor.execute("FROM read_csv(?, header = false, columns = {'n': 'BIGINT'})", [str(pipe)]).fetchall()

    os.mkfifo(pipe)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    descriptor = os.open(pipe, os.O_WRONLY)  # waits for the reader

    def end() -> None:
        os.close(descriptor)

    yield end
    reader.join(DEADLINE_S)
    assert not reader.is_alive()


def test_a_database_is_closed_when_its_last_reader_has_ended(tmp_path: Path) -> None:
    connection = duckdb.connect(tmp_path / "d")
    connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    with reading(connection, tmp_path / "pipe") as end:
        with pytest.raises(duckdb.ResourceInUseException):
            connection.close()
        ending = threading.Thread(target=closing.close_idle, args=(connection,), daemon=True)
        ending.start()
        end()
        ending.join(DEADLINE_S)
        assert not ending.is_alive()
    with pytest.raises(duckdb.ConnectionException):
        connection.execute("SELECT 1")
    with duckdb.connect(tmp_path / "d") as again:
        assert again.execute("FROM t").fetchall() == [(1,)]


def test_a_reader_without_end_does_not_keep_it_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(closing, "CLOSE_S", 0.05)
    connection = duckdb.connect(tmp_path / "d")
    with reading(connection, tmp_path / "pipe") as end:
        closing.close_idle(connection)
        end()
    connection.close()
    assert [line.getMessage() for line in caplog.records] == ["the database is still in use and is left open"]
