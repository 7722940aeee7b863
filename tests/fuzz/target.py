"""What a fuzz target is: a property of any bytes, and what is known of the inputs that get far."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from novamesh.errors import MAX_MESSAGE_CHARACTERS, RequestError
from tests.fuzz.mutate import mutate

CORPUS = Path(__file__).parent / "corpus"
DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Target:
    """``run`` raises for an input that breaks the property; ``words`` and ``seeds`` are what inputs are made of."""

    name: str
    run: Callable[[bytes], None]
    words: tuple[bytes, ...]
    seeds: Callable[[], list[bytes]]

    def corpus(self) -> list[Path]:
        """The entries that are kept, which a test replays."""
        return sorted(path for path in (CORPUS / self.name).iterdir() if path.is_file())

    def mutated(self, seed: int, count: int) -> list[bytes]:
        """So many random changes of the kept entries, the same for the same seed."""
        random = Random(seed)
        entries = [path.read_bytes() for path in self.corpus()]
        return [mutate(random.choice(entries), random, self.words, entries) for _ in range(count)]


def words(text: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in text.split())


def webhooks() -> list[dict[str, object]]:
    """Events as real products send them."""
    events: list[dict[str, object]] = json.loads((DATA / "webhooks.json").read_text())["events"]
    return events


def check_error(error: RequestError) -> None:
    """An error must be the client's, in the one shape, and say so on one line."""
    document = json.loads(error.body())
    assert document["error"] == error.code
    assert 10 < len(document["message"]) <= MAX_MESSAGE_CHARACTERS + 1, document
    assert document["message"].isprintable(), document
    assert 400 <= error.status < 500
    assert len(error.body()) < 1_000_000
