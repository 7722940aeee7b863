"""ClickHouse in process, for comparison: run by an interpreter that has ``chdb``, which this project does not need.

``python chdb_side.py DIRECTORY ROWS.parquet THREADS`` makes the table of JSONBench (a JSON column with typed paths,
sorted by them) of the file's column ``data``, then reads a query a line and answers a line of JSON each:
``{"seconds": …, "rows": […]}``.
"""

import json
import sys
import time
from pathlib import Path

from chdb.session import Session  # type: ignore[import-not-found]

_TABLE = """
    CREATE TABLE social (data JSON(
        max_dynamic_paths = 0, kind LowCardinality(String), commit.operation LowCardinality(String),
        commit.collection LowCardinality(String), did String, time_us UInt64) CODEC(ZSTD(1)))
    ENGINE = MergeTree
    ORDER BY (data.kind, data.commit.operation, data.commit.collection, data.did,
              fromUnixTimestamp64Micro(data.time_us))
    SETTINGS object_serialization_version = 'v3', dynamic_serialization_version = 'v3',
             object_shared_data_serialization_version = 'advanced',
             object_shared_data_serialization_version_for_zero_level_parts = 'map_with_buckets'
"""


def main() -> None:
    """See above."""
    directory, rows, threads = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    session = Session(str(directory))
    session.query("CREATE DATABASE IF NOT EXISTS bench")
    session.query("USE bench")
    session.query(f"SET max_threads = {threads}")
    session.query("DROP TABLE IF EXISTS social")
    session.query(_TABLE)
    session.query(f"INSERT INTO social SELECT data FROM file('{rows}', Parquet)")
    session.query("OPTIMIZE TABLE social FINAL")  # one part: what the table becomes by itself in time
    answer("ready", 0)
    for line in sys.stdin:
        started = time.perf_counter()
        result = session.query(line, "JSONCompact")
        seconds = time.perf_counter() - started
        answer(json.loads(str(result))["data"], seconds)
    session.close()


def answer(rows: object, seconds: float) -> None:
    """One line, at once."""
    sys.stdout.write(json.dumps({"seconds": seconds, "rows": rows}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
