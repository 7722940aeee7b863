"""``novamesh doctor``, and the completion of commands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from novamesh.datadir import DataDirectory
from tests.api.commands import environment_of, run_at
from tests.support import RunningNode


def test_a_node_that_is_well(shared_node: RunningNode) -> None:
    found = run_at("", "", "doctor", "--json", "--data-dir", shared_node.data_dir, "--disk-reserve-bytes", 0)
    document = json.loads(found.stdout)
    by_check = {finding["check"]: finding for finding in document["findings"]}
    assert by_check["node"]["text"] == f"runs at {shared_node.url} and is ready"
    assert by_check["node clock"]["level"] == by_check["keys"]["level"] == by_check["directory"]["level"] == "ok"
    assert document["ok"] == all(finding["level"] != "problem" for finding in document["findings"])
    assert found.returncode == (0 if document["ok"] else 1)
    assert "port" not in by_check  # it is this node's


def test_a_problem_says_what_to_do(tmp_path: Path) -> None:
    found = run_at("", "", "doctor", "--data-dir", tmp_path / "data", "--port", 0, "--disk-reserve-bytes", 1 << 60)
    assert found.returncode == 1
    lines = found.stdout.splitlines()
    (place,) = [n for n, line in enumerate(lines) if line.startswith("problem")]
    assert "disk_reserve_bytes" in lines[place]
    assert "→ free the disk" in lines[place + 1]
    assert list(tmp_path.iterdir()) == []  # nothing is made


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every directory")
@pytest.mark.parametrize("command", ["doctor", "status", "verify", "keys list", "keys create", "backup x", "tail"])
def test_a_directory_of_another_user_is_one_sentence(tmp_path: Path, command: str) -> None:
    data = DataDirectory(tmp_path / "data")
    data.open()
    data.close()
    data.path.chmod(0)
    try:
        found = run_at("", "k", *command.split(), "--data-dir", data.path)
    finally:
        data.path.chmod(0o700)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    if command != "tail":
        assert "ermission denied" in found.stdout + found.stderr or "not this user's" in found.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_says_how_to_install_it(shell: str) -> None:
    found = run_at("", "", "completion", shell)
    assert found.returncode == 0
    assert f"novamesh completion {shell}" in found.stdout.splitlines()[0]
    assert "_NOVAMESH_COMPLETE" in found.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(tmp_path: Path) -> None:
    """As the shell does it: the function that is registered is asked for the words."""
    (tmp_path / "novamesh").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "from novamesh.cli import main; main()" "$@"\n'
    )
    (tmp_path / "novamesh").chmod(0o755)
    script = """
        eval "$(novamesh completion bash)"
        ask() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            $(complete -p novamesh | sed 's/.*-F \\([^ ]*\\).*/\\1/') novamesh
            echo "${COMPREPLY[*]}"
        }
        ask novamesh que
        ask novamesh query --par
        ask novamesh keys rev
    """
    environment = {**environment_of("", ""), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert found.stdout.split() == ["query", "--param", "revoke"], found.stderr
