"""Random SELECTs over random events give what a plain evaluation in Python gives (``reference.py``).

``NOVATEST_CASES`` is about how many cases to compare: a case is one select item, condition or query over one set of
events. What fails names its round: keep that as an ``@example``, and the fault itself, made small, in ``mended.py``.
"""

import json
import os
from collections.abc import Iterator, Sequence
from random import Random

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from novamesh.sql.guard import check
from novamesh.sql.types import NO_TYPES, PathTypes
from novamesh.store.migrations import SPACE
from novamesh.store.paths import SHAPES, PathBudget, plain_condition
from tests.sql.compounds import SHAPES as COMPOUNDS
from tests.sql.mended import MENDED, Mended
from tests.sql.reference import Event, Unsaid, events
from tests.sql.statements import STATEMENTS, Fault, Row, Statement

CASES = int(os.environ.get("NOVATEST_CASES", "4000"))
CASES_A_ROUND = 760  # measured
SETS_A_ROUND = 3
EVENTS_A_SET = 24


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(tmp_path_factory.mktemp("properties") / "store.duckdb", config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET variant_minimum_shredding_size = 1")  # shred tables of a few rows too
    yield connection
    connection.close()


def fill(
    engine: duckdb.DuckDBPyConnection, given: Sequence[Event], *, checkpoint: bool, shredded_only: bool = False
) -> PathTypes:
    """Every other event as VARIANT, the others as text, as the loader keeps what has too many paths. Their types."""
    engine.execute('DROP SCHEMA IF EXISTS "p_default" CASCADE')
    engine.execute(SPACE.format(schema="p_default"))
    rows = [json.dumps({"u": str(name), "p": event}) for name, event in enumerate(given)]
    for table, kind, start in (("events_shredded", "VARIANT", 0), ("events_plain", "JSON", 1)):
        engine.execute(
            f"INSERT INTO p_default.{table} SELECT uuid(), 'v', j ->> 'u', TIMESTAMP '2026-02-01', (j -> 'p')::{kind},"
            " NULL, TIMESTAMP '2026-02-01', 'b' FROM (SELECT unnest(?::JSON[]) AS j)",
            [(rows if not start else []) if shredded_only else rows[start::2]],
        )
    if checkpoint:  # only then are VARIANTs shredded
        engine.execute("CHECKPOINT")
    engine.execute(
        "CREATE OR REPLACE TEMP TABLE staged AS"
        f" SELECT *, {SHAPES} FROM (SELECT unnest(?::JSON[]) -> 'p' AS properties, NULL::JSON AS context)",
        [rows],
    )
    budget = PathBudget({}, 1024)
    plain_condition(engine, "staged", budget)
    return PathTypes(budget.all_types(), shredded_only=shredded_only)


def run(engine: duckdb.DuckDBPyConnection, sql: str, *, careful: bool, types: PathTypes = NO_TYPES) -> list[Row]:
    checked = check(sql, schema="p_default", limit=10_000, careful=careful, types=types)
    found: list[Row] = engine.execute(checked.sql).fetchall()
    return found


def outcome(
    engine: duckdb.DuckDBPyConnection, statement: Statement, given: Sequence[Event], *, careful: bool, types: PathTypes
) -> list[Fault | None]:
    """What became of each case; what the engine refuses is asked again case by case."""
    try:
        rows = run(engine, statement.sql, careful=careful, types=types)
    except Exception as error:
        if "duplicate name" in str(error) and not careful:  # as the store does: keys that differ only in case
            return outcome(engine, statement, given, careful=True, types=types)
        if not statement.alone:
            return [Fault(statement.sql, list(given), "an answer", repr(error))]
        return [one for part in statement.alone for one in outcome(engine, part, given, careful=careful, types=types)]
    return list(_said(statement.check(given, rows)))


def _said(cases: Iterator[Fault | None]) -> Iterator[Fault | None]:
    try:
        yield from cases
    except Unsaid:  # in a condition that decides about every case
        return


def played(engine: duckdb.DuckDBPyConnection, seed: int) -> tuple[int, list[Fault]]:
    """One round: some SELECTs over some sets of events. How many cases were compared, and which were wrong."""
    random = Random(seed)
    statements = [shape(random) for shape in (*STATEMENTS, *COMPOUNDS)]
    careful = random.random() < 0.2
    cases: list[Fault | None] = []
    for _ in range(SETS_A_ROUND):
        given = events(random, random.choice([0, 1, 3, *[EVENTS_A_SET] * 20]))
        known = fill(engine, given, checkpoint=random.random() < 0.3, shredded_only=random.random() < 0.4)
        types = known if random.random() < 0.6 else NO_TYPES
        for statement in statements:
            cases += outcome(engine, statement, given, careful=careful, types=types)
    return len(cases), [case for case in cases if case is not None]


@settings(
    max_examples=max(1, CASES // CASES_A_ROUND),
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a seed has nothing to shrink
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**63 - 1))
@example(seed=5)  # `->` in GROUP BY
@example(seed=40)  # NOT (key)
@example(seed=42)  # keys that differ only in case
@example(seed=88)  # the same, in lists
@example(seed=1585)  # the same, in rows of a query
def test_answers_are_those_of_a_plain_evaluation(engine: duckdb.DuckDBPyConnection, seed: int) -> None:
    cases, faults = played(engine, seed)
    assert cases > 0
    assert not faults, f"round {seed}: {len(faults)} of {cases} cases, first {faults[0]}"


@pytest.mark.parametrize("mended", [pytest.param(mended, id=mended.name) for mended in MENDED])
def test_what_was_answered_wrongly(engine: duckdb.DuckDBPyConnection, mended: Mended) -> None:
    types = fill(engine, mended.events, checkpoint=False)
    for form in (NO_TYPES, types):
        assert run(engine, mended.sql, careful=mended.careful, types=form) == mended.want


def test_values_that_are_told_apart(engine: duckdb.DuckDBPyConnection) -> None:
    """The reference itself, by hand: without this, a mistake both make would go unseen."""
    given: list[Event] = [
        {"k": 1},
        {"k": 1.0},
        {"k": "1"},
        {"k": "x"},
        {"k": None},
        {},
        {"k": True},
        {"k": "0.5"},
        {"k": 2**53 + 1},
    ]
    types = fill(engine, given, checkpoint=True)
    for sql, want in (
        ("SELECT count(*) FROM events WHERE properties.k = 1", [(3,)]),
        ("SELECT count(*) FROM events WHERE properties.k = '1'", [(3,)]),
        ("SELECT count(DISTINCT properties.k) FROM events", [(5,)]),
        ("SELECT count(*) FROM events WHERE properties.k <> 1", [(2,)]),
        ("SELECT count(*) FROM events WHERE properties.k IS NULL", [(2,)]),
        ("SELECT count(*) FROM events WHERE properties.k = 9007199254740993", [(1,)]),
        ("SELECT count(*) FROM events WHERE properties.k = 9007199254740992", [(0,)]),
        ("SELECT user_id FROM events WHERE properties.k < 1", [("7",)]),
        ("SELECT user_id FROM events ORDER BY properties.k DESC LIMIT 2", [("3",), ("6",)]),
    ):
        for form in (NO_TYPES, types):
            assert run(engine, sql, careful=False, types=form) == want, sql
