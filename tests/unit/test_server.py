"""How the HTTP server starts its workers again."""

import errno
import os
from typing import Any

import pytest

from novamesh import restarts
from novamesh.config import Config
from novamesh.edge.server import EdgeServer, make_server
from tests.support import DEADLINE_S


class Process:
    """A worker's process; ``error`` is what its start raises."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error

    def is_alive(self) -> bool:
        return False

    def start(self) -> None:
        if self.error is not None:
            raise self.error


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no process left, or it dies before it has read what it is to do."""
    runs, other = Process(), Process()
    tries = [Process(OSError(number, os.strerror(number))) for number in (errno.EAGAIN, errno.EPIPE)] + [runs]
    server = make_server(Config(workers=2))

    def spawn(_server: EdgeServer, worker: int, _target: Any, _loader: Any) -> Process:
        assert worker == 1
        if len(tries) == 1:
            server.stopped.set()
        return tries.pop(0)

    monkeypatch.setattr(EdgeServer, "_spawn_worker", spawn)
    places: list[Any] = [other, Process()]
    server.wrks = places
    _die(server, 1)
    server._serve_loop(None, None)
    assert places == [other, runs]


def test_a_worker_does_not_wait_for_another_that_dies_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "DELAYS_S", (0.0, DEADLINE_S))
    server = make_server(Config(workers=2))
    server.wrks = [Process(), Process()]  # type: ignore[list-item]
    started: list[int] = []

    def spawn(_server: EdgeServer, worker: int, _target: Any, _loader: Any) -> Process:
        started.append(worker)
        if len(started) == 1:
            _die(server, 0)  # it has to wait now
            _die(server, 1)
        else:
            server.stopped.set()
        return Process()

    monkeypatch.setattr(EdgeServer, "_spawn_worker", spawn)
    _die(server, 0)
    server._serve_loop(None, None)
    assert started == [0, 1]


def test_no_worker_is_started_when_the_server_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EdgeServer, "_spawn_worker", lambda *_: pytest.fail("one was started"))
    server = make_server(Config(workers=1))
    server.signal_handler_interrupt()
    assert server.stopped.wait(DEADLINE_S)
    _die(server, 0)
    server._serve_loop(None, None)


def _die(server: EdgeServer, worker: int) -> None:
    server.interrupt_children.append(worker)
    server.main_loop_interrupt.set()
