"""The names of result columns, as PostgreSQL gives them.

DuckDB names ``count()`` ``count_star()`` and ``properties['page']`` ``properties['page']``; people and charts expect
``count`` and ``page``. The rules are those of ``FigureColname`` in PostgreSQL's ``src/backend/parser/parse_target.c``
(https://www.postgresql.org/docs/current/sql-select.html#SQL-SELECT-LIST describes them): a name is good (2) where the
expression has one of its own, weak (1) where it is only a type's or CASE, and ``?column?`` where there is none.

An alias in the SQL is a name that ORDER BY, GROUP BY and QUALIFY can see, so giving ``count() AS count`` could change
what ``ORDER BY count`` means. Result columns therefore get a placeholder (``__nm_0``) that no query uses, and a map
from it to the name to show. A name that the query itself refers to, and that no table in FROM has, is given for real:
PostgreSQL accepts ``SELECT event, count() … ORDER BY count``, so this does.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from sqlglot import exp

UNNAMED: Final = "?column?"
SHOWN: Final = "shown"
"""Where a node that idioms.py put in place of a call keeps the name of that call."""

TYPES: Final[dict[str, dict[str, str]]] = {
    "events": {
        "id": "UUID",
        "event": "VARCHAR",
        "user_id": "VARCHAR",
        "timestamp": "TIMESTAMP",
        "properties": "VARIANT",
        "context": "VARIANT",
        "received_at": "TIMESTAMP",
        "batch_id": "VARCHAR",
    },
    "quarantine": {
        "received_at": "TIMESTAMP",
        "batch_id": "VARCHAR",
        "event_index": "BIGINT",
        "events": "BIGINT",
        "reason": "VARCHAR",
        "body": "VARCHAR",
        "quarantined_at": "TIMESTAMP",
        "id": "UUID",
        "project": "VARCHAR",
    },
}
"""The tables of a project, their columns and DuckDB's names of their types."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {table: tuple(columns) for table, columns in TYPES.items()}
VARIANTS: Final = tuple(name for name, kind in TYPES["events"].items() if kind == "VARIANT")

_GOOD, _WEAK, _NONE = 2, 1, 0

_TYPES: Final = {
    "int": "int4",
    "bigint": "int8",
    "smallint": "int2",
    "double": "float8",
    "float": "float4",
    "decimal": "numeric",
    "boolean": "bool",
    "text": "varchar",
    "timestampntz": "timestamp",
    "varbinary": "bytea",
    "int128": "hugeint",
}

# What PostgreSQL calls a piece of syntax. TRIM is btrim there; DuckDB has no such function, so it keeps its own name.
_SYNTAX: Final[dict[type[exp.Expr], str]] = {
    exp.Array: "array",
    exp.AtTimeZone: "timezone",
    exp.Comprehension: "array",
    exp.CurrentDate: "current_date",
    exp.CurrentTime: "current_time",
    exp.CurrentTimestamp: "current_timestamp",
    exp.CurrentUser: "current_user",
    exp.Exists: "exists",
    exp.Extract: "extract",
    exp.Localtime: "localtime",
    exp.Localtimestamp: "localtimestamp",
    exp.Map: "map",
    exp.Overlay: "overlay",
    exp.StrPosition: "position",
    exp.Struct: "row",
    exp.Substring: "substring",
    exp.ToMap: "map",
    exp.Trim: "trim",
    exp.Tuple: "row",
}


def placeholder(place: int) -> str:
    """The name result column ``place`` has in the engine."""
    return f"__nm_{place}"


def assign(query: exp.Expr) -> dict[str, str]:
    """Name every unnamed column in the tree; return the names to show for the placeholders of the result."""
    outermost = _first_select(query)
    for select in list(query.find_all(exp.Select)):
        if select is not outermost:
            _name_inner(select)
    if isinstance(outermost, exp.Select):
        return _name_result(outermost)
    if isinstance(outermost, exp.Values):
        return {placeholder(place): f"column{place + 1}" for place in range(_width(outermost))}
    return {}


def column_name(node: exp.Expr) -> str:
    """The name PostgreSQL gives this expression when it has no alias."""
    return _figure(node)[0] or UNNAMED


def is_star(node: exp.Expr) -> bool:
    """Whether one item stands for any number of columns: they keep the engine's names."""
    return (
        node.is_star
        or node.find(exp.Columns) is not None
        or any(call.name.lower() == "unnest" and len(call.expressions) > 1 for call in node.find_all(exp.Anonymous))
        or isinstance(node, exp.Aliases)
    )


