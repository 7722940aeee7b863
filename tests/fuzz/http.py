"""The HTTP surface of a real node: requests that are right, nearly right and no requests at all, in raw bytes.

Of every answer is asked that its status and code are documented for its path, that an error has the one shape, and that
nothing of the node's inside is in it. Of the node, that it answers afterwards, and that it holds exactly the events for
which it said 202: :class:`Account` keeps the sum.
"""

import json
import re
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final
from urllib.parse import quote

from novamesh.edge.api.endpoints import ENDPOINTS
from novamesh.edge.api.unlisted import UNLISTED
from novamesh.errors import by_code
from tests.api.contract import address, deflated, encoded, zstandard
from tests.fuzz.mutate import mutate
from tests.fuzz.sql import statements
from tests.fuzz.target import webhooks, words
from tests.support import RunningNode, wait_for

# Few requests lack an end, so it may wait for clients that a busy machine keeps from sending.
SETTINGS: Final = {"workers": 1, "header_timeout_ms": 5000, "body_timeout_ms": 2000, "query_time_limit_ms": 2000}
# Even a node on a busy machine ends by then what it gives 2 seconds.
ANSWER_S: Final = 60.0

# What may be answered at each path, beside its success and 405. Paths with a parameter stand without it.
CODES: Final[dict[str, set[str]]] = {}
for _endpoint in (*ENDPOINTS, *UNLISTED):
    _path = _endpoint.path.partition("/{")[0]
    CODES[_path] = CODES.get(_path, set()) | {kind.code for kind in _endpoint.fails}
# The server's own answers to what is no HTTP, without a body.
_OF_THE_SERVER: Final = {400, 405, 408, 413, 414, 417, 431, 501, 505}
_INSIDE: Final = re.compile(r'Traceback|File "|site-packages|\.py\b|p_default|events_shredded|__nm_|store\.sock')
_WORDS: Final = words(
    '{ } [ ] , : null true "event" "properties" "user_id" "events" "context" "timestamp" "" 1e999 -1 "x"'
)


@dataclass
class Account:
    """How many events the node must hold: at least ``accepted``, and at most ``unknown`` more."""

    accepted: int = 0
    unknown: int = 0
    requests: int = 0
    by_status: dict[int, int] = field(default_factory=dict)

    def check(self, node: RunningNode) -> None:
        """Wait until all that was sent is stored, and count it."""
        node.settle()
        self.accepted += 1  # the event by which it settled
        stored = node.count()
        assert self.accepted <= stored <= self.accepted + self.unknown, (
            f"{stored} events stored, {self.accepted} accepted, {self.unknown} sent without an answer"
        )


@dataclass(frozen=True)
class Sent:
    """The bytes of one connection, and what is known of them: the path, if it is sure, and how many events at most."""

    data: bytes
    path: str | None
    method: str
    events: int


def play(node: RunningNode, account: Account, seed: int) -> None:
    """One connection, all that is answered on it, and whether the node is well after it."""
    sent = make(Random(seed), node.key, seed)
    answers, whole = exchange(node, sent)
    account.requests += 1
    batches: set[str] = set()
    for status, headers, content in answers:
        account.by_status[status] = account.by_status.get(status, 0) + 1
        document = check_answer(node, sent, status, headers, content)
        sent = replace(sent, path=None)  # what follows answers what a body turned out to be: any path, any method
        # A batch with an Idempotency-Key may be there twice, and then it counts once.
        if status == 202 and document.get("batch_id") not in batches:
            account.accepted += document.get("queued") or document["events"]
            batches |= {document["batch_id"]} if "batch_id" in document else set()
    if not whole or not answers:
        account.unknown += sent.events
    wait_for(lambda: is_well(node), what="an answer of the node")


def is_well(node: RunningNode) -> bool:
    """Whether the node answers a whole request: one that was sent too late it need not."""
    answers, _ = exchange(node, Sent(_head("GET", "/v1/health", ["Connection: close"]), "/v1/health", "GET", 0))
    if not answers:
        return False
    status, _, content = answers[0]
    assert status in (200, 408), content
    return status == 200


def check_answer(node: RunningNode, sent: Sent, status: int, headers: dict[str, str], content: bytes) -> dict[str, Any]:
    """Whether the answer is one that is documented. Returns what it says, if that is JSON."""
    text = content.decode()
    about = f"{status} {text[:500]} to {sent.data[:500]!r}"
    assert node.key not in text, about
    assert str(node.data_dir) not in text, about
    if status in (200, 202):
        if headers.get("content-type") == "application/json" and content:
            document: dict[str, Any] = json.loads(content)
            return document
        assert status == 200, about
        return {}
    if not content:
        assert sent.method == "HEAD" or status in _OF_THE_SERVER, about
        return {}
    _check_error(sent, status, headers, text, about)
    return {}


