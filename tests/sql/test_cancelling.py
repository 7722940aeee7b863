"""A client that goes away frees what its query held: by an interrupt, or, where that fails, by a new store process."""

from collections.abc import Iterator

import pytest

from tests.hostile import LIMIT_CASES, ask_store, cpu_ticks, is_answered, post_query, store_pid, under_way
from tests.support import RunningNode, running_node, wait_for

MIB = 1024 * 1024
# The guard refuses it: once begun, DuckDB cannot be told to stop.
UNSTOPPABLE = "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that runs one query at a time, for longer than any test waits."""
    path = tmp_path_factory.mktemp("cancelling") / "data"
    settings = {"query_max_concurrent": 1, "query_time_limit_ms": 3_600_000, "query_memory_limit_bytes": 512 * MIB}
    with running_node(path, **settings) as node:
        node.send([{"event": f"e{n}", "properties": {"n": n}} for n in range(1000)])
        node.wait_for_count(1000)
        yield node


@pytest.mark.parametrize("case", LIMIT_CASES, ids=lambda case: case["name"])
def test_a_client_that_goes_frees_its_place(node: RunningNode, case: dict[str, str]) -> None:
    store = store_pid(node)
    with post_query(node, case["sql"]) as client:
        wait_for(lambda: is_answered(client) or under_way(node), what="the query")
        answer = client.recv(65536) if is_answered(client) else b""
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 403")), answer
    # There is one place, and only an interrupt gives it back within this test's time.
    assert node.rows("SELECT 42") == [[42]]
    assert store_pid(node) == store, "the query was not interrupted, the process was replaced"


def test_a_query_that_cannot_be_interrupted_is_ended_with_its_process(node: RunningNode) -> None:
    store = store_pid(node)
    before = cpu_ticks(store)
    with ask_store(node, UNSTOPPABLE):
        # Until it computes it can be interrupted.
        wait_for(lambda: cpu_ticks(store) > before + 50, what="the query")
    wait_for(lambda: store_pid(node) not in (0, store), what="another store process")
    assert node.count() == 1000
    assert "a query cannot be interrupted" in node.log
