"""The yardstick: a handler that answers ``202`` and nothing else, on the same server with the same settings."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
from granian.rsgi import HTTPProtocol, Scope

from novamesh.config import Config, free_port
from novamesh.edge.server import make_server


async def answer(_scope: Scope, protocol: HTTPProtocol) -> None:
    """Reads nothing, does nothing."""
    protocol.response_bytes(202, [("content-type", "application/json")], b'{"accepted": true, "queued": 1}')


def build() -> Any:
    """The application, as the server loads it."""
    return answer


@contextmanager
def empty_server() -> Iterator[str]:
    """Runs it in a process of its own; gives its URL."""
    port = free_port("127.0.0.1")
    process = subprocess.Popen([sys.executable, "-m", "bench.empty", str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(200):
            try:
                httpx.get(url)
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    make_server(Config(port=int(sys.argv[1]), log_level="error")).serve(target_loader=partial(build), wrap_loader=False)
