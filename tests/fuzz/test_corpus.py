"""Every entry of the fuzzers' corpora, and a few seeded changes of them, without a fuzzer."""

from pathlib import Path

import pytest

from tests.fuzz.target import CORPUS
from tests.fuzz.targets import TARGETS

CHANGES = {"sql": 150}  # each of them asks an engine
USUAL_CHANGES = 400
ENTRIES = [(name, path) for name, target in TARGETS.items() for path in target.corpus()]


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert {name for name, _ in ENTRIES} == set(TARGETS)


@pytest.mark.parametrize(
    ("name", "path"), [pytest.param(*entry, id=f"{entry[0]}/{entry[1].name}") for entry in ENTRIES]
)
def test_an_entry(name: str, path: Path) -> None:
    TARGETS[name].run(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changes_of_the_corpus(name: str) -> None:
    for data in TARGETS[name].mutated(seed=8, count=CHANGES.get(name, USUAL_CHANGES)):
        try:
            TARGETS[name].run(data)
        except Exception as error:
            raise AssertionError(f"{name} fails for {data!r}") from error
