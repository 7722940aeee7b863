"""The status page, read as a browser's parser would."""

import re
from html.parser import HTMLParser
from typing import Any

import msgspec

from novamesh.edge.page.pages import PageData, render
from novamesh.status.uptime import Day, Report, no_data

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
