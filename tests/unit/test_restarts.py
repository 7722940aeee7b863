"""How long a process that died is not started again."""

import time

import pytest

from novamesh.restarts import DELAYS_S, STEADY_S, Restarts


def test_the_wait_grows_with_each_start_that_fails_and_is_none_after_a_steady_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    restarts = Restarts()

    def dies_after(lived_s: float) -> float:
        nonlocal now
        now += lived_s
        delay_s = restarts.delay_s()
        now += delay_s
        restarts.started()
        return delay_s

    assert [dies_after(1) for _ in range(7)] == [*DELAYS_S, DELAYS_S[-1], DELAYS_S[-1]]
    assert dies_after(STEADY_S) == DELAYS_S[-1], "not longer than that"
    assert dies_after(STEADY_S + 1) == 0
    assert dies_after(1) == DELAYS_S[0]
