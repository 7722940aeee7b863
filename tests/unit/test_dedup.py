"""What counts as a repetition: within the window by the times of receipt, however it is loaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.store_files import HOUR, NOW, Store, named

DAY = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        yield made


# Offsets of events with one id, and those that are stored: each at least a window after the one stored before.
SERIES = [
    ([0, DAY, DAY + 1, DAY + 2], [0, DAY + 1]),
    ([0, DAY + 1, 2 * DAY + 2], [0, DAY + 1, 2 * DAY + 2]),
    ([0, DAY // 2, DAY + 1, DAY + DAY // 2, 2 * DAY + 2], [0, DAY + 1, 2 * DAY + 2]),
]


@pytest.mark.parametrize(("offsets", "stored"), SERIES)
@pytest.mark.parametrize("kind", ["id", "key"])
@pytest.mark.parametrize("together", [True, False])
def test_one_load_counts_as_many_loads_do(
    store: Store, offsets: list[int], stored: list[int], kind: str, together: bool
) -> None:
    """A backlog that is older than the window is loaded at once when the store comes back."""
    records = []
    for offset in offsets:
        event = {"event": f"{offset:020}", **({"id": "same"} if kind == "id" else {})}
        header = {"key": "same"} if kind == "key" else {}
        records.append(store.record([event], at=NOW + offset, **header))
    if together:
        store.write(*records)
        assert store.loader.step()
    else:
        for record in records:
            store.write(record)
            store.load()
    assert store.names() == [f"{offset:020}" for offset in stored]
    assert store.totals() == (len(stored), len(offsets) - len(stored), 0)


def test_a_clock_that_was_set_back_does_not_end_the_window(store: Store) -> None:
    store.take([{"event": "a", "id": "1"}], at=NOW + HOUR)
    store.take([{"event": "b", "id": "1"}], at=NOW)
    store.write(
        store.record([{"event": "c", "id": "2"}], at=NOW + HOUR), store.record([{"event": "d", "id": "2"}], at=NOW)
    )
    store.load()
    assert store.names() == ["a", "c"]


def test_a_space_that_was_not_used_since_the_start_is_pruned_too(store: Store) -> None:
    store.take([{"event": "a", "id": "1"}], "other")
    store.take([{"event": "a", "id": "1"}], "other.test")
    store.restart()
    store.take(named("b"))
    (when,) = store.rows("SELECT make_timestamp(?)", NOW + DAY + 1)[0]
    store.database.prune_seen(when)
    for schema in ("p_other", "t_other"):
        assert store.rows(f"SELECT count(*) FROM {schema}.seen") == [(0,)]
