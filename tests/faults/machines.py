"""The random sequences of ``test_model.py``: what clients and the system may do, step by step."""

import errno
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.faults.model import KINDS, Promise, Request, make_request
from tests.faults.node_parts import PLACES, NodeParts
from tests.support import DEADLINE_S, RunningNode, run_cli, send_signal, wait_for

kinds = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)
sizes = st.integers(1, 30)
seeds = st.integers(0, 2**32 - 1)


class Clients(RuleBasedStateMachine):
    """What both machines have in common: the promise, and who remembers what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.promise = Promise()
        self.repeatable: list[Request] = []
        self.number = 0

    def fresh(self, kinds: list[str], size: int) -> list[Request]:
        """Requests that were never sent."""
        requests = []
        for kind in kinds:
            self.number += 1
            requests.append(make_request(kind, self.number, size))
        self.repeatable += [request for request in requests if request.is_repeatable]
        return requests

    def again(self, seed: int, count: int) -> list[Request]:
        """Requests that were sent before, and may be sent as often as one likes."""
        return Random(seed).choices(self.repeatable, k=count) if self.repeatable else []

    def note(self, requests: list[Request], answers: list[int]) -> None:
        for request, answer in zip(requests, answers, strict=True):
            assert answer in (202, 503), answer
            self.promise.sent(request.users, answer)


class PartsMachine(Clients):
    """The parts of a node in one process: many short lives, and faults at exact places."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(prefix="novamesh-", dir=memory if memory.is_dir() else None))
        self.parts = NodeParts(self.directory)

    def teardown(self) -> None:
        try:
            self.promise.check(self.parts.settle())
            self.parts.check_ledger()
        finally:
            self.parts.close()
            shutil.rmtree(self.directory)

    @rule(kinds=kinds, size=sizes)
    def send(self, kinds: list[str], size: int) -> None:
        requests = self.fresh(kinds, size)
        answers = self.parts.send(requests)
        assert set(answers) == {202}
        self.note(requests, answers)

    @precondition(lambda self: self.repeatable)
    @rule(seed=seeds, count=st.integers(1, 3))
    def send_again(self, seed: int, count: int) -> None:
        requests = self.again(seed, count)
        self.note(requests, self.parts.send(requests))

    @rule(
        kinds=kinds,
        size=sizes,
        fault=st.sampled_from([("fdatasync", errno.EIO), ("writev", errno.ENOSPC), ("writev", errno.EIO)]),
        partial=st.integers(0, 3000),
    )
    def send_while_the_disk_fails(self, kinds: list[str], size: int, fault: tuple[str, int], partial: int) -> None:
        requests = self.fresh(kinds, size)
        self.note(requests, self.parts.send_with_failing(*fault, partial, requests))

    @rule(steps=st.integers(1, 4))
    def load(self, steps: int) -> None:
        self.parts.load(steps)

    @rule()
    def load_while_the_disk_fails(self) -> None:
        self.parts.load_with_failing_read()

    @rule()
    def restart(self) -> None:
        self.parts.restart()

    @rule(seed=seeds, power=st.booleans())
    def crash(self, seed: int, power: bool) -> None:
        self.parts.crash(Random(seed), power=power)

    @rule(kinds=kinds, size=sizes, seed=seeds, synced=st.booleans(), power=st.booleans())
    def crash_in_write(self, kinds: list[str], size: int, seed: int, synced: bool, power: bool) -> None:
        requests = self.fresh(kinds, size)
        for request in requests:
            self.promise.sent(request.users, None)
        self.parts.crash_in_write(Random(seed), requests, synced=synced, power=power)

    @rule(place=st.sampled_from(sorted(PLACES)), seed=seeds, power=st.booleans())
    def crash_in_load(self, place: str, seed: int, power: bool) -> None:
        self.parts.crash_in_load(Random(seed), place, power=power)

    @invariant()
    def nothing_is_stored_that_may_not_be(self) -> None:
        stored = self.parts.stored()
        assert not stored or max(stored.values()) == 1, "stored more than once"
        assert stored.keys() <= self.promise.must | self.promise.may.keys(), "stored, but refused or never sent"

    @invariant()
    def the_ledger_holds(self) -> None:
        self.parts.check_ledger()


