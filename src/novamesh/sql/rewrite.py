"""Makes property paths give right answers without casts. What a path becomes, and why: ``paths.py``.

One pass over the tree, inside out: every query reports the names and kinds of its columns to the query around it, so a
path keeps being one through WITH queries and subqueries. Order: ``ORDER BY properties.x``, ``min`` and ``max`` go by
numbers by value, then text; NULL where NULL goes. A path that is only selected stays as it is, and one that is selected
and grouped by comes back as the value it was sent as, not as the text it was grouped by.
"""

from typing import Final

from sqlglot import exp

from novamesh.sql import names
from novamesh.sql.calls import CALLS_AND_OPERATORS, has_aggregate
from novamesh.sql.columns import UNALIGNED, Columns, add, renamed, stacked, united
from novamesh.sql.compound import keyed, marked, spelled, spread, within
from novamesh.sql.groups import Groups
from novamesh.sql.hoist import SOURCE, is_events
from novamesh.sql.paths import Casts, Kind
from novamesh.sql.scope import bracketed
from novamesh.sql.types import NO_TYPES, PathTypes, Relied

_KINDS: Final = {"VARCHAR": Kind.TEXT, "TIMESTAMP": Kind.TIME, "VARIANT": Kind.DOCUMENT, "BIGINT": Kind.NUMBER}
_TABLES: Final[dict[str, Columns]] = {
    table: {name: _KINDS.get(kind, Kind.OTHER) for name, kind in columns.items()}
    for table, columns in names.TYPES.items()
}


def apply(query: exp.Expr, *, careful: bool = False, types: PathTypes = NO_TYPES) -> dict[str, str]:
    """Rewrite the paths in a checked tree whose tables have their schema; of which paths which types were relied on."""
    relied = Relied(types)
    _Query(Casts(careful=careful), relied, {}, None).run(query)
    bracketed(query)
    return relied.types


