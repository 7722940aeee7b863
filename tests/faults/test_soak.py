"""``scripts/soak``, scaled down: each kind of fault once."""

from pathlib import Path

from tests.faults.soak import soak


def test_a_short_soak(tmp_path: Path) -> None:
    figures = soak(tmp_path / "data", seed=1, seconds=0, events=0, while_s=0.4)
    assert set(figures["faults"].values()) == {1}
    assert figures["acknowledged"] <= figures["stored"] <= figures["acknowledged"] + figures["without an answer"]
    assert figures["sent again"] > 0
    assert figures["calls of the system that failed"].keys() >= {"open", "writev", "fdatasync"}
