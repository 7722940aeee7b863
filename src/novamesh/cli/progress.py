"""How far a long command is, on standard error: one line that changes on a terminal, a line now and then elsewhere."""

import shutil
import sys
import time
from types import TracebackType
from typing import Self

import click

from novamesh.cli import table

_TERMINAL_S, _LOG_S = 0.2, 10.0


class Meter:
    """Shows a count that grows. ``before`` is what an earlier run had done: it is no part of the rate."""

    def __init__(self, name: str, before: int, unit: str = "events") -> None:
        self._name = name
        self._before = before
        self._unit = unit
        self._started = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = False
        self._first: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def show(self, count: int, fraction: float | None) -> None:
        """Show the count, and how much is done where that is known (0 to 1), if it is time to."""
        now = time.monotonic()
        if self._first is None:
            self._first = fraction
        if now - self._last < (_TERMINAL_S if self._terminal else _LOG_S):
            return
        self._last = now
        if fraction is not None:
            fraction = min(fraction, 1.0)  # there may be more than was announced
        line = f"{self._name}: {self._text(count, fraction, now - self._started)}"
        if self._terminal:
            width = shutil.get_terminal_size().columns
            click.echo("\r\x1b[K" + table.shown(line)[: width - 1], err=True, nl=False)
            self._shown = True
        else:
            click.echo(line, err=True)

    def end(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = False

    def rate(self, count: int) -> str:
        """What was done by now, for the last line."""
        took_s = time.monotonic() - self._started
        done = count - self._before
        return f", {done / took_s:,.0f} {self._unit}/s in {took_s:.1f} s" if done and took_s > 0 else ""

    def _text(self, count: int, fraction: float | None, took_s: float) -> str:
        rate = f"{count:,} {self._unit}, {(count - self._before) / took_s:,.0f}/s"
        if fraction is None:
            return rate
        done = fraction - (self._first or 0.0)
        left = f", {_clock(took_s * (1 - fraction) / done)} left" if done > 0 else ""
        return f"{_bar(fraction) if self._terminal else ''}{fraction:4.0%}  {rate}{left}"


def _bar(fraction: float) -> str:
    full = round(20 * fraction)
    return "█" * full + "░" * (20 - full) + " "


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
