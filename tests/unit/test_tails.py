"""One live tail: what it takes, what it leaves out, and what is sent to its reader."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge import tail, tails
from novamesh.edge.request import ClientGone
from novamesh.edge.tails import Filter, Tail

ALL = Filter(frozenset(), None)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def opened(rate: int = 1_000_000) -> Tail:
    return Tail("default", ALL, rate, lambda: None)


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
