"""Fixtures of the HTTP tests."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.support import RunningNode


@pytest.fixture
def user() -> str:
    """A user id no other test has."""
    return f"u_{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def client(shared_node: RunningNode) -> Iterator[httpx.Client]:
    """A client of the shared node, with its key."""
    with shared_node.client() as client:
        yield client
