"""A real node under load, random kills and disk errors, as long as is asked for; at its end every acknowledged event is stored once.

``scripts/soak --help``. Figures go to standard output as JSON, what happens to standard error; the exit status is 1 if an event
is lost, doubled or not to be accounted for.
"""

import argparse
import contextlib
import errno
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

import httpx

from novamesh.cli import cli
from tests.faults.injection import ALL, READS, SYNCS, WRITES, DiskFaults, refused_writes
from tests.faults.load import Senders, check_exactly_once
from tests.support import RunningNode, run_cli, running_node, send_signal, wait_for

# Small, so that segments turn over and the limit is reached within seconds.
SETTINGS = {"workers": 2, "batch_limit_bytes": 400_000, "spool_segment_bytes": 500_000, "spool_limit_bytes": 8_000_000}
STALL_S = 10.0
# A fault that is there for a while lasts at most so long, and what is killed meanwhile is looked after for as long again.
WHILE_S = 2.0
BATCH_EVENTS = 400


class Soak:
    """One run: faults at random moments, in an order that only the seed decides."""

    def __init__(self, node: RunningNode, disk: DiskFaults, seed: int, threads: int, while_s: float) -> None:
        self.node = node
        self._disk = disk
        self._while_s = while_s
        self.faults: Counter[str] = Counter()
        self.senders = Senders(node, seed=seed, threads=threads, largest=BATCH_EVENTS)
        self._rng = random.Random(seed)
        self._kinds: dict[str, Callable[[], None]] = {
            "edge worker killed": self._kill_edge,
            "store killed": self._kill_store,
            "supervisor killed": self._kill_supervisor,
            "node killed": self._kill_node,
            "node stopped and started": self._stop,
            "spool full": self._fill,
            "store stopped for a while": lambda: self._pause(self._store()),
            "edge worker stopped for a while": lambda: self._pause(self._edge()),
            "disk full": lambda: self._fail(WRITES, code=errno.ENOSPC),
            "disk errors in writes": lambda: self._fail(WRITES, chance=0.3),
            "disk errors in syncs": lambda: self._fail(SYNCS, chance=0.3),
            "disk errors in reads": lambda: self._fail(READS, chance=0.5),
            "disk errors anywhere": lambda: self._fail(ALL, chance=0.1),
            "slow disk": lambda: self._during(disk.slow(*SYNCS, delay_s=self._rng.random() / 2)),
            "database not to be written": lambda: self._during(refused_writes(self._store())),
            "worker's files not to be written": lambda: self._during(refused_writes(self._edge())),
        }

    def run(self, seconds: float, events: int) -> None:
        """Faults until the time is over or so many events are acknowledged, and at least one of each kind."""
        end = time.monotonic() + seconds
        order: list[str] = []
        while sum(self.faults.values()) < len(self._kinds) or (time.monotonic() < end and self.senders.sent() < events):
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

    def _edge(self) -> int:
        return self._rng.choice(wait_for(lambda: self.node.children()["edge"], what="a worker"))

    def _store(self) -> int:
        return wait_for(lambda: self.node.children()["store"], what="a store")[0]

    def _kill_store(self) -> None:
        self.node.signal("store", signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        os.kill(self.node.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(self.node.children().values()), what="the end of the children")
        self._kill_node()

    def _kill_node(self) -> None:
        self.node.kill()
        self.node.restart()

    def _stop(self) -> None:
        assert self.node.stop() == 0
        self.node.restart()

    def _pause(self, pid: int) -> None:
        send_signal(pid, signal.SIGSTOP)
        try:
            time.sleep(self._rng.random() * self._while_s)  # how long it stands still; nothing is waited for
        finally:
            send_signal(pid, signal.SIGCONT)

    def _fail(self, calls: tuple[str, ...], code: int = errno.EIO, chance: float = 1.0) -> None:
        before, end = self._disk.failed(), time.monotonic() + STALL_S
        with self._disk.failing(*calls, code=code, chance=chance):
            self._during(contextlib.nullcontext())
            wait_for(lambda: self._disk.failed() != before or time.monotonic() > end, what="a failed call")

    def _during(self, fault: contextlib.AbstractContextManager[None]) -> None:
        """A fault that lasts a while, in which half of the time something is killed besides."""
        with fault:
            time.sleep(self._rng.random() * self._while_s)
            if self._rng.random() < 0.5:
                self._rng.choice((self._kill_edge, self._kill_store))()
                time.sleep(self._rng.random() * self._while_s)

    def _fill(self) -> None:
        """The store stands still until the spool's limit refuses somebody."""
        store, before = self._store(), self.senders.refused[503]
        send_signal(store, signal.SIGSTOP)
        end = time.monotonic() + STALL_S
        try:
            wait_for(lambda: self.senders.refused[503] > before or time.monotonic() > end, what="a refusal")
        finally:
            send_signal(store, signal.SIGCONT)


def _is_settled(node: RunningNode) -> bool:
    """Every part is well, and all that was accepted is loaded."""
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.get(node.url + "/v1/ready")
        ledger = answer.json().get("ledger")
        return answer.status_code == 200 and bool(ledger) and not any(one["waiting"] for one in ledger.values())
    return False


def soak(
    directory: Path, seed: int, seconds: float, events: int, threads: int = 4, while_s: float = WHILE_S
) -> dict[str, Any]:
    """A run in ``directory``. Returns its figures; raises AssertionError if an event is lost or doubled."""
    started = time.monotonic()
    disk = DiskFaults(directory.with_name("faults"), directory)
    with running_node(directory, disk.environment, **SETTINGS) as node:
        run = Soak(node, disk, seed, threads, while_s)
        try:
            run.run(seconds, events)
        except BaseException:
            run.senders.give_up()
            raise
        run.senders.stop()
        wait_for(lambda: _is_settled(node), what=f"a node that is well and has loaded all\n{node.log[-5000:]}")
        check_exactly_once(node, run.senders)
        assert run.senders.refused.keys() <= {503}, f"answers that no fault explains: {dict(run.senders.refused)}"
        figures: dict[str, Any] = {
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "acknowledged": len(run.senders.acknowledged),
            "stored": node.count(),
            "without an answer": len(run.senders.unknown),
            "sent again": run.senders.repeated,
            "refused": dict(run.senders.refused),
            "faults": dict(run.faults),
            "calls of the system that failed": disk.failed(),
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
