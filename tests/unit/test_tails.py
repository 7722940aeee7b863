"""Live tails: what one takes and leaves out, what is sent to its reader, and what all of a worker are given."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from granian.rsgi import HTTPProtocol, Scope

from novamesh.config import Config
from novamesh.edge import tail, tails
from novamesh.edge.request import ClientGone
from novamesh.edge.tails import Filter, Tail, Tails
from novamesh.edge.worker import Worker
from novamesh.errors import TooManyQueries
from novamesh.event.record import Record, encode
from novamesh.keys import Key
from novamesh.spool.follow import Followed
from novamesh.status.metrics import WorkerMetrics
from tests.support import wait_for

ALL = Filter(frozenset(), None)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def opened(rate: int = 1_000_000, space: str = "default") -> Tail:
    return Tail(space, ALL, rate, lambda: None)


class Reader:
    """Stands in for the server: keeps what is sent, and says when there is so much."""

    def __init__(self) -> None:
        self.sent = b""
        self.more = asyncio.Event()

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> "Reader":
        assert (status, dict(headers)["content-type"]) == (200, "text/event-stream")
        return self

    async def send_bytes(self, data: bytes) -> None:
        self.sent += data
        self.more.set()

    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(60):
            while text not in self.sent:
                self.more.clear()
                await self.more.wait()


def serve(one: Tail, reader: Reader) -> "asyncio.Task[None]":
    scope = cast(Scope, SimpleNamespace(client="nobody:0"))
    return asyncio.create_task(tail._serve(one, scope, cast(HTTPProtocol, reader)))


def test_so_many_events_wait_and_the_others_are_counted() -> None:
    async def test() -> None:
        one = opened()
        taken = [one.offer(b"{}") for _ in range(tails.WAITING_EVENTS + 5)]
        assert taken.count(False) == one.take_dropped() == 5
        assert len(one.take()) == tails.WAITING_EVENTS
        assert one.offer(b"{}")
        assert (one.counted.shown, one.counted.dropped) == (tails.WAITING_EVENTS + 1, 5)

    run(test)


def test_so_many_bytes_wait() -> None:
    async def test() -> None:
        one = opened()
        row = b"x" * (tails.WAITING_BYTES // 4)
        assert [one.offer(row) for _ in range(6)] == [True] * 4 + [False] * 2
        assert len(one.take()) == 4
        assert one.offer(row)

    run(test)


def test_the_rate_is_refilled_by_time_and_no_further_than_a_second() -> None:
    async def test() -> None:
        one = opened(rate=10)
        began = one._credited_at
        assert sum(one.offer(b"{}") for _ in range(20)) == 10
        one.credit(began + 0.5)
        assert sum(one.offer(b"{}") for _ in range(20)) == 5
        one.credit(began + 60)
        assert sum(one.offer(b"{}") for _ in range(20)) == 10

    run(test)


def test_messages_and_a_ping_when_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "PING_S", 0.0)
    monkeypatch.setattr(tail, "DROPPED_S", 0.01)

    async def test() -> None:
        one, reader = opened(), Reader()
        serving = serve(one, reader)
        await reader.until(b"retry: 1000\n\n: ping\n\n")
        one.offer(b'{"a":1}')
        one.offer(b'{"a":2}')
        one.drop(7)
        one.ready.set()
        await reader.until(b'event: event\ndata: {"a":1}\n\nevent: event\ndata: {"a":2}\n\n')
        await reader.until(b'event: dropped\ndata: {"count":7}\n\n')
        one.offer(b'{"a":3}')
        one.drop(2)
        one.end("failed")
        await serving
        _, _, rest = reader.sent.partition(b'{"count":7}\n\n')
        *_, last = rest.split(b": ping\n\n")
        assert last.startswith(
            b'event: event\ndata: {"a":3}\n\nevent: dropped\ndata: {"count":2}\n\nevent: end\ndata: '
        )
        assert b'"reason":"failed"' in last

    run(test)


def test_who_reads_nothing_is_cut_off_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LAST_S", 0.01)
    cut: list[str] = []
    monkeypatch.setattr(tail, "cut", cut.append)

    async def stuck(_data: bytes) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        one, reader = opened(), Reader()
        monkeypatch.setattr(reader, "send_bytes", stuck)
        serving = serve(one, reader)
        one.end("stopping")
        with pytest.raises(ClientGone):
            await serving

    run(test)
    assert cut == ["nobody:0"]


def test_an_error_that_comes_late_cuts_the_connection_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 200 has begun: a second answer would be written into it."""
    cut: list[str] = []
    monkeypatch.setattr(tail, "cut", cut.append)

    async def fail(_data: bytes) -> None:
        raise OSError("out of descriptors")

    async def test() -> None:
        reader = Reader()
        monkeypatch.setattr(reader, "send_bytes", fail)
        all_tails = SimpleNamespace(enter=ignore, leave=ignore, part=ignore, join=join)
        key = SimpleNamespace(space="default")
        worker = SimpleNamespace(
            keyring=SimpleNamespace(authorize=lambda *_: key),
            config=SimpleNamespace(tail_rate=10),
            tails=all_tails,
            busy=Counter(),
            leave=ignore,
        )
        scope = SimpleNamespace(client="nobody:0", headers={}, query_string="", method="GET")
        with pytest.raises(ClientGone):
            await tail.tail(cast(Worker, worker), cast(Scope, scope), cast(HTTPProtocol, reader))

    def ignore(_: object) -> None:
        pass

    async def join(_: Tail) -> None:
        pass

    run(test)
    assert cut == ["nobody:0"]


