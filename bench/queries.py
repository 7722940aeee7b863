"""(g) queries on millions of events: through the API, as bare DuckDB answers them, and as ClickHouse does."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from bench.api import Api, Refused
from bench.datasets import Dataset, prepare
from bench.query_set import SOCIAL, web
from bench.report import Row
from novamesh.config import Config
from novamesh.store.contract import schema_for
from tests.support import run_cli, running_node, wait_for

ROUNDS, FEWEST_ROUNDS, ENOUGH_S = 9, 3, 6.0  # a query that takes seconds does not need nine to show it
_AIM = "≤ 1.15"

Rows = Sequence[Sequence[Any]]


def measure(directory: Path, scale: float, keep: Path | None, chdb: str) -> Iterator[Row]:
    """All of group g. ``keep`` is where the data stays for the next time; ``chdb`` an interpreter that may have it."""
    data, seconds = prepare(keep or directory / "queries", scale)
    size = f"{data.web:,} web events, {data.social:,} social"
    if seconds > 1:
        yield Row("g", f"{size}, made and stored", (data.web + data.social) / seconds, "events/s")
    copy = directory / "bare.duckdb"
    shutil.copyfile(data.file, copy)
    config = Config(data_dir=str(data.directory))
    threads = config.query_threads or os.cpu_count() or 1
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": f"{config.query_memory_limit_bytes}B",
        "temp_directory": str(directory / "bare-tmp"),
    }
    with (
        duckdb.connect(copy, read_only=True, config=settings) as connection,
        _clickhouse(connection, chdb, threads) as clickhouse,
        _node(data) as clients,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        yield from _compare(clients, connection, clickhouse)


@contextlib.contextmanager
def _node(data: Dataset) -> Iterator[dict[str, Api]]:
    """A node on the data, and a client for each project with a connection of its own."""
    with running_node(data.directory) as node, contextlib.ExitStack() as open_clients:
        clients = {}
        for space in ("web", "social"):
            made = run_cli("keys", "create", f"--project={space}", "--scope=query", f"--data-dir={data.directory}")
            node.key = made.stdout.strip()
            clients[space] = open_clients.enter_context(contextlib.closing(Api(node.url, node.key)))
            wait_for(partial(_is_welcome, clients[space]), what="the new key")
        yield clients
        node.stop()


def _is_welcome(client: Api) -> bool:
    try:
        return bool(client.ask("SELECT 1"))
    except Refused:
        return False


def _compare(
    clients: dict[str, Api], connection: duckdb.DuckDBPyConnection, clickhouse: "ClickHouse | None"
) -> Iterator[Row]:
    ratios: dict[str, list[float]] = {"web": [], "social": []}
    against_clickhouse: list[float] = []
    for query in (*SOCIAL, *web(_last_hour(connection))):
        calls: dict[str, Callable[[], tuple[float, Rows]]] = {
            "api": partial(_ask, clients[query.space], query.api),
            "bare": partial(_run, connection, query.bare),
        }
        if clickhouse is not None and query.clickhouse:
            calls["clickhouse"] = partial(clickhouse.ask, query.clickhouse)
        try:
            fault = _difference({name: call()[1] for name, call in calls.items()})
            ms = _medians(calls)
        except Refused as refused:  # too slow, or too large: the others still have something to tell
            yield Row("g", f"{query.space}: {query.name}", 0, "ms", note=f"REFUSED: {refused}")
            continue
        ratio = ms["api"] / ms["bare"]
        ratios[query.space].append(ratio)
        note = f"bare {ms['bare']:.1f} ms, {ms['api'] - ms['bare']:+.1f} ms"
        if "clickhouse" in ms:
            against_clickhouse.append(ms["api"] / ms["clickhouse"])
            note += f"; chdb {ms['clickhouse']:.1f} ms, {against_clickhouse[-1]:.2f} of it"
        if fault:
            note = f"ANSWERS DIFFER: {fault}; {note}"
        yield Row("g", f"{query.space}: {query.name}", ms["api"], "ms", ratio, "bare DuckDB", "", note)
    for space, found in ratios.items():
        if found:
            yield Row("g", f"{space}: geometric mean of the ratios to bare DuckDB", _mean(found), "×", aim=_AIM)
    if against_clickhouse:
        what = "JSONBench's five: geometric mean of the ratios to chdb"
        yield Row("g", what, _mean(against_clickhouse), "×", note=f"chdb {clickhouse.version if clickhouse else ''}")
    else:
        yield Row("g", "JSONBench's five against chdb", 0, "", note="not measured: chdb is not installed")


def _last_hour(connection: duckdb.DuckDBPyConnection) -> str:
    row = connection.execute(
        f'SELECT (max(timestamp) - INTERVAL 1 HOUR)::VARCHAR FROM "{schema_for("web")}".events_shredded'
    ).fetchone()
    assert row is not None
    return str(row[0])


def _ask(client: Api, sql: str) -> tuple[float, Rows]:
    started = time.perf_counter()
    answer = client.ask(sql)
    seconds = time.perf_counter() - started
    rows: Rows = json.loads(answer)["rows"]
    return seconds, rows


def _run(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[float, Rows]:
    started = time.perf_counter()
    rows = connection.execute(sql).fetchall()
    return time.perf_counter() - started, rows


def _medians(calls: dict[str, Callable[[], tuple[float, Rows]]]) -> dict[str, float]:
    """Milliseconds of each, taken in turns so that what else the machine does hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    started = time.perf_counter()
    for n in range(ROUNDS):
        if n >= FEWEST_ROUNDS and time.perf_counter() - started > ENOUGH_S:
            break
        for name, call in calls.items():
            times[name].append(call()[0])
    return {name: statistics.median(found) * 1000 for name, found in times.items()}


