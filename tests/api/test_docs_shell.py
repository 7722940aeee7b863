"""The commands and programs of README, quickstart and "Sending events" do what is shown: run in order, in one shell."""

import itertools
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from novamesh.cli import cli
from novamesh.config import free_port
from tests.docs_blocks import (
    ADDRESS,
    OUTPUTS,
    ROOT,
    Block,
    blocks,
    is_as_shown,
    run_blocks,
    shell_blocks,
    write_programs,
)
from tests.support import DEADLINE_S, DEFAULTS, RunningNode, clean_environment, run_cli, wait_for

README, QUICKSTART, SENDING = PAGES = "README.md", "docs/quickstart.md", "docs/sending-events.md"

# Why a block is not run in its page's shell, by its name.
NOT_RUN = {
    "README.md: git clone <this repository> novamesh && cd novamesh": "clones and installs; the start is the quickstart's",
    "README.md: novamesh serve --data-dir ./novamesh-data --host 127.0.0.1 --port 8000 --node ingest-eu5 --region eu "
    '--region-label "Europe — France"': "a list to choose from; test_commands_of_the_documents_are_there reads each line",
    "docs/quickstart.md: git clone <this repository> novamesh": "the tests are in what it clones",
    "docs/quickstart.md: scripts/serve": "goes on running; the fixture starts it",
    "docs/sending-events.md: python3 relay.py 8090": "goes on running; test_the_relay_of_webhooks starts it",
}
NODE_JS = shutil.which("node")


def test_every_block_says_what_it_is() -> None:
    """A block without a language may hold commands that nobody runs."""
    for page in PAGES:
        for block in blocks(page):
            assert block.language in ("sh", "python", "js", *OUTPUTS), block.name


def test_every_shell_block_is_run_or_has_a_reason() -> None:
    names = [block.name for page in PAGES for block in shell_blocks(page)]
    assert len(names) > 20
    assert [names.count(name) for name in NOT_RUN] == [1] * len(NOT_RUN)
    # Of those that are run, the output is compared; only a key is silent.
    silent = [block.name for page in PAGES for block in _wanted(page) if block.output is None]
    assert silent == ["docs/quickstart.md: export NOVAMESH_KEY=nm_live_…"]


def _wanted(page: str) -> list[Block]:
    found = [block for block in shell_blocks(page) if block.name not in NOT_RUN]
    return [block for block in found if NODE_JS or not block.text.startswith("node ")]


def _expect(wanted: list[Block], outputs: list[str]) -> None:
    for block, output in zip(wanted, outputs, strict=True):
        if block.output is not None:
            assert is_as_shown(output, block.output), f"{block.name}\n{output}\n--- and not\n{block.output}"


def _environment(directory: Path, key: str) -> dict[str, str]:
    """With ``novamesh`` and ``python3`` as they are here in front of what else there may be of these names."""
    programs = directory / "bin"
    programs.mkdir()
    _program(programs / "novamesh", f"exec {shlex.quote(sys.executable)} -m novamesh.cli")
    _program(programs / "python3", f"exec {shlex.quote(sys.executable)}")
    environment = clean_environment()
    return environment | {"NOVAMESH_KEY": key, "PATH": f"{programs}:{environment['PATH']}"}


