"""Whether an answer is one that the OpenAPI document describes: status, content type, headers, and all of its JSON."""

from functools import lru_cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from novamesh.edge.api.openapi import document

Document = dict[str, Any]
_ROOT = "https://node.example/openapi"


@lru_cache(1)
def strict() -> Document:
    """The document, with no room in its objects for what it does not name: a client may get more one day, a test not."""
    made = document("http://node.example")
    for schema in made["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return made


def operation(path: str, method: str) -> Document:
    """The operation of a path as the document names it (``/v1/batches/{batch_id}``)."""
    found: Document = strict()["paths"][path][method.lower()]
    return found


def faults(value: object, schema: Document) -> list[str]:
    """What of a JSON value is not as a schema of the document says."""
    whole = {"$id": _ROOT, "components": strict()["components"], **schema}
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)]


def check(answer: httpx.Response, path: str) -> None:
    """AssertionError if an answer of this path is not as documented."""
    request = answer.request
    about = f"{answer.status_code} to {request.method} {request.url}: {answer.text[:500]}"
    documented = operation(path, request.method)["responses"].get(str(answer.status_code))
    assert documented is not None, f"not documented: {about}"
    if "$ref" in documented:
        documented = strict()["components"]["responses"][documented["$ref"].rpartition("/")[2]]
    content = documented.get("content", {})
    media = answer.headers.get("content-type")
    assert (media in content) if content else media is None, f"content type {media}: {about}"
    for name in documented.get("headers", {}):
        optional = answer.status_code in (200, 202)
        assert optional or name in answer.headers, f"no {name}: {about}"
    schema = content.get(media, {}).get("schema")
    if schema is not None:
        assert faults(answer.json(), schema) == [], about
