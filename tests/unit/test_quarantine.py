"""Quarantine: what was refused is loaded again once or dropped, and every event is counted at each step."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from novamesh.errors import InvalidParameter
from novamesh.spool.frame import SegmentHeader, encode_frame, encode_segment_header
from novamesh.spool.repair import QUARANTINE, report_missing
from novamesh.spool.salvage import salvage
from novamesh.spool.segment import list_segments
from novamesh.store import loader, setaside
from novamesh.store import quarantine as module
from novamesh.store.contract import Gaps, Outcome, Receipt, ReceiptRequest, Selection
from novamesh.store.duckdb import Database
from novamesh.store.quarantine import Quarantine
from novamesh.store.setaside import SetAside
from novamesh.store.units import Loaded, time_of
from novamesh.store.whereabouts import Whereabouts
from tests.unit.spool_files import NODE
from tests.unit.store_files import NOW, Event, Store, make_older, named

A, B, C = "a" * 28, "b" * 28, "c" * 28
ALL = Selection()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        yield made


def bad(name: str, **fields: Any) -> Event:
    """An event that the database refuses until :func:`mend` has seen it."""
    return {"event": name, "timestamp": "rubbish", **fields}


def mend(store: Store, name: str = "") -> None:
    """Make refused events such that the database takes them, as its next version might."""
    for schema in ("p_default", "t_default"):
        store.database.ensure_space("default.test")
        store.database.writer.execute(
            f"UPDATE {schema}.quarantine SET body = replace(body, 'rubbish', '2026-01-01T00:00:00Z')"
            " WHERE contains(body, ?)",
            [name],
        )


def refused(store: Store, schema: str = "p_default") -> list[tuple[Any, ...]]:
    return store.rows(
        f"SELECT batch_id, event_index, events, body, reason LIKE '%rubbish%' FROM {schema}.quarantine ORDER BY id"
    )


def counters(store: Store) -> list[tuple[Any, ...]]:
    """By space: stored, duplicates, quarantined and, of these, dropped; the ledger must hold."""
    for space in store.recount().values():
        assert msgspec.structs.replace(space.gaps, damaged=0) == Gaps()
    return store.rows("SELECT space, stored, duplicates, quarantined, dropped FROM novamesh.counters ORDER BY space")


def replay(store: Store, selection: Selection = ALL, space: str = "default") -> Outcome:
    """Until nothing is left, as the command does."""
    quarantine = Quarantine(store.database)
    _, until, _ = quarantine.survey(None, selection)
    selection = msgspec.structs.replace(selection, until=until)
    total = Outcome()
    while True:
        one = quarantine.replay(space, selection)
        total = Outcome(*(getattr(total, name) + getattr(one, name) for name in ("stored", "duplicates", "refused")))
        if not one.left:
            return total


def receipt(store: Store, batch: str) -> Receipt | None:
    looking = Whereabouts(store.database, store.loader, store.spool)
    return looking.receipt(ReceiptRequest("default", batch)).receipt


# ---- Events ---------------------------------------------------------------------------------------------


def test_what_the_database_takes_now_is_stored_as_it_would_have_been(store: Store) -> None:
    store.take([*named("a"), bad("b", properties={"n": [1, "ž"]}), *named("c"), bad("d")], batch=A)
    store.take([bad("e", user_id="u")], batch=B, named=False, at=NOW + 5)
    mend(store)
    assert replay(store) == Outcome(stored=3)
    assert store.names() == ["a", "b", "c", "d", "e"]
    rows = store.rows(
        "SELECT event, replace(id::VARCHAR, '-', ''), batch_id, epoch_us(received_at), user_id FROM p_default.events"
        " WHERE event IN ('b', 'd', 'e') ORDER BY event"
    )
    assert rows == [
        ("b", A + "0001", "b_" + A, NOW, None),
        ("d", A + "0003", "b_" + A, NOW, None),
        ("e", B + "0000", None, NOW + 5, "u"),
    ]
    assert store.values()["b"] == {"n": [1, "ž"]}
    assert (refused(store), counters(store)) == ([], [("default", 5, 0, 0, 0)])
    assert replay(store) == Outcome()
    assert len(store.names()) == 5


def test_what_is_refused_again_stays_with_its_new_reason(store: Store) -> None:
    store.take([bad("a"), bad("b")], batch=A)
    store.take(b"[not json", n=3, batch=B)
    before = refused(store)
    store.rows("UPDATE p_default.quarantine SET reason = 'old'")
    mend(store, '"a"')
    times = store.rows("SELECT max(quarantined_at) FROM p_default.quarantine")
    for n in range(3):
        assert replay(store) == Outcome(stored=int(n == 0), refused=4)
    assert refused(store) == before[1:]
    assert store.rows("SELECT min(quarantined_at) > ? FROM p_default.quarantine", *times[0]) == [(True,)]
    assert counters(store) == [("default", 1, 0, 4, 0)]


@pytest.mark.parametrize("events", [1, 2, 500])
def test_many_are_loaded_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch, events: int) -> None:
    monkeypatch.setattr(module, "REPLAY_EVENTS", events)
    store.take([bad(f"{n}") if n % 2 else bad(f"good {n}") for n in range(12)], batch=A)
    mend(store, "good")
    assert replay(store) == Outcome(stored=6, refused=6)
    assert store.names() == sorted(f"good {n}" for n in range(0, 12, 2))
    assert counters(store) == [("default", 6, 0, 6, 0)]


def test_large_ones_are_loaded_one_by_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLAY_BYTES", 1)
    store.take([bad("a"), bad("b"), bad("c")])
    mend(store)
    quarantine = Quarantine(store.database)
    assert [quarantine.replay("default", ALL) for _ in range(4)] == [
        Outcome(stored=1, left=True),
        Outcome(stored=1, left=True),
        Outcome(stored=1),
        Outcome(),
    ]


def test_ids_and_keys_hold_for_what_is_loaded_again(store: Store) -> None:
    store.take([*named("a"), bad("b")], batch=A, key="k")
    store.take([bad("c", id="1"), bad("d", id="1"), bad("e", id="2")], batch=B)
    store.take([{"event": "sent again", "id": "2"}])
    mend(store)
    assert replay(store) == Outcome(stored=2, duplicates=2)
    assert store.names() == ["a", "b", "c", "sent again"]
    store.take([{"event": "later", "id": "1"}])
    assert counters(store) == [("default", 4, 3, 0, 0)]
    assert receipt(store, B) == Receipt(3, "stored", NOW, 1, 2, 0, 0)


def test_a_record_that_was_kept_whole_is_loaded_by_its_events(store: Store) -> None:
    store.take(b"[not json", n=3, batch=A)
    store.database.writer.execute(
        "UPDATE p_default.quarantine SET body = ?",
        ['[{"event":"a"},{"event":"b","timestamp":"rubbish"},{"event":"c"}]'],
    )
    assert replay(store) == Outcome(stored=2, refused=1)
    assert store.names() == ["a", "c"]
    assert refused(store) == [("b_" + A, 1, 1, '{"event":"b","timestamp":"rubbish"}', True)]
    assert counters(store) == [("default", 2, 0, 1, 0)]
    mend(store)
    assert replay(store) == Outcome(stored=1)
    assert [str(i)[-4:] for (i,) in store.rows("SELECT id FROM p_default.events ORDER BY event")] == [
        "0000",
        "0001",
        "0002",
    ]


def test_receipts_follow(store: Store) -> None:
    store.take([*named("a"), bad("b"), bad("c"), bad("d")], batch=A)
    mend(store, '"b"')
    replay(store)
    assert receipt(store, A) == Receipt(4, "quarantined", NOW, 2, 0, 2, 0)
    (place,) = store.rows("SELECT id::VARCHAR FROM p_default.quarantine WHERE event_index = 2")[0]
    assert Quarantine(store.database).drop("default", Selection(id=place)) == Outcome(dropped=1)
    assert receipt(store, A) == Receipt(4, "quarantined", NOW, 2, 0, 1, 1)
    mend(store)
    replay(store)
    assert receipt(store, A) == Receipt(4, "quarantined", NOW, 3, 0, 0, 1), "what was dropped was not stored"
    assert counters(store) == [("default", 3, 0, 1, 1)]


def test_selections(store: Store) -> None:
    store.take([bad("a"), bad("b")], batch=A)
    store.take([bad("c")], batch=B)
    store.take([bad("d")], "default.test", batch=A)
    store.take([bad("e")], "other", batch=A)
    quarantine = Quarantine(store.database)
    mend(store)
    survey = quarantine.survey
    assert survey(None, ALL)[0] == {"default": 3, "default.test": 1, "other": 1}
    assert survey("default", ALL)[0] == {"default": 3, "default.test": 1}
    assert survey("nobody", ALL) == ({}, 0, 0)
    assert survey(None, Selection(batch="b_" + B))[0] == {"default": 1}
    first = f"{A[:8]}-{A[:4]}-{A[:4]}-{A[:4]}-{A[:8]}0001"
    assert survey("default", Selection(id=first))[0] == {"default": 1}
    assert survey(None, Selection(until=1))[0] == {}
    assert replay(store, Selection(id=first)) == Outcome(stored=1)
    assert replay(store, Selection(batch="b_" + B)) == Outcome(stored=1)
    assert quarantine.drop("default.test", Selection(batch="b_" + B)) == Outcome()
    assert (store.names(), refused(store, "t_default")[0][1]) == (["b", "c"], 0)
    assert quarantine.drop("default", ALL) == Outcome(dropped=1)
    assert survey(None, ALL)[0::2] == ({"default.test": 1, "other": 1}, 1)


@pytest.mark.parametrize(
    ("work", "step"), [("replay", "quarantine"), ("replay", "insert"), ("replay", "count"), ("drop", "count")]
)
def test_what_dies_midway_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, work: str, step: str) -> None:
    class Death(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Death

    store.take([*named("a"), bad("b"), bad("c")], batch=A)
    mend(store)
    before = refused(store), counters(store), receipt(store, A)
    with monkeypatch.context() as patch:
        patch.setattr(Database, step, die)
        patch.setattr(Database, "_roll_back", lambda self: None)
        with pytest.raises(Death):
            getattr(Quarantine(store.database), work)("default", ALL)
        store.die()
    store.start()
    assert (refused(store), counters(store), receipt(store, A)) == before
    assert replay(store) == Outcome(stored=2)


@pytest.mark.parametrize("version", [2, 4])
def test_an_older_database_gets_the_columns(store: Store, version: int) -> None:
    store.take([*named("x"), bad("a")], batch=A)
    store.take([bad("b")], batch=B, named=False)
    store.die()
    make_older(store.file, version)
    store.start()
    store.database.ensure_space("default")
    rows = store.rows("SELECT batch_id, replace(id::VARCHAR, '-', ''), project FROM p_default.quarantine ORDER BY 1")
    assert rows[0] == ("b_" + A, A + "0001", "default")
    assert (rows[1][0], rows[1][1][-4:], rows[1][2]) == (None, "0000", "default")
    mend(store)
    assert replay(store) == Outcome(stored=2)
    assert counters(store) == [("default", 3, 0, 0, 0)]


# ---- Segments that were set aside -----------------------------------------------------------------------


def damaged(store: Store, *names: str, spoiled: tuple[str, ...], **header: Any) -> str:
    """Set a segment aside of which some records are spoiled. Returns its name."""
    before = set(list_segments(store.spool))
    store.write(*(store.record(named(name), **header) for name in names))
    (segment,) = set(list_segments(store.spool)) - before
    data = segment.read_bytes()
    for name in spoiled:
        assert data.count(name.encode()) == 1
        data = data.replace(name.encode(), name.upper().encode())
    segment.write_bytes(data)
    store.load()
    assert store.loader.damaged() == 1
    return segment.name


def aside(store: Store) -> SetAside:
    return SetAside(store.database, store.loader, store.places)


def replay_segment(store: Store, name: str, *, foreign: bool = False) -> Outcome:
    segments, stored = aside(store), 0
    while (outcome := segments.replay(name, foreign=foreign)).left:
        stored += outcome.stored
    assert outcome.stored == 0
    return Outcome(stored=stored, note=outcome.note)


def test_what_is_whole_behind_the_damage_is_loaded_once(store: Store) -> None:
    name = damaged(store, "a", "b", "spoiled-one", "c", "d", "spoiled-two", "e", spoiled=("spoiled-one", "spoiled-two"))
    assert store.names() == ["a", "b"]
    (segment,) = aside(store).survey()
    assert (segment.file, segment.events, segment.cause) == (name, 3, "the frame's checksum does not match")
    assert segment.unreadable > 2 * len("spoiled-one")
    outcome = replay_segment(store, name)
    assert (outcome.stored, outcome.note) == (
        3,
        f"{segment.unreadable} bytes cannot be read; what could is stored, so it may be dropped",
    )
    assert store.names() == ["a", "b", "c", "d", "e"]
    for _ in range(2):
        assert replay_segment(store, name).stored == 0
        store.restart()
    assert (store.names(), store.loader.damaged()) == (["a", "b", "c", "d", "e"], 1)
    assert aside(store).survey()[0].events == 0
    assert store.totals() == Loaded(5, 0, 0)


def test_a_replay_that_dies_goes_on_where_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{n}" for n in range(8)]
    name = damaged(store, "spoiled", *names, spoiled=("spoiled",))
    monkeypatch.setattr(setaside, "LOAD_BYTES", 300)
    load = Database.load

    def dying(*arguments: Any) -> Any:
        load(*arguments)
        raise KeyboardInterrupt

    segments = aside(store)
    assert segments.replay(name, foreign=False).left
    with monkeypatch.context() as patch:
        patch.setattr(Database, "load", dying)
        with pytest.raises(KeyboardInterrupt):
            segments.replay(name, foreign=False)
    store.restart()
    assert 0 < len(store.names()) < len(names)
    replay_segment(store, name)
    assert store.names() == names


def test_a_segment_of_which_all_is_stored_is_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of a newer version: that one is run, and reads them."""
    name = damaged(store, "a", "b", spoiled=(), v=99)
    assert replay_segment(store, name) == Outcome(
        note="the record has version 99, this node reads 1; run that version to load the rest"
    )
    assert aside(store).survey()[0].events == 0
    monkeypatch.setattr("novamesh.event.record.VERSION", 99)
    assert replay_segment(store, name) == Outcome(stored=2, note="all of it is stored")
    assert (store.names(), store.loader.damaged(), store.positions()) == (["a", "b"], 0, 0)
    assert list((store.spool / QUARANTINE).iterdir()) == []
    with pytest.raises(InvalidParameter, match="no segment"):
        aside(store).replay(name, foreign=False)


