"""Who gets into the console and how: keys, a node that cannot answer, phones, dark, the keyboard alone, no barriers."""

import json
import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import EVENTS, Pages, axe
from tests.browser.console import Console, button, cells, grid, key_of, run, write
from tests.support import RunningNode


def test_the_key_is_asked_for_and_kept_in_the_tab_alone(console: Console, pages: Pages, shop_node: RunningNode) -> None:
    page = console(key="")
    expect(page.get_by_role("heading", name="Paste an API key")).to_be_visible()
    axe(page)
    button(page, "Run").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.insert_text(f" {shop_node.key} ")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_be_hidden()
    run(page, "SELECT count() AS n FROM events")
    assert cells(page, 0) == [str(EVENTS)]
    write(page, f"SELECT 1 -- {shop_node.key}")
    assert page.evaluate("sessionStorage.getItem('novamesh.key')") == shop_node.key
    elsewhere = page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href + history.length")
    assert shop_node.key not in elsewhere
    assert shop_node.key not in page.evaluate("sessionStorage.getItem('novamesh.draft')")
    page.reload()
    expect(page.locator("#key")).to_contain_text(shop_node.key[-4:])
    for request in pages.requests:
        assert shop_node.key not in request.url
        headers = {name for name, value in request.headers.items() if shop_node.key in value}
        assert headers <= {"authorization"}
    assert "authorization" in {name for request in pages.requests for name in request.headers}
    write(page, "SELECT 1")
    button(page, "Forget").click()
    expect(page.get_by_label("API key")).to_be_focused()
    assert shop_node.key not in page.evaluate("JSON.stringify(sessionStorage)")
    expect(grid(page)).to_be_hidden()


def test_a_wrong_key_is_told(console: Console) -> None:
    page = console(key="nm_live_" + "0" * 32, expected=("status of 40[13]",))
    expect(page.get_by_role("heading", name="This key is not known here")).to_be_visible()
    axe(page)
    body = json.dumps({"error": "forbidden", "message": "This key lacks the scope query."})
    page.route("**/v1/schema", lambda route: route.fulfill(status=403, content_type="application/json", body=body))
    page.get_by_label("API key").fill("nm_live_" + "1" * 32)
    button(page, "Use key").click()
    expect(page.get_by_role("heading", name="This key may not read")).to_be_visible()
    expect(page.locator("#state")).to_contain_text("This key lacks the scope query.")


def test_a_key_that_no_header_can_carry_is_told_as_mistyped(console: Console) -> None:
    page = console(key="")
    page.get_by_label("API key").fill("nm_live_…")
    button(page, "Use key").click()
    expect(page.get_by_role("heading", name="This key is mistyped")).to_be_visible()
    axe(page)
    write(page, "SELECT 1")
    button(page, "Run").click()
    expect(page.locator("#error")).to_contain_text("The key holds a character that no key has")
    expect(page.locator("#progress")).to_be_empty()


def test_without_events_the_command_to_send_one_is_shown(console: Console, shop_node: RunningNode) -> None:
    key = key_of(shop_node, "silent")
    page = console(key=key)
    expect(page.get_by_role("heading", name="No events yet")).to_be_visible()
    expect(page.get_by_label("Command to send an event")).to_contain_text(f"curl -X POST {shop_node.url}/v1/ingest")
    axe(page)
    event = {"events": [{"event": "first_one"}]}
    answer = shop_node.post("/v1/batch?wait=stored", event, {"Authorization": f"Bearer {key}"})
    assert answer.status_code == 202
    expect(page.locator("#state")).to_be_hidden()  # without a click
    expect(page.locator("#tail-names option")).to_have_attribute("value", "first_one")


def test_a_node_that_is_not_ready_is_told_and_asked_again(console: Console) -> None:
    def unwell(route: Route) -> None:
        body = json.dumps({"error": "store_unavailable", "message": "The store is starting; try again."})
        route.fulfill(status=503, headers={"retry-after": "600"}, content_type="application/json", body=body)

    page = console(prepare=lambda page: page.route("**/v1/schema", unwell), expected=("status of 503",))
    expect(page.locator("#state")).to_contain_text("The store is starting; try again.")
    axe(page)
    page.unroute("**/v1/schema", unwell)
    button(page, "Try again").click()
    expect(page.locator("#state")).to_be_hidden()


