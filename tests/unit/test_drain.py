"""What is taken in of a refused body has bounds."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from granian.rsgi import HTTPProtocol, ProtocolError, Scope

from novamesh.edge import drain as module
from novamesh.edge.call import Call
from novamesh.edge.drain import MOST_AT_ONCE, Drain


class Body:
    """A server's protocol with a body of so many bytes, one after the other; or of none, and without an end."""

    def __init__(self, size: int | None) -> None:
        self.size = size
        self.read = 0
        self.begun = asyncio.Event()

    def __aiter__(self) -> "Body":
        if self.begun.is_set():
            raise ProtocolError
        self.begun.set()
        return self

    async def __anext__(self) -> bytes:
        if self.size is None:
            await asyncio.Event().wait()
        if self.read == self.size:
            raise StopAsyncIteration
        self.read += 1
        return b"x"


def finish(drain: Drain, body: Body, version: str = "1.1", **headers: str) -> asyncio.Task[None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    scope = SimpleNamespace(http_version=version, headers=named)
    call = Call(cast(Scope, scope), cast(HTTPProtocol, body))
    return asyncio.create_task(drain.finish(call, cast(Scope, scope)))


async def taken(size: int, version: str = "1.1", begun: bool = False, **headers: str) -> int:
    body = Body(size)
    if begun:
        aiter(body)
    await finish(Drain(1000), body, version, **headers)
    return body.read


def test_a_body_is_taken_in_to_its_end_or_a_little_beyond_the_largest() -> None:
    assert asyncio.run(taken(1400, content_length="1400")) == 1400
    assert asyncio.run(taken(1400, content_length="1400", begun=True)) == 1400
    assert asyncio.run(taken(1400, transfer_encoding="chunked")) == 1400
    assert asyncio.run(taken(9000, transfer_encoding="chunked")) == 1501
    assert asyncio.run(taken(1600, content_length="1600")) == 0
    assert asyncio.run(taken(10, version="2", content_length="10")) == 0
    assert asyncio.run(taken(10)) == 0


def test_nobody_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIME_S", 0.001)

    async def run() -> None:
        body = Body(None)
        await finish(Drain(1000), body, content_length="10")
        assert body.begun.is_set()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_so_many_are_waited_for_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIME_S", 3600)

    async def run() -> None:
        drain = Drain(1000)
        slow = [Body(None) for _ in range(MOST_AT_ONCE)]
        tasks = [finish(drain, body, content_length="10") for body in slow]
        for body in slow:
            await body.begun.wait()
        late = Body(10)
        await finish(drain, late, content_length="10")
        assert not late.begun.is_set()
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        await finish(drain, late, content_length="10")
        assert late.read == 10
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(run())
