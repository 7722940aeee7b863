"""``scripts/soak``, scaled down: each kind of fault once."""

from pathlib import Path

from tests.faults.soak import soak


def test_a_short_soak(tmp_path: Path) -> None:
    figures = soak(tmp_path / "data", seed=1, seconds=0, events=0, min_faults=6)
    assert set(figures["faults"].values()) == {1}
    assert figures["acknowledged"] <= figures["stored"] <= figures["acknowledged"] + figures["without an answer"]
    assert figures["sent again"] > 0
