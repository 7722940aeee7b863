"""Work that other threads give to the loader's thread, the only one that writes: it is done between two loads."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import duckdb

from novamesh.errors import StoreUnavailable

Result = TypeVar("Result")


class Tasks:
    """A queue of tasks. ``call`` is for any thread, the rest for the one that does them."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def call(self, task: Callable[[], Result]) -> Result:
        """Wait until the task is done and return what it returns.

        Raises what it raises, and :class:`StoreUnavailable` when the store stops before its turn.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise _stopping()
            self._queue.append((future, task))
        return future.result()

    def run(self) -> None:
        """Do what is there. Raises ``duckdb.FatalException``; other errors are the caller's."""
        while self._queue:
            future, task = self._queue.popleft()
            try:
                future.set_result(task())
            except duckdb.FatalException as error:
                future.set_exception(error)
                raise
            except Exception as error:
                future.set_exception(error)

    def close(self) -> None:
        """Take no more, and tell those who wait."""
        with self._lock:
            self._closed = True
            while self._queue:
                self._queue.popleft()[0].set_exception(_stopping())


def _stopping() -> StoreUnavailable:
    return StoreUnavailable("The store of this node is stopping; try again when the node runs.")
