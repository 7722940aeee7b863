"""The promise, as small as it can be said: what a client may find stored, given what it was answered.

An accepted event is stored exactly once, a refused one never, one whose request was not answered at most once and
whole, and what is sent again with the same id or Idempotency-Key counts once, however often and whatever happens between.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Promise:
    """``sent`` is told what was sent, with its answer; ``check`` is asked about what was found.

    A request is a group: its events are stored together or not at all. Its ``key`` (an Idempotency-Key) makes it the
    same as others of that key; an event's id makes it the same as others of that id. Either way the first content
    counts that gets stored, so those who send something again with one of them must send the same.
    """

    must: set[str] = field(default_factory=set)
    may: dict[str, frozenset[str]] = field(default_factory=dict)

    def sent(self, users: list[str], answer: int | None) -> None:
        """``users`` name the events of one request; ``answer`` is its status, or None if there was none."""
        if answer == 202:
            self.must.update(users)
        elif answer is None:
            self.may.update((user, frozenset(users)) for user in users)

    def check(self, stored: Counter[str]) -> None:
        """``stored`` holds the users of all events, once the spool is empty."""
        assert self.must - stored.keys() == set(), "accepted, but lost"
        assert {user: count for user, count in stored.items() if count > 1} == {}, "stored more than once"
        assert stored.keys() - self.must - self.may.keys() == set(), "stored, but refused or never sent"
        torn = [users for user, users in self.may.items() if user in stored and not users <= stored.keys()]
        assert torn == [], "an unanswered request was stored in part"


@dataclass(frozen=True)
class Request:
    """One request as a client sends it, and sends again: ``users`` name its events, each its own."""

    path: str
    body: dict[str, Any]
    key: str | None
    users: list[str]

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it again must change nothing."""
        return self.key is not None or all("id" in event for event in self.body.get("events", [self.body]))


KINDS = ("one", "one with id", "batch", "batch with ids", "batch with key")


def make_request(kind: str, number: int, size: int) -> Request:
    """The ``number``-th request; a batch has ``size`` events."""
    users = [f"u{number}-{place}" for place in range(1 if kind.startswith("one") else size)]
    events: list[dict[str, Any]] = [
        {"event": kind, "user_id": user, "properties": {"page": f"/{number}", "text": "x" * (number % 50)}}
        for user in users
    ]
    if kind.endswith(("id", "ids")):
        events = [{**event, "id": f"id-{event['user_id']}"} for event in events]
    key = f"key-{number}" if kind.endswith("key") else None
    if kind.startswith("one"):
        return Request("/v1/ingest", events[0], key, users)
    return Request("/v1/batch", {"events": events}, key, users)
