"""API keys by the command line: effective at once, without a restart, and kept nowhere."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from tests.api.contract import expect_error
from tests.support import DEADLINE_S, RunningNode, run_cli, running_node, wait_for

SECRET = re.compile(r"nm_(live|test)_[0-9A-Za-z]{32}\n")


def create(node: RunningNode, *options: str) -> str:
    """A new key, once the node knows it."""
    done = run_cli("keys", "create", f"--data-dir={node.data_dir}", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert SECRET.fullmatch(done.stdout)
    return done.stdout.strip()


def listed(node: RunningNode) -> list[list[str]]:
    done = run_cli("keys", "list", f"--data-dir={node.data_dir}")
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t") for line in done.stdout.splitlines()]


def ingest(node: RunningNode, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(node.url + "/v1/ingest", json={"event": "e"}, headers=headers)


def query(node: RunningNode, key: str) -> httpx.Response:
    return httpx.get(node.url + "/v1/query?q=SELECT+1", headers={"Authorization": f"Bearer {key}"})


def becomes(node: RunningNode, key: str, status: int) -> httpx.Response:
    """The answer to an event with this key, once it has this status."""

    def answer() -> httpx.Response | None:
        found = ingest(node, key)
        return found if found.status_code == status else None

    return wait_for(answer, what=f"a {status}")


@pytest.fixture(scope="module", autouse=True)
def store(shared_node: RunningNode) -> None:
    shared_node.settle()


def test_create_list_and_revoke_while_the_node_runs(shared_node: RunningNode) -> None:
    known = {row[0] for row in listed(shared_node)}
    key = create(shared_node, "--name=web shop")
    becomes(shared_node, key, 202)
    row = next(row for row in listed(shared_node) if row[0] not in known)
    assert row[1:5] == ["default", "live", "ingest,query", "usable"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[5])
    assert row[6] == "web shop"

    done = run_cli("keys", "revoke", row[0], f"--data-dir={shared_node.data_dir}")
    assert (done.returncode, done.stdout, done.stderr) == (0, row[0] + "\n", "")
    expect_error(becomes(shared_node, key, 401), 401, "unauthorized")
    expect_error(query(shared_node, key), 401, "unauthorized")
    assert next(found for found in listed(shared_node) if found[0] == row[0])[4] == "revoked"
    assert ingest(shared_node, shared_node.key).status_code == 202


def test_a_key_is_revoked_by_itself_too(shared_node: RunningNode) -> None:
    key = create(shared_node)
    becomes(shared_node, key, 202)
    done = run_cli("keys", "revoke", key, f"--data-dir={shared_node.data_dir}")
    assert re.fullmatch(r"k_[0-9a-f]{12}\n", done.stdout)
    becomes(shared_node, key, 401)


def test_revoking_again_changes_nothing(shared_node: RunningNode) -> None:
    key = create(shared_node)
    for _ in range(2):
        assert run_cli("keys", "revoke", key, f"--data-dir={shared_node.data_dir}").returncode == 0


@pytest.mark.parametrize(("scope", "other"), [("ingest", "query"), ("query", "ingest")])
def test_a_key_may_only_what_its_scope_says(shared_node: RunningNode, scope: str, other: str) -> None:
    key = create(shared_node, f"--scope={scope}")
    becomes(shared_node, key, 202 if scope == "ingest" else 403)
    asks = {"ingest": ingest, "query": query}
    assert asks[scope](shared_node, key).status_code in (200, 202)
    message = expect_error(asks[other](shared_node, key), 403, "forbidden")["message"]
    assert f"scope {other}" in message


def test_both_scopes(shared_node: RunningNode) -> None:
    key = create(shared_node, "--scope=ingest", "--scope=query")
    becomes(shared_node, key, 202)
    assert query(shared_node, key).status_code == 200


def test_a_batch_needs_the_scope_ingest(shared_node: RunningNode) -> None:
    key = create(shared_node, "--scope=query")
    becomes(shared_node, key, 403)
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(shared_node.url + "/v1/batch", json={"events": [{"event": "e"}]}, headers=headers)
    expect_error(answer, 403, "forbidden")


def test_a_key_expires(shared_node: RunningNode) -> None:
    key = create(shared_node, "--expires=90d", "--name=short")
    becomes(shared_node, key, 202)
    with closing(sqlite3.connect(shared_node.data_dir / "keys.db", timeout=DEADLINE_S)) as database, database:
        lifetime = database.execute("SELECT expires_at - created_at FROM keys WHERE name = 'short'").fetchone()[0]
        assert lifetime in range(90 * 86_400 - int(DEADLINE_S), 90 * 86_400 + 1)  # what the command took in between
        database.execute("UPDATE keys SET expires_at = created_at WHERE name = 'short'")  # as if they had passed
    becomes(shared_node, key, 401)
    assert next(row for row in listed(shared_node) if row[6] == "short")[4] == "expired"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["create", "--scope=all"], 2, "'all' is not one of 'ingest', 'query'"),
        (["create", "--expires=soon"], 2, "such as 90d"),
        (["create", "--expires=0d"], 2, "such as 90d"),
        (["create", "--project=A B"], 1, "project"),
        (["create", "--project="], 1, "project"),
        (["create", "--project=default.test"], 1, "project"),
        (["create", "--project=../x"], 1, "project"),
        (["revoke", "k_000000000000"], 1, "no such key"),
        (["revoke"], 2, "Missing argument"),
    ],
)
def test_what_is_refused(shared_node: RunningNode, arguments: list[str], status: int, words: str) -> None:
    before = len(listed(shared_node))
    done = run_cli("keys", *arguments, f"--data-dir={shared_node.data_dir}")
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr.splitlines()[-1]
    assert status == 2 or done.stderr.count("\n") == 1
    assert len(listed(shared_node)) == before


@pytest.mark.parametrize("command", [["create"], ["list"], ["revoke", "k_000000000000"]])
def test_without_a_node_there_are_no_keys(tmp_path: Path, command: list[str]) -> None:
    done = run_cli("keys", *command, f"--data-dir={tmp_path / 'none'}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "novamesh serve" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


# ---- where a key is not


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[RunningNode]:
    with running_node(tmp_path / "data", workers=1, log_level="debug") as node:
        yield node


def test_a_key_is_kept_nowhere(talkative: RunningNode) -> None:
    key = create(talkative, "--name=web")
    becomes(talkative, key, 202)
    wait_for(lambda: query(talkative, key).status_code == 200, what="the store")
    wrong = "nm_live_" + "x" * 32
    assert ingest(talkative, wrong).status_code == 401
    assert httpx.get(talkative.url + f"/v1/query?key={key}", headers=talkative.headers).status_code == 400
    assert httpx.get(talkative.url + "/none", headers={"Authorization": f"Bearer {key}"}).status_code == 404
    expect_nowhere(talkative, key, talkative.key, wrong)
    assert talkative.stop() == 0
    expect_nowhere(talkative, key, talkative.key, wrong)


def expect_nowhere(node: RunningNode, *secrets: str) -> None:
    files = [path for path in node.data_dir.rglob("*") if path.is_file()]
    assert files
    for secret in secrets:
        # Without its prefix, and in part: nor may half of it lie about.
        part = secret.partition("_")[2].partition("_")[2][:20]
        assert part not in node.log
        assert not [path for path in files if part.encode() in held(path)]


def held(path: Path) -> bytes:
    """What is in a file; a node that runs may have removed it meanwhile."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def test_the_keys_outlive_a_restart(talkative: RunningNode) -> None:
    kept, revoked = create(talkative), create(talkative)
    assert run_cli("keys", "revoke", revoked, f"--data-dir={talkative.data_dir}").returncode == 0
    assert talkative.stop() == 0
    made = create(talkative)
    talkative.restart()
    assert [ingest(talkative, key).status_code for key in (kept, made, revoked)] == [202, 202, 401]
