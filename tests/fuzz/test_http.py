"""Some seconds of what ``scripts/fuzz http`` does for as long as one likes: the same connections each time."""

from pathlib import Path

from tests.fuzz import http
from tests.fuzz.live import play_http
from tests.support import running_node

CONNECTIONS = 300


def test_the_http_surface(tmp_path: Path) -> None:
    with running_node(tmp_path / "data", **http.SETTINGS) as node:
        assert play_http(node, range(CONNECTIONS)) == CONNECTIONS
