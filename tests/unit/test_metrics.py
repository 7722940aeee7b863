"""Counters of several workers, read together. ``T0`` is a whole minute."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novamesh.status import metrics
from novamesh.status.metrics import BUCKETS, HOUR_S, LIVE_S, Snapshot, WorkerMetrics, load, read, reset

T0 = 1_750_000_020.0
MS = 1_000_000
EMPTY = Snapshot(None, None, 3600, 0, 0, 0, 0, False, 0)

LONGEST_NS = (1 << 36) - 1


def close_to(middle_ns: float, latency_ns: int) -> bool:
    """The documented error: 1/32 from 1 µs up, 32 ns below."""
    return abs(middle_ns - latency_ns) <= max(32, latency_ns / 32)


@given(st.integers(0, LONGEST_NS))
def test_a_bucket_is_within_the_documented_error(latency_ns: int) -> None:
    assert close_to(metrics.bucket_middle_ns(metrics.bucket(latency_ns)), latency_ns)


def test_buckets_are_gapless_and_end_where_the_docstring_says() -> None:
    edges = sorted({(base << shift) << 6 for shift in range(26) for base in range(32)})
    assert [metrics.bucket(edge) for edge in edges] == list(range(BUCKETS))
    assert metrics.bucket(LONGEST_NS) == metrics.bucket(LONGEST_NS * 1000) == BUCKETS - 1
    assert metrics.bucket(0) == metrics.bucket(-1) == metrics.bucket(-(10**12)) == 0


latencies = st.lists(
    st.integers(0, 1000) | st.integers(0, 10 * MS) | st.integers(0, LONGEST_NS), min_size=1, max_size=80
)


@settings(deadline=None)  # files take the time they take
@given(st.lists(latencies, min_size=1, max_size=3))
def test_percentiles_against_sorted_latencies(
    tmp_path_factory: pytest.TempPathFactory, workers: list[list[int]]
) -> None:
    directory = tmp_path_factory.mktemp("run")
    for pid, observed in enumerate(workers):
        worker = WorkerMetrics(directory, pid)
        for latency_ns in observed:
            worker.observe(latency_ns, T0)
        worker.close()
    snapshot = read(directory, T0)
    everything = sorted(latency_ns for observed in workers for latency_ns in observed)
    for share, measured_ms in ((0.5, snapshot.p50_ms), (0.99, snapshot.p99_ms)):
        exact_ns = everything[math.ceil(share * len(everything)) - 1]
        assert measured_ms is not None
        # One nanosecond for the division by a million.
        assert abs(measured_ms * 1e6 - exact_ns) <= max(32, exact_ns / 32) + 1


def test_several_workers_are_summed(tmp_path: Path) -> None:
    first, second = WorkerMetrics(tmp_path, 11), WorkerMetrics(tmp_path, 12)
    first.count(202, events=500)
    first.count(202, events=1)
    first.count(401)
    second.count(202, events=7)
    second.count(400)
    second.count(503)
    first.heartbeat(T0, True)
    second.heartbeat(T0, False)
    assert read(tmp_path, T0) == Snapshot(None, None, 3600, 6, 508, 2, 1, True, 2)
    first.close()
    second.close()


def test_nothing_to_read(tmp_path: Path) -> None:
    assert read(tmp_path / "missing", T0) == EMPTY
    (tmp_path / "edge-1.metrics").write_bytes(b"cut")
    (tmp_path / "edge-2.metrics").write_bytes(bytes(metrics.FILE_SIZE))
    (tmp_path / "edge-3.metrics").mkdir()
    assert read(tmp_path, T0) == EMPTY


def test_a_file_is_complete_from_the_first_moment(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    path = tmp_path / "edge-1.metrics"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_size == metrics.FILE_SIZE == 64 + 60 * 1760 + 8 * (16 + 2 * 432 + 64)
    assert path.read_bytes()[:8] == b"nmstats2"
    assert path.stat().st_blocks * 512 >= metrics.FILE_SIZE  # no hole
    worker.close()


def test_totals_of_a_closed_worker_stay_and_it_no_longer_accepts(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    worker.count(202, events=3)
    worker.heartbeat(T0, True)
    worker.close()
    assert read(tmp_path, T0) == Snapshot(None, None, 3600, 1, 3, 0, 0, False, 0)


def test_a_pid_that_comes_up_again_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        worker = WorkerMetrics(tmp_path, 1)
        worker.count(202, events=3)
        worker.observe(5 * MS, T0)
        worker.close()
    snapshot = read(tmp_path, T0)
    assert (snapshot.requests, snapshot.events) == (2, 6)
    assert snapshot.p50_ms == pytest.approx(5, rel=1 / 32)


def test_reset_clears_the_last_run_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "run"
    reset(directory)
    worker = WorkerMetrics(directory, 1)
    worker.count(202)
    worker.close()
    (directory / "edge-2.metrics.new").write_bytes(b"")
    (directory / "node.lock").write_bytes(b"")
    reset(directory)
    assert [entry.name for entry in directory.iterdir()] == ["node.lock"]
    assert read(directory, T0) == EMPTY


@pytest.mark.parametrize(
    ("age_s", "live"), [(0, True), (LIVE_S, True), (LIVE_S + 0.1, False), (-1, True), (-LIVE_S - 0.1, False)]
)
def test_only_a_fresh_heartbeat_counts(tmp_path: Path, age_s: float, live: bool) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    worker.heartbeat(T0, True)
    snapshot = read(tmp_path, T0 + age_s)
    assert (snapshot.accepting, snapshot.workers) == (live, int(live))
    worker.heartbeat(T0 + age_s, False)
    assert not read(tmp_path, T0 + age_s).accepting
    worker.close()


def test_latencies_leave_the_window(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    worker.observe(1 * MS, T0)
    worker.observe(8 * MS, T0 + 30 * 60)
    worker.observe(8 * MS, T0 + 30 * 60)

    def p50(minute: int, window_s: int = 3600) -> float | None:
        value = read(tmp_path, T0 + minute * 60 + 59, window_s).p50_ms
        return None if value is None else round(value)

    assert [p50(minute) for minute in (-1, 0, 29, 30, 59, 60, 89, 90)] == [None, 1, 1, 8, 8, 8, 8, None]
    assert [p50(minute, 300) for minute in (0, 4, 5, 29, 30, 34, 35)] == [1, 1, None, None, 8, 8, None]
    worker.close()


def test_a_slot_is_emptied_when_its_turn_comes_again(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    for _ in range(10):
        worker.observe(1 * MS, T0)
    worker.observe(8 * MS, T0 + 3600)
    snapshot = read(tmp_path, T0 + 3600)
    assert snapshot.p50_ms == pytest.approx(8, rel=1 / 32)
    worker.close()


def test_a_clock_that_steps_back_counts_into_the_minute_it_names(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    for now_s in (T0, T0 + 60, T0, T0 + 60, T0):
        worker.observe(round(now_s - T0 + 1) * MS, now_s)
    assert round(read(tmp_path, T0).p50_ms or 0) == 1
    assert round(read(tmp_path, T0 + 60).p50_ms or 0) == 1
    assert round(read(tmp_path, T0 + 60, 60).p50_ms or 0) in range(59, 64)
    worker.close()


def test_totals_of_several_workers_dead_ones_too(tmp_path: Path) -> None:
    dead, live = WorkerMetrics(tmp_path, 11), WorkerMetrics(tmp_path, 12)
    for worker in (dead, live):
        worker.add("accepted_bytes", 10)
        worker.add("tails_open", 2)
        worker.count_error("rate_limited")
        worker.count_query("refused", 3 * MS)
        worker.observe(5 * MS, T0)
        worker.observe(5 * MS, T0 + 3 * HOUR_S)  # in a slot that is emptied, but not in the totals
    live.heartbeat(T0, True)
    dead.close()
    totals = metrics.totals(load(tmp_path), T0)
    assert (totals.counts["accepted_bytes"], totals.counts["queries_refused"], totals.counts["queries_failed"]) == (
        20,
        2,
        0,
    )
    assert (totals.counts["tails_open"], totals.pids) == (2, [12])
    assert totals.errors["rate_limited"] == sum(totals.errors.values()) == 2
    assert (totals.latencies[metrics.bucket(5 * MS)], sum(totals.latencies)) == (4, 4)
    assert (totals.durations[metrics.bucket(3 * MS)], sum(totals.durations)) == (2, 2)
    again = WorkerMetrics(tmp_path, 11)
    again.heartbeat(T0, True)
    totals = metrics.totals(load(tmp_path), T0)
    assert (totals.counts["accepted_bytes"], totals.counts["tails_open"]) == (20, 2), "tails of the dead one are gone"
    again.close()
    live.close()


def test_there_is_room_for_all_that_is_counted() -> None:
    assert len(metrics.COUNTS) <= 16
    assert len(metrics.CODES) <= 64
