"""The auditor: recounts the ledger when the store starts, when a segment is set aside, and when it is asked to.

It also writes off what is missing, when an operator says so.
"""

import logging
import threading
from functools import partial

import duckdb
import msgspec

from novamesh.store.contract import Gaps, Recount, RecountAnswer, RecountRequest
from novamesh.store.duckdb import Database
from novamesh.store.loader import Loader
from novamesh.store.loss import Loss, LossRequest, WriteOffRequest
from novamesh.store.queries import Answers
from novamesh.store.recount import Places, recount
from novamesh.store.writeoff import WriteOffs, read_write_offs

log = logging.getLogger(__name__)

LOOK_S = 0.5
RETRY_S = 5.0


class Auditor:
    """Recounts beside the loader. ``gaps`` is what the last recount found, by space, for spaces that have any."""

    def __init__(self, database: Database, loader: Loader, places: Places) -> None:
        self._database = database
        self._loader = loader
        self._places = places
        self._write_offs = WriteOffs(database, places)
        self._lock = threading.Lock()
        self._aside = 0
        self.gaps: dict[str, Gaps] = {}

    def run(self, stopping: threading.Event) -> None:
        """Recount once, and again whenever there are more segments, or fewer, in quarantine. For a daemon thread."""
        settled = False
        while not stopping.is_set():
            try:
                if not settled:
                    self._settle()
                    settled = True
                elif self._loader.damaged() != self._aside:
                    self.recount()
            except (duckdb.Error, OSError) as error:
                if stopping.is_set():  # the database may be closed
                    return
                log.error("the ledger cannot be recounted", extra={"cause": str(error).splitlines()[0]})
                stopping.wait(RETRY_S)
            stopping.wait(LOOK_S)

    def answers(self) -> Answers:
        """What answers which request."""
        return {
            RecountRequest: lambda _: self.recount(),
            LossRequest: self._loss,
            WriteOffRequest: lambda request: self._loader.tasks.call(partial(self._write_off, request)),
        }

    def recount(self) -> RecountAnswer:
        """Count anew. Raises ``duckdb.Error`` and OSError."""
        with self._lock, self._database.cursor() as cursor:
            self._write_offs.finish()
            return RecountAnswer(self._noted(), read_write_offs(cursor))

    def _noted(self) -> dict[str, Recount]:
        spaces = self._recount()
        self._note({space: one.gaps for space, one in spaces.items()})
        return spaces

    def _loss(self, _request: LossRequest) -> Loss:
        with self._lock:
            return self._write_offs.find(self._noted(), self._loader.error)

    def _write_off(self, request: WriteOffRequest) -> Loss:
        """For the loader's thread: what is missing cannot become more, or less, meanwhile."""
        with self._lock:
            spaces = self._noted()
            loss = self._write_offs.write(request, spaces, self._loader.error)
            if loss.refused is None:
                self._note({space: msgspec.structs.replace(one.gaps, spool=0) for space, one in spaces.items()})
            return loss

    def _recount(self) -> dict[str, Recount]:
        aside = self._loader.damaged()
        with self._loader.segments_kept(), self._database.cursor() as cursor:
            spaces = recount(cursor, self._places)
        self._aside = aside
        return spaces

    def _note(self, spaces: dict[str, Gaps]) -> None:
        known, self.gaps = self.gaps, {space: gaps for space, gaps in spaces.items() if gaps != Gaps()}
        for space, gaps in self.gaps.items():
            if gaps != known.get(space):
                log.error("the ledger does not add up", extra={"space": space, **msgspec.structs.asdict(gaps)})

    def _settle(self) -> None:
        """The first recount: events that are there though nobody has counted them are accepted events.

        After a power cut the writers' counts may be older than what they had synced. Nothing else makes a surplus; and
        what is missing is never made up for.
        """
        with self._lock:
            spaces = {space: one.gaps for space, one in self._recount().items()}
            surplus = {space: -gaps.spool for space, gaps in spaces.items() if gaps.spool < 0}
            for space, events in surplus.items():
                log.warning(
                    "more events were found than had been counted: they are counted now",
                    extra={"space": space, "events": events},
                )
                spaces[space] = msgspec.structs.replace(spaces[space], spool=0)
            self._note(spaces)
            self._write_offs.finish()
            if surplus:
                self._loader.recover(surplus)
