"""What the console's tests put in place of an endpoint: a schema, and answers that come piece by piece."""

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

# An answer that the test writes, piece by piece: `streams` in the page has one for each request of the path.
_STREAMS = """
(() => {
    const real = window.fetch;
    window.streams = [];
    window.fetch = (address, options) => {
        const url = new URL(address, location.href);
        if (url.pathname !== PATH) return real(address, options);
        const stream = {url: url.pathname + url.search, authorization: options.headers.get('authorization'), ended: false};
        const body = new ReadableStream({
            start: (controller) => {
                stream.say = (text) => controller.enqueue(new TextEncoder().encode(text));
                stream.close = () => controller.close();
                options.signal.addEventListener('abort', () => { stream.ended = true; controller.error(options.signal.reason); });
            },
        });
        window.streams.push(stream);
        return Promise.resolve(new Response(body, {status: 200}));
    };
})();
"""


class Streams:
    """Stands in for a path whose answers take time."""

    def __init__(self, path: str) -> None:
        self._script = _STREAMS.replace("PATH", json.dumps(path))

    def prepare(self, page: Page) -> None:
        page.add_init_script(self._script)

    def wait(self, page: Page, count: int = 1) -> dict[str, Any]:
        """The newest of so many requests."""
        page.wait_for_function("(count) => streams.length >= count", arg=count)
        newest: dict[str, Any] = page.evaluate(
            "(({url, authorization, ended}) => ({url, authorization, ended}))(streams.at(-1))"
        )
        return newest

    def say(self, page: Page, *texts: str) -> None:
        page.evaluate("(texts) => texts.forEach((text) => streams.at(-1).say(text))", list(texts))

    def close(self, page: Page) -> None:
        page.evaluate("streams.at(-1).close()")


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
