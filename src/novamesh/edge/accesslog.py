"""Log lines of requests: those that failed, and all if the operator wants that."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

from granian.rsgi import Scope

from novamesh.edge.call import Call
from novamesh.errors import NotReady, RequestError

log = logging.getLogger(__name__)
access = logging.getLogger("novamesh.access")

# So many lines a second and worker, of 500s, and of all others. A node that is full must not fill its log as well.
LINES_A_SECOND = 20
# When it is said how many were left out, after the first of them.
TELL_S = 1.0


class FailureLog:
    """A line for each answer from 500 up. For the event loop's thread. ``clock`` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._lines: Counter[bool] = Counter()  # of this second: of 500s, and of others
        self._left_out = 0

    def note(self, call: Call, scope: Scope, error: RequestError, cause: Exception | None = None) -> None:
        """One error that is answered; ``cause`` is what nobody has foreseen. What is left out is counted, and that is
        said a second later."""
        if not self._may_write(error.status == 500):
            if not self._left_out:
                asyncio.get_running_loop().call_later(TELL_S, self.tell)
            self._left_out += 1
            return
        what: dict[str, object] = {**_what(call, scope), "status": error.status, "error": error.code}
        if cause is not None:
            log.error("a request failed", exc_info=cause, extra={**what, "path": scope.path})
            return
        # Who asks whether the node is ready asks again and again, and is answered, not failed.
        level = logging.INFO if isinstance(error, NotReady) else logging.WARNING
        level = logging.ERROR if error.status == 500 else level
        log.log(level, "a request was not served", extra={**what, "cause": error.message})

    def tell(self) -> None:
        """Say how many lines were left out, if any were."""
        if self._left_out:
            log.warning("requests were not served", extra={"lines_left_out": self._left_out})
            self._left_out = 0

    def _may_write(self, bug: bool) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._lines.clear()
        self._lines[bug] += 1
        return self._lines[bug] <= LINES_A_SECOND


def note_access(call: Call, scope: Scope, route: str, elapsed_ns: int) -> None:
    """One request that is over. Without a status its client went away."""
    extra = {
        "route": route,
        "status": getattr(call, "status", None),
        "elapsed_ms": round(elapsed_ns / 1e6, 3),
        "client": scope.client,
    }
    access.info("request", extra={**_what(call, scope), **extra})


def _what(call: Call, scope: Scope) -> dict[str, str]:
    return {"method": scope.method, **call.named()}
