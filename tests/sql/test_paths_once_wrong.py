"""Paths that a node once answered wrongly without a word, each asked of paths of one type and of several.

Every event has ``known``, whose paths have each had values of one JSON type, and ``mixed``, which says the same in
several. ``{p}`` in a query stands for either.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from tests.support import RunningNode, running_node

BIG: Final = 2**53

EVENTS: Final[list[dict[str, Any]]] = [
    {
        "known": {"plan": "a", "Plan": "x", "n": 9, "big": BIG - 1},
        "mixed": {"plan": "a", "Plan": "x", "n": 9, "big": BIG - 1},
    },
    {
        "known": {"plan": "a", "Plan": "y", "n": 10, "big": BIG},
        "mixed": {"plan": "a", "Plan": "y", "n": "10", "big": float(BIG)},
    },
    {
        "known": {"plan": "b", "Plan": "x", "n": 100, "big": BIG + 1},
        "mixed": {"plan": "b", "Plan": "x", "n": 100.0, "big": BIG + 1},
    },
    {
        "known": {"plan": "b", "Plan": "x", "n": 9, "big": BIG + 2},
        "mixed": {"plan": "b", "Plan": "x", "n": 9.0, "big": str(BIG + 2)},
    },
    {"mixed": {"plan": True, "Plan": False}},
]
USERS: Final = ("9", "9.0", "10", "100.0", "x")  # text is equal to a number in the number's shortest form alone
REST: Final = "WHERE {p}.n IS NOT NULL"


class Case(NamedTuple):
    """A query and its rows. A value of ``mixed`` may be shown as it was sent, so values are compared as text."""

    sql: str
    want: list[list[Any]]


PLANS: Final[list[list[Any]]] = [["a", "x", 1], ["a", "y", 1], ["b", "x", 2]]

CASES: Final = {
    "keys that differ in case, below a query": Case(
        f"SELECT {{p}}.plan, {{p}}.Plan, count() FROM (SELECT * FROM events) {REST} GROUP BY 1, 2 ORDER BY 1, 2", PLANS
    ),
    "keys that differ in case, in a WITH query": Case(
        f"WITH e AS (FROM events) SELECT {{p}}.plan, {{p}}.Plan, count() FROM e {REST} GROUP BY ALL ORDER BY 1, 2",
        PLANS,
    ),
    "keys that differ in case, of a sample": Case(
        f"SELECT {{p}}.plan, {{p}}.Plan, count() FROM events TABLESAMPLE 100% {REST} GROUP BY 1, 2 ORDER BY 1, 2", PLANS
    ),
    "a query in an expression, grouped by": Case(
        "SELECT (SELECT max(i.{p}.n) FROM events i) AS x, count() FROM events GROUP BY x", [[100, 5]]
    ),
    "IN a query, grouped by": Case(
        "SELECT {p}.n IN (SELECT {p}.n FROM events WHERE {p}.n < 10) AS x, count() FROM events GROUP BY x ORDER BY x",
        [[False, 2], [True, 2], [None, 1]],
    ),
    "CASE with IN a query, grouped by": Case(
        "SELECT CASE WHEN {p}.n IN (SELECT {p}.n FROM events WHERE {p}.n < 10) THEN 'low' ELSE 'high' END AS x, count()"
        " FROM events GROUP BY x ORDER BY x",
        [["high", 3], ["low", 2]],
    ),
    "a count for each event, grouped by": Case(
        "SELECT (SELECT count() FROM events i WHERE i.{p}.n = o.{p}.n) AS x, count() FROM events o GROUP BY x ORDER BY x",
        [[0, 1], [1, 2], [2, 2]],
    ),
    "a value for each event, grouped and ordered by": Case(
        "SELECT (SELECT max(i.{p}.n) FROM events i WHERE i.{p}.plan = o.{p}.plan) AS x, count() FROM events o"
        f" {REST.replace('{p}', 'o.{p}')} GROUP BY x ORDER BY x DESC",
        [[100, 2], [10, 2]],
    ),
    "different values in order": Case(
        "SELECT list(DISTINCT {p}.n ORDER BY {p}.n), list(DISTINCT {p}.n ORDER BY {p}.n DESC NULLS FIRST),"
        " list(DISTINCT {p}.n ORDER BY {p}.n) FILTER ({p}.n < 50) FROM events",
        [[["9", "10", "100", None], [None, "100", "10", "9"], ["9", "10"]]],
    ),
    "different values, sorted": Case(
        "SELECT list_sort(list(DISTINCT {p}.n)), list_reverse_sort(list(DISTINCT {p}.n)), list_max(list(DISTINCT {p}.n))"
        " FROM events",
        [[["9", "10", "100", None], ["100", "10", "9", None], 100]],
    ),
    "a column and a path, USING": Case(
        "SELECT count() FROM events JOIN (SELECT {p}.n AS user_id FROM events) q USING (user_id)", [[3]]
    ),
    "a column and a path, =": Case("SELECT count() FROM events e JOIN events o ON e.user_id = o.{p}.n", [[3]]),
    "a cast of a big integer": Case(f"SELECT count() FROM events WHERE {{p}}.big = {BIG + 1}::BIGINT", [[1]]),
    "the first of different values": Case("SELECT first(DISTINCT {p}.n ORDER BY {p}.n DESC) FROM events", [[100]]),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("paths") / "data", workers=1) as node:
        sent = [{"event": "v", "user_id": user, "properties": sent} for user, sent in zip(USERS, EVENTS, strict=True)]
        node.send(sent)
        node.wait_for_count(len(EVENTS))
        yield node


@pytest.mark.parametrize("paths", ["known", "mixed"])
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_paths_of_one_type_and_of_several(node: RunningNode, case: Case, paths: str) -> None:
    assert shown(node.rows(case.sql.replace("{p}", f"properties.{paths}"))) == shown(case.want)


@pytest.mark.parametrize("paths", ["known", "mixed"])
@pytest.mark.parametrize("value", [BIG, BIG + 1, str(BIG + 1), float(BIG)])
def test_placeholders_beyond_what_a_double_holds(node: RunningNode, paths: str, value: int | float | str) -> None:
    path, exact = f"properties.{paths}.big", int(value)
    columns = [f"{path} > $n", f"$n > {path}", f"{path} >= $n", f"{path} <= $n", f"{path} BETWEEN $n AND $n"]
    sql = f"SELECT {', '.join(columns)} FROM events WHERE {path} IS NOT NULL ORDER BY {path}"
    answer = node.post("/v1/query", {"q": sql, "params": {"n": value}})
    assert answer.status_code == 200, answer.text
    sent = [BIG - 1, BIG, BIG + 1, BIG + 2]
    assert answer.json()["rows"] == [[s > exact, exact > s, s >= exact, s <= exact, s == exact] for s in sent]


def shown(rows: list[list[Any]]) -> list[list[Any]]:
    """Numbers however they were sent, as text."""
    return [[str(value).removesuffix(".0") for value in row] for row in rows]
