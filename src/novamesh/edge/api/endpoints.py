"""What this node offers, in one table: :data:`ENDPOINTS`.

The status page's API Reference and, with what ``unlisted.py`` adds, the OpenAPI document are written from it.
"""

from novamesh.edge.api.documents import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    RESULT,
    BatchQueued,
    BatchReceipt,
    Erased,
    EventQueued,
    Health,
    Ready,
)
from novamesh.edge.api.endpoint import JSON, Answer, Endpoint, Example, Parameter, Reply
from novamesh.edge.api.endpoint import failure as _error
from novamesh.edge.api.failures import OF_EVENTS, OF_KEY, OF_SQL, OF_TURN
from novamesh.edge.api.parameters import ENCODING, RATE, REPEAT, WAIT, Q, format_of
from novamesh.edge.schema import Schema
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
    SpoolFull,
    SpoolUnavailable,
    StoreUnavailable,
    TooManyQueries,
    Unauthorized,
)
from novamesh.event.model import Batch, EventText
from novamesh.store.contract import FORMATS

_BATCH = {
    "context": {"app": "shop", "release": "2.4.0"},
    "events": [
        {"event": "page_view", "properties": {"page": "/"}},
        {"event": "click", "properties": {"button": "buy"}},
    ],
}

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

_RECEIPT = {
    "receipt": {
        "operationId": "get_v1_batches_batch_id",
        "parameters": {"batch_id": "$response.body#/batch_id"},
        "description": "What becomes of the batch.",
    }
}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/health",
        scope=None,
        summary="How the node is, and the percentage of the last 30 days in which it could accept events.",
        parameters=(),
        examples=(Example("Health"),),
        answers=(Answer(200, "status is ok or degraded", "{health}"),),
        replies=(Reply(200, "The node accepts events.", {JSON: Health}),),
    ),
    Endpoint(
        method="GET",
        path="/v1/ready",
        scope=None,
        summary="For load balancers: whether every part of the node is ready.",
        parameters=(),
        examples=(Example("Readiness"),),
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
        replies=(Reply(200, "Every part is ready.", {JSON: Ready}),),
        fails=(NotReady,),
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
            REPEAT,
            ENCODING,
            WAIT,
        ),
        examples=(
            Example(
                "Send one event",
                body={"event": "page_view", "user_id": "u_42", "properties": {"page": "/pricing"}},
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
        body=EventText,
        replies=(Reply(202, "The event is on disk.", {JSON: EventQueued}, RATE),),
        fails=OF_EVENTS,
    ),
    Endpoint(
        method="POST",
        path="/v1/batch",
        scope="ingest",
        summary="Up to 500 events in one request, gzip supported. All or nothing: one bad event, and none is queued.",
        parameters=(
            Parameter("events", "array", "1–500 event objects, as in /v1/ingest.", required=True),
            Parameter("context", "object", "Shared context of all events; an event's own context keys win."),
            Parameter(
                "partial", "boolean", "true: queue the good events and list the others as rejected.", place="query"
            ),
            REPEAT,
            ENCODING,
            WAIT,
        ),
        examples=(
            Example("Send a batch", body=_BATCH),
            Example(
                "Send a batch, compressed",
                body={"events": [{"event": "page_view"}, {"event": "click"}]},
                compressed=True,
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
        body=Batch,
        replies=(Reply(202, "The events are on disk.", {JSON: BatchQueued}, RATE, _RECEIPT),),
        fails=OF_EVENTS,
    ),
    Endpoint(
        method="GET",
        path="/v1/batches/{batch_id}",
        sample="/v1/batches/",
        scope="ingest",
        summary="A receipt: what became of a batch that you sent.",
        parameters=(
            Parameter(
                "batch_id",
                "string",
                "As /v1/batch answered it.",
                required=True,
                place="path",
                limits={"pattern": "^b_[0-9a-f]{28}$"},
            ),
        ),
        examples=(Example("Ask for a receipt", variable="BATCH_ID"),),
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
        replies=(Reply(200, "What became of the batch.", {JSON: BatchReceipt}),),
        fails=(*OF_KEY, NotFound, StoreUnavailable),
    ),
    Endpoint(
        method="GET",
        path="/v1/query",
        scope="query",
        summary="SQL over your events. Read-only; results are streamed. POST takes the same as JSON, with params.",
        parameters=(
            Q,
            format_of(list(FORMATS), "json (default), csv, ndjson, arrow or parquet."),
            Parameter(
                "limit",
                "integer",
                f"Max rows. Default {DEFAULT_LIMIT}, max {MAX_LIMIT}.",
                place="query",
                limits={"minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            ),
        ),
        examples=(
            Example(
                "Count events by name",
                query={"q": "SELECT event, count() FROM events GROUP BY event LIMIT 10"},
            ),
        ),
        answers=(
            Answer(
                200,
                "rows in the order of columns",
                """{
  "columns": ["event", "count"],
  "rows": [["page_view", 142857], ["click", 98204]],
  "meta": {"elapsed_ms": 42, "rows": 2, "truncated": false, "types": ["VARCHAR", "BIGINT"]}
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
        replies=(Reply(200, "The rows, as they come.", RESULT),),
        fails=OF_SQL,
    ),
    Endpoint(
        method="GET",
        path="/v1/export",
        scope="query",
        summary="The same SQL without a limit of rows, at the speed of its reader. What was cut off can be resumed.",
        parameters=(
            Q,
            format_of(["ndjson", "csv", "arrow", "parquet"], "ndjson (default), csv, arrow or parquet."),
            Parameter(
                "cursor", "string", "To resume: the header Export-Cursor of the answer that was cut off.", place="query"
            ),
            Parameter(
                "after",
                "integer",
                "To resume: how many of its rows you have. Default 0.",
                place="query",
                limits={"minimum": 0, "default": 0},
            ),
        ),
        examples=(
            Example(
                "Export events",
                query={"q": "SELECT event, user_id, timestamp FROM events"},
                streamed=True,
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
        ),
        replies=(
            Reply(
                200,
                "The rows, as they come.",
                {media: None for kind, media in FORMATS.items() if kind != "json"},
                {"Export-Cursor": "Names the events of this export, if it can be resumed."},
            ),
        ),
        fails=OF_SQL,
    ),
    Endpoint(
        method="GET",
        path="/v1/schema",
        scope="query",
        summary="What your events hold: their names, and the properties that occur in the newest, as SQL writes them.",
        parameters=(),
        examples=(Example("Look around"),),
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
        ),
        replies=(Reply(200, "What the events hold.", {JSON: Schema}),),
        fails=(*OF_KEY, *OF_TURN),
    ),
    Endpoint(
        method="GET",
        path="/v1/tail",
        scope="query",
        summary="Events as they are accepted, as Server-Sent Events: event for each one, dropped with the count of what"
        " was left out, end with a reason.",
        parameters=(
            Parameter(
                "event",
                "string",
                "Only events of this name; may be given more than once.",
                place="query",
                limits={"pattern": r"\S"},
            ),
            Parameter("user_id", "string", "Only events of this user.", place="query", limits={"pattern": r"\S"}),
            Parameter(
                "rate",
                "integer",
                "Events a second, at most; default: the node's tail_rate, which is the most.",
                place="query",
                limits={"minimum": 1},
            ),
        ),
        examples=(Example("Follow events", query={"event": "page_view"}, streamed=True),),
        answers=(
            Answer(
                200,
                "text/event-stream; this is the data of an event",
                """{
  "id": "019c1400-3c00-7a1b-8c2d-3e4f5a6b0000",
  "event": "page_view",
  "user_id": "u_42",
  "timestamp": "2026-01-31T12:00:00Z",
  "properties": {"page": "/pricing"},
  "context": null,
  "received_at": "2026-01-31T12:00:00.123456Z",
  "batch_id": null
}""",
            ),
        ),
        replies=(Reply(200, "The events, as they come.", {"text/event-stream": None}),),
        fails=(*OF_KEY, TooManyQueries, SpoolUnavailable),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/users/{user_id}",
        sample="/v1/users/u_42",
        scope="admin",
        summary="Removes one person's events for good, from the database, the spool and the quarantine.",
        parameters=(
            Parameter(
                "user_id",
                "string",
                "The user, percent-encoded.",
                required=True,
                place="path",
                limits={"minLength": 1},
            ),
        ),
        examples=(Example("Erase a person"),),
        answers=(
            Answer(200, "how many events are gone", '{"user_id": "u_42", "events": 128, "quarantined": 0}'),
            _error(
                Forbidden,
                "the key is not an admin's",
                "This key lacks the scope admin; use one that has it (novamesh keys create --scope admin).",
            ),
        ),
        replies=(Reply(200, "How many events are gone.", {JSON: Erased}),),
        fails=(*OF_KEY, StoreUnavailable),
    ),
)
