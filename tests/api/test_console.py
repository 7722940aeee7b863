"""GET /console and the files it loads: types, policy, caching, and nothing but those files."""

import http.client
import json
import re

import httpx
import pytest

from tests.api.contract import expect_error
from tests.support import DEADLINE_S, RunningNode


@pytest.fixture(scope="module")
def page(shared_node: RunningNode) -> httpx.Response:
    answer = httpx.get(shared_node.url + "/console")
    assert answer.status_code == 200
    return answer


def asset(page: httpx.Response, kind: str) -> str:
    found = re.search(rf'"(console/console-[0-9a-f]{{12}}\.{kind})"', page.text)
    assert found
    return "/" + found[1]


def test_the_page_needs_no_key_and_has_a_strict_policy(page: httpx.Response) -> None:
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_the_page_is_asked_for_again_and_not_sent_again(page: httpx.Response) -> None:
    assert page.headers["cache-control"] == "no-cache"
    answer = httpx.get(str(page.url), headers={"If-None-Match": page.headers["etag"]})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", page.headers["etag"])
    assert httpx.head(str(page.url), headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    assert httpx.get(str(page.url), headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(("kind", "content_type"), [("js", "text/javascript"), ("css", "text/css")])
def test_what_it_loads_is_kept_for_ever(
    page: httpx.Response, shared_node: RunningNode, kind: str, content_type: str
) -> None:
    url = shared_node.url + asset(page, kind)
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
    assert plain.headers["content-type"] == f"{content_type}; charset=utf-8"
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    packed = httpx.get(url, headers={"Accept-Encoding": "br, gzip"})
    assert (packed.headers["content-encoding"], packed.content) == ("gzip", plain.content)
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in httpx.get(url, headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_licenses(shared_node: RunningNode) -> None:
    answer = httpx.get(shared_node.url + "/console/LICENSES.txt")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert "codemirror" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/console/",
        "/console/index.html",
        "/console/manifest.json",
        "/console/console-000000000000.js",
        "/console/../LICENSES.txt",
        "/console/..%2fserving.py",
        "/console/%2e%2e/serving.py",
        "/console//etc/passwd",
        "/console/LICENSES.txt/",
        "/console/%00",
    ],
)
def test_there_is_nothing_else(shared_node: RunningNode, path: str) -> None:
    host, _, port = shared_node.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
    connection.request("GET", path)  # as it stands: other clients take dots out
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert (answer.status, json.loads(body)["error"]) == (404, "not_found")


def test_methods_and_parameters(page: httpx.Response, shared_node: RunningNode) -> None:
    for path in ("/console", asset(page, "js")):
        answer = httpx.post(shared_node.url + path)
        expect_error(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD"
        head = httpx.head(shared_node.url + path)
        assert (head.status_code, head.content) == (200, b"")
    # Links get parameters on their way that nobody here asked for.
    assert httpx.get(shared_node.url + "/console?utm_source=chat").content == page.content
