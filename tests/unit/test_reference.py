"""docs/reference.md lists the settings that there are, and which of them depend on each other."""

import re
from pathlib import Path

import pytest

from novamesh.config import Config, load, settings
from novamesh.errors import ConfigError
from tests.settings_list import FIRST, LAST, PAGE, settings_table, unit, with_table

TEXT = PAGE.read_text()


def test_the_table_of_settings_is_the_code_s() -> None:
    assert [TEXT.count(mark) for mark in (FIRST, LAST)] == [1, 1]
    assert with_table(TEXT) == TEXT, "docs/reference.md lists other settings than the code: run scripts/docs"


def test_every_setting_has_its_row() -> None:
    rows = [line.split(" | ") for line in settings_table().splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == [setting.name for setting in settings()]
    assert all(len(row) == 7 for row in rows)


@pytest.mark.parametrize(
    ("name", "found"), [("idle_timeout_ms", "ms"), ("dedup_window_s", "s"), ("workers", ""), ("key_rate", "events/s")]
)
def test_units(name: str, found: str) -> None:
    assert unit(name) == found


@pytest.mark.parametrize(
    "flags",
    [
        {"spool_limit_bytes": 1},
        {"batch_limit_bytes": Config().spool_segment_bytes + 1},
        {"body_memory_bytes": 1},
        {"idle_timeout_ms": Config().body_timeout_ms},
        {"key_burst": 1},
        {"tls_cert": "cert.pem"},
    ],
    ids=lambda flags: next(iter(flags)),
)
def test_what_depends_on_what_is_listed(
    flags: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(flags, {})
    named = {setting.name for setting in settings() if re.search(rf"\b{setting.name}\b", str(caught.value))}
    listed = [set(re.findall(r"`(\w+)`", line)) for line in TEXT.partition(LAST)[2].splitlines()]
    assert {*flags, *(named - {"workers"})} in listed
