"""What functions take that look into lists: what the elements are compared as.

Elements of a list are VARIANTs where the list was sent as one or is made of paths. They become what they are compared
with, as paths do: numbers, or keys where that is not plain; what only moves elements leaves them as they were sent.
"""

import re
from typing import Final

from sqlglot import exp

from novamesh.sql.compound import Compounds, each, keyed, marked
from novamesh.sql.operands import is_word
from novamesh.sql.paths import Kind, call, kind_of_type, list_of, once, ranked, unboxed

_OF_NUMBERS: Final = "avg|sum|min|max|median|product|stddev|var_|kurtosis|skewness|mad|sem|fsum|quantile|geo"
_OF_VECTORS: Final = frozenset("cosine_distance cosine_similarity distance dot_product inner_product".split())
_TYPED: Final = {
    **dict.fromkeys(("bit_and", "bit_or", "bit_xor"), exp.DType.INT128),
    **dict.fromkeys(("bool_and", "bool_or"), exp.DType.BOOLEAN),
}
_CHOOSING: Final = {"select": exp.DType.BIGINT, "where": exp.DType.BOOLEAN}
_JOINING: Final = frozenset("cat concat zip".split())
_OF_TWO: Final = frozenset("has_all has_any intersect".split())
_LISTING: Final = frozenset("array_agg list".split())
_PICKING: Final = frozenset("any_value arbitrary first last".split())
_AGGREGATES: Final = frozenset("aggr aggregate".split())
_COMPARING: Final = frozenset(
    """
    approx_count_distinct contains distinct entropy has has_all has_any histogram indexof intersect mode position
    unique
    """.split()
)
_SORTING: Final = frozenset("grade_up reverse_sort sort".split())
_PLACES: Final = frozenset("element extract resize slice".split())  # the other arguments are integers
_MOVING: Final = frozenset(
    """
    any_value append cat concat count element extract filter first flatten last pop_back pop_front prepend push_back
    push_front resize reverse select slice where zip
    """.split()
)
_LISTS_OF_ITS_OWN: Final = _MOVING - frozenset("any_value count element extract first flatten last zip".split())
_ELEMENTS_OF_IT: Final = frozenset("any_value element extract first last".split())


_UNPREFIXED: Final = frozenset("aggregate apply filter flatten grade_up reduce".split())


