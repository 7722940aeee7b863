"""Calls, lists, lambdas and windows: which cast a path gets where it is an argument of one (see ``signatures.py``)."""

from typing import Final

from sqlglot import exp

from novamesh.errors import InvalidQuery, QueryNotAllowed
from novamesh.sql import functions
from novamesh.sql import signatures as table
from novamesh.sql.compound import COMPOUNDS, each, keyed, listed
from novamesh.sql.lists import Lists, is_list_function
from novamesh.sql.operands import OPERATORS, Handler, are_values, one_kind
from novamesh.sql.paths import Casts, Kind, boxed, call, cast, is_step, once, ranked, unboxed, variant

_SETS: Final = (exp.ArrayContainsAll, exp.ArrayContainedBy, exp.ArrayOverlaps)


class Calls(Lists):
    """Operands that are calls, lists, lambdas and windows."""

    def __init__(self, casts: Casts) -> None:
        super().__init__(casts)
        self.lambdas: list[dict[str, Kind]] = []

    # -- functions --------------------------------------------------------------------------------------------------

    def visit_call(self, node: exp.Expr) -> Kind:
        name = node.name.lower()
        aggregate = name in functions.AGGREGATES and not isinstance(_unwrapped(node), exp.Window)
        self.aggregates += aggregate
        kind = self.call_kind(name, node)
        self.aggregates -= aggregate
        return kind

    def call_kind(self, name: str, node: exp.Expr) -> Kind:
        if (
            name in table.NOW
            and not isinstance(node.parent, (exp.AtTimeZone, exp.Cast))
            and _called(node.parent) != "timezone"
        ):
            node.replace(call("make_timestamp", call("epoch_us", node.copy())))  # TIMESTAMPTZ goes through ICU
            return Kind.TIME
        if name == "if" and len(node.expressions) > 1:
            self.condition(node.expressions[0])
            return self.alike(node.expressions[1:], [self.visit(branch) for branch in node.expressions[1:]])
        if name in table.GROUPINGS:
            return self.grouping(node)
        if name in table.ORDERED and node.expressions:
            return self.extreme(name, node)
        if name in ("row", "struct_pack"):
            return self.visit_struct(node)
        if name == "struct_extract" and len(node.expressions) == 2 and self.kind_of(node.expressions[0]).has_steps:
            return self.field(node)
        if name in table.LENGTHS and len(node.expressions) == 1:
            return self.length(node)
        ordered = self.distinct_order(name, node)
        kinds: list[Kind] = []
        for argument in list(node.expressions):
            if kinds and isinstance(argument, exp.Lambda):
                argument.meta["of"] = kinds[0]
            kinds.append(self.argument(argument, name))
        arguments = [_inside(argument) for argument in node.expressions]
        if name == "contains" and _looks_into_list(kinds):
            name = "list_contains"
            node.set("this", name)
        if name in ("greatest", "least") and are_values(kinds):
            return self.best_of(node, arguments, kinds)
        self.arguments(name, arguments, kinds)
        kind = self.result(name, arguments, kinds)
        if ordered is not None:
            self.sorted_keys(_unwrapped(node), kind, ordered)
        return kind

    def field(self, node: exp.Expr) -> Kind:
        """``struct_extract(properties, 'page')`` as a step of a path."""
        path, key = node.expressions
        if not isinstance(key, exp.Literal):
            raise QueryNotAllowed("Give struct_extract a plain key, or write properties[key]")
        holder = exp.Paren(this=exp.Bracket(this=path.copy(), expressions=[key.copy()]))
        node.replace(holder)
        return self.visit(holder.this)

    def nullif(self, arguments: list[exp.Expr], kinds: list[Kind]) -> None:
        """Its result is its first argument as it is compared: a key, or what the second is."""
        others = {kind for kind in kinds if not kind.is_variant}
        if others - {Kind.NUMBER}:
            self.compare(arguments, kinds, ordered=False)
            return
        for node, kind in zip(arguments, kinds, strict=True):
            if kind.is_variant:
                node.replace(self.casts.number(node, kind) if others else self.key(node, kind))

    def best_of(self, node: exp.Expr, arguments: list[exp.Expr], kinds: list[Kind]) -> Kind:
        """``greatest(path, path)``: the value as it was sent, by the documented order."""
        for path, kind in zip(arguments, kinds, strict=True):
            if kind.is_variant:
                path.replace(self.ranked(path, kind))
        holder = exp.Paren(this=exp.Null())
        node.replace(holder)
        holder.replace(unboxed(node))
        return one_kind(kinds)

    def ranked(self, path: exp.Expr, kind: Kind) -> exp.Expr:
        return once(path, lambda value: ranked(value, self.casts.rank(value, kind)))

    def grouping(self, node: exp.Expr) -> Kind:
        """``grouping(path)``, of what the query groups by."""
        self.aggregates += 1
        for key in list(node.expressions):
            found, kind = self.probe(key)
            if kind.is_variant:
                key.replace(self.group_key(found, kind))
        self.aggregates -= 1
        return Kind.NUMBER

    def argument(self, node: exp.Expr, name: str = "") -> Kind:
        """One argument: ``x``, ``DISTINCT x``, ``x ORDER BY y``, ``name := x``."""
        if isinstance(node, exp.Order):
            self.same_order(node)
            kind = self.argument(node.this, name) if node.this is not None else Kind.OTHER
            self.order(node)
            return kind
        if isinstance(node, exp.Distinct):
            return self.distinct_argument(node, name)
        if isinstance(node, (exp.PropertyEQ, exp.Kwarg)):
            return self.visit(node.expression)
        return self.visit(node)

    def distinct_argument(self, node: exp.Distinct, name: str) -> Kind:
        kinds = [self.visit(value) for value in list(node.expressions)]
        for value, kind in zip(list(node.expressions), kinds, strict=True):
            if kind.is_variant or kind.holds_variants:
                value.replace(self.distinct_key(name, value, kind))
        if name == "count" and len(kinds) > 1:  # of rows, as in PostgreSQL's count(DISTINCT (a, b))
            node.set("expressions", [exp.Tuple(expressions=list(node.expressions))])
        if name in table.NUMERIC:
            return Kind.NUMBER
        return keyed(kinds[0]) if name in table.GIVES_ARGUMENT or name in table.GIVES_ELEMENTS else Kind.TEXT

    def distinct_key(self, name: str, value: exp.Expr, kind: Kind) -> exp.Expr:
        if kind.is_variant and (placed := self.placed(value, kind, table.place_of(name, 0, [kind], None))) is not None:
            return placed
        if name in table.NUMERIC:
            return self.casts.number(value, kind)
        return self.group_key(value, kind) if name == "count" else self.key(value, kind)

    def same_order(self, order: exp.Expr) -> None:
        """``list(DISTINCT x ORDER BY x)``: DuckDB wants one expression in both places."""
        values = order.this.expressions if isinstance(order.this, exp.Distinct) else []
        for ordered in order.expressions:
            kind = self.kind_of(ordered.this)
            if (kind.is_variant or kind.holds_variants) and ordered.this in values:
                ordered.this.replace(self.key(ordered.this, kind))

    def arguments(self, name: str, arguments: list[exp.Expr], kinds: list[Kind]) -> None:
        """Cast the paths among the arguments of a call to what it takes."""
        if name == "count" and kinds and (native := self.casts.native(arguments[0], kinds[0])) is not None:
            arguments[0].replace(native)
        elif name in table.KEPT:
            return
        if name in table.ALIKE:
            self.alike(arguments, kinds, Kind.NUMBER if name in ("greatest", "least") else Kind.PATH)
        elif name == "nullif":
            self.nullif(arguments, kinds)
        elif name == "unnest" or is_list_function(name):
            self.list_arguments(name, arguments, kinds)
        else:
            for place, (node, kind) in enumerate(zip(arguments, kinds, strict=True)):
                wanted = table.place_of(name, place, kinds, arguments[0])
                if kind.is_variant:
                    node.replace(self.placed(node, kind, wanted) or self.taken(name, place, node, kind))
                elif kind == Kind.NUMBER and wanted in table.INTEGER_TYPES and self.is_of_paths(node):
                    node.replace(cast(node.copy(), table.INTEGER_TYPES[str(wanted)]))
                elif kind.holds_variants and (name in table.KEYED or (name in table.MAPS and not place)):
                    node.replace(self.key(node, kind))
                elif kind.holds_variants and name in table.BY and place == 1:
                    node.replace(self.place(node, kind))

    def placed(self, node: exp.Expr, kind: Kind, wanted: table.Place | None) -> exp.Expr | None:
        """A path as what its place takes; None where that goes by the function alone."""
        if wanted is None:
            return None
        if wanted == Kind.LIST:
            return self.casts.elements(node)
        if wanted == table.EITHER:  # which it is must not hang on the types there have been
            raise InvalidQuery(table.MILLISECONDS)
        if isinstance(wanted, Kind):
            return self.casts.to(node, kind, wanted)
        return self.casts.integer(node, kind, table.INTEGER_TYPES[wanted])

    def is_of_paths(self, node: exp.Expr) -> bool:
        """Whether a number was calculated from paths, which are DOUBLE then."""
        columns = (part for part in node.find_all(exp.Column))
        return any(self.kind_of(column).holds_variants or self.kind_of(column) == Kind.KEY for column in columns)

    def taken(self, name: str, place: int, node: exp.Expr, kind: Kind) -> exp.Expr:
        if name in table.AVERAGES and kind == Kind.COUNTS:
            return self.group_key(node, kind)
        if name in table.NUMERIC:
            return self.casts.number(node, kind)
        if name in table.INTEGER:
            return self.casts.small(node, kind)
        if name in table.TEMPORAL:
            return self.casts.time(node, kind)
        if name in table.CONDITION:
            return self.casts.boolean(node, kind)
        if name in table.BY and place < 2:
            return self.place(node, kind) if place else node.copy()
        if name in table.BY:
            return self.casts.small(node, kind)
        if name == "map":
            return self.textual(node, Kind.ELEMENTS) if place == 0 else self.casts.elements(node)
        if name == "approx_count_distinct":
            return self.group_key(node, kind)
        if name in table.KEYED or name in table.LOOKUPS:
            return self.key(node, kind)
        if name.startswith(("json", "to_json", "row_to_json", "from_json")):
            return self.casts.json(node)
        return self.casts.text(node, kind)

    def result(self, name: str, arguments: list[exp.Expr], kinds: list[Kind]) -> Kind:
        first = kinds[0] if kinds else Kind.OTHER
        if name in table.GIVES_ARGUMENT or name in table.BY or (name in table.KEPT and name == "variant_extract"):
            kind = Kind.PATH if first.has_steps and name == "variant_extract" else first
            return listed(kind) if name in table.BY and len(kinds) > 2 else kind
        if name == "nullif" and first.is_variant:
            return next((kind for kind in kinds if not kind.is_variant), Kind.KEY)
        if name == "mode":
            return keyed(first)
        if name in table.STEPS and first.fields:
            return first.step(arguments[1].name)
        if name in table.MAPS:
            return Kind("MAP", (("", kinds[1].element if name == "map" and len(kinds) > 1 else Kind.OTHER),))
        if name in table.ALIKE:
            others = {kind for kind in kinds if not kind.is_variant and kind != Kind.NULL}
            if (made := next((kind for kind in others if kind.is_known), None)) is not None:
                return made
            if not others and any(kind.is_variant for kind in kinds):
                bare = Kind.KEY if Kind.KEY in kinds else one_kind(kinds)
                return bare if name not in ("greatest", "least") else Kind.NUMBER
            return others.pop() if len(others) == 1 else Kind.TEXT
        if name in table.GIVES_ELEMENTS:
            return listed(first)
        if name == "unnest":
            return Kind.PATH if first.has_steps else first.element
        if is_list_function(name) and (kind := self.list_kind(name, kinds)) != Kind.OTHER:
            return kind
        for names, kind in table.RESULTS:
            if name in names:
                return kind
        return first if name in ("max", "min") else Kind.OTHER

    def extreme(self, name: str, node: exp.Expr) -> Kind:
        """``max(path)`` as ``arg_max({v: path}, order)``: the value as it was sent, by the documented order."""
        inside = node.expressions[0].this if isinstance(node.expressions[0], exp.Order) else node.expressions[0]
        if isinstance(inside, exp.Distinct):  # makes no difference
            inside.replace(inside.expressions[0])
        kind = self.argument(node.expressions[0])
        path, many = _inside(node.expressions[0]), node.expressions[1:]
        self.visit_all(many)
        if not kind.is_variant and not kind.holds_variants:
            return kind if not many else listed(kind)
        whole = _unwrapped(node)
        native = self.casts.native(path, kind) if kind.is_numeric and not many else None
        if native is not None:
            path.replace(native)
        else:
            new = call(table.ORDERED[name], boxed(path.copy()), self.place(path, kind), *(one.copy() for one in many))
            node.replace(new)
            whole = new if whole is node else whole
        holder = exp.Paren(this=exp.Null())
        whole.replace(holder)
        holder.replace(each(whole, unboxed) if many else unboxed(whole) if native is None else variant(whole, kind))
        return listed(kind) if many else kind

    def length(self, node: exp.Expr) -> Kind:
        """Of an array its elements, of text its characters."""

        def either(path: exp.Expr) -> exp.Expr:
            elements = call(node.name, self.casts.elements(path))
            return call("coalesce", elements, call("length", self.casts.text(path, kind)))

        kind = self.visit(node.expressions[0])
        path = node.expressions[0]
        if kind.has_steps:
            is_text = self.casts.native(path, kind) is not None
            node.replace(call("length", self.casts.text(path, kind)) if is_text else once(path, either))
        return Kind.NUMBER

    def visit_part(self, node: exp.Expr) -> Kind:
        """``substring(x, 1, 2)``, ``overlay(x PLACING y FROM 1 FOR 2)``: of texts, at integers."""
        for part in list(node.iter_expressions()):
            if part.arg_key in ("this", "expression"):
                self.as_(part, Kind.TEXT)
            else:
                self.whole(part)
        return Kind.TEXT

    def whole(self, node: exp.Expr) -> None:
        """Visit what is to be an integer; what is calculated from paths is a DOUBLE."""
        parent, key = node.parent, node.arg_key
        self.integer(node)
        held = parent.args[key] if parent is not None and key is not None else node
        plain = isinstance(held, (exp.Literal, exp.Cast, exp.Case))
        if isinstance(held, exp.Expr) and not plain and self.is_of_paths(held):
            held.replace(cast(held.copy(), exp.DType.BIGINT))

    def visit_joined(self, node: exp.Expr) -> Kind:
        """``properties.tags || ['a']`` joins lists, and anything else texts."""
        kinds = [self.visit(node.this), self.visit(node.expression)]
        sides = [node.this, node.expression]
        if any(kind.is_list for kind in kinds):
            self.joined(sides, kinds)
            return self.list_kind("list_concat", kinds)
        for side, kind in zip(sides, kinds, strict=True):
            self.cast_to(side, kind, Kind.TEXT)
        return Kind.TEXT

    # -- lists --------------------------------------------------------------------------------------------------------

    def visit_sets(self, node: exp.Expr) -> Kind:
        kinds = [self.visit(node.this), self.visit(node.expression)]
        self.compare_elements([node.this, node.expression], kinds, lists=2)
        return Kind.BOOL

    def visit_bracket(self, node: exp.Expr) -> Kind:
        """An element or a slice of something that is no path, or a slice of one."""
        kind = self.visit(node.this)
        if is_step(node) and (kind.fields or kind.has_steps):
            return kind.step(node.expressions[0].name)
        key = node.expressions[0]
        as_written = key.copy()
        key_kind = self.visit(key)
        if kind.is_variant and key_kind in (Kind.TEXT, Kind.PARAMETER):
            node.expressions[0].replace(as_written)
            return Kind.PATH  # properties['utm_' || 'source']
        if kind.name == "MAP":
            key.replace(self.key(key, key_kind))
            return kind.element
        is_slice = isinstance(key, exp.Slice)
        self.to_integer(node.expressions[0], key_kind)
        for other in node.expressions[1:]:
            self.integer(other)
        if is_slice and kind.has_steps:
            node.replace(self.sliced(node, kind))
        elif kind.has_steps:
            node.this.replace(self.casts.elements(node.this))
            kind = Kind.ELEMENTS
        return kind if is_slice else kind.element

    def visit_array(self, node: exp.Expr) -> Kind:
        kinds = [self.visit(value) for value in list(node.expressions)]
        if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Comprehension):
            return kinds[0]
        return listed(self.alike(node.expressions, kinds))

    def visit_lambda(self, node: exp.Expr) -> Kind:
        kind = node.meta.pop("of", Kind.OTHER)
        kind = Kind.PATH if kind.has_steps else kind.element
        params = {
            param.name.lower(): kind if not place else Kind.NUMBER for place, param in enumerate(node.expressions)
        }
        self.lambdas.append(params)
        self.visit(node.this)
        self.lambdas.pop()
        return Kind.OTHER

    def visit_comprehension(self, node: exp.Expr) -> Kind:
        kind = self.visit(node.args["iterator"])
        if kind.is_variant:
            iterator = node.args["iterator"]
            iterator.replace(self.casts.elements(iterator))
        inside = Kind.PATH if kind.has_steps else kind.element
        self.lambdas.append({node.expression.name.lower(): inside})
        body = self.visit(node.this)
        if node.args.get("condition") is not None:
            self.condition(node.args["condition"])
        self.lambdas.pop()
        return listed(body) if body.is_known else Kind.OTHER

    # -- windows, aggregates, queries ---------------------------------------------------------------------------------

    def visit_window(self, node: exp.Expr) -> Kind:
        kind = self.visit(node.this)
        self.window_parts(node)
        return kind

    def window_parts(self, node: exp.Expr) -> None:
        for key in list(node.args.get("partition_by") or []):
            index = key.index
            kind = self.visit(key)
            held = node.args["partition_by"][index or 0]
            if kind.holds_variants:
                held.replace(self.group_key(held, kind))
        spec: exp.Expr | None = node.args.get("spec")
        order: exp.Expr | None = node.args.get("order")
        bounds = list(spec.iter_expressions()) if spec is not None else []
        if spec is not None and bounds and str(spec.args.get("kind")).upper() == "RANGE" and order is not None:
            for ordered in order.expressions:  # a distance needs one term, of one type
                times = any(isinstance(bound, (exp.Interval, exp.Cast)) for bound in bounds)
                self.as_(ordered.this, Kind.TIME if times else Kind.NUMBER)
        self.visit_all(bounds)
        self.order(order)

    def visit_neighbour(self, node: exp.Expr) -> Kind:
        """lag, lead, first_value, last_value, nth_value: of the type of what they look at."""
        kind = self.visit(node.this)
        self.visit_all(child for child in node.iter_expressions() if child.arg_key != "this")
        return Kind.PATH if kind.has_steps and node.args.get("default") is not None else kind

    def visit_filter(self, node: exp.Expr) -> Kind:
        kind = self.visit(node.this)
        self.aggregates += 1
        self.condition(node.expression.this)
        self.aggregates -= 1
        return kind

    def visit_within_group(self, node: exp.Expr) -> Kind:
        """``percentile_cont(p) WITHIN GROUP (ORDER BY path)``: by number, written as the engine itself writes it."""
        name = node.this.name.lower()
        name = {"percentile_cont": "quantile_cont", "percentile_disc": "quantile_disc"}.get(name, name)
        node.this.set("this", name)
        self.aggregates += 1
        target = Kind.NUMBER
        for ordered in node.expression.expressions:
            if name == "mode":
                kind = self.visit(ordered.this)
                ordered.this.replace(self.key(ordered.this, kind))
                target = keyed(kind)
            else:
                self.as_(ordered.this, target)
        self.aggregates -= 1
        return target


