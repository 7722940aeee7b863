"""Which parts of a node are unwell, and why."""

from collections.abc import Iterable

import msgspec

from novamesh.status.ledger import problem
from novamesh.store.contract import StoreStatus

LAG_LIMIT_S = 10.0


class Problem(msgspec.Struct, frozen=True):
    """A part of the node that is unwell: ``spool``, ``store``, ``loader`` or ``ledger``, and why."""

    part: str
    reason: str


class Since:
    """Since when each part is unwell, as one worker has seen it."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def note(self, problems: Iterable[Problem], now_s: float) -> dict[str, float]:
        """What is unwell at ``now_s`` (unix seconds). Returns from when each of those parts has been unwell."""
        parts = [problem.part for problem in problems]
        self._since = {part: self._since.get(part, now_s) for part in parts}
        return self._since


def store_problems(store: StoreStatus) -> list[Problem]:
    """What is unwell, as a store says that answers."""
    found = []
    if store.loader_error:
        found.append(Problem("loader", f"loading fails: {store.loader_error}"))
    if store.lag_s > LAG_LIMIT_S:
        found.append(Problem("loader", f"the loader is {store.lag_s:.0f} s behind"))
    if store.damaged:
        found.append(Problem("spool", f"{store.damaged} damaged or missing segments: see novamesh quarantine list"))
    if missing := problem(store.gaps):
        found.append(Problem("ledger", missing))
    return found
