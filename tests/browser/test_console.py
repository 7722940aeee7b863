"""The SQL console in a browser, on a real node: one page for each thing a user does with it."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser import shop
from tests.browser.conftest import Pages, axe
from tests.browser.stubs import Streams, stub_schema
from tests.hostile import under_way
from tests.support import DEADLINE_S, RunningNode, running_node, wait_for

EVENTS = 3000
LONG = "SELECT count() FROM range(1000000) AS a, range(1000000) AS b WHERE (a.range * b.range) % 7 = 3"
STARTERS = {
    "Events per hour": "line",
    "Unique users per day": "line",
    "Top properties": "bars",
    "Funnel": "bars",
    "Retention": "bars",
    "Last 100 events": None,
}

Console = Callable[..., Page]


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """Assertions about a page wait as long as others do."""
    expect.set_options(timeout=DEADLINE_S * 1000)
    yield
    expect.set_options(timeout=5000)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with a shop's events that runs one query at a time, for longer than any test waits."""
    settings = {"workers": 1, "query_max_concurrent": 1, "query_time_limit_ms": 3_600_000}
    with running_node(tmp_path_factory.mktemp("console") / "data", **settings) as node:
        node.send(shop.events(EVENTS))
        node.wait_for_count(EVENTS)
        yield node


@pytest.fixture
def console(pages: Pages, node: RunningNode) -> Console:
    """Opens the console, with the node's key already in the tab unless ``key`` says otherwise."""

    def open_console(
        fragment: str = "", *, key: str | None = None, prepare: Callable[[Page], None] | None = None, **options: Any
    ) -> Page:
        given = node.key if key is None else key

        def before(page: Page) -> None:
            stub_schema(node, page)
            if given:
                page.add_init_script(f"sessionStorage.setItem('novamesh.key', {json.dumps(given)})")
            if prepare:
                prepare(page)

        return pages(f"{node.url}/console{fragment}", prepare=before, **options)

    return open_console


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


# ---- the key, and what stands in the way


def test_the_key_is_asked_for_and_kept_in_the_tab_alone(console: Console, pages: Pages, node: RunningNode) -> None:
    page = console(key="")
    expect(page.get_by_role("heading", name="Paste an API key")).to_be_visible()
    axe(page)
    button(page, "Run").click()
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.insert_text(f" {node.key} ")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_be_hidden()
    run(page, "SELECT count() AS n FROM events")
    assert cells(page, 0) == [str(EVENTS)]
    write(page, f"SELECT 1 -- {node.key}")
    assert page.evaluate("sessionStorage.getItem('novamesh.key')") == node.key
    elsewhere = page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href + history.length")
    assert node.key not in elsewhere
    assert node.key not in page.evaluate("sessionStorage.getItem('novamesh.draft')")
    page.reload()
    expect(page.locator("#key")).to_contain_text(node.key[-4:])
    for request in pages.requests:
        assert node.key not in request.url
        headers = {name for name, value in request.headers.items() if node.key in value}
        assert headers <= {"authorization"}
    assert "authorization" in {name for request in pages.requests for name in request.headers}
    write(page, "SELECT 1")
    button(page, "Forget").click()
    expect(page.get_by_label("API key")).to_be_focused()
    assert node.key not in page.evaluate("JSON.stringify(sessionStorage)")
    expect(grid(page)).to_be_hidden()


def test_a_wrong_key_is_told(console: Console) -> None:
    page = console(key="nm_live_" + "0" * 32, expected=("status of 401",))
    expect(page.get_by_role("heading", name="This key is not known here")).to_be_visible()
    axe(page)


def test_without_events_the_command_to_send_one_is_shown(console: Console, node: RunningNode) -> None:
    page = console(prepare=lambda page: stub_schema(node, page, events=[]))
    expect(page.get_by_role("heading", name="No events yet")).to_be_visible()
    expect(page.get_by_label("Command to send an event")).to_contain_text(f"curl -X POST {node.url}/v1/ingest")
    axe(page)
    stub_schema(node, page, events=[("page_view", 1)])
    button(page, "Look again").click()
    expect(page.locator("#state")).to_be_hidden()


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


# ---- queries


