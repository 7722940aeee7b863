"""Whose query runs next. What waits is a connection in a list: it holds no thread, and leaves when its client does."""

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from typing import NamedTuple

from novamesh.errors import RequestError, StoreUnavailable, TooManyQueries
from novamesh.store.contract import QueryRequest, SchemaRequest, error_message

WATCH_INTERVAL_S = 0.02
# Of all keys together: each is an open file.
MOST_WAITING = 512


class Ticket(NamedTuple):
    """A query that runs or waits, and since when (monotonic seconds)."""

    client: socket.socket
    request: QueryRequest | SchemaRequest
    since: float


class Turns:
    """So many queries run at once, so many of them for one key; the others wait, so many of each key, so long.

    A place that becomes free goes to the project that has the fewest queries running, of its keys to the one that
    has, and of that key's to the one that came first.
    """

    def __init__(self, running: int, running_of_key: int, waiting_of_key: int, wait_s: float) -> None:
        self._most = running
        self._most_of_key = running_of_key
        self._most_waiting = waiting_of_key
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._occupied = threading.Event()  # somebody waits
        self._waiting: list[Ticket] = []
        self._keys: Counter[str] = Counter()
        self._spaces: Counter[str] = Counter()

    def enter(self, ticket: Ticket) -> bool:
        """Whether the query may run now; if not, it waits for :meth:`leave` of another. Raises
        :class:`TooManyQueries` and :class:`StoreUnavailable`."""
        with self._lock:
            if self._may_run(ticket):
                self._begin(ticket)
                return True
            key = ticket.request.key
            if sum(other.request.key == key for other in self._waiting) >= self._most_waiting:
                raise TooManyQueries(
                    f"{self._most_waiting} queries of this key wait already; wait for answers before sending more."
                )
            if len(self._waiting) >= MOST_WAITING:
                raise StoreUnavailable("This node has as many queries waiting as it may; send the query again later.")
            self._waiting.append(ticket)
            self._occupied.set()
            return False

    def leave(self, ticket: Ticket) -> Ticket | None:
        """A query has ended. Returns the one that is to run in its place, if one may."""
        with self._lock:
            for counter, name in ((self._keys, ticket.request.key), (self._spaces, ticket.request.space)):
                counter[name] -= 1
                if not counter[name]:
                    del counter[name]
            # One is enough: no query that might have run before this has been waiting.
            ready = [other for other in self._waiting if self._may_run(other)]
            if not ready:
                return None
            chosen = min(ready, key=self._order)
            self._waiting.remove(chosen)
            self._begin(chosen)
            return chosen

    def running(self) -> int:
        """Queries that run now."""
        return self._keys.total()

    def waiting(self) -> int:
        """Queries that wait now."""
        return len(self._waiting)

    def tend(self) -> None:
        """Let go of those that have waited too long, and of those whose client is gone. For a daemon thread."""
        while True:
            self._occupied.wait()
            time.sleep(WATCH_INTERVAL_S)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One round."""
        with self._lock:
            poll = select.poll()
            for ticket in self._waiting:
                poll.register(ticket.client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
            gone = {descriptor for descriptor, _ in poll.poll(0)}
            left = [ticket for ticket in self._waiting if ticket.client.fileno() in gone]
            late = [ticket for ticket in self._waiting if ticket not in left and now - ticket.since > self._wait_s]
            self._waiting = [ticket for ticket in self._waiting if ticket not in left and ticket not in late]
            if not self._waiting:
                self._occupied.clear()
        for ticket in left:
            ticket.client.close()
        for ticket in late:
            refuse(
                ticket.client,
                StoreUnavailable("This node runs as many queries as it may; send the query again later."),
            )

    def _may_run(self, ticket: Ticket) -> bool:
        return self._keys.total() < self._most and self._keys[ticket.request.key] < self._most_of_key

    def _begin(self, ticket: Ticket) -> None:
        self._keys[ticket.request.key] += 1
        self._spaces[ticket.request.space] += 1

    def _order(self, ticket: Ticket) -> tuple[int, int, float]:
        return self._spaces[ticket.request.space], self._keys[ticket.request.key], ticket.since


def refuse(client: socket.socket, error: RequestError) -> None:
    """Say no, and hang up. Nothing was sent before, so it takes no time."""
    with client, contextlib.suppress(OSError):
        client.sendall(error_message(error))
