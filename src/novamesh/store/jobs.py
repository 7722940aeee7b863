"""Work that other threads want done by the one thread that may write."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

import duckdb

from novamesh.errors import StoreUnavailable

Result = TypeVar("Result")


class Jobs:
    """A queue of jobs: ``call`` is for those who wait, ``run`` and ``close`` for the thread that does them."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def call(self, job: Callable[[], Result]) -> Result:
        """What the job returns or raises, once it is done. Raises :class:`StoreUnavailable` if it never will be."""
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise _ending()
            self._waiting.append((job, future))
        try:
            return future.result()
        except CancelledError:
            raise _ending() from None

    def run(self) -> None:
        """Do what is waiting. Raises what no other work could follow: ``duckdb.FatalException`` and what is no
        ``Exception``."""
        while self._waiting:
            job, future = self._waiting.popleft()
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)
                if isinstance(error, duckdb.FatalException) or not isinstance(error, Exception):
                    raise

    def close(self) -> None:
        """Do nothing more."""
        with self._lock:
            self._closed = True
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()


def _ending() -> StoreUnavailable:
    return StoreUnavailable("The store of this node is stopping or restarting; try again in a moment.")
