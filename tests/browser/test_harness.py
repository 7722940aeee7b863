"""The harness itself: what goes wrong in a page is found, and axe works below a strict policy."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.browser.conftest import Pages, axe

START = '<!doctype html><html lang="en"><title>t</title><link rel="icon" href="data:,"><main><h1>Good</h1>'
SERVED = {
    "/good": START,
    "/script": START + "<script>document.title = 'ran'</script>",
    "/elsewhere": START + '<img alt="" src="http://127.0.0.2:9/x.png">',
    "/picture": START + '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = SERVED.get(self.path, START).encode()
        self.send_response(200 if self.path in SERVED else 404)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-security-policy", "default-src 'none'; img-src http: data:")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/good", []),
        ("/script", ["Content Security Policy"]),
        ("/elsewhere", ["another origin: http://127.0.0.2:9/x.png", "net::ERR"]),
        ("/nothing", ["status of 404"]),
    ],
)
def test_what_goes_wrong_is_found(pages: Pages, url: str, path: str, wrong: list[str]) -> None:
    page = pages(url + path)
    page.wait_for_load_state()
    pages.close()
    found, pages.wrong = pages.wrong, []
    assert len(found) == len(wrong), found
    assert all(part in text for part, text in zip(wrong, sorted(found, reverse=True), strict=True)), found


def test_an_exception_is_found(pages: Pages, url: str) -> None:
    page = pages(url + "/good")
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('on purpose') }, 0)")
    pages.close()
    found, pages.wrong = pages.wrong, []
    assert len(found) == 1
    assert "on purpose" in found[0]


def test_what_is_expected_is_let_pass(pages: Pages, url: str) -> None:
    pages(url + "/nothing", expected=("status of 404",))


def test_axe_works_below_a_strict_policy(pages: Pages, url: str) -> None:
    axe(pages(url + "/good"))
    with pytest.raises(AssertionError, match="image-alt"):
        axe(pages(url + "/picture"))
    axe(pages(url + "/picture"), without=["image-alt"])
