"""What each operator takes: which cast a path gets where it is an operand.

:class:`Operands` visits expressions and casts the paths in them. It knows nothing of functions, which ``calls.py``
adds, nor of FROM and GROUP BY, which ``rewrite.py`` and ``groups.py`` add.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final

from sqlglot import exp

from novamesh.sql.paths import EXACT, TEXT, Casts, Kind, call, cast, is_zoned, kind_of_type, once, stepped
from novamesh.sql.work import Work

Handler = tuple[tuple[type[exp.Expr], ...], Callable[[Any, exp.Expr], Kind]]

_ARITHMETIC: Final = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Pow, exp.Neg, exp.Abs)
_BITS: Final = (
    *(exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot, exp.BitwiseLeftShift, exp.BitwiseRightShift),
)
_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_HUGE: Final = 2**127  # what no HUGEINT holds is a DOUBLE
_ORDERINGS: Final = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_PARAMETERS: Final = (exp.Placeholder, exp.Parameter)
_PLAIN: Final = Casts(careful=False)
_TEXTUAL: Final = (
    *(exp.Like, exp.ILike, exp.Glob, exp.SimilarTo, exp.RegexpLike, exp.Escape, exp.StartsWith),
    *(exp.Collate, exp.Substring, exp.Trim, exp.StrPosition, exp.Overlay),
)


class Operands(ABC):
    """Casts the paths in expressions. Visiting a node may replace it: read it from its parent again."""

    handlers: ClassVar[tuple[Handler, ...]]

    def __init__(self, casts: Casts) -> None:
        self.casts = casts
        self.work = Work()
        self.computed: dict[exp.Expr, tuple[exp.Expr, Kind]] = {}
        self.aggregates = 0

    @abstractmethod
    def kind_of(self, node: exp.Expr) -> Kind:
        """The kind of a path, or OTHER, without changing anything."""

    @abstractmethod
    def path(self, node: exp.Expr, kind: Kind) -> Kind:
        """Visit a whole path."""

    @abstractmethod
    def subquery(self, query: exp.Expr) -> Kind:
        """Visit a query in an expression; the kind of its first column."""

    @abstractmethod
    def key(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """What equal values have in common, of something already visited."""

    @abstractmethod
    def textual(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """The same of any value, to compare a key with."""

    @abstractmethod
    def compare_with_query(self, node: exp.Expr, query: exp.Expr) -> Kind:
        """Visit a comparison with the rows of a query."""

    @abstractmethod
    def compare_with_list(self, node: exp.Expr, values: exp.Expr) -> Kind:
        """Visit a comparison with the elements of a list."""

    @abstractmethod
    def order(self, order: exp.Expr | None, select: exp.Expr | None = None) -> None:
        """Visit an ORDER BY."""

    def visit(self, node: exp.Expr) -> Kind:
        self.work.visit()
        if self.computed and not self.aggregates and (found := self.computed.get(node)) is not None:
            key, kind = found
            node.replace(key.copy())
            return kind
        kind = self.visited(node)
        self.work.go_on()  # what was put around it may have grown as well
        if kind == Kind.KEY:
            node.meta[TEXT] = True
        return kind

    def visited(self, node: exp.Expr) -> Kind:
        kind = self.kind_of(node)
        if kind.is_variant or kind.holds_variants:
            return self.path(node, kind)
        if isinstance(node, exp.Column):
            return kind
        for types, visit in self.handlers:
            if isinstance(node, types):
                return visit(self, node)
        self.visit_all(node.iter_expressions())
        return Kind.OTHER

    def probe(self, node: exp.Expr) -> tuple[exp.Expr, Kind]:
        """What visiting this node would make of it, without changing it."""
        holder = exp.Paren(this=node.copy())
        kind = self.visit(holder.this)
        return holder.this, kind

    def visit_all(self, nodes: Iterable[exp.Expr]) -> None:
        for node in list(nodes):
            self.visit(node)

    def cast_to(self, node: exp.Expr, kind: Kind, target: Kind) -> None:
        if kind.is_variant:
            node.replace(self.casts.to(node, kind, target))

    def as_(self, node: exp.Expr, target: Kind) -> Kind:
        """Visit an operand that is to be ``target``; its kind then."""
        parent, key, index = node.parent, node.arg_key, node.index
        kind = self.visit(node)
        if not kind.is_variant or parent is None or key is None:
            return kind
        held = parent.args[key]
        self.cast_to(held if index is None else held[index], kind, target)
        return target

    def condition(self, node: exp.Expr) -> None:
        self.as_(node, Kind.BOOL)

    # -- operators --------------------------------------------------------------------------------------------------

    def visit_literal(self, node: exp.Expr) -> Kind:
        if isinstance(node, exp.Boolean):
            return Kind.BOOL
        if isinstance(node, exp.Null):
            return Kind.NULL
        if isinstance(node, _PARAMETERS):
            return Kind.PARAMETER
        return Kind.NUMBER if isinstance(node, exp.Literal) and not node.is_string else Kind.TEXT

    def visit_paren(self, node: exp.Expr) -> Kind:
        return self.visit(node.this)

    def visit_cast(self, node: exp.Expr) -> Kind:
        kind = self.visit(node.this)
        if is_zoned(node.this) and node.args["to"].this in (
            exp.DType.DATE,
            exp.DType.TIMESTAMP,
            exp.DType.TIMESTAMPNTZ,
        ):
            node.this.replace(_PLAIN.time(node.this, strict=True))
        if kind.is_variant:
            node.replace(self.casts.to_type(node.this, kind, node.args["to"]))
        return kind_of_type(node.args["to"])

    def visit_arithmetic(self, node: exp.Expr) -> Kind:
        sides = list(node.iter_expressions())
        kinds = [self.visit(side) for side in sides]
        times = Kind.TIME in kinds or Kind.INTERVAL in kinds
        target = Kind.TIME if times and isinstance(node, (exp.Add, exp.Sub)) else Kind.NUMBER
        for side, kind in zip(list(node.iter_expressions()), kinds, strict=True):
            self.cast_to(side, kind, target)
        if isinstance(node, exp.IntDiv) and any(kind.is_variant for kind in kinds):
            node.replace(call("trunc", node.copy()))  # the engine's // of DOUBLE leaves a fraction
        if target == Kind.NUMBER:
            return Kind.NUMBER
        both = kinds.count(Kind.INTERVAL) == 0 and isinstance(node, exp.Sub)
        return Kind.INTERVAL if both or kinds.count(Kind.INTERVAL) == len(kinds) else Kind.TIME

    def visit_bits(self, node: exp.Expr) -> Kind:
        for side in list(node.iter_expressions()):
            self.integer(side)
        return Kind.NUMBER

    def integer(self, node: exp.Expr) -> None:
        parent, key, index = node.parent, node.arg_key, node.index
        kind = self.visit(node)
        if parent is not None and key is not None:
            held = parent.args[key]
            self.to_integer(held if index is None else held[index], kind)

    def to_integer(self, node: exp.Expr, kind: Kind) -> None:
        if kind.is_variant:
            node.replace(self.casts.small(node, kind))

    def visit_logic(self, node: exp.Expr) -> Kind:
        for side in list(node.iter_expressions()):
            self.condition(side)
        return Kind.BOOL

    def visit_textual(self, node: exp.Expr) -> Kind:
        for side in list(node.iter_expressions()):
            self.as_(side, Kind.TEXT)
        return Kind.NUMBER if isinstance(node, exp.StrPosition) else Kind.TEXT

    def visit_is(self, node: exp.Expr) -> Kind:
        kind = self.visit(node.this)
        if isinstance(node.expression, exp.Boolean):
            self.cast_to(node.this, kind, Kind.BOOL)
        elif (native := self.casts.native(node.this, kind)) is not None:
            node.this.replace(native)  # NULL where the path is, and in a column of its own
        return Kind.BOOL

    def visit_comparison(self, node: exp.Expr) -> Kind:
        if isinstance(node.expression, (exp.Any, exp.All)):
            return self.compare_with_any(node, node.expression)
        if isinstance(node.this, exp.Tuple) and isinstance(node.expression, exp.Tuple):
            self.compare_tuples([node.this, node.expression], ordered=isinstance(node, _ORDERINGS))
            return Kind.BOOL
        self.compared(node, [self.visit(node.this), self.visit(node.expression)])
        return Kind.BOOL

    def compared(self, node: exp.Expr, kinds: list[Kind]) -> None:
        """Cast the sides of a comparison, which have been visited."""
        ordered = isinstance(node, _ORDERINGS)
        if ordered and Kind.PARAMETER in kinds and any(kind.is_variant for kind in kinds):
            self.compare_with_parameter(node, kinds)
        else:
            self.compare([node.this, node.expression], kinds, ordered=ordered)

    def compare_with_parameter(self, node: exp.Expr, kinds: list[Kind]) -> None:
        """``path > $value``, whose type is known only when it runs: by number if it is one, else as text."""
        place = kinds.index(Kind.PARAMETER)
        parameter = (node.this, node.expression)[place]

        def form(path: exp.Expr) -> exp.Expr:
            operands = [(self.casts, path, kinds[1 - place])]
            operands.insert(place, (_PLAIN, parameter, Kind.PARAMETER))
            numbers = [casts.number(side, kind) for casts, side, kind in operands]
            value = numbers[place]
            is_text = exp.Is(this=value.copy(), expression=exp.Null())
            is_big = exp.GTE(this=call("abs", value.copy()), expression=exp.Literal.number(EXACT))
            by_text = _compared(node, [casts.text(side, kind) for casts, side, kind in operands])
            exactly = _compared(node, [casts.exact(side, kind) for casts, side, kind in operands])
            cases = [exp.If(this=is_text, true=by_text), exp.If(this=is_big, true=exactly)]
            return exp.Case(ifs=cases, default=_compared(node, numbers))

        node.replace(once((node.this, node.expression)[1 - place], form))

    def visit_between(self, node: exp.Expr) -> Kind:
        names = ("this", "low", "high")
        kinds = [self.visit(node.args[name]) for name in names]
        value, low, high = (node.args[name] for name in names)
        if any(isinstance(end, _PARAMETERS) or _is_big(end) for end in (low, high)):
            node.replace(exp.Paren(this=once(value, lambda value: self.between(value, low, high, kinds))))
        else:
            self.compare([value, low, high], kinds, ordered=True)
        return Kind.BOOL

    def between(self, value: exp.Expr, low: exp.Expr, high: exp.Expr, kinds: list[Kind]) -> exp.Expr:
        """``BETWEEN`` as two comparisons, of which each end decides about its own."""
        both = exp.And(
            this=exp.GTE(this=value.copy(), expression=low.copy()),
            expression=exp.LTE(this=value.copy(), expression=high.copy()),
        )
        holder = exp.Paren(this=both)
        self.compared(both.this, [kinds[0], kinds[1]])
        self.compared(both.expression, [kinds[0], kinds[2]])
        inside: exp.Expr = holder.this
        return inside

    def visit_in(self, node: exp.Expr) -> Kind:
        query, field = node.args.get("query"), node.args.get("field")
        if query is not None:
            return self.compare_with_query(node, query)
        if field is not None:
            return self.compare_with_list(node, field)
        if isinstance(node.this, exp.Tuple):
            self.compare_tuples([node.this, *node.expressions])
            return Kind.BOOL
        kinds = [self.visit(value) for value in [node.this, *node.expressions]]
        self.compare([node.this, *node.expressions], kinds, ordered=False)
        return Kind.BOOL

    def compare_with_any(self, node: exp.Expr, query: exp.Expr) -> Kind:
        """``path = ANY (SELECT …)``, ``path = ANY ([1, 2])``, ``'x' = ANY (properties.tags)``."""
        inside = query.this
        while isinstance(inside, exp.Paren):
            inside = inside.this
        if isinstance(inside, exp.Array):
            kinds = [self.visit(value) for value in [node.this, *inside.expressions]]
            self.compare([node.this, *inside.expressions], kinds, ordered=isinstance(node, _ORDERINGS))
        elif not isinstance(inside, (exp.Query, exp.Values)):
            return self.compare_with_list(node, inside)
        else:
            return self.compare_with_query(node, query)
        return Kind.BOOL

    def compare_tuples(self, rows: list[exp.Expr], *, ordered: bool = False) -> None:
        kinds = [[self.visit(cell) for cell in row.expressions] for row in rows]
        if len({len(row) for row in kinds}) == 1:
            for place in range(len(kinds[0])):
                column = [row.expressions[place] for row in rows]
                self.compare(column, [row[place] for row in kinds], ordered=ordered)

    def compare(self, sides: list[exp.Expr], kinds: list[Kind], *, ordered: bool) -> None:
        """Cast paths to what they are compared with; where that is no one type, compare as text."""
        if Kind.TIME in kinds:
            sides, kinds = self.moments(sides, kinds)
        others: set[Kind] = {kind for kind in kinds if not kind.is_variant and kind != Kind.NULL}
        if not any(kind.is_variant for kind in kinds) or (Kind.NULL in kinds and not others):
            return
        if others == {Kind.NUMBER} and any(_is_big(side) for side in sides):
            self.compare_big(sides, kinds)
            return
        cast = self.comparable(sides, kinds, others, ordered=ordered)
        for side, kind in zip(sides, kinds, strict=True):
            if kind.is_variant:
                side.replace(cast(side, kind))
            elif len(others) > 1 or kind in (Kind.OTHER, Kind.PARAMETER):
                side.replace(self.textual(side, kind))

    def compare_big(self, sides: list[exp.Expr], kinds: list[Kind]) -> None:
        """With an integer beyond what DOUBLE holds exactly: whole paths as integers, others as DOUBLE and integer."""
        whole = {kind for kind in kinds if kind.is_variant} <= {Kind.COUNTS, Kind.INTEGERS}
        for side, kind in zip(sides, kinds, strict=True):
            if whole and kind.is_variant:
                side.replace(self.casts.integer(side, kind))
            elif not whole and kind != Kind.NULL:
                side.replace((self.casts if kind.is_variant else _PLAIN).exact(side, kind))

    def moments(self, sides: list[exp.Expr], kinds: list[Kind]) -> tuple[list[exp.Expr], list[Kind]]:
        """What is compared with a time is one: text with an offset would lose it without a word."""
        sides, kinds = list(sides), list(kinds)
        for place, side in enumerate(sides):
            if kinds[place] == Kind.PARAMETER or is_zoned(side):
                sides[place] = _PLAIN.time(cast(side.copy(), exp.DType.TEXT, strict=True), strict=True)
                kinds[place] = Kind.TIME
                side.replace(sides[place])
        return sides, kinds

    def comparable(
        self, sides: list[exp.Expr], kinds: list[Kind], others: set[Kind], *, ordered: bool
    ) -> Callable[[exp.Expr, Kind], exp.Expr]:
        if others == {Kind.NUMBER}:
            counts = all(kind == Kind.COUNTS or _is_count(side) for side, kind in zip(sides, kinds, strict=True))
            return self.casts.group_key if counts else self.casts.number
        if others == {Kind.PARAMETER}:
            return self.casts.key
        simple = {Kind.BOOL: self.casts.boolean, Kind.TIME: self.casts.time, Kind.INTERVAL: self.casts.interval}
        if len(others) == 1 and (only := next(iter(others))) in simple:
            return simple[only]
        if not others:
            if len(set(kinds)) > 1 or self.casts.native(sides[0], kinds[0]) is None:
                return self.casts.rank
            return self.casts.order if ordered else self.casts.group_key
        literal = others == {Kind.TEXT} and all(is_word(side) for side in sides if not self.kind_of(side).is_variant)
        return self.casts.text if ordered or literal else self.casts.key

    def alike(self, nodes: list[exp.Expr], kinds: list[Kind], bare: Kind = Kind.PATH) -> Kind:
        """Make the branches of a CASE or coalesce one type; which one it is. ``bare``: where all are paths."""
        others: set[Kind] = {kind for kind in kinds if not kind.is_variant and kind != Kind.NULL}
        if not any(kind.is_variant for kind in kinds):
            return others.pop() if len(others) == 1 else Kind.OTHER
        if not others and bare == Kind.PATH and Kind.KEY in kinds:
            return self.all_keys(nodes, kinds)
        if not others and bare == Kind.PATH:
            return one_kind(kinds)
        others = others or {bare}
        simple = {Kind.BOOL, Kind.INTERVAL, Kind.JSON, Kind.NUMBER, Kind.TIME}
        target = others.pop() if len(others) == 1 and others <= simple else Kind.TEXT
        for node, kind in zip(nodes, kinds, strict=True):
            self.cast_to(node, kind, target)
        return target

    def all_keys(self, nodes: list[exp.Expr], kinds: list[Kind]) -> Kind:
        for node, kind in zip(nodes, kinds, strict=True):
            node.replace(self.key(node, kind))
        return Kind.KEY

    def visit_case(self, node: exp.Expr) -> Kind:
        subject, ifs = node.this, node.args["ifs"]
        if subject is None:
            for branch in ifs:
                self.condition(branch.this)
        else:
            kinds = [self.visit(value) for value in [subject, *(branch.this for branch in ifs)]]
            self.compare([node.this, *(branch.this for branch in ifs)], kinds, ordered=False)
        names = [(branch, "true") for branch in ifs] + ([(node, "default")] if node.args.get("default") else [])
        kinds = [self.visit(holder.args[name]) for holder, name in names]
        return self.alike([holder.args[name] for holder, name in names], kinds)

    # -- the rest -----------------------------------------------------------------------------------------------------

    def visit_extract(self, node: exp.Expr) -> Kind:
        self.as_(node.expression, Kind.TIME)
        return Kind.NUMBER

    def visit_zone(self, node: exp.Expr) -> Kind:
        self.as_(node.this, Kind.TIME)
        return Kind.TIME

    def visit_interval(self, node: exp.Expr) -> Kind:
        if node.this is not None:
            self.integer(node.this)
        return Kind.INTERVAL

    def visit_now(self, node: exp.Expr) -> Kind:
        if isinstance(node, exp.CurrentTimestamp) and not isinstance(node.parent, (exp.AtTimeZone, exp.Cast)):
            node.replace(call("make_timestamp", call("epoch_us", call("now"))))
        return Kind.TIME

    def visit_query(self, node: exp.Expr) -> Kind:
        return self.subquery(node)

    def visit_text_json(self, node: exp.Expr) -> Kind:
        """``properties ->> 'page'``; ``->`` on a path is a path and does not come here."""
        if not self.kind_of(node.this).is_variant:
            self.visit(node.this)
            return Kind.TEXT if isinstance(node, exp.JSONExtractScalar) else Kind.JSON
        steps = stepped(node.this.copy(), node.expression)
        if steps is None:
            node.this.replace(self.casts.json(node.this))
            return Kind.TEXT
        holder = exp.Paren(this=steps)
        node.replace(holder)
        kind = self.visit(holder.this)
        holder.replace(self.casts.text(holder.this, kind))
        return Kind.TEXT


OPERATORS: Final[tuple[Handler, ...]] = (
    ((exp.Literal, exp.Boolean, exp.Null, exp.Placeholder, exp.Parameter, exp.ByteString), Operands.visit_literal),
    (_COMPARISONS, Operands.visit_comparison),
    ((exp.And, exp.Or, exp.Not), Operands.visit_logic),
    ((exp.Paren, exp.IgnoreNulls, exp.Alias), Operands.visit_paren),
    ((exp.Cast,), Operands.visit_cast),
    (_ARITHMETIC, Operands.visit_arithmetic),
    (_BITS, Operands.visit_bits),
    ((exp.In,), Operands.visit_in),
    ((exp.Between,), Operands.visit_between),
    ((exp.Is,), Operands.visit_is),
    (_TEXTUAL, Operands.visit_textual),
    ((exp.Case,), Operands.visit_case),
    ((exp.Subquery, exp.Query, exp.Exists), Operands.visit_query),
    ((exp.JSONExtractScalar, exp.JSONExtract), Operands.visit_text_json),
    ((exp.Extract,), Operands.visit_extract),
    ((exp.AtTimeZone,), Operands.visit_zone),
    ((exp.Interval,), Operands.visit_interval),
    ((exp.CurrentTimestamp, exp.CurrentDate), Operands.visit_now),
)


def are_values(kinds: list[Kind]) -> bool:
    """Whether all but NULL are paths, and not of numbers alone."""
    paths = [kind for kind in kinds if kind != Kind.NULL]
    return all(kind.is_variant for kind in paths) and not all(kind.is_numeric for kind in paths)


def one_kind(kinds: Iterable[Kind]) -> Kind:
    """The kind of a VARIANT that is one of these."""
    found = {kind for kind in kinds if kind != Kind.NULL}
    return found.pop() if len(found) == 1 else Kind.PATH


def _compared(comparison: exp.Expr, sides: list[exp.Expr]) -> exp.Expr:
    """The same comparison of other sides."""
    return type(comparison)(this=sides[0], expression=sides[1])


def _is_big(node: exp.Expr) -> bool:
    """An integer beyond what DOUBLE holds exactly: compared as HUGEINT."""
    value = node
    while isinstance(value, (exp.Neg, exp.Paren, exp.Cast)):
        value = value.this
    return _is_count(value) and EXACT <= int(value.name) < _HUGE


def _is_count(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and node.name.isdecimal() and int(node.name) < _HUGE


def is_word(node: exp.Expr) -> bool:
    """A string that is no number, neither in its shortest form nor in another that DuckDB writes."""
    return node.is_string and not re.fullmatch(r"-?\d+(\.0)?|-?\d(\.\d+)?e\+\d+", node.name)
