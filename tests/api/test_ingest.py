"""POST /v1/ingest: one event, row by row of the contract."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.contract import JSON, deflated, encoded, expect_error, stored, zstandard, zstd
from tests.support import RunningNode, run_cli, wait_for

ACCEPTED = {"accepted": True, "queued": 1}
LIMIT = 256 * 1024


def post(client: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/ingest", content=content, headers={**JSON, **names})


def nested(levels: int) -> bytes:
    """Properties with this many levels of objects, themselves the first."""
    return b'{"a":' * levels + b"1" + b"}" * levels


# ---- what is accepted


@pytest.mark.parametrize(
    "event",
    [
        {"event": "page_view"},
        {"event": "x" * 200},
        {"event": "購入 🛒"},
        {"event": "e", "properties": {}, "context": {}},
        {"event": "e", "properties": None, "user_id": None, "timestamp": None, "id": None, "context": None},
        {"event": "e", "user_id": ""},
        {"event": "e", "timestamp": "2026-01-31"},
        {"event": "e", "timestamp": "2026-01-31T13:45:00+02:00"},
        {"event": "e", "id": "order-1-☃"},
        {"event": "e", "context": {"app": "shop"}, "properties": {"": 1, "a b": [[], {}, None]}},
    ],
    ids=str,
)
def test_accepted(client: httpx.Client, event: dict[str, Any]) -> None:
    answer = client.post("/v1/ingest", json=event)
    assert (answer.status_code, answer.json()) == (202, ACCEPTED)
    assert answer.headers["content-type"] == "application/json"


def test_the_documented_body(client: httpx.Client) -> None:
    assert client.post("/v1/ingest", json={"event": "e"}).text == '{"accepted": true, "queued": 1}'


def test_an_event_is_stored_with_all_its_fields(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    event = {"event": "click", "user_id": user, "properties": {"x": 1}, "context": {"app": "shop"}}
    assert client.post("/v1/ingest", json={**event, "timestamp": "2026-01-31T01:00:00+02:00"}).status_code == 202
    rows = stored(shared_node, user, 1, "event, user_id, timestamp, properties, context, batch_id")
    assert rows == [["click", user, "2026-01-30T23:00:00Z", {"x": 1}, {"app": "shop"}, None]]


def test_the_default_timestamp_is_the_time_of_receipt(
    client: httpx.Client, shared_node: RunningNode, user: str
) -> None:
    assert client.post("/v1/ingest", json={"event": "e", "user_id": user}).status_code == 202
    columns = "timestamp = received_at, received_at BETWEEN now() - INTERVAL 1 HOUR AND now() + INTERVAL 1 HOUR"
    assert stored(shared_node, user, 1, columns) == [[True, True]]


# ---- who may


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer nm_live_00000000000000000000000000000000",
        "Basic dXNlcjpwYXNz",
        "Token {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer Bearer {key}",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/ingest"), ("POST", "/v1/batch"), ("GET", "/v1/query")])
def test_no_key_or_a_wrong_one(shared_node: RunningNode, authorization: str | None, method: str, path: str) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.format(key=shared_node.key)}
    answer = httpx.request(method, shared_node.url + path, headers=headers)
    expect_error(answer, 401, "unauthorized")
    assert answer.text == f'{{"error":"unauthorized","message":"API key required. See {shared_node.url}/#api"}}'


@pytest.mark.parametrize("authorization", ["Bearer {key}", "bearer {key}", "BEARER {key}", "Bearer   {key}"])
def test_a_key(shared_node: RunningNode, authorization: str) -> None:
    headers = {"Authorization": authorization.format(key=shared_node.key)}
    assert httpx.post(shared_node.url + "/v1/ingest", json={"event": "e"}, headers=headers).status_code == 202


def test_a_key_is_looked_at_before_the_body(shared_node: RunningNode) -> None:
    answer = httpx.post(shared_node.url + "/v1/ingest", content=b"{" * 3_000_000)
    expect_error(answer, 401, "unauthorized")


def test_the_wrong_scope(shared_node: RunningNode) -> None:
    created = run_cli("keys", "create", "--scope", "query", "--data-dir", shared_node.data_dir)
    headers = {"Authorization": f"Bearer {created.stdout.strip()}"}
    with httpx.Client(base_url=shared_node.url, headers=headers) as client:
        question = {"q": "SELECT 1"}
        wait_for(lambda: client.get("/v1/query", params=question).status_code == 200, what="the new key")
        for path in ("/v1/ingest", "/v1/batch"):
            body = expect_error(client.post(path, json={"event": "e"}), 403, "forbidden")
            assert "ingest" in body["message"]


# ---- what is refused


@pytest.mark.parametrize(
    ("event", "pointer", "words"),
    [
        ({}, "/event", "`event` is required"),
        ({"event": None}, "/event", "`event` is required"),
        ({"event": ""}, "/event", "blank"),
        ({"event": " \t"}, "/event", "blank"),
        ({"event": "x" * 201}, "/event", "200 characters"),
        ({"event": 5}, "/event", "must be a string, not a number"),
        ({"event": ["e"]}, "/event", "must be a string, not an array"),
        ({"event": "e", "properties": []}, "/properties", "must be an object, not an array"),
        ({"event": "e", "properties": "a=1"}, "/properties", "must be an object, not a string"),
        ({"event": "e", "context": True}, "/context", "must be an object, not a boolean"),
        ({"event": "e", "user_id": 42}, "/user_id", "must be a string, not a number"),
        ({"event": "e", "timestamp": 1767225600}, "/timestamp", "must be a string"),
        ({"event": "e", "timestamp": "yesterday"}, "/timestamp", "ISO 8601"),
        ({"event": "e", "timestamp": "2026-02-30"}, "/timestamp", "ISO 8601"),
        ({"event": "e", "timestamp": "1969-12-31T23:59:59Z"}, "/timestamp", "1970 to 2100"),
        ({"event": "e", "timestamp": ""}, "/timestamp", "ISO 8601"),
        ({"event": "e", "id": ""}, "/id", "blank"),
        ({"event": "e", "id": 7}, "/id", "must be a string"),
        ({"event": "e", "userId": "u"}, "/userId", "did you mean `user_id`?"),
        ({"event": "e", "propertise": {}}, "/propertise", "did you mean `properties`?"),
        ({"event": "e", "time": "2026-01-31"}, "/time", "did you mean `timestamp`?"),
        ({"event": "e", "zzz": 1}, "/zzz", "put it inside `properties`"),
        ({"event": "e", "a/b~c": 1}, "/a~1b~0c", "`a/b~c` is not a known field"),
        ({"event": "e", "events": []}, "/events", "POST /v1/batch"),
        ([{"event": "e"}], "", "POST /v1/batch"),
        ("e", "", "not a string"),
        (None, "", "not null"),
    ],
    ids=str,
)
def test_refused(client: httpx.Client, event: object, pointer: str, words: str) -> None:
    body = expect_error(post(client, encoded(event)), 400, "invalid_event")
    assert [detail["pointer"] for detail in body["details"]] == [pointer]
    assert words in body["details"][0]["message"]
    assert body["message"] == body["details"][0]["message"]


def test_all_faults_of_an_event_are_told(client: httpx.Client) -> None:
    event = {"event": 1, "user_id": 2, "timestamp": "x", "userId": "u"}
    body = expect_error(client.post("/v1/ingest", json=event), 400, "invalid_event")
    assert {detail["pointer"] for detail in body["details"]} == {"/event", "/user_id", "/timestamp", "/userId"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"{", "ends before"),
        (b'{"event":"e"', "ends before"),
        (b'{"event":"e",}', "Correct the JSON"),
        (b'{"event":"e"}{"event":"e"}', "Correct the JSON"),
        (b"{'event':'e'}", "Correct the JSON"),
        (b'{"event":"e","properties":{"x":NaN}}', "NaN"),
        (b'{"event":"e","properties":{"x":-Infinity}}', "Infinity"),
        (b'{"event":"e","properties":{"x":01}}', "Correct the JSON"),
        (b'{"event":"\xff"}', "UTF-8"),
        (b'{"event":"\xed\xa0\x80"}', "UTF-8"),
        ('{"event":"é"}'.encode("latin-1"), "UTF-8"),
        ('{"event":"e"}'.encode("utf-16"), "byte order mark"),
        (b'\xef\xbb\xbf{"event":"e"}', "byte order mark"),
        (b'{"event":"\\ud800"}', "surrogate"),
        (b'{"event":"e","properties":{"x":"\\udc00"}}', "surrogate"),
        (b'{"event":"a\nb"}', "Correct the JSON"),
        (b"\x00" * 100, "Correct the JSON"),
        (b"\x7fELF\x02\x01\x01" + bytes(range(256)), "UTF-8"),
        (b"event=e&user_id=u", "Correct the JSON"),
    ],
    ids=repr,
)
def test_what_is_not_json(client: httpx.Client, content: bytes, words: str) -> None:
    assert words in expect_error(post(client, content), 400, "invalid_json")["message"]


def test_random_bytes_are_never_a_fault_of_the_node(client: httpx.Client) -> None:
    for encoding in ("identity", "gzip", "deflate", "zstd"):
        for size in (1, 10, 1000, 100_000):
            assert post(client, os.urandom(size), Content_Encoding=encoding).status_code == 400


def test_depth(client: httpx.Client) -> None:
    for name in (b"properties", b"context"):
        assert post(client, b'{"event":"e","%s":%s}' % (name, nested(32))).status_code == 202
        for levels in (33, 1000, 20_000):
            body = expect_error(post(client, b'{"event":"e","%s":%s}' % (name, nested(levels))), 400, "invalid_event")
            assert "32 levels" in body["message"]


@pytest.mark.parametrize("number", ["1e400", "-1e400", str(2**64), str(-(2**63) - 1), "9" * 5000])
def test_numbers_that_cannot_be_kept(client: httpx.Client, number: str) -> None:
    content = f'{{"event":"e","properties":{{"a":[0,{{"b":{number}}}]}}}}'.encode()
    body = expect_error(post(client, content), 400, "invalid_event")
    assert body["details"][0]["pointer"] == "/properties/a/1/b"
    assert "send it as a string" in body["message"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("partial=true", "knows `wait`"),
        ("q=1", "knows `wait`"),
        ("%ff", "percent-encode"),
        ("a=1&a=1", "knows `wait`"),
        ("wiat=stored", "did you mean `wait`?"),
        ("wait=stored&wait=stored", "given twice"),
    ],
)
def test_it_has_no_other_parameters(client: httpx.Client, query: str, words: str) -> None:
    body = expect_error(client.post(f"/v1/ingest?{query}", json={"event": "e"}), 400, "invalid_parameter")
    assert words in body["message"]


# ---- twice


def test_an_id_is_stored_once(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    for properties in ({"n": 1}, {"n": 2}, {"n": 1}):
        event = {"event": "e", "user_id": user, "id": f"id-{user}", "properties": properties}
        assert client.post("/v1/ingest", json=event).json() == ACCEPTED
    shared_node.settle()
    assert stored(shared_node, user, 1, "properties") == [[{"n": 1}]]


def test_events_without_an_id_are_each_stored(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    for _ in range(3):
        assert client.post("/v1/ingest", json={"event": "e", "user_id": user}).json() == ACCEPTED
    assert len(stored(shared_node, user, 3)) == 3


def test_an_idempotency_key_is_stored_once(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    for name in ("first", "second"):
        answer = post(client, encoded({"event": name, "user_id": user}), Idempotency_Key=f"k-{user}")
        assert (answer.status_code, answer.json()) == (202, ACCEPTED)
    shared_node.settle()
    assert stored(shared_node, user, 1) == [["first"]]


@pytest.mark.parametrize("key", [b"", b"x" * 256, "ключ".encode(), b"\xff"])
def test_an_idempotency_key_that_cannot_be_kept(client: httpx.Client, key: bytes) -> None:
    headers = [(b"Content-Type", b"application/json"), (b"Idempotency-Key", key)]
    answer = client.post("/v1/ingest", content=b'{"event":"e"}', headers=headers)
    assert "dempotency" in expect_error(answer, 400, "invalid_parameter")["message"]


# ---- how it is sent


def large_event(size: int, user: str = "u") -> bytes:
    """An event of exactly this many bytes."""
    start = b'{"event":"e","user_id":"%s","properties":{"x":"' % user.encode()
    return start + b"x" * (size - len(start) - 3) + b'"}}'


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "GZIP": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard,
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings(client: httpx.Client, encoding: str) -> None:
    for content in (b'{"event":"e"}', large_event(LIMIT)):
        answer = post(client, ENCODINGS[encoding](content), Content_Encoding=encoding)
        assert (answer.status_code, answer.json()) == (202, ACCEPTED)


def test_raw_deflate(client: httpx.Client) -> None:
    assert post(client, deflated(b'{"event":"e"}'), Content_Encoding="deflate").status_code == 202


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard)])
def test_several_members(client: httpx.Client, encoding: str, compress: Any) -> None:
    content = compress(b'{"event":') + compress(b"") + compress(b'"e"}')
    assert post(client, content, Content_Encoding=encoding).status_code == 202
    # So many that each must be cheap.
    body = expect_error(post(client, compress(b"") * 12_000, Content_Encoding=encoding), 400, "invalid_encoding")
    assert "compress it as one" in body["message"]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", deflated), ("zstd", zstandard)],
)
def test_what_does_not_decompress(client: httpx.Client, encoding: str, compress: Any) -> None:
    whole = compress(large_event(20_000))
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:1], whole + b"rubbish!", b'{"event":"e"}'):
        body = expect_error(post(client, content, Content_Encoding=encoding), 400, "invalid_encoding")
        assert encoding in body["message"]


def test_an_empty_body_is_empty_in_every_encoding(client: httpx.Client) -> None:
    for encoding in ENCODINGS:
        assert "empty" in expect_error(post(client, b"", Content_Encoding=encoding), 400, "invalid_json")["message"]


@pytest.mark.parametrize("encoding", ["br", "compress", "lz4", "gzip, gzip", "gzip, identity", "utf-8"])
def test_encodings_that_are_not_known(client: httpx.Client, encoding: str) -> None:
    answer = post(client, b"{}", Content_Encoding=encoding)
    body = expect_error(answer, 415, "unsupported_media_type")
    assert answer.headers["accept-encoding"] == "gzip, zstd, deflate, identity"
    assert "gzip, zstd, deflate" in body["message"]


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="utf8"',
        "application/json;",
    ],
)
def test_content_types(client: httpx.Client, kind: str) -> None:
    assert post(client, b'{"event":"e"}', Content_Type=kind).status_code == 202


def test_a_missing_content_type_is_json(client: httpx.Client) -> None:
    assert client.post("/v1/ingest", content=b'{"event":"e"}').status_code == 202


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/x-ndjson",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "rubbish",
    ],
)
def test_content_types_that_are_not_json(client: httpx.Client, kind: str) -> None:
    answer = post(client, b'{"event":"e"}', Content_Type=kind)
    body = expect_error(answer, 415, "unsupported_media_type")
    assert answer.headers["accept"] == "application/json"
    assert "application/json" in body["message"]


def test_headers_that_cannot_be_read(client: httpx.Client) -> None:
    for name in (b"Content-Type", b"Content-Encoding"):
        answer = client.post("/v1/ingest", content=b'{"event":"e"}', headers=[(name, b"\xff")])
        expect_error(answer, 400, "invalid_parameter")


def in_chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 10_000):
        yield content[start : start + 10_000]


def test_chunked(client: httpx.Client, shared_node: RunningNode, user: str) -> None:
    answer = client.post("/v1/ingest", content=in_chunks(large_event(LIMIT, user)), headers=JSON)
    assert (answer.status_code, answer.json()) == (202, ACCEPTED)
    compressed = in_chunks(gzip.compress(encoded({"event": "e", "user_id": user})))
    assert client.post("/v1/ingest", content=compressed, headers={"Content-Encoding": "gzip"}).status_code == 202
    stored(shared_node, user, 2)


@pytest.mark.parametrize("size", [LIMIT + 1, 20_000_000])
def test_too_large(client: httpx.Client, size: int) -> None:
    content = large_event(size)
    sent: tuple[bytes | Iterator[bytes], ...] = (content, in_chunks(content))
    for body in sent:
        answer = client.post("/v1/ingest", content=body, headers=JSON)
        assert str(LIMIT) in expect_error(answer, 413, "payload_too_large")["message"]
    for encoding in ("gzip", "deflate", "zstd"):
        answer = post(client, ENCODINGS[encoding](content), Content_Encoding=encoding)
        assert str(LIMIT) in expect_error(answer, 413, "payload_too_large")["message"]
    assert client.post("/v1/ingest", json={"event": "e"}).status_code == 202


def bomb(packer: Any, size: int) -> bytes:
    zeros = bytes(1_000_000)
    return b"".join(packer.compress(zeros) for _ in range(size // len(zeros))) + bytes(packer.flush())


@pytest.mark.parametrize("path", ["/v1/ingest", "/v1/batch"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_bomb_costs_no_memory(shared_node: RunningNode, client: httpx.Client, path: str, encoding: str) -> None:
    limit = LIMIT if path == "/v1/ingest" else 10 * 1024 * 1024
    packers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: zlib.compressobj(wbits=31),
        "deflate": zlib.compressobj,
        "zstd": zstd.ZstdCompressor,
    }
    content = bomb(packers[encoding](), 200_000_000)
    assert len(content) < LIMIT
    before = high_water(shared_node)
    for _ in range(3):
        answer = client.post(path, content=content, headers={"Content-Encoding": encoding})
        expect_error(answer, 413, "payload_too_large")
    assert high_water(shared_node) - before < 4 * max(limit, 8 * 1024 * 1024)


def high_water(node: RunningNode) -> int:
    """The most memory an edge worker has had, in bytes."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in node.children()["edge"]]
    peaks = [int(line.split()[1]) * 1024 for text in statuses for line in text.splitlines() if "VmHWM:" in line]
    assert peaks
    return max(peaks)
