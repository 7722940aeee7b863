"""Reads each property path once, directly over the tables, and nothing else of the events.

``events`` is a view over two tables (see ``store/migrations.py``), and the optimizer does not move a path through it,
nor through a join or an aggregate: it carries whole VARIANTs instead (2 M events, DuckDB 2.0.0: ``sum(properties.w)``
took 927 ms, and 29 with the path read below the view). So what is read of a path moves down into the view::

    SELECT sum(TRY_CAST(CAST(properties.w AS TEXT) AS DOUBLE)) FROM events
    SELECT sum(events.p0) FROM (SELECT TRY_CAST(… properties.w …) AS p0 FROM events_shredded UNION ALL …) AS events

Only the columns that the query names are listed there. Of a union that is only counted DuckDB reads the first column,
and that is ``id``: with all columns a filter by a path took twice as long (5 M events: 28 ms, and 15).
"""

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlglot import exp

from novamesh.sql.calls import has_aggregate
from novamesh.sql.names import COLUMNS, VARIANTS, column_name
from novamesh.sql.paths import TEXT, TOGETHER, call, cast, is_step

SOURCE: Final = "source"
"""In the meta of a table of events and of every column that is one of its VARIANTs: which table it is."""

SHREDDED, PLAIN = "events_shredded", "events_plain"
_PREFIX: Final = "__nm_p"
_COUNT: Final = "__nm_n"
# What gives rows that are no single events, or an order of its own.
_CLAUSES: Final = "with_ joins laterals group having qualify windows distinct order limit offset".split()


class Extent(NamedTuple):
    """The events a query reads: the first so many rows of each table."""

    shredded: int
    plain: int


def apply(query: exp.Expr, extent: Extent | None = None, *, shredded_only: bool = False) -> None:
    """Move the paths of a rewritten tree down. With an ``extent`` it reads only the events within; ``shredded_only``:
    it leaves out the table of the events that are kept as JSON."""
    numbers: dict[int, Iterator[int]] = {}
    for table in list(query.find_all(exp.Table)):
        select = table.parent_select
        if not is_events(table) or select is None:
            continue
        if extent is None and not shredded_only and (counts := _counts_only(table, select)):
            table.replace(_counted(table))
            for count in counts:
                total = call("sum", exp.column(_quoted(_COUNT)))
                count.replace(cast(total, exp.DType.BIGINT, strict=True))
            continue
        is_fixed = _is_fixed(table, select)
        paths = {} if is_fixed else _paths(select, table.meta.get(SOURCE))
        columns: dict[str, exp.Expr] = {}
        place = numbers.setdefault(id(select), itertools.count())  # of each query: copies of one in GROUP BY stay alike
        for inside, nodes in paths.items():
            name = f"{_PREFIX}{next(place)}"
            columns[name] = inside
            for node in nodes:
                _replace(node, exp.column(_quoted(name), _quoted(table.alias_or_name)))
        _hide(select, table.alias_or_name, list(columns))
        needed = None if is_fixed else _needed(table, select)
        items = _items(needed, columns)
        if shredded_only and not columns:
            table.set("this", _quoted(SHREDDED))
        elif shredded_only:
            table.replace(_aliased(_select(items, _table(SHREDDED, table), None), table))
        elif columns or extent is not None or (needed is not None and any(map(_is_count, _calls(select)))):
            table.replace(_aliased(_tables(table, items, extent), table))


def is_events(node: exp.Expr) -> bool:
    """Whether this is the table of events, which the guard has put a schema before."""
    return isinstance(node, exp.Table) and node.name == "events" and bool(node.args.get("db"))


def gives_events_in_order(query: exp.Expr) -> bool:
    """Whether the rows are those of ``events``, in the order in which they are stored."""
    from_ = query.args.get("from_")
    if not isinstance(query, exp.Select) or from_ is None or any(query.args.get(clause) for clause in _CLAUSES):
        return False
    if not is_events(from_.this) or _is_changed(from_.this):
        return False
    if any(node.name.lower() == "unnest" for node in _calls(query)):
        return False
    return not any(has_aggregate(item) or item.find(exp.Window, exp.Subquery) for item in query.expressions)


def _counts_only(table: exp.Table, select: exp.Expr) -> list[exp.Expr]:
    """The ``count(*)`` of a query that asks for nothing else; none otherwise."""
    if any(select.args.get(clause) for clause in ("where", *_CLAUSES)) or select.find(exp.Window, exp.Filter):
        return []
    if _is_changed(table) or select.find(exp.Column):
        return []
    if any(query is not select for query in select.find_all(exp.Query)):
        return []
    counts = [node for node in _calls(select) if has_aggregate(node)]
    stars = [item for item in select.find_all(exp.Star) if not isinstance(item.parent, exp.Anonymous)]
    return counts if not stars and all(_is_count(node) for node in counts) else []


def _is_changed(table: exp.Expr) -> bool:
    """Whether the rows of the table are not the events, each once."""
    return any(table.args.get(name) for name in ("joins", "sample", "pivots"))


def _is_count(node: exp.Expr) -> bool:
    arguments = node.expressions
    name = node.name.lower()
    return name == "count" and (not arguments or (len(arguments) == 1 and type(arguments[0]) is exp.Star))


def _counted(table: exp.Table) -> exp.Subquery:
    """How many rows each table has, which DuckDB knows; through the view it reads them (5 M: 40 ms, and so 0.5)."""
    counts = [
        exp.Select(
            expressions=[exp.Alias(this=call("count", exp.Star()), alias=_quoted(_COUNT))],
            from_=exp.From(this=_table(name, table)),
        )
        for name in (SHREDDED, PLAIN)
    ]
    return _aliased(exp.Union(this=counts[0], expression=counts[1], distinct=False), table)


