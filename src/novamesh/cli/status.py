"""``novamesh status``: a node at a glance, read in its data directory and asked of its store."""

import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.cli.store import NotRunning, ask
from novamesh.datadir import DataDirectory
from novamesh.errors import StoreUnavailable
from novamesh.spool import tally
from novamesh.spool.writer import spool_size
from novamesh.status import metrics
from novamesh.status.health import Problem, store_problems
from novamesh.status.ledger import Entry, Ledger, identity, ledger
from novamesh.status.uptime import Reader
from novamesh.store.contract import StatusRequest, StoreStatus

# A store that answers does so at once.
ANSWER_S = 3.0
RUNNING, DEGRADED, STOPPED = "ok", "degraded", "stopped"


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown. ``status`` is ``ok``, ``degraded`` or ``stopped``; what only a store knows is None without one."""

    status: str
    node: str | None
    region: str | None
    url: str | None
    problems: list[Problem]
    uptime: float | None
    workers: int
    latency_p50_ms: float | None
    spool_bytes: int
    backlog_bytes: int | None
    lag_s: float | None
    ledger: dict[str, Entry] | None


@click.command(epilog="Example: novamesh status --data-dir ./novamesh-data --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@setting_options("data_dir")
@config_option
def status(as_json: bool, config_file: Path | None, **flags: Any) -> None:
    """Show how the node of a data directory is. Exit status: 0 if it runs and is well, else 1."""
    directory = DataDirectory(load_config(flags, config_file).data_path)
    if directory.open_stopped():
        directory.close()
        shown = _stopped(directory)
    else:
        shown = _running(directory)
    click.echo(msgspec.json.format(msgspec.json.encode(shown)).decode() if as_json else _text(shown))
    sys.exit(0 if shown.status == RUNNING else 1)


def _stopped(directory: DataDirectory) -> Glance:
    return _glance(directory, STOPPED, [], None, None)


def _running(directory: DataDirectory) -> Glance:
    problems = []
    store, spaces = None, None
    try:
        store = ask(directory, StatusRequest(), StoreStatus, ANSWER_S)
        spaces = ledger(tally.read(directory.ledger).counts, store)
        problems += store_problems(store)
    except NotRunning:
        return _stopped(directory)  # it has stopped since
    except StoreUnavailable as error:
        problems.append(Problem("store", error.message))
    if not metrics.read(directory.run, time.time()).accepting:
        problems.append(Problem("spool", "no edge worker can accept events now; the log of the node says why"))
    return _glance(directory, DEGRADED if problems else RUNNING, problems, store, spaces)


def _glance(
    directory: DataDirectory, status: str, problems: list[Problem], store: StoreStatus | None, spaces: Ledger | None
) -> Glance:
    now = time.time()
    node = directory.running()
    snapshot = metrics.read(directory.run, now)
    uptime = Reader(directory.status).report(now)
    return Glance(
        status=status,
        node=node.node if node else None,
        region=node.region if node else None,
        url=node.url if node else None,
        problems=problems,
        uptime=uptime.percent if uptime.first_start is not None else None,
        workers=snapshot.workers if status != STOPPED else 0,
        latency_p50_ms=snapshot.p50_ms,
        spool_bytes=spool_size(directory.spool),
        backlog_bytes=store.backlog_bytes if store else None,
        lag_s=store.lag_s if store else None,
        ledger=spaces,
    )


def _text(shown: Glance) -> str:
    name = f"{shown.node or 'node'} ({shown.region or 'no region'})"
    where = f" at {shown.url}, {shown.workers} edge workers" if shown.status != STOPPED else ""
    lines = [f"{name}: {shown.status}{where}"]
    lines += [f"  {problem.part}: {problem.reason}" for problem in shown.problems]
    if shown.uptime is not None:
        lines.append(f"uptime   {shown.uptime:.2f}% of the last 30 days")
    if shown.latency_p50_ms is not None:
        lines.append(f"latency  {shown.latency_p50_ms:.2f} ms (p50 of the last hour)")
    spool = f"spool    {shown.spool_bytes:,} bytes"
    if shown.backlog_bytes is not None and shown.lag_s is not None:
        spool += f", {shown.backlog_bytes:,} of them not loaded, {shown.lag_s:.1f} s behind"
    lines += [spool, *_ledger_lines(shown)]
    return "\n".join(lines)


def _ledger_lines(shown: Glance) -> list[str]:
    if shown.ledger is None:
        if shown.status == STOPPED:
            return ["ledger   not known while the node is stopped; novamesh verify counts what is there"]
        return ["ledger   not known while the store does not answer"]
    if not shown.ledger:
        return ["ledger   no events yet"]
    width = max(map(len, shown.ledger))
    rows = [f"{space:<{width}}  {identity(entry)}" for space, entry in shown.ledger.items()]
    return [f"ledger   {rows[0]}", *(f"         {row}" for row in rows[1:])]
