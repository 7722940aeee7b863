"""``novamesh tail``: lines on a terminal, JSON in a pipe, and on again when the node comes back."""

import codecs
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pytest

from novamesh.cli.tail import line
from novamesh.config import free_port
from tests.api.commands import run_at
from tests.api.test_tail import create
from tests.support import DEADLINE_S, RunningNode, clean_environment, run_cli, running_node, wait_for


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """On a port of its own, so that it can come back there."""
    settings = {"workers": 1, "port": free_port("127.0.0.1"), "tail_rate": 100}
    with running_node(tmp_path_factory.mktemp("tail-command") / "data", **settings) as node:
        yield node


class Tail:
    """The command as a process; what it writes is kept."""

    def __init__(self, node: RunningNode, *options: str, terminal: bool = False, key: str = "") -> None:
        self.written = self.said = ""
        reading, writing = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "novamesh.cli", "tail", f"--data-dir={node.data_dir}", *options],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**clean_environment(), "NOVAMESH_KEY": key or node.key, "COLUMNS": "60"},
        )
        os.close(writing)
        assert self.process.stderr is not None
        self._threads = [
            threading.Thread(target=self._keep, args=("written", os.fdopen(reading, "rb", 0)), daemon=True),
            threading.Thread(target=self._keep, args=("said", self.process.stderr), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _keep(self, name: str, stream: IO[bytes]) -> None:
        decode = codecs.getincrementaldecoder("utf-8")().decode  # a read may end within a character
        with stream:
            try:
                while data := os.read(stream.fileno(), 65536):
                    setattr(self, name, getattr(self, name) + decode(data))
            except OSError:
                return  # a terminal whose other end is closed

    @property
    def lines(self) -> list[str]:
        return self.written.replace("\r\n", "\n").split("\n")[:-1]

    def interrupt(self) -> int:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.status()

    def status(self) -> int:
        status = self.process.wait(DEADLINE_S)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        return status


@contextmanager
def tailing(node: RunningNode, *options: str, **more: Any) -> Iterator[Tail]:
    """A command that shows events when the block begins: a first one that is no longer in its output."""
    tail = Tail(node, *options, **more)
    try:
        wait_for(lambda: send(node, "first", user_id="u_first") and tail.lines, what=f"a line {tail.said}")
        yield tail
    finally:
        tail.process.kill()
        tail.status()


def send(node: RunningNode, name: str, **fields: Any) -> bool:
    assert node.post("/v1/ingest", {"event": name, **fields}).status_code == 202
    return True


def test_json_lines_in_a_pipe(node: RunningNode) -> None:
    with tailing(node) as tail:
        send(node, "näme", user_id="u_1", properties={"a": [1, "\u001b[31m"]})
        wait_for(lambda: "näme" in tail.lines[-1])
        assert tail.interrupt() == 0
    row = json.loads(tail.lines[-1])
    assert (row["event"], row["user_id"], row["properties"]) == ("näme", "u_1", {"a": [1, "\u001b[31m"]})
    assert tail.said == ""


def test_lines_on_a_terminal(node: RunningNode) -> None:
    with tailing(node, terminal=True) as tail:
        send(node, "red\u001b[31m", user_id="u_2", properties={"page": "/" * 100})
        wait_for(lambda: "u_2" in tail.lines[-1])
        assert tail.interrupt() == 0
    last = tail.lines[-1]
    assert "\u001b" not in tail.written
    assert last[:12].replace(":", "").replace(".", "").isdigit()
    assert last[12:].startswith("  red�[31m          u_2           {" + '"page":"//')
    assert len(last) == 60
    assert last.endswith("…")


def test_filters_and_json_on_a_terminal(node: RunningNode) -> None:
    with tailing(node, "--json", "--event=first", "--event=buy", "--user=u_first", terminal=True) as tail:
        send(node, "buy", user_id="u_2")
        send(node, "sell", user_id="u_first")
        send(node, "buy", user_id="u_first", properties={"last": True})
        wait_for(lambda: "last" in tail.lines[-1])
        assert tail.interrupt() == 0
    rows = [json.loads(text) for text in tail.lines]
    assert {(row["event"], row["user_id"]) for row in rows} == {("first", "u_first"), ("buy", "u_first")}


def test_what_is_left_out_is_said(node: RunningNode) -> None:
    with tailing(node) as tail:
        node.send([{"event": "many"}] * 1000)
        wait_for(lambda: "events were left out" in tail.said)


def test_a_reader_that_has_enough_ends_it(node: RunningNode) -> None:
    command = f"{sys.executable} -m novamesh.cli tail --url {node.url} | head -n 1; echo ${{PIPESTATUS[0]}}"
    environment = {**clean_environment(), "NOVAMESH_KEY": node.key}
    with subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as shell:
        wait_for(lambda: send(node, "first") and shell.poll() is not None)
        out, said = shell.communicate()
    row, status = out.decode().splitlines()
    assert json.loads(row)["event"] == "first"
    assert (status, said) == ("0", b"")


def test_a_revoked_key_ends_it(node: RunningNode) -> None:
    key = create(node)
    with tailing(node, key=key) as tail:
        assert run_cli("keys", "revoke", key, f"--data-dir={node.data_dir}").returncode == 0
        assert tail.status() == 1
    assert tail.said == "novamesh: The key was revoked or has expired; use another one\n"


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ([], {}, "a key is needed"),
        ([], {"NOVAMESH_KEY": "nm_live_wrong"}, "API key required"),
        (
            ["--url=http://127.0.0.1:1"],
            {"NOVAMESH_KEY": "x"},
            "no answer from http://127.0.0.1:1: nobody listens there",
        ),
    ],
)
def test_what_cannot_work_is_said_at_once(
    node: RunningNode, options: list[str], environment: dict[str, str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "novamesh.cli", "tail", f"--data-dir={node.data_dir}", *options],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**clean_environment(), **environment},
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("novamesh: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("url", "key", "said"),
    [
        ("127.0.0.1:1", "x", "is not the address of a node"),
        ("http://h:99999", "x", "is not the address of a node"),
        ("http://[::1", "x", "is not the address of a node"),
        ("http://127.0.0.1:1", "nm_live_ü", "the key is not one"),
        ("http://127.0.0.1:1", "a\nb", "the key is not one"),
    ],
)
def test_addresses_and_keys_that_are_none(url: str, key: str, said: str) -> None:
    done = run_at(url, key, "tail")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert said in done.stderr


def test_it_connects_again(node: RunningNode) -> None:
    """The last one: it stops the node that the others share, and starts it again."""
    with tailing(node) as tail:
        assert node.stop() == 0
        wait_for(lambda: "connecting again in 1 s" in tail.said)
        before = len(tail.said)  # it may have met the node once more while that stopped
        node.restart()
        wait_for(lambda: "connected again; what was accepted meanwhile was not shown" in tail.said[before:])
        send(node, "second")
        wait_for(lambda: "second" in tail.written)
        assert tail.interrupt() == 0
    assert "The node stops; connect again; connecting again in 0.5 s" in tail.said


@pytest.mark.parametrize(
    ("columns", "end"), [(200, '/日本"}'), (59, '/日本"}'), (58, "/日本…"), (57, "/日…"), (56, "/日…"), (55, "/…")]
)
def test_lines_are_as_wide_as_the_terminal(columns: int, end: str) -> None:
    row = {"event": "e", "user_id": None, "received_at": "2026-01-31T12:00:00Z", "properties": {"p": "/日本"}}
    shown = line(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode(), columns)
    assert shown == "12:00:00.000  e                 -             " + '{"p":"' + end
