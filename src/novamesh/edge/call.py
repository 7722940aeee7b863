"""One request on its way: its id, its trace, and what it was answered. Stands between a handler and the server.

Ids go along explicitly: the server runs all requests of a worker in one context, so a context variable would be shared.
"""

import itertools
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress
from typing import cast

from granian.rsgi import HTTPProtocol, ProtocolError, Scope

Headers = list[tuple[str, str]]

REQUEST_ID = "x-request-id"
_SAFE_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
# W3C Trace Context, level 1: of a later version there may be more behind these four parts.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE, _NO_PARENT = "0" * 32, "0" * 16

# An id is taken from a table: to write a number as digits would take longer than all the rest here.
_ENDS = tuple(f"{n:03x}" for n in range(4096))


def _new_ids() -> Iterator[str]:
    """Ids that no other process has, nor this one before."""
    run = secrets.token_hex(6)
    for number in itertools.count():
        start = f"{run}-{number:x}"
        for end in _ENDS:
            yield start + end


_next_id = _new_ids().__next__


class Call:
    """A handler's protocol. Each answer gets the header ``X-Request-Id``: the client's own, if it is safe to show and
    to log, or one made here. ``status`` is there once there is an answer."""

    __slots__ = ("_inner", "_scope", "request_id", "status")
    status: int

    def __init__(self, scope: Scope, inner: HTTPProtocol) -> None:
        self._inner = inner
        self._scope = scope
        given = scope.headers.get(REQUEST_ID)
        self.request_id: str = given if given and _SAFE_ID.fullmatch(given) else _next_id()

    # Not coroutines of their own: each would cost as much as all the rest here.

    def __call__(self) -> Awaitable[bytes]:
        return self._inner()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return cast(AsyncIterator[bytes], self._inner.__aiter__())

    async def discard(self, most: int) -> None:
        """Read what is left of the body and keep none of it; not much beyond ``most`` bytes."""
        body = cast(AsyncIterator[bytes], self._inner)
        with suppress(ProtocolError):  # somebody has begun with it
            aiter(body)
        size = 0
        with suppress(StopAsyncIteration):
            while size <= most:
                size += len(await anext(body))

    def client_disconnect(self) -> Awaitable[None]:
        return self._inner.client_disconnect()

    def response_empty(self, status: int, headers: Headers) -> None:
        self.status = status
        self._inner.response_empty(status, [*headers, (REQUEST_ID, self.request_id)])

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self._inner.response_bytes(status, [*headers, (REQUEST_ID, self.request_id)], body)

    def response_stream(self, status: int, headers: Headers) -> object:
        self.status = status
        return self._inner.response_stream(status, [*headers, (REQUEST_ID, self.request_id)])

    def named(self) -> dict[str, str]:
        """What log lines of this request say of it."""
        trace_id = read_trace_id(self._scope.headers.get("traceparent"))
        return {"request_id": self.request_id} | ({"trace_id": trace_id} if trace_id else {})


class HeadCall(Call):
    """Answers HEAD as GET without its body. Over HTTP/2 the server would send the body all the same."""

    __slots__ = ()

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self.response_empty(status, [*headers, ("content-length", str(len(body)))])

    def response_stream(self, status: int, headers: Headers) -> "HeadCall":
        self.response_empty(status, headers)
        return self

    async def send_bytes(self, _data: bytes) -> None:
        """What a stream would send is not wanted."""


def named(protocol: HTTPProtocol) -> dict[str, str]:
    """:meth:`Call.named` of the call that a handler was given as its protocol."""
    return protocol.named() if isinstance(protocol, Call) else {}


def read_trace_id(traceparent: str | None) -> str | None:
    """The trace id, or None for a header that is not as it must be."""
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    version, trace_id, parent_id, _, more = match.groups()
    if version == "ff" or (version == "00" and more) or trace_id == _NO_TRACE or parent_id == _NO_PARENT:
        return None
    return trace_id
