"""Uptime from fabricated times. ``T0`` is midnight UTC, 2025-06-15."""

import math
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novamesh.errors import StartError
from novamesh.status import uptime
from novamesh.status.uptime import DAY_S, GRACE_S, HEARTBEAT_S, KEEP_S, Reader, Report, State, Uptime, no_data

T0 = datetime(2025, 6, 15, tzinfo=UTC).timestamp()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "status.db"


@pytest.fixture
def node(path: Path) -> Iterator[Uptime]:
    with Uptime(path) as writer:
        yield writer


def run(node: Uptime, start: float, end: float, accepting: bool = True) -> None:
    """Beats from ``start`` to ``end``, both included."""
    for index in range(int((end - start) / HEARTBEAT_S) + 1):
        node.beat(start + index * HEARTBEAT_S, accepting)


def intervals(path: Path) -> list[tuple[float, float]]:
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT start_s, end_s FROM intervals ORDER BY id").fetchall()
    finally:
        db.close()


def stored(path: Path, *spans: tuple[float, float], state: State) -> Report:
    """The report of a file that holds just this."""
    Uptime(path).close()
    db = sqlite3.connect(path)
    db.executemany("INSERT INTO intervals (start_s, end_s) VALUES (?, ?)", spans)
    db.execute("INSERT INTO state VALUES (1, ?, ?, ?)", (state.first_start_s, state.last_beat_s, state.accepting))
    db.commit()
    db.close()
    return Reader(path).report(state.last_beat_s)


def test_a_node_never_started_has_no_data(node: Uptime) -> None:
    report = node.report(T0 + 1)
    assert report == no_data(T0 + 1)
    assert (report.percent, report.first_start) == (0.0, None)
    assert [day.percent for day in report.days] == [None] * 30
    assert (report.days[0].date, report.days[-1].date) == ("2025-05-17", "2025-06-15")


@pytest.mark.parametrize(("accepting", "percent"), [(True, 100.0), (False, 0.0)])
def test_with_no_time_passed_the_first_beat_decides(node: Uptime, accepting: bool, percent: float) -> None:
    node.beat(T0, accepting)
    for later in (0, 1, GRACE_S):
        report = node.report(T0 + later)
        assert (report.percent, report.first_start) == (percent, T0)
        assert report.days[-1].percent == percent


def test_a_node_that_always_accepted_is_at_100(node: Uptime, path: Path) -> None:
    run(node, T0, T0 + 600)
    assert node.report(T0 + 604).percent == 100.0
    assert intervals(path) == [(T0, T0 + 600)]


def test_refusing_counts_as_down(node: Uptime) -> None:
    run(node, T0, T0 + 95)
    run(node, T0 + 100, T0 + 200, accepting=False)
    report = node.report(T0 + 200)
    assert report.percent == 47.5
    assert report.days[-1].down_s == 105


def test_refusing_at_the_start_counts_as_down(node: Uptime) -> None:
    run(node, T0, T0 + 45, accepting=False)
    run(node, T0 + 50, T0 + 100)
    assert node.report(T0 + 100).percent == 50.0


def test_a_crash_counts_as_down_after_the_grace_time(node: Uptime) -> None:
    run(node, T0, T0 + 100)
    assert node.report(T0 + 100 + GRACE_S).percent == 100.0
    assert node.report(T0 + 100 + GRACE_S + 1).percent == 86.2  # 100 s of 116 s
    assert node.report(T0 + 200).percent == 50.0


def test_a_gap_within_the_grace_time_is_not_an_outage(node: Uptime, path: Path) -> None:
    node.beat(T0, True)
    node.beat(T0 + GRACE_S, True)
    assert node.report(T0 + GRACE_S).percent == 100.0
    node.beat(T0 + 2 * GRACE_S + 0.5, True)
    assert len(intervals(path)) == 2
    assert node.report(T0 + 2 * GRACE_S + 0.5).percent == 49.18  # 15 s of 30.5 s


def test_a_stop_counts_as_down_however_short(path: Path) -> None:
    with Uptime(path) as node:
        run(node, T0, T0 + 45)
    with Uptime(path) as node:
        run(node, T0 + 55, T0 + 100)
        assert node.report(T0 + 100).percent == 90.0
    assert intervals(path) == [(T0, T0 + 45), (T0 + 55, T0 + 100)]


def test_a_long_stop_counts_day_by_day(path: Path) -> None:
    with Uptime(path) as node:
        run(node, T0 - 2 * DAY_S - 600, T0 - 2 * DAY_S + 600)
    with Uptime(path) as node:
        run(node, T0, T0 + 1200)
        report = node.report(T0 + 1200)
    assert [day.percent for day in report.days[:-4]] == [None] * 26
    assert [(day.date, day.percent, day.down_s) for day in report.days[-4:]] == [
        ("2025-06-12", 100.0, 0),
        ("2025-06-13", 0.69, DAY_S - 600),
        ("2025-06-14", 0.0, DAY_S),
        ("2025-06-15", 100.0, 0),
    ]
    assert report.percent == math.floor(2400 / (2 * DAY_S + 1800) * 10_000) / 100


