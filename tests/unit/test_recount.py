"""The ledger counted anew: it holds whatever happened in order, and says what is gone if something is."""

import threading
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest

from novamesh.event.record import decode
from novamesh.spool import tally
from novamesh.spool.frame import FRAME_HEADER_SIZE, SEGMENT_HEADER_SIZE, frame_size
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import QUARANTINE
from novamesh.spool.segment import list_segments
from novamesh.store.audit import Auditor
from novamesh.store.contract import Counters, Gaps
from novamesh.store.duckdb import Database, Mismatch
from novamesh.store.units import Unit
from tests.support import wait_for
from tests.unit.store_files import Store, named

TEST = "default.test"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        yield made


def shown(store: Store, space: str = "default") -> tuple[int, int, int, int, int, int]:
    """Accepted, stored, duplicates, quarantined, waiting, damaged."""
    one = store.recount()[space]
    counters = one.counters
    return one.accepted, counters.stored, counters.duplicates, counters.quarantined, one.waiting, one.damaged


def gaps(store: Store, space: str = "default") -> Gaps:
    return store.recount()[space].gaps


def test_every_way_an_event_can_go(store: Store) -> None:
    assert store.recount() == {}
    repeated = store.record(named("k", "l"), key="key")
    store.accept(store.record(named("a", "b")), store.record([{"event": "i", "id": "1"}] * 3), repeated, repeated)
    store.accept(store.record([{"event": "bad", "timestamp": "rubbish"}, *named("t")], TEST))
    assert shown(store) == (9, 0, 0, 0, 9, 0)
    store.load()
    assert shown(store) == (9, 5, 4, 0, 0, 0)
    assert shown(store, TEST) == (2, 1, 0, 1, 0, 0)
    store.accept(store.record(named("c")))
    assert shown(store) == (10, 5, 4, 0, 1, 0)
    assert (gaps(store), gaps(store, TEST)) == (Gaps(), Gaps())
    tally.fold(store.places.ledger, store.spool)
    store.restart()
    store.load()
    assert shown(store) == (10, 6, 4, 0, 0, 0)
    assert (gaps(store), gaps(store, TEST)) == (Gaps(), Gaps())


def test_what_nobody_counted_is_accepted_when_it_is_found(store: Store) -> None:
    """As after a kill between the sync and the count, and as in a directory of an older version."""
    store.write(store.record(named("a", "b")), store.record(named("c"), TEST))
    assert shown(store) == (2, 0, 0, 0, 2, 0)
    store.load()
    assert shown(store) == (2, 2, 0, 0, 0, 0)
    assert store.database.counters["default"] == Counters(2, 2, 0, 0, recovered=2)
    store.accept(store.record(named("d")))
    store.load()
    assert store.database.counters["default"] == Counters(3, 3, 0, 0, recovered=2)
    assert (gaps(store), gaps(store, TEST)) == (Gaps(), Gaps())


def test_only_what_lies_behind_the_counted_offset_is_recovered(store: Store) -> None:
    """As after a kill between the sync and the count of a group."""
    payloads = [store.record(named(*name)) for name in ("a", "bb", "ccc")]
    store.write(*payloads)
    (segment,) = list_segments(store.spool)
    ends = list(accumulate((frame_size(len(payload)) for payload in payloads), initial=SEGMENT_HEADER_SIZE))
    worker = tally.Tally(store.places.ledger, store.spool)
    worker.add(segment.name, ends[1], [("default", 1)])
    worker.close()
    assert shown(store) == (6, 0, 0, 0, 6, 0)
    store.load()
    assert store.database.counters["default"] == Counters(6, 6, 0, 0, recovered=5)
    assert (shown(store), gaps(store)) == ((6, 6, 0, 0, 0, 0), Gaps())