def test_records_nobody_can_read_are_passed_over_and_said(store: Store) -> None:
    store.write(b"\x01rubbish", store.record(named("a")), b"\x01rubbish", store.record(b"[\xff]", n=1))
    store.load()
    (segment,) = aside(store).survey()
    assert (segment.events, segment.unreadable > 0) == (1, True)
    outcome = replay_segment(store, segment.file)
    assert (outcome.stored, store.names()) == (1, ["a"])
    assert "cannot be read" in (outcome.note or "")


def test_a_segment_of_another_node_is_loaded_only_by_name(store: Store) -> None:
    path = store.spool / f"{NOW:016d}-1.seg"
    frames = b"".join(encode_frame(1, store.record(named("theirs"))))
    path.write_bytes(encode_segment_header(SegmentHeader(NOW, b"x" * 16)) + frames)
    store.take(named("own"))
    assert "another node" in (replay_segment(store, path.name).note or "")
    assert store.names() == ["own"]
    assert replay_segment(store, path.name, foreign=True) == Outcome(stored=1, note="all of it is stored")
    assert store.names() == ["own", "theirs"]


def test_a_damaged_header_keeps_nothing_back(store: Store) -> None:
    store.write(store.record(named("a")), store.record(named("b")))
    (segment,) = list_segments(store.spool)
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(data)
    store.take(named("c"))
    assert store.names() == ["c"]
    assert replay_segment(store, segment.name).stored == 2
    assert store.names() == ["a", "b", "c"]


