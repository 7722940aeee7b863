"""What edge and store say to each other over the Unix socket. Types and bytes only, no I/O.

The edge opens one connection for each request and sends one JSON document and a newline. The
store answers with messages, 5 bytes of header and a body::

    0  1  kind: b"H" head, b"D" data, b"Z" end, b"E" error
    1  4  length of the body, big-endian
    5  n  body

To a :class:`QueryRequest`: a head as soon as the first rows are there, data (bytes of the
response as the client gets it), then an end; or an error, at any time. To the other requests: one data message with
what is said below to answer them, then an end. An edge that closes its connection cancels the query.
"""

import struct
from typing import Any, Literal

import msgspec

from novamesh.errors import InternalError, RequestError, by_code
from novamesh.store.loss import LossRequest, WriteOff, WriteOffRequest

SOCKET_NAME = "store.sock"
MESSAGE = struct.Struct(">cI")
HEAD, DATA, END, ERROR = b"H", b"D", b"Z", b"E"
# Exit status of a store that will not start however often it is tried.
EXIT_REFUSED = 72
REQUEST_LIMIT = 4 * 1024 * 1024

FORMATS = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}


class QueryRequest(msgspec.Struct, frozen=True, tag="query"):
    """A checked query: ``sql`` is what the guard generated, ``names`` what its columns are called.

    ``wanted`` of it are its ``rows``, its ``description`` or its ``plan``. Without a ``limit`` it is an export:
    all rows, at the speed of the reader. ``skip`` are rows at its start that the reader has already. ``relied`` are the
    types of paths that the SQL was made for (see :class:`TypesAnswer`); with others it must not run. Nor if it reads
    ``shredded_only`` and there are events that are kept as JSON. The columns at the places ``variants`` are called
    VARIANT, whatever they are. ``key`` is the id of the key that asks: keys take turns. ``text`` is the beginning of
    what was sent, and ``named`` what log lines say of the request.
    """

    space: str
    sql: str
    names: dict[str, str]
    format: str
    limit: int | None
    wanted: str = "rows"
    parameters: dict[str, Any] = {}
    skip: int = 0
    relied: dict[str, str] = {}
    shredded_only: bool = False
    variants: tuple[int, ...] = ()
    key: str = ""
    text: str = ""
    named: dict[str, str] = {}


class StatusRequest(msgspec.Struct, frozen=True, tag="status"):
    """How is the store?"""


class ExtentRequest(msgspec.Struct, frozen=True, tag="extent"):
    """Up to where do the tables of a space go?"""

    space: str


class ExtentAnswer(msgspec.Struct, frozen=True):
    """The row numbers behind the last rows of a space's two tables, and how many events were ever removed from them:
    when that has changed, row numbers have."""

    shredded: int
    plain: int
    removed: int


class TypesRequest(msgspec.Struct, frozen=True, tag="types"):
    """Of which types are the values of a space's property paths?"""

    space: str


class TypesAnswer(msgspec.Struct, frozen=True):
    """For each path (``properties.cart.total``) all JSON types its values have had, as ``json_type`` names them, sorted
    and with commas between them. Paths of which that is not known are left out. ``shredded_only``: no event is kept as
    JSON."""

    types: dict[str, str]
    shredded_only: bool


class SchemaRequest(msgspec.Struct, frozen=True, tag="schema"):
    """What do the events of a space hold? Takes its turn as the queries of ``key`` do. ``named`` as in a query."""

    space: str
    key: str = ""
    named: dict[str, str] = {}


class EventCount(msgspec.Struct, frozen=True):
    """How many events have a name."""

    name: str
    count: int


JsonType = Literal["array", "boolean", "integer", "null", "number", "object", "string"]


class SampledPath(msgspec.Struct, frozen=True):
    """A path in a sample: its column, then keys and, for the elements of a list, 1.

    ``types`` are sorted; ``events`` of the sample have it; ``examples`` are some of its values, as JSON.
    """

    steps: list[str | int]
    types: list[JsonType]
    events: int
    examples: list[msgspec.Raw]


class SchemaAnswer(msgspec.Struct, frozen=True):
    """The names of events and the paths in a sample of so many of the newest, the most frequent first; ``truncated``:
    there are others."""

    events: list[EventCount]
    paths: list[SampledPath]
    sampled: int
    truncated: bool


class EraseRequest(msgspec.Struct, frozen=True, tag="erase"):
    """Remove one person's events from a space, those too that are still in the spool."""

    space: str
    user_id: str


class EraseAnswer(msgspec.Struct, frozen=True):
    """Events that are gone from ``events`` and from ``quarantine``. ``complete``: the spool holds none of them any
    more either; if not, ask again."""

    events: int
    quarantined: int
    complete: bool


