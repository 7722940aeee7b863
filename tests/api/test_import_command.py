"""``novamesh import``: every event once, whatever happens; what is refused is told."""

import gzip
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from novamesh.transfer.progress import Progress, alone
from tests.api.commands import new_key, rows, run, run_at, start, stored
from tests.scripted import Answer, Request, accept, scripted
from tests.support import RunningNode, running_node, wait_for

LINES = 20_000
BAD = (7, 3_333, 12_345, 19_999)  # lines that are no events


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("import") / "data", workers=1) as node:
        yield node


@pytest.fixture
def key(node: RunningNode, request: pytest.FixtureRequest) -> str:
    """A key of a project of the test's own."""
    return new_key(node, "p_" + str(abs(hash(request.node.name)))[:12])


def counted(text: str, read: int, accepted: int) -> bool:
    return f"{read:,} read = {accepted:,} accepted + {read - accepted:,} refused" in text


def interrupted(process: "subprocess.Popen[str]", state: Path, beyond: int, number: signal.Signals) -> bytes:
    """Send a signal once the import is further than this. Returns what its progress file held."""

    def read() -> bytes | None:
        if process.poll() is not None:
            raise AssertionError(f"the import ended: {process.communicate()}")
        held = state.read_bytes() if state.exists() else b""
        return held if held and progress(held).counts.read > beyond else None

    held = wait_for(read, what="the import's progress")
    process.send_signal(number)
    return held


def progress(held: bytes) -> Progress:
    return msgspec.json.decode(held, type=Progress)


def test_an_import_that_is_interrupted_and_killed_stores_each_event_once(node: RunningNode, tmp_path: Path) -> None:
    # The rate makes it slow enough to be met in its middle, however late that is looked for, and full for each of them.
    slow = new_key(node, "interrupted", rate=1000, burst=2000)
    file, state, refused = (tmp_path / f"x.ndjson{suffix}" for suffix in ("", ".novamesh-import", ".refused.ndjson"))
    text = [json.dumps({"event": "e", "properties": {"n": n}}) if n not in BAD else "{bad" for n in range(1, LINES + 1)]
    file.write_text("\n".join(text) + "\n")

    with start(node, "import", file, key=slow) as first:
        early = interrupted(first, state, 0, signal.SIGINT)
        _, told = first.communicate()
    assert first.returncode == 1
    assert "; run the same command to go on" in told
    after_first = progress(state.read_bytes())
    assert 0 < after_first.counts.read < LINES

    with start(node, "import", file, key=slow) as second:
        interrupted(second, state, after_first.counts.read, signal.SIGKILL)
        second.communicate()
    after_second = progress(state.read_bytes())
    assert after_first.counts.read < after_second.counts.read < LINES
    assert not after_second.settled

    fast = new_key(node, "interrupted")  # keys of batches belong to the project
    third = run(node, "import", file, "--go-on", key=fast)
    assert f"going on behind line {after_second.line:,}" in third.stderr
    assert counted(third.stderr, LINES, LINES - len(BAD))
    assert third.returncode == 1  # some were refused
    assert not state.exists()
    assert [json.loads(line)["line"] for line in refused.read_text().splitlines()] == list(BAD)
    assert stored(node, slow) == LINES - len(BAD)

    # Whatever place it goes on from, all that was sent before is known by its keys.
    state.write_bytes(early)
    assert run(node, "import", file, "--go-on", key=fast).returncode == 1
    assert stored(node, slow) == LINES - len(BAD)
    assert rows(node, slow, "SELECT count(DISTINCT properties.n) FROM events") == [[LINES - len(BAD)]]
    assert [json.loads(line)["line"] for line in refused.read_text().splitlines()] == list(BAD)