def test_what_is_dropped_is_counted(store: Store) -> None:
    name = damaged(store, "a", "spoiled", "b", "c", spoiled=("spoiled",))
    assert aside(store).drop(name) == Outcome(dropped=2)
    assert counters(store) == [("default", 1, 0, 2, 2)]
    assert (store.loader.damaged(), store.positions(), list((store.spool / QUARANTINE).iterdir())) == (0, 0, [])
    with pytest.raises(InvalidParameter, match="no segment"):
        aside(store).drop(name)


def test_the_ledger_holds_whatever_becomes_of_a_segment(store: Store) -> None:
    """As its writer has counted it, but for the last record, which was synced when the worker was killed."""
    spaces = ["default", "spoiled", "default", "default", "other"]
    for drops in (False, True):
        store.accept(*(store.record(named("a", "b"), space=space) for space in spaces))
        (path,) = list_segments(store.spool)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"spoiled", b"SPOILED") + b"".join(encode_frame(7, store.record(named("late")))))
        store.load()
        before = store.recount()["default"]
        assert (before.damaged, before.gaps) == (5, Gaps(damaged=5))
        outcome = aside(store).drop(path.name) if drops else replay_segment(store, path.name)
        assert (outcome.dropped, outcome.stored) == ((7, 0) if drops else (0, 7))
        after = store.recount()
        assert after["default"].gaps == after["other"].gaps == Gaps()
        assert after["default"].accepted == before.accepted
        assert after["spoiled"].gaps == Gaps(spool=2 * (1 + drops)), "what nobody can read is missing"
        if not drops:
            aside(store).drop(path.name)
    assert counters_of(store, "default") == (2 + 5 + 2, 5)