def _figure(node: exp.Expr) -> tuple[str, int]:
    """A name and how good it is."""
    if node.meta.get(SHOWN):
        return node.meta[SHOWN], _NONE if node.meta[SHOWN] == UNNAMED else _GOOD
    if isinstance(node, (exp.Column, exp.Dot)):
        last = node.this if isinstance(node, exp.Column) else node.expression
        return last.name, _GOOD
    if isinstance(node, exp.Bracket):
        return _figure_bracket(node)
    if isinstance(node, (exp.Paren, exp.Collate, exp.Filter, exp.Window, exp.WithinGroup, exp.IgnoreNulls)):
        return _figure(node.this)
    if isinstance(node, exp.Anonymous):
        return node.name.lower(), _GOOD
    if isinstance(node, exp.Cast):
        return _or_weak(_figure(node.this), _type_name(node.to))
    if isinstance(node, exp.Interval):
        return "interval", _WEAK
    if isinstance(node, exp.Case):
        default = node.args.get("default")
        return _or_weak(_figure(default) if default is not None else ("", _NONE), "case")
    if isinstance(node, exp.Subquery):
        return _figure_subquery(node)
    if isinstance(node, (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)):
        return node.sql_name().lower(), _GOOD
    name = _SYNTAX.get(type(node), "")
    return name, _GOOD if name else _NONE


def _or_weak(found: tuple[str, int], name: str) -> tuple[str, int]:
    return found if found[1] == _GOOD else (name, _WEAK)


def _figure_bracket(node: exp.Bracket) -> tuple[str, int]:
    """``properties['page']`` is page; ``tags[1]`` is tags."""
    key = node.expressions[0] if node.expressions else None
    if isinstance(key, exp.Literal) and key.is_string:
        return key.name, _GOOD
    return _figure(node.this)


def _figure_subquery(node: exp.Subquery) -> tuple[str, int]:
    first = _first_select(node.unnest())
    items = first.expressions if isinstance(first, exp.Select) else []
    if len(items) != 1 or is_star(items[0]):
        return "", _NONE
    return (items[0].alias, _GOOD) if isinstance(items[0], exp.Alias) else _figure(items[0])


def _type_name(kind: exp.DataType) -> str:
    if kind.this == exp.DType.ARRAY and kind.expressions:
        return _type_name(kind.expressions[0])  # PostgreSQL names text[] text
    name = kind.this.value.lower() if isinstance(kind.this, exp.DType) else str(kind.this).lower()
    return _TYPES.get(name, name)


# -- where the names go ---------------------------------------------------------------------------------------------


def _first_select(node: exp.Expr) -> exp.Expr:
    """The SELECT (or VALUES) whose columns name the result: the left-most branch."""
    while isinstance(node, (exp.SetOperation, exp.Subquery)):
        node = node.this
    return node


def _width(values: exp.Values) -> int:
    return len(values.expressions[0].expressions) if values.expressions else 0


def _name_result(select: exp.Select) -> dict[str, str]:
    shown: dict[str, str] = {}
    real = _referable(select) | _ordered_by(select)
    for place, item in enumerate(select.expressions):
        if not _needs_name(item):
            continue
        name = column_name(item)
        if name in real:
            _alias(item, name)
        else:
            shown[placeholder(place)] = name
            _alias(item, placeholder(place))
    return shown


def _name_inner(select: exp.Select) -> None:
    """Let the query around this one use the PostgreSQL names, where that cannot change what this one means."""
    used = {column.name.lower() for column in _plain_columns(select)}
    real = _referable(select) | _ordered_by(select)
    times = _times(select)
    for item in select.expressions:
        name = column_name(item)
        if not _needs_name(item) or name == UNNAMED:
            continue
        if name in real or (name.lower() not in used and times[name.lower()] == 1):
            _alias(item, name)


def _needs_name(item: exp.Expr) -> bool:
    return not isinstance(item, exp.Alias) and not is_star(item) and not _is_plain(item)


def _is_plain(item: exp.Expr) -> bool:
    """A plain column is named alike by both. ``properties.page`` looks like one, but rewriting would rename it."""
    return isinstance(item, exp.Column) and not item.args.get("db") and item.table.lower() not in VARIANTS


def _alias(item: exp.Expr, name: str) -> None:
    alias = exp.Alias(alias=exp.to_identifier(name, quoted=True))
    item.replace(alias)
    alias.set("this", item)


