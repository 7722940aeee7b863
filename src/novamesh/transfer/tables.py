"""Rows of CSV and Parquet as events.

Columns named as an event's fields are those fields; every other column is a property. A
:class:`Mapping` says otherwise.
"""

import base64
import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from novamesh.event.model import FIELDS, MAX_INTEGER, MIN_INTEGER
from novamesh.transfer.source import Item, Opened, Place, SourceError

# What the node adds to an event. An exported file has these columns; whoever imports it gets new ones.
NODE_COLUMNS = ("received_at", "batch_id")
EXPORTED = b"novamesh.types"
ROWS_A_BATCH = 2_000
MAX_FIELD_CHARACTERS = 16 * 1024 * 1024
_TEXT_FIELDS = ("event", "user_id", "id")
_OBJECT_FIELDS = ("properties", "context")

# What pyarrow raises for a time beyond Python's years, a text that is not UTF-8, a map with a key twice.
_NOT_PYTHON = (ValueError, OverflowError, KeyError, TypeError)

_encoder = msgspec.json.Encoder(decimal_format="number")
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(\.\d{1,30})?(?:[eE][+-]?\d{1,2})?", re.ASCII)


class Unreadable(NamedTuple):
    """Stands for a value that Python has no form for, and says why."""

    reason: str

    def __str__(self) -> str:
        return f"({self.reason})"


class Mapping(msgspec.Struct, frozen=True):
    """What becomes of columns. ``targets``: a field, ``properties.name``, ``context.name``, or nothing: left out.

    ``event_name`` is for rows without an event of their own; ``strings``: no value of a CSV becomes a number.
    """

    targets: dict[str, str] = {}
    event_name: str = ""
    strings: bool = False
    delimiter: str = ""

    def check(self) -> None:
        """Raises :class:`SourceError` for a target that is none."""
        for column, target in self.targets.items():
            group, dot, name = target.partition(".")
            if not (target in ("", *FIELDS) or (dot and name and group in _OBJECT_FIELDS)):
                raise SourceError(
                    f"--map {column}={target}: a column becomes {', '.join(FIELDS)}, properties.NAME or context.NAME"
                )


class Rows:
    """Makes events of rows with these ``columns``; ``typed`` says what a property's value is."""

    def __init__(self, columns: list[str], mapping: Mapping, name: str, typed: Callable[[Any], Any]) -> None:
        """Raises :class:`SourceError` if no row could be an event."""
        self._typed = typed
        self._event_name = mapping.event_name
        self._targets: set[str] = set()
        self._fields: dict[str, int] = {}
        self._members: dict[str, list[tuple[str, int]]] = {field: [] for field in _OBJECT_FIELDS}
        if unknown := [column for column in mapping.targets if column not in columns]:
            raise SourceError(f"{name} has no column {unknown[0]!r}; it has {', '.join(columns)[:500]}")
        for place, column in enumerate(columns):
            self._place(
                place, mapping.targets.get(column, column if column in FIELDS else f"properties.{column}"), name
            )
        if "event" not in self._fields and not self._event_name:
            raise SourceError(f"{name} has no column event; give --event-name NAME, or --map COLUMN=event")

    def _place(self, place: int, target: str, name: str) -> None:
        if not target:
            return
        if target in self._targets:
            raise SourceError(f"{name} has two columns for {target}; leave one out: --map COLUMN=")
        self._targets.add(target)
        if target in FIELDS:
            self._fields[target] = place
        else:
            group, _, member = target.partition(".")
            self._members[group].append((member, place))

    def event(self, row: Any) -> bytes:
        """One event as JSON. Raises ValueError with what is wrong."""
        event: dict[str, Any] = {}
        for field, place in self._fields.items():
            value = row[place]
            if value is None or value == "":
                continue
            _check(value)
            event[field] = str(value) if field in _TEXT_FIELDS and not isinstance(value, bytes) else value
        if self._event_name:
            event.setdefault("event", self._event_name)
        for field in _OBJECT_FIELDS:
            if field in event or self._members[field]:
                event[field] = self._object(field, event.get(field), row)
        try:
            return _encoder.encode({name: value for name, value in event.items() if value is not None})
        except UnicodeEncodeError:
            raise ValueError("is not UTF-8") from None
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"cannot be written as JSON: {error}") from None

    def _object(self, field: str, whole: Any, row: Any) -> Any:
        members = {name: self._typed(row[place]) for name, place in self._members[field]}
        members = {name: value for name, value in members.items() if value is not None}
        if whole is None:
            return members or None
        if isinstance(whole, str):
            try:
                whole = _OBJECT.decode(whole)
            except (msgspec.MsgspecError, RecursionError):
                raise ValueError(f"the column {field} does not hold a JSON object") from None
        elif not isinstance(whole, dict):
            raise ValueError(f"the column {field} does not hold an object")
        if twice := members.keys() & whole.keys():
            raise ValueError(f"the column {field} holds {min(twice)!r}, and so does a column of its own")
        return {**whole, **members}


