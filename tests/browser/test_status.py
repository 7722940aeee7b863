"""The status page in a browser: for those who see it, who use the keyboard or a screen reader, and who have no script."""

import html
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from novamesh.edge.api.endpoints import ENDPOINTS
from novamesh.edge.page.pages import CONTENT_SECURITY_POLICY, PageData, render
from novamesh.status.health import Problem
from novamesh.status.ledger import Entry
from novamesh.status.uptime import no_data
from tests.browser.conftest import Pages, axe
from tests.browser.lived import lived
from tests.support import RunningNode, wait_for

# A screen as narrow as there are.
NARROW: Any = {"width": 360, "height": 740}
EVERY_MS = 5_000
NOW = 1_750_000_000.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with a past."""
    node = lived(tmp_path_factory.mktemp("lived") / "data")
    try:
        node.settle()
        wait_for(lambda: "All parts of this node are well." in httpx.get(node.url).text, what="readiness")
        yield node
    finally:
        node.kill()


def with_clock(page: Page) -> Page:
    """The same page, loaded anew, whose time goes on only when it is told to."""
    now_s = time.time()
    page.clock.install(time=now_s)
    page.clock.pause_at(now_s + 60)  # it is running until then
    page.reload()
    return page


def refreshed(page: Page) -> None:
    """Let the time to the next refresh pass, and wait for its answer."""
    with page.expect_response("**/?part=live"):
        page.clock.fast_forward(EVERY_MS)


def shown(page: Page, data: PageData) -> None:
    """Show the page of another node, in whatever state, under the policy it would have."""
    headers = {"content-type": "text/html", "content-security-policy": CONTENT_SECURITY_POLICY}
    page.route(page.url, lambda route: route.fulfill(body=render(data), headers=headers))
    page.reload()


def opened(page: Page, anchor: str) -> Locator:
    """The form of an endpoint."""
    form = page.locator(f"#{anchor} form")
    if not form.is_visible():
        page.locator(f"#{anchor}").get_by_text("Try it").click()
    return form


def sent(pages: Pages) -> list[Request]:
    """All requests but those by which the page refreshes its figures, whenever their time comes."""
    return [request for request in pages.requests if not request.url.endswith("?part=live")]


def today(page: Page) -> Locator:
    return page.locator("#days li").last


# ---- what is seen


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_nobody_is_kept_out(pages: Pages, node: RunningNode, phone: bool, dark: bool) -> None:
    page = pages(node.url, phone=phone, dark=dark, viewport=NARROW if phone else None)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    page.locator("#days li").nth(-3).focus()
    page.get_by_role("radio", name="Python").first.check()
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Nor is anything cut off where it would reach beyond.
    beyond = page.evaluate(
        """[...document.querySelectorAll('#figures div, #ledger, figure, #days li, article')].filter((one) => {
            const {left, right} = one.getBoundingClientRect();
            return left < 0 || right > innerWidth + 0.5;
        }).map((one) => one.textContent)"""
    )
    assert beyond == []
    expect(page.locator("figure path.a")).to_have_count(2)


BARE = PageData(
    node="ingest-na1",
    region="na",
    region_label="North America",
    version="1.0",
    status="ok",
    p50_ms=None,
    window="last hour",
    report=no_data(NOW),
    base_url="http://127.0.0.1:8000",
    events_accepted=0,
    now_s=NOW,
)
PROBLEMS = (Problem("store", "does not answer"), Problem("ledger", "the ledger of default does not add up"))
LOST = Entry(10, 7, 0, 0, 0, 2, 1)
STATES = {
    "no data": BARE,
    "degraded": msgspec.structs.replace(
        BARE, status="degraded", problems=PROBLEMS, since={"store": NOW - 60}, ledger=LOST
    ),
}


def test_no_state_keeps_anybody_out(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url, phone=True)
    for data in STATES.values():
        shown(page, data)
        axe(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate_media(color_scheme="dark")  # of the one with the most warnings
    axe(page)


def test_without_a_script_all_can_be_read(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url, javascript=False)
    expect(page.get_by_role("button")).to_have_count(0)
    expect(page.get_by_text("Try it")).to_have_count(0)
    ingest = page.locator("#post-v1-ingest")
    expect(ingest.locator(".sh")).to_be_visible()
    expect(ingest.locator(".py")).to_be_hidden()
    ingest.get_by_text("Python").click()
    expect(ingest.locator(".py")).to_be_visible()
    expect(ingest.locator(".sh, .js")).to_have_count(2)
    expect(ingest.locator(".sh:visible, .js:visible")).to_have_count(0)
    page.get_by_text("Downtime on 3 days").click()
    expect(page.get_by_text(re.compile(r"^11:45:00–11:49:25 UTC, 4 min 25 s$"))).to_be_visible()
    assert re.match(r"\d{4}-\d\d-\d\d: \d+\.\d\d%$", today(page).get_attribute("title") or "")


# ---- the bars


def test_a_days_outages_are_told_by_keyboard(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url)
    expect(page.locator("#days [tabindex='0']")).to_have_count(1)
    today(page).focus()
    outage = "11:45:00–11:49:25 UTC, 4 min 25 s"
    tips = page.locator("#days .tip").all_text_contents()
    (place,) = [place for place, text in enumerate(tips) if outage in text]
    assert place in (27, 26)  # two days ago when the node was made; midnight may have passed
    for _ in tips[place:-1]:
        page.keyboard.press("ArrowLeft")
    tip = page.locator("#days .tip").nth(place)
    expect(tip.get_by_text(outage)).to_be_visible()
    assert (tip.bounding_box() or {"height": 0})["height"] > 20
    page.keyboard.press("Escape")
    assert (tip.bounding_box() or {"height": 99})["height"] <= 1
    page.keyboard.press("Home")
    expect(page.locator("#days li").first).to_be_focused()
    assert (page.locator("#days .tip").first.bounding_box() or {"height": 0})["height"] > 20
    page.keyboard.press("End")
    expect(today(page)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#outages summary")).to_be_focused()


def test_a_days_outages_are_told_by_pointer_and_by_touch(pages: Pages, node: RunningNode) -> None:
    for phone in (False, True):
        page = pages(node.url, phone=phone)
        bar = page.locator("#days li").nth(-3)
        tip = bar.locator(".tip")
        assert (tip.bounding_box() or {"height": 99})["height"] <= 1
        if phone:
            bar.tap()
        else:
            bar.hover()
        box = tip.bounding_box() or {"x": -1, "width": 0, "height": 0}
        assert box["height"] > 20
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.evaluate("innerWidth")
        assert bar.get_attribute("title") is None  # one tooltip, not two


def test_it_is_seen_where_the_keyboard_is(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to API Reference")
    expect(skip).to_be_focused()
    assert (skip.bounding_box() or {"height": 0})["height"] > 10
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#api ~ p a, #api ~ nav a").first).to_be_focused()
    marked = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        marked.add(
            page.evaluate(
                """() => {
                    const focused = document.activeElement;
                    const shown = focused.type === 'radio' ? focused.closest('label') : focused;
                    const {outlineStyle, outlineWidth} = getComputedStyle(shown);
                    return [focused.type === 'radio' ? 'radio' : focused.tagName, outlineStyle, outlineWidth].join(' ');
                }"""
            )
        )
    assert {one.split()[0] for one in marked} >= {"A", "BUTTON", "SUMMARY", "radio"}
    assert {one.partition(" ")[2] for one in marked} == {"solid 2px"}


# ---- fresh figures


def accepted(page: Page) -> int:
    found = re.search(r"([\d,]+) events accepted since", page.locator("#ledger").inner_text())
    assert found
    return int(found[1].replace(",", ""))


def test_figures_are_refreshed_in_place(pages: Pages, node: RunningNode) -> None:
    page = with_clock(pages(node.url))
    before, place = accepted(page), page.locator("#api").bounding_box()
    node.send([{"event": "e"}] * 7)
    refreshed(page)
    wait_for(lambda: accepted(page) == before + 7, what="fresh figures")
    assert page.locator("#api").bounding_box() == place
    page.get_by_text("Downtime on 3 days").click()
    page.evaluate("document.activeElement.blur()")
    refreshed(page)
    expect(page.locator("#outages details[open]")).to_have_count(1)
    expect(page.locator("#days [title]")).to_have_count(0)


def test_figures_rest_while_nobody_looks(pages: Pages, node: RunningNode) -> None:
    page = with_clock(pages(node.url))

    def look(hidden: bool) -> None:
        page.evaluate(
            """(hidden) => {
                Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
                document.dispatchEvent(new Event('visibilitychange'));
            }""",
            hidden,
        )

    look(hidden=True)
    asked = len(pages.requests)
    page.clock.run_for(10 * EVERY_MS)
    assert len(pages.requests) == asked
    with page.expect_response("**/?part=live"):
        look(hidden=False)


def test_a_node_that_is_gone_is_told_and_its_last_figures_stay(pages: Pages, node: RunningNode) -> None:
    page = with_clock(pages(node.url, expected=("ERR_CONNECTION_REFUSED",)))
    figures = page.locator("#figures")
    latency = figures.locator("div").nth(1).inner_text()

    def refuse(route: Route) -> None:
        route.abort("connectionrefused")

    page.route("**/?part=live", refuse)
    page.clock.fast_forward(EVERY_MS)
    expect(page.get_by_role("alert")).to_have_text(
        re.compile(r"^This node has not answered since \d\d:\d\d UTC\. These are its last figures\.$")
    )
    expect(figures.locator("dd").first).to_have_text("No answer")
    expect(page).to_have_title("ingest-eu5 — No answer")
    assert figures.locator("div").nth(1).inner_text() == latency
    page.clock.resume()  # axe waits for timers
    axe(page)
    page.emulate_media(color_scheme="dark")
    axe(page)
    page.unroute("**/?part=live", refuse)
    refreshed(page)
    expect(figures.locator("dd").first).to_have_text("Operational")
    expect(page).to_have_title("ingest-eu5 — Operational")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("html.down")).to_have_count(0)


def test_what_is_in_use_is_not_replaced(pages: Pages, node: RunningNode) -> None:
    page = with_clock(pages(node.url))
    changed = re.sub(r"(\d{4}-\d\d-\d\d): no data", r"\1: 12.34%", httpx.get(f"{node.url}/?part=live").text)
    page.route("**/?part=live", lambda route: route.fulfill(body=changed, content_type="text/html"))
    first = page.locator("#days li").first
    page.locator("#days li").last.focus()
    refreshed(page)
    expect(today(page)).to_be_focused()
    expect(first).to_contain_text("no data")
    page.evaluate("document.activeElement.blur()")
    refreshed(page)
    expect(first).to_contain_text("12.34%")


def test_a_change_of_status_is_announced(pages: Pages, node: RunningNode) -> None:
    page = with_clock(pages(node.url))
    degraded = httpx.get(f"{node.url}/?part=live").text.replace("Operational", "Degraded")
    page.route("**/?part=live", lambda route: route.fulfill(body=degraded, content_type="text/html"))
    refreshed(page)
    expect(page.locator("#said")).to_have_text("Node Status: Degraded")
    expect(page).to_have_title("ingest-eu5 — Degraded")


# ---- examples


def test_a_language_is_chosen_by_keyboard_for_all_and_nothing_moves(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url)
    batch = page.locator("#post-v1-batch")
    python = batch.get_by_role("radio", name="Python")
    batch.get_by_role("radio", name="curl").focus()
    page.evaluate("document.documentElement.style.overflowAnchor = 'none'")  # as it is in Safari
    batch.evaluate("(it) => it.scrollIntoView()")
    place = python.bounding_box()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".py:visible")).to_have_count(sum(len(endpoint.examples) for endpoint in ENDPOINTS))
    expect(page.locator(".sh:visible, .js:visible")).to_have_count(0)
    moved = python.bounding_box()
    assert place
    assert moved
    assert abs(moved["y"] - place["y"]) < 2


def test_code_is_copied(pages: Pages, node: RunningNode) -> None:
    page = with_clock(pages(node.url))  # it says so for two seconds
    button = page.get_by_role("button", name="Copy: Send one event, curl")
    button.click()
    expect(page.locator("#said")).to_have_text("Copied")
    expect(button).to_have_text("Copied")
    code = page.locator("#post-v1-ingest .sh code").inner_text()
    assert page.evaluate("navigator.clipboard.readText()") == code
    assert code.startswith(f"curl -X POST {node.url}/v1/ingest")


def test_javascript_examples_run_in_a_browser_too(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url, expected=("status of 403",))
    source = page.content()
    titles = re.findall(r"<h4>([^<]+)</h4><div class=\"code sh\">", source)
    programs = map(html.unescape, re.findall(r'<code class="language-js">(.*?)</code>', source, re.DOTALL))
    outputs: dict[str, str] = {}
    for title, program in zip(titles, programs, strict=True):
        if title == "Follow events":
            continue  # it has no end
        batch = json.loads(outputs.get("Send a batch", ' {"batch_id": ""}').partition(" ")[2])["batch_id"]
        outputs[title] = page.evaluate(
            "([program, env]) => { const said = []; const run = Object.getPrototypeOf(async () => {}).constructor;"
            "return new run('process', 'console', program)({ env }, { log: (...words) => said.push(words.join(' ')) })"
            ".then(() => said.join('\\n')); }",
            [program, {"NOVAMESH_KEY": node.key, "BATCH_ID": batch}],
        )
        if title == "Send a batch":
            node.settle()
    statuses = {title: output[:3] for title, output in outputs.items() if title != "Export events"}
    assert list(statuses.values()) == ["200", "200", "202", "202", "202", "200", "200", "200", "403"], statuses
    assert '"meta"' in outputs["Export events"]


# ---- requests of one's own


def test_an_event_is_sent_by_keyboard_alone_and_the_key_is_nowhere_else(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url)
    page.locator("#post-v1-ingest summary").get_by_text("Try it").focus()
    page.keyboard.press("Enter")
    form = page.locator("#post-v1-ingest form")
    key = form.get_by_label("API key")
    key.focus()
    page.keyboard.type(node.key)
    page.keyboard.press("Enter")
    expect(form.locator(".outcome")).to_have_text(re.compile(r"^202 .*in \d+ ms$"))
    answer = form.get_by_role("group", name="Answer of POST /v1/ingest")
    expect(answer).to_contain_text("content-type: application/json")
    expect(answer).to_contain_text('{"accepted": true, "queued": 1}')
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.search]") == [
        0,
        0,
        "",
        "",
    ]
    assert node.key not in page.content()
    assert [request.url for request in pages.requests if node.key in request.url] == []
    axe(page)
    # It need not be given twice, and a parameter of the address goes there.
    query = opened(page, "get-v1-query")
    query.get_by_label("limit").fill("1")
    query.get_by_role("button", name="Send").click()
    expect(query.locator("pre")).to_contain_text('"columns": ["event","count"]')
    assert "limit=1" in sent(pages)[-1].url
    page.reload()
    expect(opened(page, "get-v1-query").get_by_label("API key")).to_have_value("")


def test_a_refusal_is_shown_as_it_came(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url, expected=("status of 401", "status of 400"))
    form = opened(page, "post-v1-batch")
    form.get_by_label("API key").fill("nm_live_wrong")
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".outcome")).to_have_text(re.compile("^401 "))
    expect(form.locator("pre")).to_contain_text("www-authenticate: Bearer")
    expect(form.locator("pre")).to_contain_text("API key required")
    form.get_by_label("API key").fill(node.key)
    form.get_by_label("body").fill('{"events": [{"event": "<b>"}, {"event": " "}]}')
    form.get_by_label("Idempotency-Key").fill("once")
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".outcome")).to_have_text(re.compile("^400 "))
    expect(form.locator("pre")).to_contain_text("/events/1/event")
    assert sent(pages)[-1].headers["idempotency-key"] == "once"


def test_a_path_is_filled_in_and_nothing_is_sent_without_it(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url, expected=("status of 403",))
    form = opened(page, "delete-v1-users-user-id")
    form.get_by_label("API key").fill(node.key)
    asked = len(sent(pages))
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".outcome")).to_be_empty()
    assert len(sent(pages)) == asked
    form.get_by_role("textbox", name="user_id").fill("a/b?c")
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".outcome")).to_have_text(re.compile("^403 "))
    assert sent(pages)[-1].url == f"{node.url}/v1/users/a%2Fb%3Fc"
    assert sent(pages)[-1].method == "DELETE"


def test_a_request_can_be_stopped_and_a_long_answer_is_cut(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url)
    form = opened(page, "get-v1-ready")
    page.route("**/v1/ready", lambda route: None)  # no answer ever comes
    form.get_by_role("button", name="Send").click()
    form.get_by_role("button", name="Stop").click()
    expect(form.locator(".outcome")).to_have_text("Stopped.")
    page.unroute("**/v1/ready")
    page.route("**/v1/ready", lambda route: route.fulfill(body="x" * 300_000, content_type="text/plain"))
    form.get_by_role("button", name="Send").click()
    expect(form.locator("pre")).to_contain_text("… cut after 100,000 bytes")


def test_the_policy_refuses_what_is_not_the_pages_own(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url, expected=("Content Security Policy",))
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'globalThis.strange = 1';
            document.body.append(script);
        }"""
    )
    assert page.evaluate("typeof strange") == "undefined"
    assert page.evaluate("fetch('http://127.0.0.1:1/').then(() => 'sent', (error) => error.name)") == "TypeError"
    assert [request.url for request in pages.requests if ":1/" in request.url] == []