class Lists(Compounds):
    """Operands that are calls of functions of lists."""

    def list_arguments(self, name: str, arguments: list[exp.Expr], kinds: list[Kind]) -> None:
        base = _base(name)
        if base in _AGGREGATES and len(arguments) > 1 and isinstance(arguments[1], exp.Literal):
            base, arguments, kinds = arguments[1].name.lower(), arguments[:1], kinds[:1]
        if not any(kind.is_variant or kind.holds_variants or kind.holds_keys for kind in kinds):
            return
        if any(isinstance(argument, exp.Lambda) for argument in arguments) or name == "unnest":
            self.moved(arguments, kinds)
        elif name == "array_to_string":
            self.texts(arguments, kinds)
        elif base in _PLACES:
            self.moved(arguments[:1], kinds[:1])
            for node, kind in zip(arguments[1:], kinds[1:], strict=True):
                if kind.is_variant:
                    node.replace(self.casts.small(node, kind))
        elif base == "flatten":
            self.flat(arguments[0], kinds[0])
        elif base in _JOINING:
            self.joined(arguments, kinds)
        elif base in _CHOOSING and len(arguments) > 1:
            self.moved(arguments[:1], kinds[:1])
            if kinds[1].is_variant or kinds[1] in (Kind.ELEMENTS, Kind.KEYS):
                arguments[1].replace(exp.TryCast(this=arguments[1].copy(), to=list_of(_CHOOSING[base])))
        elif base in _TYPED:
            if kinds[0].is_variant or kinds[0] in (Kind.ELEMENTS, Kind.KEYS):
                texts = self.element_texts(arguments[0], kinds[0])
                arguments[0].replace(exp.TryCast(this=texts, to=list_of(_TYPED[base])))
        elif base in _SORTING:
            self.sorted(base, arguments[0], kinds[0])
        elif base == "prepend":
            self.moved(arguments[::-1], kinds[::-1])
        elif base in _MOVING:
            self.moved(arguments, kinds)
        elif re.match(_OF_NUMBERS, base):
            self.numbers(arguments, kinds)
        elif base in _OF_VECTORS:
            self.numbers(arguments, kinds, lists=2)
        elif base in _COMPARING:
            self.compare_elements(arguments, kinds, lists=2 if base in _OF_TWO else 1)
        else:
            self.texts(arguments, kinds)

    def list_kind(self, name: str, kinds: list[Kind]) -> Kind:
        """The kind of what a function of lists gives."""
        base = _base(name)
        first = next(iter(kinds[::-1] if base == "prepend" else kinds), Kind.OTHER)
        first = Kind.ELEMENTS if first.has_steps else first
        if base in ("apply", "transform") and len(kinds) > 1:
            return kinds[1]
        if base in _ELEMENTS_OF_IT:
            return first.element
        if base in ("cat", "concat") and any(kind.has_steps or kind == Kind.ELEMENTS for kind in kinds):
            return Kind.ELEMENTS
        if base in ("distinct", "intersect"):
            return keyed(first)
        if base in _LISTS_OF_ITS_OWN or base in _SORTING - {"grade_up"}:
            return first if first.is_list else Kind.OTHER
        return Kind.OTHER

    def moved(self, arguments: list[exp.Expr], kinds: list[Kind]) -> None:
        """What only moves elements leaves them alone, but for paths that are put into a list of another type."""
        if kinds[0].has_steps:
            arguments[0].replace(self.casts.elements(arguments[0]))
        for node, kind in zip(arguments[1:], kinds[1:], strict=True):
            if kind.is_variant and kinds[0] == Kind.LIST:
                node.replace(self.casts.to(node, kind, Kind.NUMBER if _is_numbers(arguments[0]) else Kind.TEXT))

    def joined(self, arguments: list[exp.Expr], kinds: list[Kind]) -> None:
        """Lists put together: what is of a path stays as it was sent."""
        for node, kind in zip(arguments, kinds, strict=True):
            if kind.has_steps:
                node.replace(self.casts.elements(node))

    def flat(self, node: exp.Expr, kind: Kind) -> None:
        """A list of lists: its elements, which are VARIANTs, as lists."""
        if kind.has_steps or kind == Kind.ELEMENTS:
            elements = self.casts.elements(node) if kind.has_steps else node.copy()
            node.replace(each(elements, self.casts.elements))

    def texts(self, arguments: list[exp.Expr], kinds: list[Kind]) -> None:
        for place, (node, kind) in enumerate(zip(arguments, kinds, strict=True)):
            if kind.is_variant and place:
                node.replace(self.casts.text(node, kind))
            elif kind.is_variant or kind == Kind.ELEMENTS:
                node.replace(self.element_texts(node, kind))

    def numbers(self, arguments: list[exp.Expr], kinds: list[Kind], *, lists: int = 1) -> None:
        for place, (node, kind) in enumerate(zip(arguments, kinds, strict=True)):
            if kind.is_variant and place >= lists:
                node.replace(self.casts.number(node, kind))
            elif kind in (Kind.ELEMENTS, Kind.KEYS) or kind.is_variant:  # by way of text, as in paths.py
                node.replace(exp.TryCast(this=self.element_texts(node, kind), to=list_of(exp.DType.DOUBLE)))

    def compare_with_list(self, node: exp.Expr, values: exp.Expr) -> Kind:
        """``x IN properties.tags``, ``x = ANY (properties.tags)``."""
        holder = values.parent
        kinds = [self.visit(values), self.visit(node.this)]
        held = holder.args[str(values.arg_key)] if holder is not None else values
        self.compare_elements([held, node.this], kinds, lists=1)
        return Kind.BOOL

    def compare_elements(self, arguments: list[exp.Expr], kinds: list[Kind], *, lists: int) -> None:
        """What compares elements: by number where all that is no path is one, else by key."""
        others = {
            Kind.NUMBER if _is_numbers(node) or kind == Kind.NUMBER else kind
            for node, kind in zip(arguments, kinds, strict=True)
            if not kind.is_variant and not kind.holds_variants and kind not in (Kind.KEYS, Kind.NULL)
        }
        if not any(kind.is_variant or kind.holds_variants or kind == Kind.KEYS for kind in kinds):
            return
        if others == {Kind.NUMBER}:
            self.numbers(arguments, kinds, lists=lists)
            return
        sought = [node for node, kind in zip(arguments, kinds, strict=True) if not kind.is_known]
        words = len(sought) == len(arguments) - 1 > 0 and all(_is_words(node) for node in sought)
        for place, (node, kind) in enumerate(zip(arguments, kinds, strict=True)):
            if kind.has_steps and words and place < lists:
                node.replace(self.element_texts(node, kind))  # no number is equal to a word
            else:
                node.replace(self.textual(node, Kind.ELEMENTS if kind.has_steps and place < lists else kind))

    def sorted(self, name: str, node: exp.Expr, kind: Kind) -> None:
        """By the documented order: of pairs of what to sort by and the element, which is what is left then."""
        elements = self.casts.elements(node) if kind.has_steps else node.copy()
        kind = Kind.ELEMENTS if kind.has_steps else kind
        if not kind.is_list:
            return
        whole = node.parent
        node.replace(self.pairs(elements, kind))
        if whole is not None and name != "grade_up":
            holder = exp.Paren(this=exp.Null())
            whole.replace(holder)
            holder.replace(each(whole, unboxed))

    def pairs(self, values: exp.Expr, kind: Kind) -> exp.Expr:
        """A list with each element behind what to sort it by."""
        return each(values, lambda element: ranked(element, self.place(marked(element, kind.element), kind.element)))

    def distinct_order(self, name: str, node: exp.Expr) -> exp.Expr | None:
        """The term in ``list(DISTINCT x ORDER BY x)``, which it takes out: DuckDB orders only by what is listed, and
        that is a key. ``first(DISTINCT x ORDER BY x)`` is the same without DISTINCT."""
        order = next(iter(node.expressions), None)
        distinct = order.this if isinstance(order, exp.Order) else None
        if order is None or not isinstance(distinct, exp.Distinct) or len(distinct.expressions) != 1:
            return None
        ordered: exp.Expr = order.expressions[0]
        value = distinct.expressions[0]
        is_listed = name in _LISTING and len(order.expressions) == 1 and ordered.this == value
        if not (is_listed or name in _PICKING) or not self.probe(value)[1].holds_variants:
            return None
        if is_listed:
            order.replace(distinct)
            return ordered
        distinct.replace(value)
        return None

    def sorted_keys(self, whole: exp.Expr, kind: Kind, ordered: exp.Expr) -> None:
        """Put a list of keys into the order that was asked for."""
        direction = exp.Literal.string("DESC" if ordered.args.get("desc") else "ASC")
        nulls = exp.Literal.string("NULLS FIRST" if ordered.args.get("nulls_first") else "NULLS LAST")
        holder = exp.Paren(this=exp.Null())
        whole.replace(holder)
        holder.replace(each(call("list_sort", self.pairs(whole, kind), direction, nulls), unboxed))

    def sliced(self, node: exp.Expr, kind: Kind) -> exp.Expr:
        """A slice of a list, or of text: a VARIANT."""

        def form(path: exp.Expr) -> exp.Expr:
            is_list = call("starts_with", call("variant_typeof", path.copy()), exp.Literal.string("ARRAY"))
            elements, text = node.copy(), node.copy()
            elements.this.replace(self.casts.elements(path))
            text.this.replace(self.casts.text(path, kind))
            never = exp.If(this=exp.Boolean(this=False), true=path.copy())  # makes the text a VARIANT
            return exp.Case(ifs=[exp.If(this=is_list, true=elements)], default=exp.Case(ifs=[never], default=text))

        return once(node.this, form)


def is_list_function(name: str) -> bool:
    return name.startswith(("list_", "array_")) or name in _UNPREFIXED


def _base(name: str) -> str:
    return name.removeprefix("list_").removeprefix("array_")


def _is_numbers(node: exp.Expr) -> bool:
    """Whether this is a list of numbers, as far as can be seen."""
    if isinstance(node, exp.Cast):
        inner = node.args["to"].expressions
        return bool(inner) and kind_of_type(inner[0]) == Kind.NUMBER
    values = [part.this if isinstance(part, exp.Neg) else part for part in node.expressions]
    literal = all(isinstance(value, exp.Literal) and not value.is_string for value in values)
    return isinstance(node, exp.Array) and bool(values) and literal


def _is_words(node: exp.Expr) -> bool:
    """Whether these are strings that are no numbers, as far as can be seen."""
    values = node.expressions if isinstance(node, exp.Array) else [node]
    return all(is_word(value) for value in values)
