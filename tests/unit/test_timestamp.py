"""Forms of time: which are read, as what, and what the refusals say."""

import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novamesh.event import timestamp

READ = {
    "2026-01-31T13:45:30Z": "2026-01-31T13:45:30Z",
    "2026-01-31t13:45:30z": "2026-01-31T13:45:30Z",
    "2026-01-31 13:45:30Z": "2026-01-31T13:45:30Z",
    "2026-01-31T13:45:30": "2026-01-31T13:45:30Z",
    "2026-01-31 13:45:30": "2026-01-31T13:45:30Z",
    # offsets
    "2026-01-31T13:45:30+00:00": "2026-01-31T13:45:30Z",
    "2026-01-31T13:45:30-00:00": "2026-01-31T13:45:30Z",
    "2026-01-31T13:45:30+02:00": "2026-01-31T11:45:30Z",
    "2026-01-31T13:45:30+0200": "2026-01-31T11:45:30Z",
    "2026-01-31T13:45:30+02": "2026-01-31T11:45:30Z",
    "2026-01-31T13:45:30-05:30": "2026-01-31T19:15:30Z",
    "2026-01-31T13:45:30-0530": "2026-01-31T19:15:30Z",
    "2026-01-31T23:45:30-05": "2026-02-01T04:45:30Z",
    "2026-01-31T00:00:00+23:59": "2026-01-30T00:01:00Z",
    # bare dates and minutes
    "2026-01-31": "2026-01-31T00:00:00Z",
    "2024-02-29": "2024-02-29T00:00:00Z",
    "2026-01-31T13:45": "2026-01-31T13:45:00Z",
    "2026-01-31 13:45": "2026-01-31T13:45:00Z",
    "2026-01-31t13:45z": "2026-01-31T13:45:00Z",
    "2026-01-31T13:45+02": "2026-01-31T11:45:00Z",
    "2026-01-31T13:45+0200": "2026-01-31T11:45:00Z",
    "2026-01-31T13:45-02:00": "2026-01-31T15:45:00Z",
    # fractions
    "2026-01-31T13:45:30.1Z": "2026-01-31T13:45:30.100000Z",
    "2026-01-31T13:45:30.123": "2026-01-31T13:45:30.123000Z",
    "2026-01-31T13:45:30.123456Z": "2026-01-31T13:45:30.123456Z",
    "2026-01-31T13:45:30.1234564Z": "2026-01-31T13:45:30.123456Z",
    "2026-01-31T13:45:30.1234565Z": "2026-01-31T13:45:30.123457Z",
    "2026-01-31T13:45:30.123456789Z": "2026-01-31T13:45:30.123457Z",
    "2026-01-31T13:45:30.123456789+02": "2026-01-31T11:45:30.123457Z",
    "2026-01-31T13:45:30.12345678901234567890+02": "2026-01-31T11:45:30.123457Z",
    "2026-12-31T23:59:59.999999999Z": "2027-01-01T00:00:00Z",
    "2026-01-31T13:45:30.000000000000Z": "2026-01-31T13:45:30Z",
    # the ends of the range, counted in UTC
    "1970-01-01": "1970-01-01T00:00:00Z",
    "1969-12-31T23:00:00-01:00": "1970-01-01T00:00:00Z",
    "2100-12-31T23:59:59.999999Z": "2100-12-31T23:59:59.999999Z",
    "2101-01-01T00:30:00+01:00": "2100-12-31T23:30:00Z",
}

