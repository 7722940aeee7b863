"""Reading a request: who sends it, its parameters, its body within limits."""

import asyncio
import zlib
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl

from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope
from isal import isal_zlib

from novamesh.edge import zstd
from novamesh.errors import (
    InvalidEncoding,
    InvalidParameter,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

JSON_TYPE = "application/json"
# RFC 9659: a zstd content coding must not need a window of more than 8 MiB.
ZSTD_WINDOW_LOG = 23
# Below this a body is inflated on the spot: a thread would cost more than it takes.
THREAD_BYTES = 128 * 1024
# So many at once: each may make ten megabytes of very little, and there are not more cores than a few.
INFLATING = 2
# A longer body is read in pieces, so that it counts with what has come of it. Pieces cost time: a usual batch is whole,
# and counts with so much until it is there.
WHOLE_BYTES = 256 * 1024
_AHEAD_BYTES = 64 * 1024
# A body may be compressed in several pieces; a great many take time however small they are.
MAX_MEMBERS = 10_000
PIECE_BYTES = 64 * 1024
_GZIP, _ZLIB, _RAW = 31, 15, -15
# isal calls its error an object as far as types go.
_DAMAGED: tuple[type[Exception], ...] = (
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    zstd.Error,
    EOFError,
    ValueError,
)


_inflating = asyncio.Semaphore(INFLATING)


class ClientGone(Exception):
    """The client closed its connection: there is nobody to answer."""


class Decompressor(Protocol):
    """What the three decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class Holder(Protocol):
    """Who answers for the memory a body takes."""

    def hold(self, size: int) -> None:
        """So many more bytes. Raises :class:`Overloaded`."""


async def read_body(scope: Scope, protocol: HTTPProtocol, limit: int, timeout_s: float, holder: Holder) -> bytes:
    """The request's body, decompressed.

    ``limit`` is in bytes and holds before and after decompression. Raises
    :class:`PayloadTooLarge`, :class:`UnsupportedMediaType`, :class:`InvalidEncoding`,
    :class:`RequestTimeout`, :class:`Overloaded` and :class:`ClientGone`.
    """
    _check_type(read_header(scope, "content-type"))
    decompress = _decompressor(read_header(scope, "content-encoding"))
    length = read_header(scope, "content-length")
    if length is not None and int(length) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(timeout_s):
            # With a length the server reads no further than that; without one we have to count.
            if length is not None and int(length) <= WHOLE_BYTES:
                ahead = min(int(length), _AHEAD_BYTES)
                holder.hold(ahead)
                data = await protocol()
                if len(data) > ahead:
                    holder.hold(len(data) - ahead)
            else:
                data = await _read_counted(scope, protocol, limit, holder)
    except TimeoutError:
        raise RequestTimeout(
            f"The body did not arrive within {timeout_s:g} s; send the request again.",
            headers=(("connection", "close"),),
        ) from None
    except ProtocolClosed:
        raise ClientGone from None
    if decompress is None:
        return data
    if len(data) < THREAD_BYTES:
        inflated = decompress(data, limit)
    else:
        async with _inflating:
            inflated = await asyncio.to_thread(decompress, data, limit)
    holder.hold(len(inflated))
    return inflated


def read_header(scope: Scope, name: str) -> str | None:
    """A header's value. Raises :class:`InvalidParameter` if it cannot be read: the server says
    of such a header that it is there and gives None for its value, as if it was not."""
    value: str | None = scope.headers.get(name)
    if value is None and name in scope.headers:
        raise InvalidParameter(f"The header {name} must hold nothing but printable ASCII characters.")
    return value


async def _read_counted(scope: Scope, protocol: HTTPProtocol, limit: int, holder: Holder) -> bytes:
    parts: list[bytes] = []
    size = empty = 0
    async for chunk in protocol:
        size += len(chunk)
        empty += not chunk
        if size > limit:
            raise _too_large(limit)
        holder.hold(len(chunk))
        parts.append(bytes(chunk))
    length = read_header(scope, "content-length")
    if length is not None and size != int(length):
        raise ClientGone
    # The server ends the chunks of a body that was cut like those of a whole one, but with one more that is empty.
    # Trailers look the same: whoever sends them has to announce them (RFC 9110, 6.6.2).
    if length is None and empty > 1 and scope.http_version.startswith("1") and "trailer" not in scope.headers:
        raise InvalidEncoding("The body ends before its last chunk; send the request again, whole.")
    return b"".join(parts)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The body may have at most {limit} bytes, after decompression; send fewer events in one request.",
        headers=(("connection", "close"),),
    )


def _check_type(value: str | None) -> None:
    """A missing content type is taken for JSON; any other than JSON is refused."""
    if value is None or value == JSON_TYPE:
        return
    kind, _, parameters = value.lower().partition(";")
    charset = parameters.replace('"', "").strip().removeprefix("charset=").strip()
    if kind.strip() != JSON_TYPE or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType(
            "The content type must be application/json, in UTF-8; set the Content-Type header.",
            headers=(("accept", JSON_TYPE),),
        )


def _decompressor(encoding: str | None) -> Callable[[bytes, int], bytes] | None:
    if encoding is None:
        return None
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return inflate_gzip
    if name == "deflate":
        return inflate_deflate
    if name == "zstd":
        return inflate_zstd
    raise UnsupportedMediaType(
        "The content encoding must be gzip, zstd, deflate or identity.",
        headers=(("accept-encoding", "gzip, zstd, deflate, identity"),),
    )


def inflate_gzip(data: bytes, limit: int) -> bytes:
    """Gunzip, of one or more members (RFC 1952), no further than ``limit`` bytes."""
    return _inflate(data, limit, "gzip", lambda: isal_zlib.decompressobj(_GZIP))


def inflate_deflate(data: bytes, limit: int) -> bytes:
    """Inflate what clients call deflate: zlib (RFC 1950), or raw deflate, which some send."""
    zlib_header = len(data) >= 2 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
    # isal makes something of damaged codes that zlib refuses, and raw deflate has no checksum to find it.
    return _inflate(
        data, limit, "deflate", lambda: isal_zlib.decompressobj(_ZLIB) if zlib_header else zlib.decompressobj(_RAW)
    )


def inflate_zstd(data: bytes, limit: int) -> bytes:
    """Decompress zstd, of one or more frames (RFC 8878), no further than ``limit`` bytes."""
    return _inflate(data, limit, "zstd", lambda: zstd.decompressor(ZSTD_WINDOW_LOG))


def _inflate(data: bytes, limit: int, name: str, make: Callable[[], Any]) -> bytes:
    parts: list[bytes] = []
    room = limit + 1
    rest = memoryview(data)
    try:
        for _ in range(MAX_MEMBERS):
            if not rest:
                return b"".join(parts)
            stream: Decompressor = make()
            # In pieces, because what follows the end of a member is copied, and that once for each.
            while not stream.eof:
                piece, rest = rest[:PIECE_BYTES], rest[PIECE_BYTES:]
                if not piece:
                    raise EOFError
                parts.append(stream.decompress(piece, room))
                room -= len(parts[-1])
                if room <= 0:
                    raise _too_large(limit)
            rest = memoryview(data)[len(data) - len(rest) - len(stream.unused_data) :]
    except _DAMAGED:
        raise InvalidEncoding(
            f"The body is not whole {name} data; compress it again or send it without Content-Encoding."
        ) from None
    raise InvalidEncoding(f"The body holds more than {MAX_MEMBERS} pieces of {name} data; compress it as one.")


def is_known(scope: Scope, etag: str) -> bool:
    """Whether the client has the document of this ``etag`` (RFC 9110, 13.1.2): then the answer is a 304. A header that
    cannot be read holds none of our tags."""
    tags = [tag.strip().removeprefix("W/") for tag in (scope.headers.get("if-none-match") or "").split(",")]
    return etag in tags or tags == ["*"]


def read_parameters(query_string: str, known: tuple[str, ...]) -> dict[str, str]:
    """Query parameters by name, each at most once. Raises :class:`InvalidParameter`."""
    if not query_string:
        return {}
    values: dict[str, str] = {}
    for name, value in read_pairs(query_string, known):
        if name in values:
            raise InvalidParameter(f"The parameter `{name}` is given twice; give it once.")
        values[name] = value
    return values


def read_pairs(query_string: str, known: tuple[str, ...]) -> list[tuple[str, str]]:
    """Query parameters in their order, those that are given more than once too. Raises :class:`InvalidParameter`."""
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        raise InvalidParameter("The query string cannot be read; percent-encode its values as UTF-8.") from None
    for name, _ in pairs:
        if name not in known:
            raise unknown_name("parameter", name, known, _known(known))
    return pairs


def unknown_name(what: str, name: str, known: tuple[str, ...], otherwise: str) -> InvalidParameter:
    """The error for a name that nobody knows, with the nearest one that is known; ``otherwise``: if none is near."""
    near = get_close_matches(name.lower(), known, 1)
    hint = f"did you mean `{near[0]}`?" if near else otherwise
    return InvalidParameter(f"There is no {what} `{name[:40]}`; {hint}")


def _known(names: tuple[str, ...]) -> str:
    return f"this endpoint knows {', '.join(f'`{name}`' for name in names)}." if names else "this endpoint knows none."


def read_flag(values: dict[str, str], name: str) -> bool:
    """A parameter that is ``true`` or ``false``; absent is false. Raises :class:`InvalidParameter`."""
    value = values.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidParameter(f"The parameter `{name}` must be true or false.")
    return value in ("true", "1")


def read_number(values: dict[str, str], name: str, default: int, highest: int) -> int:
    """A parameter that is a whole number from 1 to ``highest``. Raises :class:`InvalidParameter`."""
    text = values.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and 1 <= int(text) <= highest):
        raise InvalidParameter(f"The parameter `{name}` must be a whole number from 1 to {highest}.")
    return int(text)
