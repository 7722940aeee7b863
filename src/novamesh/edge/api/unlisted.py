"""Endpoints that the status page does not list: itself, and what stands there in other words."""

from typing import Any

from novamesh.edge.api.documents import RESULT, QueryBody
from novamesh.edge.api.endpoint import JSON, Endpoint, Parameter, Reply
from novamesh.edge.api.failures import OF_BODY, OF_SQL
from novamesh.errors import NotFound
from novamesh.status.exposition import CONTENT_TYPE

_UNCHANGED = Reply(304, "It is the one that If-None-Match names.")

UNLISTED: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/",
        scope=None,
        summary="The node's status page, with its API Reference.",
        parameters=(),
        examples=(),
        answers=(),
        replies=(Reply(200, "The page.", {"text/html; charset=utf-8": None}),),
    ),
    Endpoint(
        method="GET",
        path="/console",
        scope=None,
        summary="The SQL console. It asks for a key, which stays in the browser's tab.",
        parameters=(),
        examples=(),
        answers=(),
        replies=(Reply(200, "The page.", {"text/html; charset=utf-8": None}), _UNCHANGED),
    ),
    Endpoint(
        method="GET",
        path="/console/{file}",
        scope=None,
        summary="What the console is made of.",
        parameters=(Parameter("file", "string", "As the page names it.", required=True, place="path"),),
        examples=(),
        answers=(),
        replies=(
            Reply(200, "The file.", {f"text/{kind}; charset=utf-8": None for kind in ("javascript", "css", "plain")}),
            _UNCHANGED,
        ),
        fails=(NotFound,),
    ),
    Endpoint(
        method="POST",
        path="/v1/query",
        scope="query",
        summary="SQL over your events, as with GET, and values for its placeholders: no SQL is built from strings.",
        parameters=(),
        examples=(),
        answers=(),
        body=QueryBody,
        replies=(Reply(200, "The rows, as they come.", RESULT),),
        fails=(*OF_SQL, *OF_BODY),
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        scope=None,
        summary="What the node knows of itself, for Prometheus.",
        parameters=(),
        examples=(),
        answers=(),
        replies=(Reply(200, "All figures.", {CONTENT_TYPE: None}),),
    ),
    Endpoint(
        method="GET",
        path="/openapi.json",
        scope=None,
        summary="All of this for programs: an OpenAPI 3.1 document, with the schemas of everything sent and answered.",
        parameters=(),
        examples=(),
        answers=(),
        replies=(
            Reply(200, "An OpenAPI document.", {JSON: dict[str, Any]}, {"ETag": "Changes when the document does."}),
            _UNCHANGED,
        ),
    ),
)
