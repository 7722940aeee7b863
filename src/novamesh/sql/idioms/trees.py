"""Idioms that are no calls: operators, types, tables; and the steps into JSON."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from sqlglot import exp

from novamesh.errors import InvalidQuery, QueryNotAllowed
from novamesh.sql.names import SHOWN, TYPES, UNNAMED, VARIANTS
from novamesh.sql.paths import call, cast, list_of

_TYPES: Final = {
    "UINT8": exp.DType.UTINYINT,
    "UINT16": exp.DType.USMALLINT,
    "UINT32": exp.DType.UINT,
    "UINT64": exp.DType.UBIGINT,
    "FLOAT32": exp.DType.FLOAT,
    "FLOAT64": exp.DType.DOUBLE,
    "DATE32": exp.DType.DATE,
    "DATETIME64": exp.DType.TIMESTAMPNTZ,
    "INT8": exp.DType.TINYINT,
    "INT16": exp.DType.SMALLINT,
    "INT32": exp.DType.INT,
    "INT64": exp.DType.BIGINT,
    "STRING": exp.DType.TEXT,
    "FIXEDSTRING": exp.DType.TEXT,
    "BOOL": exp.DType.BOOLEAN,
    "DATE": exp.DType.DATE,
    "DATETIME": exp.DType.TIMESTAMPNTZ,
    "UUID": exp.DType.UUID,
}
_WRAPPERS: Final = ("LOWCARDINALITY", "NULLABLE")
_SAME: Final = {exp.DType.JSONB: exp.DType.JSON, exp.DType.VARCHAR: exp.DType.TEXT}


def plain_type(node: exp.DataType) -> None:
    """``jsonb`` is JSON, ``UInt64`` UBIGINT."""
    if node.this in _SAME:
        node.set("this", _SAME[node.this])
    elif node.this == exp.DType.USERDEFINED:
        name = str(node.args.get("kind")).upper()
        inner = node.expressions
        if name in _WRAPPERS and len(inner) == 1:
            name = inner[0].name.upper()
        if name in _TYPES:
            node.replace(exp.DataType(this=_TYPES[name], nested=False))


# -- tables -----------------------------------------------------------------------------------------------------------

_ELEMENTS: Final = {
    "jsonb_array_elements": False,
    "json_array_elements": False,
    "jsonb_array_elements_text": True,
    "json_array_elements_text": True,
}


def table(node: exp.Table | exp.Lateral) -> None:
    """``FROM numbers(3)``, ``FROM events, jsonb_array_elements(properties.items) AS item``."""
    source = node.this
    name = source.name.lower() if isinstance(source, exp.Anonymous) else ""
    args = source.expressions if name else []
    if name == "numbers":
        if len(args) == 2 and all(map(is_whole, args)):  # from, how many
            args[1].replace(exp.Literal.number(int(args[0].name) + int(args[1].name)))
        elif len(args) != 1:
            raise InvalidQuery("Write numbers(n) or numbers(first, n), with literal numbers, or range(first, end)")
        source.set("this", "range")
        _alias(node, "numbers", "number")
    elif name in _ELEMENTS and len(args) == 1:
        source.set("this", "unnest")
        if _ELEMENTS[name]:
            value = source.expressions[0]
            holder = exp.DataType(this=exp.DType.ARRAY, expressions=[exp.DataType(this=exp.DType.TEXT)], nested=True)
            source.set("expressions", [exp.Cast(this=value, to=holder)])
        _alias(node, name, _used(node))


def _used(node: exp.Expr) -> str:
    """The name of the column: PostgreSQL takes ``item.value`` and ``item`` for the same."""
    query = node.find_ancestor(exp.Select)
    if query is None or not node.alias:
        return "value"
    asked = query.meta.get("values")
    if asked is None:
        columns = query.find_all(exp.Column)
        asked = query.meta["values"] = {column.table.lower() for column in columns if column.name.lower() == "value"}
    return "value" if {"", node.alias.lower()} & asked else node.alias


def _alias(node: exp.Expr, table: str, column: str) -> None:
    alias = node.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        return
    name = alias.this if alias is not None else exp.to_identifier(table)
    node.set("alias", exp.TableAlias(this=name, columns=[exp.to_identifier(column)]))


# -- operators --------------------------------------------------------------------------------------------------------


def operator(node: exp.Expr) -> exp.Expr | None:
    """The translation of an operator or a piece of syntax, or None where there is none."""
    for kind, build in _OPERATORS.items():
        if type(node) is kind:
            built: exp.Expr | None = build(node)
            if built is not None:
                built.meta[SHOWN] = _NAMES.get(kind, UNNAMED)
            return built
    return None


def _case_blind(node: exp.Expr) -> exp.Expr:
    return call("regexp_matches", node.this, node.expression, exp.Literal.string("i"))


def _has_key(node: exp.Expr) -> exp.Expr | None:
    if isinstance(node.parent, exp.JSONExtract) and node.arg_key == "expression":
        return None  # properties->'cart' ? 'note' is read as properties->('cart' ? 'note'): see _step
    return exists(node.this, [node.expression])


def _hash_path(node: exp.Expr) -> exp.Expr:
    """``properties#>>'{cart,total}'``"""
    keys = node.expression
    if not keys.is_string or not keys.name.startswith("{") or '"' in keys.name:
        raise InvalidQuery("Give #> and #>> their keys as '{a,b}', or write properties.a.b")
    names = [key.strip() for key in keys.name.strip("{}").split(",")]
    text = isinstance(node, exp.JSONBExtractScalar)
    steps = [_index(int(name) + 1) if name.isdecimal() else exp.Literal.string(name) for name in names]
    value = stepped(node.this, steps, text=text)
    return cast(value, exp.DType.TEXT, strict=True) if text else exp.Paren(this=value)


