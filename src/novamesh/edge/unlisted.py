"""Endpoints that the status page does not list: itself, and what stands there in other words."""

from novamesh.edge.documents import RESULT, QueryBody
from novamesh.edge.endpoint import Endpoint, Reply
from novamesh.edge.failures import OF_BODY, OF_SQL
from novamesh.status.exposition import CONTENT_TYPE

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
)
