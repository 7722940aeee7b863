"""The Prometheus text format, version 0.0.4, as bytes."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """One value, with its labels. ``suffix`` is what a histogram's samples have behind its name."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


class Family(NamedTuple):
    """All values of one name. ``kind`` is ``counter``, ``gauge`` or ``histogram``."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


def histogram(name: str, help: str, bounds: Sequence[float], values: Iterable[tuple[float, int]]) -> Family:
    """``values`` are values and how often each was seen, in order; ``bounds`` ascend."""
    counts = [0] * (len(bounds) + 1)
    total = 0.0
    for value, count in values:
        counts[bisect_left(bounds, value)] += count
        total += value * count
    seen = list(accumulate(counts))
    edges = [*map(repr, bounds), "+Inf"]
    samples = [Sample(count, {"le": edge}, "_bucket") for edge, count in zip(edges, seen, strict=True)]
    return Family(name, "histogram", help, [*samples, Sample(total, suffix="_sum"), Sample(seen[-1], suffix="_count")])


def expose(families: Iterable[Family]) -> bytes:
    """The families that have samples, in their order."""
    return "".join(map(_family, families)).encode()


def _family(family: Family) -> str:
    lines = [
        f"{family.name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}\n" for sample in family.samples
    ]
    if not lines:
        return ""
    head = f"# HELP {family.name} {_escaped(family.help)}\n# TYPE {family.name} {family.kind}\n"
    return head + "".join(lines)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value).replace(chr(34), chr(92) + chr(34))}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
