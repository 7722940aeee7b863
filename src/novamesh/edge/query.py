"""``GET /v1/query``: check the SQL, hand it to the store, pass its answer on as it comes."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope

from novamesh.edge.client import ask
from novamesh.edge.connection import cut
from novamesh.edge.request import ClientGone, read_number, read_parameters
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter, InvalidQuery
from novamesh.sql.explain import explain
from novamesh.sql.guard import check
from novamesh.store.contract import FORMATS, CareNeeded, QueryRequest, schema_for

log = logging.getLogger(__name__)

DEFAULT_LIMIT = 1000
MAX_LIMIT = 50_000


async def query(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Answer one query. Returns 0: no events were accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "query")
    values = read_parameters(scope.query_string, ("q", "format", "limit"))
    if "q" not in values:
        raise InvalidParameter("The parameter `q` is missing; it holds the SQL, percent-encoded.")
    limit = read_number(values, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    kind = _format(values.get("format"), scope.headers.get("accept"))

    def request(careful: bool) -> QueryRequest:
        checked = check(values["q"], schema=schema_for(key.space), limit=limit, careful=careful)
        return QueryRequest(space=key.space, sql=checked.sql, names=checked.names, format=kind, limit=limit)

    gone = asyncio.ensure_future(protocol.client_disconnect())
    answer = asyncio.ensure_future(_answer(worker.socket, request, scope, protocol))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientGone
        answer.result()
    except InvalidQuery as error:
        raise InvalidQuery(explain(values["q"], error.message)) from None
    finally:
        gone.cancel()
        answer.cancel()
        await asyncio.wait((answer,))  # until the store knows
    return 0


async def _answer(path: Path, request: Callable[[bool], QueryRequest], scope: Scope, protocol: HTTPProtocol) -> None:
    """Pass the store's answer on: to the query, or to its careful and slower form if the data needs that."""
    try:
        await _pass_on(path, request(False), scope, protocol)
    except CareNeeded:
        await _pass_on(path, request(True), scope, protocol)


async def _pass_on(path: Path, request: QueryRequest, scope: Scope, protocol: HTTPProtocol) -> None:
    """Pass one answer on. Leaving this early cancels the query."""
    async with ask(path, request) as answer:
        await answer.message()  # the head: from here on the answer is a 200
        transport = protocol.response_stream(200, [("content-type", FORMATS[request.format])])
        try:
            async for data in answer.data():
                await transport.send_bytes(data)
        except ProtocolClosed:
            raise ClientGone from None
        except Exception as error:
            # Whatever it is, this answer can no longer become an error.
            log.warning("an answer was cut off", extra={"cause": getattr(error, "code", repr(error))})
            cut(scope.client)
            raise ClientGone from None


def _format(name: str | None, accept: str | None) -> str:
    if name is None:
        accepted = (accept or "").lower()
        return next((kind for kind, media in FORMATS.items() if media.split(";")[0] in accepted), "json")
    if name not in FORMATS:
        raise InvalidParameter(f"The parameter `format` must be one of {', '.join(FORMATS)}.")
    return name