def _is_fixed(table: exp.Table, select: exp.Expr) -> bool:
    """Whether the query says something of the table that holds for its own columns alone."""
    described = any(value for name, value in table.args.items() if name not in ("this", "db", "alias"))
    renamed = bool(table.args["alias"].args.get("columns")) if table.args.get("alias") else False
    return described or renamed or select.find(exp.Columns) is not None


def _paths(select: exp.Expr, source: str | None) -> dict[exp.Expr, list[exp.Expr]]:
    """What is read of each path of one table, by how it is written over the table itself."""
    found: dict[exp.Expr, list[exp.Expr]] = {}
    for column in list(select.find_all(exp.Column)):
        if source is None or column.meta.get(SOURCE) != source:
            continue
        node = _whole(column)
        if node is not column:
            same = found.setdefault(_inside(node), [])
            if not any(node is other for other in same):
                same.append(node)
    return found


def _needed(table: exp.Table, select: exp.Expr) -> list[str] | None:
    """The columns of the table that a query names; None where that cannot be told, or one does not exist, of which the
    engine says more when it sees them all."""
    if any(not isinstance(star.parent, exp.Anonymous) for star in select.find_all(exp.Star)):
        return None
    joins = list(select.find_all(exp.Join))
    if any(join.args.get("method") for join in joins):  # NATURAL
        return None
    named = {name.name.lower() for join in joins for name in join.args.get("using") or []}
    alias, given = table.alias_or_name.lower(), {item.alias.lower() for item in select.expressions}
    for column in select.find_all(exp.Column):
        parts = [part.name.lower() for part in column.parts]
        if len(parts) > 1 and parts[0] != alias and parts[0] not in COLUMNS["events"]:
            continue  # of another table
        name = parts[1] if len(parts) > 1 and parts[0] == alias else parts[0]
        if name not in COLUMNS["events"] and name not in given and not name.startswith(_PREFIX):
            return None
        named.add(name)
    return [name for name in COLUMNS["events"] if name in named]


def _whole(column: exp.Column) -> exp.Expr:
    """The path that begins at a column, with the casts around it, but not those around a key: it may be grouped by."""
    pieces = [around for around in _around(column) if around.meta.get(TOGETHER)]
    if pieces:
        return pieces[-1]
    node: exp.Expr = column
    while True:
        parent = node.parent
        if parent is None or node.arg_key != "this" or node.meta.get(TEXT):
            return node
        if not isinstance(parent, exp.Cast) and not is_step(parent):
            return node
        if isinstance(parent, exp.Cast) and parent.to.this == exp.DType.VARIANT:
            return node
        node = parent


def _around(node: exp.Expr | None) -> Iterator[exp.Expr]:
    """A node and what it stands in, as far as its query."""
    while node is not None and not isinstance(node, exp.Query):
        yield node
        node = node.parent


def _inside(node: exp.Expr) -> exp.Expr:
    """A copy as it is written over the table itself, the same for every spelling of a path."""
    holder = exp.Paren(this=node.copy())
    for column in list(holder.find_all(exp.Column)):
        column.replace(exp.column(column.name.lower()))
    inside: exp.Expr = holder.this
    return inside


def _replace(node: exp.Expr, column: exp.Expr) -> None:
    if isinstance(node.parent, exp.Select) and node.arg_key == "expressions":
        column = exp.Alias(this=column, alias=_quoted(column_name(node)))
    node.replace(column)


def _hide(select: exp.Expr, alias: str, names: list[str]) -> None:
    """Keep the new columns out of ``*``."""
    if not names:
        return
    for item in select.expressions:
        if not item.is_star or isinstance(item, exp.Alias):
            continue
        star = item.this if isinstance(item, exp.Column) else item
        if not isinstance(item, exp.Column) or item.table.lower() == alias.lower():
            hidden = [*(star.args.get("except_") or []), *(exp.column(_quoted(name)) for name in names)]
            star.set("except_", hidden)


def _items(needed: list[str] | None, columns: dict[str, exp.Expr]) -> list[exp.Expr]:
    """What is read of each event: the columns that are ``needed``, or all, and what is read of paths."""
    items: list[exp.Expr] = [exp.Star()]
    if needed is not None:
        items = [exp.column(_quoted(name)) for name in needed or ([] if columns else ["timestamp"])]
    return items + [exp.Alias(this=value, alias=_quoted(name)) for name, value in columns.items()]


def _tables(table: exp.Table, items: list[exp.Expr], extent: Extent | None) -> exp.Query:
    """The events of both tables."""
    documents = [exp.alias_(cast(exp.column(name), exp.DType.VARIANT, strict=True), name) for name in VARIANTS]
    plain = _select([exp.Star(replace=documents)], _table(PLAIN, table), extent.plain if extent else None)
    return exp.Union(
        this=_select(items, _table(SHREDDED, table), extent.shredded if extent else None),
        expression=_select(items, exp.Subquery(this=plain), None),
        distinct=False,
    )


def _aliased(query: exp.Query, table: exp.Table) -> exp.Subquery:
    return exp.Subquery(this=query, alias=exp.TableAlias(this=_quoted(table.alias_or_name)))


def _calls(select: exp.Expr) -> list[exp.Expr]:
    return list(select.find_all(exp.Anonymous))


def _select(items: list[exp.Expr], source: exp.Expr, rows: int | None) -> exp.Select:
    select = exp.Select(expressions=[item.copy() for item in items], from_=exp.From(this=source))
    if rows is not None:
        within = exp.LT(this=exp.column("rowid"), expression=exp.Literal.number(rows))
        select.set("where", exp.Where(this=within))
    return select


def _table(name: str, table: exp.Table) -> exp.Table:
    return exp.Table(this=_quoted(name), db=table.args["db"].copy())


def _quoted(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)
