"""Fixtures: one node shared by the tests that only send and ask, and a maker of nodes for the others."""

import atexit
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import RunningNode, running_node, wait_for

# How long an example takes is a matter of the machine. All else stays as it was, in CI without chance.
settings.register_profile("novamesh", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow]))
settings.load_profile("novamesh")


@atexit.register
def _say_no_more() -> None:
    """The results are out. The database's bindings would list their own types as leaks when the interpreter ends."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    os.close(quiet)


@pytest.fixture(scope="session")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node for tests that do not mind what others have stored. It is ready: its store starts after it answers."""
    with running_node(tmp_path_factory.mktemp("shared") / "data") as node:
        wait_for(node.is_ready, what="readiness")  # commands ask the store at once, pages show what it has said
        yield node


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """Starts nodes with settings of one's own on ``tmp_path/data``; all are gone after the test."""
    nodes: list[RunningNode] = []

    def make(**settings: object) -> RunningNode:
        node = RunningNode(tmp_path / "data", **settings)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.kill()


@pytest.fixture
def node(make_node: Callable[..., RunningNode]) -> RunningNode:
    """A fresh node of the test's own."""
    return make_node()
