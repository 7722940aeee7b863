"""Taking events out: one person's, and old ones. Through the API and the command line, on real nodes."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.api.contract import expect_error
from tests.support import RunningNode, run_cli, wait_for


def make_key(node: RunningNode, *options: str) -> dict[str, str]:
    done = run_cli("keys", "create", f"--data-dir={node.data_dir}", *options)
    assert done.returncode == 0, done.stderr
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    wait_for(lambda: delete(node, "", headers).status_code != 401, what="the key")
    return headers


def delete(node: RunningNode, user: str, headers: dict[str, str]) -> httpx.Response:
    return httpx.delete(f"{node.url}/v1/users/{user}", headers=headers, timeout=60)


def test_a_person_is_erased_from_store_and_spool_and_nobody_else_is(node: RunningNode) -> None:
    admin = make_key(node, "--scope", "admin")
    node.send([{"event": "e", "user_id": f"u{n % 10}", "properties": {"n": n}} for n in range(1000)])
    node.wait_for_count(1000)
    # Not loaded yet, for all that this test knows.
    assert node.post("/v1/ingest", {"event": "late", "user_id": "u3"}).status_code == 202
    answer = delete(node, "u3", admin)
    assert answer.status_code == 200
    assert answer.json() == {"user_id": "u3", "events": 101, "quarantined": 0}
    assert node.rows("SELECT count(*), count_if(user_id = 'u3') FROM events") == [[900, 0]]
    # The segments they came in are gone, so what is on disk of them is the database's.
    assert not any(b'"u3"' in path.read_bytes() for path in (node.data_dir / "spool").glob("*.seg"))
    assert delete(node, "u3", admin).json()["events"] == 0
    assert node.post("/v1/ingest", {"event": "again", "user_id": "u3"}).status_code == 202
    node.wait_for_count(901)


@pytest.mark.parametrize("user", ["a b", "ü/%", "x'; DROP TABLE events --", "🜁", "a?b#c", "50%25", "a+b"])
def test_any_user_id_can_be_named(shared_node: RunningNode, user: str) -> None:
    admin = make_key(shared_node, "--scope", "admin")
    shared_node.send([{"event": "e", "user_id": user}])
    path = "".join(f"%{byte:02X}" for byte in user.encode())
    assert delete(shared_node, path, admin).json() == {"user_id": user, "events": 1, "quarantined": 0}


def test_what_is_refused(shared_node: RunningNode) -> None:
    node = shared_node
    expect_error(delete(node, "u1", {}), 401, "unauthorized")
    expect_error(delete(node, "u1", node.headers), 403, "forbidden")
    admin = make_key(node, "--scope", "admin")
    expect_error(delete(node, "", admin), 400, "invalid_parameter")
    expect_error(delete(node, "%ff", admin), 400, "invalid_parameter")
    expect_error(delete(node, "u1?all=true", admin), 400, "invalid_parameter")
    answer = httpx.get(node.url + "/v1/users/u1", headers=admin)
    expect_error(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE"


def test_an_admin_key_erases_in_its_own_project_alone(node: RunningNode) -> None:
    other = make_key(node, "--project", "other", "--scope", "ingest", "--scope", "query", "--scope", "admin")
    node.send([{"event": "e", "user_id": "u1"}])
    node.wait_for_count(1)
    assert delete(node, "u1", other).json()["events"] == 0
    assert node.count() == 1


def test_erasing_while_the_store_is_down_is_refused_and_works_later(node: RunningNode) -> None:
    admin = make_key(node, "--scope", "admin")
    node.send([{"event": "e", "user_id": "u1"}])
    (store,) = node.children()["store"]
    subprocess.run(["kill", "-KILL", str(store)], check=True)

    def erased() -> bool:
        answer = delete(node, "u1", admin)
        if answer.status_code == 503:
            assert answer.json()["error"] == "store_unavailable"
            return False
        assert answer.json()["events"] == 1
        return True

    wait_for(erased, what="a store that erases")


def test_on_the_command_line(node: RunningNode) -> None:
    test_key = make_key(node, "--test", "--scope", "ingest", "--scope", "query")
    node.count()  # once the store is there
    node.send([{"event": "e", "user_id": "u1"}] * 3)
    httpx.post(node.url + "/v1/ingest", json={"event": "e", "user_id": "u1"}, headers=test_key)
    done = run_cli("erase", "--user", "u1", f"--data-dir={node.data_dir}")
    assert (done.returncode, done.stdout) == (0, "4 events and 0 quarantined events of u1 erased\n")
    assert node.count() == 0


def test_without_a_running_node(tmp_path: Path) -> None:
    done = run_cli("erase", "--user", "u1", f"--data-dir={tmp_path}")
    assert done.returncode == 1
    assert "there is no node's data in" in done.stderr


def days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def test_old_events_are_removed_and_the_room_is_used_again(node: RunningNode) -> None:
    node.send([{"event": "old", "timestamp": days_ago(40 + n % 50)} for n in range(500)])
    node.send([{"event": "new", "timestamp": days_ago(n % 20)} for n in range(500)])
    node.wait_for_count(1000)
    show = run_cli("retention", f"--data-dir={node.data_dir}")
    assert (show.returncode, show.stdout) == (0, "all others\tforever\n")
    done = run_cli("retention", "30d", f"--data-dir={node.data_dir}")
    assert (done.returncode, done.stdout) == (0, "default\t30d\nall others\tforever\n"), done.stderr
    assert "500 old events removed" in done.stderr
    assert node.rows("SELECT event, count(*) FROM events GROUP BY event") == [["new", 500]]
    forever = run_cli("retention", "forever", f"--data-dir={node.data_dir}")
    assert forever.stdout == "default\tforever\nall others\tforever\n"
    node.send([{"event": "old", "timestamp": days_ago(400)}])
    node.wait_for_count(501)


def test_the_setting_is_for_projects_without_their_own(make_node: Callable[..., RunningNode]) -> None:
    node = make_node()
    node.send([{"event": "old", "timestamp": days_ago(8)}, {"event": "new"}])
    node.wait_for_count(2)
    key = node.key
    node.stop()
    node.settings["retention_days"] = 7
    node.restart()
    node.key = key
    wait_for(lambda: node.count() == 1, what="the removal of what is old")


def test_an_export_cannot_be_resumed_over_a_removal(node: RunningNode) -> None:
    admin = make_key(node, "--scope", "admin")
    node.send([{"event": "e", "user_id": f"u{n}"} for n in range(10)])
    node.wait_for_count(10)
    with node.client() as client:
        query = {"q": "SELECT user_id FROM events"}
        cursor = client.get("/v1/export", params=query).headers["Export-Cursor"]
        assert delete(node, "u1", admin).json()["events"] == 1
        answer = client.get("/v1/export", params={**query, "cursor": cursor, "after": 5})
        expect_error(answer, 400, "invalid_parameter")
        assert "start it again" in answer.json()["message"]
        whole = client.get("/v1/export", params=query).text.splitlines()
        assert len(whole) == 10  # nine events and the meta


def test_compacting_gives_room_back_and_keeps_every_other_event(node: RunningNode) -> None:
    admin = make_key(node, "--scope", "admin")
    pad = "x" * 200
    node.send(
        [
            {"event": "e", "user_id": "gone" if n % 2 else f"u{n}", "properties": {"pad": f"{pad}{n}"}}
            for n in range(20_000)
        ]
    )
    node.wait_for_count(20_000)
    assert delete(node, "gone", admin).json()["events"] == 10_000
    wanted = node.rows("SELECT user_id, properties.pad, id FROM events ORDER BY ALL", limit=20_000)
    busy = run_cli("compact", f"--data-dir={node.data_dir}")
    assert (busy.returncode, "stop it first" in busy.stderr) == (1, True)
    node.stop()
    file = node.data_dir / "store" / "store.duckdb"
    before = file.stat().st_size
    done = run_cli("compact", f"--data-dir={node.data_dir}")
    assert done.returncode == 0, done.stderr
    assert file.stat().st_size < before
    assert b"gone" not in file.read_bytes()
    key = node.key
    node.restart()
    node.key = key
    assert node.rows("SELECT user_id, properties.pad, id FROM events ORDER BY ALL", limit=20_000) == wanted
    node.send([{"event": "e", "user_id": "later", "id": "1"}])
    node.wait_for_count(10_001)