def _step(node: exp.Expr) -> exp.Expr | None:
    """``->-1`` is the last element, where DuckDB reads a negative number as a key; and what comes after it."""
    key = node.expression
    if isinstance(key, exp.JSONBContainsTopKey):
        return exists(type(node)(this=node.this, expression=key.this), [key.expression])
    last = isinstance(key, exp.Neg) and is_whole(key.this)
    after = key.is_string and key.name[:1] not in "$/" and _is_from_end(node.this)
    if not (last or after):
        return None
    value = exp.Bracket(this=_held(node.this), expressions=[key])
    text = isinstance(node, exp.JSONExtractScalar)
    return cast(value, exp.DType.TEXT, strict=True) if text else value


def _is_from_end(node: exp.Expr) -> bool:
    while isinstance(node, exp.Bracket):
        if any(isinstance(key, exp.Neg) for key in node.expressions):
            return True
        node = node.this
    return False


def _contained(node: exp.Expr) -> exp.Expr | None:
    """``properties @> '{"page": "/"}'`` as a comparison for each key."""
    given = node.expression.this if isinstance(node.expression, exp.Cast) else node.expression
    if not is_document(node.this) or not (given.is_string or isinstance(given, (exp.Anonymous, exp.Placeholder))):
        return None  # lists
    try:
        wanted = json.loads(given.name) if given.is_string else None
    except (ValueError, RecursionError):
        wanted = None
    tests = list(_tests(node.this, wanted, "properties.name")) if isinstance(wanted, (dict, list)) else []
    if not tests or len(tests) > _MAX_TESTS:
        raise InvalidQuery("@> takes a literal object of plain values here; write properties.name = 'value'")
    together = tests[0]
    for test in tests[1:]:
        together = exp.And(this=together, expression=test)
    return exp.Paren(this=together)


_MAX_TESTS: Final = 50


