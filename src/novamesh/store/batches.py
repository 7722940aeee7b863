"""Results as Arrow record batches: an Arrow IPC stream or a Parquet file, written while the query still runs.

Types keep their Arrow form (:func:`typed`). Both formats carry the novamesh types of their columns in the metadata
of the schema; what is only known at the end (``meta`` as in JSON) follows in the metadata of a last, empty batch
of an Arrow stream, and in the key-value metadata of a Parquet file's footer. A stream without its end marker, and a
file without a footer, is a result that failed midway: readers refuse both.

Formats: https://arrow.apache.org/docs/format/Columnar.html, https://parquet.apache.org/docs/file-format/.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import msgspec
import pyarrow as arrow
import pyarrow.parquet as parquet

from novamesh.store.results import ResultEncoder, converted, distinct, is_json

_PLAIN = frozenset(
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT"
    " FLOAT DOUBLE VARCHAR BLOB DATE TIME".split()
)
# Inside lists and structs these have no Arrow form that every reader knows, so the whole value becomes JSON.
_AS_JSON = re.compile(r"\b(VARIANT|JSON|U?HUGEINT|TUPLE|UNION|INTERVAL|BIT|UUID|WITH TIME ZONE|NULL)\b")

_ERRORS: dict[str, type[duckdb.Error]] = {
    "FATAL": duckdb.FatalException,
    "INTERNAL": duckdb.InternalException,
    "INTERRUPT": duckdb.InterruptException,
    "IO": duckdb.IOException,
    "Not implemented": duckdb.NotImplementedException,
    "Out of Memory": duckdb.OutOfMemoryException,
}

# What DuckDB works on at a time: a batch is held in memory several times over, and rows may be wide.
ROWS_A_BATCH = 2_048
# Row groups of Parquet are larger where rows are small, for each has a cost of its own.
ROWS_A_GROUP = 16_384
GROUP_BYTES = 4 * 1024 * 1024


def typed(sql: str, types: Sequence[str]) -> str:
    """The query whose columns, ``c0`` to ``cN``, have the type they get in Arrow.

    Timestamps are in UTC; integers beyond 64 bits are ``decimal128(38, 0)``; VARIANT, JSON and what holds them are
    JSON text; UUIDs, intervals, bits and times with a zone are text; everything else has its own Arrow type.
    """
    return converted(sql, [_form(kind) for kind in types])


def _form(kind: str) -> str:
    if kind in _PLAIN or kind == "TIMESTAMP WITH TIME ZONE" or re.fullmatch(r"DECIMAL\(\d+,\d+\)", kind):
        return "{0}"
    if kind.startswith("TIMESTAMP") and not kind.endswith("]"):
        return "timezone('UTC', {0}::TIMESTAMP)"
    if kind in ("HUGEINT", "UHUGEINT"):
        return "{0}::DECIMAL(38, 0)"
    if is_json(kind):
        return "to_json({0})::VARCHAR" if _AS_JSON.search(kind) else "{0}"
    return "{0}::VARCHAR"


class BatchResult(ResultEncoder):
    """A result of record batches."""

    def __init__(self, columns: list[str], types: list[str]) -> None:
        super().__init__(columns, types)
        self._sink = _Sink()

    def chunks(self, cursor: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Iterator[Any]:
        try:
            reader = cursor.sql(typed(sql, self.types), params=parameters).to_arrow_reader(ROWS_A_BATCH)
            self._open(reader.schema)
            yield from reader
        except MemoryError:  # Arrow's own is one too
            raise
        except (OSError, arrow.ArrowException) as error:
            raise _engine_error(str(error)) from None

    def _open(self, schema: arrow.Schema) -> None:
        fields = [field.with_name(name) for field, name in zip(schema, distinct(self.columns), strict=True)]
        self._schema = arrow.schema(fields, {"novamesh.types": _text(self.types)})
        self._writer = self._make_writer()

    @abstractmethod
    def _make_writer(self) -> Any:
        """What writes batches of the schema to the sink."""

    def head(self) -> bytes:
        return self._sink.take()

    def rows(self, rows: arrow.RecordBatch, first: bool) -> bytes:
        self._write(arrow.RecordBatch.from_arrays(rows.columns, schema=self._schema))
        return self._sink.take()

    def _write(self, batch: arrow.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def end(self, meta: dict[str, Any]) -> bytes:
        self._write_meta(_text(meta))
        self._writer.close()
        return self._sink.take()

    @abstractmethod
    def _write_meta(self, meta: str) -> None:
        """Write what is known at the end."""

    def error(self, code: str, message: str) -> None:
        return None


class ArrowResult(BatchResult):
    """An Arrow IPC stream."""

    def _make_writer(self) -> Any:
        return arrow.ipc.new_stream(self._sink, self._schema)

    def _write_meta(self, meta: str) -> None:
        empty = arrow.RecordBatch.from_pylist([], schema=self._schema)
        self._writer.write_batch(empty, custom_metadata={"meta": meta})


class ParquetResult(BatchResult):
    """A Parquet file, some batches a row group."""

    def __init__(self, columns: list[str], types: list[str]) -> None:
        super().__init__(columns, types)
        self._group: list[arrow.RecordBatch] = []

    def _write(self, batch: arrow.RecordBatch) -> None:
        self._group.append(batch)
        rows, size = sum(part.num_rows for part in self._group), sum(part.nbytes for part in self._group)
        if rows >= ROWS_A_GROUP or size >= GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        if self._group:
            self._writer.write_table(arrow.Table.from_batches(self._group, self._schema))
            self._group.clear()

    def _make_writer(self) -> Any:
        return parquet.ParquetWriter(self._sink, self._schema, compression="zstd")

    def _write_meta(self, meta: str) -> None:
        self._write_group()
        self._writer.add_key_value_metadata({"meta": meta})


BATCH_ENCODERS: dict[str, type[ResultEncoder]] = {"arrow": ArrowResult, "parquet": ParquetResult}


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _engine_error(text: str) -> duckdb.Error:
    """The engine's error, of which Arrow passes on the text alone."""
    kind = text.partition(" Error:")[0]
    return _ERRORS.get(kind, duckdb.DataError)(text)


class _Sink:
    """A file that only grows, whose content is taken away piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """What was written is still to be taken."""
