"""Edge workers that die."""

import os
import signal
from collections.abc import Callable

from tests.support import RunningNode, wait_for


def _replaced(node: RunningNode, dead: int, other: int) -> int:
    """The worker that came in a dead one's place."""
    (worker,) = wait_for(lambda: {*node.children()["edge"]} - {dead, other}, what="a worker in its place")
    return worker


def test_one_that_dies_again_and_again_takes_no_other_with_it(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=2)
    dying, other = node.children()["edge"]
    with node.clients_of_workers() as clients:
        (client,) = (client for client in clients if node.worker_of(client) == other)
        for _ in range(3):
            os.kill(dying, signal.SIGKILL)
            dying = _replaced(node, dying, other)
            # On the connection it has had all the time.
            assert client.post("/v1/ingest", json={"event": "e"}).status_code == 202
    assert {dying, other} == {*node.children()["edge"]}
    node.wait_for_count(3)


def test_a_node_stops_in_order_while_a_dead_worker_waits_for_its_start(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=1)
    (worker,) = node.children()["edge"]
    for _ in range(3):
        os.kill(worker, signal.SIGKILL)
        worker = _replaced(node, worker, worker)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: worker not in node.children()["edge"], what="its end")
    assert node.stop() == 0


def test_all_are_replaced_on_hang_up(make_node: Callable[..., RunningNode]) -> None:
    node = make_node(workers=2)
    before = {*node.children()["edge"]}
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: not before & {*node.children()["edge"]} and len(node.children()["edge"]) == 2, what="new ones")
    assert node.rows("SELECT 1") == [[1]]
    assert node.stop() == 0
