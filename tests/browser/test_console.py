"""Queries in the console, on a real node: rows, charts, errors, completion, downloads, history, links."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
from playwright.sync_api import Route, expect

from tests.browser.conftest import EVENTS, Pages, axe
from tests.browser.console import Console, button, cells, editor, grid, run, taken, write
from tests.browser.stubs import Streams
from tests.hostile import under_way
from tests.support import RunningNode, wait_for

LONG = "SELECT count() FROM range(1000000) AS a, range(1000000) AS b WHERE (a.range * b.range) % 7 = 3"
STARTERS = {
    "Events per hour": "line",
    "Unique users per day": "line",
    "Top properties": "bars",
    "Funnel": "bars",
    "Retention": "bars",
    "Last 100 events": None,
}


def test_a_query_gives_rows_and_a_chart_that_can_be_changed(console: Console, shop_node: RunningNode) -> None:
    page = console()
    sql = "SELECT event, count() AS events, count(DISTINCT user_id) AS users FROM events GROUP BY event ORDER BY events DESC"
    expect(page.get_by_role("status")).to_have_count(1)
    assert run(page, sql).text_content() == page.locator("#said").text_content()
    expected = shop_node.rows(sql)
    assert [cells(page, row) for row in range(len(expected))] == [[str(value) for value in row] for row in expected]
    chart = page.get_by_role("region", name="Chart")
    assert chart.locator(".bars .name").all_text_contents() == [row[0] for row in expected]
    assert chart.locator(".bars b").all_text_contents() == [f"{row[1]:,}" for row in expected]
    axe(page)
    chart.get_by_label("Y").select_option("users")
    assert chart.locator(".bars b").all_text_contents() == [str(row[2]) for row in expected]
    expect(chart.get_by_label("Y")).to_be_focused()
    chart.get_by_label("Chart").select_option("Number")
    expect(chart.locator(".big")).to_have_text(str(expected[0][2]))
    chart.get_by_label("Chart").select_option("None")
    expect(chart.locator("figure")).to_have_count(0)
    run(page, "SELECT count() FROM events")
    expect(chart.locator(".big")).to_have_text(f"{EVENTS:,}")


def test_a_line_is_drawn_for_each_of_what_comes_at_one_time(console: Console, shop_node: RunningNode) -> None:
    page = console()
    run(page, "SELECT timestamp::DATE AS day, event, count() AS n FROM events GROUP BY day, event ORDER BY day")
    chart = page.get_by_role("region", name="Chart")
    labels = chart.locator(".u-series .u-label")
    counts = dict(shop_node.rows("SELECT event, count() FROM events GROUP BY event"))
    first, *names = labels.all_text_contents()
    assert (first, set(names)) == ("UTC", set(counts))
    assert [counts[name] for name in names] == sorted(counts.values(), reverse=True)
    expect(chart.get_by_role("img")).to_have_attribute("aria-label", re.compile("Line chart of n by day and event"))
    chart.get_by_label("Split by").select_option("nothing")
    assert labels.all_text_contents() == ["UTC", "n"]
    # Something is drawn, in the accent's colour.
    drawn = page.evaluate(
        """() => {
            const {width, height} = document.querySelector('.uplot canvas');
            const data = document.querySelector('.uplot canvas').getContext('2d').getImageData(0, 0, width, height).data;
            let count = 0;
            for (let at = 0; at < data.length; at += 4) count += data[at] === 11 && data[at + 1] === 107 && data[at + 2] === 92;
            return count;
        }"""
    )
    assert drawn > 100


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


def test_a_query_that_is_cancelled_frees_its_place(console: Console, shop_node: RunningNode) -> None:
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
        wait_for(lambda: under_way(shop_node), what="the query")
        cancel()
        expect(page.locator("#progress")).to_have_text("Cancelled after 0 rows")
        # There is one place for all, and this query's time limit is an hour.
        assert shop_node.query("SELECT 42").json()["rows"] == [[42]]
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
    write(page, "SELECT 1")
    page.keyboard.press("Control+A")
    page.keyboard.type("SELECT max(properties.lo")  # over the other, whose colours the browser may not carry along
    option = page.get_by_role("option", name=re.compile(r"properties\.load_ms"))
    expect(option).to_contain_text("integer")
    axe(page)
    expect(option).to_have_attribute("aria-selected", "true")
    wait_for(lambda: taken(page, "properties.load_ms"), what="the completion")
    page.keyboard.press("End")
    page.keyboard.type(" FROM events WHERE event = 'page")
    expect(page.get_by_role("option", name=re.compile("page_view"))).to_be_visible()


def test_what_few_events_have_is_not_said_to_be_in_none(console: Console) -> None:
    shares = {
        "properties.load_ms": 0.0001,
        "properties.page": 0.9999,
        "properties.button": 0.214,
        "properties.plan": 1.0,
    }

    def changed(route: Route) -> None:
        document = route.fetch().json()
        for one in document["properties"]:
            one["share"] = shares.get(one["path"], one["share"])
        route.fulfill(json=document)

    page = console(prepare=lambda page: page.route("**/v1/schema", changed))
    for path, shown in zip(shares, ("< 1 %", "> 99 %", "21 %", "100 %"), strict=True):
        row = page.locator("#fields li", has=page.get_by_role("button", name=path, exact=True))
        expect(row).to_contain_text(f" · {shown}")
    write(page, "SELECT ")
    page.keyboard.type("properties.lo")
    expect(page.locator(".cm-completionInfo")).to_contain_text("in < 1 % of recent events")


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


def test_results_are_downloaded(console: Console, shop_node: RunningNode, tmp_path: Path) -> None:
    page = console()
    sql = "SELECT event, count() AS n FROM events GROUP BY event ORDER BY n"
    write(page, sql)
    for kind in ("csv", "parquet"):
        with page.expect_download() as waiting:
            button(page, {"csv": "CSV", "parquet": "Parquet"}[kind]).click()
        assert re.fullmatch(rf"novamesh-\d{{8}}-\d{{6}}\.{kind}", waiting.value.suggested_filename)
        waiting.value.save_as(tmp_path / kind)
    assert (tmp_path / "csv").read_bytes() == shop_node.query(sql, format="csv").content
    table = pyarrow.parquet.read_table(tmp_path / "parquet")
    assert [list(row.values()) for row in table.to_pylist()] == shop_node.rows(sql)


def test_a_download_that_is_given_up_for_a_query_leaves_it_alone(console: Console) -> None:
    streams = Streams("/v1/query")
    page = console(prepare=streams.prepare)
    button(page, "CSV").click()
    streams.wait(page)
    button(page, "Events per hour").click()
    streams.wait(page, 2)
    streams.say(page, '{"columns": ["n"], "rows": [\n[1],\n')
    assert cells(page, 0) == ["1"]
    expect(button(page, "Cancel")).to_be_visible()
    streams.say(page, '[2]\n], "meta": {"elapsed_ms": 1, "rows": 2, "truncated": false, "types": ["BIGINT"]}}\n')
    streams.close(page)
    expect(page.locator("#progress")).to_have_text("2 rows in 1 ms")
    expect(page.locator("#history li")).to_have_count(1)
    expect(button(page, "Run")).to_be_visible()


def test_the_history_is_kept_without_keys_and_can_be_cleared(console: Console, shop_node: RunningNode) -> None:
    page = console()
    run(page, "SELECT 1 AS first")
    run(page, f"SELECT 2 AS second -- {shop_node.key}")
    history = page.locator("#history")
    expect(history.locator("li")).to_have_count(2)
    page.reload()
    expect(history.locator("li")).to_have_count(2)
    assert history.locator("li .past").all_text_contents() == ["SELECT 2 AS second -- nm_live_…", "SELECT 1 AS first"]
    assert shop_node.key not in page.evaluate("JSON.stringify(localStorage)")
    history.get_by_role("button", name="SELECT 1 AS first").click()
    expect(editor(page)).to_have_text("SELECT 1 AS first")
    button(page, "Clear history").click()
    expect(history.locator("li")).to_have_count(0)
    assert page.evaluate("localStorage.length") == 0


def test_a_link_fills_the_editor_and_runs_nothing(console: Console, pages: Pages, shop_node: RunningNode) -> None:
    page = console()
    sql = "SELECT 'ü & #' AS text -- "
    write(page, sql + shop_node.key)
    button(page, "Copy link").click()
    expect(page.locator("#said")).to_have_text("Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{shop_node.url}/console#q=SELECT%20")
    assert shop_node.key not in link
    pages.requests.clear()
    opened = console(link.removeprefix(f"{shop_node.url}/console"))
    expect(editor(opened)).to_have_text(sql + "nm_live_…")
    expect(opened.locator("#fields")).to_contain_text("properties.page")
    assert not [request.url for request in pages.requests if "/v1/query" in request.url]
    opened.evaluate("location.hash = '#q=SELECT%207'")
    expect(editor(opened)).to_have_text("SELECT 7")
    assert not [request.url for request in pages.requests if "/v1/query" in request.url or "SELECT" in request.url]
