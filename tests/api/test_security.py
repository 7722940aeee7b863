"""What docs/security.md says, seen from outside."""

import base64
import gzip
import json
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.api.contract import connected, expect_error, head, read_to_end, stored
from tests.support import DEADLINE_S, RunningNode, running_node, wait_for

EVENT = b'{"event":"e"}'


# ---- a key is told to nobody


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    data = tmp_path_factory.mktemp("talkative") / "data"
    with running_node(data, workers=1, log_level="debug") as node:
        node.settle()
        yield node


def in_odd_places(key: str) -> list[tuple[str, str, dict[str, str], bytes]]:
    """Method, path and query, headers, body."""
    basic = base64.b64encode(f"{key}:".encode()).decode()
    asks = {"Authorization": f"Bearer {key}"}
    sql = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    return [
        ("GET", f"/v1/query?key={key}", {}, b""),
        ("GET", f"/v1/query?q=SELECT+1&{key}=1", asks, b""),
        ("GET", f"/v1/query?q=SELECT+{key}", asks, b""),
        ("GET", f"/v1/query?q=SELECT+1&format={key}", asks, b""),
        ("GET", f"/v1/query?q=SELECT+'{key}'::INT", asks, b""),
        ("GET", f"/v1/export?q=SELECT+1&cursor={key}", asks, b""),
        ("GET", f"/{key}", {}, b""),
        ("GET", f"/v1/ingest/{key}", asks, b""),
        ("DELETE", f"/v1/ingest?{key}", {}, b""),
        ("POST", f"/v1/ingest?{key}", asks, EVENT),
        ("POST", f"/v1/batch?partial={key}", asks, EVENT),
        ("POST", "/v1/ingest", {"Authorization": f"Basic {basic}"}, EVENT),
        ("POST", "/v1/ingest", {"Authorization": f"Token {key}"}, EVENT),
        ("POST", "/v1/ingest", {"Authorization": key}, EVENT),
        ("POST", "/v1/ingest", {"Authorization": f"Bearer {key}{key}"}, EVENT),
        ("POST", "/v1/ingest", {"X-Api-Key": key}, EVENT),
        ("POST", "/v1/ingest", {**asks, "Content-Type": key}, EVENT),
        ("POST", "/v1/ingest", {**asks, "Content-Encoding": key}, EVENT),
        ("POST", "/v1/ingest", asks, b'{"event":"","%s":1}' % key.encode()),
        ("POST", "/v1/ingest", asks, b'{"event":"e","timestamp":"%s"}' % key.encode()),
        ("POST", "/v1/ingest", asks, b'{"event":"e" %s' % key.encode()),
        ("POST", "/v1/batch", asks, b'{"events":[{"event":"e","%s":1}]}' % key.encode()),
        ("POST", "/v1/query", sql, b'{"q":"SELECT 1","%s":1}' % key.encode()),
        ("POST", "/v1/query", sql, b'{"q":"SELECT * FROM %s"}' % key.encode()),
        ("POST", "/v1/query", sql, b'{"q":"SELECT $%s"}' % key.encode()),
        (key, "/v1/ingest", {}, b""),
    ]


def test_a_key_in_odd_places_is_in_no_error_and_no_log(talkative: RunningNode) -> None:
    wrong = "nm_test_" + "wW7" * 10 + "xy"
    for key in (talkative.key, wrong):
        secret = key.partition("_")[2].partition("_")[2]
        for method, path, headers, body in in_odd_places(key):
            url = talkative.url + path
            answer = httpx.request(method, url, headers=headers, content=body, timeout=DEADLINE_S)
            assert answer.status_code >= 400, (method, path)
            for told in (answer.text, str(answer.headers)):
                assert secret[:8] not in told, (method, path, told)
        assert secret[:8] not in talkative.log


# ---- one request is one request


def smuggled(*headers: str, body: bytes) -> bytes:
    """A request with headers that two readers might understand differently, and what one of them would take for a
    second request."""
    return head("POST /v1/health", *headers) + body