def counters_of(store: Store, space: str) -> tuple[int, int]:
    counted = store.database.counters[space]
    return counted.stored, counted.dropped


def test_a_missing_segment_is_listed_and_its_report_dropped(store: Store) -> None:
    store.send(named("a"))
    (path,) = list_segments(store.spool)
    path.unlink()
    report_missing(path, 120, 400)
    (segment,) = aside(store).survey()
    assert (segment.file, segment.missing, segment.size, segment.events, segment.unreadable) == (
        path.name,
        True,
        0,
        0,
        0,
    )
    assert segment.cause == "the segment is missing; it was synced up to offset 400"
    outcome = replay_segment(store, path.name)
    assert (outcome.stored, "nothing to load" in (outcome.note or "")) == (0, True)
    assert store.loader.damaged() == 1
    assert aside(store).drop(path.name) == Outcome()
    assert (aside(store).survey(), store.loader.damaged()) == ([], 0)
    with pytest.raises(InvalidParameter, match="no segment"):
        aside(store).drop(path.name)


def test_what_is_erased_or_too_old_leaves_its_receipts_in_order(store: Store) -> None:
    store.take([*named("a"), bad("b", user_id="u"), bad("c")], batch=A)
    store.take([bad("d", user_id="u")], batch=B, named=False)
    assert store.database.erase("default", "u").quarantined == 2
    assert receipt(store, A) == Receipt(3, "quarantined", NOW, 1, 0, 1, 1)
    assert counters(store) == [("default", 1, 0, 3, 2)]
    store.database.keep_for("default", 1)
    assert store.database.expire(time_of(NOW) + timedelta(days=2)) == 2
    assert (receipt(store, A), store.rows("FROM p_default.batches")) == (None, [])
    assert counters(store) == [("default", 1, 0, 3, 3)]


