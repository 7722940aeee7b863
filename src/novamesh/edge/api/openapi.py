"""``GET /openapi.json``: the endpoints as an OpenAPI 3.1 document, made of the table that the status page is made of.

Schemas of bodies and documents are those of the types that the code decodes and encodes with.
"""

import hashlib
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh import __version__
from novamesh.edge.api.documents import ErrorDocument
from novamesh.edge.api.endpoint import JSON, Endpoint, Parameter, Reply
from novamesh.edge.api.endpoints import ENDPOINTS
from novamesh.edge.api.unlisted import UNLISTED
from novamesh.edge.ingest import JSON_HEADERS
from novamesh.edge.page.examples import commands
from novamesh.edge.request import is_known
from novamesh.edge.worker import Worker
from novamesh.errors import InternalError, RequestError, by_code
from novamesh.event.model import MAX_DEPTH, MAX_INTEGER, MIN_INTEGER, Batch, EventText

Document = dict[str, Any]

_REFERENCE: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = """One event-ingestion node: HTTP in, on disk before the 202, SQL a second later.

Every error, on every path, is an `Error`: branch on `error`, show `message`. A path that is not here answers 404
`not_found`; a method that is not, 405 `method_not_allowed` with `Allow`. HEAD is answered as GET is, without the body.
What is not HTTP gets the server's own 400, without a body."""
# What the HTTP server answers by itself, whatever the path.
_OF_SERVER: Final[dict[int, tuple[str, str]]] = {
    414: ("AddressTooLong", "The address is longer than 64 KiB. Without a body."),
    431: ("HeadersTooLarge", "The address and the headers are larger than 128 KiB. Without a body."),
}
# What every answer of a status has beside its body.
_HEADERS: Final[dict[int, dict[str, str]]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "Seconds after which to send it again."},
    503: {"Retry-After": "Seconds after which to send it again."},
}
_VALUE: Final = [
    *({"type": kind} for kind in ("null", "boolean", "string", "number")),
    {"type": "integer", "minimum": MIN_INTEGER, "maximum": MAX_INTEGER},
]


async def openapi(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """The document. Returns 0: no events were accepted."""
    body, etag = _encoded(worker.config.base_url)
    headers = [("etag", etag), ("cache-control", "no-cache")]
    if is_known(scope, etag):
        protocol.response_empty(304, headers)
    else:
        protocol.response_bytes(200, [*JSON_HEADERS, *headers], body)
    return 0


@lru_cache(1)
def _encoded(base_url: str) -> tuple[bytes, str]:
    body = msgspec.json.encode(document(base_url))
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def document(base_url: str) -> Document:
    """The OpenAPI document of a node with this address."""
    endpoints = [*ENDPOINTS, *UNLISTED]
    types = list({id(kind): kind for endpoint in endpoints for kind in _types(endpoint)}.values())
    schemas, components = msgspec.json.schema_components([*types, ErrorDocument], ref_template=_REFERENCE)
    known = {id(kind): schema for kind, schema in zip(types, schemas, strict=False)}
    known[id(EventText)] = {"$ref": _REFERENCE.format(name="Event")}
    paths: dict[str, Document] = {}
    for endpoint in sorted(endpoints, key=lambda one: one.path):
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, known, base_url)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "novamesh",
            "version": __version__,
            "summary": "Event ingestion, durable before the 202, and SQL.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base_url, "description": "This node"}],
        "externalDocs": {"url": f"{base_url}/#api", "description": "API Reference of this node"},
        "paths": paths,
        "components": {
            "schemas": _components(components),
            "responses": {name: {"description": text} for name, text in _OF_SERVER.values()},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `nm_live_…` or `nm_test_…`, with the scope that the operation names.",
                }
            },
        },
    }


def _types(endpoint: Endpoint) -> list[Any]:
    found = [kind for reply in endpoint.replies for kinds in reply.content.values() for kind in _each(kinds)]
    return [*found, endpoint.body] if endpoint.body else found


def _each(kinds: Any) -> tuple[Any, ...]:
    return kinds if isinstance(kinds, tuple) else () if kinds is None else (kinds,)


# ---- operations


def _operation(endpoint: Endpoint, known: dict[int, Document], base_url: str) -> Document:
    operation: Document = {
        "operationId": endpoint.anchor.replace("-", "_").replace(".", "_"),
        "summary": endpoint.summary,
        "responses": _responses(endpoint, known, base_url),
    }
    if endpoint.scope:
        operation["security"] = [{"key": [endpoint.scope]}]
        operation["description"] = f"Needs a key with scope `{endpoint.scope}`."
    if parameters := [_parameter(one) for one in endpoint.parameters if one.place != "body"]:
        operation["parameters"] = parameters
    if endpoint.body:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": known[id(endpoint.body)]}}}
    if endpoint.examples:
        operation["x-codeSamples"] = [
            {"lang": "Shell", "label": example.title, "source": command}
            for example, command in zip(endpoint.examples, commands(endpoint, base_url), strict=True)
        ]
    return operation


