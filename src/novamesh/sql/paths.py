"""What a property path becomes, by the place it stands in.

``properties.price`` is a VARIANT: it keeps the JSON type each event was sent with, and DuckDB orders and compares by
that type before the value (measured on 2.0.0: ``1.5 > 100`` is true, ``sum`` of 0.4, 0.4, 0.4 is 0, GROUP BY makes two
groups of one value). So wherever a value is compared, ordered, grouped or calculated with, a path is cast. Two rules:

- text that reads as a number is a number where a number is asked for, and NULL is what does not;
- one value is one value however it was sent: 1, 1.0 and ``"1"`` are equal and one group.

Numbers are cast by way of text, ``TRY_CAST(CAST(path AS VARCHAR) AS DOUBLE)``: DuckDB reads that from the shredded
column, whatever its type (2 M integers: 38 ms), but for a direct TRY_CAST to another type than the shredded one it
rebuilds every value (300 ms, text 975 ms).

A VARIANT object with two keys that differ only in case makes every cast of it fail, TRY_CAST too, and the whole query
with it. ``careful`` casts go through JSON instead, which cannot fail, at ten times the price.
"""

import enum
import re
from typing import Final

from sqlglot import exp


class Kind(enum.Enum):
    """What is known of an expression's type."""

    BOOL = enum.auto()
    DOCUMENT = enum.auto()  # properties itself
    ELEMENTS = enum.auto()  # VARIANT[]
    INTERVAL = enum.auto()
    JSON = enum.auto()
    LIST = enum.auto()
    NULL = enum.auto()
    NUMBER = enum.auto()
    OTHER = enum.auto()
    PARAMETER = enum.auto()
    PATH = enum.auto()  # a VARIANT of any other kind
    TEXT = enum.auto()
    TIME = enum.auto()

    @property
    def is_variant(self) -> bool:
        return self in (Kind.DOCUMENT, Kind.PATH)


EXACT: Final = 2**53
"""Beyond this, DOUBLE skips integers."""

_INTEGERS: Final = frozenset({exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.INT128})
_NUMBERS: Final = _INTEGERS | {
    *(exp.DType.UTINYINT, exp.DType.USMALLINT, exp.DType.UINT, exp.DType.UBIGINT, exp.DType.UINT128),
    *(exp.DType.FLOAT, exp.DType.DOUBLE, exp.DType.DECIMAL),
}
_TIMES: Final = frozenset(
    {
        *(exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ, exp.DType.TIMESTAMPTZ),
        *(exp.DType.TIMESTAMP_S, exp.DType.TIMESTAMP_MS, exp.DType.TIMESTAMP_NS),
    }
)


_OFFSET: Final = r":\d\d(\.\d+)?[+-]\d\d(:?\d\d)?$"


def is_zoned(node: exp.Expr) -> bool:
    """A literal time with an offset."""
    return node.is_string and re.search(_OFFSET, node.name) is not None


def is_step(node: exp.Expr) -> bool:
    """``['key']`` and ``[1]`` are steps of a path; slices and indexes from the end are not."""
    keys = node.expressions if isinstance(node, exp.Bracket) else []
    return len(keys) == 1 and isinstance(keys[0], exp.Literal)


def call(name: str, *args: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(args))


def cast(value: exp.Expr, kind: exp.DType, *, strict: bool = False) -> exp.Expr:
    return (exp.Cast if strict else exp.TryCast)(this=value, to=exp.DataType(this=kind, nested=False))


def list_of(kind: exp.DType) -> exp.DataType:
    return exp.DataType(this=exp.DType.ARRAY, expressions=[exp.DataType(this=kind, nested=False)], nested=True)


def kind_of_type(to: exp.DataType) -> Kind:
    if to.this in _NUMBERS:
        return Kind.NUMBER
    if to.this in _TIMES:
        return Kind.TIME
    if to.this in (exp.DType.ARRAY, exp.DType.LIST):
        variants = any(part.this == exp.DType.VARIANT for part in to.expressions)
        return Kind.ELEMENTS if variants else Kind.LIST
    named = {
        exp.DType.BOOLEAN: Kind.BOOL,
        exp.DType.TEXT: Kind.TEXT,
        exp.DType.JSON: Kind.JSON,
        exp.DType.INTERVAL: Kind.INTERVAL,
    }
    return named.get(to.this, Kind.OTHER)


