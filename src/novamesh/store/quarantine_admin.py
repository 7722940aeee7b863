"""What an operator does about what is in quarantine: answered on the socket, done on the loader's thread."""

from collections.abc import Callable
from functools import partial

from novamesh.store.contract import (
    DropRequest,
    DropSegmentRequest,
    Outcome,
    ReplayRequest,
    ReplaySegmentRequest,
    Survey,
    SurveyRequest,
)
from novamesh.store.duckdb import Database
from novamesh.store.loader import Loader
from novamesh.store.quarantine import Quarantine
from novamesh.store.queries import Answers
from novamesh.store.recount import Places
from novamesh.store.setaside import SetAside


class QuarantineAdmin:
    """The answers to the requests of ``novamesh quarantine``. ``recount``: how the ledger is counted anew."""

    def __init__(self, database: Database, loader: Loader, places: Places, recount: Callable[[], object]) -> None:
        self._tasks = loader.tasks
        self._recount = recount
        self._events = Quarantine(database)
        self._segments = SetAside(database, loader, places)

    def answers(self) -> Answers:
        """What answers which request."""
        return {
            SurveyRequest: self._survey,
            ReplayRequest: self._replay,
            DropRequest: self._drop,
            ReplaySegmentRequest: self._replay_segment,
            DropSegmentRequest: self._drop_segment,
        }

    def _survey(self, request: SurveyRequest) -> Survey:
        events, until, dropped = self._events.survey(request.project, request.selection)
        return Survey(events, until, dropped, self._segments.survey())

    def _replay(self, request: ReplayRequest) -> Outcome:
        return self._tasks.call(partial(self._events.replay, request.space, request.selection))

    def _drop(self, request: DropRequest) -> Outcome:
        return self._tasks.call(partial(self._events.drop, request.space, request.selection))

    def _replay_segment(self, request: ReplaySegmentRequest) -> Outcome:
        outcome = self._tasks.call(partial(self._segments.replay, request.file, foreign=request.foreign))
        if not outcome.left:
            self._recount()  # what was damaged at the last recount no longer is
        return outcome

    def _drop_segment(self, request: DropSegmentRequest) -> Outcome:
        outcome = self._tasks.call(partial(self._segments.drop, request.file))
        self._recount()
        return outcome
