"""What is said of an endpoint: enough for the API Reference of the status page, and for the OpenAPI document."""

import re
from typing import Any, Literal

import msgspec

from novamesh.errors import Detail, RequestError

JSON = "application/json"

ParameterType = Literal["array", "boolean", "integer", "object", "string"]
Place = Literal["body", "header", "path", "query"]


class Parameter(msgspec.Struct, frozen=True):
    """One row of a parameter table, and its JSON schema beside ``type``: ``limits``, in the words of JSON Schema.

    The schema of a field of the body is that of the endpoint's ``body``.
    """

    name: str
    type: ParameterType
    text: str
    required: bool = False
    place: Place = "body"
    limits: dict[str, Any] = {}

    @property
    def kind(self) -> str:
        """Its type in words and, unless it is a field of the body, where it goes."""
        return self.type if self.place == "body" else f"{self.type} · {self.place}"


class Example(msgspec.Struct, frozen=True):
    """One request to the endpoint; :mod:`novamesh.edge.page.examples` says it in each language.

    ``body`` is its JSON, sent as gzip if it is ``compressed``. ``variable`` names the environment variable that holds
    the last part of the path. The answer is shown as it comes if it is ``streamed``.
    """

    title: str
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None
    compressed: bool = False
    variable: str = ""
    streamed: bool = False


class Answer(msgspec.Struct, frozen=True):
    """One example response: status, when it comes, and its JSON. ``{base_url}`` and ``{health}`` are filled in."""

    status: int
    when: str
    body: str


class Reply(msgspec.Struct, frozen=True):
    """A success: its status, when it comes, and its content types, each with the type of the document, or
    the types of those there may be, if it is JSON.

    ``headers`` are names and what they say, ``links`` the OpenAPI links to what can be asked then.
    """

    status: int
    when: str
    content: dict[str, Any] = {}
    headers: dict[str, str] = {}
    links: dict[str, Any] = {}


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint. ``scope`` is the scope its key must have; ``None``: no key.

    ``sample`` is the path in examples, where it has a part to be named. ``body`` is the type of its JSON body, if it
    takes one. ``replies`` are all its successes, ``fails`` all its errors but ``internal_error``, which any may have.
    """

    method: str
    path: str
    scope: str | None
    summary: str
    parameters: tuple[Parameter, ...]
    examples: tuple[Example, ...]
    answers: tuple[Answer, ...]
    sample: str = ""
    body: Any = None
    replies: tuple[Reply, ...] = ()
    fails: tuple[type[RequestError], ...] = ()

    @property
    def anchor(self) -> str:
        """The endpoint's id in the page, such as ``post-v1-ingest``."""
        return f"{self.method.lower()}{re.sub('[/{}_]+', '-', self.path).rstrip('-')}"


def failure(kind: type[RequestError], when: str, message: str, *details: Detail) -> Answer:
    """An example of an error, in the shape and with the code that clients get."""
    body = kind(message, details=details).body()
    return Answer(kind.status, when, msgspec.json.format(body, indent=2).decode())
