"""``/v1/query``: check the SQL, hand it to the store, pass its answer on as it comes."""

from typing import Any

import msgspec
from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.answer import Answering, Form, pick_format, read_sql, store_request
from novamesh.edge.api.documents import DEFAULT_LIMIT, MAX_LIMIT, QueryBody
from novamesh.edge.request import JSON_TYPE, read_body, read_number, read_parameters, unknown_name
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidJson, InvalidParameter
from novamesh.sql.guard import check
from novamesh.store.contract import QueryRequest, schema_for

BODY_LIMIT_BYTES = 1024 * 1024
_FIELDS = QueryBody.__struct_fields__
_IN_ADDRESS = tuple(name for name in _FIELDS if name != "params")


async def query(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Answer one query. Returns 0: no events were accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "query")
    values = read_parameters(scope.query_string, _IN_ADDRESS)
    parameters: dict[str, Any] | list[Any] = {}
    if scope.method == "POST":
        timeout_s = worker.config.body_timeout_ms / 1000
        with worker.gate.enter(key, scope, sends=False) as entry:
            body = read_fields(await read_body(scope, protocol, BODY_LIMIT_BYTES, timeout_s, entry))
        if twice := sorted(values.keys() & body.keys()):
            raise InvalidParameter(f"The parameter `{twice[0]}` is given twice; give it in the body alone.")
        parameters = body.pop("params", {})
        values |= body
    text = read_sql(values)
    limit = read_number(values, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    kind = pick_format(values.get("format"), scope.headers.get("accept"), "json")

    def request(form: Form) -> QueryRequest:
        checked = check(text, schema=schema_for(key.space), limit=limit, careful=form.careful, types=form.types)
        return store_request(checked, key, kind, limit, parameters)

    await Answering(worker, key.space, scope, protocol, text, []).run(request)
    return 0


def read_fields(body: bytes) -> dict[str, Any]:
    """The fields of a query sent as JSON: ``q``, ``format`` and ``limit`` as text, ``params`` as it is.

    Raises :class:`InvalidJson` and :class:`InvalidParameter`.
    """
    # Not as a QueryBody, which would refuse the same: what it says is not what is answered, and it would miss a `q`
    # that stands in the address.
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidJson(f'The body is not {JSON_TYPE}; send an object such as {{"q": "SELECT 1"}}.') from None
    if not isinstance(fields, dict):
        raise InvalidParameter('The body must be an object, such as {"q": "SELECT 1"}.')
    for name, value in fields.items():
        if name not in _FIELDS:
            raise unknown_name("field", name, _FIELDS, "a query has `q`, `format`, `limit` and `params`.")
        _verify(name, value)
    # A number goes through the same check as one in an address.
    return {name: str(value) if name == "limit" else value for name, value in fields.items() if value is not None}


def _verify(name: str, value: object) -> None:
    kinds: dict[str, tuple[type, ...]] = {"limit": (int,), "params": (dict, list)}
    wanted = {"limit": "a whole number", "params": "an object or an array"}
    if value is not None and (not isinstance(value, kinds.get(name, (str,))) or isinstance(value, bool)):
        raise InvalidParameter(f"The field `{name}` must be {wanted.get(name, 'a string')}.")
