"""``novamesh export``: whole days, never a part of one; what is exported can be imported again."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from novamesh.transfer.zstd import ZstdFile
from tests.api.commands import new_key, rows, run, run_at, stored
from tests.scripted import Answer, Request, scripted
from tests.support import RunningNode, running_node

EVENTS: list[dict[str, Any]] = [
    {"event": "a", "timestamp": "2026-01-01T00:00:00Z"},
    {
        "event": "b",
        "timestamp": "2026-01-01T23:59:59.999999Z",
        "user_id": "u",
        "properties": {},
        "context": {"a": None},
    },
    {
        "event": "c ü\n",
        "timestamp": "2026-01-02T00:00:00Z",
        "properties": {
            "big": 2**64 - 1,
            "small": -(2**63),
            "float": 1e-7,
            "exp": 1e300,
            "text": 'a"\\\u2028\u0001',
            "list": [1, "1", None, {"k": [[]]}],
            "odd key. é": True,
        },
    },
    {"event": "d", "timestamp": "2026-01-05T12:00:00.5Z", "id": "mine"},
]
ALL = "SELECT event, user_id, timestamp, properties, context FROM events ORDER BY event, timestamp"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("export") / "data", workers=1) as node:
        node.send(EVENTS)
        node.wait_for_count(len(EVENTS))
        yield node


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".novamesh-export.json")


@pytest.mark.parametrize("kind", ["parquet", "ndjson", "ndjson.zst"])
def test_what_is_exported_is_imported_equal(node: RunningNode, tmp_path: Path, kind: str) -> None:
    found = run(node, "export", tmp_path / "out", "--format", kind)
    assert found.returncode == 0, found.stderr
    days = [f"2026-01-{day}.{kind}" for day in ("01", "02", "05")]
    assert names(tmp_path / "out") == days
    copy = new_key(node, "copy_" + kind.replace(".", "_"))
    files = [tmp_path / "out" / name for name in days]
    again = run(node, "import", *files, key=copy)
    assert again.returncode == 0, again.stderr
    assert stored(node, copy) == len(EVENTS)
    assert rows(node, copy, ALL) == rows(node, node.key, ALL)
    if kind == "ndjson":
        events = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
        assert [set(event) for event in events] == [
            {"id", "event", "user_id", "timestamp", "properties", "context"}
        ] * 4
        # The node's ids go along as the events' own, so importing it twice stores it once.
        assert run(node, "import", *files, key=copy).returncode == 0
        assert stored(node, copy) == len(EVENTS)


def test_days_that_are_whole_are_left_alone(node: RunningNode, tmp_path: Path) -> None:
    key = new_key(node, "days")
    # A day that is not over however late it is now.
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    events = [{"event": "e", "timestamp": "2026-01-01"}, {"event": "now", "timestamp": str(tomorrow)}]
    text = "\n".join(map(json.dumps, events))
    run(node, "import", "-", key=key, text=text)
    stored(node, key)
    out = tmp_path / "out"
    first = run(node, "export", out, key=key)
    assert "2 events of 2 days" in first.stderr
    assert f"{tomorrow} is not over" in first.stderr
    marks = {name: (out / name).stat().st_ino for name in names(out)}
    second = run(node, "export", out, key=key)
    assert "1 events of 1 days" in second.stderr
    assert "1 days were whole already" in second.stderr
    assert (out / "2026-01-01.parquet").stat().st_ino == marks["2026-01-01.parquet"]
    # A late event, and a file that somebody cut.
    run(node, "import", "-", key=key, text=text.splitlines()[0])
    stored(node, key)
    assert "3 events of 2 days" in run(node, "export", out, key=key).stderr
    assert parquet.read_table(out / "2026-01-01.parquet").num_rows == 2
    (out / "2026-01-01.parquet").write_bytes(b"PAR1")
    assert "3 events of 2 days" in run(node, "export", out, key=key).stderr
    assert parquet.read_table(out / "2026-01-01.parquet").num_rows == 2


def test_days_and_conditions(node: RunningNode, tmp_path: Path) -> None:
    for n, (options, days) in enumerate(
        (
            (("--from", "2026-01-02"), ["02", "05"]),
            (("--to", "2026-01-02"), ["01", "02"]),
            (("--to", "9999-12-31"), ["01", "02", "05"]),
            (("--from", "2026-01-02", "--to", "2026-01-04"), ["02"]),
            (("--where", "event IN ('a', 'd') -- these"), ["01", "05"]),
            (("--where", "event = 'none'"), []),
        )
    ):
        found = run(node, "export", tmp_path / str(n), "--format", "ndjson.zst", *options)
        assert found.returncode == 0, found.stderr
        assert names(tmp_path / str(n)) == [f"2026-01-{day}.ndjson.zst" for day in days]
    with ZstdFile(tmp_path / "4" / "2026-01-01.ndjson.zst") as file:
        assert [json.loads(line)["event"] for line in file.read().splitlines()] == ["a"]
    other = run(node, "export", tmp_path / "4", "--format", "ndjson.zst")
    assert other.returncode == 1
    assert "another directory" in other.stderr
    assert run(node, "export", tmp_path / "x", "--where", "nope").returncode == 1
    assert run(node, "export", tmp_path / "x", "--from", "yesterday").returncode == 2


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("parquet", b"PAR1 without its end"),
        ("ndjson", b'{"event": "a"}\n{"event": "b"}\n'),
        ("ndjson", b'{"event": "a"}\n{"error": "query_timeout", "message": "Took too long."}\n'),
        ("ndjson.zst", b'{"event": "a"}\n{"ev'),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
def test_an_export_that_is_cut_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, body: bytes, cut: bool
) -> None:
    monkeypatch.setattr("novamesh.transfer.exporting.WAITS_S", (0.0,))
    meta = {"elapsed_ms": 1, "truncated": False, "types": ["DATE", "BIGINT"]}
    days = {"columns": ["day", "events"], "rows": [["2026-01-01", 2]], "meta": meta}

    def answer(request: Request) -> Answer:
        return Answer(200, days) if request.path == "/v1/query" else Answer(200, body, cut=cut)

    with scripted(answer) as server:
        found = run_at(server.url, "k", "export", tmp_path, "--format", kind)
    assert found.returncode == 1
    assert found.stderr.startswith("novamesh: ")
    assert list(tmp_path.iterdir()) == []
    # It was tried again, unless the node says that it would be the same.
    assert sum(request.method == "GET" for request in server.requests) == (
        1 if b"query_timeout" in body and not cut else 2
    )


def test_an_interrupted_export_goes_on_with_the_day_that_was_cut(node: RunningNode, tmp_path: Path) -> None:
    assert run(node, "export", tmp_path, "--to", "2026-01-01").returncode == 0
    found = run(node, "export", tmp_path)
    assert "2 events of 2 days" in found.stderr
    assert "1 days were whole already" in found.stderr
    assert names(tmp_path) == [f"2026-01-{day}.parquet" for day in ("01", "02", "05")]
