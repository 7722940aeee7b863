"""A small synchronous client of a node, on the standard library::

    from novamesh.client import Client

    with Client("http://127.0.0.1:8000", key) as node:
        node.send([{"event": "page_view", "properties": {"page": "/"}}])
        node.query("SELECT event, count() FROM events GROUP BY event").rows

One client may be used by many threads. Everything it raises is a :class:`ClientError`, whose message says what to do
and never holds the key.
"""

from novamesh.client.client import Client, Result, Sent
from novamesh.client.errors import ClientError, Incomplete, Refused, Stopped, Unreachable

__all__ = ["Client", "ClientError", "Incomplete", "Refused", "Result", "Sent", "Stopped", "Unreachable"]
