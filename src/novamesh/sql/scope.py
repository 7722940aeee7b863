"""What a name means: which column of which table in FROM, of this query or one around it."""

from typing import Final

from sqlglot import exp

from novamesh.sql.calls import Calls
from novamesh.sql.columns import Columns
from novamesh.sql.hoist import SOURCE
from novamesh.sql.paths import Casts, Kind, is_step
from novamesh.sql.types import Relied

STEPS: Final = "steps"
"""In the meta of a column or a dot: how many of its last parts are steps into a VARIANT."""


class Scope(Calls):
    """The names of one query.

    ``sources`` are the columns of what is in FROM, by alias; ``tables`` those of them that are tables of events;
    ``items`` the aliases of its own result.
    """

    def __init__(self, casts: Casts, relied: Relied, outer: "Scope | None") -> None:
        super().__init__(casts)
        self.relied = relied
        self.outer = outer
        if outer is not None:
            self.work = outer.work
        self.sources: dict[str, Columns] = {}
        self.tables: dict[str, str] = {}
        self.items: dict[str, tuple[exp.Expr, Kind]] = {}

    def resolve(self, name: str, table: str = "") -> tuple[Kind, str | None] | None:
        """The kind of what a name means, and the table of events that it is a column of, if it is."""
        name, table = name.lower(), table.lower()
        if not table and (kind := self.parameter(name)) is not None:
            return kind, None
        for alias, columns in self.sources.items():
            if table in ("", alias) and name in columns:
                return columns[name], self.tables.get(alias)
        return self.outer.resolve(name, table) if self.outer is not None else None

    def parameter(self, name: str) -> Kind | None:
        """The kind of a parameter of the lambdas around."""
        return next((params[name] for params in reversed(self.lambdas) if name in params), None)

    def lookup(self, name: str, table: str = "") -> Kind | None:
        found = self.resolve(name, table)
        return found[0] if found is not None else None

    def is_source(self, name: str) -> bool:
        return name.lower() in self.sources or (self.outer is not None and self.outer.is_source(name))

    def column(self, column: exp.Column) -> tuple[list[str], Kind]:
        """A column's identity and kind: ``e.properties.page`` is a column of a table and a step."""
        parts = [part.name for part in column.parts]
        steps, kind = parts[1:], self.lookup(parts[0])
        if len(parts) > 1 and self.is_source(parts[0]):
            steps, kind = parts[2:], self.lookup(parts[1], parts[0])
        if kind is None and not column.table:
            kind = self.items.get(column.name.lower(), (None, Kind.OTHER))[1]
        below = 0
        for step in steps:
            below += (kind or Kind.OTHER).has_steps
            kind = (kind or Kind.OTHER).step(step)
        column.meta[STEPS] = below
        table = parts[0].lower() if len(parts) - len(steps) == 2 else self.owner(parts[0])
        return [table, parts[len(parts) - len(steps) - 1].lower(), *steps], kind or Kind.OTHER

    def mark(self, column: exp.Column) -> None:
        """Note of which table of events a path is, for ``hoist.py``."""
        first = column.parts[0].name
        qualified = len(column.parts) > 1 and self.is_source(first)
        found = self.resolve(column.parts[qualified].name, first if qualified else "")
        if found is not None and found[1] is not None:
            column.meta[SOURCE] = found[1]

    def owner(self, name: str) -> str:
        return next((alias for alias, columns in self.sources.items() if name.lower() in columns), "")

    def kind_of(self, node: exp.Expr) -> Kind:
        """The kind of a path, or OTHER, without changing anything."""
        if isinstance(node, exp.Column):
            kind = self.column(node)[1]
            if kind.holds_variants:
                self.mark(node)
            return self.known(node, kind)
        if isinstance(node, exp.Identifier):  # in the body of a lambda a parameter is no column
            return self.parameter(node.name.lower()) or Kind.OTHER
        if isinstance(node, exp.Paren):
            return self.kind_of(node.this)
        if isinstance(node, exp.Dot) or is_step(node):
            key = node.expression if isinstance(node, exp.Dot) else node.expressions[0]
            kind = self.kind_of(node.this)
            node.meta[STEPS] = int(kind.has_steps)
            return self.known(node, kind.step(key.name))
        if isinstance(node, exp.JSONExtract) and not isinstance(node, exp.JSONExtractScalar):
            steps = isinstance(node.expression, exp.Literal)
            return Kind.PATH if steps and self.kind_of(node.this).has_steps else Kind.OTHER
        return Kind.OTHER

    def known(self, node: exp.Expr, kind: Kind) -> Kind:
        """The kind of a path by what is known of its values."""
        steps = self.steps(node) if kind == Kind.PATH else []
        return self.relied.kind(steps) if steps else kind

    def steps(self, node: exp.Expr) -> list[str]:
        """The column of a path over the table of events and the keys below; nothing if it steps into a list."""
        if isinstance(node, exp.Column):
            return self.column(node)[0][1:] if SOURCE in node.meta else []
        key = node.expression if isinstance(node, exp.Dot) else node.expressions[0] if is_step(node) else None
        below = self.steps(node.this) if isinstance(key, exp.Identifier) or (key is not None and key.is_string) else []
        return [*below, key.name] if below and key is not None else []

    def identity(self, node: exp.Expr) -> tuple[str, ...]:
        """The same for two spellings of one path: ``properties.page``, ``e.properties['page']``."""
        if isinstance(node, exp.Column):
            return tuple(self.column(node)[0])
        if isinstance(node, exp.Identifier):
            return (node.name,)
        if isinstance(node, exp.Dot):
            return (*self.identity(node.this), node.expression.name)
        if isinstance(node, exp.Bracket):
            return (*self.identity(node.this), *(key.sql() if key.is_int else key.name for key in node.expressions))
        if isinstance(node, exp.JSONExtract):
            return (*self.identity(node.this), node.expression.name)
        return self.identity(node.this)


def bracketed(query: exp.Expr) -> None:
    """Write the steps of all paths as ``['key']``: DuckDB compares names without their case, so that ``p.plan`` and
    ``p.Plan`` are one expression to its GROUP BY."""
    for node in list(query.find_all(exp.Column, exp.Dot)):
        steps = node.meta.get(STEPS)
        if not steps:
            continue
        path: exp.Expr = node.this
        keys: list[exp.Expr] = [node.expression]
        if isinstance(node, exp.Column):
            name, *table = node.parts[-steps - 1 :: -1]
            path, keys = exp.Column(this=name, table=next(iter(table), None)), node.parts[-steps:]
            path.meta.update(node.meta)
        for key in keys:
            path = exp.Bracket(this=path, expressions=[exp.Literal.string(key.name)])
        path.meta.update(node.meta)
        if isinstance(node.parent, exp.Select) and node.arg_key == "expressions":  # it keeps its name
            path = exp.Alias(this=path, alias=exp.to_identifier(keys[-1].name, quoted=True))
        node.replace(path)