def test_a_segment_that_was_deleted_by_hand(store: Store) -> None:
    store.accept(store.record(named("a", "b", "c")))
    store.load()
    store.accept(store.record(named("d", "e")))
    store.accept(store.record(named("f"), TEST))
    for path in list_segments(store.spool):
        path.unlink()
    assert (gaps(store), gaps(store, TEST)) == (Gaps(spool=2), Gaps(spool=1))
    tally.fold(store.places.ledger, store.spool)
    store.restart()
    store.load()
    assert (gaps(store), gaps(store, TEST)) == (Gaps(spool=2), Gaps(spool=1))


def test_rows_that_were_deleted_by_hand(store: Store) -> None:
    store.accept(store.record([*named("a", "b", "c"), {"event": "bad", "timestamp": "rubbish"}]))
    store.load()
    store.rows("DELETE FROM p_default.events_shredded WHERE event = 'b'")
    assert gaps(store) == Gaps(rows=1)
    store.rows("DELETE FROM p_default.quarantine")
    assert gaps(store) == Gaps(rows=1, quarantine=1)
    store.rows("UPDATE novamesh.counters SET erased = 1")  # then it was on purpose
    assert gaps(store) == Gaps(quarantine=1)
    store.rows("UPDATE novamesh.counters SET stored = stored - 1, expired = 0")
    assert gaps(store) == Gaps(load=1, rows=-1, quarantine=1)


def test_a_damaged_segment_that_is_set_aside(store: Store) -> None:
    """What is whole behind the damage is found; what lay in the damaged place is missing."""
    names = [[f"{n}-{k}" for k in range(n)] for n in range(1, 6)]
    payloads = [store.record(named(*part)) for part in names]
    store.accept(*payloads)
    (segment,) = list_segments(store.spool)
    data = bytearray(segment.read_bytes())
    place = data.find(payloads[2]) + len(payloads[2]) - 1
    data[place] ^= 1
    segment.write_bytes(data)
    store.load()
    assert (store.spool / QUARANTINE / segment.name).exists()
    assert shown(store) == (15, 3, 0, 0, 0, 9)
    assert gaps(store) == Gaps(spool=3, damaged=9)


def test_a_segment_of_another_node_was_never_accepted_here(store: Store, tmp_path: Path) -> None:
    store.accept(store.record(named("a")))
    (segment,) = list_segments(store.spool)
    data = bytearray(segment.read_bytes())
    store.load()
    with Store(tmp_path / "other") as other:
        other.places = other.places._replace(node_id=b"another node's id")
        (other.spool / segment.name).write_bytes(data)
        assert other.recount() == {}


def test_a_load_that_does_not_add_up_is_undone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.accept(store.record(named("a", "b")))
    insert = Database.insert

    def losing(self: Database, space: str, schema: str, units: object) -> tuple[int, int]:
        stored, dropped = insert(self, space, schema, units)  # type: ignore[arg-type]
        return stored - 1, dropped

    with monkeypatch.context() as patch:
        patch.setattr(Database, "insert", losing)
        with pytest.raises(Mismatch, match="2 events of default were to be loaded, 1 were"):
            store.loader.step()
    assert (store.recount()["default"].rows, store.segments()) == (0, 1)
    store.load()
    assert (store.names(), gaps(store)) == (["a", "b"], Gaps())


def test_a_segment_that_was_taken_away_half_loaded_and_put_back(store: Store, tmp_path: Path) -> None:
    store.accept(store.record(named("a")), store.record(named("b")))
    (segment,) = list_segments(store.spool)
    store.database.load(*first_frame(store))
    store.die()
    segment.rename(tmp_path / "away")
    tally.fold(store.places.ledger, store.spool)
    store.start()
    store.load()
    assert (store.names(), gaps(store)) == (["a"], Gaps(spool=1))
    (tmp_path / "away").rename(segment)
    store.restart()
    store.load()
    assert (store.names(), gaps(store), store.positions()) == (["a", "b"], Gaps(), 0)


def first_frame(store: Store) -> tuple[list[Unit], dict[str, Position]]:
    """What a load of a segment's first frame is."""
    (segment,) = list_segments(store.spool)
    reader = SegmentReader(segment, store.places.node_id, Position())
    frame = reader.read(1 << 30)[0]
    reader.close()
    record, events = decode(frame.payload)
    return [Unit(record, events.decode(), 0, record.n - 1)], {segment.name: Position(frame.end, frame.sequence)}