def read_csv(opened: Opened, start: Place, mapping: Mapping) -> Iterator[Item]:
    """The rows of a CSV file with a header line. A place is a number of rows. Raises :class:`SourceError`."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    # What is not UTF-8 is told row by row.
    lines = (line.decode("utf-8", "surrogateescape") for line in opened.stream)
    first = next(lines, "").removeprefix("\ufeff")
    reader = csv.reader(_again(first, lines), delimiter=mapping.delimiter or _delimiter(first), strict=True)
    columns = _header(reader, opened.name)
    rows = Rows(columns, mapping, opened.name, text_value if mapping.strings else typed_value)
    number = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise SourceError(f"{opened.name} is malformed in line {reader.line_num:,}: {error}; correct it") from None
        if row:
            number += 1
            if number > start.position:
                yield _item(rows, columns, row, Place(number, reader.line_num))


def read_parquet(opened: Opened, start: Place, mapping: Mapping, note: Callable[[str], None]) -> Iterator[Item]:
    """The rows of a Parquet file. A place is a number of rows. Raises :class:`SourceError`."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    if opened.path is None or opened.compressed or not opened.regular:
        raise SourceError("Parquet is read from its end: give an uncompressed file, not a pipe")
    try:
        file = parquet.ParquetFile(opened.path)
        columns = file.schema_arrow.names
        _no_twins(columns, opened.name)
        if EXPORTED in (file.schema_arrow.metadata or {}):
            dropped = [name for name in NODE_COLUMNS if name in columns and name not in mapping.targets]
            mapping = msgspec.structs.replace(mapping, targets={**dict.fromkeys(dropped, ""), **mapping.targets})
            note(f"{opened.name} was exported by a node: {' and '.join(dropped)} are made anew")
        rows = Rows(columns, mapping, opened.name, arrow_value)
        before, groups = _groups(file, start.position)
        number = before
        for batch in file.iter_batches(ROWS_A_BATCH, row_groups=groups):
            opened.share = number / file.metadata.num_rows
            for row in _values(batch, arrow):
                number += 1
                if number > start.position:
                    yield _item(rows, columns, row, Place(number, number))
    except (arrow.ArrowException, OSError) as error:
        raise SourceError(f"{opened.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def typed_value(text: str) -> Any:
    """A CSV value as JSON shows it: numbers, true and false, objects and arrays; nothing for an empty one."""
    if not text:
        return None
    first = text[0]
    if first in "-0123456789":
        return _number(text)
    if first in "tTfF" and (word := text.lower()) in ("true", "false"):
        return word == "true"
    if first in "{[":
        try:
            return msgspec.json.decode(text, type=msgspec.Raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
            return text
    return text


def text_value(text: str) -> Any:
    """A CSV value as it is; nothing for an empty one."""
    return text or None


def arrow_value(value: Any) -> Any:
    """A Parquet value as it can be JSON; what is bytes becomes base64. Raises ValueError if it cannot be."""
    _check(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _check(value: Any) -> None:
    """Raises ValueError for what would be null as JSON, or nothing."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"holds {value}, which is no number in JSON")
    elif isinstance(value, Unreadable):
        raise ValueError(f"cannot be read: {value.reason}")
    elif isinstance(value, list):
        for one in value:
            _check(one)
    elif isinstance(value, dict):
        for one in value.values():
            _check(one)


def _number(text: str) -> Any:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text  # a date, a telephone number, 007
    if match[1] is None and text.lstrip("-").isdigit() and not MIN_INTEGER <= int(text) <= MAX_INTEGER:
        return text  # its digits are kept
    return msgspec.Raw(text.encode())


def _item(rows: Rows, columns: list[str], row: Any, place: Place) -> Item:
    try:
        if len(row) != len(columns):
            raise ValueError(f"has {len(row)} values, the header has {len(columns)}")
        return Item(place, rows.event(row))
    except ValueError as error:
        return Item(place, _shown(row), str(error))


def _shown(row: Any) -> bytes:
    """A row that is no event, so that one can see what it was."""
    texts = [value if value is None else str(value).encode("utf-8", "replace").decode() for value in row]
    return msgspec.json.encode(texts)


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        columns = next(reader, [])
    except csv.Error as error:
        raise SourceError(f"{name} is malformed in its header: {error}; correct it") from None
    if not any(columns):
        raise SourceError(f"{name} has no header line; its first line must name the columns")
    _no_twins(columns, name)
    return columns


def _no_twins(columns: list[str], name: str) -> None:
    if len(set(columns)) < len(columns):
        raise SourceError(f"{name} has two columns of one name; give each its own")


def _delimiter(header: str) -> str:
    return max(",;\t|", key=header.count)


def _again(first: str, rest: Iterable[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _groups(file: Any, rows: int) -> tuple[int, list[int]]:
    """How many rows lie before the row group that holds this one, and that group and all behind it."""
    before = 0
    for group in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if before + size > rows:
            return before, list(range(group, file.metadata.num_row_groups))
        before += size
    return before, []


def _values(batch: Any, arrow: Any) -> Iterator[tuple[Any, ...]]:
    columns = []
    for column in batch.columns:
        coarser = _coarser(column.type, arrow)
        if coarser != column.type:
            column = column.cast(coarser, safe=False)
        try:
            columns.append(column.to_pylist(maps_as_pydicts="strict"))
        except _NOT_PYTHON:
            columns.append([_value(scalar) for scalar in column])
    return zip(*columns, strict=True)


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except _NOT_PYTHON as error:
        return Unreadable((str(error).strip("'\"").splitlines() or [type(error).__name__])[0])


def _coarser(kind: Any, arrow: Any) -> Any:
    """The type with microseconds, which Python's times have, for nanoseconds."""
    types = arrow.types
    if types.is_timestamp(kind) and kind.unit == "ns":
        return arrow.timestamp("us", kind.tz)
    if types.is_duration(kind) and kind.unit == "ns":
        return arrow.duration("us")
    if types.is_time64(kind) and kind.unit == "ns":
        return arrow.time64("us")
    if types.is_list(kind):
        return arrow.list_(_coarser_field(kind.value_field, arrow))
    if types.is_large_list(kind):
        return arrow.large_list(_coarser_field(kind.value_field, arrow))
    if types.is_struct(kind):
        return arrow.struct([_coarser_field(kind.field(n), arrow) for n in range(kind.num_fields)])
    if types.is_map(kind):
        return arrow.map_(kind.key_type, _coarser_field(kind.item_field, arrow))
    return kind


def _coarser_field(field: Any, arrow: Any) -> Any:
    return field.with_type(_coarser(field.type, arrow))
