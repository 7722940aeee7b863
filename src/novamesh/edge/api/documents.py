"""The JSON documents that clients get and send, as types: those of events are in ``event/model.py``."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from novamesh.errors import Detail
from novamesh.status.ledger import Entry
from novamesh.store.contract import FORMATS, BatchStatus

DEFAULT_LIMIT = 1000
MAX_LIMIT = 50_000

Count = Annotated[int, Meta(ge=0)]


class ErrorDocument(msgspec.Struct, frozen=True):
    """Every error. ``error`` is its code, ``message`` one sentence that says what to do; ``details`` are faults in the
    body, or parts that are unwell."""

    error: str
    message: str
    details: list[Detail] | UnsetType = UNSET


class Health(msgspec.Struct, frozen=True):
    """How the node is. ``degraded``: it accepts events, but a part is unwell. ``uptime`` is in percent of the last 30
    days."""

    status: Literal["ok", "degraded"]
    node: str
    region: str
    version: str
    uptime: Annotated[float, Meta(ge=0, le=100)]


class Ready(msgspec.Struct, frozen=True):
    """Every part is well. What became of the events of each project; null until the store has told."""

    status: Literal["ready"]
    ledger: dict[str, Entry] | None


class EventQueued(msgspec.Struct, frozen=True):
    """The event is on disk. ``status``: where it is by now, if that was waited for."""

    accepted: Literal[True]
    queued: Literal[1]
    status: BatchStatus | UnsetType = UNSET


class BatchQueued(msgspec.Struct, frozen=True):
    """So many events are on disk. ``rejected``, of a partial batch: what is wrong with the others."""

    accepted: Literal[True]
    events: Annotated[int, Meta(ge=1, le=500)]
    batch_id: str
    rejected: list[Detail] | UnsetType = UNSET
    status: BatchStatus | UnsetType = UNSET


class BatchReceipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a batch, and of each part of its events once they have left the queue."""

    batch_id: str
    events: Count
    status: BatchStatus
    received_at: str
    stored: Count | UnsetType = UNSET
    duplicates: Count | UnsetType = UNSET
    quarantined: Count | UnsetType = UNSET
    dropped: Count | UnsetType = UNSET


class QueryBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query. ``params`` are values for its placeholders: by name (``$user``) or by place (``$1`` or ``?``)."""

    q: Annotated[str, Meta(max_length=100_000)]
    format: Literal["json", "csv", "ndjson", "arrow", "parquet"] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] | None = DEFAULT_LIMIT
    params: dict[str, Any] | list[Any] | None = None


class QueryMeta(msgspec.Struct, frozen=True):
    """``truncated``: the limit cut the result. ``types`` are DuckDB's names of the columns' types."""

    elapsed_ms: Count
    rows: Count
    truncated: bool
    types: list[str]


class QueryResult(msgspec.Struct, frozen=True):
    """Rows in the order of columns."""

    columns: list[str]
    rows: list[list[Any]]
    meta: QueryMeta


class QueryCutShort(msgspec.Struct, frozen=True):
    """A query that failed after its first rows had left: these rows are not all."""

    columns: list[str]
    rows: list[list[Any]]
    error: str
    message: str


RESULT: Final[dict[str, Any]] = {
    media: (QueryResult, QueryCutShort) if kind == "json" else None for kind, media in FORMATS.items()
}
"""What a query answers, by content type."""


class Erased(msgspec.Struct, frozen=True):
    """How many events of a person are gone, and how many from quarantine."""

    user_id: str
    events: Count
    quarantined: Count