def test_outages_are_told_by_their_times_cut_at_midnight(path: Path) -> None:
    with Uptime(path) as node:
        run(node, T0 - 1200, T0 - 900)
    with Uptime(path) as node:
        run(node, T0 - 600, T0 - 300)
    with Uptime(path) as node:
        run(node, T0 + 60, T0 + 120)
        run(node, T0 + 125, T0 + 155, accepting=False)
        node.beat(T0 + 160, True)  # alone: no time is known to be up
        node.beat(T0 + 165, False)
        run(node, T0 + 200, T0 + 230)
        report = node.report(T0 + 230)
    assert [day.outages for day in report.days[:-2]] == [()] * 28
    assert report.days[-2].outages == ((T0 - 900, T0 - 600), (T0 - 300, T0))
    assert report.days[-1].outages == ((T0, T0 + 60), (T0 + 120, T0 + 200))


def test_an_outage_goes_on_until_now(node: Uptime) -> None:
    run(node, T0, T0 + 100)
    assert node.report(T0 + 100 + GRACE_S).days[-1].outages == ()
    assert node.report(T0 + 500).days[-1].outages == ((T0 + 100, T0 + 500),)


def test_midnight_begins_a_new_last_day(node: Uptime) -> None:
    run(node, T0 - 20, T0 - 5)
    before, after = node.report(T0 - 1), node.report(T0)
    assert before.days[-1] == after.days[-2] == uptime.Day("2025-06-14", 100.0, 0.0)
    assert after.days[-1] == uptime.Day("2025-06-15", 100.0, 0.0)
    node.beat(T0, False)
    assert node.report(T0).days[-1].percent == 0.0
    assert [day.down_s for day in node.report(T0).days[-2:]] == [5.0, 0.0]


def test_only_the_last_30_days_count(path: Path) -> None:
    now = T0 + 60
    first = now - 40 * DAY_S
    # Down for all of its life but the last 30 days.
    report = stored(path, (first, first + 5), (now - 30 * DAY_S, now), state=State(first, now, True))
    assert report.percent == 100.0
    assert {day.percent for day in report.days} == {100.0}
    assert report.first_start == first


def test_percentages_are_rounded_down(path: Path) -> None:
    now = T0 + 60
    start = now - 30 * DAY_S
    report = stored(path, (start, now - 50), (now - 49, now), state=State(start, now, True))
    assert report.percent == 99.99  # one second of 30 days


def test_old_intervals_are_pruned(node: Uptime, path: Path) -> None:
    node.beat(T0, True)
    node.beat(T0 + KEEP_S, True)
    assert len(intervals(path)) == 2
    node.beat(T0 + KEEP_S + 5, True)
    assert intervals(path) == [(T0 + KEEP_S, T0 + KEEP_S + 5)]
    assert node.report(T0 + KEEP_S + 5).first_start == T0


def test_a_small_step_back_lives_the_same_time_once(node: Uptime, path: Path) -> None:
    run(node, T0, T0 + 100)
    node.beat(T0 + 60, True)
    assert intervals(path) == [(T0, T0 + 60)]
    node.beat(T0 + 65, True)
    assert node.report(T0 + 65).percent == 100.0


def test_a_step_back_before_the_interval_keeps_what_was_measured(path: Path) -> None:
    with Uptime(path) as node:
        run(node, T0, T0 + 100)
    with Uptime(path) as node:
        node.beat(0, True)  # a machine without a clock of its own starts in 1970
        node.beat(5, True)
        assert node.report(5).percent == 100.0
        run(node, T0 + 110, T0 + 200)
        report = node.report(T0 + 200)
    assert report.first_start == T0
    assert report.percent == 95.0


def test_a_first_start_in_the_future_is_that_of_the_corrected_clock(node: Uptime) -> None:
    year = 365 * DAY_S
    run(node, T0 + year, T0 + year + 100)
    run(node, T0, T0 + 50)
    run(node, T0 + 55, T0 + 100, accepting=False)
    report = node.report(T0 + 100)
    assert report.first_start == T0
    assert report.percent == 50.0


def test_a_clock_that_stays_before_every_beat_is_at_zero_time(node: Uptime) -> None:
    node.beat(T0, True)
    report = node.report(T0 - 100)
    assert (report.percent, report.first_start) == (100.0, T0 - 100)


def test_overlapping_intervals_count_once() -> None:
    state = State(T0, T0 + 100, True)
    report = uptime.report(state, [(T0, T0 + 40), (T0 + 10, T0 + 20), (T0 + 30, T0 + 50)], T0 + 100)
    assert report.percent == 50.0


