"""(i) more than the node can take: what honest clients and ``/v1/health`` feel of it, and how much is shed.

All on loopback, beside an honest client with a key of its own: 10,000 silent connections, 500 slow headers, 500 slow
bodies, 500 clients with bodies of 9 MB, and 20 times the connections at which the throughput is full.
"""

import resource
import selectors
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.events import batches, single
from bench.report import Row
from bench.wrk import Load, load
from tests.memory import peak, reset_peak
from tests.support import RunningNode, run_cli, running_node, wait_for

IDLE, SLOW = 10_000, 500
LARGE_BYTES = 9 * 1000 * 1000
# Throughput does not grow with more connections than this (group a); the burst has 20 times as many.
FULL_CONNECTIONS, BURST = 64, 20
PAUSE_S = 0.02
MIB = 1024 * 1024

# A crowd, which says at its end what came of it.
Crowd = Callable[[], AbstractContextManager[Counter[str]]]


class Felt(NamedTuple):
    """Latencies (ms) of the answers that were as they should be, and how many were not."""

    latencies: list[float]
    lost: Counter[str]

    def at(self, part: float) -> float:
        """A quantile."""
        if len(self.latencies) < 2:
            return float("nan")
        return statistics.quantiles(self.latencies, n=1000, method="inclusive")[round(part * 1000) - 1]

    def note(self) -> str:
        lost = ", ".join(f"{count} {what}" for what, count in self.lost.items()) or "none lost"
        return f"p50 {self.at(0.5):.1f} ms of {len(self.latencies)}; {lost}"


def measure(directory: Path, seconds: float) -> Iterator[Row]:
    """All of group i."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle = min(IDLE, hard - 2000) if hard != resource.RLIM_INFINITY else IDLE
    # Nobody in the crowd is closed while it is measured.
    times = {"idle_timeout_ms": 600_000, "header_timeout_ms": 60_000, "body_timeout_ms": 60_000}
    with running_node(directory / "overload", workers=1, **times) as node:
        honest = _new_key(node)
        slow = b"POST /v1/ingest HTTP/1.1\r\nHost: node\r\nX-Slow: "
        crowds: list[tuple[str, Crowd]] = [
            ("no crowd", lambda: _silent(node, 0, b"")),
            (f"{idle:,} silent connections", lambda: _silent(node, idle, b"")),
            (f"{SLOW} slow headers", lambda: _silent(node, SLOW, slow)),
            (f"{SLOW} slow bodies of 9 MB", lambda: _silent(node, SLOW, _head(node) + b" " * 1000)),
            (f"{SLOW} clients with bodies of 9 MB", lambda: _large_bodies(node)),
        ]
        for what, crowd in crowds:
            yield from _beside(node, honest, seconds, what, crowd)
        for what, path, bodies in (("events", "/v1/ingest", [single()]), ("batches", "/v1/batch", batches(8))):
            yield from _burst(node, honest, seconds, what, path, bodies)
        node.stop()


def _new_key(node: RunningNode) -> dict[str, str]:
    """The headers of an honest client of another project."""
    key = run_cli("keys", "create", f"--data-dir={node.data_dir}", "--project=honest").stdout.strip()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    wait_for(lambda: httpx.post(node.url + "/v1/ingest", content=single(), headers=headers).status_code == 202)
    return headers


def _beside(node: RunningNode, honest: dict[str, str], seconds: float, what: str, crowd: Crowd) -> Iterator[Row]:
    (edge,) = node.children()["edge"]
    reset_peak(edge)
    with crowd() as said:
        felt = _feel(node, honest, seconds)
    came = "".join(f"; {count} × {name}" for name, count in said.items())
    yield from _rows(what, felt, f"worker's peak RSS {peak(edge) / MIB:.0f} MiB{came}")


def _rows(what: str, felt: tuple[Felt, Felt], note: str) -> Iterator[Row]:
    accepted, health = felt
    yield Row("i", f"{what}: honest POST /v1/ingest, p99", accepted.at(0.99), "ms", note=accepted.note())
    yield Row("i", f"{what}: GET /v1/health, p99", health.at(0.99), "ms", note=f"{health.note()}; {note}")


def _feel(node: RunningNode, honest: dict[str, str], seconds: float) -> tuple[Felt, Felt]:
    """What an honest client and a watcher of the health see, each with a connection that is new now and then."""
    felt = Felt([], Counter()), Felt([], Counter())
    body = single()
    asks = (
        (felt[0], 202, lambda client: client.post("/v1/ingest", content=body, headers=honest)),
        (felt[1], 200, lambda client: client.get("/v1/health")),
    )
    threads = [threading.Thread(target=_ask, args=(node.url, seconds, *ask)) for ask in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return felt


def _ask(url: str, seconds: float, felt: Felt, status: int, send: Callable[[httpx.Client], httpx.Response]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with httpx.Client(base_url=url, timeout=20) as client:
            for _ in range(10):
                started = time.perf_counter()
                try:
                    answer = send(client)
                except httpx.HTTPError as error:
                    felt.lost[type(error).__name__] += 1
                    break
                if answer.status_code == status:
                    felt.latencies.append((time.perf_counter() - started) * 1000)
                else:
                    felt.lost[str(answer.json().get("error", answer.status_code))] += 1
                time.sleep(PAUSE_S)


def _address(node: RunningNode) -> tuple[str, int]:
    url = httpx.URL(node.url)
    return url.host, url.port or 80


def _head(node: RunningNode) -> bytes:
    lines = ["POST /v1/batch HTTP/1.1", "Host: node", f"Content-Length: {LARGE_BYTES}"]
    lines += [f"{name}: {value}" for name, value in node.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextmanager
def _silent(node: RunningNode, count: int, start: bytes) -> Iterator[Counter[str]]:
    """Connections that say this much and nothing more."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(_address(node), timeout=20)).sendall(start)
        yield Counter()


