"""GET /: the status page says what the contract lists, and its examples work as they stand."""

import contextlib
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from novamesh import __version__
from tests.support import DEADLINE_S, RunningNode, clean_environment, run_cli, running_node, wait_for

EXAMPLE = re.compile(r'<pre[^>]*><code class="language-sh">(.*?)</code></pre>', re.DOTALL)
TITLE = re.compile(r"<h4>([^<]+)</h4><div class=\"code sh\">")


@pytest.fixture(scope="module")
def page(shared_node: RunningNode) -> str:
    shared_node.settle()
    wait_for(lambda: httpx.get(shared_node.url + "/v1/ready").status_code == 200, what="readiness")
    wait_for(lambda: "100.00%" in httpx.get(shared_node.url + "/").text, what="the first uptime")
    answer = httpx.get(shared_node.url + "/")
    assert answer.status_code == 200
    return answer.text


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def examples(page: str) -> dict[str, str]:
    """The shell commands of the page by their titles."""
    return dict(zip(TITLE.findall(page), map(html.unescape, EXAMPLE.findall(page)), strict=True))


@pytest.mark.parametrize(
    "words",
    [
        "Node Status Operational",
        "Latency (p50)",
        "Uptime (30d) 100.00%",
        "Region Local local",
        f"Version {__version__}",
        "Uptime — Last 30 days",
        "API Reference",
        "Endpoints available on this ingestion node. Authentication required for data operations.",
        "GET /v1/health",
        "GET /v1/ready",
        "POST /v1/ingest API key required",
        "POST /v1/batch API key required",
        "GET /v1/batches/{batch_id} API key required",
        "GET /v1/query API key required",
        "GET /v1/export API key required",
        "GET /v1/tail API key required",
        '{"accepted": true, "queued": 1}',
        '"error": "unauthorized"',
        "401 Unauthorized",
        "202 Accepted",
    ],
)
def test_it_says(page: str, words: str) -> None:
    assert words in text_of(page)


@pytest.mark.parametrize(
    "name",
    [
        "event",
        "properties",
        "user_id",
        "timestamp",
        "events",
        "context",
        "id",
        "q",
        "format",
        "limit",
        "cursor",
        "after",
        "wait",
        "batch_id",
    ],
)
def test_it_lists_the_parameter(page: str, name: str) -> None:
    assert f'<th scope="row"><code>{name}</code>' in page


def test_it_carries_the_nodes_own_address(page: str, shared_node: RunningNode) -> None:
    assert f"API key required. See {shared_node.url}/#api" in text_of(page)
    assert 'id="api"' in page
    commands = examples(page)
    assert len(commands) >= 5
    assert all(shared_node.url in command for command in commands.values())


def test_there_is_a_bar_for_each_of_the_last_30_days(page: str) -> None:
    bars = re.findall(r'<li class="(\w+)" title="(\d{4}-\d\d-\d\d): ([^"]+)">', page)
    assert len(bars) == 30
    assert [date for _, date, _ in bars] == sorted(date for _, date, _ in bars)
    assert bars[0][0::2] == ("none", "no data")
    assert bars[-1][0::2] == ("full", "100.00%")


def test_headers(shared_node: RunningNode) -> None:
    answer = httpx.get(shared_node.url + "/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r"script-src 'sha256-[^']+'", policy)


def test_it_needs_nothing_from_elsewhere(page: str) -> None:
    assert not re.search(r"<link[^>]+stylesheet|<script[^>]+src=|<img[^>]+src=\"http|@import|url\(http", page)
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)


def test_figures_are_measured(client: httpx.Client, shared_node: RunningNode) -> None:
    assert client.post("/v1/ingest", json={"event": "e"}).status_code == 202
    seen = text_of(httpx.get(shared_node.url + "/").text)
    assert re.search(r"Latency \(p50\) (\d+(\.\d+)? ms|no data yet)", seen)
    assert re.search(r"[\d,]+ events accepted since this node started", seen)


def test_what_the_operator_chose_is_shown_and_escaped(tmp_path: Path) -> None:
    label = "Europe — <b>France</b>"
    with running_node(tmp_path / "data", node="ingest-eu5", region="eu", region_label=label) as node:
        answer = httpx.get(node.url + "/")
        assert f"Region {label} eu" in text_of(answer.text)
        assert "<b>France" not in answer.text
        assert "ingest-eu5" in text_of(answer.text)


def test_what_is_refreshed_is_the_part_of_the_page_that_changes(shared_node: RunningNode) -> None:
    live = httpx.get(shared_node.url + "/?part=live")
    assert live.headers["content-type"] == "text/html; charset=utf-8"
    assert live.headers["cache-control"] == "no-store"
    assert "Node Status Operational" in text_of(live.text)
    assert "API Reference" not in live.text
    assert "API Reference" in httpx.get(shared_node.url + "/?part=other").text


