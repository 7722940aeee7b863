"""Parts of the console's page, and what a user does with them."""

import re
from collections.abc import Callable

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.support import RunningNode, run_cli, wait_for

Console = Callable[..., Page]


def key_of(node: RunningNode, project: str) -> str:
    """A key of a project, which may be new, as soon as the node knows it."""
    made = run_cli("keys", "create", f"--project={project}", f"--data-dir={node.data_dir}")
    assert made.returncode == 0, made.stderr
    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    wait_for(lambda: httpx.get(node.url + "/v1/schema", headers=headers).status_code == 200, what="the key")
    return made.stdout.strip()


def editor(page: Page) -> Locator:
    return page.get_by_role("textbox", name="SQL")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def grid(page: Page) -> Locator:
    return page.get_by_role("grid", name="Result")


def write(page: Page, sql: str) -> None:
    """Replace what is in the editor; at once, so that nothing is completed."""
    editor(page).focus()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(sql)


def run(page: Page, sql: str) -> Locator:
    """Run a query by the keyboard, to its end; the status beside the button."""
    write(page, sql)
    page.keyboard.press("Control+Enter")
    progress = page.locator("#progress")
    expect(progress).to_have_text(re.compile(r"rows? in [\d,]+ ms"))
    return progress


def cells(page: Page, row: int) -> list[str]:
    """The texts of a row, from 0."""
    found = grid(page).locator(f'[aria-rowindex="{row + 2}"]')
    expect(found).to_be_visible()
    return found.get_by_role("gridcell").all_text_contents()


def taken(page: Page, text: str) -> bool:
    """Take the completion. The editor takes none just after its list came, so that nobody takes one unawares."""
    page.keyboard.press("Tab")
    return text in (editor(page).text_content() or "")
