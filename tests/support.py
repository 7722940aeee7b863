"""Real nodes for tests: started as a user starts them, on a free port, in a process group of their own."""

import contextlib
import inspect
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

Result = TypeVar("Result")

# A deadline, not an expectation: tests wait for a condition and fail only when it never comes.
DEADLINE_S = 60.0
# So it is with what httpx takes for a long time unless it is told otherwise: 5 s.
_patience: httpx.Timeout = inspect.signature(httpx.get).parameters["timeout"].default
_patience.connect = _patience.read = _patience.write = _patience.pool = DEADLINE_S
BATCH_EVENTS = 500  # the most a batch may hold
# Whatever the machine: one worker keeps the order of what is sent, and who waits for a busy store gets its answer.
DEFAULTS = {"port": 0, "disk_reserve_bytes": 0, "log_level": "warning", "workers": 1, "stored_timeout_ms": 30_000}


def wait_for(
    condition: Callable[[], Result | None], deadline_s: float = DEADLINE_S, what: str = "the condition"
) -> Result:
    """The first truthy value of ``condition``; AssertionError after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {deadline_s} s")
        time.sleep(0.02)


class RunningNode:
    """``novamesh serve`` as a process. ``settings`` become flags, ``environment`` is added to this one; stopping leaves
    the data directory."""

    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    """What HTTPS is checked with. Nodes of tests speak plain HTTP: to load the certificates of all authorities for each
    request took most of its time."""

    def __init__(self, data_dir: Path, environment: Mapping[str, str] | None = None, /, **settings: object) -> None:
        self.data_dir = data_dir
        self._environment = environment
        self.settings = {**DEFAULTS, **settings}
        self.key = ""
        self._log: list[str] = []
        self._start()

    def _start(self) -> None:
        self.process = start_serve(self.data_dir, self._environment, **self.settings)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self._keep_log, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        try:
            self.url = self._read_announcement()
            wait_for(self._answers, what=f"an answer of the node\n{self.log}")
            if self.settings["workers"] != 1:  # else it has answered
                wait_for(self._all_listen, what=f"all workers\n{self.log}")
        except BaseException:
            self.kill()  # nobody else knows of it yet
            raise

    def _read_announcement(self) -> str:
        url = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"takes events at (\S+)", line):
                url = found[1]
            if found := re.search(r"Bearer (nm_\w+)", line):
                self.key = found[1]
            if "/v1/query" in line:
                return url
        self._reader.join(10)
        raise AssertionError(f"the node did not start:\n{self.log}")

    def _keep_log(self, stream: Any) -> None:
        for line in stream:
            self._log.append(line)

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"the node ended:\n{self.log}"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url + "/v1/health", verify=self.trust).status_code == 200
        return False

    def _all_listen(self) -> bool:
        """Each worker has a listening socket of its own: until the last is there, the others get its share."""
        return len(_sockets(httpx.URL(self.url).port or 0, state="0A")) == self.settings["workers"]

    @property
    def log(self) -> str:
        """What the node wrote to standard error."""
        return "".join(self._log)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self, **options: Any) -> httpx.Client:
        """A client with this node's address and key."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=DEADLINE_S, verify=self.trust, **options)

    def get(self, path: str) -> httpx.Response:
        """GET without a key."""
        return httpx.get(self.url + path, timeout=DEADLINE_S, verify=self.trust)

    def is_ready(self) -> bool:
        """Whether the worker that answers finds every part well: it has asked the store then."""
        return self.get("/v1/ready").status_code == 200

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """POST JSON (or bytes as they are) with the key."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        all_headers = {**self.headers, "Content-Type": "application/json", **(headers or {})}
        return httpx.post(self.url + path, content=content, headers=all_headers, timeout=DEADLINE_S, verify=self.trust)

    @contextlib.contextmanager
    def clients_of_workers(self) -> Iterator[list[httpx.Client]]:
        """A client for each edge worker, whose one connection that worker has: the system gives a new one to any."""
        clients: dict[int, httpx.Client] = {}
        with contextlib.ExitStack() as stack:

            def all_met() -> bool:
                client = stack.enter_context(self.client())
                clients.setdefault(self.worker_of(client), client)
                return clients.keys() >= set(self.children()["edge"])

            wait_for(all_met, what="a connection to each worker")
            yield list(clients.values())

    def worker_of(self, client: httpx.Client) -> int:
        """The process id of the worker that has the client's one connection."""
        mine: socket.socket = client.get("/v1/health").extensions["network_stream"].get_extra_info("socket")
        peer = mine.getsockname()[1]

        def found() -> int | None:
            """/proc/net/tcp may leave a socket out while others come and go."""
            inodes = {f"socket:[{inode}]" for inode in _sockets(httpx.URL(self.url).port or 0, peer=peer)}
            return next((pid for pid in self.children()["edge"] if inodes & _descriptors(pid)), None)

        return wait_for(found, what="the worker of a connection")

    def send(self, events: Sequence[Mapping[str, Any]], **fields: object) -> None:
        """Events of any number, by batches that must be accepted; ``fields`` stand beside ``events`` in each."""
        for first in range(0, len(events), BATCH_EVENTS):
            answer = self.post("/v1/batch", {"events": events[first : first + BATCH_EVENTS], **fields})
            assert answer.status_code == 202, answer.text

    def query(self, sql: str, **parameters: str | int) -> httpx.Response:
        """GET /v1/query."""
        parameters = {"q": sql, **parameters}
        address = self.url + "/v1/query"
        return httpx.get(address, params=parameters, headers=self.headers, timeout=DEADLINE_S, verify=self.trust)

    def rows(self, sql: str, **parameters: str | int) -> list[list[Any]]:
        """The rows of a query that must succeed, waiting while a worker or the store starts again or the machine is too
        busy."""

        def answered() -> httpx.Response | None:
            try:
                return _unless_later(self.query(sql, **parameters))
            except httpx.TransportError:  # of a worker that was killed a moment ago, or nobody listens now
                assert self.process.poll() is None, f"the node ended:\n{self.log}"
                return None

        answer = wait_for(answered, what=f"the answer to a query\n{self.log}")
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows

    def count(self) -> int:
        """Events stored."""
        return int(self.rows("SELECT count(*) FROM events")[0][0])

    def wait_for_count(self, expected: int) -> None:
        """Wait until exactly this many events are stored; fail at once if there are more."""

        def stored() -> bool:
            count = self.count()
            assert count <= expected, f"{count} events stored, {expected} were sent"
            return count == expected

        wait_for(stored, what=f"{expected} stored events\n{self.log}")

    def settle(self) -> None:
        """Wait until all that was sent before is stored. For nodes with one edge worker: it keeps the order."""
        marker = f"settled-{uuid.uuid4().hex}"
        assert self.post("/v1/ingest", {"event": "settle", "user_id": marker}).status_code == 202
        wait_for(lambda: self.rows(f"SELECT 1 FROM events WHERE user_id = '{marker}'"), what="the marker")

    def children(self) -> dict[str, list[int]]:
        """Process ids of the node's children: ``store`` and ``edge``."""
        found: dict[str, list[int]] = {"store": [], "edge": []}
        for pid, command in _processes_of_group(self.process.pid):
            if "novamesh.store.process" in command:
                found["store"].append(pid)
            elif "spawn_main" in command:
                found["edge"].append(pid)
        return found

    def signal(self, who: str, number: signal.Signals) -> int:
        """Send a signal to a process of ``who``, as soon as there is one that takes it. Returns its id.

        One that was killed a moment ago may still be listed, and gone when the signal comes.
        """

        def sent() -> int:
            return next((pid for pid in self.children()[who] if send_signal(pid, number)), 0)

        return wait_for(sent, what=f"a process of the {who}")

    def stop(self) -> int:
        """SIGTERM and wait. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE_S)
        self._reap()
        return status

    def kill(self) -> None:
        """SIGKILL to every process of the node."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not _processes_of_group(self.process.pid), what="the end of all processes")
        self._reap()

    def restart(self) -> None:
        """Start again on the same data directory. ``key`` stays: only a new directory has a first key."""
        self._start()

    def _reap(self) -> None:
        self._reader.join(DEADLINE_S)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def send_signal(pid: int, number: signal.Signals) -> bool:
    """Whether there was such a process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def clean_environment() -> dict[str, str]:
    """This environment without settings of a node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NOVAMESH_")}


