"""Where SQL is checked: at once, if that keeps nobody waiting, else in a thread beside the event loop.

There is one such thread: several would take the interpreter from the loop in turns, and events would wait all the same.
"""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

# What is checked at once, in 1 to 3 ms: so few characters, and signs, and signs of a path (5 ms each, 25 with care).
# 450 characters of paths take 0.2 s. The thread costs 0.1 ms.
QUICK_CHARACTERS = 200
QUICK_SIGNS = 8
QUICK_PATHS = 1

_SIGNS = re.compile(r"[^\w\s]")
_PATHS = re.compile(r"[.\[]|->")

Made = TypeVar("Made")


def is_quick(text: str) -> bool:
    """Whether a text is so simple that checking it keeps nobody waiting."""
    return (
        len(text) <= QUICK_CHARACTERS
        and len(_SIGNS.findall(text)) <= QUICK_SIGNS
        and len(_PATHS.findall(text)) <= QUICK_PATHS
    )


class Checking:
    """One worker's. For the event loop's thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "sql-check")
        # Of each project one text goes to the thread: those of another wait for one at most, not for all.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def run(self, space: str, text: str, check: Callable[[], Made], *, careful: bool = False) -> Made:
        """The result of checking a text that came from a ``space``."""
        if not careful and is_quick(text):
            return check()
        turn = self._turns.get(space) or asyncio.Lock()
        self._turns[space] = turn
        async with turn:
            # Of who leaves while he waits nothing is checked; what has begun goes on alone.
            return await asyncio.get_running_loop().run_in_executor(self._thread, check)

    def close(self) -> None:
        """Begin no check any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
