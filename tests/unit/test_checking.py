"""How a worker gives its time: checking SQL must not keep events waiting."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from novamesh.edge.checking import QUICK_CHARACTERS, Checking, is_quick
from novamesh.sql.guard import check
from tests.support import wait_for

LONG = "x" * (QUICK_CHARACTERS + 1)


@pytest.fixture
def checking() -> Iterator[Checking]:
    made = Checking()
    yield made
    made.close()


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def test_while_a_long_text_is_checked_the_loop_goes_on(checking: Checking) -> None:
    going_on = threading.Event()

    async def main() -> bool:
        asyncio.get_running_loop().call_later(0, going_on.set)
        # Ends only when the loop has come to the call above.
        return await checking.run("default", LONG, lambda: going_on.wait(60))

    assert asyncio.run(main())


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM events",
        "SELECT event, count(*) AS n FROM events GROUP BY event ORDER BY n DESC LIMIT 10",
        "SELECT event, count() AS n FROM events WHERE timestamp > now() - INTERVAL 1 DAY GROUP BY event",
        "SELECT properties.page, count() FROM events GROUP BY 1",
    ],
)
def test_a_usual_text_needs_no_thread(checking: Checking, sql: str) -> None:
    assert check(sql, schema="p_default", limit=10).sql
    assert asyncio.run(checking.run("default", sql, in_main_thread))


def paths(form: str, count: int) -> str:
    return ",".join(form.format(chr(ord("a") + n)) for n in range(count))


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT {paths('min(properties.{})', 24)} FROM events",
        f"SELECT {paths('min(properties[{!r}])', 20)} FROM events",
        f"SELECT 1 FROM events GROUP BY {paths('properties.{}', 2)}",
        "SELECT a < b, c < d, e < f, a < f, b < c FROM events t(a, b, c, d, e, f)",
        "SELECT " + "a" * QUICK_CHARACTERS,
    ],
)
def test_what_may_take_long_needs_one_however_short_it_is(checking: Checking, sql: str) -> None:
    """Of 450 characters the first took 0.16 s, in which the worker accepted nothing."""
    assert not is_quick(sql)
    assert not asyncio.run(checking.run("default", sql, in_main_thread))


def test_care_needs_one(checking: Checking) -> None:
    assert not asyncio.run(checking.run("default", "SELECT properties.a FROM events", in_main_thread, careful=True))


def test_one_text_is_checked_at_a_time_also_if_clients_leave(checking: Checking) -> None:
    running, begun, most = 0, 0, 0
    lock, end = threading.Lock(), threading.Event()

    def slow() -> None:
        nonlocal running, begun, most
        with lock:
            running, begun = running + 1, begun + 1
            most = max(most, running)
        end.wait(60)
        with lock:
            running -= 1

    async def leave() -> None:
        task = asyncio.ensure_future(checking.run("default", LONG, slow))
        await asyncio.sleep(0)
        await asyncio.to_thread(wait_for, lambda: begun > 0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def main() -> None:
        await leave()
        await leave()
        last = asyncio.ensure_future(checking.run("default", LONG, slow))
        await asyncio.sleep(0)
        # Whoever asks for a thread of another kind gets one.
        await asyncio.to_thread(end.set)
        await last

    asyncio.run(main())
    assert (most, begun) == (1, 2)


def test_projects_take_turns(checking: Checking) -> None:
    order: list[str] = []
    begin = threading.Event()

    async def main() -> None:
        first = asyncio.ensure_future(checking.run("a", LONG, lambda: begin.wait(60)))
        await asyncio.sleep(0)
        others = [checking.run(name[0], LONG, partial(order.append, name)) for name in ("a1", "a2", "a3", "b1")]
        waiting = asyncio.gather(first, *others)
        await asyncio.sleep(0)
        begin.set()
        await waiting

    asyncio.run(main())
    assert order[0] == "b1"
    assert sorted(order) == ["a1", "a2", "a3", "b1"]
