"""What is documented is what there is: settings, error codes, commands, decisions."""

import re
from pathlib import Path

import click
import pytest

from novamesh.cli import cli
from novamesh.config import Config, settings
from novamesh.edge import connection, ingest, query, rates, request, server, tail
from novamesh.edge.api import documents
from novamesh.errors import by_code
from novamesh.event import model
from novamesh.spool import writer
from novamesh.store import queries, turns, whereabouts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_every_error_code_is_documented_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", (DOCS / "errors.md").read_text(), re.MULTILINE))
    assert rows == {code: str(kind.status) for code, kind in by_code().items()}


def test_every_reason_why_a_tail_ends_is_documented() -> None:
    (row,) = [line for line in (DOCS / "api.md").read_text().splitlines() if line.startswith("| `end` |")]
    assert set(tail._REASONS) <= set(re.findall(r"`(\w+)`", row))


def test_every_error_says_when_it_comes_and_what_to_do() -> None:
    rows = [line for line in (DOCS / "errors.md").read_text().splitlines() if line.startswith("| `")]
    for row in rows[1:]:
        code, _, when, what_to_do, _ = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(when) > 10, code
        assert len(what_to_do) > 10, code


def test_every_error_stands_in_the_tree() -> None:
    tree = (ROOT / "src/novamesh/errors.py").read_text().split('"""')[1]
    for kind in by_code().values():
        assert re.search(rf"── {kind.__name__} +{kind.status}\b", tree), kind.__name__
        assert (kind.retry_after is not None) == (kind.status in (429, 503))


def test_settings_that_limits_names_exist() -> None:
    names = {setting.name for setting in settings()}
    named = set(re.findall(r"`(\w+_(?:bytes|ms|s|paths|concurrent))`", (DOCS / "limits.md").read_text()))
    assert named
    assert named <= names


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.name)
def test_every_setting_has_help_and_a_flag(setting: object) -> None:
    row = next(row for row in settings() if row is setting or row == setting)
    assert row.help.endswith(".")
    serve = cli.commands["serve"]
    assert any("--" + row.name.replace("_", "-") in option.opts for option in serve.params)


def test_every_setting_is_documented() -> None:
    text = "".join(page.read_text() for page in [ROOT / "README.md", *DOCS.rglob("*.md")])
    for name in (setting.name for setting in settings()):
        assert f"`{name}`" in text or f"--{name.replace('_', '-')} " in text, name


def _commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += _commands(child, f"{path} {name}")
    return found


@pytest.mark.parametrize(("path", "command"), _commands(cli, "novamesh"), ids=lambda value: str(value))
def test_every_command_has_help_and_an_example(path: str, command: click.Command) -> None:
    assert command.help
    assert "Example: " in (command.epilog or "")
    assert path in (command.epilog or "")


# Options of many commands, which the page tells once, at its start.
SHARED_OPTIONS = {"--url", "--key", "--config"} | {"--" + row.name.replace("_", "-") for row in settings()}


@pytest.mark.parametrize(("path", "command"), _commands(cli, "novamesh"), ids=lambda value: str(value))
def test_every_command_and_option_is_documented(path: str, command: click.Command) -> None:
    start, *sections = (DOCS / "cli.md").read_text().split("\n## ")
    by_title = {title: text for title, _, text in (section.partition("\n") for section in sections)}
    if isinstance(command, click.Group):
        return
    assert path in by_title
    for option in (option for option in command.params if isinstance(option, click.Option)):
        text = start + by_title["Which node"] if SHARED_OPTIONS & set(option.opts) else by_title[path]
        name = option.opts[0]
        if name not in {"--" + row.name.replace("_", "-") for row in settings()}:
            assert re.search(rf"`{name}\b", text), f"{path} {name}"


def test_every_command_that_is_documented_is_there() -> None:
    titles = re.findall(r"^## (novamesh .+)$", (DOCS / "cli.md").read_text(), re.MULTILINE)
    there = {path for path, command in _commands(cli, "novamesh") if not isinstance(command, click.Group)}
    assert set(titles) == there


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "decisions/README.md").read_text()
    pages = sorted(path.name for path in (DOCS / "decisions").glob("[0-9]*.md"))
    assert pages
    for page in pages:
        assert f"({page})" in index


