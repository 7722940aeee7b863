"""Any text as a query: refused with a reason, or checked; and what was checked reads events and nothing else.

A second parser, the engine's own, is asked what tables and functions are in the text that would run. Then it runs, on
a real database, and its answer is encoded as the store does it.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import duckdb

from novamesh.errors import InvalidQuery, QueryNotAllowed, QueryTimeout, RequestError, StoreUnavailable
from novamesh.sql import functions
from novamesh.sql.explain import explain
from novamesh.sql.guard import Checked, check
from novamesh.sql.types import NO_TYPES, PathTypes
from novamesh.store.answers import Answer, reported
from novamesh.store.contract import END, MESSAGE, CareNeeded, QueryRequest, schema_for
from novamesh.store.migrations import SPACE
from tests.fuzz.target import DATA, Target, check_error, words

SPACE_NAME = "default"
SCHEMA = schema_for(SPACE_NAME)
_TABLES = {"events", "events_shredded", "events_plain", "quarantine"}
# What the engine's parser calls operators; all other functions must be on the guard's list.
_OPERATORS = frozenset("+ - * / // % || ~~ !~~ ~~* !~~* ~~~ -> ->> ^ ** & | << >> ~ @ ^@ <@ @> && !".split())
_TYPES = PathTypes(
    {"properties.page": "VARCHAR", "properties.n": "UBIGINT", "context.os": "VARCHAR"}, shredded_only=False
)
QUERY_TIME_S = 1.0
# A check may take so many times as long as that of a plain query: what is sent by anyone must not stop a worker.
MOST_WORK = 3_000
FORMATS = ("json", "ndjson", "csv", "arrow", "parquet")


def query(data: bytes) -> None:
    """Byte 0 chooses limit, form and format; the rest is the query."""
    how = data[0] if data else 0
    try:
        text = data[1:].decode()
    except UnicodeDecodeError:
        return
    checked = _checked(text, how)
    if checked is None:
        return
    engine = _engine()
    tree = engine.execute("SELECT json_serialize_sql(?::VARCHAR)", [checked.sql]).fetchall()[0][0]
    is_parsed = _verify(json.loads(tree), checked.sql)
    _run(engine, text, checked, FORMATS[how >> 2 & 7] if how >> 2 & 7 < len(FORMATS) else "json", how, is_parsed)


def _checked(text: str, how: int) -> Checked | None:
    most = MOST_WORK * _plain_work()
    before = time.thread_time()
    try:
        return check(
            text,
            schema=SCHEMA,
            limit=None if how & 1 else 10,
            careful=bool(how & 2),
            types=_TYPES if how & 128 else NO_TYPES,
        )
    except (InvalidQuery, QueryNotAllowed) as error:
        check_error(error)
        return None
    finally:
        took = time.thread_time() - before
        assert took < most, f"the check took {took / _plain_work():.0f} times as long as a plain one"


@cache
def _plain_work() -> float:
    """Seconds of this machine for one plain query that was not checked before."""

    def measured(n: int) -> float:
        before = time.thread_time()
        check(f"SELECT event, count() FROM events WHERE properties.n > {n} GROUP BY 1", schema=SCHEMA, limit=1)
        return time.thread_time() - before

    return sorted(measured(n) for n in range(20))[10]


def _verify(tree: dict[str, Any], sql: str) -> bool:
    """Whether the engine's parser takes it; if so, there is nothing in it that must not be."""
    if tree["error"]:
        assert tree["error_type"] == "parser", f"{tree}: {sql}"
        return False
    (statement,) = tree["statements"]
    nodes = list(_nodes(statement))
    ctes = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", ())}
    for node in nodes:
        name = str(node.get("function_name", "")).lower()
        assert not name or name in functions.ALLOWED or name in _OPERATORS, f"{name} in {sql}"
        assert not node.get("schema"), f"a function of a schema in {sql}"
        if node.get("type") == "BASE_TABLE":
            table = node["table_name"].lower()
            assert not node["catalog_name"], sql
            own = node["schema_name"] == SCHEMA and table in _TABLES
            assert own or (not node["schema_name"] and table in ctes), f"{node['schema_name']}.{table} in {sql}"
        if node.get("type") == "TABLE_FUNCTION":
            assert node["function"]["function_name"] in functions.TABLE_FUNCTIONS, sql
    return True


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


class _Reader:
    """Who the answer is for: keeps all of it."""

    def __init__(self) -> None:
        self.told = bytearray()

    def tell(self, data: bytes) -> None:
        self.told += data

    def content(self) -> bytes:
        """The bodies of all messages; they must be whole, and the last one the end."""
        content, at, kind = b"", 0, b""
        while at < len(self.told):
            kind, size = MESSAGE.unpack_from(self.told, at)
            at += MESSAGE.size + size
            content += self.told[at - size : at]
        assert (at, kind) == (len(self.told), END)
        return content


def _run(engine: duckdb.DuckDBPyConnection, text: str, checked: Checked, kind: str, how: int, is_parsed: bool) -> None:
    request = QueryRequest(
        space=SPACE_NAME,
        sql=checked.sql,
        names=checked.names,
        format=kind,
        limit=None if how & 1 else 10,
        wanted=checked.wanted,
        parameters=dict.fromkeys(checked.parameters, 1),
        variants=checked.variants,
    )
    reader = _Reader()
    try:
        with engine.cursor() as cursor, _interrupted(cursor):
            answer = Answer(cursor, reader, request, 2**20, lambda _: None, {})
            try:
                answer.send()
            except duckdb.Error as error:
                answer.fail(reported(error, QueryTimeout, QUERY_TIME_S))
    except CareNeeded:
        assert not how & 2, f"care is needed once more: {checked.sql}"
    except RequestError as error:
        _verify_refusal(error, text, checked)
    else:
        assert is_parsed, f"what cannot be parsed was run: {checked.sql}"
        _verify_answer(reader.content(), kind)


