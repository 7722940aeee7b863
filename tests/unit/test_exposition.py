"""The Prometheus text format: what its specification says, read back by a parser of its own."""

import re

import pytest

from novamesh.status.exposition import Family, Sample, expose

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"')
ESCAPES = {r"\n": "\n", r"\"": '"', r"\\": "\\"}


def parse(text: str) -> list[tuple[str, dict[str, str], float]]:
    """Every sample: name, labels, value."""
    assert text.endswith("\n")
    found = []
    for line in text.splitlines():
        if line.startswith("# "):
            continue
        match = LINE.fullmatch(line)
        assert match, line
        labels = {
            name: re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], value)
            for name, value in LABEL.findall(match[2] or "")
        }
        found.append((match[1], labels, float(match[3])))
    return found


def test_families() -> None:
    text = expose(
        [
            Family("a_total", "counter", "Counts a.", [Sample(3, {"project": "p", "kind": "live"}), Sample(2**60)]),
            Family("b_seconds", "gauge", "Is b.", [Sample(0.000123)]),
            Family("nothing", "gauge", "Has no samples.", []),
        ]
    ).decode()
    assert text.splitlines() == [
        "# HELP a_total Counts a.",
        "# TYPE a_total counter",
        'a_total{project="p",kind="live"} 3',
        f"a_total {2**60}",
        "# HELP b_seconds Is b.",
        "# TYPE b_seconds gauge",
        "b_seconds 0.000123",
    ]


@pytest.mark.parametrize("value", ["", 'quo"te', "back\\slash", "new\nline", '\\"\n\\n', "Europe — France"])
def test_labels_come_back(value: str) -> None:
    text = expose([Family("a", "gauge", "x", [Sample(1, {"label": value})])]).decode()
    assert parse(text) == [("a", {"label": value}, 1.0)]


def test_help_is_one_line() -> None:
    assert expose([Family("a", "gauge", "one\ntwo\\", [Sample(1)])]).startswith(
        b"# HELP a one\\ntwo\\\\\n# TYPE a gauge\n"
    )
