"""The end of a database that others may still be reading."""

import logging
import time

import duckdb

log = logging.getLogger(__name__)

CLOSE_S = 5.0
RETRY_S = 0.01


def close_idle(*connections: duckdb.DuckDBPyConnection) -> None:
    """Close them in this order, each once nothing runs on it or its cursors any more: DuckDB refuses before, as of 2.0.

    What runs for longer than ``CLOSE_S`` keeps its file open. All that was committed is in the database's log then, and
    whoever opens it next checkpoints. Raises ``duckdb.Error``.
    """
    end_s = time.monotonic() + CLOSE_S
    for connection in connections:
        while True:
            try:
                connection.close()
                break
            except duckdb.ResourceInUseException as error:
                if time.monotonic() > end_s:
                    log.warning("the database is still in use and is left open", extra={"cause": str(error)})
                    return
            time.sleep(RETRY_S)
