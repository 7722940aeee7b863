"""What a query groups by: ``GROUP BY``, ``DISTINCT``, and what a path is shown as in a query that does.

A path is grouped by its key, and shown as a value that was sent.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Final

from sqlglot import exp

from novamesh.sql.calls import has_aggregate
from novamesh.sql.columns import Columns
from novamesh.sql.compound import keyed
from novamesh.sql.hoist import SOURCE
from novamesh.sql.joins import Joins
from novamesh.sql.paths import Casts, Kind, boxed, call, stepped, unboxed
from novamesh.sql.scope import Scope
from novamesh.sql.types import Relied

_SETS: Final = (exp.Cube, exp.Rollup, exp.GroupingSets)


class Groups(Joins):
    """The groups of one query. ``grouped`` are the paths it groups by; ``keys_only``: it shows keys, no values."""

    def __init__(self, casts: Casts, relied: Relied, outer: "Scope | None") -> None:
        super().__init__(casts, relied, outer)
        self.grouped: set[tuple[str, ...]] = set()
        self.keys_only = False

    @abstractmethod
    def star(self, item: exp.Expr) -> Columns:
        """Visit a ``*``; the columns it stands for."""

    # -- GROUP BY -----------------------------------------------------------------------------------------------------

    def group(self, select: exp.Expr) -> None:
        group = select.args.get("group")
        if group is None:
            return
        self.aggregates += 1  # keys are made of the paths themselves
        if group.args.get("all"):
            self.group_by_all(select, group)
        else:
            self.keys_only = any(isinstance(key, _SETS) for key in group.expressions)
            for leaf in [leaf for key in group.expressions for leaf in _leaves(key)]:
                self.group_term(select, leaf)
        self.aggregates -= 1

    def group_by_all(self, select: exp.Expr, group: exp.Expr) -> None:
        """``GROUP BY ALL``, with the paths it groups by spelled out."""
        items = [item for item in select.expressions if not has_aggregate(item)]
        if any(item.is_star for item in items):
            for item in items:
                if item.is_star:
                    self.star(item)
                    self.key_star(item)
                    item.meta.pop("columns", None)
            self.keys_only = True
            for item in items:
                if not item.is_star:
                    self.note_group(item.unalias())
            return
        if not any(self.probe(item.unalias())[1].is_known for item in items):
            return
        group.set("all", None)
        places = {id(item): place for place, item in enumerate(select.expressions, 1)}
        group.set("expressions", [exp.Literal.number(places[id(item)]) for item in items])
        for key in list(group.expressions):
            self.group_term(select, key)

    def group_term(self, select: exp.Expr, key: exp.Expr) -> None:
        path = self.referenced(select, key)
        kind = self.kind_of(path)
        if kind.is_variant or kind.holds_variants:
            path = self.plain(exp.Paren(this=path.copy()).this)
            self.note_group(path)
            key.replace(self.group_key(path, self.kind_of(path)))
            return
        found, kind = self.probe(path)
        form = self.key(found, kind)
        if found != path or any(self.kind_of(part).is_variant for part in path.walk()):  # the same wherever it stands
            self.computed.setdefault(path.copy(), (form, keyed(kind)))
            key.replace(form.copy())

    def group_key(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        return self.key(node, kind) if self.keys_only else super().group_key(node, kind)

    def note_group(self, path: exp.Expr) -> None:
        if self.kind_of(path).holds_variants:
            self.grouped.add(self.identity(path))

    def referenced(self, select: exp.Expr, key: exp.Expr) -> exp.Expr:
        """What ``GROUP BY 2`` or ``GROUP BY alias`` stands for: an input column comes before an alias."""
        if isinstance(key, exp.Literal) and key.is_int:
            place = int(key.name) - 1
            return select.expressions[place].unalias() if 0 <= place < len(select.expressions) else key
        if isinstance(key, exp.Column) and not key.table and self.lookup(key.name) is None:
            return self.items.get(key.name.lower(), (key, Kind.OTHER))[0]
        return key

    # -- DISTINCT, and rows that are compared --------------------------------------------------------------------------

    def distinct_on(self, select: exp.Expr) -> None:
        on = select.args["distinct"].args.get("on") if select.args.get("distinct") is not None else None
        for key in list(on.expressions) if on is not None else []:
            found, kind = self.probe(self.referenced(select, key))
            if kind.holds_variants:
                key.replace(self.group_key(found, kind))
            else:
                self.visit(key)

    def distinct(self, select: exp.Expr) -> None:
        """``SELECT DISTINCT path`` compares keys and shows the value of one row each: ``DISTINCT ON (key) path``."""
        distinct = select.args.get("distinct")
        if distinct is None or distinct.args.get("on") is not None:
            return
        if any(item.is_star for item in select.expressions):
            self.key_items(select, [])
            return
        values = [(value, value.meta["kind"]) for value in (item.unalias() for item in select.expressions)]
        if any(kind.holds_variants for _, kind in values):
            keys = [
                self.qualified(self.group_key(value, kind))
                for value, kind in values
                if value.find(exp.Column, exp.Anonymous) is not None  # a constant makes no row distinct
            ]
            if self.is_group_of(select, values):  # DuckDB takes half as long for it
                select.set("distinct", None)
                select.set("group", exp.Group(expressions=keys))
            else:
                distinct.set("on", exp.Tuple(expressions=keys))
            for value, kind in values:
                if (shown := self.casts.shown(value, kind)) is not None:
                    named = isinstance(value, exp.Column) and value.parent is select
                    value.replace(exp.alias_(shown, value.name, quoted=True) if named else shown)

    def qualified(self, key: exp.Expr) -> exp.Expr:
        """A column with its table's name: in DISTINCT ON an alias comes before it."""
        if isinstance(key, exp.Column) and not key.table and key.name.lower() in self.items:
            owner = self.owner(key.name)
            if owner and not owner.startswith("?"):
                key.set("table", exp.to_identifier(owner, quoted=True))
        return key

    def is_group_of(self, select: exp.Expr, values: list[tuple[exp.Expr, Kind]]) -> bool:
        """Whether a ``SELECT DISTINCT`` is a GROUP BY of all its items: columns, and paths of one type each."""
        if any(select.args.get(clause) for clause in ("group", "having", "qualify", "windows")):
            return False
        order, names = select.args.get("order"), {item.alias_or_name.lower() for item in select.expressions}
        for column in order.find_all(exp.Column) if order is not None else ():
            if column.table or column.name.lower() not in names or SOURCE in column.meta:
                return False
        return all(
            (isinstance(value, exp.Column) and not kind.holds_variants)
            or (self.kind_of(value) == kind and self.casts.native(value, kind) is not None)
            for value, kind in values
        )

    def key_items(self, branch: exp.Expr, targets: list[Kind]) -> None:
        """Rows of a distinct set operation are compared: bare paths become what the other side is, or their keys."""
        while isinstance(branch, exp.Subquery):
            branch = branch.this
        if isinstance(branch, exp.SetOperation):
            self.key_items(branch.this, targets)
            self.key_items(branch.expression, targets)
        for place, item in enumerate(branch.expressions if isinstance(branch, exp.Select) else []):
            value = item.unalias()
            kind = value.meta.get("kind", Kind.OTHER)
            target = targets[place] if place < len(targets) else Kind.TEXT
            if kind.holds_variants:
                simple = kind.is_variant and target in (Kind.BOOL, Kind.NUMBER, Kind.TIME)
                new = self.casts.to(value, kind, target) if simple else self.key(value, kind)
                new.meta["kind"] = target if simple else keyed(kind)
                named = isinstance(value, exp.Column) and value is item
                item.replace(exp.alias_(new, value.name, quoted=True)) if named else value.replace(new)
            elif item.is_star and "columns" in item.meta:
                self.key_star(item)

    def key_star(self, star: exp.Expr) -> None:
        """``*`` as ``* REPLACE (key AS column)``."""
        replaced = list(star.args.get("replace") or [])
        for name, kind in star.meta["columns"].items():
            if kind.holds_variants and "\0" not in name:
                column = exp.column(exp.to_identifier(name, quoted=True))
                replaced.append(exp.Alias(this=self.key(column, kind), alias=exp.to_identifier(name, quoted=True)))
        star.set("replace", replaced or None)

    # -- paths ---------------------------------------------------------------------------------------------------------

    def path(self, node: exp.Expr, kind: Kind) -> Kind:
        node = self.plain(node)
        kind = self.kind_of(node)
        if self.aggregates or kind == Kind.KEY or not self.is_grouped(node):
            return kind
        if self.keys_only:
            node.replace(self.key(node, kind))
            return keyed(kind)
        if self.is_key(node) and (shown := self.casts.shown(node, kind)) is not None:
            node.replace(shown)
            return kind
        node.replace(unboxed(call("any_value", boxed(node.copy()))))
        return Kind.PATH if kind.is_variant else kind

    def is_key(self, node: exp.Expr) -> bool:
        return self.identity(node) in self.grouped

    def is_grouped(self, node: exp.Expr) -> bool:
        """Whether the query groups by this path, or by one it is a part of."""
        if not self.grouped:
            return False
        identity = self.identity(node)
        return any(identity[:steps] in self.grouped for steps in range(2, len(identity) + 1))

    def plain(self, node: exp.Expr) -> exp.Expr:
        """The path with its ``->`` as steps."""
        if isinstance(node, (exp.Dot, exp.Bracket, exp.Paren, exp.JSONExtract)):
            self.plain(node.this)
        if isinstance(node, exp.JSONExtract):
            steps = stepped(node.this.copy(), node.expression)
            if steps is not None:
                node.replace(steps)
                return steps
        return node


def _leaves(key: exp.Expr) -> Iterator[exp.Expr]:
    """The keys in a term of GROUP BY, be it a CUBE, a ROLLUP or GROUPING SETS."""
    if isinstance(key, (*_SETS, exp.Tuple)):
        for inner in list(key.expressions):
            yield from _leaves(inner)
    elif isinstance(key, exp.Paren):
        yield from _leaves(key.this)
    else:
        yield key
