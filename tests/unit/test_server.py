"""How the HTTP server starts its workers again."""

import errno
import os
from typing import Any

import pytest

from novamesh.config import Config
from novamesh.edge.server import EdgeServer, make_server
from tests.support import DEADLINE_S


class Process:
    """A worker's process; ``error`` is what its start raises."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error

    def start(self) -> None:
        if self.error is not None:
            raise self.error


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no process left, or it dies before it has read what it is to do."""
    runs, other = Process(), Process()
    tries = [Process(OSError(number, os.strerror(number))) for number in (errno.EAGAIN, errno.EPIPE)] + [runs]

    def spawn(_server: EdgeServer, worker: int, _target: Any, _loader: Any) -> Process:
        assert worker == 1
        return tries.pop(0)

    monkeypatch.setattr(EdgeServer, "_spawn_worker", spawn)
    server = make_server(Config(workers=2))
    places: list[Any] = [other, Process()]
    server.wrks = places
    server._start_again(1, None, None)
    assert places == [other, runs]


def test_no_worker_is_started_when_the_server_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EdgeServer, "_spawn_worker", lambda *_: pytest.fail("one was started"))
    server = make_server(Config(workers=1))
    server.signal_handler_interrupt()
    assert server.stopped.wait(DEADLINE_S)
    server._start_again(0, None, None)
    server.interrupt_children.append(0)
    server._serve_loop(None, None)
