"""What an operator does about what is in quarantine: answered on the socket, done on the writer's thread."""

from functools import partial
from pathlib import Path

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
from novamesh.store.setaside import SetAside
from novamesh.store.units import Loaded


class Operations:
    """The answers to the requests of ``novamesh quarantine``."""

    def __init__(self, database: Database, loader: Loader, spool: Path, node_id: bytes) -> None:
        self._loader = loader
        self._events = Quarantine(database)
        self._segments = SetAside(database, loader, spool, node_id)

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
        def job() -> Outcome:
            outcome = self._events.replay(request.space, request.selection)
            taken = outcome.stored + outcome.duplicates
            self._loader.note(Loaded(outcome.stored, outcome.duplicates, -taken), {})
            return outcome

        return self._loader.jobs.call(job)

    def _drop(self, request: DropRequest) -> Outcome:
        def job() -> Outcome:
            outcome = self._events.drop(request.space, request.selection)
            self._loader.note(Loaded(0, 0, -outcome.dropped), {})
            return outcome

        return self._loader.jobs.call(job)

    def _replay_segment(self, request: ReplaySegmentRequest) -> Outcome:
        return self._loader.jobs.call(partial(self._segments.replay, request.file, foreign=request.foreign))

    def _drop_segment(self, request: DropSegmentRequest) -> Outcome:
        return self._loader.jobs.call(partial(self._segments.drop, request.file))
