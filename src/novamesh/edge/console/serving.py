"""``GET /console`` and what it loads: the SQL console, as ``scripts/console`` built it into :data:`FOLDER`.

All files are read once; what is asked for is looked up by its name among them, so no path of a request reaches the
file system. The page needs no key: it asks for one and sends it with its own requests.
"""

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from granian.rsgi import HTTPProtocol, Scope
from isal import isal_zlib

from novamesh.edge.request import is_known, read_header
from novamesh.edge.worker import Worker
from novamesh.errors import NotFound

FOLDER = files("novamesh.edge.console") / "built"
PREFIX = "/console/"
PAGE = "index.html"

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}
_HASHED = re.compile(r"-[0-9a-f]{12}\.\w+$")
_GZIP = 31  # the window's bits that mean gzip's own header


class File(NamedTuple):
    """One file as it is served. ``gzipped`` is the same, compressed."""

    content: bytes
    gzipped: bytes
    headers: tuple[tuple[str, str], ...]
    etag: str


@cache
def built() -> dict[str, File]:
    """The files by name, the page among them."""
    names = (entry.name for entry in FOLDER.iterdir())
    return {name: _file(name) for name in names if name.rpartition(".")[2] in _TYPES}


def _file(name: str) -> File:
    content = (FOLDER / name).read_bytes()
    # A name with a hash means one content for ever; all others are asked for again, and answered with 304.
    kept = "public, max-age=31536000, immutable" if _HASHED.search(name) else "no-cache"
    headers = [
        ("content-type", _TYPES[name.rpartition(".")[2]]),
        ("cache-control", kept),
        ("vary", "accept-encoding"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ]
    if name == PAGE:
        headers.append(("content-security-policy", CONTENT_SECURITY_POLICY))
    packer = isal_zlib.compressobj(3, wbits=_GZIP)
    packed = packer.compress(content) + packer.flush()
    return File(content, packed, tuple(headers), hashlib.sha256(content).hexdigest()[:16])


async def page(_worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """The console's page."""
    return _serve(PAGE, scope, protocol)


async def file(_worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """A file that the page loads. Raises :class:`NotFound`."""
    name = scope.path.removeprefix(PREFIX)
    if name == PAGE or name not in built():
        raise NotFound("The console has no such file; open /console, which names those there are.")
    return _serve(name, scope, protocol)


def _serve(name: str, scope: Scope, protocol: HTTPProtocol) -> int:
    found = built()[name]
    gzipped = "gzip" in _accepted(read_header(scope, "accept-encoding") or "")
    etag = f'"{found.etag}-gzip"' if gzipped else f'"{found.etag}"'
    headers = [*found.headers, ("etag", etag)]
    if is_known(scope, etag):
        protocol.response_empty(304, [header for header in headers if header[0] != "content-type"])
        return 0
    if gzipped:
        headers.append(("content-encoding", "gzip"))
    protocol.response_bytes(200, headers, found.gzipped if gzipped else found.content)
    return 0


def _accepted(header: str) -> set[str]:
    """The content codings that a client takes, without those of weight 0."""
    offers = (offer.replace(" ", "").partition(";q=") for offer in header.lower().split(","))
    return {coding for coding, _, weight in offers if not weight or weight.strip("0.")}