def _times(select: exp.Select) -> Counter[str]:
    return Counter((item.alias or column_name(item)).lower() for item in select.expressions)


def _referable(select: exp.Select) -> set[str]:
    """Names of unnamed items that this query refers to and that can mean nothing else: no table in FROM has them."""
    known = _source_columns(select)
    if known is None:
        return set()
    used = {column.name.lower() for column in _plain_columns(select)} - known
    times = _times(select)
    unnamed = (column_name(item) for item in select.expressions if _needs_name(item))
    return {name for name in unnamed if name.lower() in used and times[name.lower()] == 1}


def _ordered_by(select: exp.Select) -> set[str]:
    """Names a set operation orders by: only its columns can be meant, and this SELECT names them."""
    used: set[str] = set()
    node: exp.Expr = select
    around = select.parent
    while isinstance(around, (exp.SetOperation, exp.Subquery)) and node.arg_key == "this":
        order = around.args.get("order")
        used |= {column.name.lower() for column in order.find_all(exp.Column)} if order is not None else set()
        node, around = around, around.parent
    times = _times(select)
    unnamed = (column_name(item) for item in select.expressions if _needs_name(item))
    return {name for name in unnamed if name.lower() in used and times[name.lower()] == 1}


def _plain_columns(select: exp.Select) -> Iterator[exp.Column]:
    return (column for column in select.find_all(exp.Column) if not column.table)


def _source_columns(select: exp.Expr) -> set[str] | None:
    """The names of everything in FROM, or None where they are not known here. Rather too many than too few."""
    from_ = select.args.get("from_")
    sources = [from_.this] if from_ is not None else []
    return _all_columns([*sources, *(join.this for join in select.args.get("joins") or [])])


def _all_columns(sources: list[exp.Expr]) -> set[str] | None:
    known: set[str] = set()
    for source in sources:
        columns = _columns_of(source)
        joined = _all_columns([join.this for join in source.args.get("joins") or []])
        if columns is None or joined is None:
            return None
        known |= {*columns, *joined, source.alias_or_name.lower()}
    return known


def _columns_of(source: exp.Expr) -> set[str] | None:
    """The columns of one table, query or WITH query in FROM."""
    alias = source.args.get("alias")
    renamed = {column.name.lower() for column in alias.args.get("columns") or []} if alias is not None else set()
    columns: set[str] | None = renamed or None
    if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
        definition = _definition(source)
        columns = set(COLUMNS[source.name]) if source.db else _output(definition) if definition is not None else None
    elif isinstance(source, (exp.Subquery, exp.Lateral)) and isinstance(source.this, exp.Table):
        columns = _all_columns([source.this])
    elif isinstance(source, (exp.Subquery, exp.Lateral)):
        columns = _output(source.this)
    return columns | renamed if columns is not None else None


def _definition(table: exp.Expr) -> exp.Expr | None:
    """The WITH query a table is, with the columns an alias gives it."""
    node: exp.Expr | None = table.parent
    while node is not None:
        with_: exp.Expr | None = node.args.get("with_")
        recursive = with_ is not None and bool(with_.args.get("recursive"))
        for cte in with_.expressions if with_ is not None else []:
            if cte.alias.lower() == table.name.lower() and (recursive or not _is_within(table, cte)):
                found: exp.Expr = cte
                return found
        node = node.parent
    return None


def _is_within(node: exp.Expr | None, around: exp.Expr) -> bool:
    while node is not None and node is not around:
        node = node.parent
    return node is not None


def _output(query: exp.Expr) -> set[str] | None:
    """The names of a query's own columns."""
    if isinstance(query, exp.CTE):
        columns = _output(query.this)
        alias = query.args.get("alias")
        renamed = {column.name.lower() for column in alias.args.get("columns") or []} if alias is not None else set()
        return columns | renamed if columns is not None else None
    if isinstance(query, exp.Subquery):
        return _output(query.this)
    if isinstance(query, exp.SetOperation):
        left, right = _output(query.this), _output(query.expression)
        return left | right if left is not None and right is not None else None
    if not isinstance(query, exp.Select):
        return None
    known: set[str] = set()
    for item in query.expressions:
        whole = isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star))
        if is_star(item) and not whole:
            return None
        columns = _source_columns(query) if whole else {(item.alias or column_name(item)).lower()}
        if columns is None:
            return None
        known |= columns
    return known
