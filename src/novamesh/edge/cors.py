"""Cross-origin requests of web pages: which keys they may use, and what browsers ask beforehand.

A key in a web page is known to everybody. So a key that is bound to origins can do nothing but send events, and a
browser lets no page of another origin use it. Who forges the header ``Origin`` can use it all the same: a rate limit
bounds what that is worth.
"""

from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.gate import Headers
from novamesh.edge.worker import Worker
from novamesh.errors import Forbidden

MAX_AGE_S = 600
_ALLOWED: Headers = [
    ("access-control-allow-methods", "POST"),
    ("access-control-allow-headers", "authorization, content-type, content-encoding, idempotency-key"),
    ("access-control-max-age", str(MAX_AGE_S)),
    ("vary", "origin"),
]


def is_preflight(scope: Scope) -> bool:
    """Whether an OPTIONS request is a browser's question; any other is a method like all."""
    return "origin" in scope.headers and "access-control-request-method" in scope.headers


async def preflight(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """May a page of this origin send? Without a key: browsers give none. Raises :class:`Forbidden`."""
    origin = scope.headers.get("origin") or ""
    if not worker.keyring.knows(origin):
        raise Forbidden(
            "No key of this node is for web pages of this origin (novamesh keys create --scope ingest --origin URL).",
            headers=(("vary", "origin"),),
        )
    protocol.response_empty(204, [("access-control-allow-origin", origin), *_ALLOWED])
    return 0
