"""Queries are made for the types that a path's values have had, and others may come at any time."""

import threading
from pathlib import Path
from random import Random
from typing import Any

from tests.support import RunningNode, running_node


def test_answers_stay_right_when_values_of_another_type_come(tmp_path: Path) -> None:
    """The SQL that runs is made for the types there have been, so each batch here makes it anew."""
    groups = "SELECT properties.k AS k, count() FROM events WHERE event = 'k' GROUP BY k ORDER BY k"
    totals = "SELECT sum(properties.k), max(properties.k), count(DISTINCT properties.k) FROM events WHERE event = 'k'"
    with running_node(tmp_path / "data") as node:
        node.settle()
        for values, shown, summed in (
            ([2, 10, 2], [[2, 2], [10, 1]], [14.0, 10, 2]),
            ([None], [[2, 2], [10, 1], [None, 1]], [14.0, 10, 2]),
            ([-3, 2.0], [[-3, 1], [2, 3], [10, 1], [None, 1]], [13.0, 10, 3]),
            (["10", "x"], [[-3, 1], [2, 3], [10, 2], ["x", 1], [None, 1]], [23.0, "x", 4]),
            ([{"deep": 1}], None, [23.0, None, 5]),
        ):
            node.send([{"event": "k", "properties": {"k": value}} for value in values])
            node.settle()
            described = [node.query(sql).json()["meta"]["types"] for sql in (groups, "SELECT properties.k FROM events")]
            assert described == [["VARIANT", "BIGINT"], ["VARIANT"]]
            if shown is not None:
                assert [[_number(key), count] for key, count in node.rows(groups)] == shown
            total = node.rows(totals)[0]
            assert total[0] == summed[0]
            assert total[2] == summed[2]
            assert summed[1] is None or total[1] == summed[1]
        many = {f"x{n}": n for n in range(100)}  # too many to be kept in columns: kept as JSON, in a table of its own
        node.send([{"event": "k", "properties": {**many, "k": 1000}}])
        node.settle()
        counts = "SELECT count(*), count(properties.k), sum(properties.k), sum(properties.x99) FROM events"
        assert node.rows(counts + " WHERE event = 'k'") == [[10, 9, 1023.0, 99.0]]
        assert node.rows("SELECT count(*) FROM events WHERE event <> 'settle'") == [[10]]


def _number(value: Any) -> Any:
    """A group shows one of the values that were sent: 10 or "10"."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


QUERIES = (
    "SELECT sum(properties.{0}), max(properties.{0}), avg(properties.{0}) FROM events",
    "SELECT properties.{0}, count() FROM events GROUP BY 1",
    "SELECT count(DISTINCT properties.{0}), count() FILTER (properties.{0} > 1) FROM events",
)
VALUES = (1, 2.5, "x", True, -4, {"d": 1}, [1])


def test_no_query_fails_while_values_of_another_type_come(tmp_path: Path) -> None:
    """A direct cast of a value of another type would be an error, and is what a query must never come to."""
    with running_node(tmp_path / "data") as node:
        node.settle()
        faults: list[str] = []
        done = threading.Event()
        askers = [threading.Thread(target=_ask, args=(node, seed, done, faults)) for seed in range(3)]
        for asker in askers:
            asker.start()
        for path in ("p0", "p1", "p2", "p3"):
            for value in VALUES:
                node.send([{"event": "e", "properties": {path: value}}] * 20)
                node.settle()
        done.set()
        for asker in askers:
            asker.join()
        assert faults == []


def _ask(node: RunningNode, seed: int, done: threading.Event, faults: list[str]) -> None:
    random = Random(seed)
    with node.client() as client:
        while not done.is_set():
            sql = random.choice(QUERIES).format(f"p{random.randrange(4)}")
            answer = client.get("/v1/query", params={"q": sql})
            if answer.status_code != 200:
                faults.append(f"{sql}: {answer.text}")
