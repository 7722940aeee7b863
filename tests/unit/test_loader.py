"""The loader: every event of the spool is in the database once, whatever happens in between."""

import fcntl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from novamesh.spool.frame import SegmentHeader, encode_frame, encode_segment_header
from novamesh.spool.reader import SegmentReader
from novamesh.spool.repair import QUARANTINE
from novamesh.spool.segment import list_segments
from novamesh.store import loader as loader_module
from novamesh.store.duckdb import Database
from novamesh.store.units import Unit
from tests.support import wait_for
from tests.unit.spool_files import NODE
from tests.unit.store_files import HOUR, NOW, Store, named

DAY = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        yield made


# ---- Exactly once ---------------------------------------------------------------------------------------


def run_to_the_end(store: Store) -> None:
    """Run the loader as its thread does on a stop."""
    stopping = threading.Event()
    stopping.set()
    store.loader.run(stopping)


class Death(BaseException):
    """The process dies here."""


def die_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str) -> None:
    """The process dies before or after ``owner.name`` is run the next time."""
    work: Callable[..., Any] = getattr(owner, name)

    def dying(*arguments: Any) -> None:
        if when == "after":
            work(*arguments)
        raise Death

    monkeypatch.setattr(owner, name, dying)


DEATHS = [
    pytest.param(Database, "load", "before", id="before the load"),
    pytest.param(Database, "_stage", "after", id="staged, in the transaction"),
    pytest.param(Database, "insert", "after", id="inserted, in the transaction"),
    pytest.param(Database, "load", "after", id="committed, segments not deleted"),
    pytest.param(loader_module, "remove", "after", id="one segment deleted"),
    pytest.param(Database, "forget_positions", "before", id="segments deleted, positions kept"),
]


@pytest.mark.parametrize("rolls_back", [True, False])
@pytest.mark.parametrize(("owner", "name", "when"), DEATHS)
def test_each_event_is_stored_once_wherever_the_process_dies(
    store: Store, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str, rolls_back: bool
) -> None:
    sent = [named(f"first {n}", f"second {n}") for n in range(6)]
    store.write(*(store.record(events) for events in sent), segment_bytes=200)
    assert store.segments() > 2
    with monkeypatch.context() as patch:
        die_in(patch, owner, name, when)
        if not rolls_back:
            patch.setattr(Database, "_roll_back", lambda self: None)
        with pytest.raises(Death):
            store.loader.step()
        store.die()
    store.start()
    store.load()
    assert store.names() == sorted(event["event"] for events in sent for event in events)
    assert store.totals() == (12, 0, 0)
    assert (store.segments(), store.positions()) == (0, 0)


def test_ids_are_made_of_the_batch_and_the_place(store: Store) -> None:
    store.take(named("a", "b"), batch="0123456789ab7def8123456789ab")
    assert [str(row[0]) for row in store.rows("SELECT id FROM p_default.events ORDER BY event")] == [
        "01234567-89ab-7def-8123-456789ab0000",
        "01234567-89ab-7def-8123-456789ab0001",
    ]


def test_a_live_segment_is_followed(store: Store) -> None:
    """Frames that come later are loaded from where the loader stopped, by this process or the next."""
    path = store.spool / f"{NOW:016d}-1.seg"
    payloads = [store.record(named(name)) for name in ("a", "b", "c")]
    frames = [b"".join(encode_frame(n, payload)) for n, payload in enumerate(payloads, 1)]
    path.write_bytes(encode_segment_header(SegmentHeader(NOW, NODE)) + frames[0])
    with path.open("ab") as segment:
        reader_is_live(store, path, segment.fileno())
        store.load()
        assert store.names() == ["a"]
        segment.write(frames[1])
        segment.flush()
        reader_is_live(store, path, segment.fileno())
        store.load()
        assert (store.names(), store.positions()) == (["a", "b"], 1)
        store.restart()
        segment.write(frames[2])
    store.load()
    assert (store.names(), store.segments(), store.positions()) == (["a", "b", "c"], 0, 0)


