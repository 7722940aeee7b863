"""Web pages of other origins: keys that are bound to them, and what browsers ask beforehand."""

import httpx
import pytest

from tests.api.contract import expect_error
from tests.api.test_limits import new_key
from tests.support import DEADLINE_S, RunningNode, run_cli, wait_for

SHOP = "https://shop.example"
EVENT = b'{"event":"e"}'
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def key(shared_node: RunningNode) -> str:
    return new_key(shared_node, "--scope=ingest", f"--origin={SHOP}", "--origin=http://localhost:3000", "--name=pages")


def send(node: RunningNode, key: str, path: str = "/v1/ingest", body: bytes = EVENT, **headers: str) -> httpx.Response:
    all_headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
    return httpx.post(node.url + path, content=body, headers=all_headers, timeout=DEADLINE_S)


def access(answer: httpx.Response) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("origin", [SHOP, "http://localhost:3000"])
@pytest.mark.parametrize("path", ["/v1/ingest", "/v1/batch"])
def test_a_page_sends_events(shared_node: RunningNode, key: str, origin: str, path: str) -> None:
    asked = httpx.options(shared_node.url + path, headers={"Origin": origin, **ASKS})
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == origin
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert {"authorization", "content-type"} <= set(asked.headers["access-control-allow-headers"].split(", "))
    assert "origin" in asked.headers["vary"]
    assert "access-control-allow-credentials" not in asked.headers
    body = EVENT if path == "/v1/ingest" else b'{"events":[%s]}' % EVENT
    answer = send(shared_node, key, path, body, Origin=origin)
    assert answer.status_code == 202
    assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (origin, "origin")


def test_a_page_can_read_why_it_was_refused(shared_node: RunningNode, key: str) -> None:
    answer = send(shared_node, key, body=b"{", Origin=SHOP)
    expect_error(answer, 400, "invalid_json")
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "retry-after" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://a.shop.example",
        "HTTPS://SHOP.EXAMPLE",
        "null",
        "*",
        "",
    ],
)
def test_pages_of_other_origins_are_refused(shared_node: RunningNode, key: str, origin: str) -> None:
    answer = send(shared_node, key, Origin=origin)
    expect_error(answer, 403, "forbidden")
    assert not access(answer)
    asked = httpx.options(shared_node.url + "/v1/ingest", headers={"Origin": origin, **ASKS})
    expect_error(asked, 403, "forbidden")
    assert not access(asked)


def test_outside_of_a_browser_the_key_is_refused(shared_node: RunningNode, key: str) -> None:
    expect_error(send(shared_node, key), 403, "forbidden")


def test_it_reads_nothing(shared_node: RunningNode, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Origin": SHOP}
    for path in ("/v1/query?q=SELECT+1", "/v1/export?q=SELECT+1"):
        answer = httpx.get(shared_node.url + path, headers=headers)
        expect_error(answer, 403, "forbidden")
        assert not access(answer)


def test_other_keys_give_pages_no_access(shared_node: RunningNode, key: str) -> None:
    """They work, for programs send an Origin too at times; but no page can read the answer."""
    answer = send(shared_node, shared_node.key, Origin=SHOP)
    assert answer.status_code == 202
    assert not access(answer)


def test_a_wrong_key_gives_pages_no_access(shared_node: RunningNode, key: str) -> None:
    answer = send(shared_node, "nm_live_" + "x" * 32, Origin=SHOP)
    expect_error(answer, 401, "unauthorized")
    assert not access(answer)


@pytest.mark.parametrize("path", ["/v1/query", "/v1/export", "/v1/health", "/"])
def test_elsewhere_options_is_a_method_like_all(shared_node: RunningNode, key: str, path: str) -> None:
    answer = httpx.options(shared_node.url + path, headers={"Origin": SHOP, **ASKS})
    expect_error(answer, 405, "method_not_allowed")
    assert not access(answer)


@pytest.mark.parametrize("headers", [{}, {"Origin": SHOP}, ASKS])
def test_what_is_no_preflight(shared_node: RunningNode, key: str, headers: dict[str, str]) -> None:
    answer = httpx.options(shared_node.url + "/v1/ingest", headers=headers)
    assert expect_error(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_a_revoked_key_s_origins_are_forgotten(shared_node: RunningNode) -> None:
    origin = "https://gone.example"
    key = new_key(shared_node, "--scope=ingest", f"--origin={origin}")
    asks = {"Origin": origin, **ASKS}
    assert httpx.options(shared_node.url + "/v1/ingest", headers=asks).status_code == 204
    assert run_cli("keys", "revoke", key, f"--data-dir={shared_node.data_dir}").returncode == 0

    def refused() -> bool:
        return httpx.options(shared_node.url + "/v1/ingest", headers=asks).status_code == 403

    wait_for(refused, what="a revoked key")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--origin=https://shop.example"], "scope must be ingest alone"),
        (["--scope=query", "--origin=https://shop.example"], "scope must be ingest alone"),
        (["--scope=ingest", "--scope=query", "--origin=https://shop.example"], "scope must be ingest alone"),
        (["--scope=ingest", "--origin=*"], "no origin"),
        (["--scope=ingest", "--origin=null"], "no origin"),
        (["--scope=ingest", "--origin=shop.example"], "no origin"),
        (["--scope=ingest", "--origin=https://shop.example/"], "no origin"),
        (["--scope=ingest", "--origin=https://shop.example\r\nX: y"], "no origin"),
        (["--burst=5"], "burst needs a rate"),
    ],
)
def test_keys_that_cannot_be(shared_node: RunningNode, options: list[str], words: str) -> None:
    done = run_cli("keys", "create", f"--data-dir={shared_node.data_dir}", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr


def test_the_list_shows_origins(shared_node: RunningNode, key: str) -> None:
    done = run_cli("keys", "list", f"--data-dir={shared_node.data_dir}")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[8] for row in rows if row[6] == "pages"] == [f"{SHOP} http://localhost:3000"]
