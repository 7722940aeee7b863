"""The steps of writing off, for processes that die: ``python -m tests.faults.write_off_steps DIRECTORY STEP``."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from novamesh.store.loss import WriteOffRequest
from novamesh.store.writeoff import WriteOffs
from tests.faults.files import CALLS, FaultyFiles
from tests.faults.load_cycle import KILLED, Step, put
from tests.unit.store_files import Store


class Place(NamedTuple):
    """Behind which step the process dies, and whether the loss is written off then."""

    step: Step
    is_done: bool


PLACES = (
    Place(Step("name the lost segments", "execute", "INTO novamesh.lost_segments"), is_done=False),
    Place(Step("commit", "commit"), is_done=True),
    Place(Step("begin a report", "open"), is_done=True),
    Place(Step("put the report in place", "rename"), is_done=True),
)


def write_off(store: Store, files: FaultyFiles) -> str | None:
    """Why not, if not."""
    writing = WriteOffs(store.database, store.places, files)
    found = writing.find(store.recount(), None)
    return writing.write(WriteOffRequest("why", found), store.recount(), None).refused


def _die(real: Callable[..., Any], *arguments: Any) -> None:
    real(*arguments)
    os._exit(KILLED)


def main(directory: str, place: str) -> None:
    files = FaultyFiles()
    store = Store(Path(directory))
    step = PLACES[int(place)].step
    if step.call in CALLS:
        files.plan(step.call, _die)
    else:
        put(store, files, step, _die)
    write_off(store, files)


if __name__ == "__main__":
    main(*sys.argv[1:])
