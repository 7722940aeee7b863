"""How a worker gives its time: checking long SQL must not keep events waiting."""

import asyncio
import threading
from types import SimpleNamespace
from typing import cast

from novamesh.edge.answer import SHORT_CHARACTERS, prepared
from novamesh.edge.worker import Worker


def test_while_a_long_text_is_checked_the_loop_goes_on() -> None:
    going_on = threading.Event()

    async def main() -> bool:
        worker = cast(Worker, SimpleNamespace(checking=asyncio.Semaphore(1)))
        asyncio.get_running_loop().call_later(0, going_on.set)
        # Ends only when the loop has come to the call above.
        return await prepared(worker, "x" * (SHORT_CHARACTERS + 1), lambda: going_on.wait(60))

    assert asyncio.run(main())


def test_a_short_text_needs_no_thread() -> None:
    async def main() -> bool:
        worker = cast(Worker, SimpleNamespace(checking=asyncio.Semaphore(1)))
        return await prepared(worker, "x", lambda: threading.current_thread() is threading.main_thread())

    assert asyncio.run(main())
