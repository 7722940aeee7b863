"""The start of an edge worker."""

import asyncio
import errno
import os

import pytest

from novamesh.config import Config
from novamesh.edge import app


def test_a_worker_that_cannot_start_says_why_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_config: Config, _loop: asyncio.AbstractEventLoop) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(app, "Worker", refuse)
    for name in ("configure", "warm"):
        monkeypatch.setattr(app, name, lambda *_: None)
    loop = asyncio.new_event_loop()
    with pytest.raises(SystemExit, match="1"):
        app.Application(Config()).__rsgi_init__(loop)
    loop.close()
    (said,) = caplog.records
    assert said.getMessage() == "an edge worker cannot start, trying again"
    assert os.strerror(errno.ENOSPC) in said.__dict__["cause"]