class RetentionRequest(msgspec.Struct, frozen=True, tag="retention"):
    """How long are events kept? With a ``project``: keep its events for so many ``days`` from now on, and remove what
    is older at once. 0: for ever; None: as the node's setting says."""

    project: str | None = None
    days: int | None = None


class RetentionAnswer(msgspec.Struct, frozen=True):
    """Days by project, and for all others. ``expired``: events removed just now."""

    days: dict[str, int]
    otherwise: int
    expired: int = 0


class HoldRequest(msgspec.Struct, frozen=True, tag="hold"):
    """Write nothing to the database's files from the answer on until the connection is closed."""


class HoldAnswer(msgspec.Struct, frozen=True):
    """Nothing is written now. ``events``: how many are stored."""

    events: int


class RecountRequest(msgspec.Struct, frozen=True, tag="recount"):
    """Does the ledger hold, counted anew?"""


BatchStatus = Literal["queued", "stored", "quarantined"]
"""Where a batch's events are: all still in the spool; all in the database, now or before; some of them refused."""


class ReceiptRequest(msgspec.Struct, frozen=True, tag="receipt"):
    """What became of a batch (28 hexadecimal digits) of a space?"""

    space: str
    batch: str


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a batch of ``events``; ``received_at`` is in µs since 1970.

    Once it has left the spool, how many of them were stored, were there already, are in quarantine, and were dropped
    from there by an operator.
    """

    events: int
    status: BatchStatus
    received_at: int
    stored: int | None = None
    duplicates: int | None = None
    quarantined: int | None = None
    dropped: int | None = None


class ReceiptAnswer(msgspec.Struct, frozen=True):
    """The receipt; None if the space has no such batch."""

    receipt: Receipt | None


class Awaited(msgspec.Struct, frozen=True, array_like=True):
    """A record: where it lies in the spool (see ``spool.writer.Place``), its space and its batch."""

    segment: str
    end: int
    space: str
    batch: str


class WaitRequest(msgspec.Struct, frozen=True, tag="wait"):
    """Which of these records have left the spool? Asked again and again by an edge whose clients wait for it."""

    records: list[Awaited]


class WaitAnswer(msgspec.Struct, frozen=True):
    """Where the events of each record are; a query that is sent from now on sees what is stored."""

    statuses: list[BatchStatus]


class Selection(msgspec.Struct, frozen=True):
    """Which refused events of a space are meant: all, or those of a batch (``b_…``), with an id, or refused no later
    than ``until`` (µs since 1970)."""

    batch: str | None = None
    id: str | None = None
    until: int | None = None


class SurveyRequest(msgspec.Struct, frozen=True, tag="survey"):
    """What is in quarantine: events of one ``project`` or all, and segments?"""

    project: str | None
    selection: Selection


class SetAsideSegment(msgspec.Struct, frozen=True):
    """A segment in ``spool/quarantine/``: what is damaged at which offset, as found at ``found_at`` (s since 1970).

    ``events`` are whole and not loaded yet; ``unreadable`` bytes are in no whole frame. Of one that is ``missing``
    there is only the report. ``written_off``: its loss is known.
    """

    file: str
    offset: int
    cause: str
    found_at: int
    size: int
    events: int
    unreadable: int
    missing: bool = False
    written_off: bool = False


class Survey(msgspec.Struct, frozen=True):
    """Refused events by space, where there are any, none of them refused later than ``until`` (µs since 1970); how many
    have been dropped in all; and the segments."""

    events: dict[str, int]
    until: int
    dropped: int
    segments: list[SetAsideSegment]


class ReplayRequest(msgspec.Struct, frozen=True, tag="replay"):
    """Load refused events of a space again, some of them: while there are ``left``, ask again."""

    space: str
    selection: Selection


class DropRequest(msgspec.Struct, frozen=True, tag="drop"):
    """Delete refused events of a space."""

    space: str
    selection: Selection


class ReplaySegmentRequest(msgspec.Struct, frozen=True, tag="replay_segment"):
    """Load what is whole in a set-aside segment, some of it: while there is more ``left``, ask again.

    ``foreign``: even if it belongs to another node.
    """

    file: str
    foreign: bool


class DropSegmentRequest(msgspec.Struct, frozen=True, tag="drop_segment"):
    """Delete a set-aside segment, or the report of one that is missing."""

    file: str


class Outcome(msgspec.Struct, frozen=True):
    """What became of events; ``note`` says what else there is to know."""

    stored: int = 0
    duplicates: int = 0
    refused: int = 0
    dropped: int = 0
    left: bool = False
    note: str | None = None


Question = (
    StatusRequest
    | ExtentRequest
    | TypesRequest
    | RecountRequest
    | EraseRequest
    | RetentionRequest
    | ReceiptRequest
    | WaitRequest
    | SurveyRequest
    | ReplayRequest
    | DropRequest
    | ReplaySegmentRequest
    | DropSegmentRequest
    | LossRequest
    | WriteOffRequest
)
Request = QueryRequest | SchemaRequest | HoldRequest | Question


class OtherSqlNeeded(Exception):
    """The query cannot run as it is, but in another form that ``sql.guard.check`` can give it."""

    code: str


class CareNeeded(OtherSqlNeeded):
    """The query meets values that its SQL cannot cast; the careful form of it can."""

    code = "care_needed"


class TypesChanged(OtherSqlNeeded):
    """There are values of other types than the SQL was made for."""

    code = "types_changed"


class Counters(msgspec.Struct, frozen=True):
    """What became of a space's events, as the store has counted since the data directory was made.

    ``received`` came out of the spool; of these ``recovered`` had not been counted as accepted. They are ``stored``,
    ``duplicates`` or ``quarantined``. Of those stored ``erased`` and ``expired`` were removed on purpose, of
    those in quarantine ``dropped``. ``written_off`` are accepted events that were never received, and are known to be
    lost; one that comes back is received and no longer among them.
    """

    received: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    recovered: int = 0
    erased: int = 0
    expired: int = 0
    dropped: int = 0
    written_off: int = 0


class Gaps(msgspec.Struct, frozen=True, omit_defaults=True):
    """Events of a space that a recount did not find where the counts say that they are; negative: more than that.

    ``spool``: accepted, but neither received nor in the spool. ``load``: received, but nothing became of them.
    ``rows``: stored, but not in the tables. ``quarantine``: quarantined, but not in that table. ``damaged`` were found,
    in segments that cannot be loaded.
    """

    spool: int = 0
    load: int = 0
    rows: int = 0
    quarantine: int = 0
    damaged: int = 0


class Recount(msgspec.Struct, frozen=True):
    """A space, counted anew at one moment: ``accepted`` by the writers and what they had not come to count;
    ``waiting`` in the spool's segments; ``rows`` and ``quarantine_rows`` in the tables. Of those waiting and damaged so
    many are ``returning``: they had been written off."""

    accepted: int
    waiting: int
    damaged: int
    rows: int
    quarantine_rows: int
    counters: Counters
    returning: int = 0

    @property
    def written_off(self) -> int:
        """Events that are lost, and known to be."""
        return self.counters.written_off - self.returning

    @property
    def gaps(self) -> Gaps:
        """What is not where it must be."""
        counters = self.counters
        return Gaps(
            spool=self.accepted - counters.received - self.waiting - self.damaged - self.written_off,
            load=counters.received - counters.stored - counters.duplicates - counters.quarantined,
            rows=counters.stored - counters.erased - counters.expired - self.rows,
            quarantine=counters.quarantined - counters.dropped - self.quarantine_rows,
            damaged=self.damaged,
        )


class RecountAnswer(msgspec.Struct, frozen=True):
    """All spaces, counted anew, and what was ever written off, the oldest first."""

    spaces: dict[str, Recount]
    write_offs: list[WriteOff] = []


class StoreStatus(msgspec.Struct, frozen=True):
    """How the store is. ``backlog_bytes`` wait in the spool; ``lag_s`` is the oldest's age.

    ``damaged`` counts the segments in quarantine whose loss is not written off. Totals are events since the data
    directory was made; ``spaces`` has them apart, and ``gaps`` what the last recount did not find. ``pid`` is the
    process's own.
    """

    backlog_bytes: int
    lag_s: float
    damaged: int
    stored: int
    duplicates: int
    quarantined: int
    loader_error: str | None = None
    spaces: dict[str, Counters] = {}
    gaps: dict[str, Gaps] = {}
    pid: int = 0


class StoreError(msgspec.Struct, frozen=True):
    """The body of an error message."""

    code: str
    message: str


def space_for(schema: str) -> str | None:
    """The space whose events a database schema holds; None: it is none of these."""
    kind, _, project = schema.partition("_")
    if kind not in ("p", "t") or not project:
        return None
    return f"{project}.test" if kind == "t" else project


def schema_for(space: str) -> str:
    """The database schema that holds a space's events (see ``Key.space``)."""
    project, _, kind = space.partition(".")
    return f"t_{project}" if kind == "test" else f"p_{project}"


def project_of(space: str) -> str:
    """The project a space belongs to."""
    return space.partition(".")[0]


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message."""
    return MESSAGE.pack(kind, len(body)) + body


def error_message(error: RequestError | OtherSqlNeeded) -> bytes:
    """One error message."""
    return message(ERROR, msgspec.json.encode(StoreError(error.code, str(error))))


def decode_error(body: bytes) -> RequestError | OtherSqlNeeded:
    """The error a store reported."""
    error = msgspec.json.decode(body, type=StoreError)
    for other in (CareNeeded, TypesChanged):
        if error.code == other.code:
            return other()
    return by_code().get(error.code, InternalError)(error.message)