def _mean(ratios: list[float]) -> float:
    return statistics.geometric_mean(ratios)


def _difference(answers: dict[str, Rows]) -> str:
    """What is different about the answers, or nothing. The order of rows with equal keys is nobody's."""
    forms = {
        name: sorted(json.dumps([_plain(value) for value in row]) for row in rows) for name, rows in answers.items()
    }
    first = forms["api"]
    for name, other in forms.items():
        if other != first:
            pair = next(
                ((a, b) for a, b in zip(first, other, strict=False) if a != b), (f"{len(first)} rows", f"{len(other)}")
            )
            return f"API {pair[0]}, {name} {pair[1]}"
    return ""


def _plain(value: Any) -> Any:
    """One form for a value, whatever it came through."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, str):
        if value.startswith("{"):
            return _plain(json.loads(value))
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value).replace(tzinfo=None).isoformat() if value[4:5] == "-" else value
        return value
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return float(f"{float(value):.9g}")  # sums of doubles depend on the order they are added in
    return value


class ClickHouse:
    """``chdb_side`` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.version = ""
        self.answer()  # loaded

    def answer(self) -> tuple[float, Rows]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("chdb ended; its own words are above")
        found = json.loads(line)
        return found["seconds"], found["rows"]

    def ask(self, sql: str) -> tuple[float, Rows]:
        assert self._process.stdin is not None
        self._process.stdin.write(sql + "\n")
        self._process.stdin.flush()
        seconds, rows = self.answer()
        # Where nothing is, a typed path has an empty string; ours has null, as the event that was sent.
        return seconds, [[None if value == "" else _number(value) for value in row] for row in rows]


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


@contextlib.contextmanager
def _clickhouse(connection: duckdb.DuckDBPyConnection, python: str, threads: int) -> Iterator[ClickHouse | None]:
    """The social events in ClickHouse, if the interpreter ``python`` has ``chdb``."""
    if subprocess.run([python, "-c", "import chdb"], stderr=subprocess.DEVNULL, check=False).returncode:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="novamesh-chdb-") as name:
        rows = Path(name) / "rows.parquet"
        connection.execute(
            f'COPY (SELECT properties::JSON::VARCHAR AS data FROM "{schema_for("social")}".events_shredded)'
            f" TO '{rows}' (FORMAT parquet)"
        )
        process = subprocess.Popen(
            [python, str(Path(__file__).with_name("chdb_side.py")), str(Path(name) / "data"), str(rows), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            clickhouse = ClickHouse(process)
            clickhouse.version = str(clickhouse.ask("SELECT version()")[1][0][0])
            yield clickhouse
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
