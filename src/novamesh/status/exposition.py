"""The Prometheus text format, version 0.0.4, as bytes."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """One value, with its labels."""

    value: float
    labels: Mapping[str, str] = {}


class Family(NamedTuple):
    """All values of one name. ``kind`` is ``counter`` or ``gauge``."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


def expose(families: Iterable[Family]) -> bytes:
    """The families that have samples, in their order."""
    return "".join(map(_family, families)).encode()


def _family(family: Family) -> str:
    lines = [f"{family.name}{_labels(sample.labels)} {_number(sample.value)}\n" for sample in family.samples]
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