def reader_is_live(store: Store, path: Path, descriptor: int) -> None:
    """Lock and mark the segment as its writer does."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    Path(f"{path}.mark").write_bytes(path.stat().st_size.to_bytes(8, "little"))


@pytest.mark.parametrize("call", ["read", "__init__"])
def test_a_segment_that_the_disk_does_not_give_keeps_back_only_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for name in ("a", "b", "c"):
        store.send(named(name))
    refused = list_segments(store.spool)[1]
    work = getattr(SegmentReader, call)

    def failing(self: SegmentReader, *arguments: Any) -> Any:
        if refused in (getattr(self, "path", None), *arguments):
            if call == "read":
                work(self, *arguments)  # it is ahead of what is stored then
            raise OSError(5, "Input/output error")
        return work(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentReader, call, failing)
        run_to_the_end(store)
        assert (store.names(), store.segments()) == (["a", "c"], 1)
        assert "Input/output error" in (store.loader.error or "")
    run_to_the_end(store)
    assert (store.names(), store.segments(), store.loader.error) == (["a", "b", "c"], 0, None)


# ---- A backlog ------------------------------------------------------------------------------------------


def test_a_backlog_is_loaded_in_parts_oldest_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many segments wait: neither memory nor open files may grow with them."""
    names = [f"{n:03}" for n in range(120)]
    records = [store.record(named(name) + named("x" * 200)) for name in names]
    store.write(*records, segment_bytes=3000)
    assert store.segments() > 10
    monkeypatch.setattr(loader_module, "LOAD_BYTES", 1000)
    monkeypatch.setattr(loader_module, "OPEN_SEGMENTS", 3)
    loads: list[list[str]] = []
    load = Database.load

    def noting(self: Database, units: list[Unit], positions: Any) -> Any:
        loads.append([unit.events[11:14] for unit in units])
        assert len(store.loader._readers) <= 3
        return load(self, units, positions)

    monkeypatch.setattr(Database, "load", noting)
    store.load()
    assert [name for part in loads for name in part] == names
    assert max(map(len, loads)) <= 1000 // len(records[0]) + 1
    assert (store.segments(), store.positions(), store.totals()) == (0, 0, (240, 0, 0))


