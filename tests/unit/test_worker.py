"""A worker's figures, and what becomes of them when files cannot be read."""

import asyncio
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from granian.rsgi import HTTPProtocol, Scope

from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.edge import health, metrics, worker
from novamesh.edge.worker import Worker
from novamesh.spool.writer import spool_size
from novamesh.status import metrics as figures
from novamesh.status.history import no_history
from novamesh.status.metrics import Files, WorkerMetrics
from novamesh.status.uptime import Uptime, no_data
from novamesh.store.contract import StoreStatus
from tests import prometheus


class Answer:
    """Stands in for the server: keeps the body."""

    body = b""

    def response_bytes(self, status: int, _headers: list[tuple[str, str]], body: bytes) -> None:
        assert status == 200
        self.body = body


@pytest.fixture
def made(tmp_path: Path) -> Worker:
    """A worker of which only the figures are there; none of its directories can be read."""
    made = Worker.__new__(Worker)
    parts: dict[str, Any] = {
        "config": Config(),
        "run_directory": tmp_path,
        "spool_directory": tmp_path / "spool",
        "ledger_directory": tmp_path / "ledger",
        "store_directory": tmp_path / "store",
        "store": StoreStatus(0, 0, 0, 0, 0, 0),
        "store_problem": None,
        "uptime": SimpleNamespace(report=no_data),
        "history": SimpleNamespace(minutes=no_history),
        "since": SimpleNamespace(note=lambda *_: {}),
        "problems": list,
        "_unreadable": set(),
    }
    for name, value in parts.items():
        setattr(made, name, value)
    for name in ("store", "ledger"):
        (tmp_path / name).write_text("no directory")
    return made


def test_a_worker_that_cannot_accept_says_so_from_its_first_moment(tmp_path: Path) -> None:
    """What it says is the node's uptime, whoever reads it before the worker looks for the second time."""
    config = Config(data_dir=str(tmp_path / "data"), disk_reserve_bytes=2**60)
    directory = DataDirectory(config.data_path)
    directory.open()
    Uptime(directory.status).close()
    with closing(asyncio.new_event_loop()) as loop:
        made = Worker(config, loop)
        accepting = figures.read(directory.run, time.time()).accepting
        made.close()
        loop.run_until_complete(asyncio.sleep(0))  # its tasks end
    directory.close()
    assert not accepting


def answered(handler: Any, made: Worker) -> bytes:
    answer = Answer()
    scope = SimpleNamespace(query_string="")
    asyncio.run(handler(made, cast(Scope, scope), cast(HTTPProtocol, answer)))
    return answer.body


def test_figures_that_cannot_be_read_are_left_out_and_the_others_shown(made: Worker) -> None:
    """Just when a disk fails or descriptors run out the page, ``/v1/ready`` and ``/metrics`` are looked at."""
    families = prometheus.read(answered(metrics.exposition, made).decode())
    assert families["novamesh_store_up"].value() == 1
    assert not {"novamesh_spool_bytes", "novamesh_store_bytes", "novamesh_events_accepted_total"} & {
        name for name, family in families.items() if family.samples
    }
    assert msgspec.json.decode(answered(health.ready, made)) == {"status": "ready", "ledger": None}
    assert b"</html>" in answered(health.page, made)


def test_metrics_are_of_one_look_at_the_workers_files(made: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is of two looks costs twice as much, and its figures are of two times."""
    counted = WorkerMetrics(made.run_directory, 1)
    looks = []

    def load(directory: Path) -> Files:
        counted.count(202)
        counted.observe(1, time.time())
        looks.append(directory)
        return real(directory)

    real = figures.load
    monkeypatch.setattr(figures, "load", load)
    families = prometheus.read(answered(metrics.exposition, made).decode())
    counted.close()
    assert looks == [made.run_directory]
    assert families["novamesh_http_requests_total"].value(outcome="success") == 1
    assert families["novamesh_accept_duration_seconds"].value("_count") == 1


def test_that_a_figure_cannot_be_read_is_logged_until_it_can(made: Worker, caplog: pytest.LogCaptureFixture) -> None:
    def logged() -> int:
        return sum(record.name == worker.log.name for record in caplog.records)

    assert made.figure(spool_size, made.spool_directory) is made.figure(spool_size, made.spool_directory) is None
    assert logged() == 1
    made.spool_directory.mkdir()
    assert made.figure(spool_size, made.spool_directory) == 0
    made.spool_directory.rmdir()
    assert made.figure(spool_size, made.spool_directory) is None
    assert logged() == 2
