"""Tasks: done by the thread that may write, answered to the thread that waits."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import duckdb
import pytest

from novamesh.errors import StoreUnavailable
from novamesh.store.tasks import Tasks
from tests.support import wait_for


def started(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_tasks_are_done_by_whoever_runs_them() -> None:
    tasks = Tasks()
    thread, results = started(lambda: tasks.call(threading.get_ident))
    wait_for(lambda: tasks._queue, what="the task")
    tasks.run()
    thread.join()
    assert results == [threading.get_ident()]


def test_an_error_goes_to_who_waits_and_only_a_fatal_one_further() -> None:
    tasks = Tasks()
    for error in (ValueError("a bug"), duckdb.FatalException("the end")):

        def fail(error: Exception = error) -> None:
            raise error

        thread, results = started(partial(tasks.call, fail))
        wait_for(lambda: tasks._queue, what="the task")
        if isinstance(error, duckdb.FatalException):
            with pytest.raises(duckdb.FatalException):
                tasks.run()
        else:
            tasks.run()
        thread.join()
        assert results == [error]


def test_who_waits_for_what_ends_is_told() -> None:
    tasks = Tasks()
    thread, results = started(lambda: tasks.call(lambda: 1))
    wait_for(lambda: tasks._queue, what="the task")
    tasks.close()
    thread.join()
    assert isinstance(results[0], StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        tasks.call(lambda: 1)
