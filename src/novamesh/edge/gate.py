"""Who is let in with a body: memory, requests, rates and origins, each with its own answer.

What a worker holds of bodies under way has a budget. Bodies count with the bytes that have come, so that many slow
clients take no more than they sent; a large one may take three quarters of the budget, so that small ones are served
beside it; and no key may have more than half, of the bytes and of the requests, so that none can shut out the others.
"""

import asyncio
import math
import time
from collections import deque
from types import TracebackType

from granian.rsgi import Scope

from novamesh.config import Config
from novamesh.edge.rates import Rate, Rates, Standing, rate_of
from novamesh.errors import Forbidden, Overloaded, PayloadTooLarge, RateLimited, RequestError
from novamesh.keys import Key

SMALL_BYTES = 64 * 1024
# Parsed in one round of the event loop, in about 10 ms; a smaller body takes no time worth a turn.
ROUND_BYTES = 1024 * 1024
PACED_BYTES = 8 * 1024
_LARGE_PART = 3, 4
_BUSY = "This node has as much under way as it can hold; send the request again in a moment."
_BUSY_KEY = "This key has as much under way as one key may; wait for answers before sending more."

Headers = list[tuple[str, str]]


class Usage:
    """What one key, or all, have under way."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.bytes = self.requests = 0


class Pace:
    """Keeps one round of the event loop short, however many bodies have come at once: what came meanwhile, such as a
    question for the node's health, is in the next round. Bodies stand in a line: were each to look again in every
    round, a crowd of them would spend the rounds on looking, and some would wait for seconds."""

    def __init__(self) -> None:
        self._left = ROUND_BYTES
        self._counts = False  # this round has parsed something
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def wait(self, size: int) -> None:
        """Wait for a round that has time for a body of so many bytes."""
        if self._left > 0 and not self._line:
            self._take(size)
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        await turn

    def _take(self, size: int) -> None:
        self._left -= size
        if not self._counts:
            self._counts = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        """A round begins."""
        self._left, self._counts = ROUND_BYTES, False
        while self._line and self._left > 0:
            size, turn = self._line.popleft()
            if not turn.done():  # else its client is gone
                self._take(size)
                turn.set_result(None)


class Gate:
    """One worker's budget. For the event loop's thread."""

    def __init__(self, config: Config, rates: Rates) -> None:
        self.config = config
        self.rates = rates
        self.all = Usage()
        self.pace = Pace()
        self._keys: dict[str, Usage] = {}

    def enter(self, key: Key, scope: Scope, *, sends: bool) -> "Entry":
        """One request of a key; leave it with the ``with`` block. ``sends`` events, or else asks.

        Raises :class:`Forbidden`, :class:`Overloaded` and :class:`RateLimited`.
        """
        headers = cors_headers(key, scope)
        rate = rate_of(key, self.config) if sends else None
        usage = self._keys.get(key.id)
        if usage is None:
            usage = self._keys[key.id] = Usage()
        entry = Entry(self, key, usage, headers, rate)
        try:
            if self.all.requests >= self.config.request_max_concurrent:
                raise Overloaded(_BUSY)
            if usage.requests >= max(1, self.config.request_max_concurrent // 2):
                raise Overloaded(_BUSY_KEY)
            if rate is not None:
                entry.expect(rate)
        except RequestError as error:
            if not usage.requests:
                self.forget(key)
            entry.mark(error)
            raise
        return entry

    def forget(self, key: Key) -> None:
        """A key has nothing under way any more."""
        del self._keys[key.id]


class Entry:
    """A request under way. As a context manager it gives back what it held, and gives errors its headers."""

    __slots__ = ("_bytes", "_gate", "_key", "_rate", "_usage", "headers")

    def __init__(self, gate: Gate, key: Key, usage: Usage, headers: Headers, rate: Rate | None) -> None:
        self._gate = gate
        self._key = key
        self._usage = usage
        self._rate = rate
        self._bytes = 0
        self.headers = headers

    def __enter__(self) -> "Entry":
        self._usage.requests += 1
        self._gate.all.requests += 1
        return self

    def __exit__(self, _type: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        usage = self._usage
        usage.requests -= 1
        usage.bytes -= self._bytes
        self._gate.all.requests -= 1
        self._gate.all.bytes -= self._bytes
        if not usage.requests:
            self._gate.forget(self._key)
        if isinstance(error, RequestError):
            self.mark(error)

    def mark(self, error: RequestError) -> None:
        """Give an error the headers that each answer to this key has."""
        error.headers = (*error.headers, *self.headers)

    def hold(self, size: int) -> None:
        """So many more bytes of the body are in memory. Raises :class:`Overloaded`."""
        large = self._bytes + size > SMALL_BYTES
        most = self._gate.config.body_memory_bytes * (_LARGE_PART[0] if large else _LARGE_PART[1]) // _LARGE_PART[1]
        if self._gate.all.bytes + size > most:
            raise Overloaded(_BUSY, headers=(("connection", "close"),))
        if self._usage.bytes + size > most // 2:
            raise Overloaded(_BUSY_KEY, headers=(("connection", "close"),))
        self._bytes += size
        self._usage.bytes += size
        self._gate.all.bytes += size

    def expect(self, rate: Rate) -> None:
        """Refuse at once, before there is a body, what cannot be taken. Raises :class:`RateLimited`."""
        standing = self._gate.rates.look(self._key.number, rate, time.monotonic())
        if not standing.remaining:
            self._refuse(rate, standing._replace(wait_s=standing.full_s - (rate.burst - 1) / rate.per_s))

    def count(self, events: int) -> None:
        """Take events out of the key's bucket. Raises :class:`RateLimited` and, for more than it can ever hold,
        :class:`PayloadTooLarge`."""
        rate = self._rate
        if rate is None:
            return
        if events > rate.burst:
            raise PayloadTooLarge(
                f"The request holds {events} events and this key may send {rate.burst} at once; send fewer in each."
            )
        standing = self._gate.rates.take(self._key.number, rate, events, time.monotonic())
        if not standing.taken:
            self._refuse(rate, standing)
        self._tell(rate, standing, standing.full_s)

    def give_back(self, events: int) -> None:
        """The events were not accepted after all."""
        if self._rate is not None:
            self._gate.rates.take(self._key.number, self._rate, -events, time.monotonic())

    def _refuse(self, rate: Rate, standing: Standing) -> None:
        seconds = max(1, math.ceil(standing.wait_s))
        self._tell(rate, standing, seconds)
        raise RateLimited(
            f"This key may send {rate.per_s} events a second; send them again in {seconds} s.", retry_after=seconds
        )

    def _tell(self, rate: Rate, standing: Standing, seconds: float) -> None:
        """The headers of draft-ietf-httpapi-ratelimit-headers."""
        policy = f'"events";q={rate.burst};w={math.ceil(rate.burst / rate.per_s)}'
        self.headers = [
            *self.headers,
            ("ratelimit-policy", policy),
            ("ratelimit", f'"events";r={standing.remaining};t={math.ceil(seconds)}'),
        ]


def cors_headers(key: Key, scope: Scope) -> Headers:
    """The headers a page of one of the key's origins needs. Raises :class:`Forbidden` for other senders."""
    if not key.origins:
        return []
    origin = scope.headers.get("origin")
    if origin not in key.origins:
        raise Forbidden(
            "This key is for web pages of other origins alone; use a key without origins outside of a browser.",
            headers=(("vary", "origin"),),
        )
    return [
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", "retry-after, ratelimit, ratelimit-policy, x-request-id"),
        ("vary", "origin"),
    ]
