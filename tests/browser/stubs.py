"""What the console's tests put in place of an endpoint: answers that come piece by piece."""

import json
from typing import Any

from playwright.sync_api import Page

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
