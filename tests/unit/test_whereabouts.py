"""Receipts and waiting: where the store says that events are, at every step of their way."""

import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from novamesh.errors import StoreUnavailable
from novamesh.event.record import Record, encode, header_start
from novamesh.spool import search
from novamesh.spool.frame import SegmentHeader, encode_frame, encode_segment_header
from novamesh.spool.repair import clear_leftovers
from novamesh.spool.search import SearchTooLong, find_record
from novamesh.spool.segment import list_segments, mark_path
from novamesh.store import whereabouts as module
from novamesh.store.contract import Awaited, BatchStatus, Receipt, ReceiptRequest, WaitRequest
from novamesh.store.whereabouts import Whereabouts
from tests.unit.spool_files import NODE
from tests.unit.store_files import HOUR, NOW, Event, Store, named

A, B, C = "a" * 28, "b" * 28, "c" * 28
RUBBISH: Event = {"event": "bad", "timestamp": "rubbish"}
DAY = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        yield made


def look(store: Store) -> Whereabouts:
    return Whereabouts(store.database, store.loader, store.spool)


def receipt(store: Store, batch: str, space: str = "default") -> Receipt | None:
    return look(store).receipt(ReceiptRequest(space, batch)).receipt


def stored(events: int, kept: int, duplicates: int = 0, quarantined: int = 0, at: int = NOW) -> Receipt:
    status: BatchStatus = "quarantined" if quarantined else "stored"
    return Receipt(events, status, at, kept, duplicates, quarantined, 0)


# ---- Receipts -------------------------------------------------------------------------------------------


def test_a_batch_is_queued_then_stored(store: Store) -> None:
    assert receipt(store, A) is None
    store.send(named("a", "b"), batch=A, at=NOW + 1)
    assert receipt(store, A) == Receipt(2, "queued", NOW + 1)
    assert receipt(store, A, "default.test") is None
    assert receipt(store, B) is None
    store.load()
    assert receipt(store, A) == stored(2, 2, at=NOW + 1)
    store.restart()
    assert receipt(store, A) == stored(2, 2, at=NOW + 1)
    assert receipt(store, A, "default.test") is None


def test_single_events_have_no_receipt(store: Store) -> None:
    store.send(named("a"), batch=A, named=False)
    assert receipt(store, A) is None
    store.load()
    assert receipt(store, A) is None
    assert store.rows("SELECT count(*) FROM p_default.batches") == [(0,)]


def test_duplicates_count_as_stored(store: Store) -> None:
    store.take([{"event": "a", "id": "1"}, {"event": "b", "id": "2"}], batch=A)
    store.write(
        store.record([{"event": "c", "id": "2"}, {"event": "d", "id": "3"}, {"event": "e", "id": "3"}], batch=B),
        store.record([{"event": "f", "id": "1"}], batch=C),
    )
    store.load()
    assert receipt(store, A) == stored(2, 2)
    assert receipt(store, B) == stored(3, 1, 2)
    assert receipt(store, C) == stored(1, 0, 1)


def test_a_key_has_one_receipt_until_its_window_is_over(store: Store) -> None:
    def retry(at: int) -> None:
        store.take(named("a", "b"), batch=A, key="k", at=at)

    retry(NOW)
    retry(NOW + HOUR)
    assert receipt(store, A) == stored(2, 2)
    store.write(*(store.record(named("a", "b"), batch=A, key="k", at=NOW + n) for n in (2, 3)))
    store.load()
    assert receipt(store, A) == stored(2, 2)
    retry(NOW + DAY + 1)
    assert receipt(store, A) == stored(2, 2, at=NOW + DAY + 1)


def test_a_batch_whose_key_something_else_had_is_all_duplicates(store: Store) -> None:
    store.take(named("a"), batch=A, key="k", named=False)
    store.write(*(store.record(named("b", "c"), batch=A, key="k") for _ in range(2)))
    store.load()
    assert receipt(store, A) == stored(2, 0, 2)
    assert store.rows("SELECT count(*) FROM p_default.batches") == [(1,)]


