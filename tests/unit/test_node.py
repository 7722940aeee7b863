"""What a node's supervisor does before its processes are up."""

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from novamesh.config import Config, free_port
from novamesh.datadir import DataDirectory
from novamesh.errors import StartError
from novamesh.node import StoreSupervisor, hold_port
from tests.support import wait_for

HOST = "127.0.0.1"


def server(port: int, *options: int) -> socket.socket:
    made = socket.socket()
    for option in (socket.SO_REUSEADDR, *options):
        made.setsockopt(socket.SOL_SOCKET, option, 1)
    made.bind((HOST, port))
    made.listen()
    return made


def test_of_two_nodes_that_start_on_one_port_the_second_is_refused_before_the_first_listens() -> None:
    config = Config(host=HOST, port=free_port(HOST))
    with hold_port(config):
        with pytest.raises(StartError, match="in use"):
            hold_port(config)
        # The node's own server takes all connections.
        with server(config.port, socket.SO_REUSEPORT) as listening:
            for _ in range(20):
                socket.create_connection((HOST, config.port)).close()
                listening.accept()[0].close()
    hold_port(config).close()


def test_connections_of_an_earlier_server_are_no_hindrance() -> None:
    with server(0) as earlier:
        port = earlier.getsockname()[1]
        with socket.create_connection((HOST, port)) as client:
            earlier.accept()[0].close()
            assert client.recv(1) == b""
    hold_port(Config(host=HOST, port=port)).close()


def _takers(pid: int, number: signal.Signals) -> int:
    """How many threads of a process a signal may come to."""
    masks = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            masks += re.findall(r"SigBlk:\s*(\w+)", status.read_text())
    assert masks
    return sum(not int(mask, 16) & 1 << number - 1 for mask in masks)


def _end(supervisor: StoreSupervisor) -> None:
    assert supervisor.stop(60) == 0
    assert supervisor._process is not None
    assert supervisor._process.returncode == 0


def test_a_store_is_started_until_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that dies before it has read its settings, or for which the system has no process left."""
    begin = subprocess.Popen
    starts: list[str] = []

    def begin_badly(*command: Any, **options: Any) -> Any:
        starts.append("start")
        if len(starts) == 2:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        process = begin(*command, **options)
        if len(starts) == 1:
            process.kill()
            process.wait()
        return process

    monkeypatch.setattr(subprocess, "Popen", begin_badly)
    directory = DataDirectory(tmp_path / "data")
    directory.open()
    supervisor = StoreSupervisor(Config(data_dir=str(directory.path)))
    supervisor.start()
    wait_for((directory.store / "made").exists, what="a store that runs")
    assert supervisor._process is not None
    assert _takers(supervisor._process.pid, signal.SIGTERM) == 1, "the one that waits for it, and interrupts nobody"
    _end(supervisor)
    directory.close()
    assert len(starts) == 3


def test_a_store_that_is_told_to_stop_while_it_starts_stops_in_order(tmp_path: Path) -> None:
    """It loads what is in the spool; the signal alone would end it."""
    directory = DataDirectory(tmp_path / "data")
    directory.open()
    supervisor = StoreSupervisor(Config(data_dir=str(directory.path)))
    supervisor.start()
    _end(supervisor)
    directory.close()
    assert (directory.store / "made").exists()
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
