"""``GET /v1/batches/{batch_id}``: what became of a batch."""

from datetime import UTC, datetime

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.api.documents import BatchReceipt
from novamesh.edge.client import ask_receipt
from novamesh.edge.ingest import JSON_HEADERS
from novamesh.edge.request import read_parameters
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter, NotFound
from novamesh.event.record import read_batch_id
from novamesh.store.contract import Receipt

PREFIX = "/v1/batches/"


async def receipt(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """A batch's receipt. Returns 0: no events were accepted. Raises :class:`NotFound` for a batch that is not the
    caller's own, as for one that never was."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "ingest")
    read_parameters(scope.query_string, ())
    name = scope.path.removeprefix(PREFIX)
    batch = read_batch_id(name)
    if batch is None:
        raise InvalidParameter("A batch id is `b_` and 28 hexadecimal digits; send it as /v1/batch answered it.")
    found = await ask_receipt(worker.socket, key.space, batch)
    if found is None:
        raise NotFound("There is no such batch of yours; send the batch_id that /v1/batch answered, with its own key.")
    protocol.response_bytes(200, JSON_HEADERS, msgspec.json.encode(_shown(name, found)))
    return 0


def _shown(name: str, receipt: Receipt) -> BatchReceipt:
    at = datetime.fromtimestamp(receipt.received_at / 1_000_000, UTC).isoformat().replace("+00:00", "Z")
    known = {field: value for field, value in msgspec.structs.asdict(receipt).items() if value is not None}
    return msgspec.convert(known | {"batch_id": name, "received_at": at}, BatchReceipt)
