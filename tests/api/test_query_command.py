"""``novamesh query``."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tests.api.commands import environment_of, run, run_at
from tests.scripted import Answer, scripted
from tests.support import RunningNode

SQL = "SELECT i, 'a' || i AS t FROM range(3) r(i)"


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.fixture(scope="module")
def node(shared_node: RunningNode) -> RunningNode:
    return shared_node


def test_csv_in_a_pipe_and_numbers_apart_from_it(node: RunningNode) -> None:
    found = run(node, "query", SQL)
    assert (found.returncode, found.stdout) == (0, "i,t\r\n0,a0\r\n1,a1\r\n2,a2\r\n")
    assert found.stderr.startswith("3 rows in ")


def test_parameters_and_sql_from_standard_input(node: RunningNode) -> None:
    arguments = ("--param", "user=u_1", "--param", "n=5", "--param", "s=a=b", "--format", "ndjson")
    found = run(node, "query", "-", *arguments, text="SELECT $user AS u, $n + 1 AS n, $s AS s")
    assert (json.loads(found.stdout), found.returncode) == ({"u": "u_1", "n": 6, "s": "a=b"}, 0)
    assert run(node, "query", SQL, "--param", "x").returncode == 2


def test_text_forms(node: RunningNode) -> None:
    table = run(node, "query", SQL, "--format", "table").stdout
    assert table.splitlines() == ["i  t", "─  ──", "0  a0", "1  a1", "2  a2"]
    document = json.loads(run(node, "query", SQL, "--format", "json").stdout)
    assert document["rows"] == [[0, "a0"], [1, "a1"], [2, "a2"]]
    lines = run(node, "query", SQL, "--format", "ndjson")
    assert [json.loads(line) for line in lines.stdout.splitlines()] == [{"i": n, "t": f"a{n}"} for n in range(3)]
    assert lines.stderr.startswith("3 rows in ")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "json", "ndjson", "csv"])
def test_files_by_their_name(node: RunningNode, tmp_path: Path, kind: str) -> None:
    found = run(node, "query", SQL, "--output", tmp_path / f"x.{kind}", "--limit", 2)
    assert (found.returncode, found.stdout) == (0, "")
    assert "2 rows" in found.stderr
    assert ("there may be more" if kind == "csv" else "there are more") in found.stderr
    assert names(tmp_path) == [f"x.{kind}"]
    if kind == "parquet":
        assert parquet.read_table(tmp_path / "x.parquet")["i"].to_pylist() == [0, 1]
    if kind == "arrow":
        assert arrow.ipc.open_stream(tmp_path / "x.arrow").read_all()["i"].to_pylist() == [0, 1]


def test_a_cut_is_told_where_csv_cannot(node: RunningNode) -> None:
    """It does not say whether there are more than the limit, only that there may be."""
    text = "SELECT 'a,\n\"' AS x FROM range(4)"
    for limit, may_be in ((3, True), (4, True), (5, False)):
        found = run(node, "query", text, "--limit", limit)
        assert ("there may be more" in found.stderr) is may_be
        assert "there are more" not in found.stderr
    assert "more" not in run(node, "query", text, "--limit", 4, "--format", "ndjson").stderr


def test_errors_are_one_line(node: RunningNode, tmp_path: Path) -> None:
    for arguments in (("SELECT nope FROM events",), ("DROP TABLE events", "--format", "table"), ("SELECT $x",)):
        found = run(node, "query", *arguments, "--output", tmp_path / "x")
        assert (found.returncode, found.stdout, found.stderr.count("\n")) == (1, "", 1)
        assert found.stderr.startswith("novamesh: ")
    assert names(tmp_path) == []


FAILED = b'"error": "query_timeout", "message": "Took too long."}\n'
MIDWAY = {
    "csv": (b"a\r\n1\r\n", True),
    "json": (b'{"columns": ["a"], "rows": [\n[1],\n[2]\n], ' + FAILED, False),
    "ndjson": (b'{"a": 1}\n{"a": 2}\n{' + FAILED, False),
    "table": (b'{"columns": ["a"], "rows": [\n[1]\n], ' + FAILED, False),
    "parquet": (b"PAR1 without its end", False),
    "arrow": (b"", False),
}


@pytest.mark.parametrize("kind", MIDWAY)
def test_a_result_that_fails_midway_is_no_result(tmp_path: Path, kind: str) -> None:
    body, cut = MIDWAY[kind]
    with scripted(Answer(200, body, cut=cut)) as server:
        found = run_at(server.url, "k", "query", "SELECT 1", "--format", kind, "--output", tmp_path / "x")
    assert found.returncode == 1
    assert found.stderr.startswith("novamesh: ")
    assert found.stderr.count("\n") == 1
    assert names(tmp_path) == []
    if kind in ("json", "ndjson", "table"):
        assert "Took too long." in found.stderr


def test_a_query_that_fails_on_a_node_is_no_result(node: RunningNode) -> None:
    text = "SELECT (CASE WHEN i = 45000 THEN 'x' ELSE '1' END)::INTEGER AS x FROM range(50000) r(i)"
    for kind in MIDWAY:
        assert run(node, "query", text, "--format", kind, "--limit", 50_000).returncode == 1


def test_keys(node: RunningNode) -> None:
    wrong = run(node, "query", SQL, key="nm_live_" + 32 * "x")
    assert wrong.returncode == 1
    assert "API key required" in wrong.stderr
    assert "xxx" not in wrong.stderr
    none = run_at("", "", "query", SQL, "--url", node.url)
    assert none.returncode == 1
    assert "NOVAMESH_KEY" in none.stderr
    assert run_at("", "", "query", SQL, "--url", node.url, "--key", node.key).returncode == 0


def test_the_node_of_a_data_directory_is_found(node: RunningNode) -> None:
    assert run_at("", node.key, "query", SQL, "--data-dir", node.data_dir).returncode == 0
    away = run_at("http://127.0.0.1:1", node.key, "query", SQL)
    assert away.returncode == 1
    assert "nobody listens there" in away.stderr


def test_a_terminal_gets_a_table_that_fits(node: RunningNode) -> None:
    leader, follower = pty.openpty()
    environment = {**environment_of(node.url, node.key), "COLUMNS": "30"}
    command = [sys.executable, "-m", "novamesh.cli", "query", "SELECT 1 AS n, repeat('x', 100) AS t"]
    with subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(follower)
        shown = b""
        try:
            while piece := os.read(leader, 4096):
                shown += piece
        except OSError:  # Linux says so when the other end is closed
            pass
        assert process.wait() == 0
    os.close(leader)
    assert shown.decode().split() == ["n", "t", "─", "─" * 27, "1", "x" * 26 + "…"]