def test_a_degraded_node_says_what_is_unwell_and_since_when(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=1)
    node.settle()
    [worker] = node.children()["edge"]
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: [pid for pid in node.children()["edge"] if pid != worker], what="another worker")
    # The store is started again at once; stopped, it cannot answer.
    [store] = node.children()["store"]
    os.kill(store, signal.SIGSTOP)
    try:
        text = wait_for(lambda: _degraded(node), what="the page to say so")
        assert re.search(r"store : .* since \d\d:\d\d UTC", text)
        assert "What became of them is not known while the store does not answer." in text
        # What the dead worker accepted in this hour is still drawn.
        assert re.search(r"p50 p99 [\d.]+ ms / [\d.]+ ms slowest p99", text)
    finally:
        os.kill(store, signal.SIGCONT)
    wait_for(lambda: "All parts of this node are well." in _text(node), what="the page to say that all is well")


def _text(node: RunningNode) -> str:
    """What the page says; nothing while no worker listens."""
    with contextlib.suppress(httpx.TransportError):
        return text_of(httpx.get(node.url + "/").text)
    return ""


def _degraded(node: RunningNode) -> str | None:
    text = _text(node)
    return text if "Node Status Degraded" in text else None


# ---- the examples, run as they stand


Run = Callable[[str, str], tuple[int, Any]]
NODE_JS = shutil.which("node")


def command_of(language: str, program: str) -> list[str]:
    if language == "py":
        return [sys.executable, "-u", "-c", program]
    return [str(NODE_JS), "--input-type=module", "--eval", program]


def first_lines(command: list[str], key: str, count: int, node: RunningNode) -> list[str]:
    """The first lines of a stream that has no end, but for empty ones. When it has begun, events are sent."""
    environment = {**clean_environment(), "NOVAMESH_KEY": key}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as program:
        try:
            assert program.stdout is not None
            lines = [program.stdout.readline()]
            node.send([{"event": "click"}, {"event": "page_view"}])
            while len(lines) < count:
                lines += filter(str.strip, [program.stdout.readline()])
        finally:
            program.kill()
    return [line.strip() for line in lines]