class Spool:
    """Stands in for a follower. What it finds are the records of the spaces that are asked for."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.looks = 0
        self.failing = False
        self.may_look = threading.Event()
        self.may_look.set()
        self.looking = False
        self.closed_while_looking = False

    def accept(self, space: str) -> None:
        self.accepted.append(space)

    def read(self, spaces: set[str]) -> Followed:
        self.looks += 1
        self.looking = True
        self.may_look.wait(60)
        self.looking = False
        if self.failing:
            raise OSError("the disk is gone")
        found, self.accepted = self.accepted, []
        body = b'[{"event":"e"}]'
        records = [Record(space=space, batch="0" * 28, at=1, n=1) for space in found if space in spaces]
        return Followed([(record, encode(record, body)) for record in records], Counter())

    def close(self) -> None:
        self.closed_while_looking |= self.looking


@pytest.fixture
def spool(monkeypatch: pytest.MonkeyPatch) -> Spool:
    spool = Spool()
    monkeypatch.setattr(tails, "Follower", lambda *_: spool)
    monkeypatch.setattr(tails, "POLL_S", 0.001)
    monkeypatch.setattr(tails, "LONGEST_POLL_S", 0.002)
    return spool


def all_tails() -> Tails:
    nowhere = Path("/nonexistent")
    metrics = cast(WorkerMetrics, SimpleNamespace(add=lambda *_: None))
    return Tails(Config(), nowhere, nowhere, nowhere, metrics)


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_for, condition)


def test_each_tail_gets_what_its_space_accepts_until_it_parts(spool: Spool) -> None:
    async def test() -> None:
        every, one, other = all_tails(), opened(), opened(space="b")
        await every.join(one)
        await every.join(other)
        spool.accept("default")
        spool.accept("b")
        await until(lambda: one._waiting and other._waiting)
        assert (len(one.take()), len(other.take())) == (1, 1)
        every.part(one)
        spool.accept("default")
        await until(lambda: not spool.accepted)
        assert one.take() == []
        every.part(other)
        await until(lambda: every._task is None)

    run(test)


def test_who_joins_during_a_look_misses_nothing(spool: Spool) -> None:
    async def test() -> None:
        every, one, late = all_tails(), opened(), opened(space="b")
        await every.join(one)
        spool.may_look.clear()
        await until(lambda: spool.looking)
        joining = asyncio.ensure_future(every.join(late))
        await asyncio.wait((joining,), timeout=0.05)
        early = joining.done()
        if early:
            spool.accept("b")  # which the look finds, that does not know of the tail
        spool.may_look.set()
        await joining
        spool.accept("b")
        await until(lambda: not spool.accepted and late._waiting)
        assert len(late.take()) == 1 + early
        every.close()

    run(test)


def test_looks_that_fail_are_told_once_and_end_tails_after_a_while(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == tails.log.name]

    async def test() -> None:
        monkeypatch.setattr(tails, "FAILED_S", 600.0)
        every, one = all_tails(), opened()
        await every.join(one)
        spool.failing = True
        before = spool.looks
        await until(lambda: spool.looks > before + 5)
        assert said() == ["what is accepted cannot be followed"]
        assert not one.ended.done()
        spool.failing = False
        spool.accept("default")
        await until(lambda: one._waiting)
        assert said() == ["what is accepted cannot be followed", "what is accepted can be followed again"]
        monkeypatch.setattr(tails, "FAILED_S", 0.0)
        spool.failing = True
        async with asyncio.timeout(60):
            assert await one.ended == "failed"
        every.close()

    run(test)


def test_looks_that_fail_come_less_and_less_often(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(pause_s: float) -> None:
        pauses.append(pause_s)
        await sleep(0)

    async def test() -> None:
        monkeypatch.setattr(tails, "LONGEST_POLL_S", 1.0)
        every = all_tails()
        spool.failing = True
        monkeypatch.setattr(asyncio, "sleep", noted)
        await every.join(opened())
        while len(pauses) < 12:
            await sleep(0.001)
        every.close()

    run(test)
    assert pauses[:4] == [0.001, 0.002, 0.004, 0.008]
    assert pauses[11] == 1.0


def test_a_follower_is_not_closed_while_it_reads(spool: Spool) -> None:
    async def test() -> None:
        every = all_tails()
        await every.join(opened())
        spool.may_look.clear()
        await until(lambda: spool.looking)
        task = every._task
        assert task is not None
        every.close()
        await asyncio.wait((task,), timeout=0.05)
        spool.may_look.set()
        await asyncio.wait((task,))

    run(test)
    assert not spool.closed_while_looking


def test_so_many_tails_may_be_open_in_all_and_of_one_key() -> None:
    async def test() -> None:
        every = all_tails()
        every._config = Config(tail_max_concurrent=3, tail_key_concurrent=2)
        one, other = (cast(Key, SimpleNamespace(id=name)) for name in ("one", "other"))
        every.enter(one)
        every.enter(one)
        with pytest.raises(TooManyQueries, match="2 tails of this key"):
            every.enter(one)
        every.enter(other)
        with pytest.raises(TooManyQueries, match="3 tails are open"):
            every.enter(other)
        every.leave(one)
        every.enter(other)
        assert len(every) == 3

    run(test)
