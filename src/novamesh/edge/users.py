"""``DELETE /v1/users/{user_id}``: remove everything that is known of one person."""

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge import client
from novamesh.edge.api.documents import Erased
from novamesh.edge.ingest import JSON_HEADERS
from novamesh.edge.request import read_parameters
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter, StoreUnavailable

PREFIX = "/v1/users/"


async def erase(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Erase one person's events in the key's project. Returns 0: no events were accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "admin")
    read_parameters(scope.query_string, ())
    user_id = _user_id(scope.path)
    answer = await client.erase(worker.socket, key.space, user_id)
    if not answer.complete:
        raise StoreUnavailable(
            f"{answer.events + answer.quarantined} events were erased, but the spool may still hold others that came"
            " before this request; send it again."
        )
    body = msgspec.json.encode(Erased(user_id, answer.events, answer.quarantined))
    protocol.response_bytes(200, JSON_HEADERS, body)
    return 0


def _user_id(path: str) -> str:
    # The server has decoded the path, and put this character where it was no UTF-8.
    user_id = path.removeprefix(PREFIX)
    if not user_id or "\ufffd" in user_id:
        raise InvalidParameter("Name the user in the path, percent-encoded as UTF-8: /v1/users/u_42.")
    return user_id
