"""Concurrent senders that remember what was acknowledged, for tests that kill nodes meanwhile."""

import random
import threading
import time
from collections import Counter
from typing import Any

import httpx

from tests.support import DEADLINE_S, RunningNode, wait_for

REPEATED = 0.05
EVENTS_A_QUERY = 20_000


class Senders:
    """Threads that send single events and batches to a node, as fast as they can, until stopped.

    Each event has its own ``user_id``, the largest batches have ``largest``. ``acknowledged`` are those of a 202; ``unknown`` those of a request whose
    answer never came, which may or may not be stored. A request with client ids or an Idempotency-Key whose
    answer did not come, or was a 503, is sent again later, to whatever node is then set, until it is acknowledged; and
    some of those that were acknowledged are sent once more, as if their answer had been lost.
    """

    def __init__(self, node: RunningNode, seed: int, threads: int = 4, largest: int = 39) -> None:
        self.node = node
        self._largest = largest
        self.acknowledged: set[str] = set()
        self.unknown: set[str] = set()
        self.refused: Counter[int] = Counter()
        self.repeated = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, random.Random(seed * 100 + name)), daemon=True)
            for name in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending; what is to be sent again has been."""
        self._stopping.set()
        self._join()

    def give_up(self) -> None:
        """Stop sending, also what is to be sent again: there may be no node any more."""
        self._given_up.set()
        self._stopping.set()
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def sent(self) -> int:
        """Events acknowledged so far."""
        with self._lock:
            return len(self.acknowledged)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more events are acknowledged."""
        enough = self.sent() + count
        wait_for(lambda: self.sent() > enough, what=f"{count} more events")

    def _run(self, name: int, rng: random.Random) -> None:
        n = 0
        again: list[tuple[str, dict[str, Any], dict[str, str], list[str]]] = []
        with httpx.Client(timeout=DEADLINE_S) as client:
            while not self._stopping.is_set() or (again and not self._given_up.is_set()):
                if again:
                    request, repeatable = again.pop(), True
                else:
                    n += 1
                    request, repeatable = _request(f"{name}-{n}", rng, self._largest)
                outcome = self._send(client, request)
                if repeatable and (outcome in (None, 503) or (outcome == 202 and rng.random() < REPEATED)):
                    again.append(request)
                    self.repeated += 1
                if outcome in (None, 503):
                    time.sleep(0.01)  # the node is down or full; do not spin
                self._note(request[3], outcome, repeatable)

    def _send(self, client: httpx.Client, request: tuple[str, dict[str, Any], dict[str, str], list[str]]) -> int | None:
        path, body, headers, _ = request
        try:
            answer = client.post(self.node.url + path, json=body, headers={**self.node.headers, **headers})
        except httpx.HTTPError:
            return None
        return answer.status_code

    def _note(self, users: list[str], outcome: int | None, repeatable: bool) -> None:
        with self._lock:
            if outcome == 202:
                self.acknowledged.update(users)
            elif outcome is not None:
                self.refused[outcome] += 1
            elif not repeatable:
                self.unknown.update(users)


def _request(
    mark: str, rng: random.Random, largest: int
) -> tuple[tuple[str, dict[str, Any], dict[str, str], list[str]], bool]:
    """A request (path, body, headers, user ids) and whether it may be sent again."""
    kind = rng.randrange(4)
    properties = {"page": f"/{rng.randrange(20)}", "text": "x" * rng.randrange(200)}
    if kind == 0:
        event = {"event": "one", "user_id": mark, "properties": properties}
        return ("/v1/ingest", event, {}, [mark]), False
    if kind == 1:
        event = {"event": "one with id", "user_id": mark, "properties": properties, "id": f"id-{mark}"}
        return ("/v1/ingest", event, {}, [mark]), True
    users = [f"{mark}-{place}" for place in range(rng.randint(1, largest))]
    events = [{"event": "of a batch", "user_id": user, "properties": properties} for user in users]
    if kind == 2:
        return ("/v1/batch", {"events": events}, {}, users), False
    return ("/v1/batch", {"events": events}, {"Idempotency-Key": f"key-{mark}"}, users), True


def stored_users(node: RunningNode) -> Counter[str]:
    """How many events are stored of each user, however many there are: a query gives 50,000 rows at most."""
    stored: Counter[str] = Counter()
    parts = 1 + node.count() // EVENTS_A_QUERY
    for part in range(parts):
        sql = f"SELECT user_id, count(*) FROM events WHERE hash(user_id) % {parts} = {part} GROUP BY user_id"
        stored.update(dict(node.rows(sql, limit=50_000)))
    return stored


def check_exactly_once(node: RunningNode, senders: Senders) -> None:
    """Every acknowledged event is stored once, every unknown one at most once, and nothing else is."""
    senders.node = node
    expected = senders.acknowledged
    assert expected
    deadline = time.monotonic() + DEADLINE_S
    while True:
        stored = stored_users(node)
        if expected <= set(stored) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert expected - set(stored) == set(), "acknowledged, but lost"
    assert {user: count for user, count in stored.items() if count > 1} == {}, "stored more than once"
    assert set(stored) - expected - senders.unknown == set(), "stored, but refused or never sent"
