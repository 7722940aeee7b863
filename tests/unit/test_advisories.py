"""What ``scripts/check`` says of advisories: the real uv, the real lock, and a service on this machine."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import advisories
from tests.advisories import PROBE, REQUIREMENTS, locked
from tests.support import DEADLINE_S

ADVISORY = "GHSA-aaaa-bbbb-cccc"
CVE = "CVE-2026-0001"
LOCKED = locked(REQUIREMENTS / "runtime.lock")
FIRST = LOCKED[0]


class Service(ThreadingHTTPServer):
    """Answers as OSV does: advisories for a batch of packages, and each by its id."""

    def __init__(self, known: dict[tuple[str, str], str]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.known = known
        self.asked: list[tuple[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        assert {query["package"]["ecosystem"] for query in queries} == {"PyPI"}
        asked = [(query["package"]["name"], query["version"]) for query in queries]
        self.server.asked += asked
        self._answer({"results": [self._known(package) for package in asked]})

    def _known(self, package: tuple[str, str]) -> dict[str, Any]:
        advisory = self.server.known.get(package)
        return {"vulns": [{"id": advisory, "modified": "2026-01-01T00:00:00Z"}]} if advisory else {}

    def do_GET(self) -> None:
        advisory = self.path.rpartition("/")[2]
        (name,) = {name for (name, _), one in self.server.known.items() if one == advisory}
        events = [{"introduced": "0"}, {"fixed": "99.1"}]
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": events}],
        }
        self._answer(
            {
                "id": advisory,
                "aliases": [CVE],
                "summary": "It can be broken into",
                "modified": "2026-01-01T00:00:00Z",
                "affected": [affected],
            }
        )

    def _answer(self, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def service(*known: tuple[tuple[str, str], str]) -> Iterator[Service]:
    with Service(dict(known)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def audit(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The check, as ``scripts/check`` runs it, with another service."""
    return subprocess.run(
        [sys.executable, "-m", "tests.advisories", f"--timeout={DEADLINE_S}", *options],
        cwd=REQUIREMENTS.parent,
        env={**os.environ, "OSV_URL": url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )


PROBED = (PROBE, "PYSEC-2023-238")


def test_an_advisory_for_a_locked_package_fails_the_check() -> None:
    with service(PROBED, (FIRST, ADVISORY)) as osv:
        done = audit(osv.url)
    assert done.returncode == 1
    assert done.stderr == f"{FIRST[0]} {FIRST[1]}: {ADVISORY}, {CVE}: It can be broken into; fixed in 99.1\n"
    assert sorted(osv.asked) == sorted([*LOCKED, PROBE]), "exactly what is locked was looked up"


def test_no_advisory_for_what_is_locked_passes() -> None:
    with service(PROBED) as osv:
        done = audit(osv.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(LOCKED)} packages looked up at {osv.url}\n"


def test_a_service_that_cannot_be_reached_is_said_and_fails_nothing() -> None:
    with service() as osv:
        pass  # nobody listens there now
    done = audit(osv.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dependencies not audited: ")
    assert done.stdout.count("\n") == 1
    assert osv.url in done.stdout


def test_a_service_that_does_not_answer_is_waited_for_no_longer_than_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(advisories.NotAudited, match=f"{url} did not answer within"):
            advisories.ask(LOCKED, url, timeout_s=0.5)


def test_a_service_that_knows_nothing_at_all_is_no_all_clear() -> None:
    with service() as osv:
        done = audit(osv.url)
    assert (done.returncode, done.stdout) == (0, f"dependencies not audited: {osv.url} has no advisories\n")


@pytest.mark.parametrize(
    ("name", "until", "status"), [(ADVISORY, "9999-12-31", 0), (CVE, "9999-12-31", 0), (ADVISORY, "2026-01-01", 1)]
)
def test_an_advisory_is_accepted_for_a_while(
    name: str, until: str, status: int, accepted: Callable[[str], str]
) -> None:
    file = accepted(f'[[accepted]]\nid = "{name}"\nreason = "nobody calls it"\nuntil = {until}\n')
    with service(PROBED, (FIRST, ADVISORY)) as osv:
        done = audit(osv.url, "--accepted", file)
    assert (done.returncode, "looked up" in done.stdout) == (status, True)


@pytest.fixture
def accepted(tmp_path: Path) -> Callable[[str], str]:
    def written(text: str) -> str:
        file = tmp_path / "advisories.toml"
        file.write_text(text)
        return str(file)

    return written


def test_who_accepts_says_why_and_until_when(accepted: Callable[[str], str]) -> None:
    done = audit("http://127.0.0.1:1", "--accepted", accepted(f'[[accepted]]\nid = "{ADVISORY}"\nuntil = 2027-01-01\n'))
    assert done.returncode == 1
    assert "missing required field `reason`" in done.stderr


def test_a_lock_that_is_not_understood_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text("# by hand\nclick>=8\n")
    with pytest.raises(ValueError, match="click>=8"):
        locked(lock)