class Casts:
    """Builds what replaces a path. Every method takes its own copy of it."""

    def __init__(self, *, careful: bool) -> None:
        self.careful = careful

    def json(self, path: exp.Expr) -> exp.Expr:
        return cast(path.copy(), exp.DType.JSON, strict=True)

    def text(self, path: exp.Expr, kind: Kind = Kind.PATH) -> exp.Expr:
        if kind == Kind.DOCUMENT:
            return cast(self.json(path), exp.DType.TEXT, strict=True)
        if self.careful:
            return call("json_extract_string", self.json(path), exp.Literal.string("$"))
        return cast(path.copy(), exp.DType.TEXT, strict=True)

    def number(self, path: exp.Expr) -> exp.Expr:
        return cast(self.text(path), exp.DType.DOUBLE)

    def integer(self, path: exp.Expr) -> exp.Expr:
        return cast(self.text(path), exp.DType.INT128)

    def small(self, path: exp.Expr) -> exp.Expr:
        return cast(self.text(path), exp.DType.BIGINT)

    def boolean(self, path: exp.Expr) -> exp.Expr:
        return cast(self.text(path) if self.careful else path.copy(), exp.DType.BOOLEAN)

    def interval(self, path: exp.Expr) -> exp.Expr:
        return cast(self.text(path), exp.DType.INTERVAL)

    def time(self, path: exp.Expr, *, strict: bool = False) -> exp.Expr:
        """UTC. A cast of text to TIMESTAMP drops an offset without a word: ``03:04+02:00`` stays 03:04."""
        text = path.copy() if strict else self.text(path)
        offset = call("regexp_matches", text, exp.Literal.string(_OFFSET))
        shifted = call("make_timestamp", call("epoch_us", cast(text.copy(), exp.DType.TIMESTAMPTZ, strict=strict)))
        plain = cast(text.copy(), exp.DType.TIMESTAMPNTZ, strict=strict)
        return exp.Case(ifs=[exp.If(this=offset, true=shifted)], default=plain)

    def elements(self, path: exp.Expr, kind: exp.DType = exp.DType.VARIANT) -> exp.Expr:
        return exp.TryCast(this=path.copy(), to=list_of(kind))

    def key(self, path: exp.Expr, kind: Kind = Kind.PATH) -> exp.Expr:
        """Text that is the same for equal values: 1.0 is 1."""
        text = self.text(path, kind)
        if kind == Kind.DOCUMENT:
            return text
        whole = exp.And(
            this=call("ends_with", text, exp.Literal.string(".0")),
            expression=call("regexp_full_match", text.copy(), exp.Literal.string(r"-?\d+\.0")),
        )
        shorter = call("left", text.copy(), exp.Neg(this=exp.Literal.number(2)))
        return exp.Case(ifs=[exp.If(this=whole, true=shorter)], default=text.copy())

    def order(self, path: exp.Expr) -> exp.Expr:
        """What min and max go by: numbers by value, then text. NULL in a struct sorts last."""
        pair = call("struct_pack", named("n", self.number(path)), named("s", self.text(path)))
        missing = exp.Is(this=path.copy(), expression=exp.Null())
        return exp.Case(ifs=[exp.If(this=missing, true=exp.Null())], default=pair)

    def to(self, path: exp.Expr, kind: Kind, target: Kind) -> exp.Expr:
        """The path as ``target``, where that is plain from its kind."""
        if target == Kind.TEXT:
            return self.text(path, kind)
        forms = {
            Kind.BOOL: self.boolean,
            Kind.INTERVAL: self.interval,
            Kind.JSON: self.json,
            Kind.NUMBER: self.number,
            Kind.TIME: self.time,
        }
        return forms[target](path)

    def to_type(self, path: exp.Expr, kind: Kind, to: exp.DataType) -> exp.Expr:
        """The user's own ``path::type``: NULL, not an error, where a value does not fit."""
        if to.this == exp.DType.DATE:
            return exp.TryCast(this=self.time(path), to=to.copy())
        if to.this in (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ):
            return self.time(path)
        if to.this in _INTEGERS:  # '0.5' as text rounds as 0.5 does
            return exp.TryCast(this=self.text(path), to=to.copy())
        simple = kind_of_type(to)
        if simple in (Kind.BOOL, Kind.JSON, Kind.TEXT):
            return self.to(path, kind, simple)
        if simple in (Kind.LIST, Kind.OTHER) and to.this != exp.DType.UUID:
            return exp.TryCast(this=self.json(path) if self.careful else path.copy(), to=to.copy())
        return exp.TryCast(this=self.text(path), to=to.copy())


def named(name: str, value: exp.Expr) -> exp.PropertyEQ:
    return exp.PropertyEQ(this=exp.to_identifier(name), expression=value)


def boxed(value: exp.Expr) -> exp.Expr:
    """A VARIANT in a struct: aggregates carry it 6 times faster than bare (any_value, 2 M rows: 15 ms against 97)."""
    return call("struct_pack", named("v", value))


def unboxed(box: exp.Expr) -> exp.Expr:
    return call("struct_extract", box, exp.Literal.string("v"))


def stepped(path: exp.Expr, key: exp.Expr) -> exp.Expr | None:
    """``path -> key`` as steps on the VARIANT, or None where the key is no plain one."""
    if not isinstance(key, exp.Literal):
        return None
    if not key.is_string:  # JSON counts from 0, lists from 1
        return exp.Bracket(this=path, expressions=[exp.Literal.number(int(key.name) + 1)]) if key.is_int else None
    for step in _steps(key.name):
        if step == "":
            path = call("variant_extract", path, exp.Literal.string(""))
        else:
            value = exp.Literal.string(step) if isinstance(step, str) else exp.Literal.number(step + 1)
            path = exp.Bracket(this=path, expressions=[value])
    return path


def _steps(text: str) -> list[str | int]:
    """A JSON pointer, a JSON path, or, as DuckDB has it, one plain key."""
    if text.startswith("/"):
        parts = [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]
        return [int(part) if part.isdecimal() else part for part in parts]
    if not text.startswith("$"):
        return [text]
    found = re.findall(r'\.(?:"([^"]*)"|([^.\["]+))|\[(\d+)\]', text[1:])
    return [int(index) if index else quoted or plain for quoted, plain, index in found]
