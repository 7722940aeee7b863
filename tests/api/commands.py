"""The commands that talk to a node, with its address and key in the environment.

Most run in this process, as the command line's entry would run them: a process of its own takes a second on a busy machine.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from typing import Any, NamedTuple
from unittest import mock

from novamesh.cli import main
from novamesh.keys import KeyStore
from tests.support import RunningNode, clean_environment, wait_for


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def environment_of(url: str, key: str) -> dict[str, str]:
    given = {"NOVAMESH_URL": url, "NOVAMESH_KEY": key}
    return {**clean_environment(), **{name: value for name, value in given.items() if value}}


def start(
    node: RunningNode, *arguments: object, key: str = "", stdin: int = subprocess.DEVNULL
) -> "subprocess.Popen[str]":
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "novamesh.cli", *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_of(node.url, key or node.key),
    )


def run(node: RunningNode, *arguments: object, key: str = "", text: str = "") -> Ended:
    """A command, to its end; ``text`` is its standard input."""
    return run_at(node.url, key or node.key, *arguments, text=text)


def run_at(url: str, key: str, *arguments: object, text: str = "") -> Ended:
    """The same, with another address and key, or without if they are empty."""
    streams = [io.TextIOWrapper(io.BytesIO(data), "utf-8") for data in (text.encode(), b"", b"")]
    given = mock.patch.multiple(sys, stdin=streams[0], stdout=streams[1], stderr=streams[2])
    with given, mock.patch.dict(os.environ, environment_of(url, key), clear=True):
        status = _status(list(map(str, arguments)))
    return Ended(status, *map(_written, streams[1:]))


def new_key(node: RunningNode, project: str, rate: int | None = None, burst: int | None = None) -> str:
    """A key of a project, once the node knows it."""
    with contextlib.closing(KeyStore(node.data_dir / "keys.db")) as store:
        secret = store.create(project, rate=rate, burst=burst)
    sql = "SELECT count() FROM events"
    wait_for(lambda: run_at(node.url, secret, "query", sql).returncode == 0, what="the key")
    return secret


def rows(node: RunningNode, key: str, sql: str) -> list[list[Any]]:
    """The rows of a query that must succeed."""
    found = run(node, "query", sql, "--format", "json", key=key)
    assert found.returncode == 0, found.stderr
    document: dict[str, Any] = json.loads(found.stdout)
    return list(document["rows"])


def stored(node: RunningNode, key: str) -> int:
    """Events, when all that was accepted is loaded. For nodes with one edge worker."""
    other = {"Authorization": f"Bearer {new_key(node, 'settle')}"}
    # One worker keeps the order: when this one is stored, so is all before it.
    wait_for(
        lambda: node.post("/v1/ingest?wait=stored", {"event": "settle"}, other).json().get("status") == "stored",
        what="loading",
    )
    return int(rows(node, key, "SELECT count() FROM events")[0][0])


def _status(arguments: list[str]) -> int:
    try:
        main(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def _written(stream: Any) -> str:
    stream.flush()
    with contextlib.closing(stream):
        return str(stream.buffer.getvalue(), "utf-8", "replace")
