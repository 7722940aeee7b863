"""The status page, read as a browser's parser would: texts, escaping, nothing from elsewhere."""

import base64
import hashlib
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from novamesh.edge.endpoints import ENDPOINTS, commands
from novamesh.edge.pages import CONTENT_SECURITY_POLICY, PageData, render
from novamesh.errors import InvalidEvent, by_code
from novamesh.event.accept import accept_batch, accept_event
from novamesh.status.ledger import Entry
from novamesh.status.uptime import Day, Report, no_data

NOW = 1_750_000_000.0  # 2025-06-15 15:06:40 UTC
VOID = {"meta", "link", "br", "rect", "path"}


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
            kind, text = self.code[-1]
            self.code[-1] = kind, text + data

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
    degraded = page(status="degraded", problems=("store: restarting", "disk: 1 GB free"))
    assert degraded.figures()["Node Status"] == "Degraded"
    assert "store: restarting" in degraded.texts["li"]
    assert "disk: 1 GB free" in degraded.texts["li"]
    assert "Operational" not in degraded.text


def test_the_ledger_is_one_line() -> None:
    line = "12,401,233 accepted = 12,400,000 stored + 1,200 duplicates + 3 quarantined + 30 waiting"
    counted = page(ledger=Entry(12_401_233, 12_400_000, 1_200, 3, 30))
    assert f"1,284,117 events accepted since this node started. In all, {line}. As of" in counted.text
    unknown = page(ledger=None)
    assert "What became of them is not known while the store does not answer. As of" in unknown.text
    assert "accepted =" not in unknown.text


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


def test_downtime_is_also_told_in_words() -> None:
    assert "2025-06-13: 99.50%, down for 7 min 12 s" in page().texts["li"]
    assert "Downtime on 2 days" in page().text
    assert "No downtime was measured" in page(report=report(100.0)).text
    assert "Downtime on 1 day" in page(report=report(0.0)).text
    assert "down for 24 h" in page(report=report(0.0)).text


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
        assert reference == "data:," or reference.removeprefix("#") in ids
    for name in content.attributes("aria-labelledby"):
        assert name in ids


def test_every_endpoint_is_there() -> None:
    offered = [f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS]
    data = [
        "POST /v1/ingest",
        "POST /v1/batch",
        "GET /v1/batches/{batch_id}",
        "GET /v1/query",
        "GET /v1/export",
        "GET /v1/schema",
        "DELETE /v1/users/{user_id}",
    ]
    assert offered == ["GET /v1/health", "GET /v1/ready", *data, "GET /openapi.json"]
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


def test_example_responses_are_what_clients_get() -> None:
    bodies = [msgspec.json.decode(text) for text in page().blocks("json")]
    assert {"status": "ok", "node": "ingest-eu5", "region": "eu", "version": "1.4.2", "uptime": 99.98} in bodies
    assert {"accepted": True, "queued": 1} in bodies
    unauthorized = {"error": "unauthorized", "message": "API key required. See http://127.0.0.1:8000/#api"}
    assert bodies.count(unauthorized) == sum(endpoint.scope is not None for endpoint in ENDPOINTS)
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


def test_curl_examples_send_valid_json() -> None:
    posts = [shlex.split(command) for command in page().blocks("sh") if "POST" in command]
    bodies = [msgspec.json.decode(word) for words in posts for word in words if word.startswith("{")]
    assert len(bodies) == len(posts) == 3
    assert [sorted(body) for body in bodies] == [["event", "properties", "user_id"]] + [["context", "events"]] * 2
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
        problems=(HOSTILE,),
        base_url=HOSTILE,
        status="degraded",
    )
    plain = page(status="degraded", problems=("x",))
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


def test_the_page_is_small() -> None:
    assert len(render(DATA)) < 60_000


def test_for_those_who_do_not_see_the_page() -> None:
    content = page()
    assert content.elements[0] == ("html", {"lang": "en"})
    assert content.attributes("tabindex") == ["0"] * len(content.blocks("sh"))  # those scroll
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert ("meta", viewport) in content.elements
    for tag, attributes in content.elements:
        if tag == "pre" and attributes:
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
        if tag == "svg":
            assert attributes["aria-hidden"] == "true"
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
    assert "prefers-color-scheme: dark" in content.texts["style"][0]


COLOURS = re.compile(r"--([\w-]+): (#\w+)")


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
    for text in ("text", "muted", "accent", "warn"):
        for ground in ("page", "card", "code"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for fill in ("good", "warn-fill", "bad-fill", "none"):  # WCAG 1.4.11: graphics
        assert _contrast(colours[fill], colours["page"]) >= 3, fill