def start_serve(
    data_dir: Path, environment: Mapping[str, str] | None = None, /, **settings: object
) -> subprocess.Popen[str]:
    """``novamesh serve`` in a process group of its own, with pipes for what it prints and logs, and with these variables
    besides."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "novamesh.cli", "serve", f"--data-dir={data_dir}", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**clean_environment(), **(environment or {})},
    )


def run_cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command of novamesh, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "novamesh.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=clean_environment(),
        check=False,
    )


@contextlib.contextmanager
def running_node(
    data_dir: Path, environment: Mapping[str, str] | None = None, /, **settings: object
) -> Iterator[RunningNode]:
    """A node that is gone, with all its processes, when the block ends."""
    node = RunningNode(data_dir, environment, **settings)
    try:
        yield node
    finally:
        node.kill()


def _unless_later(answer: httpx.Response) -> httpx.Response | None:
    is_late = answer.status_code == 400 and answer.json()["error"] == "query_timeout"
    return None if answer.status_code == 503 or is_late else answer


def _sockets(port: int, state: str = "01", peer: int = 0) -> list[int]:
    """Inodes of the TCP sockets of a local port in a state (``01`` is open, ``0A`` listens), from /proc."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = f":{port:04X}", f":{peer:04X}"
    return [int(row[9]) for row in rows if row[1].endswith(ends[0]) and row[2].endswith(ends[1]) and row[3] == state]


def _descriptors(pid: int) -> set[str]:
    """What a process has open."""
    found = set()
    with contextlib.suppress(FileNotFoundError):  # it has ended, or closes some
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found.add(str(entry.readlink()))
    return found


def _processes_of_group(group: int) -> list[tuple[int, str]]:
    """Live processes of a process group, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append((int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")))
    return found