def _verify_refusal(error: RequestError, text: str, checked: Checked) -> None:
    if isinstance(error, StoreUnavailable):
        _engine.cache_clear()  # it may be in ruins
    assert 400 <= error.status < 500, f"{error.status} {error.__cause__ or error.__context__!r}: {checked.sql}"
    explained = explain(text, error.message, checked.sql)
    assert SCHEMA not in explained, f"a name of ours in {explained!r}: {checked.sql}"
    assert "__nm" not in explained, f"a name of ours in {explained!r}: {checked.sql}"


def _verify_answer(content: bytes, kind: str) -> None:
    if kind == "json":
        document = json.loads(content, parse_constant=_no_json)
        assert "error" in document or all(len(row) == len(document["columns"]) for row in document["rows"])
    elif kind == "ndjson":
        lines = [json.loads(line, parse_constant=_no_json) for line in content.splitlines()]
        assert lines[-1].keys() & {"meta", "error"}


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} in a JSON document")


@contextmanager
def _interrupted(cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt what takes long, as the store's watchdog does: once is not always enough."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(QUERY_TIME_S):
            cursor.interrupt()

    watchdog = threading.Thread(target=watch, daemon=True)
    watchdog.start()
    try:
        yield
    finally:
        over.set()
        watchdog.join()


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """A database as the store opens it, in memory, with a few events of all kinds."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": "256MB",
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(SPACE.format(schema=SCHEMA))
    rows = [json.dumps(properties) for properties in json.loads((DATA / "sql/variant.json").read_text())["events"]]
    rows += ['{"A": 1, "a": {"b": [1, {"c": null}]}}', '{"n": 18446744073709551615, "page": ""}', "null"]
    for table, kind in (("events_shredded", "VARIANT"), ("events_plain", "JSON")):
        connection.execute(
            f"INSERT INTO {SCHEMA}.{table} SELECT uuid(), 'v', 'u' || n, TIMESTAMP '2026-02-01' + to_days(n::INTEGER),"
            f" j::{kind}, '{{\"os\": \"x\"}}'::JSON::{kind}, TIMESTAMP '2026-02-01', 'b'"
            " FROM (SELECT unnest(?::JSON[]) AS j, unnest(range(?)) AS n)",
            [rows, len(rows)],
        )
    connection.execute("SET GLOBAL enable_external_access = false")
    connection.execute("SET GLOBAL lock_configuration = true")
    return connection


def statements(*collections: str) -> list[str]:
    """The statements of collections under ``tests/data/sql``."""
    found: list[str] = []
    for name in collections:
        document = json.loads((DATA / "sql" / f"{name}.json").read_text())
        for case in document if isinstance(document, list) else document["cases"]:
            text = case.get("sql") or case.get("api")
            found.append(text if isinstance(text, str) else " ".join(text))
    return found


_DENIED = words(
    "read_csv read_text read_blob glob query query_table getenv current_setting pragma_version duckdb_tables error"
    " information_schema sqlite_master COPY ATTACH INSTALL LOAD SET PRAGMA CREATE INSERT DELETE UPDATE main. system."
)
_SYNTAX = words(
    "SELECT FROM WHERE GROUP BY HAVING ORDER LIMIT OFFSET WITH RECURSIVE AS UNION ALL EXCEPT INTERSECT DISTINCT ON JOIN"
    " LEFT USING NATURAL LATERAL UNNEST VALUES CASE WHEN THEN ELSE END IN BETWEEN LIKE ILIKE IS NOT NULL AND OR EXISTS"
    " CAST TRY_CAST INTERVAL OVER PARTITION ROWS RANGE PRECEDING FOLLOWING CURRENT ROW FILTER WITHIN QUALIFY WINDOW"
    " PIVOT UNPIVOT TABLESAMPLE FETCH FIRST CUBE ROLLUP GROUPING SETS ARRAY STRUCT MAP EXCLUDE REPLACE COLUMNS DESCRIBE"
    " EXPLAIN SHOW SUMMARIZE properties context events quarantine event user_id timestamp received_at id batch_id page n"
    " properties.page properties.n properties['a'] properties->>'page' context.os ::VARCHAR ::DOUBLE ::JSON ::TIMESTAMP"
    " ::INT[] ::VARIANT ( ) [ ] { } , . ; : :: -> ->> = <> < > <= >= + - * / // % || ~ !~ ^ @ # $a $1 ? \" ' ` '' ''''"
    " E'\\n' $$ -- /* */ x'41' 0x1F 1_000 1e3 .5 '7 days' '[1,2]' '{}' '$.a' TRUE FALSE lambda x: x->"
)


def _seeds() -> list[bytes]:
    # Those that are long on purpose are tested elsewhere, and would slow down all the rest.
    return [b"\0" + text.encode() for text in statements("sandbox", "variant", "analytic") if len(text) < 1_500]


TARGETS = (Target("sql", query, (*_SYNTAX, *_SYNTAX, *_DENIED, *words(" ".join(sorted(functions.ALLOWED)))), _seeds),)
