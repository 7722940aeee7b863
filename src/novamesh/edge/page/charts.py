"""The last hour as two small charts: inline SVG, with the same in words beside it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from novamesh.edge.page.text import clock, milliseconds, rate
from novamesh.status.history import Minute

STEP = 10  # units of the drawing from one minute to the next
HEIGHT = 100

Values = Sequence[float | None]


def charts(minutes: Sequence[Minute]) -> str:
    """HTML of both. ``minutes`` are oldest first."""
    events = [minute.events_s for minute in minutes]
    middle = [minute.p50_ms for minute in minutes]
    slow = [minute.p99_ms for minute in minutes]
    top = _peak(slow)
    rates = _area(events, _peak(events)) + _line(events, _peak(events), "a")
    latencies = _line(slow, top, "b") + _line(middle, top, "a")
    return "\n".join(
        [
            _figure("Events per second", "", _latest(events, rate), _events_words(minutes, events), rates, minutes),
            _figure(
                "Latency",
                '<span class="a">p50</span> <span class="b">p99</span>',
                " / ".join(filter(None, (_latest(middle, milliseconds), _latest(slow, milliseconds)))),
                _latency_words(minutes, slow),
                latencies,
                minutes,
            ),
        ]
    )


def _figure(name: str, key: str, latest: str, words: str, drawn: str, minutes: Sequence[Minute]) -> str:
    begin, end = (f"{clock(minute.start_s)} UTC" for minute in (minutes[0], minutes[-1]))
    width = STEP * (len(minutes) - 1)
    return (
        f'<figure class="card"><figcaption><span>{name}</span> <span class="key">{key}</span>'
        f"<b>{latest or 'no data yet'}</b><span>{words}</span></figcaption>"
        f'<svg viewBox="0 0 {width} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
        f'<p class="axis muted small" aria-hidden="true"><span>{begin}</span><span>{end}</span></p></figure>'
    )


def _events_words(minutes: Sequence[Minute], events: Values) -> str:
    peak, at = max(_measured(minutes, events), default=(None, 0))
    return "" if peak is None else f"peak {rate(peak)} at {clock(at)}{_gaps(events)}"


def _latency_words(minutes: Sequence[Minute], slow: Values) -> str:
    peak, at = max(_measured(minutes, slow), default=(None, 0))
    return "" if peak is None else f"slowest p99 {milliseconds(peak)} at {clock(at)}"


def _measured(minutes: Iterable[Minute], values: Values) -> Iterator[tuple[float, int]]:
    return ((value, minute.start_s) for minute, value in zip(minutes, values, strict=True) if value is not None)


def _gaps(values: Values) -> str:
    missing = sum(value is None for value in values[:-1])  # of the last minute there may be too little yet
    return f" · {missing} min not measured" if missing else ""


def _latest(values: Values, text: Callable[[float], str]) -> str:
    """The newest value there is among the last two: the running minute may be too young to have one."""
    known = [value for value in values[-2:] if value is not None]
    return text(known[-1]) if known else ""


def _peak(values: Values) -> float:
    return max([value for value in values if value is not None], default=0.0)


def _runs(values: Values, top: float) -> Iterator[list[tuple[int, int]]]:
    """The points of each stretch without a gap."""
    run: list[tuple[int, int]] = []
    for index, value in enumerate(values):
        if value is None:
            if run:
                yield run
            run = []
        else:
            # 2 units are left above and below, for the line's own width.
            run.append((index * STEP, round(HEIGHT - 2 - (HEIGHT - 4) * value / top) if top else HEIGHT - 2))
    if run:
        yield run


def _points(run: list[tuple[int, int]]) -> str:
    """The first point, and from each to the next: shorter than places are."""
    steps = [f"{STEP} {after[1] - before[1]}" for before, after in pairwise(run)]
    return f"{run[0][0]} {run[0][1]}l{' '.join(steps or ['3 0'])}"  # one minute alone is a dot: its stroke is as wide


def _line(values: Values, top: float, css: str) -> str:
    path = "".join(f"M{_points(run)}" for run in _runs(values, top))
    return f'<path class="{css}" d="{path}"/>' if path else ""


def _area(values: Values, top: float) -> str:
    """What is below the line."""
    path = "".join(f"M{_points(run)}V{HEIGHT}H{run[0][0]}Z" for run in _runs(values, top))
    return f'<path class="area" d="{path}"/>' if path else ""
