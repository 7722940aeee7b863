"""Nodes in a state that several tests of faults begin with."""

import os
import signal
from collections.abc import Callable

import pytest

from tests.support import RunningNode


@pytest.fixture
def frozen(make_node: Callable[..., RunningNode]) -> RunningNode:
    """A node that has stored 10 events and is killed with 5 more in its spool, each a record."""
    node = make_node(workers=1)
    node.send([{"event": "stored"}] * 10)
    node.wait_for_count(10)
    (store,) = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    for n in range(5):
        assert node.post("/v1/ingest", {"event": "waiting", "user_id": f"u{n}"}).status_code == 202
    node.kill()
    return node
