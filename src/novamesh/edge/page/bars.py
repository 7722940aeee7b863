"""The last 30 days as bars, and in words each day that was not whole, with its outages.

The page's script shows both of a day in one tooltip.
"""

from collections.abc import Iterator
from html import escape

from novamesh.edge.page.text import duration, moment, percent
from novamesh.status.uptime import Day, Report

# Of all days together; a node that goes up and down all the time must not make the page long.
OUTAGES_SHOWN = 16


def bars(report: Report) -> str:
    """A list item for each day, oldest first."""
    return "\n".join(map(_bar, report.days))


def _bar(day: Day) -> str:
    text = escape(f"{day.date}: {percent(day.percent)}")
    return f'<li class="{_level(day.percent)}" title="{text}"><span class="hidden">{text}</span></li>'


def _level(share: float | None) -> str:
    """A bar's class: its height says the same as its colour."""
    if share is None:
        return "none"
    return "full" if share == 100 else "some" if share >= 99 else "much"


def downtime(report: Report) -> str:
    """The days that were not whole, in words."""
    if report.first_start is None:
        return '<p class="muted small">Nothing was measured yet.</p>'
    bad = [day for day in reversed(report.days) if day.percent is not None and day.percent < 100]
    if not bad:
        return '<p class="muted small">No downtime was measured in these days.</p>'
    days = "1 day" if len(bad) == 1 else f"{len(bad)} days"
    items = "".join(_bad_day(day, most=max(1, OUTAGES_SHOWN // len(bad))) for day in bad)
    return f'<details><summary>Downtime on {days}</summary><ul class="outages">{items}</ul></details>'


def _bad_day(day: Day, most: int) -> str:
    times = "".join(f"<li>{line}</li>" for line in _outages(day, most))
    inside = f"<ul>{times}</ul>" if times else ""
    return f"<li>{day.date}: {percent(day.percent)}, down for {duration(day.down_s)}{inside}</li>"


def _outages(day: Day, most: int) -> Iterator[str]:
    """A line for each outage of the day; for the ``most`` longest if there are more."""
    longest = sorted(day.outages, key=lambda outage: outage[0] - outage[1])[:most]
    for start, end in sorted(longest):
        # The end of a day is midnight, which is no time of that day.
        until = "24:00:00" if f"{moment(end):%F}" > day.date else f"{moment(end):%T}"
        yield f"{moment(start):%T}–{until} UTC, {duration(end - start)}"
    if len(day.outages) > most:
        yield f"and {len(day.outages) - most} shorter"