def test_every_document_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    pages = sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")
    assert [page for page in pages if f"]({page})" not in index] == []


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _row(of: str) -> str:
    """The row of the table of limits that has these words."""
    (row,) = [line for line in (DOCS / "limits.md").read_text().splitlines() if line.startswith("|") and of in line]
    return row


def test_defaults_in_limits_are_the_code_s() -> None:
    config = Config()
    for name, shown in (
        ("`event_limit_bytes`", f"{config.event_limit_bytes // 1024} KiB"),
        ("`batch_limit_bytes`", f"{config.batch_limit_bytes // 2**20} MiB"),
        ("`spool_limit_bytes`", f"{config.spool_limit_bytes // 2**30} GiB"),
        ("`spool_segment_bytes`", f"({config.spool_segment_bytes // 2**20} MiB)"),
        ("`disk_reserve_bytes`", f"{config.disk_reserve_bytes // 2**20} MiB"),
        ("`max_shredded_paths`", str(config.max_shredded_paths)),
        ("`dedup_window_s`", f"{config.dedup_window_s // 3600} h"),
        ("`query_max_concurrent`", f"| {config.query_max_concurrent} / {config.query_key_concurrent},"),
        ("`query_key_waiting`", f"| {config.query_key_waiting},"),
        ("`export_key_concurrent`", f"| {config.export_max_concurrent} / {config.export_key_concurrent},"),
        ("`export_time_limit_ms`", f"| {config.export_time_limit_ms // 3_600_000} h |"),
        ("`body_memory_bytes`", f"{config.body_memory_bytes // 2**20} MiB"),
        ("`connection_max_concurrent`", f"| {config.connection_max_concurrent},"),
        ("`idle_timeout_ms`", f"| {config.header_timeout_ms // 1000} s / {config.idle_timeout_ms // 1000} s,"),
        ("`body_timeout_ms`", f"| {config.header_timeout_ms // 1000} s / {config.body_timeout_ms // 1000} s |"),
        ("`stored_timeout_ms`", f"| {config.stored_timeout_ms // 1000} s |"),
        ("`request_max_concurrent`", f"| {config.request_max_concurrent},"),
        ("| a query's time / memory", f"| {config.query_time_limit_ms // 1000} s /"),
        ("| a query's time / memory", f"/ {config.query_memory_limit_bytes // 2**30} GiB |"),
        ("`query_result_limit_bytes`", f"| {config.query_result_limit_bytes // 2**20} MiB,"),
    ):
        assert shown in _row(name), _row(name)


def test_other_limits_are_the_code_s() -> None:
    for words, shown in (
        ("| events in a batch", f"1–{model.MAX_EVENTS}"),
        ("| `event`, `id`", f"1–{model.MAX_NAME_CHARACTERS} characters"),
        ("| `Idempotency-Key`", f"1–{ingest.MAX_KEY_CHARACTERS} characters"),
        ("| nesting of", f"{model.MAX_DEPTH} levels"),
        ("| a batch's shared `context`", f"{model.MAX_SHARED_CONTEXT_BYTES // 1024} KiB"),
        ("| a request's address", f"{server.HEADER_BYTES // 1024} KiB"),
        ("| streams of an HTTP/2", f"| {server.HTTP2_STREAMS} |"),
        ("| a zstd body's window", f"{2**request.ZSTD_WINDOW_LOG // 2**20} MiB (RFC 9659) / {request.MAX_MEMBERS:,} |"),
        ("| bodies that wait for the disk", f"| {writer.PENDING_BYTES // 2**20} MiB,"),
        ("| rows of a query", f"default {documents.DEFAULT_LIMIT:,}, at most {documents.MAX_LIMIT:,} |"),
        ("| of an answer, what waits", f"| {connection.BACKLOG_BYTES // 2**20} MiB,"),
        ("| a reader of an export", f"| {queries.STALL_S:g} s,"),
        ("| body of `POST /v1/query`", f"| {query.BODY_LIMIT_BYTES // 2**20} MiB |"),
        ("| queries that wait, of all keys", f"| {turns.MOST_WAITING},"),
        ("| time to look for a batch", f"| {whereabouts.SEARCH_S:g} s / {whereabouts.SEARCHES} |"),
    ):
        assert shown in _row(words), _row(words)
    rates_say = (DOCS / "limits.md").read_text().partition("## Rates")[2]
    assert f"may send {rates.BURST_S} seconds' worth at once, and {rates.LEAST_BURST} at least" in rates_say
