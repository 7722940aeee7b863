"""How far a long command is."""

import pytest

from novamesh.cli.progress import Meter

CLOCK = "novamesh.cli.progress.time.monotonic"


def shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *steps: tuple[float, int, float | None]
) -> str:
    """What it writes for these steps: the time, the count, the fraction."""
    monkeypatch.setattr(CLOCK, lambda: 0.0)
    meter = Meter("x", 100)
    for now, count, fraction in steps:
        monkeypatch.setattr(CLOCK, lambda now=now: now)
        meter.show(count, fraction)
    monkeypatch.undo()
    return capsys.readouterr().err


def test_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # Of an earlier run were 100 events and a tenth of the file: what is left is reckoned by this one.
    steps = ((0.1, 100, 0.1), (1, 200, 0.2), (20, 2100, 0.3), (25, 2500, 0.35), (40, 4100, 0.5))
    text = shown(capsys, monkeypatch, *steps)
    assert text.splitlines() == ["x:  30%  2,100 events, 100/s, 1:10 left", "x:  50%  4,100 events, 100/s, 0:50 left"]


def test_more_than_was_announced(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(capsys, monkeypatch, (0.1, 100, 0.0), (20, 2100, 1.03)) == "x: 100%  2,100 events, 100/s, 0:00 left\n"
    assert shown(capsys, monkeypatch, (20, 2100, None)) == "x: 2,100 events, 100/s\n"


def test_a_terminal_has_one_line_with_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    text = shown(capsys, monkeypatch, (0.1, 100, 0.0), (1, 200, 0.25), (2, 300, 0.5))
    assert text.count("\r\x1b[K") == 2
    assert "█████░░░░░░░░░░░░░░░  25%  200 events, 100/s, 0:03 left" in text
    assert "\n" not in text