def test_every_format(node: RunningNode, key: str, tmp_path: Path) -> None:
    events = [{"event": "e", "user_id": f"u{n}", "properties": {"n": n}} for n in range(3)]
    lines = "\n".join(map(json.dumps, events))
    table = "event,user_id,n\n" + "".join(f"e,u{n},{n}\n" for n in range(3))
    (tmp_path / "lines").write_text(lines)
    (tmp_path / "lines.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "array").write_text(json.dumps(events, indent=1))
    (tmp_path / "batch").write_text(json.dumps({"events": events}))
    (tmp_path / "x.csv").write_text(table)
    parquet.write_table(
        arrow.table({"event": ["e"] * 3, "user_id": ["u0", "u1", "u2"], "n": [0, 1, 2]}), tmp_path / "p"
    )
    names = ("lines", "lines.gz", "array", "batch", "x.csv", "p")
    found = run(node, "import", *(tmp_path / name for name in names), key=key)
    assert found.returncode == 0, found.stderr
    assert all(counted(line, 3, 3) for line in found.stderr.splitlines())
    assert run(node, "import", "-", key=key, text=lines).returncode == 0
    assert run(node, "import", "-", "--format", "csv", key=key, text=table).returncode == 0
    assert stored(node, key) == 3 * (len(names) + 2)
    sql = "SELECT event, user_id, properties::VARCHAR, count() FROM events GROUP BY ALL ORDER BY ALL"
    assert [(row[:2], row[3]) for row in rows(node, key, sql)] == [(["e", f"u{n}"], 8) for n in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_files_before_one_that_failed_are_not_sent_again(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, text in zip(files, ('{"event": "a"}\n', '[{"event": "b"}, ', '{"event": "c"}\n'), strict=True):
        file.write_text(text)
    with scripted(accept) as server:
        first = run_at(server.url, "k", "import", *files)
        assert (first.returncode, "malformed" in first.stderr) == (1, True)
        files[1].write_text('[{"event": "b"}, {"event": "b2"}]')
        second = run_at(server.url, "k", "import", *files, "--go-on")
        assert second.returncode == 0, second.stderr
    assert [event["event"] for request in server.requests for event in request.events] == ["a", "b", "b2", "c"]
    assert sorted(tmp_path.iterdir()) == files


def test_columns_that_are_mapped(node: RunningNode, key: str, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_text("ts\twho\tpage\tzip\n2026-01-31\t1\t/\t01\n2026-02-31\t2\t/\t02\n")
    maps = ("--map", "ts=timestamp", "--map", "who=user_id", "--map", "page=context.page")
    found = run(node, "import", tmp_path / "x.tsv", "--event-name", "view", *maps, key=key)
    assert found.returncode == 1
    assert counted(found.stderr, 2, 1)
    (record,) = map(json.loads, (tmp_path / "x.tsv.refused.ndjson").read_text().splitlines())
    assert record["line"] == 3
    assert "ISO 8601" in record["reason"]
    assert record["original"]["timestamp"] == "2026-02-31"
    assert stored(node, key) == 1
    sql = "SELECT event, user_id, timestamp, properties.zip, context.page FROM events"
    assert rows(node, key, sql) == [["view", "1", "2026-01-31T00:00:00Z", "01", "/"]]


def test_what_a_node_refuses_for_its_size(node: RunningNode, key: str, tmp_path: Path) -> None:
    events = [{"event": "e"}, {"event": "e", "properties": {"x": "x" * 11_000_000}}, {"event": "e"}]
    (tmp_path / "x").write_text("\n".join(map(json.dumps, events)))
    found = run(node, "import", tmp_path / "x", key=key)
    assert counted(found.stderr, 3, 2)
    assert json.loads((tmp_path / "x.refused.ndjson").read_text())["line"] == 2


def test_a_node_that_is_away_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"event": "e"}\n')
    with scripted(
        Answer(0), Answer(503, {"error": "spool_full", "message": "Full."}, (("Retry-After", "0"),)), accept
    ) as server:
        found = run_at(server.url, "k", "import", tmp_path / "x")
    assert found.returncode == 0
    assert "waiting: " in found.stderr
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    gone = run_at(server.url, "k", "import", tmp_path / "x", "--retry", 0)
    assert gone.returncode == 1
    assert "run the same command to go on" in gone.stderr
    assert (tmp_path / "x.novamesh-import").exists()


def test_state_in_another_directory(tmp_path: Path) -> None:
    """Files of one name keep apart there."""
    state, files = tmp_path / "state", [tmp_path / name / "x" for name in "ab"]
    state.mkdir()
    for file in files:
        file.parent.mkdir()
        file.write_text('{"event": "%s"}\n{bad\n' % file.parent.name)  # noqa: UP031 - braces
    with scripted(accept) as server:
        found = run_at(server.url, "k", "import", *files, "--state-dir", state)
    assert found.returncode == 1
    assert sorted(event["event"] for request in server.requests for event in request.events) == ["a", "b"]
    written = sorted(state.iterdir())
    assert [(path.name[:2], path.name[-15:]) for path in written] == [("x.", ".refused.ndjson")] * 2
    assert all(len(path.read_text().splitlines()) == 1 for path in written)


def test_what_comes_once_is_not_said_to_be_gone_on_with(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        return (
            accept(request) if len(request.events) == 500 else Answer(401, {"error": "unauthorized", "message": "No."})
        )

    lines = '{"event": "e"}\n' * 600
    with scripted(answer) as server:
        found = run_at(server.url, "k", "import", "-", text=lines)
        assert found.returncode == 1
        assert "same command" not in found.stderr
        assert "up to line 500; this cannot be gone on with" in found.stderr
        assert "may have been" in found.stderr
        # A pipe that has a name.
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as file:
            file.write(lines)
        try:
            found = run_at(server.url, "k", "import", f"/dev/fd/{reading}")
        finally:
            os.close(reading)
    assert "up to line 500; this cannot be gone on with" in found.stderr


def test_a_second_import_of_a_file_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"event": "e"}\n')
    with scripted(accept) as server:
        with alone(tmp_path / "x.novamesh-import"):
            found = run_at(server.url, "k", "import", tmp_path / "x")
        assert (found.returncode, "another import of this file is running" in found.stderr) == (1, True)
        assert server.requests == []
        assert run_at(server.url, "k", "import", tmp_path / "x").returncode == 0


def test_a_batch_whose_compression_is_cut(tmp_path: Path) -> None:
    body = json.dumps({"events": [{"event": str(random.Random(n).random())} for n in range(20_000)]})
    (tmp_path / "x").write_bytes(gzip.compress(body.encode())[:-2000])
    with scripted(accept) as server:
        found = run_at(server.url, "k", "import", tmp_path / "x")
    assert found.returncode == 1
    assert "ends before its compressed data does" in found.stderr


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("none", None, (), "No such file"),
        ("x", "hello\n", (), "--format csv"),
        ("x.csv", "a,b\n", (), "--event-name"),
        ("x", '{"event": "e"}\n', ("--strings",), "for CSV and Parquet"),
        ("x", '[{"event": "e"}', (), "malformed"),
        ("x.csv", "event\n", ("--map", "event=user"), "a column becomes"),
        ("x.csv", "event\n", ("--map", "event=id", "--map", "event=event"), "given twice"),
    ],
)
def test_what_cannot_be_imported(
    tmp_path: Path, name: str, text: str | None, options: tuple[str, ...], said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with scripted(accept) as server:
        found = run_at(server.url, "k", "import", tmp_path / name, *options)
    assert found.returncode in (1, 2)
    assert said in found.stderr
    assert "Traceback" not in found.stderr


def test_an_import_from_a_pipe_that_waits_can_be_interrupted(node: RunningNode, key: str) -> None:
    command = ["import", "-"]
    with start(node, *command, key=key, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write('{"event": "e"}\n' * 501)
        process.stdin.flush()
        wait_for(lambda: rows(node, key, "SELECT count() FROM events") == [[500]], what="the first batch")
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait() == 1
    assert "up to line 500; this cannot be gone on with" in told