def run_program(language: str, program: str, key: str, **variables: str) -> tuple[int, str]:
    """Run an example in Python or JavaScript as it stands. Gives the status that it printed, and the body."""
    done = subprocess.run(
        command_of(language, program),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env={**clean_environment(), "NOVAMESH_KEY": key, **variables},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    status, _, body = done.stdout.partition(" ")
    return (int(status), body) if status.isdigit() else (0, done.stdout)


def programs(page: str, language: str) -> dict[str, str]:
    """The page's examples in a language, by their titles."""
    found = re.findall(rf'<code class="language-{language}">(.*?)</code></pre>', page, re.DOTALL)
    return dict(zip(TITLE.findall(page), map(html.unescape, found), strict=True))


@pytest.mark.parametrize(
    "language",
    [
        "py",
        pytest.param("js", marks=pytest.mark.skipif(NODE_JS is None, reason="there is no Node.js: see tests/browser")),
    ],
)
def test_examples_of_a_language_do_what_the_commands_do(page: str, shared_node: RunningNode, language: str) -> None:
    example = programs(page, language)
    key = shared_node.key
    for name, path in (("Health", "/v1/health"), ("Readiness", "/v1/ready")):
        status, body = run_program(language, example.pop(name), "")
        assert (status, list(json.loads(body))) == (200, list(httpx.get(shared_node.url + path).json()))
    status, sent = run_program(language, example.pop("Send one event"), key)
    assert (status, json.loads(sent)) == (202, {"accepted": True, "queued": 1})
    assert run_program(language, example.pop("Send a batch, compressed"), key)[0] == 202
    status, sent = run_program(language, example.pop("Send a batch"), key)
    assert (status, json.loads(sent)["events"]) == (202, 2)
    shared_node.settle()
    batch_id = json.loads(sent)["batch_id"]
    status, receipt = run_program(language, example.pop("Ask for a receipt"), key, BATCH_ID=batch_id)
    assert (status, json.loads(receipt)["status"]) == (200, "stored")
    status, answer = run_program(language, example.pop("Count events by name"), key)
    assert (status, json.loads(answer)["columns"]) == (200, ["event", "count"])
    _, exported = run_program(language, example.pop("Export events"), key)
    *rows, last = map(json.loads, filter(None, exported.splitlines()))
    assert last["meta"]["rows"] == len(rows) > 0
    admin = run_cli("keys", "create", "--scope", "admin", f"--data-dir={shared_node.data_dir}").stdout.strip()
    url = f"{shared_node.url}/v1/users/nobody"
    headers = {"Authorization": f"Bearer {admin}"}
    wait_for(lambda: httpx.delete(url, headers=headers).status_code == 200, what="the key")
    status, erased = run_program(language, example.pop("Erase a person"), admin)
    assert (status, json.loads(erased)["user_id"]) == (200, "u_42")
    status, seen = run_program(language, example.pop("Look around"), key)
    assert (status, "functions" in json.loads(seen)) == (200, True)
    first = first_lines(command_of(language, example.pop("Follow events")), key, 3, shared_node)
    assert json.loads(first[-1].removeprefix("data: "))["event"] == "page_view"
    assert not example


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command with a key; gives status and JSON. The status comes by curl's settings: the command stays as it is."""
    (tmp_path / ".curlrc").write_text('silent\nwrite-out = "\\n%{http_code}"\n')

    def run(command: str, key: str) -> tuple[int, Any]:
        done = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env={**clean_environment(), "NOVAMESH_KEY": key, "CURL_HOME": str(tmp_path)},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        body, _, status = done.stdout.rpartition("\n")
        lines = "/v1/export" in command and status == "200"
        return int(status), [json.loads(line) for line in body.splitlines()] if lines else json.loads(body)

    return run


def test_health_example(run: Run, page: str, shared_node: RunningNode) -> None:
    status, body = run(examples(page)["Health"], "")
    assert (status, list(body)) == (200, ["status", "node", "region", "version", "uptime"])


def test_ready_example(run: Run, page: str, shared_node: RunningNode) -> None:
    shared_node.settle()
    status, body = run(examples(page)["Readiness"], "")
    assert (status, list(body), body["status"]) == (200, ["status", "ledger"], "ready")


def test_ingest_example(run: Run, page: str, shared_node: RunningNode) -> None:
    assert run(examples(page)["Send one event"], shared_node.key) == (202, {"accepted": True, "queued": 1})


@pytest.mark.parametrize("title", ["Send a batch", "Send a batch, compressed"])
def test_batch_examples(run: Run, page: str, shared_node: RunningNode, title: str) -> None:
    status, body = run(examples(page)[title], shared_node.key)
    assert (status, list(body)) == (202, ["accepted", "events", "batch_id"])
    assert (body["accepted"], body["events"]) == (True, 2)
    assert body["batch_id"].startswith("b_")


def test_receipt_example(run: Run, page: str, shared_node: RunningNode) -> None:
    _, sent = run(examples(page)["Send a batch"], shared_node.key)
    shared_node.settle()
    batch_id = sent["batch_id"]
    status, body = run(f"BATCH_ID={batch_id}; {examples(page)['Ask for a receipt']}", shared_node.key)
    assert (status, body["batch_id"], body["events"], body["status"]) == (200, batch_id, 2, "stored")


def test_query_example(run: Run, page: str, shared_node: RunningNode) -> None:
    shared_node.settle()
    status, body = run(examples(page)["Count events by name"], shared_node.key)
    assert (status, body["columns"]) == (200, ["event", "count"])
    assert all(isinstance(name, str) and count >= 1 for name, count in body["rows"])
    assert body["meta"]["elapsed_ms"] >= 0


def test_export_example(run: Run, page: str, shared_node: RunningNode) -> None:
    shared_node.settle()
    status, [*rows, last] = run(examples(page)["Export events"], shared_node.key)
    assert (status, list(rows[0])) == (200, ["event", "user_id", "timestamp"])
    assert last["meta"]["rows"] == len(rows)


def test_tail_example(page: str, shared_node: RunningNode) -> None:
    command = ["bash", "-c", f"exec {examples(page)['Follow events']}"]
    begin, kind, data = first_lines(command, shared_node.key, 3, shared_node)
    assert (begin, kind) == ("retry: 1000", "event: event")
    assert json.loads(data.removeprefix("data: "))["event"] == "page_view"


def test_schema_example(run: Run, page: str, shared_node: RunningNode) -> None:
    status, seen = run(examples(page)["Look around"], shared_node.key)
    assert (status, {"name": "event", "type": "VARCHAR"} in seen["columns"]) == (200, True)


def test_erase_example(run: Run, page: str, shared_node: RunningNode) -> None:
    made = run_cli("keys", "create", "--scope", "admin", f"--data-dir={shared_node.data_dir}").stdout.strip()
    wait_for(lambda: run(examples(page)["Erase a person"], made)[0] == 200, what="the key")
    shared_node.send([{"event": "e", "user_id": "u_42"}])
    body = {"user_id": "u_42", "events": 1, "quarantined": 0}
    assert run(examples(page)["Erase a person"], made) == (200, body)


def test_every_example_is_run_here(page: str) -> None:
    tested = {
        "Health",
        "Readiness",
        "Send one event",
        "Send a batch",
        "Send a batch, compressed",
        "Ask for a receipt",
        "Count events by name",
        "Export events",
        "Look around",
        "Follow events",
        "Erase a person",
    }
    assert set(examples(page)) == tested


@pytest.mark.parametrize("title", ["Send one event", "Send a batch", "Count events by name", "Export events"])
def test_an_example_without_a_key_gets_the_documented_401(
    run: Run, page: str, shared_node: RunningNode, title: str
) -> None:
    message = f"API key required. See {shared_node.url}/#api"
    assert run(examples(page)[title], "") == (401, {"error": "unauthorized", "message": message})


def test_head(shared_node: RunningNode) -> None:
    answer = httpx.head(shared_node.url + "/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
