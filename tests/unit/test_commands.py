"""The command line as a whole."""

import subprocess
import sys
from datetime import date
from pathlib import Path

from novamesh.cli.output import opened
from novamesh.client import Client
from novamesh.transfer.exporting import Day, Export
from tests.scripted import Answer, scripted


def test_a_command_does_not_load_what_only_others_need() -> None:
    """The database and the HTTP server take longer to load than most commands take to run."""
    program = "import sys, novamesh.cli; print(*{'duckdb', 'granian', 'pyarrow'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_two_commands_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    with opened(tmp_path / "x") as first:
        first.write(b"first")
        with opened(tmp_path / "x") as second:
            second.write(b"2")
        assert (tmp_path / "x").read_bytes() == b"2"
    assert (tmp_path / "x").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_two_exports_of_one_day_do_not_mix(tmp_path: Path) -> None:
    day = Day(date(2026, 1, 1), 1)
    body = b'{"event":"e"}\n{"meta":{}}\n'

    with scripted(Answer(200, body)) as server, Client(server.url) as client:
        inner, outer = (Export(client, tmp_path, "ndjson") for _ in range(2))
        begun: list[int] = []

        def show() -> None:
            """Another one begins and ends once the first has something."""
            if not begun:
                begun.append(1)
                inner.write(day, lambda: None)

        outer.write(day, show)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".novamesh-export.json", "2026-01-01.ndjson"]
    assert (tmp_path / "2026-01-01.ndjson").read_bytes() == b'{"event":"e"}\n'
