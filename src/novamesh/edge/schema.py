"""``GET /v1/schema``: what a project's events really hold, for who writes SQL about them."""

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.call import named
from novamesh.edge.client import ask_schema
from novamesh.edge.ingest import JSON_HEADERS
from novamesh.edge.request import read_parameters
from novamesh.edge.worker import Worker
from novamesh.sql.functions import ALLOWED, TABLE_FUNCTIONS
from novamesh.sql.names import TYPES
from novamesh.sql.written import written
from novamesh.store.contract import EventCount, JsonType, SampledPath, SchemaAnswer, SchemaRequest

# The path as a whole: one that is longer is no help.
PATH_CHARACTERS = 500


class Column(msgspec.Struct, frozen=True):
    """A column of ``events`` and DuckDB's name of its type."""

    name: str
    type: str


class Property(msgspec.Struct, frozen=True):
    """A path as it is written in SQL, and its last key. The ``share`` of the sampled events that have it."""

    path: str
    name: str
    types: list[JsonType]
    share: float
    examples: list[msgspec.Raw]


class Schema(msgspec.Struct, frozen=True):
    """What a project's events hold. ``sampled`` events were looked at for properties; ``truncated``: there are other
    names or properties."""

    columns: list[Column]
    events: list[EventCount]
    properties: list[Property]
    functions: list[str]
    sampled: int
    truncated: bool


_COLUMNS = [Column(name, kind) for name, kind in TYPES["events"].items()]
_FUNCTIONS = sorted(ALLOWED | TABLE_FUNCTIONS)


async def schema(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """The schema of the key's events. Returns 0: no events were accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "query")
    read_parameters(scope.query_string, ())
    worker.busy[scope.client] += 1
    try:
        answer = await ask_schema(worker.socket, SchemaRequest(key.space, key.id, named(protocol)))
    finally:
        worker.leave(scope.client)
    protocol.response_bytes(200, [*JSON_HEADERS, ("cache-control", "no-store")], msgspec.json.encode(_shown(answer)))
    return 0


def _shown(answer: SchemaAnswer) -> Schema:
    properties = [made for path in answer.paths if (made := _property(path, answer.sampled))]
    return Schema(
        columns=_COLUMNS,
        events=answer.events,
        properties=properties,
        functions=_FUNCTIONS,
        sampled=answer.sampled,
        truncated=answer.truncated or len(properties) < len(answer.paths),
    )


def _property(path: SampledPath, sampled: int) -> Property | None:
    """The path as it is shown; None if it cannot be written in a query, or would be too long."""
    text = written(path.steps)
    if text is None or len(text) > PATH_CHARACTERS:
        return None
    name = next(step for step in reversed(path.steps) if isinstance(step, str))
    return Property(text, name, path.types, _share(path.events, sampled), path.examples)


def _share(events: int, sampled: int) -> float:
    """Rounded; but only a path that no event has would be 0, and only one that all have is 1."""
    return 1.0 if events == sampled else min(max(round(events / sampled, 4), 0.0001), 0.9999)