CALLS: Final[tuple[Handler, ...]] = (
    ((exp.Anonymous,), Calls.visit_call),
    ((exp.Window,), Calls.visit_window),
    ((exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue), Calls.visit_neighbour),
    ((exp.Filter,), Calls.visit_filter),
    ((exp.WithinGroup,), Calls.visit_within_group),
    ((exp.Bracket,), Calls.visit_bracket),
    ((exp.Array,), Calls.visit_array),
    ((exp.Lambda,), Calls.visit_lambda),
    ((exp.Comprehension,), Calls.visit_comprehension),
    (_SETS, Calls.visit_sets),
    ((exp.Substring, exp.Overlay), Calls.visit_part),
    ((exp.DPipe,), Calls.visit_joined),
)


def has_aggregate(node: exp.Expr) -> bool:
    """Whether a node is calculated over a group: aggregates in windows and subqueries do not count."""
    if isinstance(node, (exp.Subquery, exp.Query)):
        return False
    if isinstance(node, exp.WithinGroup):
        return True
    if isinstance(node, exp.Window):
        return any(has_aggregate(child) for inner in node.find_all(exp.Anonymous) for child in inner.expressions)
    if isinstance(node, exp.Anonymous) and node.name.lower() in functions.AGGREGATES:
        return True
    return any(has_aggregate(child) for child in node.iter_expressions())


def _inside(argument: exp.Expr) -> exp.Expr:
    """The value in ``x ORDER BY y``, ``DISTINCT x`` or ``name := x``."""
    if isinstance(argument, exp.Order) and argument.this is not None:
        return _inside(argument.this)
    if isinstance(argument, exp.Distinct) and argument.expressions:
        value: exp.Expr = argument.expressions[0]
        return value
    if isinstance(argument, (exp.PropertyEQ, exp.Kwarg)):
        named: exp.Expr = argument.expression
        return named
    return argument


def _unwrapped(node: exp.Expr) -> exp.Expr:
    """The call with its FILTER and OVER."""
    while isinstance(node.parent, (exp.Filter, exp.Window, exp.IgnoreNulls)) and node.arg_key == "this":
        node = node.parent
    return node


def _looks_into_list(kinds: list[Kind]) -> bool:
    """Whether ``contains`` of these is that of a list: of one, or of a path what is no text."""
    return len(kinds) == 2 and (kinds[0].is_list or (kinds[0].has_steps and kinds[1] == Kind.NUMBER))


def _called(node: exp.Expr | None) -> str:
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""


CALLS_AND_OPERATORS: Final = CALLS + COMPOUNDS + OPERATORS
