"""Every step of the load cycle × every fault: after a restart the rows are exactly the acknowledged events, once each."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from novamesh.spool.segment import list_segments
from novamesh.store import loader as loader_module
from tests.faults.files import FaultyFiles
from tests.faults.load_cycle import FILE_CALLS, KILLED, STEPS, Step, put
from tests.support import wait_for
from tests.unit.store_files import Store, named

EVENTS = ["a", "b", "c", "d", "e", "f"]


def fill(store: Store) -> None:
    """Three segments: plain events, events with ids, keyed batches, and each of the latter twice."""
    records = [
        store.record(named("a", "b")),
        store.record([{"event": "c", "id": "1"}, {"event": "d", "id": "2"}]),
        store.record(named("e"), key="k", batch="e" * 28),
        store.record([{"event": "c", "id": "1"}]),
        store.record(named("e"), key="k", batch="e" * 28),
        store.record(named("f")),
    ]
    store.write(*records, segment_bytes=300)
    assert store.segments() >= 3


def check_all_there(store: Store, others: int = 0) -> None:
    store.load()
    assert store.names() == EVENTS
    assert store.totals() == (6 + others, 2, 0)
    assert (store.segments(), store.positions(), store.loader.damaged()) == (0, 0, 0)


def raising(error: Exception) -> Callable[..., None]:
    def failing(*_: object) -> None:
        raise error

    return failing


FAULTS: dict[str, Callable[[], Exception]] = {
    "EIO": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "ENOSPC": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "the database's disk": lambda: duckdb.IOException("IO Error: Could not write file: No space left on device"),
    "the database's memory": lambda: duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate"),
}


def cases() -> list[Any]:
    return [
        pytest.param(step, fault, id=f"{step.name}: {fault}")
        for step in STEPS
        for fault in FAULTS
        if (step.call in FILE_CALLS) != fault.startswith("the database")
    ]


@pytest.mark.parametrize(("step", "fault"), cases())
def test_a_fault_at_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Step, fault: str) -> None:
    """The loader reports it and goes on by itself."""
    monkeypatch.setattr(loader_module, "RETRY_S", 0.01)
    files = FaultyFiles()
    with Store(tmp_path / "data", files) as store:
        store.take(named("before"), "other")  # tables and positions are there, as in a node that runs
        fill(store)
        happened = put(store, files, step, raising(FAULTS[fault]()))
        run_until_loaded(store)
        assert happened(), "the fault was there"
        store.restart()
        check_all_there(store, others=1)


def run_until_loaded(store: Store) -> None:
    stopping = threading.Event()
    thread = threading.Thread(target=store.loader.run, args=(stopping,))
    thread.start()
    try:
        wait_for(lambda: not store.segments(), what="the end of the backlog")
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize("place", range(len(STEPS)), ids=[step.name for step in STEPS])
def test_a_process_that_is_killed_at_a_step(tmp_path: Path, place: int) -> None:
    """Just behind it, and so just before the next one."""
    directory = tmp_path / "data"
    spool = directory / "spool"
    with Store(directory) as store:
        fill(store)
    segments = [(path, path.read_bytes()) for path in list_segments(spool)]
    result = subprocess.run(
        [sys.executable, "-m", "tests.faults.load_cycle", str(directory), str(place)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode == KILLED, result.stderr
    for path, content in segments:
        assert not path.exists() or path.read_bytes() == content
    with Store(directory) as store:
        check_all_there(store)
