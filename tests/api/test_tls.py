"""HTTPS: HTTP/1.1 and HTTP/2 by ALPN, and certificates with which a node does not start."""

import asyncio
import os
import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from novamesh.client import Client, Unreachable
from tests.api.contract import expect_error
from tests.support import DEADLINE_S, RunningNode, start_serve, wait_for

FILES = Path(__file__).parents[1] / "data" / "tls"
EVENT = {"event": "e"}


class TlsNode(RunningNode):
    """A node that is only to be reached by HTTPS."""

    trust = ssl.create_default_context(cafile=FILES / "cert.pem")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    data = tmp_path_factory.mktemp("secure") / "data"
    node = TlsNode(data, workers=1, tls_cert=FILES / "cert.pem", tls_key=FILES / "key.pem")
    yield node
    node.kill()


def test_the_address_says_https(secure: TlsNode) -> None:
    assert secure.url.startswith("https://127.0.0.1:")
    with secure.client() as client:
        assert f"{secure.url}/#api" in client.post("/v1/ingest", headers={"Authorization": ""}).json()["message"]
        assert f"{secure.url}/v1/ingest" in client.get("/").text


def test_the_python_client_trusts_what_it_is_told_to(secure: TlsNode, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(secure.url, secure.key) as client, pytest.raises(Unreachable, match=r"not trusted.*SSL_CERT_FILE"):
        client.query("SELECT 1")
    monkeypatch.setenv("SSL_CERT_FILE", str(FILES / "cert.pem"))
    with Client(secure.url, secure.key) as client:
        assert client.send([EVENT], wait=True).events == 1
        assert client.query("SELECT 1 AS x").rows == [[1]]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_both_versions(secure: TlsNode, version: str) -> None:
    with secure.client(http1=version == "HTTP/1.1", http2=version == "HTTP/2") as client:
        answer = client.post("/v1/ingest", json=EVENT)
        assert (answer.status_code, answer.http_version) == (202, version)
        wait_for(lambda: client.get("/v1/query?q=SELECT+1").status_code == 200, what="the store")
        large = "SELECT repeat('x', 1000) AS x FROM range(5000)"
        lines = client.get("/v1/query", params={"q": large, "limit": 5000, "format": "ndjson"}).text.splitlines()
        assert len(lines) == 5001
        expect_error(client.get("/v1/nothing"), 404, "not_found")
        assert client.head("/v1/health").status_code == 200


def test_http_2_is_chosen_by_alpn_where_the_client_can(secure: TlsNode) -> None:
    with secure.client(http2=True) as client:
        assert client.get("/v1/health").http_version == "HTTP/2"


def test_many_streams_on_one_connection(secure: TlsNode) -> None:
    async def post_all() -> list[int]:
        options: dict[str, Any] = {"base_url": secure.url, "headers": secure.headers, "timeout": DEADLINE_S}
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(http1=False, http2=True, verify=TlsNode.trust, limits=limits, **options) as client:
            answers = await asyncio.gather(*(client.post("/v1/ingest", json=EVENT) for _ in range(100)))
            return [answer.status_code for answer in answers]

    assert asyncio.run(post_all()) == [202] * 100


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3(secure: TlsNode, version: ssl.TLSVersion) -> None:
    context = TlsNode.trust
    context.minimum_version = context.maximum_version = version
    with httpx.Client(verify=context) as client:
        assert client.get(secure.url + "/v1/health").status_code == 200


def test_who_speaks_no_tls_gets_nothing_and_harms_nobody(secure: TlsNode) -> None:
    url = httpx.URL(secure.url)
    assert url.port
    with socket.create_connection((url.host, url.port), timeout=DEADLINE_S) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        # A TLS alert, or nothing.
        assert not connection.recv(1000).startswith(b"HTTP")
    with secure.client() as client:
        assert client.get("/v1/health").status_code == 200


def test_nobody_is_taken_in_by_another_certificate(secure: TlsNode) -> None:
    with httpx.Client() as client, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        client.get(secure.url + "/v1/health")


# ---- certificates with which a node does not start


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("none.pem", "key.pem", "tls_cert .*none.pem cannot be read: No such file"),
        ("cert.pem", "none.pem", "tls_key .*none.pem cannot be read: No such file"),
        ("cert.pem", "other-key.pem", "is not the key of the certificate"),
        ("cert.pem", "encrypted-key.pem", "is encrypted; decrypt it: openssl pkey"),
        ("cert.pem", "cert.pem", "holds no private key"),
        ("key.pem", "key.pem", "is damaged or no PEM file"),
        ("expired-cert.pem", "key.pem", "has expired; renew it"),
        ("future-cert.pem", "key.pem", "is not valid yet"),
    ],
)
def test_what_stops_the_start(tmp_path: Path, certificate: str, key: str, words: str) -> None:
    refused(tmp_path, words, tls_cert=FILES / certificate, tls_key=FILES / key)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    key = Path(shutil.copy(FILES / "key.pem", tmp_path / "key.pem"))
    key.chmod(0)
    refused(tmp_path, "cannot be read: Permission denied", tls_cert=FILES / "cert.pem", tls_key=key)


@pytest.mark.parametrize("setting", ["tls_cert", "tls_key"])
def test_one_without_the_other(tmp_path: Path, setting: str) -> None:
    refused(tmp_path, "tls_cert and tls_key go together", **{setting: FILES / "cert.pem"})


def refused(tmp_path: Path, words: str, **settings: object) -> None:
    """The node says one line, starts nothing and leaves nothing."""
    process = start_serve(tmp_path / "data", port=0, **settings)
    out, log = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out) == (1, "")
    (line,) = log.splitlines()
    assert line.startswith("novamesh: ")
    assert re.search(words, line), line
    assert not (tmp_path / "data").exists()
