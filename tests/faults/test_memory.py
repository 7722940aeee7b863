"""A query past the guard that takes all memory: the process's own limit ends it, and nothing accepted is lost."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from novamesh.store.contract import ERROR, MESSAGE, StoreError
from novamesh.store.memory import data_limit
from tests.faults.load import Senders, check_exactly_once
from tests.hostile import ask_store, store_pid
from tests.memory import peak, private
from tests.support import RunningNode, wait_for

MIB = 1024 * 1024
QUERY_MEMORY = 64 * MIB
BOMBS = {
    "many small pieces": "SELECT damerau_levenshtein(repeat('a', 30000), repeat('b', 30000))",
    "one piece": "SELECT length(repeat('x', 3000000000))",
    "pieces that grow": "SELECT sum(length(repeat('x', 50000000 + i::INT))) FROM range(1000) t(i)",
}


@pytest.fixture
def node(make_node: Callable[..., RunningNode]) -> RunningNode:
    # No time limit ends a bomb before its memory does, however busy the machine is.
    return make_node(query_memory_limit_bytes=QUERY_MEMORY, query_time_limit_ms=3_600_000)


def limit(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith(name)).removeprefix(name).split()[0]


def answer(client: socket.socket) -> str:
    """What a store says of a query: the code of its error, ``rows``, or ``gone`` if it has died."""
    with client, client.makefile("rb") as stream:
        header = stream.read(MESSAGE.size)
        if len(header) < MESSAGE.size:
            return "gone"
        kind, size = MESSAGE.unpack(header)
        return msgspec.json.decode(stream.read(size), type=StoreError).code if kind == ERROR else "rows"


def test_the_store_alone_is_limited(node: RunningNode) -> None:
    store, (edge, *_) = store_pid(node), node.children()["edge"]
    wait_for(lambda: limit(store, "Max data size") == str(data_limit(QUERY_MEMORY)), what="the limit")
    assert limit(store, "Max core file size") == "0"
    for pid in (edge, node.process.pid):
        assert limit(pid, "Max data size") != str(data_limit(QUERY_MEMORY))


@pytest.mark.parametrize("sql", BOMBS.values(), ids=BOMBS)
def test_a_bomb_ends_its_query_alone(node: RunningNode, sql: str) -> None:
    node.send([{"event": "before"}])
    node.wait_for_count(1)
    store = store_pid(node)
    before = private(store)
    assert answer(ask_store(node, sql)) == "query_too_large"
    # Given back before it was told: what is left would fail the next ones, which are small.
    assert private(store) < before + QUERY_MEMORY
    assert peak(store) < data_limit(QUERY_MEMORY)
    node.send([{"event": "after"}])
    node.wait_for_count(2)
    assert store_pid(node) == store


def test_bombs_under_load_lose_nothing(node: RunningNode) -> None:
    senders = Senders(node, seed=8)
    for sql in [*BOMBS.values()] * 2:
        senders.wait_for_more(300)
        wait_for(lambda: store_pid(node) and node.query("SELECT 1").status_code == 200, what="the store")
        # Whose allocation fails is chance: the loader's may, and then the store starts again; with that of the query
        # before it may be on its way to that when it is asked.
        with contextlib.suppress(ConnectionError, FileNotFoundError):
            assert answer(ask_store(node, sql)) in {"query_too_large", "store_unavailable", "gone"}
    senders.stop()
    check_exactly_once(node, senders)
