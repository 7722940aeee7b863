"""Lines of requests that were not served: so many a second, and the others counted."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from granian.rsgi import Scope

from novamesh.edge import accesslog
from novamesh.edge.accesslog import LINES_A_SECOND, FailureLog
from novamesh.edge.call import Call
from novamesh.errors import InternalError, RequestError, SpoolFull
from tests.support import wait_for

SCOPE = cast(Scope, SimpleNamespace(method="POST", path="/v1/ingest", headers={}))
CALL = cast(Call, SimpleNamespace(named=lambda: {"request_id": "r"}))
FULL, BUG = SpoolFull("full"), InternalError("failed")


class Lines:
    """What is logged, and a clock that stands still."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 7.0
        self.failures = FailureLog(lambda: self.now)
        self._caplog = caplog

    def note(self, error: RequestError, count: int, cause: Exception | None = None) -> None:
        for _ in range(count):
            self.failures.note(CALL, SCOPE, error, cause)

    def of(self, error: RequestError) -> int:
        return sum(getattr(record, "error", "") == error.code for record in self._caplog.records)

    def left_out(self) -> list[Any]:
        counts = [getattr(record, "lines_left_out", None) for record in self._caplog.records]
        return [count for count in counts if count is not None]


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Lines:
    monkeypatch.setattr(accesslog, "TELL_S", 0.001)
    return Lines(caplog)


def test_so_many_a_second_are_written(written: Lines) -> None:
    async def test() -> None:
        written.note(FULL, 300)
        assert written.of(FULL) == LINES_A_SECOND
        written.now += 1
        written.note(FULL, 1)

    asyncio.run(test())
    assert written.of(FULL) == LINES_A_SECOND + 1


def test_what_was_left_out_is_said_though_nothing_more_fails(written: Lines) -> None:
    async def test() -> None:
        written.note(FULL, 300)
        await asyncio.to_thread(wait_for, written.left_out)
        written.now += 1
        written.note(FULL, LINES_A_SECOND + 2)
        await asyncio.to_thread(wait_for, lambda: len(written.left_out()) == 2)

    asyncio.run(test())
    assert written.left_out() == [300 - LINES_A_SECOND, 2]


def test_what_was_left_out_is_said_when_the_worker_ends(written: Lines) -> None:
    async def test() -> None:
        written.note(FULL, LINES_A_SECOND + 3)
        written.failures.tell()
        written.failures.tell()

    asyncio.run(test())
    assert written.left_out() == [3]


def test_500s_have_a_limit_of_their_own(written: Lines, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        written.note(FULL, 300)
        written.note(BUG, 300, ValueError("a bug"))

    asyncio.run(test())
    assert written.of(BUG) == LINES_A_SECOND
    last = next(record for record in reversed(caplog.records) if getattr(record, "error", "") == BUG.code)
    assert (last.message, last.levelname, cast(Any, last).path) == ("a request failed", "ERROR", "/v1/ingest")
    assert last.exc_info is not None
    assert isinstance(last.exc_info[1], ValueError)