beats = st.lists(
    st.tuples(st.floats(-100_000, 4_000_000) | st.floats(0, 30), st.booleans(), st.booleans()), max_size=60
)


@settings(deadline=None)  # files take the time they take
@given(beats=beats, later=st.floats(-1000, 3_000_000))
def test_whatever_the_clock_does_percentages_stay_in_bounds(
    tmp_path_factory: pytest.TempPathFactory, beats: list[tuple[float, bool, bool]], later: float
) -> None:
    path = tmp_path_factory.mktemp("uptime") / "status.db"
    now = T0
    node = Uptime(path)
    try:
        for step, accepting, restart in beats:
            now += step
            if restart:
                node.close()
                node = Uptime(path)
            node.beat(now, accepting)
        report = node.report(now + later)
    finally:
        node.close()
    assert all(start <= end for start, end in intervals(path))
    assert 0 <= report.percent <= 100
    assert len(report.days) == 30
    assert all(day.percent is None or 0 <= day.percent <= 100 for day in report.days)
    assert all(0 <= day.down_s <= DAY_S for day in report.days)
    for day in report.days:
        assert sum(end - start for start, end in day.outages) == pytest.approx(day.down_s, abs=0.01)
        assert all(start < end for start, end in day.outages)


spans = st.lists(st.tuples(st.integers(0, 40 * DAY_S), st.integers(1, 3 * DAY_S)), max_size=20)


@settings(deadline=None)
@given(spans=spans, first=st.integers(0, 40 * DAY_S))
def test_days_and_total_agree_with_counting_minutes(spans: list[tuple[int, int]], first: int) -> None:
    minute = 60
    now = 41 * DAY_S + 3 * 3600
    first -= first % minute
    rounded = sorted(
        (start - start % minute, start - start % minute + length // minute * minute) for start, length in spans
    )
    up = {second for start, end in rounded for second in range(max(start, first), min(end, now), minute)}
    report = uptime.report(State(first, now, True), rounded, now)

    def percent(begin: int, end: int) -> float:
        elapsed = (end - begin) // minute
        return len([second for second in up if begin <= second < end]) * 10_000 // elapsed / 100

    assert report.percent == percent(max(first, now - 30 * DAY_S), now)
    base = 12 * DAY_S
    for index, day in enumerate(report.days):
        begin, end = max(first, base + index * DAY_S), min(now, base + (index + 1) * DAY_S)
        assert day.percent == (percent(begin, end) if begin < end else None)


def test_a_reader_sees_what_the_writer_measured(node: Uptime, path: Path) -> None:
    run(node, T0, T0 + 50)
    assert Reader(path).report(T0 + 52) == node.report(T0 + 52)


def test_a_reader_reads_the_file_once_a_second(node: Uptime, path: Path) -> None:
    reader = Reader(path)
    assert reader.report(T0).first_start is None
    node.beat(T0, True)
    assert reader.report(T0 + 0.9).first_start is None
    assert reader.report(T0 + 1).first_start == T0
    assert reader.report(T0 - 50).first_start == T0 - 50  # a clock set back does not make it wait


def test_a_reader_reads_after_the_writer_has_left(path: Path) -> None:
    with Uptime(path) as node:
        run(node, T0, T0 + 50)
    assert Reader(path).report(T0 + 100).percent == 50.0


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100])
def test_a_reader_of_nothing_has_no_data(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    assert Reader(path).report(T0) == no_data(T0)
    assert path.exists() == (content is not None)


def test_a_reader_never_fails_while_the_file_is_locked(path: Path) -> None:
    with Uptime(path) as node:
        run(node, T0, T0 + 50)
    reader = Reader(path, timeout_s=0)
    before = reader.report(T0 + 50)
    lock = sqlite3.connect(path, isolation_level=None)
    try:
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
        assert reader.report(T0 + 60) == before
        assert Reader(path, timeout_s=0).report(T0 + 60) == no_data(T0 + 60)
    finally:
        lock.close()
    assert reader.report(T0 + 100).percent == 50.0


def test_a_refused_write_changes_nothing_and_the_next_beat_carries_on(node: Uptime, path: Path) -> None:
    node.beat(T0, True)
    lock = sqlite3.connect(path, isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        node._db.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            node.beat(T0 + 5, True)
        lock.execute("ROLLBACK")
    finally:
        lock.close()
    node.beat(T0 + 10, True)
    assert intervals(path) == [(T0, T0 + 10)]


def test_a_damaged_file_stops_the_start(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StartError, match="move it away"):
        Uptime(path)


def test_a_missing_directory_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot open"):
        Uptime(tmp_path / "missing" / "status.db")


def test_a_newer_file_stops_the_start(path: Path) -> None:
    Uptime(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StartError, match="newer novamesh"):
        Uptime(path)
