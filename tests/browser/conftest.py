"""The system's Chromium for tests of pages: every page is watched, and a test fails on whatever its page got wrong.

What is wrong: a message of the level error in the browser's console (a breach of the Content-Security-Policy is one), an
exception nobody caught, and a request to anywhere but the node. A test that causes one of these on purpose names it:
``pages(url, expected=("status of 401",))``.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.browser import shop
from tests.browser.console import Console
from tests.support import DEADLINE_S, RunningNode, running_node

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
EVENTS = 3000  # of the shop's node
# Clipboard access is asked of a person, and there is none.
PERMISSIONS = ["clipboard-read", "clipboard-write"]


class Pages:
    """Opens pages in windows of their own, and remembers what goes wrong in any of them."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._expected: list[str] = []
        self.requests: list[Request] = []
        self.wrong: list[str] = []

    def __call__(
        self,
        url: str,
        *,
        phone: bool = False,
        dark: bool = False,
        javascript: bool = True,
        viewport: ViewportSize | None = None,
        expected: Sequence[str] = (),
        prepare: Callable[[Page], None] | None = None,
    ) -> Page:
        """A page at ``url``. ``expected``: patterns of what may go wrong in this test; ``prepare`` comes before it loads."""
        self._expected += expected
        context = self._browser.new_context(
            viewport=viewport or (PHONE if phone else DESKTOP),
            has_touch=phone,
            color_scheme="dark" if dark else "light",
            java_script_enabled=javascript,
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
            accept_downloads=True,
            permissions=PERMISSIONS,
        )
        self._contexts.append(context)
        context.set_default_timeout(DEADLINE_S * 1000)
        origin = "/".join(url.split("/")[:3]) + "/"
        context.on("request", lambda request: self._look_at(request, origin))
        context.on("console", self._hear)
        context.on("weberror", lambda error: self._note(f"exception: {error.error}"))
        page = context.new_page()
        if prepare is not None:
            prepare(page)
        page.goto(url)
        return page

    def _look_at(self, request: Request, origin: str) -> None:
        self.requests.append(request)
        if not request.url.startswith((origin, "data:", "blob:" + origin)):
            self._note(f"request to another origin: {request.url}")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self._note(f"console: {message.text} ({message.location.get('url')})")

    def _note(self, text: str) -> None:
        if not any(re.search(pattern, text) for pattern in self._expected):
            self.wrong.append(text)

    def close(self) -> None:
        """Close all windows. Events that are on their way still arrive."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()


def axe(page: Page, *, without: Sequence[str] = ()) -> None:
    """Assert that axe-core finds no violation in the page as it is now. ``without`` names rules that are left out."""
    # Through the debugger, where the page's policy does not apply: as a script element it would be refused.
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text("utf-8") + ";0")
    found: list[dict[str, Any]] = page.evaluate(
        """async (without) => {
            const rules = Object.fromEntries(without.map((rule) => [rule, {enabled: false}]));
            const {violations} = await axe.run(document, {rules, resultTypes: ['violations']});
            return violations.map(({id, help, nodes}) => ({id, help, nodes: nodes.map((node) => [node.html, node.failureSummary])}));
        }""",
        list(without),
    )
    assert found == [], "\n".join(f"{one['id']}: {one['help']}: {node}" for one in found for node in one["nodes"])


def chromium() -> str | None:
    """The path of the system's Chromium."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window. Ended with the module: while it runs no other event loop can in this thread."""
    path = chromium()
    if path is None:
        pytest.skip(f"there is no Chromium ({', '.join(CHROMIUMS)})")
    expect.set_options(timeout=DEADLINE_S * 1000)  # assertions about a page wait as long as others do
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture
def pages(browser: Browser) -> Iterator[Pages]:
    """Opens pages; the test fails if anything went wrong in one of them."""
    opened = Pages(browser)
    yield opened
    opened.close()
    assert opened.wrong == []


@pytest.fixture(scope="session")
def shop_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with a shop's events that runs one query at a time, for longer than any test waits."""
    settings = {"workers": 1, "query_max_concurrent": 1, "query_time_limit_ms": 3_600_000}
    with running_node(tmp_path_factory.mktemp("console") / "data", **settings) as node:
        node.send(shop.events(EVENTS))
        node.wait_for_count(EVENTS)
        yield node


@pytest.fixture
def console(pages: Pages, shop_node: RunningNode) -> Console:
    """Opens the console, with the node's key already in the tab unless ``key`` says otherwise."""

    def open_console(
        fragment: str = "", *, key: str | None = None, prepare: Callable[[Page], None] | None = None, **options: Any
    ) -> Page:
        given = shop_node.key if key is None else key

        def before(page: Page) -> None:
            if given:
                page.add_init_script(f"sessionStorage.setItem('novamesh.key', {json.dumps(given)})")
            if prepare:
                prepare(page)

        return pages(f"{shop_node.url}/console{fragment}", prepare=before, **options)

    return open_console