def _tests(path: exp.Expr, wanted: Any, name: str) -> Iterator[exp.Expr]:
    if isinstance(wanted, dict) and wanted:
        for key, value in wanted.items():
            step = exp.Bracket(this=_held(path.copy()), expressions=[exp.Literal.string(key)])
            yield from _tests(step, value, f"properties.{key}")
        return
    values = [_literal(value) for value in (wanted if isinstance(wanted, list) else [wanted])]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known or len({value.is_string for value in known}) > 1:
        raise InvalidQuery(f"@> cannot test {name} for that; write {name} = 'value'")
    if isinstance(wanted, list):
        numbers = not known[0].is_string and not isinstance(known[0], exp.Boolean)
        listed = exp.Cast(this=path, to=list_of(exp.DType.DOUBLE)) if numbers else path
        yield call("list_has_all", listed, exp.Array(expressions=known))
    else:
        yield exp.EQ(this=path, expression=known[0])


def _literal(value: Any) -> exp.Expr | None:
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, str):
        return exp.Literal.string(value)
    if isinstance(value, int | float) and abs(value) < 1e300:
        number = exp.Literal.number(repr(abs(value)))
        return exp.Neg(this=number) if value < 0 else number
    return None


def _regex_substring(node: exp.Expr) -> exp.Expr | None:
    """PostgreSQL's ``substring(s FROM '^(.)')``."""
    start = node.args.get("start")
    if start is None or not start.is_string:
        return None
    return call("regexp_extract", node.this, start, group_in(start))


def group_in(pattern: exp.Expr) -> exp.Expr:
    """Which group of a regular expression is meant: the first, or 0, the whole, where there is none."""
    group = re.search(r"(?<!\\)(?:\\\\)*\((?!\?)", pattern.name if pattern.is_string else "")
    return exp.Literal.number(1 if group else 0)


def _named_type(node: exp.Expr) -> exp.Expr:
    """``CAST(x, 'Int64')``"""
    to = node.args["to"]
    kind = _TYPES.get(to.name.upper())
    if kind is None:
        raise InvalidQuery("CAST takes a plain type such as 'Int64' here; or write x::BIGINT")
    return exp.Cast(this=node.this, to=exp.DataType(this=kind, nested=False))


def _in_list(node: exp.Expr) -> exp.Expr | None:
    """``'hat' IN [x.sku FOR x IN properties.items]``: what the parser takes for a row of one value is a list."""
    items = node.args.get("expressions") or []
    if len(items) != 1 or not isinstance(items[0], exp.Comprehension):
        return None
    return call("list_contains", exp.Array(expressions=[items[0]]), node.this)


def _seconds(node: exp.Expr) -> exp.Expr | None:
    """``now() - 3600``: a number beside a time is seconds."""
    numbers = [part for part in node.expression.walk() if not isinstance(part, (exp.Mul, exp.Paren))]
    if isinstance(node.this, exp.Column) or not is_time(node.this) or not all(map(is_whole, numbers)):
        return None
    return type(node)(this=node.this, expression=call("to_seconds", node.expression))


def is_time(node: exp.Expr) -> bool:
    """Whether this is plainly a time with a clock."""
    if isinstance(node, exp.Column):
        return len(node.parts) <= 2 and node.name.lower() in _CLOCKS and node.table.lower() not in VARIANTS
    if isinstance(node, exp.Cast):
        return bool(node.to.this in (exp.DType.TIMESTAMP, exp.DType.TIMESTAMPNTZ))
    return isinstance(node, exp.Anonymous) and node.name.lower() == "now"


_CLOCKS: Final = tuple(name for name, kind in TYPES["events"].items() if kind == "TIMESTAMP")


def _aggregate(node: exp.Expr) -> exp.Expr | None:
    """``first_value(x)`` without OVER."""
    if isinstance(node.parent, (exp.Window, exp.IgnoreNulls)):
        return None
    return call("first" if isinstance(node, exp.FirstValue) else "last", node.this)


def _twice(node: exp.Expr) -> exp.Expr | None:
    """``f(1)(x)``, which the parser takes for a column with aliases."""
    if isinstance(node.this, exp.Anonymous):
        raise QueryNotAllowed(f"Function {node.this.name} does not take two pairs of brackets; see docs/sql.md")
    return None


