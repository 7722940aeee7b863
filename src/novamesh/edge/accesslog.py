"""Log lines of requests: those that failed, and all if the operator wants that."""

import logging
import time

from granian.rsgi import Scope

from novamesh.edge.call import Call
from novamesh.errors import NotReady, RequestError

log = logging.getLogger(__name__)
access = logging.getLogger("novamesh.access")

# Of 503s so many lines a second and worker. A node that is full must not fill its log as well.
LINES_A_SECOND = 20


class FailureLog:
    """A line for each answer from 500 up. For the event loop's thread."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = self._left_out = 0

    def note(self, call: Call, scope: Scope, error: RequestError) -> None:
        """One error that is answered. What is left out is counted in the next line."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= LINES_A_SECOND and error.status != 500:
            self._left_out += 1
            return
        self._lines += 1
        extra: dict[str, object] = {"status": error.status, "error": error.code, "cause": error.message}
        if self._left_out:
            extra["lines_left_out"], self._left_out = self._left_out, 0
        # Who asks whether the node is ready asks again and again, and is answered, not failed.
        level = logging.INFO if isinstance(error, NotReady) else logging.WARNING
        level = logging.ERROR if error.status == 500 else level
        log.log(level, "a request was not served", extra={**_what(call, scope), **extra})


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
