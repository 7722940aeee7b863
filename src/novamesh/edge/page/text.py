"""How the status page writes times, durations and amounts."""

from datetime import UTC, datetime


def moment(seconds: float) -> datetime:
    """Unix seconds as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def clock(seconds: float) -> str:
    """The time of day in UTC, to the minute."""
    return f"{moment(seconds):%H:%M}"


def duration(seconds: float) -> str:
    """The two greatest units: ``1 h 4 min``; never less than a second."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2])


def milliseconds(value: float) -> str:
    """A latency, with about three figures."""
    digits = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def rate(value: float) -> str:
    """A number per second, with two figures where it is small."""
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def percent(value: float | None) -> str:
    """A share in percent, or that there is none."""
    return "no data" if value is None else f"{value:.2f}%"