def test_a_batch_with_a_refused_event_is_quarantined(store: Store) -> None:
    events = [*named("a"), RUBBISH, {"event": "b", "id": "1"}, {"event": "c", "id": "1"}]
    store.write(store.record(events, batch=A), store.record([RUBBISH, RUBBISH], batch=B), store.record(named("d")))
    store.load()
    assert receipt(store, A) == stored(4, 2, 1, 1)
    assert receipt(store, B) == stored(2, 0, 0, 2)


def test_a_batch_that_is_refused_is_not_refused_again_when_it_is_retried(store: Store) -> None:
    """What an Idempotency-Key promises holds for what goes to quarantine, too."""
    for at in (NOW, NOW + 1):
        store.take([RUBBISH], batch=A, key="k", at=at)
    store.write(*(store.record([*named("a"), RUBBISH], batch=B, key="l", at=NOW + n) for n in range(3)))
    store.load()
    assert store.totals() == (1, 5, 2)
    assert store.rows("SELECT count(*) FROM p_default.quarantine") == [(2,)]
    assert (receipt(store, A), receipt(store, B)) == (stored(1, 0, 0, 1), stored(2, 1, 0, 1))


def test_batches_of_many_spaces_in_one_load(store: Store) -> None:
    """The second space has nothing but a refused event: nothing of the first may be counted for it."""
    store.write(store.record(named("a", "b"), batch=A), store.record([RUBBISH], "default.test", batch=A))
    store.load()
    assert (receipt(store, A), receipt(store, A, "default.test")) == (stored(2, 2), stored(1, 0, 0, 1))


def test_what_is_loaded_between_two_looks_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.send(named("a"), batch=A)
    looking = look(store)
    find = find_record

    def late(*arguments: object) -> Record | None:
        store.load()
        return find(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "find_record", late)
    assert looking.receipt(ReceiptRequest("default", A)).receipt == stored(1, 1)


def test_a_damaged_segment_holds_its_batches_in_quarantine(store: Store) -> None:
    store.write(*(store.record(named(name), batch=batch) for name, batch in (("x", A), ("damaged", B), ("y", C))))
    (segment,) = list_segments(store.spool)
    segment.write_bytes(segment.read_bytes().replace(b"damaged", b"DAMAGED"))
    store.load()
    assert receipt(store, A) == stored(1, 1)
    assert receipt(store, B) is None, "nothing that is whole speaks of it"
    assert receipt(store, C) == Receipt(1, "quarantined", NOW)


def test_a_spool_too_large_to_search_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.send(named("a"), batch=A)
    monkeypatch.setattr(module, "SEARCH_S", -1.0)
    with pytest.raises(StoreUnavailable, match="again later"):
        receipt(store, A)


def test_who_comes_while_many_search_is_told_at_once(store: Store) -> None:
    """Each search has one of the threads that also say how the store is."""
    store.take(named("a"), batch=A)
    store.send(named("b"), batch=B)
    looking = look(store)
    for _ in range(module.SEARCHES):
        assert looking._room.acquire(blocking=False)
    with pytest.raises(StoreUnavailable, match="again later"):
        looking.receipt(ReceiptRequest("default", B))
    assert looking.receipt(ReceiptRequest("default", A)).receipt == stored(1, 1), "it needs no search"
    looking._room.release()
    for _ in range(2):
        found = looking.receipt(ReceiptRequest("default", B)).receipt
        assert (found and found.status) == "queued"


# ---- Searching the spool --------------------------------------------------------------------------------


def test_a_record_begins_as_it_is_looked_for() -> None:
    for space in ("default", "default.test", "a_1"):
        payload = encode(Record(space=space, batch=A, at=NOW, n=3, named=True, key="k"), b"[]")
        assert payload.startswith(header_start(space, A))


@pytest.mark.parametrize("chunk", [1, 100, 140, 150, 1000])
def test_every_record_is_found_however_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    batches = [f"{n:028x}" for n in range(40)]
    store.write(*(store.record(named("x" * (n * 7 % 50)), batch=batch) for n, batch in enumerate(batches)))
    (segment,) = list_segments(store.spool)
    monkeypatch.setattr(search, "CHUNK_BYTES", chunk + len(header_start("default", A)))
    for batch in batches:
        found = find_record(segment, 0, "default", batch, time.monotonic() + 60)
        assert found is not None
        assert (found.batch, found.n) == (batch, 1)
    assert find_record(segment, 0, "default", A, time.monotonic() + 60) is None
    with pytest.raises(SearchTooLong):
        find_record(segment, 0, "default", A, time.monotonic())


