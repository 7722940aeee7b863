"""The ledger as it is shown: every line adds up, whatever counts it is made of."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novamesh.status.ledger import Entry, identity, ledger, problem, total
from novamesh.store.contract import Counters, Gaps, StoreStatus


def status(spaces: dict[str, Counters], gaps: dict[str, Gaps] | None = None) -> StoreStatus:
    return StoreStatus(0, 0.0, 0, 0, 0, 0, spaces=spaces, gaps=gaps or {})


def terms(entry: Entry) -> int:
    return int(sum(msgspec.structs.astuple(entry))) - entry.accepted


def test_what_is_not_received_waits() -> None:
    spaces = ledger({"a": 10, "b": 3}, status({"a": Counters(8, 5, 2, 1)}))
    assert spaces == {"a": Entry(10, 5, 2, 1, waiting=2), "b": Entry(3, waiting=3)}
    assert total(spaces.values()) == Entry(13, 5, 2, 1, waiting=5)
    assert total([]) == Entry()


def test_what_the_writers_had_not_counted_is_accepted() -> None:
    assert ledger({"a": 1}, status({"a": Counters(5, 5, recovered=4)}))["a"] == Entry(5, 5)
    assert ledger({}, status({"a": Counters(5, 5)}))["a"] == Entry(5, 5), "before the first recount of a start"


def test_gaps_are_taken_from_where_the_events_were_said_to_be() -> None:
    gaps = Gaps(spool=3, rows=2, quarantine=1, damaged=4)
    entry = ledger({"a": 20}, status({"a": Counters(12, 8, 2, 2)}, {"a": gaps}))["a"]
    assert entry == Entry(20, 6, 2, 1, waiting=1, damaged=4, missing=6)
    assert problem({"a": gaps}) == (
        "the ledger of a does not add up: run novamesh verify, which says by how much and what to do"
    )
    assert problem({"a": Gaps(damaged=4)}) is None, "that is the spool's problem, and named there"


def test_what_is_written_off_neither_waits_nor_is_missing() -> None:
    counters = Counters(12, 12, written_off=5)
    assert ledger({"a": 20}, status({"a": counters}))["a"] == Entry(20, 12, waiting=3, written_off=5)
    again = ledger({"a": 20}, status({"a": counters}, {"a": Gaps(spool=2)}))["a"]
    assert again == Entry(20, 12, waiting=1, missing=2, written_off=5)
    between = ledger({"a": 17}, status({"a": counters}, {"a": Gaps(spool=5)}))["a"]
    assert between == Entry(17, 12, missing=5), "until the recount behind it"


def test_what_was_missing_and_came_back_is_not_missing() -> None:
    assert ledger({"a": 5}, status({"a": Counters(5, 5)}, {"a": Gaps(spool=2)}))["a"] == Entry(5, 5)


counts = st.integers(0, 1000)


@given(counts, counts, counts, counts, counts, counts, counts, counts, counts, counts, counts)
def test_it_always_adds_up(
    counted: int,
    stored: int,
    double: int,
    bad: int,
    more: int,
    lost: int,
    load: int,
    rows: int,
    gone: int,
    hurt: int,
    known: int,
) -> None:
    counters = Counters(stored + double + bad + load, stored, double, bad, recovered=more, written_off=known)
    gaps = Gaps(spool=lost, load=load, rows=min(rows, stored), quarantine=min(gone, bad), damaged=hurt)
    entry = ledger({"a": counted}, status({"a": counters}, {"a": gaps}))["a"]
    assert entry.accepted == terms(entry)
    assert min(msgspec.structs.astuple(entry)) >= 0


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (Entry(), "0 accepted = 0 stored + 0 duplicates + 0 quarantined + 0 waiting"),
        (
            Entry(12_401_233, 12_400_000, 1_200, 3, 30),
            "12,401,233 accepted = 12,400,000 stored + 1,200 duplicates + 3 quarantined + 30 waiting",
        ),
        (
            Entry(9, 1, 1, 1, 1, 2, 3),
            "9 accepted = 1 stored + 1 duplicates + 1 quarantined + 1 waiting + 2 damaged + 3 missing",
        ),
        (
            Entry(6, 1, 1, 1, 1, written_off=2),
            "6 accepted = 1 stored + 1 duplicates + 1 quarantined + 1 waiting + 2 written off",
        ),
    ],
)
def test_one_line(entry: Entry, line: str) -> None:
    assert identity(entry) == line