class NodeMachine(Clients):
    """A real node, whose processes are killed and stopped while clients send."""

    @initialize(workers=st.integers(1, 2))
    def start(self, workers: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="novamesh-"))
        self.node = RunningNode(self.directory / "data", workers=workers, spool_segment_bytes=11_000_000)

    def teardown(self) -> None:
        if not hasattr(self, "node"):
            return
        try:
            self.settle()
        finally:
            self.node.kill()
            shutil.rmtree(self.directory)

    def settle(self) -> None:
        """Wait until all that was accepted is stored, then stop in order, so that the spool is empty, and look again."""
        wait_for(lambda: self.promise.must <= self.stored().keys(), what=f"all that was accepted\n{self.node.log}")
        assert self.node.stop() == 0
        verified = run_cli("verify", "--data-dir", self.node.data_dir)
        assert verified.returncode == 0, verified.stdout
        self.node.restart()
        self.promise.check(self.stored())

    def stored(self) -> Counter[str]:
        rows = self.node.rows("SELECT user_id, count(*) FROM events GROUP BY user_id", limit=50_000)
        return Counter({user: int(count) for user, count in rows})

    def post(self, requests: list[Request]) -> None:
        """Send one after the other; what is not answered is noted as that."""
        with self.node.client() as client:
            for request in requests:
                headers = {"Idempotency-Key": request.key} if request.key else {}
                try:
                    answer: int | None = client.post(request.path, json=request.body, headers=headers).status_code
                except httpx.HTTPError:
                    answer = None
                assert answer in (202, 503, None), answer
                self.promise.sent(request.users, answer)

    def during(self, requests: list[Request], at: int, act: Callable[[], Any]) -> None:
        """Send, and ``act`` when about ``at`` of the requests have been answered."""
        before = len(self.promise.must) + len(self.promise.may)
        sender = threading.Thread(target=self.post, args=(requests,), daemon=True)
        sender.start()
        wait_for(
            lambda: not sender.is_alive() or len(self.promise.must) + len(self.promise.may) >= before + at,
            what="answers",
        )
        act()
        sender.join(DEADLINE_S)
        assert not sender.is_alive()

    def requests(self, kinds: list[str], size: int, seed: int) -> list[Request]:
        requests = self.fresh(kinds * 5, size) + self.again(seed, 5)
        Random(seed).shuffle(requests)
        return requests

    @rule(kinds=kinds, size=sizes, seed=seeds)
    def send(self, kinds: list[str], size: int, seed: int) -> None:
        self.post(self.requests(kinds, size, seed))

    @rule(kinds=kinds, size=sizes, seed=seeds, at=st.integers(0, 20), who=st.sampled_from(["store", "edge"]))
    def kill_one(self, kinds: list[str], size: int, seed: int, at: int, who: str) -> None:
        self.during(self.requests(kinds, size, seed), at, lambda: self.node.signal(who, signal.SIGKILL))

    @rule(kinds=kinds, size=sizes, seed=seeds, at=st.integers(0, 20))
    def kill_all(self, kinds: list[str], size: int, seed: int, at: int) -> None:
        self.during(self.requests(kinds, size, seed), at, self.node.kill)
        self.node.restart()

    @rule(kinds=kinds, size=sizes, seed=seeds, kill=st.booleans())
    def stop_the_store(self, kinds: list[str], size: int, seed: int, kill: bool) -> None:
        store = self.node.signal("store", signal.SIGSTOP)
        self.post(self.requests(kinds, size, seed))  # the edge goes on without it
        send_signal(store, signal.SIGKILL if kill else signal.SIGCONT)

    @rule()
    def restart_in_order(self) -> None:
        assert self.node.stop() == 0
        self.node.restart()

    @rule()
    def query(self) -> None:
        stored = self.stored()
        assert not stored or max(stored.values()) == 1, "stored more than once"
        assert stored.keys() <= self.promise.must | self.promise.may.keys(), "stored, but refused or never sent"
