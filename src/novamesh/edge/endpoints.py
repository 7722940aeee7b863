"""What this node offers, in one table: :data:`ENDPOINTS`. The API Reference of the status page is written from it."""

import re
import shlex

import msgspec

from novamesh.errors import (
    Detail,
    Forbidden,
    InvalidEvent,
    InvalidParameter,
    InvalidQuery,
    NotFound,
    NotReady,
    QueryNotAllowed,
    RateLimited,
    RequestError,
    SpoolFull,
    TooManyQueries,
    Unauthorized,
)


class Parameter(msgspec.Struct, frozen=True):
    """One row of a parameter table. ``kind`` is its type and, unless it is a body field, where it goes."""

    name: str
    kind: str
    text: str
    required: bool = False


class Example(msgspec.Struct, frozen=True):
    """A shell command. ``{url}`` stands for the endpoint's quoted URL, up to its parameter if it has one."""

    title: str
    command: str


class Answer(msgspec.Struct, frozen=True):
    """One example response: status, when it comes, and its JSON. ``{base_url}`` and ``{health}`` are filled in."""

    status: int
    when: str
    body: str


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint. ``scope`` is the scope its key must have; ``None``: no key.

    ``sample`` is the path in examples, where it has a part to be named.
    """

    method: str
    path: str
    scope: str | None
    summary: str
    parameters: tuple[Parameter, ...]
    examples: tuple[Example, ...]
    answers: tuple[Answer, ...]
    sample: str = ""

    @property
    def anchor(self) -> str:
        """The endpoint's id in the page, such as ``post-v1-ingest``."""
        return f"{self.method.lower()}{re.sub('[/{}_]+', '-', self.path).rstrip('-')}"


def _error(kind: type[RequestError], when: str, message: str, *details: Detail) -> Answer:
    """An example of an error, in the shape and with the code that clients get."""
    body = kind(message, details=details).body()
    return Answer(kind.status, when, msgspec.json.format(body, indent=2).decode())


_KEY = """-H "Authorization: Bearer $NOVAMESH_KEY\""""
_JSON = "-H 'Content-Type: application/json'"
_BATCH = """{
    "context": {"app": "shop", "release": "2.4.0"},
    "events": [
      {"event": "page_view", "properties": {"page": "/"}},
      {"event": "click", "properties": {"button": "buy"}}
    ]
  }"""

_UNAUTHORIZED = _error(Unauthorized, "no key, or a wrong one", "API key required. See {base_url}/#api")
_SPOOL_FULL = _error(
    SpoolFull,
    "nothing was queued; send it again after Retry-After",
    "Nothing was accepted because this node's disk is full; send it again later.",
)
_RATE_LIMITED = _error(
    RateLimited,
    "nothing was queued; the key may send no more now",
    "This key may send 1000 events a second; send them again in 1 s.",
)
_TOO_MANY_QUERIES = _error(
    TooManyQueries,
    "send it again after Retry-After",
    "32 queries of this key wait already; wait for answers before sending more.",
)

