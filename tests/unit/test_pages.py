"""The status page, read as a browser's parser would: texts, escaping, nothing from elsewhere."""

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from novamesh.edge.api.endpoint import Example
from novamesh.edge.api.endpoints import ENDPOINTS
from novamesh.edge.page.bars import OUTAGES_SHOWN
from novamesh.edge.page.examples import LANGUAGES, commands, curl, javascript, python
from novamesh.edge.page.pages import CONTENT_SECURITY_POLICY, PageData, render, render_live
from novamesh.errors import InvalidEvent, by_code
from novamesh.event.accept import accept_batch, accept_event
from novamesh.status.health import Problem
from novamesh.status.history import Minute, no_history
from novamesh.status.ledger import Entry, identity
from novamesh.status.uptime import DAY_S, Day, Report, no_data

NOW = 1_750_000_000.0  # 2025-06-15 15:06:40 UTC
VOID = {"meta", "link", "br", "rect", "path", "input"}


def report(*percents: float | None) -> Report:
    """The last days are ``percents``, today last; none before."""
    dates = [day.date for day in no_data(NOW).days]
    shown = [None] * (30 - len(percents)) + list(percents)
    days = tuple(
        Day(date, percent, 0.0 if percent is None else (100 - percent) * 864)
        for date, percent in zip(dates, shown, strict=True)
    )
    return Report(99.98, NOW - 86_400 * len(percents), days)


DATA = PageData(
    node="ingest-eu5",
    region="eu",
    region_label="Europe — France",
    version="1.4.2",
    status="ok",
    p50_ms=0.842,
    window="last hour",
    report=report(100.0, 99.5, 12.25, 100.0),
    base_url="http://127.0.0.1:8000",
    events_accepted=1_284_117,
    now_s=NOW,
)
HOSTILE = """<script>alert('x')</script>"&'$HOME`id` {health} \x00"""


