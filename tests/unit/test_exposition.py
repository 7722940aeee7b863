"""The Prometheus text format: what its specification says, read back by a parser of its own."""

import re

import pytest

from novamesh.status.exposition import Family, Sample, expose, histogram
from tests import prometheus

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


def test_a_histogram_counts_up_to_each_bound() -> None:
    family = histogram("a_seconds", "Is a.", (0.1, 1.0), [(0.05, 1), (0.1, 2), (0.5, 3), (2.0, 4)])
    text = expose([family, histogram("b_seconds", "Is b.", (0.1,), [])]).decode()
    assert parse(text) == [
        ("a_seconds_bucket", {"le": "0.1"}, 3.0),
        ("a_seconds_bucket", {"le": "1.0"}, 6.0),
        ("a_seconds_bucket", {"le": "+Inf"}, 10.0),
        ("a_seconds_sum", {}, 9.75),
        ("a_seconds_count", {}, 10.0),
        ("b_seconds_bucket", {"le": "0.1"}, 0.0),
        ("b_seconds_bucket", {"le": "+Inf"}, 0.0),
        ("b_seconds_sum", {}, 0.0),
        ("b_seconds_count", {}, 0.0),
    ]
    assert "# TYPE a_seconds histogram" in text


@pytest.mark.parametrize(
    "text",
    [
        "a 1\n",
        "# HELP a Is a.\na 1\n",
        "# HELP a Is a.\n# TYPE a counter\na 1\n",
        "# HELP a_total Is a.\n# TYPE a_total gauge\na_total 1\n",
        "# HELP a Is a.\n# TYPE a gauge\na 1\na 1\n",
        "# HELP a Is a.\n# TYPE a gauge\nb 1\n",
        "# HELP a_ms Is a.\n# TYPE a_ms gauge\na_ms 1\n",
        "# HELP a Is a\n# TYPE a gauge\na 1\n",
        "# HELP a Is a.\n# TYPE a gauge\na NaN\n",
        '# HELP a Is a.\n# TYPE a gauge\na{b="c",} 1\n',
        '# HELP a Is a.\n# TYPE a histogram\na_bucket{le="1"} 2\na_bucket{le="+Inf"} 1\na_sum 1\na_count 1\n',
        '# HELP a Is a.\n# TYPE a histogram\na_bucket{le="1"} 1\na_sum 1\na_count 1\n',
    ],
)
def test_the_strict_parser_finds_fault(text: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        prometheus.read(text)
