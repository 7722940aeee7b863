"""The disk fails under a real node's processes: each says it in a sentence, and goes on when it has passed."""

import contextlib
import errno
import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from novamesh.datadir import DataDirectory
from tests.faults.injection import ALL, SYNCS, WRITES, DiskFaults, refused_writes
from tests.support import DEADLINE_S, RunningNode, running_node, start_serve, wait_for


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> DiskFaults:
    directory = tmp_path_factory.mktemp("disk")
    return DiskFaults(directory / "faults", directory)


@pytest.fixture(scope="module")
def node(disk: DiskFaults) -> Iterator[RunningNode]:
    with running_node(disk.directory / "data", disk.environment, workers=2) as node:
        yield node


def send(node: RunningNode, name: str) -> tuple[int, str]:
    answer = node.post("/v1/ingest", {"event": name, "id": name})
    return answer.status_code, answer.json().get("error", "")


def wait_for_events(node: RunningNode, *names: str) -> None:
    """Wait until these are stored, once each."""
    sql = f"SELECT event FROM events WHERE event IN ({str(names)[1:-1].rstrip(',')}) ORDER BY event"
    wait_for(lambda: [name for (name,) in node.rows(sql)] == sorted(names), what="what was sent")


def test_errors_in_a_running_node_are_said_and_pass(node: RunningNode, disk: DiskFaults) -> None:
    with disk.failing(*WRITES, code=errno.ENOSPC):
        assert send(node, "a") == (503, "spool_full")
        wait_for(
            lambda: httpx.get(node.url + "/v1/health").json()["status"] == "degraded", what="a worker that says so"
        )
    with disk.failing(*SYNCS):
        assert send(node, "a") == (503, "spool_unavailable")
    with contextlib.ExitStack() as workers:
        for worker in node.children()["edge"]:
            workers.enter_context(refused_writes(worker))
        assert send(node, "a") == (503, "spool_unavailable")
    assert send(node, "a") == (202, "")
    wait_for_events(node, "a")
    assert disk.failed().keys() >= {"writev", "fsync"}


def test_a_database_that_cannot_be_written_loses_nothing(node: RunningNode) -> None:
    assert send(node, "before") == (202, "")
    wait_for_events(node, "before")
    (store,) = node.children()["store"]
    with refused_writes(store):
        assert send(node, "meanwhile") == (202, "")
        wait_for(lambda: "loading failed" in node.log or "the store has died" in node.log, what="a failed load")
    assert send(node, "after") == (202, "")
    wait_for_events(node, "before", "meanwhile", "after")
    wait_for(lambda: httpx.get(node.url + "/v1/ready").status_code == 200, what="readiness")


def test_a_worker_that_cannot_start_leaves_the_others_at_work(node: RunningNode, disk: DiskFaults) -> None:
    before = len(node.log)
    with disk.failing(*WRITES, code=errno.ENOSPC):
        killed, other = node.children()["edge"]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: "an edge worker cannot start" in node.log[before:], what="what is wrong")
        assert send(node, "b") == (503, "spool_full")
    assert os.strerror(errno.ENOSPC) in node.log[before:]
    assert "Traceback" not in node.log[before:]
    assert send(node, "b") == (202, "")
    wait_for_events(node, "b")
    wait_for(lambda: len(node.children()["edge"]) == 2, what="a worker in its place")
    assert other in node.children()["edge"]


def test_a_node_does_not_start_on_a_disk_that_fails(disk: DiskFaults) -> None:
    data = disk.directory / "other"
    directory = DataDirectory(data)
    directory.open()
    directory.close()
    with disk.failing(*ALL):
        process = start_serve(data, disk.environment, port=0)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == f"novamesh: data directory {data} cannot be used: {os.strerror(errno.EIO)}"
    assert "Traceback" not in errors
