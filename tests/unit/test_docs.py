"""What is documented is what there is: settings, error codes, commands, decisions."""

import re
from pathlib import Path

import click
import pytest

from novamesh.cli import cli
from novamesh.config import Config, settings
from novamesh.errors import by_code

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_every_error_code_is_documented_with_its_status() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", (DOCS / "errors.md").read_text(), re.MULTILINE))
    assert rows == {code: str(kind.status) for code, kind in by_code().items()}


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


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_defaults_in_limits_are_the_code_s() -> None:
    config = Config()
    text = (DOCS / "limits.md").read_text()
    for name, shown in (
        ("event_limit_bytes", f"{config.event_limit_bytes // 1024} KiB"),
        ("batch_limit_bytes", f"{config.batch_limit_bytes // 2**20} MiB"),
        ("spool_limit_bytes", f"{config.spool_limit_bytes // 2**30} GiB"),
        ("disk_reserve_bytes", f"{config.disk_reserve_bytes // 2**20} MiB"),
        ("max_shredded_paths", str(config.max_shredded_paths)),
        ("dedup_window_s", f"{config.dedup_window_s // 3600} h"),
        ("query_max_concurrent", f"| {config.query_max_concurrent} / {config.query_key_concurrent},"),
        ("query_key_waiting", f"| {config.query_key_waiting},"),
        ("export_key_concurrent", f"/ {config.export_key_concurrent},"),
        ("body_memory_bytes", f"{config.body_memory_bytes // 2**20} MiB"),
        ("connection_max_concurrent", f"| {config.connection_max_concurrent},"),
        ("idle_timeout_ms", f"/ {config.idle_timeout_ms // 1000} s"),
        ("request_max_concurrent", f"| {config.request_max_concurrent},"),
    ):
        (row,) = [line for line in text.splitlines() if f"`{name}`" in line]
        assert shown in row, row