@contextmanager
def _large_bodies(node: RunningNode) -> Iterator[Counter[str]]:
    """Clients that send large bodies as fast as they can, again and again, until the block ends."""
    said: Counter[str] = Counter()
    stop = threading.Event()
    request = _head(node) + b'{"events": [{"event": "large"}]' + b" " * (LARGE_BYTES - 32) + b"}"
    crowd = threading.Thread(target=_send_all, args=(_address(node), request, stop, said))
    crowd.start()
    try:
        yield said
    finally:
        stop.set()
        crowd.join()


class _Sender:
    """One client that sends a request, reads the status of its answer, and begins again."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self._address = address
        self._request = memoryview(request)
        self._sent = 0
        self.connection = self._connect()

    def _connect(self) -> socket.socket:
        self._sent = 0
        connection = socket.create_connection(self._address, timeout=20)
        connection.setblocking(False)
        return connection

    def go_on(self) -> str | None:
        """Send or read what can be; the status, once it is there."""
        try:
            if answer := self.connection.recv(4096):
                return answer[9:12].decode()
            return "closed"
        except BlockingIOError:
            pass
        except OSError:
            return "reset"
        try:
            if self._sent < len(self._request):
                self._sent += self.connection.send(self._request[self._sent : self._sent + 65536])
        except BlockingIOError:
            pass
        except OSError:
            return "reset"
        return None

    def begin_again(self) -> None:
        self.connection.close()
        self.connection = self._connect()


def _send_all(address: tuple[str, int], request: bytes, stop: threading.Event, said: Counter[str]) -> None:
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    with selectors.DefaultSelector() as selector:
        for _ in range(SLOW):
            sender = _Sender(address, request)
            selector.register(sender.connection, both, sender)
        while not stop.is_set():
            for key, _ in selector.select(0.1):
                status = key.data.go_on()
                if status is not None:
                    said[status] += 1
                    selector.unregister(key.data.connection)
                    key.data.begin_again()
                    selector.register(key.data.connection, both, key.data)
        for key in list(selector.get_map().values()):
            key.data.connection.close()


def _burst(
    node: RunningNode, honest: dict[str, str], seconds: float, what: str, path: str, bodies: list[bytes]
) -> Iterator[Row]:
    """One key with so many connections that each waits for all the others."""
    headers = {**node.headers, "Content-Type": "application/json"}
    full = load(node.url + path, seconds, FULL_CONNECTIONS, headers, bodies)
    loads: list[Load] = []

    def crowd() -> None:
        loads.append(load(node.url + path, seconds, FULL_CONNECTIONS * BURST, headers, bodies))

    thread = threading.Thread(target=crowd)
    thread.start()
    felt = _feel(node, honest, seconds)
    thread.join()
    (found,) = loads
    accepted = found.per_s * (1 - found.refused / max(1, found.requests))
    name = f"{BURST} × {FULL_CONNECTIONS} connections with {what}"
    share = found.refused / max(1, found.requests)
    yield Row("i", f"{name}: shed", share * 100, "%", note=f"of {found.requests} requests; {found.broken} broken")
    ratio = accepted / full.per_s
    note = f"p50 {found.p50_ms:.1f}, p99 {found.p99_ms:.1f} ms; with {FULL_CONNECTIONS} p99 {full.p99_ms:.1f} ms"
    yield Row("i", f"{name}: accepted", accepted, "req/s", ratio, f"{FULL_CONNECTIONS} connections", note=note)
    yield from _rows(name, felt, "")
