"""What asks a node for too much, and what is seen of it from outside."""

import json
import select
import socket
from pathlib import Path

import msgspec

from novamesh.datadir import DataDirectory
from novamesh.store.contract import SOCKET_NAME, QueryRequest
from tests.support import DEADLINE_S, RunningNode

_SANDBOX = Path(__file__).parent / "data" / "sql" / "sandbox.json"
LIMIT_CASES = [case for case in json.loads(_SANDBOX.read_text()) if case["must"] == "limit"]


def store_pid(node: RunningNode) -> int:
    """0 while there is none."""
    return next(iter(node.children()["store"]), 0)


def store_socket(node: RunningNode) -> Path:
    return DataDirectory(node.data_dir).run / SOCKET_NAME


def under_way(node: RunningNode) -> bool:
    """Whether the store has a request before it: a socket with its path, beside the one that listens."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(f" {store_socket(node)}") for line in lines) > 1


def cpu_ticks(pid: int) -> int:
    """Hundredths of a second a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def is_answered(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


def post_query(node: RunningNode, sql: str) -> socket.socket:
    """A connection on which a query was sent: some are too long for an address, and all are to be hung up on."""
    host, port = node.url.removeprefix("http://").split(":")
    body = json.dumps({"q": sql}).encode()
    head = {"Host": host, "Content-Type": "application/json", "Content-Length": len(body), **node.headers}
    lines = ["POST /v1/query HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    client = socket.create_connection((host, int(port)), DEADLINE_S)
    client.sendall("\r\n".join(lines).encode() + body)
    return client


def ask_store(node: RunningNode, sql: str) -> socket.socket:
    """A connection to the store itself, past the guard."""
    request = QueryRequest(space="default", sql=sql, names={}, format="json", limit=1)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(DEADLINE_S)
        client.connect(str(store_socket(node)))
        client.sendall(msgspec.json.encode(request) + b"\n")
    except BaseException:
        client.close()
        raise
    return client
