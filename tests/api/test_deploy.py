"""The files of deploy/ hold against the node: their commands are run, their settings are read."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from novamesh.cli import cli
from novamesh.config import Config, free_port, load
from tests.support import DEADLINE_S, RunningNode, clean_environment

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = "/opt/novamesh/bin/novamesh"
UNITS = ("novamesh.service", "novamesh-backup.service", "novamesh-backup.timer")


def unit(name: str) -> dict[str, str]:
    """The settings of a unit's last section but [Install]; of those that are given twice the last."""
    parser = configparser.RawConfigParser(strict=False, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / name)
    return dict(parser["Timer" if name.endswith("timer") else "Service"])


def parse(words: list[str]) -> click.Context:
    """What the command line makes of a command. Raises ``click.UsageError``."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    return command.make_context(command.name, words)


# ---- systemd


def test_the_service_starts_the_node() -> None:
    program, *words = shlex.split(unit("novamesh.service")["ExecStart"])
    assert program == PROGRAM
    assert words[words.index("--config") + 1] == "/etc/novamesh/novamesh.toml"
    words[words.index("--config") + 1] = str(DEPLOY / "novamesh.toml")
    with parse(words) as context:
        assert context.params["data_dir"] == unit("novamesh.service")["WorkingDirectory"] == "/var/lib/novamesh"


def test_a_stop_has_the_time_it_may_take() -> None:
    service = unit("novamesh.service")
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 2 * Config().stop_timeout_s


def test_the_file_of_settings_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load({}, {}, DEPLOY / "novamesh.toml")
    assert (config.host, config.base_url) == ("127.0.0.1", "https://events.example.org")


def _shell(command: str, directory: Path, data_dir: Path) -> str:
    """A unit's ``/bin/sh -c`` with its specifiers resolved, its backups in ``directory`` and the program that is here."""
    text = command.replace("%%", "%").replace("$$", "$")
    text = text.replace(PROGRAM, f"{sys.executable} -m novamesh.cli").replace("/var/backups/novamesh", str(directory))
    return text.replace("/var/lib/novamesh", str(data_dir))


def test_the_backup_is_made_and_old_ones_are_removed(shared_node: RunningNode, tmp_path: Path) -> None:
    old, kept, other = (tmp_path / name for name in ("2020-01-31T031700Z", "2020-02-01T031700Z", "mine"))
    for directory in (old, kept, other):
        directory.mkdir()
        (directory / "file").touch()
    for directory in (old, other):
        os.utime(directory, (0, 0))
    service = unit("novamesh-backup.service")
    for name in ("ExecStart", "ExecStartPost"):
        command = _shell(service[name], tmp_path, shared_node.data_dir)
        subprocess.run(shlex.split(command), check=True, env=clean_environment(), timeout=DEADLINE_S)
    assert not old.exists()
    (made,) = set(tmp_path.iterdir()) - {kept, other}
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d{6}Z", made.name)
    assert (made / "backup.json").exists()


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units with a program that is there."""
    for name in UNITS:
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace(PROGRAM, "/bin/true"))
    return [str(tmp_path / name) for name in UNITS]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_finds_no_fault(units: list[str]) -> None:
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
@pytest.mark.parametrize("place", [0, 1])
def test_the_services_are_hardened(units: list[str], place: int) -> None:
    """Exposure at most 1.5 of 10; services come with 9.6."""
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", units[place]]
    analysed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert analysed.returncode == 0, analysed.stdout


# ---- container


def instructions() -> list[tuple[str, str]]:
    """Instructions and arguments of the Dockerfile, lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def last(name: str) -> str:
    return [argument for instruction, argument in instructions() if instruction == name][-1]


def test_the_image_is_built_in_a_stage_of_its_own_and_runs_as_nobody() -> None:
    assert [name for name, _ in instructions()].count("FROM") == 2
    assert re.fullmatch(r"[1-9]\d+", last("USER"))
    assert f"--uid {last('USER')}" in [argument for name, argument in instructions() if name == "RUN"][-1]
    environment = dict(pair.split("=", 1) for pair in last("ENV").split())
    assert environment["NOVAMESH_DATA_DIR"] == last("VOLUME")
    with parse(json.loads(last("CMD"))):
        assert json.loads(last("ENTRYPOINT")) == ["novamesh"]


def test_what_the_image_copies_is_there_and_in_its_context() -> None:
    context = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    copied = [argument.split()[:-1] for name, argument in instructions() if name == "COPY" and "--from" not in argument]
    files = [file for names in copied for file in names]
    assert sorted(files) == sorted(context)
    assert all((DEPLOY.parent / file).exists() for file in files)


def test_the_health_check_tells_a_node_from_none(shared_node: RunningNode) -> None:
    """By the port that the environment names, as the node does."""
    program, *words = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert program == "python"
    assert f"'{Config().port}'" in words[1]
    assert last("EXPOSE") == str(Config().port)
    for port, status in ((shared_node.url.rpartition(":")[2], 0), (str(free_port("127.0.0.1")), 1)):
        environment = {**clean_environment(), "NOVAMESH_PORT": port}
        done = subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, timeout=DEADLINE_S, check=False
        )
        assert done.returncode == status