def test_a_query_gives_rows_and_a_chart_that_can_be_changed(console: Console, node: RunningNode) -> None:
    page = console()
    sql = "SELECT event, count() AS events, count(DISTINCT user_id) AS users FROM events GROUP BY event ORDER BY events DESC"
    expect(page.get_by_role("status")).to_have_count(1)
    assert run(page, sql).text_content() == page.locator("#said").text_content()
    expected = node.rows(sql)
    assert [cells(page, row) for row in range(len(expected))] == [[str(value) for value in row] for row in expected]
    chart = page.get_by_role("region", name="Chart")
    assert chart.locator(".bars .name").all_text_contents() == [row[0] for row in expected]
    assert chart.locator(".bars b").all_text_contents() == [str(row[2]) for row in expected]
    axe(page)
    chart.get_by_label("Y").select_option("events")
    assert chart.locator(".bars b").first.text_content() == f"{expected[0][1]:,}"
    expect(chart.get_by_label("Y")).to_be_focused()
    chart.get_by_label("Chart").select_option("Number")
    expect(chart.locator(".big")).to_have_text(f"{expected[0][1]:,}")
    chart.get_by_label("Chart").select_option("None")
    expect(chart.locator("figure")).to_have_count(0)
    run(page, "SELECT count() FROM events")
    expect(chart.locator(".big")).to_have_text(f"{EVENTS:,}")


def test_each_starter_runs_with_one_click(console: Console) -> None:
    page = console()
    for name, form in STARTERS.items():
        button(page, name).click()
        expect(page.locator("#progress")).to_have_text(re.compile(r"^[1-9][\d,]* rows? in"))
        expect(page.locator("#error")).to_be_hidden()
        expect(page.locator(".uplot")).to_have_count(1 if form == "line" else 0)
        expect(page.locator(".bars")).to_have_count(1 if form == "bars" else 0)
        page.locator("#progress").evaluate("(element) => { element.textContent = '' }")
        if form == "line":
            axe(page)


def test_a_query_that_is_cancelled_frees_its_place(console: Console, node: RunningNode) -> None:
    page = console()
    cancels: list[Callable[[], None]] = [
        lambda: page.keyboard.press("Control+Enter"),
        button(page, "Cancel").click,
        lambda: page.keyboard.press("Escape"),
    ]
    for cancel in cancels:
        write(page, LONG)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#progress")).to_have_text(re.compile(r"^Running… \d+\.\d s, 0 rows"))
        wait_for(lambda: under_way(node), what="the query")
        cancel()
        expect(page.locator("#progress")).to_have_text("Cancelled after 0 rows")
        # There is one place for all, and this query's time limit is an hour.
        assert node.query("SELECT 42").json()["rows"] == [[42]]
    expect(button(page, "Run")).to_be_visible()


def test_rows_are_shown_as_they_come_and_a_break_is_told(console: Console) -> None:
    streams = Streams("/v1/query")
    page = console(prepare=streams.prepare)
    write(page, "SELECT n FROM t")
    page.keyboard.press("Control+Enter")
    streams.wait(page)
    streams.say(page, '{"columns": ["n"], "rows": [', "\n[1],\n[2", "],\n[3]")
    assert cells(page, 1) == ["2"]
    expect(page.locator("#progress")).to_have_text(re.compile(r"^Running… .*, 2 rows"))
    streams.say(page, '\n], "error": "query_timeout", "message": "The query took longer than 10 s; ask for less."}\n')
    streams.close(page)
    expect(page.get_by_role("alert")).to_contain_text("The query took longer than 10 s")
    assert cells(page, 2) == ["3"]
    page.keyboard.press("Control+Enter")
    streams.wait(page, 2)
    streams.say(page, '{"columns": ["n"], "rows": [\n[1],\n')
    streams.close(page)
    expect(page.get_by_role("alert")).to_contain_text("The result was cut off")


def test_an_error_is_marked_where_it_is(console: Console) -> None:
    page = console(expected=("status of 40[03]",))
    for sql, wrong in (
        ("SELECT fooo(event) FROM events", "fooo"),
        ("SELECT 1 FROM evens", "evens"),
        ("SELECT event,\n  evnt FROM events", "evnt"),
    ):
        write(page, sql)
        expect(page.locator(".cm-wrong")).to_have_count(0)
        page.keyboard.press("Control+Enter")
        expect(page.locator(".cm-wrong")).to_have_text(wrong)
        expect(page.get_by_role("alert")).to_contain_text(wrong)
    axe(page)