def _parameter(parameter: Parameter) -> Document:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "description": parameter.text,
        "schema": {"type": parameter.type, **parameter.limits},
    }


def _responses(endpoint: Endpoint, known: dict[int, Document], base_url: str) -> Document:
    responses = {str(reply.status): _reply(reply, known) for reply in endpoint.replies}
    failing: dict[int, list[type[RequestError]]] = {}
    errors: tuple[type[RequestError], ...] = (*endpoint.fails, InternalError)
    for kind in errors:
        failing.setdefault(kind.status, []).append(kind)
    for status in sorted(failing):
        responses[str(status)] = _failure(status, failing[status])
    for status, (name, _) in _OF_SERVER.items():
        responses[str(status)] = {"$ref": f"#/components/responses/{name}"}
    for answer in endpoint.answers:
        content = responses.get(str(answer.status), {}).get("content", {}).get(JSON)
        if content is not None and "{health}" not in answer.body:
            example = msgspec.json.decode(answer.body.replace("{base_url}", base_url))
            examples = content.setdefault("examples", {})
            examples[f"example{len(examples) + 1}"] = {"summary": answer.when, "value": example}
    return responses


def _reply(reply: Reply, known: dict[int, Document]) -> Document:
    response: Document = {"description": reply.when}
    if reply.content:
        response["content"] = {media: _media(kinds, known) for media, kinds in reply.content.items()}
    if reply.headers:
        response["headers"] = _headers(reply.headers)
    if reply.links:
        response["links"] = reply.links
    return response


def _media(kinds: Any, known: dict[int, Document]) -> Document:
    schemas = [known[id(kind)] for kind in _each(kinds)]
    return {"schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}} if schemas else {}


def _failure(status: int, kinds: list[type[RequestError]]) -> Document:
    codes = sorted(kind.code for kind in kinds)
    schema = {
        "allOf": [{"$ref": _REFERENCE.format(name="Error")}],
        "properties": {"error": {"enum": codes}},
    }
    response: Document = {
        "description": f"{HTTPStatus(status).phrase}: {' or '.join(f'`{code}`' for code in codes)}.",
        "content": {JSON: {"schema": schema}},
    }
    if status in _HEADERS:
        response["headers"] = _headers(_HEADERS[status])
    return response


def _headers(texts: dict[str, str]) -> Document:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in texts.items()}


# ---- schemas


def _components(found: dict[str, Document]) -> dict[str, Document]:
    """The schemas of all types, by name. Of JSON objects in events the code knows some levels; here they have all."""
    named = {**found, "Event": found[EventText.__name__], "Error": found[ErrorDocument.__name__]}
    named["Json"] = {
        "title": "Json",
        "description": "Any value.",
        "anyOf": [*_VALUE, _nested("array"), _nested("object")],
    }
    for name in (EventText.__name__, ErrorDocument.__name__):
        del named[name]
    for name in ("Event", Batch.__name__):
        named[name] = _of_event(name, named[name])
    named["Error"] = _of_error(named["Error"])
    return {name: _tidy(schema) for name, schema in sorted(named.items())}


def _nested(kind: str) -> Document:
    reference = {"$ref": _REFERENCE.format(name="Json")}
    return (
        {"type": "array", "items": reference}
        if kind == "array"
        else {"type": "object", "additionalProperties": reference}
    )


def _of_event(name: str, schema: Document) -> Document:
    texts = {
        parameter.name: parameter.text
        for endpoint in ENDPOINTS
        if endpoint.body == {"Event": EventText, "Batch": Batch}[name]
        for parameter in endpoint.parameters
        if parameter.place == "body"
    }
    fields = {field: {**rules, "description": texts[field]} for field, rules in schema["properties"].items()}
    for field in {"properties", "context"} & fields.keys():
        fields[field]["anyOf"] = [_nested("object"), {"type": "null"}]
    depth = f"`properties` and `context` nest at most {MAX_DEPTH} levels deep."
    return {**schema, "title": name, "description": f"{texts.get('events', 'An event.')} {depth}", "properties": fields}


def _of_error(schema: Document) -> Document:
    fields = {**schema["properties"], "error": {"enum": sorted(by_code())}}
    return {**schema, "title": "Error", "properties": fields}


def _tidy(schema: Any) -> Any:
    """Descriptions are docstrings, which have line breaks and two backquotes."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: " ".join(value.split()).replace("``", "`")
        if name == "description" and isinstance(value, str)
        else _tidy(value)
        for name, value in schema.items()
    }