_OPERATORS: Final[dict[type[exp.Expr], Any]] = {
    exp.RegexpILike: _case_blind,
    exp.JSONBContainsTopKey: _has_key,
    exp.JSONBExtract: _hash_path,
    exp.JSONBExtractScalar: _hash_path,
    exp.JSONExtract: _step,
    exp.JSONExtractScalar: _step,
    exp.ArrayContainsAll: _contained,
    exp.Substring: _regex_substring,
    exp.CastToStrType: _named_type,
    exp.In: _in_list,
    exp.FirstValue: _aggregate,
    exp.LastValue: _aggregate,
    exp.Aliases: _twice,
    exp.Add: _seconds,
    exp.Sub: _seconds,
}
_NAMES: Final[dict[type[exp.Expr], str]] = {
    exp.Substring: "substring",
    exp.FirstValue: "first_value",
    exp.LastValue: "last_value",
}


# -- steps into JSON --------------------------------------------------------------------------------------------------


def is_whole(node: exp.Expr) -> bool:
    """A literal whole number, without a sign."""
    return isinstance(node, exp.Literal) and not node.is_string and node.name.isdecimal()


def is_document(node: exp.Expr) -> bool:
    """Whether this is properties, context or a step into one of them, by plain keys: it may be repeated."""
    while isinstance(node, (exp.Bracket, exp.Dot, exp.Paren, exp.JSONExtract, exp.Cast)):
        keys = node.expressions if isinstance(node, exp.Bracket) else [node.args.get("expression")]
        if not all(key is None or isinstance(_unsigned(key), (exp.Literal, exp.Identifier)) for key in keys):
            return False
        node = node.this
    return isinstance(node, exp.Column) and any(part.name.lower() in VARIANTS for part in node.parts)


def _unsigned(key: exp.Expr) -> exp.Expr:
    return key.this if isinstance(key, exp.Neg) else key


def stepped(value: exp.Expr, keys: list[exp.Expr], *, text: bool) -> exp.Expr:
    """A value at keys, where numbers count from 1. In a document a path; in other JSON, what ``json_extract`` takes."""
    if is_document(value):
        value = value.this if isinstance(value, exp.Cast) and keys else value
        for key in keys:
            value = exp.Bracket(this=_held(value), expressions=[_key(key)])
        return value
    return call("json_extract_string" if text else "json_extract", value, _json_path(keys)) if keys else value


def exists(value: exp.Expr, keys: list[exp.Expr]) -> exp.Expr:
    """Whether there is such a key, be it of a JSON null."""
    *before, last = keys
    if is_document(value) and _key(last).is_string:
        value = value.this if isinstance(value, exp.Cast) else value
        return call("variant_exists", stepped(value, before, text=False), last)
    return call("json_exists", value, _json_path(keys))


def _held(value: exp.Expr) -> exp.Expr:
    return exp.Paren(this=value) if isinstance(value, exp.JSONExtract) else value


def _index(place: int) -> exp.Expr:
    return exp.Literal.number(place)


def _key(key: exp.Expr) -> exp.Expr:
    if is_whole(_unsigned(key)) or (key.is_string and key.name):
        return key
    raise QueryNotAllowed("Give keys of JSON as plain strings and numbers, or write variant_extract(properties, …)")


def _json_path(keys: list[exp.Expr]) -> exp.Expr:
    path = "$"
    for key in map(_key, keys):
        if isinstance(key, exp.Neg) or '"' in key.name:
            raise QueryNotAllowed("Give keys of JSON as plain strings and numbers, or write json_extract(x, '$.a[0]')")
        path += f'."{key.name}"' if key.is_string else f"[{int(key.name) - 1}]"
    return exp.Literal.string(path)


def inside(argument: exp.Expr) -> exp.Expr:
    """The value in ``x ORDER BY y`` or ``DISTINCT x``."""
    while isinstance(argument, (exp.Order, exp.Distinct)):
        argument = argument.this if isinstance(argument, exp.Order) else argument.expressions[0]
    return argument
