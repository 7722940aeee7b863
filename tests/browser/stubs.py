"""What a console's tests put in place of an endpoint: the schema while a node has none, and a tail that tells what it is told."""

import json
from typing import Any

import httpx
from playwright.sync_api import Page, Route

from tests.support import RunningNode

COLUMNS = {
    "id": "UUID",
    "event": "VARCHAR",
    "user_id": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "properties": "VARIANT",
    "context": "VARIANT",
    "received_at": "TIMESTAMP",
    "batch_id": "VARCHAR",
}
PROPERTIES = (
    ("properties.page", "page", "string", 0.96, ["/", "/pricing"]),
    ("context.device", "device", "string", 1.0, ["desktop", "phone"]),
    ("context.app.version", "version", "string", 1.0, ["2.4.0"]),
    ("properties.referrer", "referrer", "string", 0.62, ["google", "direct"]),
    ("properties.load_ms", "load_ms", "integer", 0.62, [231, 402]),
    ("properties.button", "button", "string", 0.21, ["buy"]),
    ("properties.cart.total", "total", "integer", 0.13, [4_900]),
    ("properties.cart.currency", "currency", "string", 0.13, ["EUR"]),
    ("properties.plan", "plan", "string", 0.04, ["free", "team"]),
)

# A tail whose stream the test writes, because a real one drops events only when it is flooded.
TAIL = """
const real = window.fetch;
window.tails = [];
window.fetch = (address, options) => {
    const url = new URL(address, location.href);
    if (!url.pathname.endsWith('/v1/tail')) return real(address, options);
    const tail = {url: url.pathname + url.search, ended: false};
    const encoder = new TextEncoder();
    const body = new ReadableStream({
        start: (controller) => {
            tail.say = (text) => controller.enqueue(encoder.encode(text));
            tail.close = () => controller.close();
            options.signal.addEventListener('abort', () => { tail.ended = true; controller.error(options.signal.reason); });
        },
        cancel: () => { tail.ended = true; },
    });
    tail.authorization = options.headers.get('authorization');
    window.tails.push(tail);
    return Promise.resolve(new Response(body, {headers: {'content-type': 'text/event-stream'}}));
};
"""


def schema(events: list[tuple[str, int]]) -> dict[str, Any]:
    """A schema as ``GET /v1/schema`` answers it."""
    return {
        "columns": [{"name": name, "type": kind} for name, kind in COLUMNS.items()],
        "events": [{"name": name, "count": count} for name, count in events],
        "properties": [
            {"path": path, "name": name, "types": [kind], "share": share, "examples": examples}
            for path, name, kind, share, examples in (PROPERTIES if events else ())
        ],
        "functions": ["avg", "count", "count_if", "date_trunc", "max", "min", "quantile_cont", "sum"],
        "sampled": 50_000,
        "truncated": False,
    }


def stub_schema(node: RunningNode, page: Page, *, events: list[tuple[str, int]] | None = None) -> None:
    """Answer for the schema: with ``events``, or with the node's own if the node does not answer itself."""
    if events is None:
        if httpx.get(node.url + "/v1/schema", headers=node.headers).status_code != 404:
            return
        counts = node.rows("SELECT event, count() FROM events GROUP BY event ORDER BY count DESC")
        events = [(name, count) for name, count in counts]
    body = json.dumps(schema(events))

    def answer(route: Route) -> None:
        if route.request.headers.get("authorization") == f"Bearer {node.key}":
            route.fulfill(status=200, content_type="application/json", body=body)
            return
        error = {"error": "unauthorized", "message": f"API key required. See {node.url}/#api"}
        route.fulfill(status=401, content_type="application/json", body=json.dumps(error))

    page.route("**/v1/schema", answer)
