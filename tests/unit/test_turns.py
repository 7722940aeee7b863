"""Whose query runs next, and how those that wait go."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import pytest

from novamesh.errors import StoreUnavailable, TooManyQueries
from novamesh.store import turns as module
from novamesh.store.contract import ERROR, QueryRequest
from novamesh.store.turns import Ticket, Turns

Make = Callable[..., Ticket]


@pytest.fixture
def peers() -> dict[int, socket.socket]:
    return {}


@pytest.fixture
def ticket(peers: dict[int, socket.socket]) -> Iterator[Make]:
    """Makes tickets in order of time; the other end of each is in ``peers`` under its time."""
    with contextlib.ExitStack() as stack:

        def make(key: str, space: str = "default") -> Ticket:
            client, peer = socket.socketpair()
            stack.enter_context(client)
            peers[len(peers)] = stack.enter_context(peer)
            return Ticket(client, QueryRequest(space, "", {}, "json", 1, key=key), float(len(peers) - 1))

        yield make


def turns(running: int = 2, of_key: int = 2, waiting: int = 3, wait_s: float = 60) -> Turns:
    return Turns(running, of_key, waiting, wait_s)


def test_so_many_run_and_the_others_follow_in_their_order(ticket: Make) -> None:
    queue, tickets = turns(), [ticket("a") for _ in range(4)]
    assert [queue.enter(one) for one in tickets] == [True, True, False, False]
    assert queue.leave(tickets[1]) is tickets[2]
    assert queue.leave(tickets[0]) is tickets[3]
    assert queue.leave(tickets[2]) is None
    assert queue.leave(tickets[3]) is None
    assert (queue.running(), queue.waiting()) == (0, 0)


def test_no_key_takes_all_places(ticket: Make) -> None:
    queue = turns(running=3, of_key=2)
    first, second, third = (ticket("a") for _ in range(3))
    assert [queue.enter(one) for one in (first, second, third)] == [True, True, False]
    assert queue.enter(ticket("b"))
    assert queue.leave(first) is third


def test_a_key_that_has_none_running_comes_before_those_that_waited_longer(ticket: Make) -> None:
    queue = turns(running=2, of_key=2)
    a = [ticket("a") for _ in range(4)]
    assert [queue.enter(one) for one in a] == [True, True, False, False]
    b = ticket("b")
    assert not queue.enter(b)
    assert queue.leave(a[0]) is b
    assert queue.leave(a[1]) is a[2]


def test_a_project_of_many_keys_does_not_come_before_another(ticket: Make) -> None:
    queue = turns(running=2, of_key=1)
    busy = [ticket(f"key{n}", "busy") for n in range(4)]
    assert [queue.enter(one) for one in busy] == [True, True, False, False]
    quiet = ticket("other", "quiet")
    assert not queue.enter(quiet)
    assert queue.leave(busy[0]) is quiet


def test_a_key_with_too_many_waiting_is_refused_and_others_are_not(ticket: Make) -> None:
    queue = turns(running=1, waiting=2)
    assert [queue.enter(ticket("a")) for _ in range(3)] == [True, False, False]
    with pytest.raises(TooManyQueries, match="2 queries of this key wait"):
        queue.enter(ticket("a"))
    assert not queue.enter(ticket("b"))


def test_there_is_a_limit_for_all_keys_together(ticket: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    queue = turns(running=1)
    assert [queue.enter(ticket(key)) for key in "abc"] == [True, False, False]
    with pytest.raises(StoreUnavailable):
        queue.enter(ticket("d"))


def test_who_goes_away_leaves_the_queue(ticket: Make, peers: dict[int, socket.socket]) -> None:
    queue, (first, gone, kept) = turns(running=1), [ticket("a") for _ in range(3)]
    assert [queue.enter(one) for one in (first, gone, kept)] == [True, False, False]
    peers[1].close()
    queue.look(now=0)
    assert queue.waiting() == 1
    assert gone.client.fileno() == -1
    assert queue.leave(first) is kept


def test_who_has_waited_too_long_is_told(ticket: Make, peers: dict[int, socket.socket]) -> None:
    queue, first, late = turns(running=1, wait_s=10), ticket("a"), ticket("a")
    assert queue.enter(first)
    assert not queue.enter(late)
    queue.look(now=late.since + 10)
    assert queue.waiting() == 1
    queue.look(now=late.since + 10.1)
    said = peers[1].recv(1000)
    assert said.startswith(ERROR)
    assert b"store_unavailable" in said
    assert peers[1].recv(1) == b""
    assert queue.leave(first) is None