# ---- The auditor ----------------------------------------------------------------------------------------


def settle(store: Store) -> Auditor:
    """What a store does when it starts, without its thread."""
    auditor = Auditor(store.database, store.loader, store.places)
    auditor._settle()
    return auditor


def test_what_a_power_cut_took_from_the_counts_is_counted_anew(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.accept(store.record(named("a", "b")), store.record(named("c"), TEST))
    store.load()
    for path in store.places.ledger.glob("*.tally"):
        path.unlink()
    assert (gaps(store), gaps(store, TEST)) == (Gaps(spool=-2), Gaps(spool=-1))
    store.restart()
    assert settle(store).gaps == {}
    assert "counted now" in caplog.text
    store.load()
    assert (shown(store), gaps(store), gaps(store, TEST)) == ((2, 2, 0, 0, 0, 0), Gaps(), Gaps())
    store.restart()
    settle(store)
    store.load()
    assert (shown(store), gaps(store)) == ((2, 2, 0, 0, 0, 0), Gaps()), "once"


def test_what_is_missing_stays_missing(store: Store) -> None:
    store.accept(store.record(named("a", "b")))
    list_segments(store.spool)[0].unlink()
    for _ in range(2):
        store.restart()
        auditor = settle(store)
        store.load()
        assert auditor.gaps == {"default": Gaps(spool=2)}
        assert auditor.recount().spaces["default"].gaps == Gaps(spool=2)


def test_no_segment_is_deleted_during_a_recount(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novamesh.store.loader.DELETE_WAIT_S", 0)
    store.accept(store.record(named("a", "b")))
    with store.loader.segments_kept():
        store.load()
        assert (store.names(), store.segments()) == (["a", "b"], 1)
        assert gaps(store) == Gaps()
    store.load()
    assert (store.names(), store.segments()) == (["a", "b"], 0)


def test_a_recount_beside_a_loader_is_exact(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers write, the loader loads and deletes; at every moment the identity holds."""
    stopping, loading = threading.Event(), threading.Event()
    payloads = [store.record(named(*(f"{n}-{k}" for k in range(n % 5 + 1)))) for n in range(300)]

    def write() -> None:
        for first in range(0, len(payloads), 50):
            store.accept(*payloads[first : first + 50], segment_bytes=2000)
        stopping.set()

    def load() -> None:
        while not (loading.is_set() and stopping.is_set()):
            last = stopping.is_set()
            store.loader.step()
            if last:
                loading.set()

    auditor = Auditor(store.database, store.loader, store.places)
    threads = [threading.Thread(target=work) for work in (write, load)]
    for thread in threads:
        thread.start()
    recounts = 0
    while any(thread.is_alive() for thread in threads):
        spaces = auditor.recount().spaces
        recounts += 1
        assert all(one.gaps == Gaps() for one in spaces.values()), spaces
    for thread in threads:
        thread.join()
    assert recounts > 3
    store.load()
    total = sum(decode(payload)[0].n for payload in payloads)
    assert shown(store) == (total, total, 0, 0, 0, 0)


def test_the_auditor_looks_again_when_a_segment_is_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novamesh.store.audit.LOOK_S", 0.01)
    auditor = Auditor(store.database, store.loader, store.places)
    stopping = threading.Event()
    thread = threading.Thread(target=auditor.run, args=(stopping,))
    thread.start()
    try:
        store.accept(store.record(named("a")), store.record(named("b", "c")))
        (segment,) = list_segments(store.spool)
        data = bytearray(segment.read_bytes())
        data[SEGMENT_HEADER_SIZE + FRAME_HEADER_SIZE + 3] ^= 1
        segment.write_bytes(data)
        store.load()
        wait_for(lambda: auditor.gaps == {"default": Gaps(spool=1, damaged=2)}, what="the gap")
    finally:
        stopping.set()
        thread.join()