AMBIGUOUS = {
    "length and chunks": (("Content-Length: 4", "Transfer-Encoding: chunked"), b"1\r\nZ\r\n0\r\n\r\n"),
    "two lengths": (("Content-Length: 0", "Content-Length: 40"), b""),
    "a list of lengths": (("Content-Length: 0, 40",), b""),
    "length with a sign": (("Content-Length: +0",), b""),
    "length in hex": (("Content-Length: 0x0",), b""),
    "length twice": (("Content-Length: 0", "Content-Length: 0"), b""),
    "chunked and not": (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
    "chunked twice": (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "almost chunked": (("Transfer-Encoding: xchunked", "Content-Length: 0"), b""),
    "a space before the colon": (("Transfer-Encoding : chunked", "Content-Length: 0"), b""),
    "a folded header": (("X: y\r\n Transfer-Encoding: chunked", "Content-Length: 0"), b""),
    "a null": (("Transfer-Encoding: chunked\0", "Content-Length: 0"), b""),
    "a vertical tab": (("Transfer-Encoding: \x0bchunked", "Content-Length: 0"), b""),
    "a bare CR": (("X: y\rTransfer-Encoding: chunked", "Content-Length: 0"), b""),
    "a chunk of a negative size": (("Transfer-Encoding: chunked",), b"-1\r\n\r\n"),
    "a chunk beyond 64 bits": (("Transfer-Encoding: chunked",), b"FFFFFFFFFFFFFFFFF\r\n\r\n"),
}
# These have one meaning: the same length twice (RFC 9110, 8.6), and a coding of which only the last is chunked.
ONE_MEANING = {"length twice", "chunked twice"}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_has_two_meanings_has_one_answer_and_ends_the_connection(shared_node: RunningNode, name: str) -> None:
    headers, body = AMBIGUOUS[name]
    inner = head("GET /v1/smuggled")
    with connected(shared_node) as connection:
        connection.sendall(smuggled(*headers, body=body) + inner)
        connection.shutdown(socket.SHUT_WR)
        content = read_to_end(connection)
    statuses = [part.split()[0] for part in content.decode().split("HTTP/1.1 ")[1:]]
    if name in ONE_MEANING:
        assert statuses in (["400"], ["405", "404"], ["405"], []), statuses
    else:
        assert "404" not in statuses, content
        assert len(statuses) <= 1, content


def test_chunks_win_over_a_length_and_the_connection_ends(shared_node: RunningNode, user: str) -> None:
    event = b'{"event":"e","user_id":"%s"}' % user.encode()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event)
    key = f"Authorization: Bearer {shared_node.key}"
    request = head("POST /v1/ingest", key, f"Content-Length: {len(chunks)}", "Transfer-Encoding: chunked") + chunks
    with connected(shared_node) as connection:
        connection.sendall(request + head("GET /v1/smuggled"))
        content = read_to_end(connection)
    assert content.count(b"HTTP/1.1 ") == 1
    stored(shared_node, user, 1)


def test_of_two_authorizations_the_first_counts(shared_node: RunningNode) -> None:
    right, wrong = f"Authorization: Bearer {shared_node.key}", "Authorization: Bearer nm_live_" + "x" * 32
    for pair, status in (((right, wrong), b"202"), ((wrong, right), b"401")):
        with connected(shared_node) as connection:
            connection.sendall(
                head("POST /v1/ingest", *pair, f"Content-Length: {len(EVENT)}", "Connection: close") + EVENT
            )
            assert read_to_end(connection).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "path", ["/%0d%0aX-Injected:%20y", "/v1/query?q=%0d%0aX-Injected:%20y&format=%0d%0aX-Injected:y"]
)
def test_no_header_comes_from_a_request(shared_node: RunningNode, path: str) -> None:
    with connected(shared_node) as connection:
        connection.sendall(head(f"GET {path}", f"Authorization: Bearer {shared_node.key}", "Connection: close"))
        top = read_to_end(connection).partition(b"\r\n\r\n")[0].lower()
    assert b"x-injected" not in top


# ---- SQL reaches no file and no network


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('http://{address}/x')",
        "SELECT * FROM 'http://{address}/x.csv'",
        "SELECT * FROM read_json('http://{address}/latest/meta-data/')",
        "ATTACH 'http://{address}/x' AS x",
        "INSTALL httpfs FROM 'http://{address}'",
        "LOAD '/tmp/x.so'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "COPY (SELECT 1) TO 'http://{address}/x'",
        "EXPORT DATABASE '/tmp/x'",
        "SELECT getenv('PATH')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM p_other.events",
        "SET enable_external_access = true",
        "PRAGMA database_list",
        "WITH x AS (SELECT * FROM read_blob('/etc/passwd')) SELECT * FROM x",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT 1; SELECT 2",
    ],
)
def test_sql_that_reaches_out(shared_node: RunningNode, listener: socket.socket, sql: str) -> None:
    host, port = listener.getsockname()
    answer = shared_node.query(sql.format(address=f"{host}:{port}"))
    assert answer.status_code in (400, 403)
    assert answer.json()["error"] in ("query_not_allowed", "invalid_query")
    assert "root:" not in answer.text
    with pytest.raises(BlockingIOError):
        listener.accept()


# ---- nobody else on the machine


def test_nobody_else_may_read_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)  # made beforehand, as a package would
    data.chmod(0o755)
    with running_node(data, workers=1) as node:
        assert node.post("/v1/ingest", EVENT).status_code == 202
        node.wait_for_count(1)
        for path in data.rglob("*"):
            with suppress(FileNotFoundError):  # the node removes some
                mode = path.stat().st_mode
                assert not mode & (stat.S_IRWXG | stat.S_IRWXO), f"{path.relative_to(data)} {stat.filemode(mode)}"
        assert stat.S_ISSOCK((data / "run" / "store.sock").stat().st_mode)


def test_a_new_data_directory_is_closed_to_others(shared_node: RunningNode) -> None:
    assert stat.S_IMODE(shared_node.data_dir.stat().st_mode) == 0o700


# ---- bombs


def test_what_grows_is_stopped_where_it_is_too_large(shared_node: RunningNode) -> None:
    for path, size in (("/v1/ingest", 10_000_000), ("/v1/batch", 200_000_000)):
        bomb = gzip.compress(b" " * size, 9)
        expect_error(shared_node.post(path, bomb, {"Content-Encoding": "gzip"}), 413, "payload_too_large")
    nested = b'{"event":"e","properties":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001
    answer = shared_node.post("/v1/batch", b'{"events":[' + nested + b"]}")
    assert answer.status_code == 400
    assert json.loads(answer.content)["error"] in ("invalid_json", "invalid_event")
    wait_for(lambda: httpx.get(shared_node.url + "/v1/health").status_code == 200, what="a node that is well")