class _Query(Groups):
    """One query: what its FROM offers, and what its rows are."""

    handlers = CALLS_AND_OPERATORS

    def __init__(self, casts: Casts, relied: Relied, ctes: dict[str, Columns], outer: "_Query | None") -> None:
        super().__init__(casts, relied, outer)
        self.ctes = ctes
        self.merges = False

    # -- queries ----------------------------------------------------------------------------------------------------

    def run(self, query: exp.Expr) -> Columns:
        """Rewrite a query; the names and kinds of its columns, in order."""
        self.with_queries(query)
        if isinstance(query, exp.Subquery):
            return self.inner(query.this)
        if isinstance(query, exp.SetOperation):
            return self.set_operation(query)
        if isinstance(query, exp.Values):
            return self.values(query)
        return self.select(query)

    def inner(self, query: exp.Expr) -> Columns:
        return _Query(self.casts, self.relied, dict(self.ctes), self).run(query)

    def with_queries(self, query: exp.Expr) -> None:
        with_ = query.args.get("with_")
        if with_ is None:
            return
        for cte in with_.expressions:
            name = cte.alias.lower()
            if with_.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                left = cte.this.this
                known = _Query(self.casts, self.relied, dict(self.ctes), self).run(left.copy())
                self.ctes[name] = renamed(known, cte.args.get("alias"))
            self.ctes[name] = renamed(self.inner(cte.this), cte.args.get("alias"))

    def set_operation(self, query: exp.SetOperation) -> Columns:
        left, right = self.inner(query.this), self.inner(query.expression)
        pairs = list(zip(left.values(), right.values(), strict=False))
        kinds = [one if not one.is_variant else other for one, other in pairs]
        merged = dict(zip(left, kinds, strict=False)) if len(kinds) == len(left) else dict(left)
        if query.args.get("distinct") is not False or not isinstance(query, exp.Union):
            for branch in (query.this, query.expression):
                self.key_items(branch, kinds)
            merged = {name: keyed(kind) for name, kind in merged.items()}
        else:
            merged.update({name: united(*pair) for name, pair in zip(left, pairs, strict=False)})
        self.sources = {"": merged}
        self.order(query.args.get("order"), leftmost(query))
        return merged

    def values(self, query: exp.Values) -> Columns:
        kinds = [[self.visit(cell) for cell in row.expressions] for row in query.find_all(exp.Tuple)]
        return {f"col{place}": stacked(cells) for place, cells in enumerate(zip(*kinds, strict=False))}

    def select(self, select: exp.Expr) -> Columns:
        self.from_(select)
        self.items = {item.alias.lower(): (item.this, Kind.OTHER) for item in select.expressions if item.alias}
        for name, (value, _) in list(self.items.items()):
            self.items[name] = (value, self.kind_of(value))
        self.distinct_on(select)
        self.spell_aliases(select)
        self.group(select)
        columns = self.select_items(select)
        if select.args.get("where") is not None:  # after the items: DuckDB lets WHERE use their aliases
            self.aggregates += 1
            self.condition(select.args["where"].this)
            self.aggregates -= 1
        for clause in ("having", "qualify"):
            if select.args.get(clause) is not None:
                self.condition(select.args[clause].this)
        for window in select.args.get("windows") or []:
            self.window_parts(window)
        self.order(select.args.get("order"), select)
        self.distinct(select)
        return columns

    def spell_aliases(self, select: exp.Expr) -> None:
        """DuckDB lets WHERE use aliases, but there they mean what is read, not what a group shows."""
        where = select.args.get("where") if select.args.get("group") is not None else None
        for column in list(where.find_all(exp.Column)) if where is not None else []:
            value = self.items.get(column.name.lower(), (None, Kind.OTHER))[0]
            mine = not column.table and column.parent_select is select and self.lookup(column.name) is None
            if mine and value is not None and not has_aggregate(value):
                column.replace(exp.Paren(this=value.copy()))

    # -- FROM -------------------------------------------------------------------------------------------------------

    def from_(self, select: exp.Expr) -> None:
        from_ = select.args.get("from_")
        if from_ is not None:
            self.source(from_.this)
        for join in select.args.get("joins") or []:
            self.join(join)

    def join(self, join: exp.Expr) -> None:
        self.merges |= bool(join.args.get("using") or join.args.get("method") or join.args.get("kind"))
        before = set(self.sources)
        self.source(join.this)
        self.share(join, before)
        if join.args.get("on") is not None:
            self.condition(join.args["on"])

    def source(self, source: exp.Expr) -> None:
        columns = self.source_columns(source.this if isinstance(source, exp.Lateral) else source)
        alias, name = source.args.get("alias"), source.alias_or_name.lower() or f"?{len(self.sources)}"
        self.sources[name], self.nodes[name] = renamed(columns, alias), source
        if is_events(source) and not (alias is not None and alias.args.get("columns")):
            source.meta[SOURCE] = self.tables[source.alias_or_name.lower()] = str(id(source))
        for join in source.args.get("joins") or []:
            self.join(join)

    def source_columns(self, source: exp.Expr) -> Columns:
        if isinstance(source, exp.Table) and not isinstance(source.this, exp.Anonymous):
            if source.args.get("db"):
                return dict(_TABLES[source.name])
            return dict(self.ctes.get(source.name.lower(), {}))
        if isinstance(source, exp.Table):
            return self.source_columns(source.this)
        if isinstance(source, exp.Anonymous):
            kind = self.visit(source)
            return {source.name.lower(): Kind.NUMBER if kind in (Kind.LIST, Kind.OTHER) else kind}
        if isinstance(source, exp.Subquery) and (isinstance(source.this, exp.Table) or source.this.args.get("joins")):
            self.source(source.this)
            return {}
        if isinstance(source, (exp.Subquery, exp.Values)):
            return self.inner(source)
        return {}

    # -- SELECT, ORDER BY ---------------------------------------------------------------------------------------------

    def select_items(self, select: exp.Expr) -> Columns:
        columns: Columns = {}
        for place, item in enumerate(select.expressions):
            if item.is_star and not isinstance(item, exp.Alias):
                for name, kind in self.star(item).items():
                    add(columns, name, kind)
                continue
            name = item.name if isinstance(item, exp.Column) else ""
            kind = self.visit(item.unalias())
            value = item.unalias() if isinstance(item, exp.Alias) else select.expressions[place]
            if self.is_result(select) and kind == Kind.TEXT:
                value = self.spelled(value)
            value.meta["kind"] = kind
            if name and not isinstance(value, exp.Column):  # a grouped path with a plain name keeps it
                item = exp.Alias(alias=exp.to_identifier(name, quoted=True))
                value.replace(item)
                item.set("this", value)
            if item.alias:
                self.items[item.alias.lower()] = (value, kind)
            add(columns, (item.alias or names.column_name(value)).lower(), kind)
            if names.is_star(item):
                add(columns, UNALIGNED, Kind.OTHER)
        return columns

    def is_result(self, select: exp.Expr) -> bool:
        """Whether the rows are those of the result, as they are read."""
        return select.parent is None and select.args.get("group") is None and select.args.get("distinct") is None

    def spelled(self, value: exp.Expr) -> exp.Expr:
        """``properties ->> 'cart'``, ``properties.cart::VARCHAR``: JSON text, as in PostgreSQL."""
        text = value.unnest()
        kind = self.kind_of(text.this) if type(text) is exp.Cast else Kind.OTHER
        if not kind.has_steps or self.casts.native(text.this, kind) is not None:
            return value
        new = spelled(text, self.casts.json(text.this))
        text.replace(new)
        return new if text is value else value

    def star(self, item: exp.Expr) -> Columns:
        star = item.this if isinstance(item, exp.Column) else item
        replaced = {new.alias.lower(): self.visit(new.unalias()) for new in star.args.get("replace") or []}
        gone = {name.name.lower() for name in star.args.get("except_") or []}
        table = item.table.lower() if isinstance(item, exp.Column) else ""
        found: Columns = {}
        for name, columns in self.sources.items():
            for column, kind in columns.items() if table in ("", name) else ():
                if column not in gone:
                    add(found, column, replaced.get(column, kind))
            if not columns:
                add(found, UNALIGNED, Kind.OTHER)
        if self.merges or any(star.args.get(change) for change in ("except_", "rename", "ilike")):
            add(found, UNALIGNED, Kind.OTHER)
        if not table:
            item.meta["columns"] = found
        return found

    def order(self, order: exp.Expr | None, select: exp.Expr | None = None) -> None:
        if order is None:
            return
        if select is not None and len(order.expressions) == 1 and order.expressions[0].this.name.upper() == "ALL":
            self.order_by_all(order, select)
        order.set("expressions", spread(order.expressions))
        for ordered in order.expressions:
            self.ordered(ordered, select)

    def order_by_all(self, order: exp.Expr, select: exp.Expr) -> None:
        variant = any(item.unalias().meta.get("kind", Kind.OTHER).is_variant for item in select.expressions)
        if (
            not isinstance(order.expressions[0].this, exp.Var)
            or not variant
            or any(i.is_star for i in select.expressions)
        ):
            return
        places = range(1, len(select.expressions) + 1)
        args = {name: order.expressions[0].args.get(name) for name in ("desc", "nulls_first")}
        order.set("expressions", [exp.Ordered(this=exp.Literal.number(place), **args) for place in places])

    def ordered(self, ordered: exp.Expr, select: exp.Expr | None) -> None:
        """One term of ORDER BY."""
        kind = self.order_kind(ordered.this, select)
        if kind.is_variant:
            value = self.shown(ordered.this, select)
            ordered.set("this", within(value, lambda inner: self.casts.order(marked(inner, kind), kind)))

    def order_kind(self, key: exp.Expr, select: exp.Expr | None) -> Kind:
        """The kind of a term; in ORDER BY an alias comes before an input column."""
        if isinstance(key, exp.Literal) and key.is_int and select is not None:
            place = int(key.name) - 1
            inside = 0 <= place < len(select.expressions)
            kind = select.expressions[place].unalias().meta.get("kind") if inside else None
            return kind or Kind.OTHER
        if select is not None and isinstance(key, exp.Column) and not key.table and key.name.lower() in self.items:
            return self.items[key.name.lower()][1]
        return self.visit(key)

    def shown(self, key: exp.Expr, select: exp.Expr | None) -> exp.Expr:
        """What to order by, where the term names a result column. In an expression an input column hides an alias."""
        found: exp.Expr = key
        if isinstance(key, exp.Literal) and select is not None:
            item = select.expressions[int(key.name) - 1]
            hidden = bool(self.items) and self.lookup(item.alias) is not None
            if item.alias and not hidden and self.has_alias(item.unalias()):
                return exp.column(exp.to_identifier(item.alias, quoted=True))
            found = item.unalias()
        elif isinstance(key, exp.Column) and not key.table:
            value = self.items.get(key.name.lower(), (key, Kind.OTHER))[0]
            if self.lookup(key.name) is not None or not self.has_alias(value):
                found = value
        return found.copy()

    def has_alias(self, value: exp.Expr) -> bool:
        """Whether DuckDB takes the alias of a value in an expression: not of a query, unless it is grouped by."""
        return value.find(exp.Subquery) is None or any(value == key for key, _ in self.computed.values())

    # -- paths --------------------------------------------------------------------------------------------------------

    def subquery(self, query: exp.Expr) -> Kind:
        return next(iter(self.query_kinds(query)), Kind.OTHER)

    def query_kinds(self, query: exp.Expr) -> list[Kind]:
        while isinstance(query, (exp.Exists, exp.Any, exp.All)):
            query = query.this
        if not isinstance(query, (exp.Query, exp.Values)):
            return [self.visit(query)]
        return list(self.inner(query).values())


def leftmost(query: exp.Expr) -> exp.Expr:
    """The SELECT whose columns name the result of a set operation."""
    while isinstance(query, (exp.SetOperation, exp.Subquery)):
        query = query.this
    return query
