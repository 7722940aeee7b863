"""Writes the pictures of docs/console.md: ``.venv/bin/python -m tests.browser.screenshots``, from the repository's root."""

import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import shop
from tests.browser.conftest import DESKTOP, PHONE, chromium
from tests.support import RunningNode, running_node

IMAGES = Path("docs/images")
EVENTS = 20_000
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


def _open(browser: Browser, node: RunningNode, sql: str, *, dark: bool, phone: bool = False) -> Page:
    """The console with the result of a query."""
    context = browser.new_context(
        viewport=PHONE if phone else DESKTOP,
        device_scale_factor=1,
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    page = context.new_page()
    page.add_init_script(f"sessionStorage.setItem('novamesh.key', '{node.key}')")
    page.goto(node.url + "/console")
    page.locator("#fields li").first.wait_for(state="attached")
    page.get_by_role("textbox", name="SQL").focus()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(sql)
    page.keyboard.press("Control+Enter")
    page.get_by_role("region", name="Chart").locator("figure").wait_for()
    page.evaluate("document.activeElement.blur()")
    return page


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    settings = {"workers": 1, "node": "ingest-eu5", "region": "eu", "region_label": "Europe — France"}
    with (
        tempfile.TemporaryDirectory() as directory,
        running_node(Path(directory) / "data", **settings) as node,
        sync_playwright() as playwright,
    ):
        node.send(shop.events(EVENTS))
        node.wait_for_count(EVENTS)
        browser = playwright.chromium.launch(executable_path=chromium())
        shots = {
            "console-desktop-light": _open(browser, node, BY_EVENT, dark=False),
            "console-desktop-dark": _open(browser, node, PAGES, dark=True),
            "console-phone-light": _open(browser, node, PAGES, dark=False, phone=True),
        }
        for name, page in shots.items():
            page.screenshot(path=IMAGES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
