"""Starting and stopping: what stands in the way is said in one line, and nothing is touched."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import DEADLINE_S, RunningNode, clean_environment, run_cli, running_node, start_serve, wait_for


def serve(
    *arguments: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """``novamesh serve`` where it must end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "novamesh.cli", "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        cwd=cwd,
        env={**clean_environment(), "PYTHONPATH": python_path(), **(environment or {})},
        check=False,
    )


def python_path() -> str:
    """PYTHONPATH that holds in any working directory."""
    return os.pathsep.join(
        str(Path(part).absolute()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part
    )


def expect_refusal(done: subprocess.CompletedProcess[str], *words: str, status: int = 1) -> None:
    """Nothing on stdout; the reason on stderr: one line, of which a usage error's is the last."""
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    lines = done.stderr.splitlines()
    if status == 1:
        assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[-1], done.stderr
    assert "Traceback" not in done.stderr


def tree(path: Path) -> dict[str, bytes | None]:
    """All files below a directory and what they hold."""
    return {str(entry.relative_to(path)): entry.read_bytes() if entry.is_file() else None for entry in path.rglob("*")}


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The data directory of a node that has run and was stopped."""
    with running_node(tmp_path / "data", workers=1) as node:
        assert node.stop() == 0
    return node.data_dir


# ---- what stands in the way


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = serve(f"--data-dir={tmp_path / 'data'}", f"--port={port}")
    expect_refusal(done, f"127.0.0.1:{port}", "in use", "--port")
    assert not (tmp_path / "data").exists()


def test_a_port_of_another_node(shared_node: RunningNode, tmp_path: Path) -> None:
    port = shared_node.url.rpartition(":")[2]
    expect_refusal(serve(f"--data-dir={tmp_path / 'data'}", f"--port={port}"), "in use")
    assert not (tmp_path / "data").exists()


def test_an_address_that_is_not_ours(tmp_path: Path) -> None:
    expect_refusal(
        serve(f"--data-dir={tmp_path / 'data'}", "--host=192.0.2.1", "--port=8000"), "cannot listen on 192.0.2.1"
    )
    assert not (tmp_path / "data").exists()


def test_a_data_directory_in_use(node: RunningNode) -> None:
    expect_refusal(serve(f"--data-dir={node.data_dir}", "--port=0"), str(node.data_dir), "in use by another node")
    assert node.post("/v1/ingest", {"event": "e"}).status_code == 202


def test_data_of_a_newer_version(stopped: Path) -> None:
    identity = stopped / "node.json"
    document = json.loads(identity.read_bytes())
    identity.write_text(json.dumps({**document, "format": document["format"] + 1}))
    before = tree(stopped)
    expect_refusal(serve(f"--data-dir={stopped}", "--port=0"), str(stopped), "newer")
    assert tree(stopped) == before


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"format": "1", "node_id": "x"}', b"\xff"])
def test_a_damaged_identity(stopped: Path, content: bytes) -> None:
    (stopped / "node.json").write_bytes(content)
    before = tree(stopped)
    expect_refusal(serve(f"--data-dir={stopped}", "--port=0"), "node.json", "damaged")
    assert tree(stopped) == before


def test_an_identity_whose_id_is_none(stopped: Path) -> None:
    identity = stopped / "node.json"
    identity.write_text(json.dumps({**json.loads(identity.read_bytes()), "node_id": "not an id"}))
    expect_refusal(serve(f"--data-dir={stopped}", "--port=0"), "node.json", "damaged")


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.write_text("mine")
    expect_refusal(serve(f"--data-dir={place}", "--port=0"), str(place), "cannot be used")
    assert place.read_text() == "mine"


def test_a_file_in_the_place_of_a_parent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    expect_refusal(serve(f"--data-dir={tmp_path / 'file' / 'data'}", "--port=0"), "cannot be used")
    assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir(mode=0o500)
    expect_refusal(serve(f"--data-dir={place}", "--port=0"), str(place), "Permission denied")


def test_a_directory_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    expect_refusal(serve(f"--data-dir={tmp_path}", "--port=0"), str(tmp_path), "other files")
    assert tree(tmp_path) == {"photo.jpg": b"mine"}


# ---- settings


def test_an_unknown_flag(tmp_path: Path) -> None:
    done = serve(f"--data-dir={tmp_path / 'data'}", "--prot=1")
    expect_refusal(done, "No such option", "--prot", "--port", status=2)
    assert not (tmp_path / "data").exists()


def test_an_unknown_setting_in_the_environment(tmp_path: Path) -> None:
    done = serve(f"--data-dir={tmp_path / 'data'}", environment={"NOVAMESH_PROT": "1"})
    expect_refusal(done, "unknown setting 'prot'", "environment", "did you mean port?")
    assert not (tmp_path / "data").exists()


def test_an_unknown_setting_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "novamesh.toml").write_text("prot = 1\n")
    expect_refusal(serve(cwd=tmp_path), "unknown setting 'prot'", "novamesh.toml", "did you mean port?")
    assert list(tmp_path.iterdir()) == [tmp_path / "novamesh.toml"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("port = '8000'", "port"),
        ("port = 70000", "port"),
        ("port = true", "port"),
        ("node = 5", "node"),
        ("node = 'a b'", "node"),
        ("workers = -1", "workers"),
        ("query_time_limit_ms = 0", "query_time_limit_ms"),
        ("store = 'postgres'", "store must be duckdb"),
        ("log_level = 'loud'", "log_level"),
        ("batch_limit_bytes = 100000000", "batch_limit_bytes"),
        ("port = ", "not valid TOML"),
        ("[server]\nport = 1", "unknown setting 'server'"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "novamesh.toml").write_text(content)
    expect_refusal(serve(cwd=tmp_path), words)
    assert list(tmp_path.iterdir()) == [tmp_path / "novamesh.toml"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PORT", "http", "port must be a whole number"),
        ("PORT", "", "port must be a whole number"),
        ("PORT", "70000", "port"),
        ("NODE", "a b", "node"),
        ("LOG_LEVEL", "LOUD", "log_level"),
    ],
)
def test_a_variable_that_is_wrong(tmp_path: Path, variable: str, value: str, words: str) -> None:
    done = serve(f"--data-dir={tmp_path / 'data'}", environment={f"NOVAMESH_{variable}": value})
    expect_refusal(done, words)
    assert not (tmp_path / "data").exists()


def test_a_flag_of_the_wrong_type(tmp_path: Path) -> None:
    done = serve(f"--data-dir={tmp_path / 'data'}", "--port=http")
    expect_refusal(done, "--port", "not a valid integer", status=2)
    assert not (tmp_path / "data").exists()


def test_a_flag_out_of_range(tmp_path: Path) -> None:
    expect_refusal(serve(f"--data-dir={tmp_path / 'data'}", "--port=70000"), "port")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    expect_refusal(serve(f"--config={missing}"), "none.toml", status=2)
    expect_refusal(serve(cwd=tmp_path, environment={"NOVAMESH_CONFIG": str(missing)}), "cannot read", "none.toml")


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "novamesh.toml").write_text("data_dir = 'from-file'\nstore = 'from-file'\nnode = 'from-file'\n")
    expect_refusal(serve(cwd=tmp_path), "'from-file'")
    expect_refusal(serve(cwd=tmp_path, environment={"NOVAMESH_STORE": "from-environment"}), "'from-environment'")
    expect_refusal(
        serve("--store=from-flag", cwd=tmp_path, environment={"NOVAMESH_STORE": "from-environment"}), "'from-flag'"
    )


# ---- a good start


class Started:
    """A node whose output is kept as a person would see it."""

    def __init__(self, data_dir: Path) -> None:
        self.process = start_serve(data_dir, port=0, disk_reserve_bytes=0)
        assert self.process.stdout is not None
        self.output = ""
        for line in self.process.stdout:
            self.output += line
            if "--data-urlencode" in line:
                break

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        rest, errors = self.process.communicate(timeout=DEADLINE_S)
        self.output += rest + errors
        return self.process.returncode

    def commands(self) -> list[str]:
        """The shell commands shown, each with its continued lines."""
        return [found.strip() for found in re.findall(r"^  (curl(?:.*\\\n)*.*)$", self.output, re.MULTILINE)]


def bash(command: str, **environment: str) -> Any:
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**clean_environment(), **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def living(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(entry.name)
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Started]]:
    started: list[Started] = []

    def begin() -> Started:
        started.append(Started(tmp_path / "data"))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.communicate()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_what_a_first_start_shows_works_when_pasted(start: Callable[[], Started]) -> None:
    first = start()
    keys = set(re.findall(r"nm_live_\w{32}", first.output))
    assert len(keys) == 1
    assert "shown this once" in first.output
    send, question = first.commands()
    assert bash(send) == {"accepted": True, "queued": 1}

    def found() -> bool:
        document = bash(question)
        return bool(document.get("rows") == [["page_view", 1]] and document["columns"] == ["event", "count"])

    wait_for(found, what="the event")
    assert first.stop() == 0

    second = start()
    assert "nm_live_" not in second.output
    assert "nm_test_" not in second.output
    assert "keys create" in second.output
    key = keys.pop()
    send, question = second.commands()
    assert bash(send, NOVAMESH_KEY=key) == {"accepted": True, "queued": 1}
    wait_for(lambda: bash(question, NOVAMESH_KEY=key).get("rows") == [["page_view", 2]], what="both events")
    assert second.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_nothing_behind(start: Callable[[], Started], number: signal.Signals) -> None:
    started = start()
    assert started.stop(number) == 0
    wait_for(lambda: not living(started.process.pid), what="the end of all processes")
    assert "Traceback" not in started.output


def test_a_stop_stores_what_was_accepted(make_node: Callable[..., RunningNode], user: str) -> None:
    node = make_node()
    body = {"events": [{"event": "e", "user_id": user}] * 500}
    for _ in range(4):
        assert node.post("/v1/batch", body).status_code == 202
    assert node.stop() == 0
    node.restart()
    node.wait_for_count(2000)


def test_the_data_directory_is_for_its_owner_only(stopped: Path) -> None:
    assert stopped.stat().st_mode & 0o077 == 0


def test_a_directory_can_be_moved(stopped: Path, tmp_path: Path) -> None:
    moved = stopped.rename(tmp_path / "elsewhere")
    with running_node(moved, workers=1) as node:
        assert node.key == ""
        listed = run_cli("keys", "list", f"--data-dir={moved}")
        assert listed.stdout.count("\n") == 1
