"""How soon a process that died is started again."""

import time

DELAYS_S = (0.1, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0


class Restarts:
    """The starts of one process. The more often it dies soon after its start, the longer it is not started again."""

    def __init__(self) -> None:
        self._failures = 0
        self._started = time.monotonic()

    def delay_s(self) -> float:
        """How long to wait, from the death that is told here, before the next start: not at all after a steady run."""
        self._failures = 0 if time.monotonic() - self._started > STEADY_S else self._failures + 1
        return DELAYS_S[min(self._failures, len(DELAYS_S)) - 1] if self._failures else 0.0

    def started(self) -> None:
        """It is being started: what fails then counts from here, too."""
        self._started = time.monotonic()
