"""From a checked query to its answer: ask the store, pass on what it says as it comes, stop when the client goes."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
from granian.rsgi import HTTPProtocol, ProtocolClosed, Scope

from novamesh.edge.call import named
from novamesh.edge.client import ask, ask_types
from novamesh.edge.connection import Backlog, cut
from novamesh.edge.request import ClientGone
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter, InvalidQuery, RequestError
from novamesh.keys import Key
from novamesh.sql.explain import explain
from novamesh.sql.guard import Checked
from novamesh.sql.parameters import bind
from novamesh.sql.types import NO_TYPES, PathTypes
from novamesh.store.contract import FORMATS, CareNeeded, QueryRequest, TypesChanged

log = logging.getLogger(__name__)

# How often a query is sent in a form made for what is known of its values; then in the one that fits any.
ATTEMPTS = 3
# Of what a client wrote so much is told to the store, for its log.
TEXT_CHARACTERS = 2000

Headers = list[tuple[str, str]]


class Form(NamedTuple):
    """What form of a query's SQL is wanted (see ``guard.check``)."""

    careful: bool
    types: PathTypes


def read_sql(values: dict[str, str]) -> str:
    """The SQL among the parameters. Raises :class:`InvalidParameter`."""
    if "q" not in values:
        raise InvalidParameter("The parameter `q` is missing; it holds the SQL.")
    return values["q"]


def store_request(
    checked: Checked,
    key: Key,
    kind: str,
    limit: int | None,
    parameters: dict[str, Any] | list[Any],
    skip: int = 0,
) -> QueryRequest:
    """What the store is asked for a checked query. Raises :class:`InvalidParameter` for what ``parameters`` lack."""
    return QueryRequest(
        space=key.space,
        key=key.id,
        sql=checked.sql,
        names=checked.names,
        format=kind,
        limit=limit,
        wanted=checked.wanted,
        parameters=bind(checked.parameters, parameters),
        skip=skip,
        relied=checked.relied,
        shredded_only=checked.shredded_only,
        variants=checked.variants,
    )


def pick_format(name: str | None, accept: str | None, default: str) -> str:
    """The format by name, else the first one the Accept header names. Raises :class:`InvalidParameter`."""
    if name is None:
        accepted = (accept or "").lower()
        return next((kind for kind, media in FORMATS.items() if media.split(";")[0] in accepted), default)
    if name not in FORMATS:
        raise InvalidParameter(f"The parameter `format` must be one of {', '.join(FORMATS)}.")
    return name


class Answering:
    """Answers one request. ``make`` gives the request to the store, in the form that is asked for."""

    def __init__(
        self, worker: Worker, space: str, scope: Scope, protocol: HTTPProtocol, text: str, headers: Headers
    ) -> None:
        self._worker = worker
        self._space = space
        self._scope = scope
        self._protocol = protocol
        self._text = text
        self._headers = headers

    async def run(self, make: Callable[[Form], QueryRequest]) -> None:
        """Answer, until the client goes. Raises :class:`RequestError` and :class:`ClientGone`."""
        self._worker.busy[self._scope.client] += 1
        started = time.perf_counter_ns()
        outcome = "cancelled"
        gone = asyncio.ensure_future(self._protocol.client_disconnect())
        answer = asyncio.ensure_future(self._answer(make))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientGone
            answer.result()
            outcome = "answered"
        except RequestError as error:
            outcome = "failed" if error.status >= 500 else "refused"
            raise
        finally:
            self._worker.metrics.count_query(outcome, time.perf_counter_ns() - started)
            gone.cancel()
            answer.cancel()
            await asyncio.wait((answer,))  # until the store knows
            self._worker.leave(self._scope.client)

    async def _answer(self, make: Callable[[Form], QueryRequest]) -> None:
        form = Form(careful=False, types=self._worker.types.get(self._space, NO_TYPES))
        for _ in range(ATTEMPTS):
            try:
                await self._pass_on(await self._prepared(make, form))
                return
            except CareNeeded:
                form = form._replace(careful=True)
            except TypesChanged:
                form = form._replace(types=await self._learn())
        form = Form(careful=True, types=NO_TYPES)
        request = await self._prepared(make, form)
        await self._pass_on(msgspec.structs.replace(request, relied={}, shredded_only=False))

    async def _prepared(self, make: Callable[[Form], QueryRequest], form: Form) -> QueryRequest:
        return await self._worker.checking.run(self._space, self._text, partial(make, form), careful=form.careful)

    async def _learn(self) -> PathTypes:
        answer = await ask_types(self._worker.socket, self._space)
        types = PathTypes(answer.types, shredded_only=answer.shredded_only)
        known = self._worker.types.get(self._space)
        if known is not None and known.same(types):  # another query was first: what was checked for it holds
            return known
        self._worker.types[self._space] = types
        return types

    async def _pass_on(self, request: QueryRequest) -> None:
        """Pass one answer on. Leaving this early cancels the query."""
        request = msgspec.structs.replace(request, text=self._text[:TEXT_CHARACTERS], named=named(self._protocol))
        async with ask(self._worker.socket, request) as answer:
            try:
                await answer.message()  # the head: from here on the answer is a 200
            except InvalidQuery as error:
                raise InvalidQuery(explain(self._text, error.message, request.sql)) from None
            headers = [("content-type", FORMATS[request.format]), *self._headers]
            transport = self._protocol.response_stream(200, headers)
            try:
                with Backlog(self._scope.client) as backlog:
                    async for data in answer.data():
                        await transport.send_bytes(data)
                        await backlog.give(len(data))
            except ProtocolClosed:
                raise ClientGone from None
            except Exception as error:
                # Whatever it is, this answer can no longer become an error.
                cause = getattr(error, "code", repr(error))
                log.warning("an answer was cut off", extra={"cause": cause, **named(self._protocol)})
                cut(self._scope.client)
                raise ClientGone from None
