"""What the status page draws: a bar for each day, a line for each figure of the last hour."""

import re

import msgspec

from novamesh.edge.page.bars import OUTAGES_SHOWN
from novamesh.status.history import Minute, no_history
from novamesh.status.uptime import DAY_S, Day, Report
from tests.unit.parsed_page import NOW, Page, page, report


def test_bars_have_30_days_with_today_at_the_right() -> None:
    bars = [text for text in page().texts["li"] if re.match(r"\d{4}-\d\d-\d\d: [\dn][^,]*$", text)]
    assert len(bars) == 30
    assert bars[0] == "2025-05-17: no data"
    assert bars[-4:] == ["2025-06-12: 100.00%", "2025-06-13: 99.50%", "2025-06-14: 12.25%", "2025-06-15: 100.00%"]
    assert page().attributes("title") == bars
    levels = [attributes["class"] for tag, attributes in page().elements if tag == "li" and "title" in attributes]
    assert levels == ["none"] * 26 + ["full", "some", "much", "full"]


def test_a_bar_is_low_from_below_99_percent() -> None:
    shown = page(report=report(98.99, 99.0, 99.99, 100.0)).elements
    assert [each.get("class") for tag, each in shown if tag == "li"][26:30] == ["much", "some", "some", "full"]


def test_downtime_is_also_told_in_words() -> None:
    assert "2025-06-13: 99.50%, down for 7 min 12 s" in page().texts["li"]
    assert "Downtime on 2 days" in page().text
    assert "No downtime was measured" in page(report=report(100.0)).text
    assert "Downtime on 1 day" in page(report=report(0.0)).text
    assert "down for 24 h" in page(report=report(0.0)).text


def with_outages(*outages: tuple[float, float]) -> Report:
    """Today's ``outages``, in seconds since midnight."""
    today = NOW // DAY_S * DAY_S
    times = tuple((today + start, today + end) for start, end in outages)
    days = (*report().days[:-1], Day("2025-06-15", 98.0, 1_728.0, times))
    return Report(98.0, NOW - 3 * DAY_S, days)


def test_each_outage_has_its_times() -> None:
    items = page(report=with_outages((3_600, 3_725.4), (86_000, 86_400))).texts["li"]
    first, second = "01:00:00–01:02:05 UTC, 2 min 5 s", "23:53:20–24:00:00 UTC, 6 min 40 s"
    assert "2025-06-15: 98.00%, down for 28 min 48 s" in items
    assert first in items
    assert second in items


def test_of_too_many_outages_the_longest_are_told() -> None:
    outages = [(index * 100, index * 100 + 10 + index) for index in range(50)]
    text = page(report=with_outages(*outages)).text
    assert f"and {50 - OUTAGES_SHOWN} shorter" in text
    assert "01:21:40–01:22:39 UTC, 59 s" in text
    assert "00:00:00–00:00:10 UTC" not in text


def minutes(**measured: list[float | None]) -> tuple[Minute, ...]:
    """An hour of which the last minutes are ``measured``."""
    hour = no_history(NOW)
    newest = [dict(zip(measured, values, strict=True)) for values in zip(*measured.values(), strict=True)]
    known = [
        msgspec.structs.replace(minute, **values) for minute, values in zip(hour[-len(newest) :], newest, strict=True)
    ]
    return (*hour[: -len(newest)], *known)


def lines(content: Page, css: str) -> list[str]:
    """What is drawn in this style."""
    return [
        str(attributes["d"]) for tag, attributes in content.elements if attributes.get("class") == css and tag == "path"
    ]


def test_charts_say_in_words_what_they_draw() -> None:
    drawn = page(
        minutes=minutes(events_s=[0.0, 1240.4, 12.0], p50_ms=[None, 0.5, 0.25], p99_ms=[None, 31.0, 2.0])
    ).texts["figcaption"]
    assert drawn == [
        "Events per second 12peak 1,240 at 15:05 · 57 min not measured",
        "Latency p50 p990.25 ms / 2.00 msslowest p99 31.0 ms at 15:05",
    ]


def test_charts_leave_gaps_where_nothing_was_measured() -> None:
    gap = page(minutes=minutes(events_s=[5.0, 10.0, None, None, 10.0], p50_ms=[1.0] * 5, p99_ms=[2.0] * 5))
    # Two minutes from 5 to the top; then, two minutes later, one alone.
    assert lines(gap, "a") == ["M550 50l10 -48M590 2l3 0", "M550 50l10 0 10 0 10 0 10 0"]
    assert lines(gap, "b") == ["M550 2l10 0 10 0 10 0 10 0"]
    assert len(lines(gap, "area")) == 1


def test_a_quiet_hour_is_drawn_at_zero_and_an_unmeasured_one_not_at_all() -> None:
    quiet = page(minutes=minutes(events_s=[0.0] * 60, p50_ms=[None] * 60, p99_ms=[None] * 60))
    assert lines(quiet, "a")[0].startswith("M0 98l10 0 ")
    assert "Events per second 0peak 0 at" in quiet.text
    assert "Latency p50 p99no data yet" in quiet.text
    nothing = page()
    assert lines(nothing, "a") == lines(nothing, "b") == lines(nothing, "area") == []
    assert nothing.text.count("no data yet") == 2
