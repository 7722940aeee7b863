"""The steps of the load cycle, and what may happen at each: for tests in one process and for processes that die.

``python -m tests.faults.load_cycle DIRECTORY STEP`` loads the spool in DIRECTORY and ends itself behind the step, as by kill -9.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.files import FaultyFiles
from tests.unit.store_files import Store

KILLED = 137


class Step(NamedTuple):
    """One step: a call of the files, or a statement of the writer that holds ``text``. ``skip``: calls before it."""

    name: str
    call: str
    text: str = ""
    skip: int = 0


STEPS = (
    Step("open a segment", "open"),
    Step("open the second segment", "open", skip=1),
    Step("read a segment's header", "pread"),
    Step("read frames", "pread", skip=4),
    Step("begin", "begin"),
    Step("stage", "execute", "TEMP TABLE staged"),
    Step("note the keys", "executemany", ".seen VALUES"),
    Step("note the ids", "execute", ".seen SELECT"),
    Step("insert the events", "execute", "events_shredded SELECT"),
    Step("count", "execute", "INTO novamesh.counters"),
    Step("store the positions", "executemany", "INTO novamesh.positions"),
    Step("commit", "commit"),
    Step("sync the database's directory", "sync_directory"),
    Step("delete a segment's mark", "unlink"),
    Step("delete a segment", "unlink", skip=1),
    Step("sync the spool's directory", "sync_directory", skip=1),
    Step("delete the second segment", "unlink", skip=3),
    Step("forget the positions", "execute", "DELETE FROM novamesh.positions"),
)
FILE_CALLS = {"open", "pread", "unlink", "sync_directory"}


class FaultyWriter:
    """The database's writing connection, whose next call at a step is something else."""

    def __init__(self, real: Any, step: Step, action: Callable[..., Any]) -> None:
        self._real, self._step, self._action = real, step, action
        self.reached = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name != self._step.call or self.reached:
            return real

        def call(*arguments: Any) -> Any:
            if self.reached or (self._step.text and self._step.text not in arguments[0]):
                return real(*arguments)
            self.reached = True
            return self._action(real, *arguments)

        return call


def put(store: Store, files: FaultyFiles, step: Step, action: Callable[..., Any]) -> Callable[[], bool]:
    """Have ``action`` happen at the step, once. Returns what tells whether it did."""
    if step.call in FILE_CALLS:
        happened: list[str] = []

        def noting(real: Any, *arguments: Any) -> Any:
            happened.append(step.name)
            return action(real, *arguments)

        files.plan(step.call, noting, skip=step.skip)
        return lambda: bool(happened)
    writer = FaultyWriter(store.database._writer, step, action)
    store.database._writer = store.database._seen._writer = writer  # type: ignore[assignment]  # it stands for one
    return lambda: writer.reached


def _die(real: Callable[..., Any], *arguments: Any) -> None:
    real(*arguments)
    os._exit(KILLED)


def main(directory: str, place: str) -> None:
    files = FaultyFiles()
    store = Store(Path(directory), files)
    put(store, files, STEPS[int(place)], _die)
    while True:
        assert store.loader.step(), "all is loaded, and the step never came"


if __name__ == "__main__":
    main(*sys.argv[1:])