def test_an_id_is_known_until_a_backlog_older_than_the_window_is_loaded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store was down for longer than the window: what repeats in the backlog repeats within the window."""
    monkeypatch.setattr(loader_module, "LOAD_BYTES", 1)
    monkeypatch.setattr(loader_module, "PRUNE_INTERVAL_S", 0)
    first = store.record(with_ids(a="1"), at=NOW)
    again = store.record(with_ids(b="1", c="2"), at=NOW + 60_000_000)
    store.write(first, again)
    store.load()
    assert (store.names(), store.totals()) == (["a", "c"], (2, 1, 0))
    while store.loader.step() or store.rows("SELECT 1 FROM p_default.seen"):
        pass  # all is loaded, and the window was over long ago


def test_a_load_that_does_not_fit_into_memory_is_tried_with_less(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{n:03}" for n in range(16)]
    store.write(*(store.record(named(name)) for name in names))
    monkeypatch.setattr(loader_module, "RETRY_S", 0.02)
    monkeypatch.setattr(loader_module, "LOAD_BYTES", 4096)
    load = Database.load

    def with_little_memory(self: Database, units: list[Unit], positions: Any) -> Any:
        if len(units) > 2:
            raise duckdb.OutOfMemoryException("failed to allocate")
        return load(self, units, positions)

    monkeypatch.setattr(Database, "load", with_little_memory)
    run_while_it_fails(store)
    assert (store.names(), store.segments()) == (names, 0)


def run_while_it_fails(store: Store) -> None:
    """Run the loader as its thread does, until all is loaded."""
    stopping = threading.Event()
    thread = threading.Thread(target=store.loader.run, args=(stopping,))
    thread.start()
    try:
        wait_for(lambda: not store.segments(), what="the end of the backlog")
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize("error", [ValueError("a bug"), MemoryError(), OSError(28, "No space left on device")])
def test_no_error_ends_the_loader(store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    store.send(named("a"))
    monkeypatch.setattr(loader_module, "RETRY_S", 0.02)
    load = Database.load
    errors = [error, error]

    def failing(self: Database, *arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return load(self, *arguments)

    monkeypatch.setattr(Database, "load", failing)
    run_while_it_fails(store)
    assert store.names() == ["a"]


# ---- Duplicates -----------------------------------------------------------------------------------------


def with_ids(**ids: str) -> list[dict[str, Any]]:
    return [{"event": name, "id": client_id} for name, client_id in ids.items()]


def test_of_equal_ids_in_one_batch_the_first_is_stored(store: Store) -> None:
    store.take(with_ids(a="1", b="2", c="1", d="1") + named("e", "f"))
    assert (store.names(), store.totals()) == (["a", "b", "e", "f"], (4, 2, 0))


def test_of_equal_ids_in_one_load_the_first_is_stored(store: Store) -> None:
    store.write(store.record(with_ids(a="1")), store.record(with_ids(b="1", c="2")))
    store.load()
    assert (store.names(), store.totals()) == (["a", "c"], (2, 1, 0))


@pytest.mark.parametrize("restarted", [False, True])
def test_an_id_is_known_in_later_loads(store: Store, restarted: bool) -> None:
    store.take(with_ids(a="1"))
    if restarted:
        store.restart()
    store.take(with_ids(b="1", c="2"))
    assert (store.names(), store.totals()) == (["a", "c"], (2, 1, 0))


def test_an_id_is_forgotten_after_the_window(store: Store) -> None:
    store.take(with_ids(a="1"))
    store.take(with_ids(b="1"), at=NOW + DAY)
    store.take(with_ids(c="1"), at=NOW + DAY + 1)
    store.take(with_ids(d="1"), at=NOW + DAY + 2)
    assert (store.names(), store.totals()) == (["a", "c"], (2, 2, 0))


def test_a_key_counts_once_in_one_load(store: Store) -> None:
    store.write(
        store.record(named("a", "b"), key="k"),
        store.record(named("c", "d"), key="k"),
        store.record(named("e"), key="l"),
    )
    store.load()
    assert (store.names(), store.totals()) == (["a", "b", "e"], (3, 2, 0))


@pytest.mark.parametrize("restarted", [False, True])
def test_a_key_is_known_in_later_loads(store: Store, restarted: bool) -> None:
    store.take(named("a", "b"), key="k")
    if restarted:
        store.restart()
    store.take(named("a", "b"), key="k", at=NOW + DAY)
    store.take(named("c"), key="k", at=NOW + DAY + 1)
    assert (store.names(), store.totals()) == (["a", "b", "c"], (3, 2, 0))


def test_a_key_is_not_an_id(store: Store) -> None:
    store.take(named("a"), key="same")
    store.take(with_ids(b="same"))
    assert store.names() == ["a", "b"]


def test_pruning_forgets_only_what_is_outside_the_window(store: Store) -> None:
    store.take(with_ids(a="old"), at=NOW)
    store.take(with_ids(b="new"), at=NOW + HOUR)
    (when,) = store.rows("SELECT make_timestamp(?)", NOW + DAY + HOUR // 2)[0]
    store.database.prune_seen(when)
    assert store.rows("SELECT count(*) FROM p_default.seen") == [(1,)]
    store.take(with_ids(c="new"), at=NOW + DAY)
    assert store.names() == ["a", "b"]


# ---- Spaces ---------------------------------------------------------------------------------------------


def test_spaces_are_kept_apart(store: Store) -> None:
    events = with_ids(a="1")
    store.write(store.record(events, key="k"), store.record(events, "default.test", key="k"))
    store.load()
    store.take(named("b"), "default.test")
    assert (store.names(), store.names("t_default")) == (["a"], ["a", "b"])
    assert store.totals() == (3, 0, 0)
    assert store.rows("SELECT space, stored, duplicates, quarantined FROM novamesh.counters ORDER BY space") == [
        ("default", 1, 0, 0),
        ("default.test", 2, 0, 0),
    ]


# ---- Damage ---------------------------------------------------------------------------------------------


def spoil(segment: Path, text: bytes) -> None:
    """Change one letter of ``text`` in a segment."""
    data = segment.read_bytes()
    assert data.count(text) == 1
    segment.write_bytes(data.replace(text, text.swapcase()))


def test_a_damaged_segment_is_set_aside_and_the_others_load(store: Store) -> None:
    store.send(named("a"))
    store.write(*(store.record(named(name)) for name in ("b", "damaged", "c")))
    spoil(list_segments(store.spool)[-1], b"damaged")
    store.send(named("d"))
    store.load()
    assert store.names() == ["a", "b", "d"]
    assert (store.segments(), store.loader.damaged()) == (0, 1)
    store.restart()
    store.load()
    assert (store.names(), store.loader.damaged()) == (["a", "b", "d"], 1)


def test_a_segment_of_another_node_is_set_aside(store: Store) -> None:
    (store.spool / f"{NOW:016d}-1.seg").write_bytes(encode_segment_header(SegmentHeader(NOW, b"x" * 16)))
    store.take(named("a"))
    assert (store.names(), store.segments(), store.loader.damaged()) == (["a"], 0, 1)


@pytest.mark.parametrize("dies", [False, True])
def test_what_precedes_an_unreadable_record_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    good = [store.record(named(name)) for name in ("a", "b", "c")]
    newer = store.record(named("d"), v=99)
    store.write(good[0], good[1], newer, good[2])
    offset = list_segments(store.spool)[0].read_bytes().index(newer) - 16
    if dies:
        with monkeypatch.context() as patch:
            die_in(patch, Database, "load", "before")
            with pytest.raises(Death):
                store.loader.step()
        store.restart()
    store.load()
    assert (store.names(), store.segments(), store.loader.damaged()) == (["a", "b"], 0, 1)
    (report,) = (store.spool / QUARANTINE).glob("*.json")
    assert f'"offset": {offset},' in report.read_text()
    assert "version 99" in report.read_text()


def test_an_unreadable_record_alone_is_set_aside(store: Store) -> None:
    store.write(b"\x01no header")
    store.load()
    assert (store.segments(), store.loader.damaged(), store.totals()) == (0, 1, (0, 0, 0))


# ---- Progress -------------------------------------------------------------------------------------------


def test_a_loader_that_falls_behind_tells_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(*(store.record(named("x" * 100), at=NOW + second * 1_000_000) for second in range(4)))
    size = list_segments(store.spool)[0].stat().st_size
    assert store.loader.progress(NOW / 1e6) == (size, 0.0)
    monkeypatch.setattr(loader_module, "LOAD_BYTES", 1)
    monkeypatch.setattr("novamesh.spool.reader.CHUNK_BYTES", 300)
    behind = [store.loader.progress(NOW / 1e6 + 10) for _ in iter(store.loader.step, False)]
    assert [progress.lag_s for progress in behind] == [10.0, 9.0, 8.0, 7.0]
    backlogs = [progress.backlog_bytes for progress in behind]
    assert backlogs == sorted(backlogs, reverse=True)
    assert size > backlogs[0] > backlogs[-1]
    assert store.loader.progress(NOW / 1e6 + 10) == (0, 0.0)


def test_a_loader_that_cannot_load_falls_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.send(named("a"))
    stopping = threading.Event()
    stopping.set()
    errors: list[str | None] = []
    with monkeypatch.context() as patch:
        patch.setattr(Database, "load", fail(duckdb.IOException("no space\nleft")))
        store.loader.run(stopping)
        errors.append(store.loader.error)
    assert store.loader.progress(NOW / 1e6 + 60).lag_s == 60
    store.loader.run(stopping)
    errors.append(store.loader.error)
    assert errors == ["no space", None]
    assert store.names() == ["a"]


def test_a_failed_database_ends_the_loader(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.send(named("a"))
    monkeypatch.setattr(Database, "load", fail(duckdb.FatalException("the end")))
    with pytest.raises(duckdb.FatalException):
        store.loader.run(threading.Event())


def fail(error: Exception) -> Callable[..., None]:
    def failing(*_: object) -> None:
        raise error

    return failing