UNREADABLE = [
    "", " ", "now", "today", "2026", "2026-01", "2026-1-1", "26-01-01", "20260131", "20260131T134530Z",
    "2026-W05-6", "2026-031", "2026-00-01", "2026-13-01",
    "2026-01-00", "2026-01-32", "2026-02-29", "2026-04-31",
    "2026-01-31T13:45:30\0", "2026-01-31T13:45:30.5\0x", "2026-01-31T13:45:30Z\0",
    "2026-01-31T", "2026-01-31 ", " 2026-01-31", "2026-01-31Z",
    "2026-01-31T13", "2026-01-31T13Z", "2026-01-31T1:45",
    "2026-01-31T24:00:00Z", "2026-01-31T13:60:00Z",
    "2026-01-31T13:45:60Z", "2016-12-31T23:59:60Z",
    "2026-01-31T25:00Z",
    "2026-01-31T13:45:30.Z", "2026-01-31T13:45:30,5Z",
    "2026-01-31T13:45.5Z", "2026-01-31T13:45:30 Z",
    "2026-01-31_13:45:30Z",
    "2026-01-31T13:45:30+2", "2026-01-31T13:45:30+24:00",
    "2026-01-31T13:45:30+02:60", "2026-01-31T13:45:30+24",
    "2026-01-31T13:45:30+02:", "2026-01-31T13:45:30UTC", "2026-01-31T13:45:30Z[UTC]", "2026-01-31T13:45:30ZZ",
    "2026-01-31T13:45:30Z\n", "2026-01-31\n", "2026-01-31\x00",
    "2026/01/31", "31.01.2026", "01/31/2026", "1767225600",
    "1767225600000", "-2026-01-31", "+2026-01-31", "٢٠٢٦-٠١-٣١",
    "0000-01-01", "10000-01-01", "x" * 10_000, "1" * 10_000,
    "9999-12-31T23:59:59.9999999Z",
]  # fmt: skip

OUT_OF_RANGE = [
    "1969-12-31",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:59:59+01:00",
    "2101-01-01",
    "2100-12-31T23:30:00-01:00",
    "2100-12-31T23:59:59.9999999Z",
    "0001-01-01T00:00:00+05:00",
    "9999-12-31T23:59:59-05:00",
    "0001-01-01",
    "9999-12-31",
]


def test_the_pattern_fits_what_is_read_and_little_else() -> None:
    fits = re.compile(timestamp.PATTERN).fullmatch
    assert [text for text in READ if not fits(text)] == []
    assert [text for text in UNREADABLE if fits(text)] == ["2026-02-29"]


@pytest.mark.parametrize(("text", "canonical"), READ.items())
def test_reads(text: str, canonical: str) -> None:
    value = timestamp.parse(text)
    assert value.tzinfo is UTC
    assert msgspec.json.decode(msgspec.json.encode(value)) == canonical


@pytest.mark.parametrize("text", UNREADABLE)
def test_refuses_what_it_cannot_read_and_shows_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"ISO 8601 time such as 2026-01-31T13:45:00Z"):
        timestamp.parse(text)


@pytest.mark.parametrize("text", OUT_OF_RANGE)
def test_refuses_years_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match="in the years 1970 to 2100"):
        timestamp.parse(text)


def test_all_canonical() -> None:
    good = datetime(2026, 1, 1, tzinfo=UTC)
    assert timestamp.all_canonical([])
    assert timestamp.all_canonical([good, timestamp.EARLIEST, timestamp.LATEST])
    assert not timestamp.all_canonical([good, datetime(2026, 1, 1)])  # noqa: DTZ001
    assert not timestamp.all_canonical([good, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))])
    assert not timestamp.all_canonical([good, timestamp.EARLIEST - timedelta(microseconds=1)])
    assert not timestamp.all_canonical([good, timestamp.LATEST + timedelta(microseconds=1)])


@settings(derandomize=True, database=None, deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 3), datetime(2100, 12, 29)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.sampled_from(["T", "t", " "]),
    st.sampled_from([":", ""]),
)
def test_every_time_with_an_offset_keeps_its_instant(value: datetime, minutes: int, letter: str, colon: str) -> None:
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    text = f"{value.isoformat(letter)}{sign}{size // 60:02}{colon}{size % 60:02}"
    assert timestamp.parse(text) == value.replace(tzinfo=timezone(timedelta(minutes=minutes)))


@settings(derandomize=True, database=None, deadline=None)
@given(st.text("0123456789-:+.TtZz ", max_size=40) | st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = timestamp.parse(text)
    except ValueError:
        return
    assert timestamp.EARLIEST <= value <= timestamp.LATEST
