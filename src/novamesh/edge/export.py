"""``GET /v1/export``: a SELECT without a row cap, at the speed of its reader, resumable.

The header ``Export-Cursor`` of an answer names the events that were there when it began. A reader that was cut off
sends it back with the number of rows it has (``cursor=…&after=…``) and gets the rows that are missing, of the same
events in the same order. Only a SELECT that gives events one by one, in the order in which they are stored, has such
an order: without joins, groups, DISTINCT, ORDER BY, LIMIT and window functions.
"""

from functools import partial

from granian.rsgi import HTTPProtocol, Scope

from novamesh.edge.answer import Answering, Form, pick_format, read_sql, store_request
from novamesh.edge.client import ask_extent
from novamesh.edge.request import read_number, read_parameters
from novamesh.edge.worker import Worker
from novamesh.errors import InvalidParameter
from novamesh.sql.guard import check
from novamesh.sql.hoist import Extent
from novamesh.store.contract import ExtentAnswer, QueryRequest, schema_for

MAX_ROWS = 10**12


async def export(worker: Worker, scope: Scope, protocol: HTTPProtocol) -> int:
    """Answer one export. Returns 0: no events were accepted."""
    key = worker.keyring.authorize(scope.headers.get("authorization"), "query")
    values = read_parameters(scope.query_string, ("q", "format", "cursor", "after"))
    text = read_sql(values)
    kind = pick_format(values.get("format"), scope.headers.get("accept"), "ndjson")
    if kind == "json":
        raise InvalidParameter("An export is ndjson, csv, parquet or arrow; json is for small results: /v1/query.")
    if "after" in values and "cursor" not in values:
        raise InvalidParameter(
            "The parameter `after` needs `cursor`: the Export-Cursor of the answer that was cut off."
        )
    after = read_number(values, "after", 0, MAX_ROWS) if values.get("after", "0") != "0" else 0
    schema = schema_for(key.space)
    plain = await worker.checking.run(key.space, text, partial(check, text, schema=schema, limit=None))
    if "cursor" in values and not plain.resumable:
        raise InvalidParameter(
            "Only a SELECT of single events can be resumed (no JOIN, GROUP BY, DISTINCT, ORDER BY, LIMIT, windows);"
            " run this one again from its start."
        )
    now = await ask_extent(worker.socket, key.space)
    begun = _read_cursor(values["cursor"]) if "cursor" in values else now
    if begun.removed != now.removed:
        raise InvalidParameter("Events were removed since that export began, so it cannot be resumed; start it again.")
    extent = Extent(begun.shredded, begun.plain)

    def request(form: Form) -> QueryRequest:
        checked = check(text, schema=schema, limit=None, careful=form.careful, extent=extent, types=form.types)
        return store_request(checked, key, kind, limit=None, parameters={}, skip=after)

    headers = [("export-cursor", _cursor(begun))] if plain.resumable else []
    await Answering(worker, key.space, scope, protocol, text, headers).run(request)
    return 0


def _cursor(extent: ExtentAnswer) -> str:
    return f"e2.{extent.shredded:x}.{extent.plain:x}.{extent.removed:x}"


def _read_cursor(text: str) -> ExtentAnswer:
    version, *parts = text.split(".")
    try:
        if version == "e2" and all(part.isalnum() and len(part) <= 16 for part in parts):
            return ExtentAnswer(*(int(part, 16) for part in parts))
    except (ValueError, TypeError):
        pass
    raise InvalidParameter("The cursor is not one of ours; send the Export-Cursor of the answer that was cut off.")
