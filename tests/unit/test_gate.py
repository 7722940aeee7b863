"""Who is let in, and how a worker stays answering under a crowd."""

import asyncio
import time

import pytest

from novamesh.edge import gate as module
from novamesh.edge.gate import Pace


def test_a_crowd_of_bodies_is_parsed_in_rounds_that_let_others_through(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module, "ROUND_S", 10)

    async def run() -> list[str]:
        pace, done = Pace(), []

        async def parse(name: str) -> None:
            await pace.wait()
            clock[0] += 4
            done.append(name)

        async def other() -> None:
            await asyncio.sleep(0)
            done.append("health")

        await asyncio.gather(*(parse(f"body {n}") for n in range(9)), other())
        return done

    done = asyncio.run(run())
    # Each round has room for what begins within its ten seconds; nobody overtakes. What has to wait for
    # its turn comes after the second of the three.
    assert [name for name in done if name != "health"] == [f"body {n}" for n in range(9)]
    assert done.index("health") == 6
