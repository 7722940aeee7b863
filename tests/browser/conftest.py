"""The system's Chromium for tests of pages: every page is watched, and a test fails on whatever its page got wrong.

What is wrong: a message of the level error in the browser's console (a breach of the Content-Security-Policy is one), an
exception nobody caught, and a request to anywhere but the node. A test that causes one of these on purpose names it:
``pages(url, expected=("status of 401",))``.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, ViewportSize, sync_playwright

from tests.support import DEADLINE_S

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
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
    ) -> Page:
        """A page at ``url``. ``expected``: patterns of what may go wrong in this test."""
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window. Ended with the module: while it runs no other event loop can in this thread."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip(f"there is no Chromium ({', '.join(CHROMIUMS)})")
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
