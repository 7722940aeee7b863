"""A real node under load and random kills, for as long as is asked for; at its end every acknowledged event is stored once.

``scripts/soak --help``. Figures go to standard output as JSON, what happens to standard error; the exit status is 1 if an event
is lost, doubled or not to be accounted for.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from novamesh.cli import cli
from tests.faults.load import Senders, check_exactly_once
from tests.support import RunningNode, run_cli, running_node, send_signal, wait_for

# Small, so that segments turn over and the limit is reached within seconds.
SETTINGS = {"workers": 2, "batch_limit_bytes": 400_000, "spool_segment_bytes": 500_000, "spool_limit_bytes": 8_000_000}
STALL_S = 10.0


class Soak:
    """One run: faults at random moments, in an order that only the seed decides."""

    def __init__(self, node: RunningNode, seed: int, threads: int) -> None:
        self.node = node
        self.faults: Counter[str] = Counter()
        self.senders = Senders(node, seed=seed, threads=threads)
        self._rng = random.Random(seed)
        self._kinds: dict[str, Callable[[], None]] = {
            "edge worker killed": self._kill_edge,
            "store killed": self._kill_store,
            "supervisor killed": self._kill_supervisor,
            "node killed": self._kill_node,
            "node stopped and started": self._stop,
            "spool full": self._fill,
        }

    def run(self, seconds: float, events: int, min_faults: int) -> None:
        """Faults until the time is over or so many events are acknowledged, and at least ``min_faults``."""
        end = time.monotonic() + seconds
        order: list[str] = []
        while sum(self.faults.values()) < min_faults or (time.monotonic() < end and self.senders.sent() < events):
            # Each kind once, in random order, then again: a short run has them all.
            order = order or self._rng.sample([*self._kinds], len(self._kinds))
            kind = order.pop()
            self.senders.wait_for_more(self._rng.randrange(100, 1500))
            time.sleep(self._rng.random() * 0.1)  # not a wait for anything: the moment is to be random
            print(f"{self.senders.sent()} acknowledged: {kind}", file=sys.stderr)
            self._kinds[kind]()
            self.faults[kind] += 1

    def _kill_edge(self) -> None:
        self.node.signal("edge", signal.SIGKILL)

    def _kill_store(self) -> None:
        self.node.signal("store", signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        os.kill(self.node.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(self.node.children().values()), what="the end of the children")
        self._kill_node()

    def _kill_node(self) -> None:
        self.node.kill()
        self._restart()

    def _stop(self) -> None:
        assert self.node.stop() == 0
        self._restart()

    def _restart(self) -> None:
        key = self.node.key
        self.node.restart()
        self.node.key = key

    def _fill(self) -> None:
        """The store stands still until the spool's limit refuses somebody."""
        before = self.senders.refused[503]
        store = self.node.signal("store", signal.SIGSTOP)
        end = time.monotonic() + STALL_S
        try:
            wait_for(lambda: self.senders.refused[503] > before or time.monotonic() > end, what="a refusal")
        finally:
            send_signal(store, signal.SIGCONT)


def soak(
    directory: Path, seed: int, seconds: float, events: int, threads: int = 4, min_faults: int = 1
) -> dict[str, Any]:
    """A run in ``directory``. Returns its figures; raises AssertionError if an event is lost or doubled."""
    started = time.monotonic()
    with running_node(directory, **SETTINGS) as node:
        run = Soak(node, seed, threads)
        try:
            run.run(seconds, events, min_faults)
        finally:
            run.senders.stop()
        check_exactly_once(node, run.senders)
        figures: dict[str, Any] = {
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "acknowledged": len(run.senders.acknowledged),
            "stored": node.count(),
            "without an answer": len(run.senders.unknown),
            "sent again": run.senders.repeated,
            "refused": dict(run.senders.refused),
            "faults": dict(run.faults),
        }
        if "verify" in cli.commands:
            verified = run_cli("verify", "--data-dir", directory)
            assert verified.returncode == 0, verified.stdout + verified.stderr
            figures["verify"] = verified.stdout.strip()
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1, help="how long at most (default 1)")
    parser.add_argument(
        "--events", type=int, default=1_000_000, help="or until so many are acknowledged (default 1,000,000)"
    )
    parser.add_argument("--clients", type=int, default=4, help="that send at once (default 4)")
    parser.add_argument("--seed", type=int, default=1, help="decides requests and faults (default 1)")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="novamesh-soak-") as name:
        try:
            figures = soak(Path(name) / "data", options.seed, 60 * options.minutes, options.events, options.clients)
        except AssertionError as error:
            sys.exit(f"failed: {error}")
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text)


if __name__ == "__main__":
    main()
