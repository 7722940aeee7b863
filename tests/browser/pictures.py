"""Takes the pictures of the status page that the documentation shows: python -m tests.browser.pictures docs/images"""

import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.browser.conftest import CHROMIUMS, PHONE
from tests.browser.lived import EVENTS, give_past, lived
from tests.support import RunningNode, wait_for

# As tall as what is above the API Reference.
TALL = ViewportSize(width=1280, height=1000)
NAMES = ("page_view", "click", "signup", "purchase")


def main(directory: Path) -> None:
    """Write all of them."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        node = lived(Path(made) / "data")
        browser = playwright.chromium.launch(executable_path=next(filter(None, map(shutil.which, CHROMIUMS))))
        try:
            _traffic(node)
            _pictures(node, browser, directory)
        finally:
            browser.close()
            node.kill()


def _traffic(node: RunningNode) -> None:
    """What the node has accepted in all; a few of it since its start."""
    chance = random.Random(3)

    def events(count: int) -> list[dict[str, str]]:
        numbers = [chance.randrange(10**7) for _ in range(count)]
        return [
            {"event": chance.choice(NAMES), "user_id": f"u_{number % 900}", "id": f"e_{number}"} for number in numbers
        ]

    node.send(events(240_000))
    node.settle()
    node.stop()
    node.restart()
    give_past(node)
    for _ in range(8):
        node.send(events(EVENTS))
    node.settle()
    wait_for(lambda: "All parts of this node are well." in httpx.get(node.url).text, what="readiness")


def _pictures(node: RunningNode, browser: Browser, directory: Path) -> None:
    for name, viewport, dark in (
        ("status-desktop-light", TALL, False),
        ("status-desktop-dark", TALL, True),
        ("status-phone-light", PHONE, False),
    ):
        page = browser.new_page(viewport=viewport, color_scheme="dark" if dark else "light")
        page.goto(node.url)
        if name == "status-desktop-light":
            page.locator("#days li").nth(-3).hover()
        page.screenshot(path=directory / f"{name}.png")
    page = browser.new_page(viewport=TALL)
    page.goto(node.url)
    page.route("**/?part=live", lambda route: route.abort())
    page.get_by_text("No answer").wait_for()
    page.screenshot(path=directory / "status-down.png")
    [store] = node.children()["store"]
    os.kill(store, signal.SIGSTOP)  # killed it would be started again at once
    try:
        wait_for(lambda: "Degraded" in httpx.get(node.url).text, what="the page to say so")
        page = browser.new_page(viewport=TALL)
        page.goto(node.url)
        page.screenshot(path=directory / "status-degraded.png")
    finally:
        os.kill(store, signal.SIGCONT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
