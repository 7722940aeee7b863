"""One target under libFuzzer, guided by the coverage of our code: ``python -m tests.fuzz.guided TARGET CORPUS…``."""

import importlib
import logging
import sys
from random import Random
from typing import Any

from tests.fuzz.mutate import mutate

# Not installed where tests run, and without types.
atheris: Any = importlib.import_module("atheris")


def main() -> None:
    """Fuzz until libFuzzer's options say that it is over."""
    name = sys.argv.pop(1)
    # With this libFuzzer starts itself again when it merges corpora.
    sys.argv[0] = f"{sys.executable} -m tests.fuzz.guided {name}"
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["novamesh"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    seeds = target.seeds()

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.4:
            changed: bytes = atheris.Mutate(data, most)
            return changed
        return mutate(data, random, target.words, seeds)[:most]

    atheris.Setup(sys.argv, target.run, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
