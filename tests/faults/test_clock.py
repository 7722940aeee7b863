"""The clock steps back an hour and forward a day: names, order, ids, the dedup window and the lag bear it."""

from pathlib import Path
from uuid import UUID

from novamesh.event.record import new_batch
from novamesh.spool.segment import list_segments
from novamesh.spool.writer import SpoolWriter
from novamesh.store.loader import PRUNE_INTERVAL_S
from tests.faults.files import FaultyFiles
from tests.unit.spool_files import read_all, record, with_writer
from tests.unit.store_files import HOUR, NOW, Store, named

DAY = 24 * HOUR
STEPS = [NOW, NOW - HOUR, NOW - HOUR, NOW + DAY, NOW + DAY, NOW]


def test_segments_keep_their_order_and_their_names_are_never_used_twice(tmp_path: Path) -> None:
    files = FaultyFiles()
    payloads = []
    for n, now in enumerate(STEPS):
        files.clock_us = now

        async def use(writer: SpoolWriter, n: int = n) -> None:
            await writer.append(record(str(n)))

        with_writer(tmp_path, use, files=files)
        payloads.append(record(str(n)))
        if n == 2:  # one in quarantine counts, too: a second one there would take its place
            (tmp_path / "quarantine").mkdir()
            last = list_segments(tmp_path)[-1]
            last.rename(tmp_path / "quarantine" / last.name)
            payloads.pop()
    assert read_all(tmp_path) == payloads
    assert len(list_segments(tmp_path)) == len(STEPS) - 1


def test_ids_are_their_own_whatever_the_clock_says() -> None:
    batches = [new_batch(at) for at in STEPS for _ in range(1000)]
    assert len(set(batches)) == len(batches)
    assert {UUID(batch + "0000").version for batch in batches} == {7}


def test_events_are_stored_once_and_sent_again_are_duplicates_after_a_step_back(tmp_path: Path) -> None:
    with Store(tmp_path / "data") as store:
        store.take([{"event": "a", "id": "1"}], key=None, at=NOW)
        store.take(named("b"), key="k", at=NOW)
        store.take([{"event": "a again", "id": "1"}], at=NOW - HOUR)
        store.take(named("b again"), key="k", at=NOW - HOUR)
        assert (store.names(), store.totals()) == (["a", "b"], (2, 2, 0))


def test_a_step_ahead_does_not_forget_what_was_seen(tmp_path: Path) -> None:
    """The clock jumps a day ahead, ids are pruned, and it is set right again: the id is still known."""
    files = FaultyFiles()
    files.clock_us, files.steady_s = NOW, 0.0
    with Store(tmp_path / "data", files) as store:
        store.take([{"event": "a", "id": "1"}], at=NOW)
        files.clock_us, files.steady_s = NOW + 2 * DAY, PRUNE_INTERVAL_S
        store.load()
        assert store.rows("SELECT count(*) FROM p_default.seen") == [(1,)]
        files.clock_us = NOW + 60_000_000
        store.take([{"event": "b", "id": "1"}], at=files.clock_us)
        assert store.names() == ["a"]
        # A day that really went by does end the window.
        files.clock_us, files.steady_s = NOW + 2 * DAY, 2 * DAY / 1e6
        store.load()
        assert store.rows("SELECT count(*) FROM p_default.seen") == [(0,)]


def test_the_lag_is_that_of_what_waits(tmp_path: Path) -> None:
    with Store(tmp_path / "data") as store:
        store.send(named("a"), at=NOW)
        store.loader.step()
        assert store.loader.progress(NOW / 1e6 - 3600).lag_s == 0, "the clock was set back"
        store.load()
        assert store.loader.progress(NOW / 1e6 + 86_400).lag_s == 0, "nothing waits, whatever the clock says"