def test_events_cannot_pass_for_records(store: Store) -> None:
    forged = {"event": "e", "properties": {"space": "default", "batch": A, "at": 1, "n": 1, "named": True}}
    text = header_start("default", A).decode()
    store.send([forged, {"event": text, "properties": {text: text}}], batch=B)
    # And bytes that only a broken disk would hold: no frame is around them.
    (segment,) = list_segments(store.spool)
    with segment.open("ab") as file:
        file.write(b"\0" * 16 + header_start("default", A) + b"}\n[]")
    assert find_record(segment, 0, "default", A, time.monotonic() + 60) is None
    assert find_record(segment, 0, "default", B, time.monotonic() + 60) is not None


def test_of_a_live_segment_only_what_is_synced_counts(store: Store) -> None:
    path = store.spool / f"{NOW:016d}-1.seg"
    payloads = [store.record(named("x"), batch=batch) for batch in (A, B)]
    frames = [b"".join(encode_frame(n, payload)) for n, payload in enumerate(payloads, 1)]
    path.write_bytes(encode_segment_header(SegmentHeader(NOW, NODE)) + frames[0] + frames[1])
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mark_path(path).write_bytes((64 + len(frames[0])).to_bytes(8, "little"))
        assert receipt(store, A) is not None
        assert receipt(store, B) is None


# ---- Waiting --------------------------------------------------------------------------------------------


def statuses(store: Store, *records: Awaited) -> list[BatchStatus]:
    return look(store).awaited(WaitRequest([*records])).statuses


def test_a_record_is_waited_for_until_its_end_is_loaded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("novamesh.store.loader.LOAD_BYTES", 1)
    monkeypatch.setattr("novamesh.spool.reader.CHUNK_BYTES", 1)
    payloads = [store.record(named(name), batch=batch) for name, batch in (("a", A), ("b", B))]
    store.write(*payloads)
    (segment,) = list_segments(store.spool)
    middle = 64 + len(b"".join(encode_frame(1, payloads[0])))
    first = Awaited(segment.name, middle, "default", A)
    second = Awaited(segment.name, middle + len(b"".join(encode_frame(2, payloads[1]))), "default", B)
    assert statuses(store, first, second) == ["queued", "queued"]
    store.loader.step()
    assert statuses(store, first, second) == ["stored", "queued"]
    store.load()
    assert not segment.exists()
    assert statuses(store, first, second) == ["stored", "stored"]
    store.restart()
    assert statuses(store, first, second) == ["stored", "stored"]
    assert statuses(store) == []


def test_who_waits_hears_of_quarantine(store: Store) -> None:
    store.write(
        store.record(named("a"), batch=A),
        store.record([RUBBISH], batch=B, named=False),
        store.record([*named("b"), RUBBISH], "default.test", batch=C),
    )
    (segment,) = list_segments(store.spool)
    store.load()
    asked = [Awaited(segment.name, 100, *of) for of in (("default", A), ("default", B), ("default.test", C))]
    assert statuses(store, *asked) == ["stored", "quarantined", "quarantined"]
    assert statuses(store, Awaited(segment.name, 100, "default", C)) == ["stored"], "another space's"


def test_what_lies_behind_damage_is_in_quarantine(store: Store) -> None:
    store.write(*(store.record(named(name)) for name in ("x", "damaged", "y")))
    (segment,) = list_segments(store.spool)
    data = segment.read_bytes()
    offset = data.index(b"damaged") // 8 * 8
    segment.write_bytes(data.replace(b"damaged", b"DAMAGED"))
    store.load()
    asked = [Awaited(segment.name, end, "default", A) for end in (100, offset + 16, len(data))]
    assert statuses(store, *asked) == ["stored", "quarantined", "quarantined"]


def test_nobody_is_told_that_what_is_missing_is_stored(store: Store) -> None:
    store.send(named("a"), batch=A)
    (segment,) = list_segments(store.spool)
    asked = Awaited(segment.name, segment.stat().st_size - 24, "default", A)
    segment.unlink()
    assert statuses(store, asked) == ["queued"], "not reported yet"
    clear_leftovers(store.spool)
    assert store.loader.damaged() == 1
    assert statuses(store, asked) == ["queued"]
