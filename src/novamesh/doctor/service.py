"""The node as a service: whether it runs, answers and is well, and whose its port is."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

from novamesh.client import Client, ClientError, Refused
from novamesh.client.connection import Connections
from novamesh.config import Config
from novamesh.datadir import DataDirectory
from novamesh.doctor.finding import Finding, ok, problem, warning
from novamesh.doctor.machine import STEP_S
from novamesh.errors import StartError

ANSWER_S = 5.0
_LISTENING = "0A"  # in /proc/net/tcp


def examine(config: Config, data: DataDirectory) -> Iterator[Finding]:
    """The node of the directory, if there is one."""
    try:
        stopped = not data.holds(data.identity) or data.open_stopped()
    except StartError as error:
        yield problem("node", str(error), "the node does not start")
        return
    data.close()
    if stopped:
        yield ok("node", "none runs on this directory; novamesh serve starts one")
        yield port(config)
        return
    running = data.running()
    yield from health(running.address if running else config.local_url or config.base_url)


def port(config: Config) -> Finding:
    """Whether a node could listen."""
    from novamesh.node import check_port  # it loads the HTTP server

    address = f"{config.host}:{config.port}"
    if config.port == 0:
        return ok("port", "a free one is taken")
    try:
        check_port(config)
    except StartError as error:
        holder = holder_of(config.port)
        advice = f"stop process {holder}, or choose another --port" if holder else "choose another --host or --port"
        return problem("port", str(error).partition(";")[0], advice)
    return ok("port", f"{address} is free")


def health(url: str) -> Iterator[Finding]:
    """How the running node is, and whether its clock is this one's."""
    try:
        with Client(url) as client:
            client.get("/v1/ready", silent_s=ANSWER_S)
        yield ok("node", f"runs at {url} and is ready")
        connections = Connections(url, {})
        with connections.request("GET", "/v1/health", None, {}, ANSWER_S) as answer:
            answer.read()
            yield node_clock(answer.headers.get("date", ""))
        connections.close()
    except Refused as error:
        parts = [f"{detail.pointer.lstrip('/')}: {detail.message}" for detail in error.details] or [str(error)]
        for part in parts:
            yield problem("node", f"{url}: {part}", "see novamesh status and the node's log")
    except ClientError as error:
        yield problem("node", f"it runs, but there is {error}", "see its log")


def node_clock(date: str) -> Finding:
    """The node's clock, as its answers tell it, against this one."""
    try:
        apart = parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return ok("node clock", "its answers do not tell it")
    if abs(apart) > STEP_S:
        return warning("node clock", f"{apart:+.0f} s from this machine's", "keep both by NTP")
    return ok("node clock", "the same as this machine's")


def holder_of(number: int, proc: Path = Path("/proc")) -> str:
    """Process id and name of who listens on a port; empty where that cannot be told."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(number, proc)}
    if not sockets:
        return ""
    for process in proc.glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return f"{process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:  # it has ended, or is another user's
            continue
    return ""


def _inodes(number: int, proc: Path) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[1].endswith(f":{number:04X}") and fields[3] == _LISTENING:
                yield fields[9]
