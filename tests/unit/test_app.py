"""The start of an edge worker."""

import asyncio
import errno
import os
import signal
from types import SimpleNamespace

import pytest

from novamesh.config import Config
from novamesh.edge import app

# What the server takes for a crash loop (``granian.server.common``): it ends all workers then.
CRASH_LOOP_S = 5.5


def test_a_worker_that_cannot_start_says_why_and_does_not_die_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []

    def refuse(_config: Config, _loop: asyncio.AbstractEventLoop) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(app, "Worker", refuse)
    monkeypatch.setattr(app, "time", SimpleNamespace(sleep=slept.append))
    for name in ("configure", "warm"):
        monkeypatch.setattr(app, name, lambda *_: None)
    ended: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, _handler: ended.append(number))
    loop = asyncio.new_event_loop()
    with pytest.raises(SystemExit, match="1"):
        app.Application(Config()).__rsgi_init__(loop)
    loop.close()
    assert [wait > CRASH_LOOP_S for wait in slept] == [True]
    assert ended == [signal.SIGTERM], "a stop need not wait for it"
    (said,) = caplog.records
    assert said.getMessage() == "an edge worker cannot start, trying again"
    assert os.strerror(errno.ENOSPC) in said.__dict__["cause"]
