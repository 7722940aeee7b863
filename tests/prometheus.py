"""The Prometheus text format, read strictly: everything that a scraper or a linter would complain of is an error."""

import math
import re
from typing import NamedTuple

_NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
_HELP = re.compile(rf"# HELP ({_NAME}) (\S.*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram)")
_SAMPLE = re.compile(rf'({_NAME})(?:\{{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*"(?:,(?!\}})|(?=\}})))+)\}})? (\S+)')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
# What a name must not end in: units that are not the base unit, and words that say nothing.
_BAD_UNITS = ("_ms", "_us", "_ns", "_minutes", "_hours", "_kb", "_mb", "_kilobytes", "_megabytes", "_percent")

Labels = tuple[tuple[str, str], ...]


class Family(NamedTuple):
    """One metric: samples by the name's suffix and the labels."""

    kind: str
    help: str
    samples: dict[tuple[str, Labels], float]

    def value(self, suffix: str = "", **labels: str) -> float:
        return self.samples[suffix, tuple(sorted(labels.items()))]


def read(text: str) -> dict[str, Family]:
    """All families. AssertionError says what is not as it must be."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    lines = iter(text.splitlines())
    name, family = "", Family("", "", {})
    for line in lines:
        if line.startswith("#"):
            help_, type_ = _HELP.fullmatch(line), _TYPE.fullmatch(next(lines))
            assert help_, line
            assert type_, line
            assert help_[1] == type_[1]
            name = help_[1]
            assert name not in families, f"{name} is there twice"
            family = families[name] = Family(type_[2], help_[2], {})
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample, line
        assert sample[1].startswith(name)
        suffix = sample[1].removeprefix(name)
        assert suffix in (("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)), line
        labels = _LABEL.findall(sample[2] or "")
        key = suffix, tuple(sorted(labels))
        assert len({label for label, _ in labels}) == len(labels)
        assert key not in family.samples, f"{line} is there twice"
        family.samples[key] = float(sample[3])
    for name, family in families.items():
        _check(name, family)
    return families


def _check(name: str, family: Family) -> None:
    assert family.samples, f"{name} has no samples"
    assert family.help.endswith("."), name
    assert not name.removesuffix("_total").endswith(_BAD_UNITS), name
    assert name.endswith("_total") == (family.kind == "counter"), name
    assert all(math.isfinite(value) for value in family.samples.values()), name
    if family.kind != "gauge":
        assert all(value >= 0 for value in family.samples.values()), name
    if family.kind == "histogram":
        _check_histogram(name, family)


def _check_histogram(name: str, family: Family) -> None:
    buckets = [
        (float(dict(labels)["le"]), value) for (suffix, labels), value in family.samples.items() if suffix == "_bucket"
    ]
    assert buckets == sorted(buckets), f"{name}: buckets go up, and so do their counts"
    assert [value for _, value in buckets] == sorted(value for _, value in buckets), name
    assert buckets[-1] == (math.inf, family.value("_count")), name
    assert (family.value("_sum") == 0) == (family.value("_count") == 0), name
