"""Rows as bytes of a response: JSON, NDJSON or CSV, chunk by chunk.

Values are turned into their documented form in DuckDB (see :func:`presented`), so that what
is left to do in Python is native too.
"""

import csv
import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import duckdb
import msgspec

from novamesh.store.nested import with_times

Row = Sequence[Any]

ROWS_A_CHUNK = 1024

_encoder = msgspec.json.Encoder(decimal_format="number")

# Types whose values Python and JSON show as they are.
_PLAIN = frozenset(
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT"
    " DOUBLE VARCHAR".split()
)


def presented(sql: str, types: Sequence[str]) -> str:
    """The query whose columns, ``c0`` to ``cN``, hold the values in the form a client gets.

    Timestamps are ISO 8601 in UTC with ``Z``; dates ISO 8601; intervals, UUIDs, bits and times
    are text; a blob is base64; VARIANT, JSON, lists, structs and maps are JSON.
    """
    return converted(sql, [_form(kind) for kind in types])


def _time(kind: str, value: str) -> str:
    zoned = value if "TIME ZONE" not in kind else f"timezone('UTC', {value})"
    return f"replace({zoned}::VARCHAR, ' ', 'T') || 'Z'"


def converted(sql: str, forms: Sequence[str]) -> str:
    """The query with each column in the form given for it: SQL in which ``{0}`` stands for the column."""
    columns = ", ".join(f"{form.format(f'c{n}')} AS c{n}" for n, form in enumerate(forms))
    names = ", ".join(f"c{n}" for n in range(len(forms)))
    return f"SELECT {columns} FROM ({sql}) AS result({names})"


def _form(kind: str) -> str:
    if kind in _PLAIN or (kind.startswith("DECIMAL") and not kind.endswith("]")):
        return "{0}"
    if kind.startswith("TIMESTAMP") and not kind.endswith("]"):
        return _time(kind, "{0}")
    if is_json(kind):
        value = with_times(kind.replace("{", "{{").replace("}", "}}"), "{0}", _time)
        return f"to_json({value})::VARCHAR"
    if kind == "FLOAT":
        return "{0}::VARCHAR::DOUBLE"
    return "to_base64({0})" if kind == "BLOB" else "{0}::VARCHAR"


def is_json(kind: str) -> bool:
    """Whether a column's values are JSON documents."""
    return kind in ("VARIANT", "JSON") or kind.endswith("]") or kind.startswith(("STRUCT", "TUPLE", "MAP", "UNION"))


# DuckDB writes these into JSON documents, which have neither; strings are matched to be left alone.
_NOT_FINITE = re.compile(r'"(?:[^"\\]|\\.)*+"|-?(?:NaN|Infinity)')


def _valid_json(document: str) -> str:
    """A document as it is, with null for numbers JSON does not have."""
    if "NaN" not in document and "Infinity" not in document:
        return document
    return _NOT_FINITE.sub(lambda match: match[0] if match[0].startswith('"') else "null", document)


class ResultEncoder(ABC):
    """Encodes one result. ``types`` are DuckDB's names; rows are those of :meth:`chunks`."""

    def __init__(self, columns: list[str], types: list[str]) -> None:
        self.columns = columns
        self.types = ["NULL" if kind == '"NULL"' else kind for kind in types]
        self._json = [n for n, kind in enumerate(types) if is_json(kind)]

    def chunks(self, cursor: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Iterator[Any]:
        """Run the query; its rows as they come, some at a time. Raises ``duckdb.Error``."""
        cursor.execute(presented(sql, self.types), parameters)
        while rows := cursor.fetchmany(ROWS_A_CHUNK):
            yield rows

    def meta(self, elapsed_ms: int, rows: int, truncated: bool) -> dict[str, Any]:
        return {"elapsed_ms": elapsed_ms, "rows": rows, "truncated": truncated, "types": self.types}

    def _with_json(self, rows: Sequence[Row], embed: Callable[[str], Any]) -> Sequence[Row]:
        """Rows with their JSON documents made valid, then put into the output by ``embed``."""
        if not self._json:
            return rows
        changed = []
        for row in rows:
            values = list(row)
            for n in self._json:
                if values[n] is not None:
                    values[n] = embed(_valid_json(values[n]))
            changed.append(values)
        return changed

    @abstractmethod
    def head(self) -> bytes:
        """What comes before the first row."""

    @abstractmethod
    def rows(self, rows: Any, first: bool) -> bytes:
        """Some rows, at least one; ``first`` says whether any came before."""

    @abstractmethod
    def end(self, meta: dict[str, Any]) -> bytes:
        """What comes after the last row."""

    @abstractmethod
    def error(self, code: str, message: str) -> bytes | None:
        """How a result ends that failed midway; None if this format cannot say it."""


class JsonResult(ResultEncoder):
    """One JSON document, a row a line."""

    def head(self) -> bytes:
        return b'{"columns": %s, "rows": [' % _encoder.encode(self.columns)

    def rows(self, rows: Sequence[Row], first: bool) -> bytes:
        # Encoded JSON has no newline inside a line, so the separators can be told by it.
        lines = _encoder.encode_lines(self._with_json(rows, _as_it_is)).rstrip(b"\n").replace(b"\n", b",\n")
        return (b"\n" if first else b",\n") + lines

    def end(self, meta: dict[str, Any]) -> bytes:
        return b'\n], "meta": %s}\n' % _encoder.encode(meta)

    def error(self, code: str, message: str) -> bytes:
        return b'\n], "error": %s, "message": %s}\n' % (_encoder.encode(code), _encoder.encode(message))


class NdjsonResult(ResultEncoder):
    """A JSON object a row, and a last line that says how it ended."""

    def __init__(self, columns: list[str], types: list[str]) -> None:
        super().__init__(columns, types)
        self._keys = distinct(columns)

    def head(self) -> bytes:
        return b""

    def rows(self, rows: Sequence[Row], first: bool) -> bytes:
        return _encoder.encode_lines(
            [dict(zip(self._keys, row, strict=True)) for row in self._with_json(rows, _as_it_is)]
        )

    def end(self, meta: dict[str, Any]) -> bytes:
        return _encoder.encode_lines([{"meta": meta}])

    def error(self, code: str, message: str) -> bytes:
        return _encoder.encode_lines([{"error": code, "message": message}])


class CsvResult(ResultEncoder):
    """RFC 4180 with a header line. NULL is an empty field. A failed result is cut off."""

    def head(self) -> bytes:
        return _csv([self.columns])

    def rows(self, rows: Sequence[Row], first: bool) -> bytes:
        return _csv([[_csv_value(value) for value in row] for row in self._with_json(rows, _unquoted)])

    def end(self, meta: dict[str, Any]) -> bytes:
        return b""

    def error(self, code: str, message: str) -> None:
        return None


TEXT_ENCODERS: dict[str, type[ResultEncoder]] = {"json": JsonResult, "ndjson": NdjsonResult, "csv": CsvResult}


def _as_it_is(document: str) -> msgspec.Raw:
    return msgspec.Raw(document.encode())


def _unquoted(document: str) -> str:
    """A document that is a string as that string: CSV has no types, so quotes would only be in the way."""
    return msgspec.json.decode(document, type=str) if document.startswith('"') else document


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if isinstance(value, float) and not math.isfinite(value) else value


def distinct(names: list[str]) -> list[str]:
    """Names of which no two are equal: an object's keys. The second ``count`` is ``count_1``."""
    taken: dict[str, None] = {}
    for name in names:
        key, n = name, 0
        while key in taken:
            n += 1
            key = f"{name}_{n}"
        taken[key] = None
    return list(taken)
