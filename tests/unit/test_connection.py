"""A client's connection is looked up among the process's descriptors, and none of them is kept."""

import socket
from pathlib import Path

from novamesh.edge.connection import cut


def descriptors() -> set[str]:
    return {path.name for path in Path("/dev/fd").iterdir()}


def test_looking_for_a_connection_leaves_no_descriptor_open() -> None:
    with Path("/dev/null").open("rb"), socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            before = descriptors()
            cut("127.0.0.1:1")  # nobody's
            cut("{}:{}".format(*client.getsockname()))
            assert descriptors() <= before  # others of this process may have been closed
            assert client.recv(1) == b""