def test_what_really_occurs_is_completed(console: Console) -> None:
    page = console()
    expect(page.locator("#fields")).to_contain_text("properties.load_ms")
    write(page, "")
    page.keyboard.type("SELECT max(properties.lo")
    option = page.get_by_role("option", name=re.compile(r"properties\.load_ms"))
    expect(option).to_contain_text("integer")
    axe(page)
    expect(option).to_have_attribute("aria-selected", "true")
    wait_for(lambda: taken(page, "properties.load_ms"), what="the completion")
    page.keyboard.press("End")
    page.keyboard.type(" FROM events WHERE event = 'page")
    expect(page.get_by_role("option", name=re.compile("page_view"))).to_be_visible()


def taken(page: Page, text: str) -> bool:
    """Take the completion. The editor takes none just after its list came, so that nobody takes one unawares."""
    page.keyboard.press("Tab")
    return text in (editor(page).text_content() or "")


def test_fifty_thousand_rows_are_one_grid_for_the_keyboard(console: Console) -> None:
    page = console()
    page.get_by_label("Rows").select_option("50000")
    run(
        page,
        "SELECT range AS n, 9007199254740993 AS large, {'a': [range], 'b': repeat('x', 200)} AS whole FROM range(90000)",
    )
    expect(page.locator("#progress")).to_contain_text("50,000 rows")
    expect(page.locator("#progress")).to_contain_text("cut at the limit")
    expect(grid(page)).to_have_attribute("aria-rowcount", "50001")
    grid(page).focus()
    page.keyboard.press("Control+End")
    assert cells(page, 49_999)[:2] == ["49999", "9007199254740993"]
    assert grid(page).get_by_role("row").count() < 100
    active = grid(page).get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").text_content() == cells(page, 49_999)[2]
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text('"a": [\n    49999\n  ]')
    axe(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(grid(page)).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    page.keyboard.press("ArrowUp")
    active = grid(page).get_attribute("aria-activedescendant")
    assert int(page.locator(f"#{active}").text_content() or 0) < 49_990


def test_results_are_downloaded(console: Console, node: RunningNode, tmp_path: Path) -> None:
    page = console()
    sql = "SELECT event, count() AS n FROM events GROUP BY event ORDER BY n"
    write(page, sql)
    for kind in ("csv", "parquet"):
        with page.expect_download() as waiting:
            button(page, {"csv": "CSV", "parquet": "Parquet"}[kind]).click()
        assert re.fullmatch(rf"novamesh-\d{{8}}-\d{{6}}\.{kind}", waiting.value.suggested_filename)
        waiting.value.save_as(tmp_path / kind)
    assert (tmp_path / "csv").read_bytes() == node.query(sql, format="csv").content
    table = pyarrow.parquet.read_table(tmp_path / "parquet")
    assert [list(row.values()) for row in table.to_pylist()] == node.rows(sql)


# ---- history and links


def test_the_history_is_kept_without_keys_and_can_be_cleared(console: Console, node: RunningNode) -> None:
    page = console()
    run(page, "SELECT 1 AS first")
    run(page, f"SELECT 2 AS second -- {node.key}")
    history = page.locator("#history")
    expect(history.locator("li")).to_have_count(2)
    page.reload()
    assert history.locator("li .past").all_text_contents() == ["SELECT 2 AS second -- nm_live_…", "SELECT 1 AS first"]
    assert node.key not in page.evaluate("JSON.stringify(localStorage)")
    history.get_by_role("button", name="SELECT 1 AS first").click()
    expect(editor(page)).to_have_text("SELECT 1 AS first")
    button(page, "Clear history").click()
    expect(history.locator("li")).to_have_count(0)
    assert page.evaluate("localStorage.length") == 0


def test_a_link_fills_the_editor_and_runs_nothing(console: Console, pages: Pages, node: RunningNode) -> None:
    page = console()
    sql = "SELECT 'ü & #' AS text -- "
    write(page, sql + node.key)
    button(page, "Copy link").click()
    expect(button(page, "Copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{node.url}/console#q=SELECT%20")
    assert node.key not in link
    pages.requests.clear()
    opened = console(link.removeprefix(f"{node.url}/console"))
    expect(editor(opened)).to_have_text(sql + "nm_live_…")
    expect(opened.locator("#fields")).to_contain_text("properties.page")
    assert not [request.url for request in pages.requests if "/v1/query" in request.url]
    opened.evaluate("location.hash = '#q=SELECT%207'")
    expect(editor(opened)).to_have_text("SELECT 7")
    assert not [request.url for request in pages.requests if "/v1/query" in request.url or "SELECT" in request.url]


# ---- live tail


def event(number: int) -> str:
    body = {
        "id": f"01a20e2c-4a76-7498-acda-{number:012}",
        "event": "page_view",
        "user_id": f"u_{number}",
        "timestamp": "2026-01-31T12:00:00Z",
        "properties": {"n": number, "html": "<b>x</b>"},
        "context": None,
        "received_at": "2026-01-31T12:00:00Z",
        "batch_id": None,
    }
    return f"event: event\ndata: {json.dumps(body)}\n\n"


def test_the_live_tail(console: Console, node: RunningNode) -> None:
    streams = Streams("/v1/tail")
    page = console(prepare=streams.prepare)
    page.get_by_role("tab", name="Live tail").click()
    axe(page)
    page.get_by_label("Event", exact=True).fill("page_view")
    page.get_by_label("User", exact=True).fill("u 1")
    button(page, "Start").click()
    opened = streams.wait(page)
    assert opened["url"] == "/v1/tail?event=page_view&user_id=u+1"
    assert opened["authorization"] == f"Bearer {node.key}"
    live = page.get_by_role("grid", name="Live events")
    first = live.locator('[aria-rowindex="2"]')
    streams.say(page, "retry: 1000\n\n: ping\n\n", event(1)[:40], event(1)[40:] + event(2))
    expect(first).to_contain_text("u_2")
    expect(first).to_contain_text("<b>x</b>")
    expect(page.locator("#tail-status")).to_have_text("Live. 2 events.")
    button(page, "Pause").click()
    streams.say(page, event(3), 'event: dropped\ndata: {"count": 41}\n\n')
    expect(page.locator("#tail-dropped")).to_contain_text("41 events were left out")
    expect(page.locator("#tail-status")).to_contain_text("Paused: 1 new event.")
    expect(first).to_contain_text("u_2")
    axe(page)
    button(page, "Pause").click()
    expect(first).to_contain_text("u_3")
    expect(page.locator("#tail-status")).to_have_text("Live. 3 events.")
    streams.say(page, 'event: end\ndata: {"reason": "stopping", "message": "The node stops; connect again."}\n\n')
    streams.close(page)
    expect(page.locator("#tail-status")).to_contain_text("The node stops; connect again. Connecting again in 1 s.")
    assert streams.wait(page, 2)["ended"] is False
    button(page, "Stop").click()
    assert streams.wait(page, 2)["ended"] is True
    button(page, "Start").click()
    streams.wait(page, 3)
    streams.say(page, 'event: end\ndata: {"reason": "key_revoked", "message": "The key was revoked."}\n\n')
    expect(page.locator("#tail-status")).to_contain_text("The key was revoked.")
    expect(button(page, "Start")).to_be_visible()


def test_a_tail_stays_small_however_much_comes(console: Console) -> None:
    streams = Streams("/v1/tail")
    page = console(prepare=streams.prepare)
    page.get_by_role("tab", name="Live tail").click()
    button(page, "Start").click()
    streams.wait(page)
    streams.say(
        page, *["".join(event(number) for number in range(start, start + 500)) for start in range(0, 2500, 500)]
    )
    expect(page.locator("#tail-status")).to_contain_text("2,500 events, the newest 1000 shown.")
    live = page.get_by_role("grid", name="Live events")
    expect(live).to_have_attribute("aria-rowcount", "1001")
    expect(live.locator('[aria-rowindex="2"]')).to_contain_text("u_2499")


# ---- for everybody


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
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


def test_it_is_found_from_the_status_page_and_leads_back(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url + "/")
    page.get_by_role("link", name="Console").click()
    expect(page).to_have_url(node.url + "/console")
    expect(page).to_have_title(re.compile("^Console — "))
    page.get_by_role("link", name="Status page").click()
    expect(page).to_have_url(node.url + "/")


def test_without_javascript_it_says_what_to_do(pages: Pages, node: RunningNode) -> None:
    page = pages(node.url + "/console", javascript=False)
    # What is in <noscript> is shown, and is no element for a script that looks for it.
    assert "The console needs JavaScript." in page.locator("main").inner_text()
