"""The proxies of deploy/ in front of a real node: what passes, what does not, and that nothing is held up."""

import contextlib
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from novamesh.config import free_port
from tests.support import DEADLINE_S, RunningNode, running_node, wait_for

ROOT = Path(__file__).parents[2]
TLS = ROOT / "tests/data/tls"
# The first 3 KB come at once, and then nothing for as long as one can wait: less than a proxy's buffer.
SLOW = {"q": "SELECT 1 AS i FROM range(1000000000000) t(i) WHERE i < 3000", "format": "csv"}
ENDLESS = "SELECT i, repeat('x', 1000) AS x FROM range(1000000000000) t(i)"


def nginx(directory: Path, node: int, port: int) -> list[str]:
    """The configuration with other addresses, in what the package has around it; one process, so that it can be killed."""
    text = (ROOT / "deploy/nginx.conf").read_text()
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{node}").replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("/etc/ssl/events.example.org.pem", f"{TLS}/cert.pem")
    text = text.replace("/etc/ssl/events.example.org.key", f"{TLS}/key.pem")
    temporary = "".join(
        f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    frame = f"pid {directory}/pid; events {{}} http {{ access_log off; {temporary}\n{text}\n}}"
    (directory / "nginx.conf").write_text(frame)
    log = str(directory / "log")
    return [
        "nginx",
        "-p",
        str(directory),
        "-e",
        log,
        "-c",
        str(directory / "nginx.conf"),
        "-g",
        "daemon off; master_process off;",
    ]


def caddy(directory: Path, node: int, port: int) -> list[str]:
    text = (ROOT / "deploy/Caddyfile").read_text().replace("127.0.0.1:8000", f"127.0.0.1:{node}")
    site = f"https://127.0.0.1:{port} {{\n\ttls {TLS}/cert.pem {TLS}/key.pem\n"
    text = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text.replace("events.example.org {\n", site)
    (directory / "Caddyfile").write_text(text)
    return ["caddy", "run", "--config", str(directory / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running_node(tmp_path_factory.mktemp("proxied") / "data", workers=1) as node:
        node.count()  # once the store is there
        yield node


@pytest.fixture(scope="module", params=PROXIES)
def proxied(
    request: pytest.FixtureRequest, node: RunningNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of the node by way of the proxy."""
    name = request.param
    if not shutil.which(name):
        pytest.skip(f"there is no {name}")
    directory = tmp_path_factory.mktemp(name)
    port = free_port("127.0.0.1")
    command = PROXIES[name](directory, int(node.url.rpartition(":")[2]), port)
    home = {"HOME": str(directory), "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, env=home, stdout=log, stderr=log)
    try:
        trust = ssl.create_default_context(cafile=TLS / "cert.pem")
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}", headers=node.headers, verify=trust, timeout=DEADLINE_S
        ) as client:

            def answers() -> bool:
                assert process.poll() is None, (directory / "log").read_text()
                with contextlib.suppress(httpx.TransportError):
                    return client.get("/v1/health").status_code == 200
                return False

            wait_for(answers, what="the proxy")
            yield client
    finally:
        process.kill()
        process.wait()


def test_events_and_queries_pass(proxied: httpx.Client) -> None:
    assert proxied.post("/v1/batch?wait=stored", json={"events": [{"event": "proxied"}]}).status_code == 202
    answer = proxied.get("/v1/query", params={"q": "SELECT count() > 0 FROM events WHERE event = 'proxied'"})
    assert answer.json()["rows"] == [[True]]


@pytest.mark.parametrize("path", ["/metrics", "/v1/ready"])
def test_what_is_nobody_s_business_does_not(proxied: httpx.Client, path: str) -> None:
    assert proxied.get(path).status_code == 404


@pytest.mark.parametrize(("path", "size"), [("/v1/ingest", 300_000), ("/v1/batch", 11_000_000)])
def test_what_is_too_large_is_refused(proxied: httpx.Client, path: str, size: int) -> None:
    event = {"event": "e", "properties": {"x": "x" * size}}
    answer = proxied.post(path, json=event if path == "/v1/ingest" else {"events": [event]})
    assert (answer.status_code, answer.json()["error"]) == (413, "payload_too_large")


def test_what_is_refused_before_its_body_is_there_is_told(proxied: httpx.Client) -> None:
    """The node closes no connection on which the proxy still sends: that would be a 502 without a word."""
    for _ in range(10):  # who is first with its part is another each time
        answer = proxied.post("/v1/batch", content=b"x" * 5_000_000, headers={"Authorization": "Bearer x"})
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")


def test_a_long_address_passes(proxied: httpx.Client) -> None:
    answer = proxied.get("/v1/query", params={"q": f"SELECT 1 AS one /* {'x' * 60_000} */"})
    assert answer.json()["columns"] == ["one"]


def test_an_error_keeps_its_shape_and_headers(proxied: httpx.Client) -> None:
    answer = proxied.post("/v1/ingest", json={"event": "e"}, headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert re.fullmatch(r"API key required\. See \S+", answer.json()["message"])


def test_the_first_rows_are_not_held_back(proxied: httpx.Client) -> None:
    with proxied.stream("GET", "/v1/export", params=SLOW) as answer:
        assert next(answer.iter_lines()) == "i"


def test_a_client_that_has_gone_is_gone_for_the_node(proxied: httpx.Client) -> None:
    """A key has one export at once: the second gets its turn when the first has ended."""
    with proxied.stream("GET", "/v1/export", params={"q": ENDLESS}) as answer:
        assert next(answer.iter_raw())
    assert proxied.get("/v1/export", params={"q": "SELECT 1 AS one"}).text.startswith('{"one":1}')
