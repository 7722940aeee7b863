"""What is made of paths, rows, structs, lists and maps, and what stands for values when they are compared.

DuckDB compares VARIANTs by their types, in rows, structs and lists too. :class:`Compounds` makes keys of them: text
that is the same for equal values, and still counts as a number where a number is asked for (``Kind.KEY``).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Final

from sqlglot import exp

from novamesh.sql.operands import Handler, Operands
from novamesh.sql.paths import TEXT, TOGETHER, Casts, Kind, call, list_of, named, null_with, once

_PLAIN: Final = Casts(careful=False)
_LISTS: Final = frozenset("array_value list_pack list_value".split())
_ELEMENT: Final = "__nm_x"


class Compounds(Operands):
    """Operands that are made of paths."""

    @abstractmethod
    def query_kinds(self, query: exp.Expr) -> list[Kind]:
        """Visit a query in an expression; the kinds of its columns."""

    # -- keys -------------------------------------------------------------------------------------------------------

    def key(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """What equal values have in common."""
        if not kind.holds_variants:
            return node.copy()
        if not kind.is_variant:
            return self.parts(node, kind, self.key)
        return marked(within(node, lambda value: self.casts.key(value, kind)), Kind.KEY)

    def group_key(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """What equal values of this one node have in common, and cheap where a path has had values of one type."""
        return self.casts.native(node, kind) or self.key(node, kind)

    def textual(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """The same of any value, to compare a key with."""
        if kind.holds_variants and kind.is_variant:
            return self.key(node, kind)
        if kind in (Kind.NULL, Kind.KEY, Kind.KEYS):
            return node.copy()
        if kind.is_list or kind.fields or cells(node):
            return self.parts(node, kind, self.textual)
        return _literal_key(node) or _PLAIN.key(node, kind if kind in (Kind.NUMBER, Kind.TEXT) else Kind.PARAMETER)

    def parts(self, node: exp.Expr, kind: Kind, form: Callable[[exp.Expr, Kind], exp.Expr]) -> exp.Expr:
        """A row, struct or list with each part in another form."""
        if cells(node):
            copy = node.copy()
            for cell, part in zip(cells(copy), self.cell_kinds(node, kind), strict=True):
                cell.replace(form(cell, part))
            return copy
        if kind.is_list:
            if kind.fields:
                return each(node.copy(), lambda element: form(marked(element, kind.element), kind.element))
            if kind == Kind.ELEMENTS:
                return each(self.casts.elements(node), self.casts.key)
            return each(node.copy(), lambda element: _PLAIN.key(element, Kind.PARAMETER))
        if kind.name == "MAP":
            return self.map_parts(node, kind.element, form)
        return once(node, lambda struct: _rebuilt(struct, kind, form))

    def map_parts(self, node: exp.Expr, value: Kind, form: Callable[[exp.Expr, Kind], exp.Expr]) -> exp.Expr:
        """A map with each value in another form; its keys are text already."""

        def entry(pair: exp.Expr) -> exp.Expr:
            changed = form(marked(_part(pair, "value", 0), value), value)
            return call("row", _part(pair, "key", 0), changed)

        return call("map_from_entries", each(call("map_entries", node.copy()), entry))

    def cell_kinds(self, node: exp.Expr, kind: Kind) -> list[Kind]:
        found = cells(node)
        if len(kind.fields) == len(found) and not kind.is_list:
            return [part for _, part in kind.fields]
        return [kind.element if kind.element != Kind.OTHER else self.probe(cell)[1] for cell in found]

    def element_texts(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """A list, or a path that is one, as texts."""
        if self.casts.careful and kind.holds_variants:
            return each(self.casts.elements(node), self.casts.text)
        return exp.TryCast(this=node.copy(), to=list_of(exp.DType.TEXT))

    def place(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """What to order by, in a single value."""
        if kind.is_variant:
            return self.casts.order(node, kind)
        return self.parts(node, kind, self.place) if kind.holds_variants or kind.holds_keys else node.copy()

    # -- comparing ----------------------------------------------------------------------------------------------------

    def compare(self, sides: list[exp.Expr], kinds: list[Kind], *, ordered: bool) -> None:
        """Rows, structs and lists part by part where the parts can be seen, else by their keys."""
        sides = [
            _columns(side, 1)[0] if isinstance(side, exp.Subquery) and kind.is_variant else side
            for side, kind in zip(sides, kinds, strict=True)
        ]
        lists = any(kind.is_list for kind in kinds)
        paths = any(kind.is_variant for kind in kinds)
        if not any(kind.holds_variants and not kind.is_variant for kind in kinds) and not (lists and paths):
            super().compare(sides, kinds, ordered=ordered)
            return
        pairs = [cells(side) for side in sides]
        if len(sides) == 2 and pairs[0] and len(pairs[0]) == len(pairs[1]):
            parts = [self.cell_kinds(side, kind) for side, kind in zip(sides, kinds, strict=True)]
            for place, pair in enumerate(zip(*pairs, strict=True)):
                self.compare(list(pair), [parts[0][place], parts[1][place]], ordered=ordered)
            return
        for side, kind in zip(sides, kinds, strict=True):
            side.replace(self.textual(side, Kind.ELEMENTS if kind.is_variant and lists else kind))

    def compare_with_query(self, node: exp.Expr, query: exp.Expr) -> Kind:
        """``path IN (SELECT …)``, ``(path, path) IN (SELECT …)``."""
        row = list(node.this.expressions) if isinstance(node.this, exp.Tuple) else [node.this]
        left = [self.visit(cell) for cell in row]
        row = list(node.this.expressions) if isinstance(node.this, exp.Tuple) else [node.this]
        right = self.query_kinds(query)[: len(row)]
        if len(row) == len(right) and any(kind.is_variant or kind.holds_variants for kind in (*left, *right)):
            columns = [marked(column, kind) for column, kind in zip(_columns(query, len(row)), right, strict=True)]
            for one, other, *kinds in zip(row, columns, left, right, strict=True):
                self.compare([one, other], kinds, ordered=isinstance(node, (exp.GT, exp.GTE, exp.LT, exp.LTE)))
        return Kind.BOOL

    # -- what makes them ----------------------------------------------------------------------------------------------

    def visit_struct(self, node: exp.Expr) -> Kind:
        fields: list[tuple[str, Kind]] = []
        for part in list(node.expressions):
            is_named = isinstance(part, (exp.PropertyEQ, exp.Kwarg))
            fields.append((part.this.name if is_named else "", self.visit(part.expression if is_named else part)))
        return Kind("STRUCT", tuple(fields)) if any(kind.is_known for _, kind in fields) else Kind.OTHER

    def visit_map(self, node: exp.Expr) -> Kind:
        """``MAP {path: value}``, and with a look into it, ``MAP {path: value}[path]``."""
        struct = node.this.this if isinstance(node.this, exp.Bracket) else node.this
        if not isinstance(struct, exp.Struct):
            self.visit_all(node.iter_expressions())
            return Kind.OTHER
        values: list[Kind] = []
        for entry in list(struct.expressions):
            kind = self.visit(entry.this)
            entry.this.replace(self.key(entry.this, kind))
            values.append(self.visit(entry.expression))
        value = self.alike([entry.expression for entry in struct.expressions], values)
        for sought in list(node.this.expressions) if struct is not node.this else []:
            sought.replace(self.key(sought, self.visit(sought)))
        return value if struct is not node.this else Kind("MAP", (("", value),))

    def visit_dot(self, node: exp.Expr) -> Kind:
        """A step into something that is no column."""
        return self.visit(node.this).step(node.expression.name)


COMPOUNDS: Final[tuple[Handler, ...]] = (
    ((exp.Tuple, exp.Struct), Compounds.visit_struct),
    ((exp.ToMap,), Compounds.visit_map),
    ((exp.Dot,), Compounds.visit_dot),
)


def keyed(kind: Kind) -> Kind:
    """The kind of a key."""
    if kind.is_variant:
        return Kind.KEY
    if kind == Kind.ELEMENTS:
        return Kind.KEYS
    return Kind(kind.name, tuple((name, keyed(part)) for name, part in kind.fields))


def marked(node: exp.Expr, kind: Kind) -> exp.Expr:
    """The node, for the casts to know whether it is a key, which is text."""
    node.meta[TEXT] = kind == Kind.KEY
    return node


def listed(kind: Kind) -> Kind:
    """The kind of a list of these."""
    if kind == Kind.KEY:
        return Kind.KEYS
    if kind.is_variant:
        return Kind.ELEMENTS
    return Kind("LIST", (("", kind),)) if kind.is_known else Kind.LIST


def each(values: exp.Expr, form: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """A list with each element in another form."""
    element = exp.to_identifier(_ELEMENT)
    return call("list_transform", values, exp.Lambda(this=form(element), expressions=[element.copy()]))


def within(node: exp.Expr, form: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """A value in another form, that of a query in an expression inside of it: a form may name its value ten times."""
    if not isinstance(node, exp.Subquery):
        return form(node)
    copy = node.copy()
    column = _columns(copy, 1)[0]
    column.replace(form(column))
    return copy


def cells(node: exp.Expr) -> list[exp.Expr]:
    """The parts of a row, struct or list that is written out; none of anything else."""
    while isinstance(node, exp.Paren):
        node = node.this
    name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
    if not isinstance(node, (exp.Tuple, exp.Struct, exp.Array)) and name not in _LISTS | {"row", "struct_pack"}:
        return []
    if any(isinstance(part, exp.Comprehension) for part in node.expressions):
        return []
    return [part.expression if isinstance(part, (exp.PropertyEQ, exp.Kwarg)) else part for part in node.expressions]


def spelled(text: exp.Expr, json: exp.Expr) -> exp.Expr:
    """The text of a path, as JSON where the value is a list or an object, which DuckDB spells in its own way.

    JSON is 20 times as slow to read, so it is only read where the text looks like it (2 M short texts: 13.5 ms; 9.5 as
    text alone, 180 as JSON alone).
    """
    starts = call("left", text.copy(), exp.Literal.number(1))
    nested = exp.In(this=starts, expressions=[exp.Literal.string("{"), exp.Literal.string("[")])
    written = call("json_extract_string", json, exp.Literal.string("$"))
    case = exp.Case(ifs=[exp.If(this=nested, true=written)], default=text.copy())
    case.meta[TOGETHER] = True
    return case


def spread(terms: Iterable[exp.Expr]) -> list[exp.Expr]:
    """The terms of an ORDER BY, with those that are rows as one for each part."""
    found: list[exp.Expr] = []
    for ordered in terms:
        if not isinstance(ordered.this, exp.Tuple):
            found.append(ordered)
            continue
        for cell in ordered.this.expressions:
            term = ordered.copy()
            term.set("this", cell.copy())
            found.append(term)
    return found


def _rebuilt(struct: exp.Expr, kind: Kind, form: Callable[[exp.Expr, Kind], exp.Expr]) -> exp.Expr:
    """A struct or row with each part in another form."""
    parts = [
        (name, form(marked(_part(struct, name, place), part), part))
        for place, (name, part) in enumerate(kind.fields, 1)
    ]
    if kind.fields[0][0]:
        rebuilt = call("struct_pack", *(_named(name, part) for name, part in parts))
    else:
        rebuilt = call("row", *(part for _, part in parts))
    return null_with(struct, rebuilt)


def _part(node: exp.Expr, name: str, place: int) -> exp.Expr:
    if name:
        return call("struct_extract", node.copy(), exp.Literal.string(name))
    return call("struct_extract_at", node.copy(), exp.Literal.number(place))


def _named(name: str, value: exp.Expr) -> exp.Expr:
    pair = named(name, value)
    pair.this.set("quoted", True)
    return pair


def _literal_key(node: exp.Expr) -> exp.Expr | None:
    """The key of a literal, worked out here."""
    value = node.this if isinstance(node, exp.Neg) else node
    if not isinstance(value, exp.Literal):
        return None
    if value.is_string:
        return node.copy()
    text = value.name
    if not text.isdecimal():
        text = repr(float(text))
    text = f"-{text}" if value is not node else text
    whole = text.removesuffix(".0")
    return exp.Literal.string(whole if whole.removeprefix("-").isdecimal() else text)


def _columns(query: exp.Expr, width: int) -> list[exp.Expr]:
    """The columns of a query in an expression, where a cast can be put around them."""
    inner = query
    while isinstance(inner, (exp.Any, exp.All, exp.Subquery)):
        inner = inner.this
    items: list[exp.Expr] = inner.expressions if isinstance(inner, exp.Select) else []
    simple = not inner.args.get("order") and not any(
        item.is_star or item.find(exp.Anonymous, exp.Case, exp.Subquery) for item in items
    )
    if len(items) == width and simple:
        return [item.unalias() for item in items]
    names = [exp.to_identifier(f"__nm_{place}", quoted=True) for place in range(width)]
    alias = exp.TableAlias(this=exp.to_identifier("__nm_q", quoted=True), columns=names)
    columns = [exp.column(name.copy()) for name in names]
    holder = exp.Paren(this=exp.Null())
    inner.replace(holder)
    around = exp.Select(expressions=columns, from_=exp.From(this=exp.Subquery(this=inner, alias=alias)))
    holder.replace(around)
    return around.expressions
