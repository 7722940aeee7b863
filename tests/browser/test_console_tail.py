"""The live tail in the console, fed by the test where what comes is to be exact, and by a node."""

import json

from playwright.sync_api import expect

from tests.browser.conftest import axe
from tests.browser.console import Console, button, key_of
from tests.browser.stubs import Streams
from tests.support import RunningNode


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


# What is said for a second only: every text of the status, from here on.
REMEMBER = """() => {
    window.statuses = [];
    const element = document.getElementById('tail-status');
    new MutationObserver(() => statuses.push(element.textContent)).observe(element, {childList: true});
}"""


def test_the_live_tail(console: Console, shop_node: RunningNode) -> None:
    streams = Streams("/v1/tail")
    page = console(prepare=streams.prepare)
    page.get_by_role("tab", name="Live tail").click()
    axe(page)
    page.get_by_label("Event", exact=True).fill("page_view")
    page.get_by_label("User", exact=True).fill("u 1")
    button(page, "Start").click()
    opened = streams.wait(page)
    assert opened["url"] == "/v1/tail?event=page_view&user_id=u+1"
    assert opened["authorization"] == f"Bearer {shop_node.key}"
    live = page.get_by_role("grid", name="Live events")
    first = live.locator('[aria-rowindex="2"]')
    streams.say(page, "retry: 1000\n\n: ping\n\n", event(1)[:40], event(1)[40:] + event(2))
    expect(first).to_contain_text("u_2")
    expect(first).to_contain_text("<b>x</b>")
    expect(page.locator("#tail-status")).to_have_text("Live.")
    expect(page.locator("#tail-count")).to_have_text("2 events.")
    button(page, "Pause").click()
    streams.say(page, event(3), 'event: dropped\ndata: {"count": 41}\n\n')
    expect(page.locator("#tail-dropped")).to_contain_text("41 events were left out")
    expect(page.locator("#said")).to_contain_text("Events are left out")
    expect(page.locator("#tail-status")).to_have_text("Live. Paused.")
    expect(page.locator("#tail-count")).to_have_text("3 events. 1 new event held back.")
    expect(first).to_contain_text("u_2")
    axe(page)
    button(page, "Pause").click()
    expect(first).to_contain_text("u_3")
    expect(page.locator("#tail-status")).to_have_text("Live.")
    expect(page.locator("#tail-count")).to_have_text("3 events.")
    page.evaluate(REMEMBER)
    streams.say(page, 'event: end\ndata: {"reason": "stopping", "message": "The node stops; connect again."}\n\n')
    streams.close(page)
    assert streams.wait(page, 2)["ended"] is False
    texts = page.evaluate("statuses")
    assert "The node stops; connect again. Connecting again in 1 s." in texts, texts
    button(page, "Stop").click()
    assert streams.wait(page, 2)["ended"] is True
    button(page, "Start").click()
    streams.wait(page, 3)
    streams.say(page, 'event: end\ndata: {"reason": "key_revoked", "message": "The key was revoked."}\n\n')
    expect(page.locator("#tail-status")).to_contain_text("The key was revoked.")
    expect(button(page, "Start")).to_be_visible()


def test_the_live_tail_of_a_real_node(console: Console, shop_node: RunningNode) -> None:
    key = key_of(shop_node, "tailed")
    page = console(key=key)
    page.get_by_role("tab", name="Live tail").click()
    page.get_by_label("Event", exact=True).fill("wanted")
    button(page, "Start").click()
    expect(page.locator("#tail-status")).to_have_text("Live.")
    for name, user in (("wanted", "u_1"), ("other", "u_2"), ("wanted", "u_3")):
        sent = shop_node.post("/v1/ingest", {"event": name, "user_id": user}, {"Authorization": f"Bearer {key}"})
        assert sent.status_code == 202
    expect(page.locator("#tail-count")).to_have_text("2 events.")
    live = page.get_by_role("grid", name="Live events")
    expect(live.locator('[aria-rowindex="2"]')).to_contain_text("u_3")
    expect(live.locator('[aria-rowindex="3"]')).to_contain_text("u_1")
    button(page, "Stop").click()
    expect(page.locator("#tail-status")).to_have_text("Stopped.")


def test_a_tail_stays_small_however_much_comes(console: Console) -> None:
    streams = Streams("/v1/tail")
    page = console(prepare=streams.prepare)
    page.get_by_role("tab", name="Live tail").click()
    button(page, "Start").click()
    streams.wait(page)
    streams.say(
        page, *["".join(event(number) for number in range(start, start + 500)) for start in range(0, 2500, 500)]
    )
    expect(page.locator("#tail-count")).to_contain_text("2,500 events, the newest 1,000 shown.")
    live = page.get_by_role("grid", name="Live events")
    expect(live).to_have_attribute("aria-rowcount", "1001")
    expect(live.locator('[aria-rowindex="2"]')).to_contain_text("u_2499")