class Page(HTMLParser):
    """A parsed page: its text, elements and what is inside ``code``; fails on tags that do not nest."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.code: list[tuple[str, str]] = []
        self.text = ""
        self.source = content.decode("utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.setdefault(tag, [])
        if tag in VOID:
            return
        self.open.append((tag, dict(attrs)))
        self.texts[tag].append("")
        if tag == "code":
            inside = len(self.open) > 1 and self.open[-2][0] == "pre"
            self.code.append((str(dict(attrs).get("class")) if inside else "", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _ in self.open]
        if "style" in tags or "script" in tags:
            self.texts[tags[-1]][-1] += data
            return
        self.text += data
        for tag in set(tags):
            self.texts[tag][-1] += data
        if "code" in tags:
            self.code[-1] = self.code[-1][0], self.code[-1][1] + data

    def blocks(self, kind: str) -> list[str]:
        """Every ``<pre><code>`` of a language, ``sh`` or ``json``."""
        return [text for language, text in self.code if language == f"language-{kind}"]

    def attributes(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]

    def figures(self) -> dict[str, str]:
        """What stands under each of the names on top."""
        return {found[0]: found[1] for found in re.findall(r"<dt>(.*?)</dt><dd[^>]*>(.*?)</dd>", self.source)}


def page(**changes: Any) -> Page:
    return Page(render(msgspec.structs.replace(DATA, **changes)))


def test_figures() -> None:
    assert page().figures() == {
        "Node Status": "Operational",
        "Latency (p50)": "0.84 ms",
        "Uptime (30d)": "99.98%",
        "Region": "Europe — France",
        "Version": "1.4.2",
    }


def test_a_degraded_node_says_what_is_unwell() -> None:
    problems = (Problem("store", "restarting"), Problem("spool", "the disk is full"))
    degraded = page(status="degraded", problems=problems, since={"store": NOW - 61})
    assert degraded.figures()["Node Status"] == "Degraded"
    assert "store: restarting since 15:05 UTC" in degraded.texts["li"]
    assert "spool: the disk is full" in degraded.texts["li"]
    assert "Operational" not in degraded.text
    assert "All parts of this node are well." not in degraded.text
    assert "All parts of this node are well." in page().text


def test_the_ledger_is_one_line() -> None:
    line = "12,401,233 accepted = 12,400,000 stored + 1,200 duplicates + 3 quarantined + 30 waiting"
    entry = Entry(12_401_233, 12_400_000, 1_200, 3, 30)
    counted = page(ledger=entry)
    assert line == identity(entry)
    assert f"In all, {line}." in counted.texts["p"]
    assert "1,284,117 events accepted since this node started. As of 2025-06-15 15:06:40 UTC." in counted.texts["p"]
    assert "bad" not in counted.attributes("class")
    unknown = page(ledger=None)
    assert "What became of them is not known while the store does not answer." in unknown.texts["p"]
    assert "accepted =" not in unknown.text


@pytest.mark.parametrize(("damaged", "missing", "end"), [(2, 0, "2 damaged."), (0, 1, "1 missing.")])
def test_what_is_lost_stands_out(damaged: int, missing: int, end: str) -> None:
    lost = page(ledger=Entry(10, 7, 0, 0, 0, damaged, missing))
    assert re.search(rf'<p class="bad">In all, 10 accepted = [^<]* \+ {re.escape(end)}</p>', lost.source)
    assert "novamesh verify says which, and what to do." in lost.text


def test_a_node_without_measurements_makes_none_up() -> None:
    fresh = page(p50_ms=None, report=no_data(NOW))
    assert fresh.figures()["Latency (p50)"] == "no data yet"
    assert fresh.figures()["Uptime (30d)"] == "no data yet"
    assert "Nothing was measured yet." in fresh.text


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0.0421, "0.042 ms"), (0.5, "0.50 ms"), (12.34, "12.3 ms"), (1234.5, "1234 ms")]
)
def test_latencies_have_three_figures(milliseconds: float, text: str) -> None:
    assert page(p50_ms=milliseconds).figures()["Latency (p50)"] == text


def test_a_young_node_says_since_when() -> None:
    assert "since 2025-06-11" in page().text
    assert "since 20" not in page(report=report(*[100.0] * 30)).text


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


def test_headings_and_anchors() -> None:
    content = page()
    assert content.texts["h1"] == ["ingest-eu5"]
    assert content.texts["h2"] == ["Uptime — Last 30 days", "API Reference"]
    assert (
        "Endpoints available on this ingestion node. Authentication required for data operations." in content.texts["p"]
    )
    ids = content.attributes("id")
    assert len(ids) == len(set(ids))
    assert "api" in ids
    for reference in content.attributes("href"):
        assert reference in ("data:,", "console", "openapi.json") or reference.removeprefix("#") in ids
    assert "console" in content.attributes("href")
    for name in content.attributes("aria-labelledby"):
        assert name in ids


def test_every_endpoint_is_there() -> None:
    offered = [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS]
    reads = ["GET /v1/query", "GET /v1/export", "GET /v1/schema", "GET /v1/tail"]
    data = ["POST /v1/ingest", "POST /v1/batch", "GET /v1/batches/{batch_id}", *reads, "DELETE /v1/users/{user_id}"]
    assert offered == ["GET /v1/health", "GET /v1/ready", *data]
    content = page()
    assert len(content.texts["article"]) == len(ENDPOINTS)
    for endpoint, text in zip(ENDPOINTS, content.texts["article"], strict=True):
        assert f"{endpoint.method} {endpoint.path}" in text
        assert ("API key required" in text.split("Responses")[0]) == (endpoint.scope is not None)
        for parameter in endpoint.parameters:
            assert parameter.name in text
            assert parameter.text in text
        for answer in endpoint.answers:
            assert f"{answer.status} " in text
            assert answer.when in text


def test_example_responses_are_what_clients_get() -> None:
    bodies = [msgspec.json.decode(text) for text in page().blocks("json")]
    assert {"status": "ok", "node": "ingest-eu5", "region": "eu", "version": "1.4.2", "uptime": 99.98} in bodies
    assert {"accepted": True, "queued": 1} in bodies
    unauthorized = {"error": "unauthorized", "message": "API key required. See http://127.0.0.1:8000/#api"}
    assert bodies.count(unauthorized) == 4
    codes = {code for endpoint in ENDPOINTS for answer in endpoint.answers for code in _codes(answer.body)}
    assert codes <= by_code().keys()


@pytest.mark.parametrize(
    ("accept", "body"),
    [
        (accept_event, b'{"event": "page_view", "userId": "u_42"}'),
        (accept_batch, b'{"events": [{"event": "page_view"}, {"event": " "}]}'),
    ],
)
def test_example_faults_are_worded_as_they_are_sent(accept: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(InvalidEvent) as caught:
        accept(body)
    assert msgspec.json.decode(caught.value.body()) in [msgspec.json.decode(text) for text in page().blocks("json")]


def _codes(body: str) -> list[str]:
    return re.findall(r'"error": "(\w+)"', body)


def test_curl_examples_can_be_pasted_as_they_are() -> None:
    examples = page().blocks("sh")
    assert examples == [command for endpoint in ENDPOINTS for command in commands(endpoint, DATA.base_url)]
    assert len(examples) == len({*examples}) >= len(ENDPOINTS)
    for command in examples:
        words = shlex.split(command)  # raises on a quote that is not closed
        urls = [word for word in words if "://" in word]
        assert len(urls) == 1
        assert urls[0].startswith("http://127.0.0.1:8000/")
        assert re.findall(r"\$\w*", command) in ([], ["$NOVAMESH_KEY"], ["$BATCH_ID", "$NOVAMESH_KEY"])


def test_every_example_is_there_in_every_language() -> None:
    content = page()
    for language in LANGUAGES:
        written = [language.write(e, example, DATA.base_url) for e in ENDPOINTS for example in e.examples]
        assert content.blocks(language.code) == written
    assert [language.name for language in LANGUAGES] == ["curl", "Python", "JavaScript"]
    for article in content.texts["fieldset"]:
        assert article.startswith("curlPythonJavaScript")


def test_python_examples_compile() -> None:
    for program in page(base_url=HOSTILE.replace("\x00", "")).blocks("py"):
        compile(program, "example", "exec")


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1.5, 'a"b\\\n', [], {}, [[None]], {"k": [{"long": "x" * 70}, True]}]
)
def test_a_body_is_the_same_value_in_every_language(value: Any) -> None:
    endpoint = next(endpoint for endpoint in ENDPOINTS if endpoint.path == "/v1/ingest")
    example = Example("x", body={"event": value})
    program = python(endpoint, example, "http://h").partition("request =")[0]
    names: dict[str, Any] = {}
    exec(program, names)
    assert json.loads(names["body"]) == {"event": value}
    command = shlex.split(curl(endpoint, example, "http://h"))
    assert json.loads(command[command.index("-d") + 1]) == {"event": value}
    written = javascript(endpoint, example, "http://h").partition("JSON.stringify(")[2].partition(");\nconst answer")[0]
    assert json.loads(written) == {"event": value}


def test_forms_begin_with_the_first_example() -> None:
    begun = {e.path: json.loads(text) for e, text in zip(ENDPOINTS, page().attributes("data-try"), strict=True)}
    assert begun["/v1/query"] == {"query": {"q": "SELECT event, count() FROM events GROUP BY event LIMIT 10"}}
    assert begun["/v1/ingest"]["body"]["event"] == "page_view"
    assert begun["/v1/users/{user_id}"] == {}  # nobody is erased by one click


def test_curl_examples_send_valid_json() -> None:
    posts = [shlex.split(command) for command in page().blocks("sh") if "POST" in command]
    bodies = [msgspec.json.decode(word) for words in posts for word in words if word.startswith("{")]
    assert len(bodies) == len(posts) == 3
    assert [sorted(body) for body in bodies] == [["event", "properties", "user_id"], ["context", "events"], ["events"]]
    assert all("Content-Type: application/json" in words for words in posts)


@pytest.mark.parametrize("base_url", ["http://[::1]:8000", "https://a.example/x?y=1&z='; rm -rf ~ #", "http://h/$(id)"])
def test_an_odd_address_stays_one_word_of_the_shell(base_url: str) -> None:
    for command in page(base_url=base_url).blocks("sh"):
        assert any(word.startswith(f"{base_url}/") for word in shlex.split(command))


def test_hostile_values_are_shown_not_run() -> None:
    hostile = page(
        node=HOSTILE,
        region=HOSTILE,
        region_label=HOSTILE,
        version=HOSTILE,
        window=HOSTILE,
        problems=(Problem(HOSTILE, HOSTILE),),
        base_url=HOSTILE,
        status="degraded",
    )
    plain = page(status="degraded", problems=(Problem("x", "x"),))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in plain.elements]
    assert hostile.texts["script"] == plain.texts["script"]
    assert hostile.texts["h1"][0].startswith("<script>alert('x')</script>\"&'$HOME`id` {health}")


def test_nothing_comes_from_elsewhere() -> None:
    content = render(DATA).decode()
    assert re.findall(r"https?:", content.replace("http://127.0.0.1:8000", "")) == []
    assert "src" not in {name for _, attributes in Page(content.encode()).elements for name in attributes}
    assert "url(" not in content
    assert "@import" not in content


def test_the_policy_admits_the_style_and_the_script_and_nothing_else() -> None:
    content = page()
    policy = dict(part.strip().split(" ", 1) for part in CONTENT_SECURITY_POLICY.split(";"))
    for tag in ("style", "script"):
        (text,) = content.texts[tag]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert {name for _, attributes in content.elements for name in attributes if name.startswith("on")} == set()
    assert "style" not in {name for _, attributes in content.elements for name in attributes}


def test_only_the_node_itself_may_be_asked() -> None:
    assert "connect-src 'self';" in CONTENT_SECURITY_POLICY
    assert "form-action 'none'" in CONTENT_SECURITY_POLICY


def test_the_part_that_is_refreshed_is_that_of_the_page() -> None:
    live, whole = render_live(DATA).decode(), render(DATA).decode()
    assert live.partition("\n")[2] in whole
    assert live.startswith("<!doctype html><title>ingest-eu5 — Operational</title>")
    assert len(live) < 12_000
    ids = [str(attributes["id"]) for _, attributes in Page(live.encode()).elements if "data-live" in attributes]
    assert ids == ["problems", "figures", "ledger", "charts", "days", "outages"]


def test_the_page_is_small_even_on_the_worst_of_days() -> None:
    hour = tuple(
        msgspec.structs.replace(minute, events_s=99_999.0 * (minute.start_s // 60 % 7), p50_ms=0.5, p99_ms=99.9)
        for minute in no_history(NOW)
    )
    start = NOW // DAY_S * DAY_S - 29 * DAY_S
    days = tuple(
        Day(day.date, 98.0, 1_000.0, tuple((at + 99.0 * part, at + 99.0 * part + 9) for part in range(20)))
        for day, at in zip(no_data(NOW).days, (start + DAY_S * number for number in range(30)), strict=True)
    )
    worst = msgspec.structs.replace(
        DATA, minutes=hour, report=Report(98.0, start, days), ledger=Entry(10**12, 10**12, 10**9, 999, 10**9, 99, 99)
    )
    assert len(render(worst)) < 60_000


def test_for_those_who_do_not_see_the_page() -> None:
    content = page()
    assert content.elements[0] == ("html", {"lang": "en"})
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert ("meta", viewport) in content.elements
    for tag, attributes in content.elements:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or "hidden" in attributes
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    assert "prefers-color-scheme:dark" in content.texts["style"][0]
    first = next(attributes for tag, attributes in content.elements if tag == "a")
    assert (first["class"], first["href"]) == ("skip", "#api"), "the first stop of the Tab key goes past the figures"


COLOURS = re.compile(r"--([\w-]+):(#\w+)")


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_is_aa(theme: int) -> None:
    colours = dict(COLOURS.findall(page().texts["style"][0].split("@media")[theme]))
    for text in ("text", "muted", "accent", "warn", "bad"):
        for ground in ("page", "card", "code"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for fill in ("good", "warn-fill", "bad-fill", "none"):  # WCAG 1.4.11: graphics
        assert _contrast(colours[fill], colours["page"]) >= 3, fill
