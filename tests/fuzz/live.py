"""The targets that are no functions of bytes: a node over HTTP, and the sequences of the model test."""

import logging
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.faults.machines import NodeMachine, PartsMachine
from tests.fuzz import http, openapi
from tests.support import RunningNode, running_node

MOST_FINDINGS = 10
CHECK_EVERY = 500  # requests
_COMMON = settings(
    database=None, deadline=None, suppress_health_check=list(HealthCheck), stateful_step_count=30, print_blob=False
)


def fuzz(name: str, seconds: int, first: int, findings: Path) -> int:
    """Fuzz for so many seconds, from the seed ``first`` on, and say what came of it. Returns the number of findings."""
    findings.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)
    started = time.monotonic()
    executions = found = 0
    while time.monotonic() - started < seconds and found < MOST_FINDINGS:
        try:
            executions += TARGETS[name](first + executions, started + seconds)
        except Exception:
            found += 1
            path = findings / f"{first + executions}.txt"
            path.write_text(f"seed {first + executions}\n{traceback.format_exc()}")
            print(f"{name}: {path}")
            executions += CHECK_EVERY
    took = round(time.monotonic() - started)
    print(f"{name}: {took} s, {executions} executions, findings {found}", flush=True)
    return found


def _http(first: int, until: float) -> int:
    """Requests to one node, whose events are counted at the end."""
    with tempfile.TemporaryDirectory() as directory, running_node(Path(directory) / "data", **http.SETTINGS) as node:
        return play_http(node, range(first, first + CHECK_EVERY), until)


def _openapi(first: int, until: float) -> int:
    """One run of all phases on one node, for all of the time."""
    with tempfile.TemporaryDirectory() as directory, running_node(Path(directory) / "data", **openapi.SETTINGS) as node:
        requests = openapi.play(node, round(until - time.monotonic()), first)
        assert "Traceback" not in node.log, node.log
        return requests


def play_http(node: RunningNode, seeds: range, until: float = float("inf")) -> int:
    """One connection for each seed, then the count of events. Returns how many there were."""
    account = http.Account()
    for one in seeds:
        if time.monotonic() > until:
            break
        try:
            http.play(node, account, one)
        except Exception as error:
            raise AssertionError(f"connection {one}: {error}\n{node.log}") from error
    account.check(node)
    assert "Traceback" not in node.log, node.log
    return account.requests


def _machine(machine: type[RuleBasedStateMachine], examples: int) -> Callable[[int, float], int]:
    def run(first: int, _until: float) -> int:
        shrinks = machine is PartsMachine  # a sequence on a real node takes too long to be made smaller
        phases = [Phase.generate, Phase.shrink] if shrinks else [Phase.generate]
        run_state_machine_as_test(
            seed(first)(machine), settings=settings(_COMMON, max_examples=examples, phases=phases)
        )
        return examples

    return run


TARGETS: dict[str, Callable[[int, float], int]] = {
    "http": _http,
    "openapi": _openapi,
    "parts": _machine(PartsMachine, 20),
    "model": _machine(NodeMachine, 1),
}