def _program(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{command} "$@"\n')
    path.chmod(0o755)


def _address(node: RunningNode) -> str:
    return node.url.removeprefix("http://")


def _key(node: RunningNode, *options: str) -> str:
    """A new key, once the node knows it."""
    made = run_cli("keys", "create", f"--data-dir={node.data_dir}", *options)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    origin = {"Authorization": f"Bearer {key}", "Origin": "https://shop.example"}
    wait_for(lambda: httpx.post(node.url + "/v1/ingest", headers=origin).status_code == 400, what="the new key")
    return key


# ---- README


def test_readme(shared_node: RunningNode, tmp_path: Path) -> None:
    environment = _environment(tmp_path, _key(shared_node, "--project=readme"))
    first, *rest = _wanted(README)
    outputs = run_blocks([first], tmp_path, environment, _address(shared_node))
    shared_node.settle()
    outputs += run_blocks(rest, tmp_path, environment, _address(shared_node))
    _expect([first, *rest], outputs)


def _commands() -> list[str]:
    """Every line with a command of novamesh in a block of any document."""
    pages = [README, *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
    lines = [line for page in pages for block in blocks(page) for line in block.text.splitlines()]
    found = (re.fullmatch(r"(?:sudo -u novamesh )?(?:\S*/bin/)?novamesh( [a-z].+)", line) for line in lines)
    return list(dict.fromkeys(match[1].strip() for match in found if match and "takes events at" not in match[1]))


def _own_words(words: list[str]) -> list[str]:
    """Those in front of a pipe, a redirection or what follows the command."""
    return list(itertools.takewhile(lambda word: word not in ("|", "<", ">", "||", "&&", ";"), words))


@pytest.mark.parametrize("line", _commands())
def test_commands_of_the_documents_are_there(line: str) -> None:
    """Command, options and number of arguments, without running it."""
    words = _own_words(shlex.split(line, comments=True))
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    try:
        with command.make_context(command.name, words):
            pass
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # the backup of an example
            raise


# ---- quickstart


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a reader's clone has: a repository with a history, and the commands."""
    directory = tmp_path / "novamesh"
    _program(directory / "scripts/serve", f"exec {shlex.quote(sys.executable)} -m novamesh.cli serve")
    _program(directory / ".venv/bin/novamesh", f"exec {shlex.quote(sys.executable)} -m novamesh.cli")
    git = ["git", "-C", str(directory), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for day in (21, 21, 23, 24, 24, 24):
        at = f"2026-11-{day}T10:00:00+01:00"
        dates = {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
        message = [*git, "commit", "-q", "--allow-empty", "-m", f"Say '{day}' in \"quotes\""]
        subprocess.run(message, check=True, env=clean_environment() | dates)
    return directory


@pytest.fixture
def serve(clone: Path) -> Iterator[tuple[Path, str, str]]:
    """``scripts/serve`` in a clone, on a free port: where, what it printed, and its address."""
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    environment = clean_environment() | {"NOVAMESH_PORT": address.partition(":")[2], "NOVAMESH_WORKERS": "1"}
    environment["NOVAMESH_DISK_RESERVE_BYTES"] = "0"
    environment["NOVAMESH_STORED_TIMEOUT_MS"] = str(DEFAULTS["stored_timeout_ms"])
    process = subprocess.Popen(
        ["bash", "-c", "exec scripts/serve"], cwd=clone, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        printed = ""
        while "/v1/query" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        yield clone, printed, address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()


def test_quickstart(serve: tuple[Path, str, str]) -> None:
    clone, printed, address = serve
    (shown,) = [block.text for block in blocks(QUICKSTART) if block.text.startswith("novamesh novamesh-1")]
    assert is_as_shown(printed.partition("\n\nSend an event")[0], shown.replace(ADDRESS, address))
    (key,) = re.findall(r"^  (nm_live_\w+)$", printed, re.MULTILINE)
    first, *rest = _wanted(QUICKSTART)
    wanted = [first._replace(text=first.text.replace("nm_live_…", key)), *rest]
    _expect(wanted, run_blocks(wanted, clone, clean_environment(), address))


# ---- sending events


@pytest.fixture(scope="module")
def sending(shared_node: RunningNode, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A directory with the page's programs, and an environment with a key of a project that is only this page's."""
    directory = tmp_path_factory.mktemp("sending")
    write_programs(SENDING, directory, _address(shared_node))
    key = _key(shared_node, "--project=sending", "--scope=ingest", "--scope=query")
    return directory, _environment(directory, key) | {"NOVAMESH_DATA_DIR": str(shared_node.data_dir)}


def test_sending_events(shared_node: RunningNode, sending: tuple[Path, dict[str, str]]) -> None:
    directory, environment = sending
    wanted = _wanted(SENDING)
    _expect(wanted, run_blocks(wanted, directory, environment, _address(shared_node)))


def _rows(node: RunningNode, environment: dict[str, str], sql: str) -> list[list[Any]]:
    headers = {"Authorization": f"Bearer {environment['NOVAMESH_KEY']}"}
    answer = httpx.get(node.url + "/v1/query", params={"q": sql}, headers=headers, timeout=DEADLINE_S)
    assert answer.status_code == 200, answer.text
    rows: list[list[Any]] = answer.json()["rows"]
    return rows


@pytest.mark.skipif(not NODE_JS, reason="there is no Node.js")
def test_the_script_of_a_web_page(
    shared_node: RunningNode, sending: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    """In Node.js, which is given what a browser has: a document, Origin in each request, and 64 KiB for those that go on."""
    _, environment = sending
    key = _key(shared_node, "--project=sending", "--scope=ingest", "--origin=https://shop.example")
    write_programs(SENDING, tmp_path, _address(shared_node))
    script = tmp_path / "track.mjs"
    script.write_text(script.read_text().replace("nm_live_…", key))
    (tmp_path / "page.mjs").write_text(
        """
        globalThis.document = { visibilityState: "visible", addEventListener: (name, hide) => (document[name] = hide) };
        const send = fetch;
        let alive = 0, down = true;
        globalThis.fetch = async (url, { keepalive, ...options }) => {
            if (down) throw new TypeError("Failed to fetch");
            const bytes = keepalive ? Buffer.byteLength(options.body) : 0;
            if (alive + bytes > 65536) throw new TypeError("Failed to fetch");
            alive += bytes;
            const answer = await send(url, { ...options, headers: { ...options.headers, Origin: "https://shop.example" } });
            alive -= bytes;
            return answer;
        };
        globalThis.setInterval = () => {};
        console.warn = (text) => console.log(text);
        const { track } = await import("./track.mjs");
        track("", { page: "/tracked" });
        track("huge", { text: "x".repeat(40_000) });
        for (let n = 0; n < 2_020; n++) {
            track("page_view", { page: "/tracked", text: "ü".repeat(n < 20 ? 6_000 : 1) });
            await new Promise(setImmediate); // what was tried has failed, and waits again
        }
        down = false;
        document.visibilityState = "hidden";
        document.visibilitychange();
        """
    )
    done = subprocess.run(
        ["node", "page.mjs"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("23 events were dropped, the last because: `event` must"), (
        done.stdout
    )
    sql = "SELECT count(), max(abs(epoch(timestamp) - epoch(received_at))) < 60 FROM events WHERE properties.page = '/tracked'"
    wait_for(lambda: _rows(shared_node, environment, sql) == [[1999, True]], what="the page's events")


def test_the_relay_of_webhooks(shared_node: RunningNode, sending: tuple[Path, dict[str, str]]) -> None:
    directory, environment = sending
    port = free_port("127.0.0.1")
    (block,) = [block for block in shell_blocks(SENDING) if block.text.startswith("python3 relay.py")]
    command = re.sub(r"\d+$", str(port), block.text.strip())
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=directory, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        hook = f"http://127.0.0.1:{port}/payments?token=secret"

        def call(body: bytes) -> int:
            try:
                return httpx.post(hook, content=body, headers={"X-Delivery-Id": "d-1"}).status_code
            except httpx.ConnectError:
                return 0

        wait_for(lambda: call(b'{"paid": true}') == 202, what="the relay")
        assert call(b'{"paid": true}') == 202  # called again
        assert (call(b"no JSON"), call(b"[1]")) == (400, 400)
        shared_node.settle()
        sql = "SELECT event, properties.paid FROM events WHERE event LIKE 'webhook%'"
        assert _rows(shared_node, environment, sql) == [["webhook.payments", True]]
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