def test_a_schema_that_was_cut_is_asked_for_again(console: Console) -> None:
    def cut(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body='{"columns": [')

    page = console(prepare=lambda page: page.route("**/v1/schema", cut))
    expect(page.locator("#state")).to_contain_text("The node's answer was cut off")
    page.unroute("**/v1/schema", cut)
    expect(page.locator("#state")).to_be_hidden()  # without a click


@pytest.mark.parametrize(("phone", "dark"), [(False, True), (True, False)], ids=["desktop dark", "phone light"])
def test_it_fits_and_has_no_barrier(console: Console, phone: bool, dark: bool) -> None:
    page = console(phone=phone, dark=dark)
    if phone:
        page.get_by_text("Starters").tap()
    button(page, "Unique users per day").click()
    expect(page.locator(".uplot")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    axe(page)
    page.get_by_role("tab", name="Live tail").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    axe(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(17, 21, 24)" if dark else "rgb(246, 247, 248)")


def test_everything_is_reached_by_the_keyboard(console: Console) -> None:
    page = console()
    expect(page.locator("#fields")).to_contain_text("properties.page")
    reached = []
    page.keyboard.press("Tab")
    for _ in range(60):
        name: str = page.evaluate(
            """() => {
                const one = document.activeElement, inner = one.shadowRoot?.activeElement ?? one;
                return inner.getAttribute('aria-label') ?? inner.labels?.[0]?.firstChild.textContent.trim() ?? inner.textContent.trim();
            }"""
        )
        reached.append(name)
        if name == "Parquet":
            break
        page.keyboard.press("Tab")
    wanted = ["Skip to content", "Status page", "Forget", "SQL", "Starters", "Events per hour", "History", "Fields"]
    wanted += ["properties.page", "SQL", "Run", "Rows", "Copy link", "CSV", "Parquet"]
    rest = iter(reached)
    assert all(name in rest for name in wanted), reached
    page.get_by_role("tab", name="SQL").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Live tail")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Live tail")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tabpanel", name="SQL")).to_be_visible()


def test_it_is_found_from_the_status_page_and_leads_back(pages: Pages, shop_node: RunningNode) -> None:
    page = pages(shop_node.url + "/")
    page.get_by_role("link", name="Console").click()
    expect(page).to_have_url(shop_node.url + "/console")
    expect(page).to_have_title(re.compile("^Console — "))
    page.get_by_role("link", name="Status page").click()
    expect(page).to_have_url(shop_node.url + "/")


def test_all_is_found_below_a_path_that_a_proxy_takes_off(pages: Pages, shop_node: RunningNode) -> None:
    def take_off(route: Route) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace("/below", "")))

    below = shop_node.url + "/below/"

    def prepare(page: Page) -> None:
        page.route(below + "**", take_off)

    page = pages(below, prepare=prepare)
    page.get_by_role("link", name="Console").click()
    expect(page).to_have_url(below + "console")
    page.get_by_label("API key").fill(shop_node.key)
    button(page, "Use key").click()
    expect(page.locator("#fields")).to_contain_text("properties.page")
    run(page, "SELECT count() AS n FROM events")
    assert cells(page, 0) == [str(EVENTS)]
    page.get_by_role("link", name="Status page").click()
    expect(page).to_have_url(below)
    page.get_by_role("link", name="OpenAPI 3.1").click()
    expect(page).to_have_url(below + "openapi.json")
    page.wait_for_load_state()
    pages.close()
    assert [request.url for request in pages.requests if not request.url.startswith((below, "data:"))] == []


def test_without_javascript_it_says_what_to_do(pages: Pages, shop_node: RunningNode) -> None:
    page = pages(shop_node.url + "/console", javascript=False)
    # What is in <noscript> is shown, and is no element for a script that looks for it.
    assert "The console needs JavaScript." in page.locator("main").inner_text()
