"""The last hour by minutes. ``T0`` is a whole minute."""

from pathlib import Path

import pytest

from novamesh.status.history import LEAST_S, Minute, Reader, history
from novamesh.status.metrics import WorkerMetrics

T0 = 1_750_000_020.0
MS = 1_000_000


def lived(worker: WorkerMetrics, begin_s: float, end_s: float) -> None:
    """Heartbeats as a worker gives them, both ends included."""
    for half_second in range(int((end_s - begin_s) * 2) + 1):
        worker.heartbeat(begin_s + half_second / 2, True)


def test_nothing_measured_is_60_gaps(tmp_path: Path) -> None:
    minutes = history(tmp_path / "missing", T0 + 30)
    assert [minute.start_s for minute in minutes] == [int(T0) - 60 * (59 - index) for index in range(60)]
    assert set(minutes) == {Minute(minute.start_s) for minute in minutes}


def test_a_quiet_minute_is_told_from_a_missing_one(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    lived(worker, T0, T0 + 59.5)
    assert history(tmp_path, T0 + 125)[-4:] == (
        Minute(int(T0) - 60),
        Minute(int(T0), 0.0),
        Minute(int(T0) + 60),
        Minute(int(T0) + 120),
    )
    worker.close()


def test_workers_are_merged_and_a_dead_ones_minutes_stay(tmp_path: Path) -> None:
    dead, live = WorkerMetrics(tmp_path, 1), WorkerMetrics(tmp_path, 2)
    lived(dead, T0, T0 + 30)
    dead.observe(1 * MS, T0 + 10, events=500)
    lived(live, T0 + 10, T0 + 50)
    for _ in range(3):
        live.observe(8 * MS, T0 + 40, events=500)
    dead.close()
    minute = history(tmp_path, T0 + 61)[-2]
    assert minute.events_s == 2000 / 50
    assert minute.p50_ms == pytest.approx(8, rel=1 / 32)
    assert minute.p99_ms == pytest.approx(8, rel=1 / 32)
    live.close()


def test_a_rate_over_no_time_is_none(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    worker.observe(1 * MS, T0, events=1)
    assert history(tmp_path, T0)[-1].events_s is None
    lived(worker, T0, T0 + LEAST_S)
    latest = history(tmp_path, T0 + LEAST_S)[-1]
    assert latest.events_s == 1 / LEAST_S
    assert round(latest.p50_ms or 0) == 1
    worker.close()


def test_the_ring_forgets_after_an_hour(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    lived(worker, T0, T0 + 10)
    worker.observe(1 * MS, T0 + 10, events=100)
    assert [minute.events_s for minute in history(tmp_path, T0 + 59 * 60)][:2] == [10.0, None]
    assert {minute.events_s for minute in history(tmp_path, T0 + 60 * 60)} == {None}
    lived(worker, T0 + 3600, T0 + 3605)  # the same slot, an hour later
    minute = history(tmp_path, T0 + 3605)[-1]
    assert (minute.events_s, minute.p50_ms) == (0.0, None)
    worker.close()


def test_leaving_does_not_count_as_a_minute(tmp_path: Path) -> None:
    worker = WorkerMetrics(tmp_path, 1)
    lived(worker, T0, T0 + 10)
    worker.close()
    assert [minute.events_s for minute in history(tmp_path, T0 + 10)][-2:] == [None, 0.0]


def test_a_reader_measures_once_a_second(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    assert reader.minutes(T0)[-1].p50_ms is None
    worker = WorkerMetrics(tmp_path, 1)
    worker.observe(1 * MS, T0)
    assert reader.minutes(T0 + 0.9)[-1].p50_ms is None
    assert reader.minutes(T0 + 1) == history(tmp_path, T0 + 1)
    assert reader.minutes(T0 + 1)[-1].p50_ms is not None
    assert reader.minutes(T0 - 50)[-1].p50_ms is None  # a clock set back does not make it wait
    worker.close()
