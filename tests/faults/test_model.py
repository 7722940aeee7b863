"""Random sequences of requests, retries, faults and crashes against the promise of ``model.py``.

``NOVATEST_EXAMPLES`` is how many sequences to try on the parts of a node in one process; ``scripts/fuzz parts`` and
``scripts/fuzz model`` go on for as long as they are told to.
"""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.machines import NodeMachine, PartsMachine

EXAMPLES = int(os.environ.get("NOVATEST_EXAMPLES", "15"))
_COMMON = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def test_the_parts_of_a_node() -> None:
    run_state_machine_as_test(PartsMachine, settings=settings(_COMMON, max_examples=EXAMPLES, stateful_step_count=25))


def test_a_real_node() -> None:
    # What takes a second a step is not made smaller: the steps that failed are printed as they are.
    once = settings(_COMMON, max_examples=2, stateful_step_count=8, phases=[Phase.generate])
    run_state_machine_as_test(NodeMachine, settings=once)