def _check_error(sent: Sent, status: int, headers: dict[str, str], text: str, about: str) -> None:
    assert headers.get("content-type") == "application/json", about
    document: dict[str, Any] = json.loads(text)
    code = document["error"]
    assert set(document) <= {"error", "message", "details"}, about
    assert by_code()[code].status == status, about
    assert code != "internal_error", about
    assert document["message"].isprintable(), about
    # What the client sent itself may be quoted.
    assert _INSIDE.search(text) is None or _INSIDE.search(sent.data.decode("latin-1")) is not None, about
    assert ("retry-after" in headers) == (status in (429, 503)), about
    assert ("allow" in headers) == (status == 405), about
    if sent.path is not None:
        path = sent.path.partition("?")[0]
        prefix = next((one for one in ("/v1/users", "/v1/batches") if path.startswith(one + "/")), path)
        known = CODES.get(prefix) if path not in ("/v1/users", "/v1/batches") else None
        assert code in ({"not_found"} if known is None else {"method_not_allowed", *known}), about


# ---- bytes and answers


Answer = tuple[int, dict[str, str], bytes]


def exchange(node: RunningNode, sent: Sent) -> tuple[list[Answer], bool]:
    """Send everything, say that this is all, and read to the end. The answers, and whether the last one was whole."""
    content = b""
    with socket.create_connection(address(node), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(sent.data)
            while part := connection.recv(65536):
                content += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    answers: list[Answer] = []
    while content:
        taken = _answer(content, is_head=sent.method == "HEAD")
        if taken is None:
            return answers, False
        answer, content = taken
        if answer[0] != 100:
            answers.append(answer)
    return answers, True


def _answer(content: bytes, *, is_head: bool) -> tuple[Answer, bytes] | None:
    """The first answer in ``content`` and what follows it; None if it is cut short. ``is_head``: it may be to a HEAD."""
    top, found, rest = content.partition(b"\r\n\r\n")
    if not found:
        return None
    line, *lines = top.decode("latin-1").split("\r\n")
    assert re.match(r"HTTP/1\.[01] \d{3} ", line), line
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(line.split()[1])
    # Of a connection with a HEAD on it, only what follows tells which answers are without their bodies.
    if status == 100 or (is_head and (not rest or rest.startswith(b"HTTP/1."))):
        return (status, headers, b""), rest
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size, found, rest = rest.partition(b"\r\n")
            if not found or len(rest) < int(size, 16) + 2:
                return None
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
            if int(size, 16) == 0:
                return (status, headers, body), rest
    if "content-length" not in headers:
        return (status, headers, rest), b""  # to the end of the connection
    length = int(headers["content-length"])
    return ((status, headers, rest[:length]), rest[length:]) if len(rest) >= length else None


# ---- requests


def make(random: Random, key: str, seed: int) -> Sent:
    """One connection's bytes: of every other one nothing is odd but the body."""
    plain = random.random() < 0.5
    method, path, body, headers = _request(random, key, seed, plain=plain)
    if body and random.random() < (0.2 if plain else 0.4):
        body = mutate(body, random, _WORDS, [body])
    body = body.replace(b'"id"', b'"ix"')  # an event that is sent twice with one is stored once
    events = max(1, min(500, body.count(b"event"))) if "/v1/" in path else 0
    body, more = _encoded(random, body)
    framed, lengths = (body, [f"Content-Length: {len(body)}"]) if plain else _framed(random, body)
    headers = [*headers, *more, *lengths, *([] if plain else random.choice(_ODD_HEADERS))]
    random.shuffle(headers)
    data = _head(method, path, headers) + framed
    sure: str | None = path
    roll = random.random()
    if plain:
        pass
    elif roll < 0.1:
        head, _, rest = data.partition(b"\r\n\r\n")
        data, sure = (
            mutate(head, random, words("GET POST HTTP/1.1 HTTP/1.0 : %00 \x00 \x7f /"), [head]) + b"\r\n\r\n" + rest,
            None,
        )
    elif roll < 0.15:
        data, sure = data[: random.randrange(len(data))], None
    elif roll < 0.2:
        data, sure, events = data + _head("GET", "/v1/health", []) + data, None, 2 * events
    # Whatever it was, this ends the connection.
    return Sent(data + _head("GET", "/v1/health", ["Connection: close"]), sure, method, events)


def _head(method: str, path: str, headers: list[str]) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: node", *headers, "", ""]).encode("latin-1", "replace")


def _request(random: Random, key: str, seed: int, *, plain: bool) -> tuple[str, str, bytes, list[str]]:
    # A tail never ends by itself.
    endpoints = [one for one in ENDPOINTS if one.path != "/v1/tail"]
    endpoint = random.choice([*endpoints, *(one for one in endpoints if one.scope == "ingest")])
    method, path, body = endpoint.method, endpoint.path.replace("{user_id}", f"u{seed}"), b""
    headers = [f"Authorization: Bearer {key}", "Content-Type: application/json"]
    if path == "/v1/ingest":
        body = encoded({**random.choice(webhooks()), "user_id": f"u{seed}"})
    elif path == "/v1/batch":
        events = [{"event": f"e{n}", "user_id": f"u{seed}"} for n in range(random.choice((1, 2, 10, 500, 501)))]
        body = encoded({"events": events, "context": {"seed": seed}})
        path += random.choice(("", "", "?partial=true", "?partial=2", "?partial"))
        if random.random() < 0.3:
            headers.append(f"Idempotency-Key: {random.choice(('k', 'k' * 300))}{seed}")
    elif path in ("/v1/query", "/v1/export"):
        sql = random.choice(_SQL)
        if random.random() < 0.3:
            sql = mutate(sql.encode(), random, _WORDS, [sql.encode()]).decode("utf-8", "replace")
        if path == "/v1/query" and random.random() < 0.5:
            method, body = "POST", encoded({"q": sql, "limit": random.choice((1, 0, "x", 10)), "format": "json"})
        else:
            path += f"?q={quote(sql)}{random.choice(('', '&limit=3', '&format=csv', '&format=x', '&q=1', '&a=1', '&format=ndjson'))}"
    roll = 1.0 if plain else random.random()
    if roll < 0.1:
        method = random.choice(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"))
    elif roll < 0.15:
        path = random.choice(
            ("/v1", "/v1/ingest/", "/%2e%2e/", "/v1/batches/b_1", "/..", "/v1/health?x=%ff", "*", "//")
        )
    elif roll < 0.25:
        headers[0] = random.choice(
            ("X: y", "Authorization: Basic x", f"Authorization: Bearer {key}x", "Authorization:")
        )
    return method, path, body, headers


_SQL: Final = [sql for sql in statements("variant", "analytic") if len(sql) < 1500]
_PACKS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda body: _gzipped(body),
    "deflate": zlib.compress,
    "Deflate": deflated,
    "zstd": zstandard,
    "identity": bytes,
    "br": bytes,
    "gzip, gzip": lambda body: _gzipped(_gzipped(body)),
}


def _gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


def _encoded(random: Random, body: bytes) -> tuple[bytes, list[str]]:
    """The body in a content encoding, now and then not in the one that it says, or damaged, or enormous."""
    if random.random() < 0.6:
        return body, []
    name = random.choice(list(_PACKS))
    if random.random() < 0.1:
        body += b" " * 11_000_000
    packed = _PACKS[random.choice((name, name, name, "zstd"))](body)[:200_000]
    if random.random() < 0.2:
        packed = mutate(packed, random, (), [packed])
    return packed, [f"Content-Encoding: {name}"]


def _framed(random: Random, body: bytes) -> tuple[bytes, list[str]]:
    """The body as it goes over the wire, and the headers that say how."""
    right = f"Content-Length: {len(body)}"
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    cut = random.randint(0, len(body))
    return random.choice(
        (
            *([(body, [right])] * 8),
            *([(chunk + b"0\r\n\r\n", ["Transfer-Encoding: chunked"])] * 3),
            (chunk, ["Transfer-Encoding: chunked"]),
            (chunk[: len(chunk) // 2], ["Transfer-Encoding: chunked"]),
            (b"zz\r\n" + body, ["Transfer-Encoding: chunked"]),
            (chunk + b"0\r\n\r\n", ["Transfer-Encoding: chunked", right]),
            (chunk + b"0\r\n\r\n", ["Transfer-Encoding: gzip, chunked"]),
            (body, [right, right]),
            (body, [right, f"Content-Length: {len(body) + 1}"]),
            (body[:cut], [right]),
            (body, [f"Content-Length: {cut}"]),
            (body, ["Content-Length: -1"]),
            (body, [f"Content-Length: {10**20}"]),
            (body, []),
        )
    )


_ODD_HEADERS: Final[tuple[list[str], ...]] = (
    *([list[str]()] * 8),
    ["Content-Type: text/plain"],
    ['Content-Type: Application/JSON; charset="UTF-8"'],
    ["Authorization: Bearer nm_live_" + "0" * 32],
    ["Content-Encoding: gzip"],
    ["Idempotency-Key: \xff\xfe"],
    ["Content-Type: \xe9"],
    ["X-Large: " + "x" * 70_000],
    ["Expect: 100-continue"],
    ["Accept: text/csv", "Range: bytes=0-1"],
    [" folded: x"],
    ["Upgrade: h2c", "Connection: Upgrade"],
)