_WAIT = Parameter(
    "wait",
    "string · query",
    "stored: answer when queries see the events, with a status; after 5 s (the default) as without it.",
)

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/health",
        scope=None,
        summary="How the node is, and the percentage of the last 30 days in which it could accept events.",
        parameters=(),
        examples=(Example("Health", "curl {url}"),),
        answers=(Answer(200, "status is ok or degraded", "{health}"),),
    ),
    Endpoint(
        method="GET",
        path="/v1/ready",
        scope=None,
        summary="For load balancers: whether every part of the node is ready.",
        parameters=(),
        examples=(Example("Readiness", "curl {url}"),),
        answers=(
            Answer(
                200,
                "send traffic; the ledger says what became of the events of each project",
                """{
  "status": "ready",
  "ledger": {
    "default": {
      "accepted": 1200,
      "stored": 1150,
      "duplicates": 40,
      "quarantined": 0,
      "waiting": 10,
      "damaged": 0,
      "missing": 0
    }
  }
}""",
            ),
            _error(
                NotReady,
                "names the parts that are not ready",
                "Not ready: store. Wait, or see the details.",
                Detail("/store", "starting"),
            ),
        ),
    ),
    Endpoint(
        method="POST",
        path="/v1/ingest",
        scope="ingest",
        summary="One event. Validated at the edge and queued for processing: a 202 means that it is on disk.",
        parameters=(
            Parameter("event", "string", "Event name, 1–200 characters, not blank.", required=True),
            Parameter("properties", "object", "Key-value pairs of the event."),
            Parameter("user_id", "string", "Unique user identifier."),
            Parameter("timestamp", "string", "ISO 8601; without an offset it is UTC. Default: server time."),
            Parameter(
                "id", "string", "Your own id for this event: sent again within 24 h (the default), it is stored once."
            ),
            Parameter("context", "object", "What surrounds the event, such as app or device."),
            _WAIT,
        ),
        examples=(
            Example(
                "Send one event",
                f"""curl -X POST {{url}} \\
  {_KEY} \\
  {_JSON} \\
  -d '{{
    "event": "page_view",
    "user_id": "u_42",
    "properties": {{"page": "/pricing"}}
  }}'""",
            ),
        ),
        answers=(
            Answer(202, "on disk", '{"accepted": true, "queued": 1}'),
            _error(
                InvalidEvent,
                "says what is wrong, and where",
                "`userId` is not a known field: did you mean `user_id`?",
                Detail("/userId", "`userId` is not a known field: did you mean `user_id`?"),
            ),
            _UNAUTHORIZED,
            _RATE_LIMITED,
            _SPOOL_FULL,
        ),
    ),
    Endpoint(
        method="POST",
        path="/v1/batch",
        scope="ingest",
        summary="Up to 500 events in one request, gzip supported. All or nothing: one bad event, and none is queued.",
        parameters=(
            Parameter("events", "array", "1–500 event objects, as in /v1/ingest.", required=True),
            Parameter("context", "object", "Shared context of all events; an event's own context keys win."),
            Parameter("Idempotency-Key", "string · header", "Makes a retry safe: the same key stores the batch once."),
            Parameter("Content-Encoding", "string · header", "gzip, if the body is compressed."),
            _WAIT,
        ),
        examples=(
            Example(
                "Send a batch",
                f"""curl -X POST {{url}} \\
  {_KEY} \\
  {_JSON} \\
  -d '{_BATCH}'""",
            ),
            Example(
                "Send a batch, compressed",
                f"""echo '{_BATCH}' | gzip | curl -X POST {{url}} \\
  {_KEY} \\
  {_JSON} \\
  -H 'Content-Encoding: gzip' \\
  --data-binary @-""",
            ),
        ),
        answers=(
            Answer(202, "all of them are on disk", '{"accepted": true, "events": 2, "batch_id": "b_8f2a1c…"}'),
            _error(
                InvalidEvent,
                "lists every bad event; nothing was queued",
                "1 of 2 events is not valid: correct what `details` lists and send the batch again.",
                Detail("/events/1/event", "`event` must not be blank.", 1),
            ),
            _UNAUTHORIZED,
            _RATE_LIMITED,
            _SPOOL_FULL,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/batches/{batch_id}",
        sample="/v1/batches/",
        scope="ingest",
        summary="A receipt: what became of a batch that you sent.",
        parameters=(Parameter("batch_id", "string · path", "As /v1/batch answered it.", required=True),),
        examples=(
            Example(
                "Ask for a receipt",
                f"""curl {{url}}"$BATCH_ID" \
  {_KEY}""",
            ),
        ),
        answers=(
            Answer(
                200,
                "status is queued, stored or quarantined: refused by the database, and kept",
                """{
  "batch_id": "b_8f2a1c…",
  "events": 2,
  "status": "stored",
  "received_at": "2026-01-31T12:00:00.123456Z",
  "stored": 2,
  "duplicates": 0,
  "quarantined": 0,
  "dropped": 0
}""",
            ),
            _error(
                NotFound,
                "an unknown batch, or not your own",
                "There is no such batch of yours; send the batch_id that /v1/batch answered, with its own key.",
            ),
            _UNAUTHORIZED,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/query",
        scope="query",
        summary="SQL over your events. Read-only; results are streamed. POST takes the same as JSON, with params.",
        parameters=(
            Parameter("q", "string", "The SQL query, over the table events.", required=True),
            Parameter("format", "string", "json (default), csv, ndjson, arrow or parquet."),
            Parameter("limit", "integer", "Max rows. Default 1000, max 50000."),
        ),
        examples=(
            Example(
                "Count events by name",
                f"""curl -G {{url}} \\
  {_KEY} \\
  --data-urlencode "q=SELECT event, count() FROM events GROUP BY event LIMIT 10\"""",
            ),
        ),
        answers=(
            Answer(
                200,
                "rows in the order of columns",
                """{
  "columns": ["event", "count"],
  "rows": [["page_view", 142857], ["click", 98204]],
  "meta": {"elapsed_ms": 42}
}""",
            ),
            _error(InvalidQuery, "the SQL cannot be understood", "Unknown column evnt; did you mean event?"),
            _UNAUTHORIZED,
            _TOO_MANY_QUERIES,
            _error(
                QueryNotAllowed,
                "anything but reading your own events",
                "DELETE may not run: queries only read; start with SELECT, WITH, FROM or VALUES",
            ),
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/export",
        scope="query",
        summary="The same SQL without a limit of rows, at the speed of its reader. What was cut off can be resumed.",
        parameters=(
            Parameter("q", "string", "The SQL query, over the table events.", required=True),
            Parameter("format", "string", "ndjson (default), csv, arrow or parquet."),
            Parameter("cursor", "string", "To resume: the header Export-Cursor of the answer that was cut off."),
            Parameter("after", "integer", "To resume: how many of its rows you have. Default 0."),
        ),
        examples=(
            Example(
                "Export events",
                f"""curl -G {{url}} \\
  {_KEY} \\
  --data-urlencode "q=SELECT event, user_id, timestamp FROM events\"""",
            ),
        ),
        answers=(
            Answer(
                200,
                "one object a line; the last line is the meta of the whole",
                '{"event": "page_view", "user_id": "u_42", "timestamp": "2026-01-31T12:00:00Z"}',
            ),
            _error(
                InvalidParameter,
                "a parameter or the SQL cannot be understood",
                "The parameter `after` needs `cursor`: the Export-Cursor of the answer that was cut off.",
            ),
            _UNAUTHORIZED,
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/schema",
        scope="query",
        summary="What your events hold: their names, and the properties that occur in the newest, as SQL writes them.",
        parameters=(),
        examples=(
            Example(
                "Look around",
                f"""curl {{url}} \
  {_KEY}""",
            ),
        ),
        answers=(
            Answer(
                200,
                "the most frequent first",
                """{
  "columns": [{"name": "event", "type": "VARCHAR"}],
  "events": [{"name": "page_view", "count": 142857}],
  "properties": [
    {
      "path": "properties.page",
      "name": "page",
      "types": ["string"],
      "share": 0.98,
      "examples": ["/pricing", "/"]
    }
  ],
  "functions": ["avg", "count", "sum"],
  "sampled": 50000,
  "truncated": false
}""",
            ),
            _UNAUTHORIZED,
        ),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/users/{user_id}",
        sample="/v1/users/u_42",
        scope="admin",
        summary="Removes one person's events for good, from the database, the spool and the quarantine.",
        parameters=(Parameter("user_id", "string · path", "The user, percent-encoded.", required=True),),
        examples=(
            Example(
                "Erase a person",
                f"""curl -X DELETE {{url}} \\
  {_KEY}""",
            ),
        ),
        answers=(
            Answer(200, "how many events are gone", '{"user_id": "u_42", "events": 128, "quarantined": 0}'),
            _error(
                Forbidden,
                "the key is not an admin's",
                "This key lacks the scope admin; use one that has it (novamesh keys create --scope admin).",
            ),
            _UNAUTHORIZED,
        ),
    ),
)


def commands(endpoint: Endpoint, base_url: str) -> list[str]:
    """The endpoint's examples as they are to be pasted into a shell."""
    url = shlex.quote(base_url + (endpoint.sample or endpoint.path))
    return [example.command.replace("{url}", url) for example in endpoint.examples]
