"""Joins that compare columns by their names alone, where those are paths: USING and NATURAL.

``a JOIN b USING (k)`` compares VARIANTs by their types, and there is no place for a cast in it. So each side gets the
key in place of the column, ``(SELECT * REPLACE (key AS k) FROM a) AS a``: the columns of the result stay as they are.
"""

from typing import Final

from sqlglot import exp

from novamesh.errors import QueryNotAllowed
from novamesh.sql.compound import keyed, marked
from novamesh.sql.paths import Casts, Kind
from novamesh.sql.scope import Scope
from novamesh.sql.types import Relied

_PLAIN: Final = (Kind.BOOL, Kind.NUMBER, Kind.TIME)


class Joins(Scope):
    """The joins of one query. ``nodes`` are what is in FROM, by alias."""

    def __init__(self, casts: Casts, relied: Relied, outer: "Scope | None") -> None:
        super().__init__(casts, relied, outer)
        self.nodes: dict[str, exp.Expr] = {}

    def share(self, join: exp.Expr, before: set[str]) -> None:
        """Make what the join compares comparable; ``before`` is what was in FROM before it."""
        names = [column.name.lower() for column in join.args.get("using") or []]
        if str(join.args.get("method")).upper() == "NATURAL":
            old = {name for alias in before for name in self.sources[alias]}
            new = [name for alias in self.sources if alias not in before for name in self.sources[alias]]
            names = [name for name in new if name in old and "\0" not in name]
        for name in names:
            kinds = {other: columns[name] for other, columns in self.sources.items() if name in columns}
            if not any(kind.is_variant or kind.holds_variants for kind in kinds.values()):
                continue
            if str(join.args.get("method")).upper() == "ASOF" and name == names[-1]:
                raise QueryNotAllowed(_refusal(name))
            self.share_column(name, kinds)

    def share_column(self, name: str, kinds: dict[str, Kind]) -> None:
        """One column: as what the others are, or as keys. A key is compared with text as it is."""
        others = {kind for kind in kinds.values() if not kind.is_variant and kind != Kind.NULL}
        target = others.pop() if len(others) == 1 and others <= set(_PLAIN) else Kind.KEY
        for alias, kind in kinds.items():
            if kind.holds_variants or (kind == Kind.KEY and target != Kind.KEY):
                column = marked(exp.column(exp.to_identifier(name, quoted=True)), kind)
                as_key = target == Kind.KEY
                value = self.key(column, kind) if as_key else self.casts.to(column, kind, target)
                self.put(alias, name, value)
                self.sources[alias][name] = keyed(kind) if as_key else target

    def put(self, alias: str, name: str, value: exp.Expr) -> None:
        """Put a value in place of a column of a query in FROM."""
        node = self.nodes.get(alias)
        if node is None or alias in self.tables or not _is_query(node):
            raise QueryNotAllowed(_refusal(name))
        replaced = exp.Alias(this=value, alias=exp.to_identifier(name, quoted=True))
        inner = node.copy()
        inner.set("joins", None)
        around = exp.Select(expressions=[exp.Star(replace=[replaced])], from_=exp.From(this=inner))
        new = exp.Subquery(this=around, joins=node.args.get("joins"))
        if node.alias_or_name:
            new.set("alias", exp.TableAlias(this=exp.to_identifier(node.alias_or_name, quoted=True)))
        node.replace(new)
        self.nodes[alias] = new


def _is_query(node: exp.Expr) -> bool:
    """Whether this is a query in brackets or a WITH query."""
    if isinstance(node, exp.Subquery):
        return isinstance(node.this, exp.Query)
    return isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier)


def _refusal(name: str) -> str:
    return f"Joining by the name of {name} alone is not possible, it holds values of any type; write ON a.k = b.k"
