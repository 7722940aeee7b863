"""What a client raises.

::

    NovameshError
    └── ClientError
        ├── Unreachable     no answer: nobody listens, the connection broke, TLS failed
        ├── Refused         the node answered with an error; it has a code, a status and details
        ├── Incomplete      an answer ended before its end
        └── Stopped         the caller's own wish, while it waited to try again
"""

import http
from typing import Any

import msgspec

from novamesh.errors import Detail, NovameshError
from novamesh.redact import redact

# The same request may be taken later: the node says so, or a proxy before it does.
_PASSING = frozenset((408, 429, 502, 503, 504))


class ClientError(NovameshError):
    """Base of all that a client raises. ``passing``: the same request may succeed later."""

    passing = False

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class Unreachable(ClientError):
    """There was no answer."""

    passing = True


class Incomplete(ClientError):
    """An answer was cut off, or says itself that it failed midway."""


class Stopped(ClientError):
    """The caller asked to stop while a request waited to be tried again."""


class Refused(ClientError):
    """The node's error. ``retry_after_s`` is None unless the answer names it."""

    def __init__(
        self, status: int, code: str, message: str, details: tuple[Detail, ...] = (), retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
        self.retry_after_s = retry_after_s
        self.passing = status in _PASSING


class _Body(msgspec.Struct):
    error: str
    message: str
    details: list[Detail] = []


def read_error(status: int, body: bytes, headers: Any) -> Refused:
    """The error in an answer, also in one that is not a node's. ``headers`` is a mapping."""
    retry_after = headers.get("retry-after", "")
    wait_s = float(retry_after) if retry_after.isdecimal() and len(retry_after) < 6 else None
    try:
        found = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Refused(status, f"http_{status}", _strange(status, headers), (), wait_s)
    return Refused(status, found.error, found.message, tuple(found.details), wait_s)


def _strange(status: int, headers: Any) -> str:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "an unknown status"
    if target := headers.get("location"):
        return f"the server answers {status} and leads to {target[:200]!r}; give that address"
    return (
        f"the server answers {status} ({phrase}) and is not a novamesh node, or a proxy stands before it; check --url"
    )