def test_a_drop_that_dies_counts_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name = damaged(store, "spoiled", "b", "c", spoiled=("spoiled",))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loader, "remove_set_aside", die)
        with pytest.raises(KeyboardInterrupt):
            aside(store).drop(name)
    store.restart()
    assert aside(store).drop(name) == Outcome()
    assert counters(store) == [("default", 0, 0, 2, 2)]


@pytest.mark.parametrize("report", [None, b"", b"{}", b'{"file": 1}'])
def test_a_report_that_cannot_be_read(store: Store, report: bytes | None) -> None:
    name = damaged(store, "spoiled", "b", spoiled=("spoiled",))
    path = (store.spool / QUARANTINE / name).with_suffix(".json")
    path.unlink()
    if report is not None:
        path.write_bytes(report)
    (segment,) = aside(store).survey()
    assert (segment.cause, segment.events) == ("its report cannot be read", 1)
    assert replay_segment(store, name).stored == 1


def test_every_whole_frame_is_found_wherever_the_damage_is(tmp_path: Path) -> None:
    frames = [b"".join(encode_frame(n, b"\x01" + bytes([64 + n]) * (n * 5))) for n in range(1, 7)]
    header = encode_segment_header(SegmentHeader(NOW, NODE))
    whole = header + b"".join(frames) + b"".join(encode_frame(7, b"\x00"))
    path = tmp_path / "x.seg"
    path.write_bytes(whole)
    assert [frame.sequence for frame in salvage(path, 0, 1 << 30).frames] == [1, 2, 3, 4, 5, 6]
    assert salvage(path, 0, 1 << 30).unreadable == 0
    starts = [len(header) + sum(map(len, frames[:n])) for n in range(len(frames))]
    for place in range(len(header), starts[-1] + len(frames[-1])):
        data = bytearray(whole)
        data[place] ^= 0x10
        path.write_bytes(data)
        hit = max(n for n, start in enumerate(starts) if start <= place) + 1
        found = salvage(path, 0, 1 << 30)
        left = [n for n in range(1, 7) if n != hit]
        if len(found.frames) == 6:  # the byte was padding, which nothing depends on
            continue
        assert [frame.sequence for frame in found.frames] == left, place
        assert found.unreadable == len(frames[hit - 1]), place
        assert data[found.frames[0].end - 8 : found.frames[0].end]
