"""Who is let in, and how a worker stays answering under a crowd."""

import asyncio

import pytest

from novamesh.edge import gate as module
from novamesh.edge.gate import Pace


@pytest.fixture(autouse=True)
def rounds_of_ten_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND_BYTES", 10)


def test_a_crowd_of_bodies_is_parsed_in_rounds_that_let_others_through() -> None:
    async def run() -> list[str]:
        pace, done = Pace(), []

        async def parse(name: str) -> None:
            await pace.wait(4)
            done.append(name)

        async def other() -> None:
            await asyncio.sleep(0)
            done.append("health")

        await asyncio.gather(*(parse(f"body {n}") for n in range(9)), other())
        return done

    done = asyncio.run(run())
    # Each round has room for what begins within its ten bytes; nobody overtakes. Who asks meanwhile waits for no more
    # than the round it came in.
    assert [name for name in done if name != "health"] == [f"body {n}" for n in range(9)]
    assert done.index("health") == 3


def test_who_waits_costs_nothing_and_is_overtaken_by_nobody() -> None:
    async def run() -> tuple[list[int], list[int]]:
        pace, begun, parsed = Pace(), [], []

        async def parse(number: int) -> None:
            begun.append(number)
            await pace.wait(11)
            parsed.append(number)

        running: list[asyncio.Future[None]] = []
        while len(parsed) < 20:
            running += [asyncio.ensure_future(parse(len(running) + place)) for place in range(3)]
            await asyncio.sleep(0)
        for task in running:
            task.cancel()
        return begun, parsed

    begun, parsed = asyncio.run(run())
    assert parsed == sorted(parsed), "first come, first served"
    assert parsed == list(range(len(parsed)))
    # One in each round, although three come in each: what waits, waits without being asked again.
    assert len(begun) <= 3 * len(parsed) + 6


def test_the_place_of_who_left_is_taken_by_the_next() -> None:
    async def run() -> list[str]:
        pace, done = Pace(), []

        async def parse(name: str) -> None:
            await pace.wait(11)
            done.append(name)

        first, left, last = (asyncio.ensure_future(parse(name)) for name in ("first", "left", "last"))
        await first
        left.cancel()
        await last
        return done

    assert asyncio.run(run()) == ["first", "last"]
