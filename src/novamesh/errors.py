"""Every failure a user can cause, in one tree: code, HTTP status, message, retry hint.

::

    NovameshError
    ├── ConfigError                 start-up: a setting is unknown, mistyped or out of range
    ├── StartError                  start-up: port in use, data directory locked, newer or not writable
    └── RequestError                has a code, a status and a message; goes out as JSON
        ├── Unauthorized            401  no key, or a wrong one
        ├── Forbidden               403  the key lacks the scope, or is bound to other origins
        ├── NotFound                404
        ├── MethodNotAllowed        405  + Allow
        ├── RequestTimeout          408  the body did not arrive in time
        ├── PayloadTooLarge         413
        ├── UnsupportedMediaType    415  content type or content encoding
        ├── InvalidEncoding         400  the compressed body does not decompress
        ├── InvalidJson             400  the body is not JSON
        ├── InvalidEvent            400  + details, one for every fault found
        ├── InvalidParameter        400  a query parameter or header
        ├── InvalidQuery            400  SQL that cannot be understood
        ├── QueryNotAllowed         403  SQL that may not be run
        ├── QueryTimeout            400  400, because sending it again will not help
        ├── QueryTooLarge           400
        ├── RateLimited             429  + Retry-After: the key has sent more events than it may
        ├── TooManyQueries          429  + Retry-After: too many queries of this key wait, or tails are open
        ├── Overloaded              503  + Retry-After: too many requests, or too much in them, are under way
        ├── SpoolFull               503  + Retry-After: the disk reserve or the spool limit is reached
        ├── SpoolUnavailable        503  + Retry-After: the disk refused a write or a sync
        ├── StoreUnavailable        503  + Retry-After: the store is starting, busy or restarting
        ├── NotReady                503  + Retry-After, and the parts that are unwell
        └── InternalError           500
"""

from typing import Any, ClassVar, Final

import msgspec

from novamesh.redact import redact

MAX_MESSAGE_CHARACTERS: Final = 1000


class NovameshError(Exception):
    """Base of all errors raised by novamesh."""


class ConfigError(NovameshError):
    """A setting is unknown, mistyped or out of range. The message names it."""


class StartError(NovameshError):
    """The node cannot start. The message is one line that says why and what to do."""


class Detail(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault in a request body.

    ``pointer`` is a JSON pointer (RFC 6901) into the body as it was sent; ``index`` is
    the event's place in a batch, absent for a single event.
    """

    pointer: str
    message: str
    index: int | None = None


class RequestError(NovameshError):
    """An error a client sees. Subclasses fix ``code``, ``status`` and ``retry_after``.

    ``retry_after`` is in seconds; it is sent as ``Retry-After``, and can be given where it is known better.
    ``headers`` are extra response headers.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    retry_after: int | None = None

    def __init__(
        self,
        message: str,
        *,
        details: tuple[Detail, ...] = (),
        headers: tuple[tuple[str, str], ...] = (),
        retry_after: int | None = None,
    ) -> None:
        message = redact(message)
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = headers
        if retry_after is not None:
            self.retry_after = retry_after

    def body(self) -> bytes:
        """The error as JSON: ``error``, ``message`` on one line and, where there are any, ``details``."""
        document: dict[str, Any] = {"error": self.code, "message": _one_line(self.message)}
        if self.details:
            document["details"] = self.details
        return redact(msgspec.json.encode(document).decode()).encode()


def _one_line(message: str) -> str:
    """A message may quote what a client sent: line breaks, terminal codes, half characters and a megabyte of text."""
    short = message if len(message) <= MAX_MESSAGE_CHARACTERS else f"{message[:MAX_MESSAGE_CHARACTERS]}…"
    return short if short.isprintable() else "".join(part if part.isprintable() else "?" for part in short)


class Unauthorized(RequestError):
    code, status = "unauthorized", 401


class Forbidden(RequestError):
    code, status = "forbidden", 403


class NotFound(RequestError):
    code, status = "not_found", 404


class MethodNotAllowed(RequestError):
    code, status = "method_not_allowed", 405


class RequestTimeout(RequestError):
    code, status = "request_timeout", 408


class PayloadTooLarge(RequestError):
    code, status = "payload_too_large", 413


class UnsupportedMediaType(RequestError):
    code, status = "unsupported_media_type", 415


class InvalidEncoding(RequestError):
    code, status = "invalid_encoding", 400


class InvalidJson(RequestError):
    code, status = "invalid_json", 400


class InvalidEvent(RequestError):
    code, status = "invalid_event", 400


class InvalidParameter(RequestError):
    code, status = "invalid_parameter", 400


class InvalidQuery(RequestError):
    code, status = "invalid_query", 400


class QueryNotAllowed(RequestError):
    code, status = "query_not_allowed", 403


class QueryTimeout(RequestError):
    code, status = "query_timeout", 400


class QueryTooLarge(RequestError):
    code, status = "query_too_large", 400


class RateLimited(RequestError):
    code, status, retry_after = "rate_limited", 429, 1


class TooManyQueries(RequestError):
    code, status, retry_after = "too_many_queries", 429, 1


class Overloaded(RequestError):
    code, status, retry_after = "overloaded", 503, 1


class SpoolFull(RequestError):
    code, status, retry_after = "spool_full", 503, 5


class SpoolUnavailable(RequestError):
    code, status, retry_after = "spool_unavailable", 503, 1


class StoreUnavailable(RequestError):
    code, status, retry_after = "store_unavailable", 503, 1


class NotReady(RequestError):
    code, status, retry_after = "not_ready", 503, 1


class InternalError(RequestError):
    code, status = "internal_error", 500


def by_code() -> dict[str, type[RequestError]]:
    """Every request error by its code: how the edge rebuilds what the store reported."""
    return {kind.code: kind for kind in RequestError.__subclasses__()}
