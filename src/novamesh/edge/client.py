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
    Awaited,
    BatchStatus,
    EraseAnswer,
    EraseRequest,
    ExtentAnswer,
    ExtentRequest,
    Receipt,
    ReceiptAnswer,
    ReceiptRequest,
    Request,
    SchemaAnswer,
    SchemaRequest,
    StatusRequest,
    StoreStatus,
    TypesAnswer,
    TypesRequest,
    WaitAnswer,
    WaitRequest,
    decode_error,
)

Told = TypeVar("Told", bound=msgspec.Struct)

STATUS_TIMEOUT_S = 3.0
# Longer than the store searches its spool for one.
RECEIPT_TIMEOUT_S = 15.0
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


async def ask_schema(path: Path, request: SchemaRequest) -> SchemaAnswer:
    """What the events of a space hold. Takes its turn among the key's queries.

    Raises :class:`StoreUnavailable`, :class:`TooManyQueries`, :class:`QueryTimeout` and :class:`QueryTooLarge`.
    """
    return await _told(path, request, SchemaAnswer)


async def erase(path: Path, space: str, user_id: str) -> EraseAnswer:
    """Remove one person's events. Raises :class:`StoreUnavailable`."""
    return await _told(path, EraseRequest(space, user_id), EraseAnswer)


async def ask_status(path: Path) -> StoreStatus:
    """How the store is. Raises :class:`StoreUnavailable`."""
    return await _told_within(STATUS_TIMEOUT_S, path, StatusRequest(), StoreStatus)


async def ask_receipt(path: Path, space: str, batch: str) -> Receipt | None:
    """What became of a batch, if the space has it. Raises :class:`StoreUnavailable`."""
    answer = await _told_within(RECEIPT_TIMEOUT_S, path, ReceiptRequest(space, batch), ReceiptAnswer)
    return answer.receipt


async def ask_statuses(path: Path, records: list[Awaited]) -> list[BatchStatus]:
    """Where the events of each of these records are. Raises :class:`StoreUnavailable`."""
    answer = await _told_within(STATUS_TIMEOUT_S, path, WaitRequest(records), WaitAnswer)
    return answer.statuses


async def _told_within(limit_s: float, path: Path, request: Request, kind: type[Told]) -> Told:
    try:
        async with asyncio.timeout(limit_s):
            return await _told(path, request, kind)
    except TimeoutError:
        raise StoreUnavailable(f"The store has not answered for {limit_s:g} s.") from None


async def _told(path: Path, request: Request, kind: type[Told]) -> Told:
    """The one document that answers a request which is no query."""
    async with ask(path, request) as answer:
        async for body in answer.data():
            return msgspec.json.decode(body, type=kind)
    raise StoreUnavailable(_UNAVAILABLE)
