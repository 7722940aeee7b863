"""Takes the pictures of the documentation anew, of a node with a made-up past: ``.venv/bin/python -m tests.browser.pictures``."""

import os
import random
import signal
import tempfile
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browser import shop
from tests.browser.conftest import DESKTOP, PHONE, chromium
from tests.browser.console import run
from tests.browser.lived import give_past, lived
from tests.docs_blocks import ROOT
from tests.support import RunningNode, wait_for

IMAGES = ROOT / "docs/images"
# As tall as what is above the API Reference.
TALL = ViewportSize(width=1280, height=1000)
BY_EVENT = """-- Hours of the last three days, by event.
SELECT date_trunc('hour', timestamp) AS hour, event, count() AS events
FROM events
WHERE timestamp >= now() - INTERVAL 3 DAY AND event <> 'purchase'
GROUP BY hour, event
ORDER BY hour, events DESC"""
PAGES = """SELECT properties.page, count() AS views,
       count(DISTINCT user_id) AS users,
       quantile_cont(properties.load_ms, 0.95) AS p95_ms
FROM events
WHERE event = 'page_view'
GROUP BY properties.page
ORDER BY views DESC"""


def main() -> None:
    """Write all of them."""
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        node = lived(Path(made) / "data")
        browser = playwright.chromium.launch(executable_path=chromium())
        try:
            _traffic(node)
            _console(node, browser)
            _status(node, browser)
        finally:
            browser.close()
            node.kill()


def _traffic(node: RunningNode) -> None:
    """What the node has accepted in all. Since its start it has only a past: times measured here would be those of a machine
    that is busy with browsers."""
    node.send(_events(240_000))
    _loaded(node)
    node.stop()
    node.restart()
    give_past(node)
    _loaded(node)


def _loaded(node: RunningNode) -> None:
    """Wait until the page says that the node is well and has stored all events."""

    def done() -> bool:
        page = httpx.get(node.url).text
        return "All parts of this node are well." in page and "+ 0 waiting." in page

    wait_for(done, what="all events on the page")


def _events(count: int) -> list[dict[str, Any]]:
    """A shop's, some of them with the id of another."""
    chance = random.Random(3)
    return [event | {"id": f"e_{chance.randrange(10**7)}"} for event in shop.events(count)]


def _window(browser: Browser, viewport: ViewportSize, *, dark: bool) -> Page:
    context = browser.new_context(
        viewport=viewport,
        device_scale_factor=1,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    return context.new_page()


def _take(page: Page, name: str) -> None:
    page.screenshot(path=IMAGES / f"{name}.png")


def _console(node: RunningNode, browser: Browser) -> None:
    """With the result of a query."""
    for name, viewport, dark, sql in (
        ("console-desktop-light", DESKTOP, False, BY_EVENT),
        ("console-desktop-dark", DESKTOP, True, PAGES),
        ("console-phone-light", PHONE, False, PAGES),
    ):
        page = _window(browser, viewport, dark=dark)
        page.add_init_script(f"sessionStorage.setItem('novamesh.key', '{node.key}')")
        page.goto(node.url + "/console")
        page.locator("#fields li").first.wait_for(state="attached")
        run(page, sql)
        page.evaluate("document.activeElement.blur()")
        _take(page, name)


def _status(node: RunningNode, browser: Browser) -> None:
    for name, viewport, dark in (
        ("status-desktop-light", TALL, False),
        ("status-desktop-dark", TALL, True),
        ("status-phone-light", PHONE, False),
    ):
        page = _window(browser, viewport, dark=dark)
        page.goto(node.url)
        if name == "status-desktop-light":
            page.locator("#days li").nth(-3).hover()
        _take(page, name)
    page = _window(browser, TALL, dark=False)
    page.goto(node.url)
    page.route("**/?part=live", lambda route: route.abort())
    page.get_by_text("No answer").wait_for()
    _take(page, "status-down")
    [store] = node.children()["store"]
    os.kill(store, signal.SIGSTOP)  # killed it would be started again at once
    try:
        wait_for(lambda: "Degraded" in httpx.get(node.url).text, what="the page to say so")
        page = _window(browser, TALL, dark=False)
        page.goto(node.url)
        _take(page, "status-degraded")
    finally:
        os.kill(store, signal.SIGCONT)


if __name__ == "__main__":
    main()
