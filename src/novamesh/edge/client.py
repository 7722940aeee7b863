"""The edge's side of the Unix socket to the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from novamesh.errors import StoreUnavailable
from novamesh.store.contract import (
    DATA,
    END,
    ERROR,
    MESSAGE,
    EraseAnswer,
    EraseRequest,
    ExtentAnswer,
    ExtentRequest,
    RecountAnswer,
    RecountRequest,
    Request,
    StatusRequest,
    StoreStatus,
    TypesAnswer,
    TypesRequest,
    decode_error,
)

Told = TypeVar("Told", EraseAnswer, ExtentAnswer, RecountAnswer, StoreStatus, TypesAnswer)

STATUS_TIMEOUT_S = 3.0
_UNAVAILABLE = "The store of this node is starting or restarting; send the query again in a moment."


class Answer:
    """Messages of one answer, as they come."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def message(self) -> tuple[bytes, bytes]:
        """The next message's kind and body. Raises what an error message says, or
        :class:`StoreUnavailable` when the store went away."""
        try:
            kind, size = MESSAGE.unpack(await self._reader.readexactly(MESSAGE.size))
            body = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            raise StoreUnavailable(_UNAVAILABLE) from None
        if kind == ERROR:
            raise decode_error(body)
        return kind, body

    async def data(self) -> AsyncIterator[bytes]:
        """The bodies of the data messages, to the end."""
        while True:
            kind, body = await self.message()
            if kind == END:
                return
            if kind == DATA:
                yield body


@asynccontextmanager
async def ask(path: Path, request: Request) -> AsyncIterator[Answer]:
    """Send a request; leaving the block cancels what is not answered yet."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        raise StoreUnavailable(_UNAVAILABLE) from None
    try:
        writer.write(msgspec.json.encode(request) + b"\n")
        yield Answer(reader)
    finally:
        writer.close()


async def ask_extent(path: Path, space: str) -> ExtentAnswer:
    """How many events a space has. Raises :class:`StoreUnavailable`."""
    return await _told(path, ExtentRequest(space), ExtentAnswer)


async def ask_types(path: Path, space: str) -> TypesAnswer:
    """The types of a space's property paths. Raises :class:`StoreUnavailable`."""
    return await _told(path, TypesRequest(space), TypesAnswer)


async def erase(path: Path, space: str, user_id: str) -> EraseAnswer:
    """Remove one person's events. Raises :class:`StoreUnavailable`."""
    return await _told(path, EraseRequest(space, user_id), EraseAnswer)


async def ask_status(path: Path) -> StoreStatus:
    """How the store is. Raises :class:`StoreUnavailable`."""
    try:
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            return await _told(path, StatusRequest(), StoreStatus)
    except TimeoutError:
        raise StoreUnavailable(f"The store has not answered for {STATUS_TIMEOUT_S:g} s.") from None


async def ask_recount(path: Path) -> RecountAnswer:
    """Every space, counted anew, however long that takes. Raises :class:`StoreUnavailable`."""
    return await _told(path, RecountRequest(), RecountAnswer)


async def _told(path: Path, request: Request, kind: type[Told]) -> Told:
    """The one document that answers a request which is no query."""
    async with ask(path, request) as answer:
        async for body in answer.data():
            return msgspec.json.decode(body, type=kind)
    raise StoreUnavailable(_UNAVAILABLE)
