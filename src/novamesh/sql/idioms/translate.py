"""Translates what people write out of habit from ClickHouse and PostgreSQL into what runs here.

::

    text ─▶ tree ─▶ translate ─▶ guard ─▶ …

It comes before the checks, so what it makes is checked as if the user had written it, and paths in it are cast as
any. Most of it is a table, ``table.py``; here is what takes more than a line. What is copied is counted, and is
no more than a query may be: a translation that repeats its argument doubles it each time it stands in itself.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple

from sqlglot import exp

from novamesh.errors import InvalidQuery, QueryNotAllowed
from novamesh.sql import functions
from novamesh.sql.idioms import formats as idiom_formats
from novamesh.sql.idioms import table as idiom_table
from novamesh.sql.idioms import trees as idiom_trees
from novamesh.sql.idioms.syntax import PARAMETRIC
from novamesh.sql.names import SHOWN
from novamesh.sql.parse import MAX_NODES, parse
from novamesh.sql.paths import call

Args = list[exp.Expr]

_INSTEAD: Final = {name.lower(): (name, form) for name, form in idiom_table.INSTEAD.items()}
_WHOLE: Final = {f"to{name.lower()}": kind for name, kind in idiom_table.WHOLE.items()}
_NUMBERS: Final = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.Literal)
_TRUTHS: Final = (exp.Predicate, exp.Connector, exp.Not)
_SECONDS: Final = frozenset({"todate", "todatetime"})  # literals are seconds since 1970 for these …
_DAYS_END: Final = 65_536  # … or days, below this
_LOOSE: Final = (exp.Binary, exp.Unary, exp.Between, exp.In, exp.AtTimeZone, exp.Is)
_TIGHT: Final = (exp.Paren, exp.Dot)
_HOLDS: Final = (exp.Anonymous, exp.Cast, exp.Distinct, exp.Array, exp.Select, exp.Alias, exp.Where, exp.Paren)


class _Row(NamedTuple):
    """A line of the table: the names of the arguments by bracket, and the SQL they stand in."""

    brackets: tuple[tuple[str, ...], ...]
    sql: str

    def takes(self, groups: list[Args]) -> bool:
        return len(groups) == len(self.brackets) and all(map(_fits, self.brackets, groups))


def _fits(names: tuple[str, ...], args: Args) -> bool:
    many = bool(names) and names[-1].startswith("*")
    return len(args) >= len(names) if many else len(args) == len(names)


@cache
def _rows() -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for row in idiom_table.rows():
        signature, _, sql = row.partition(" = ")
        name, *brackets = re.findall(r"^\w+|\(.*?\)", signature)
        names = tuple(tuple(filter(None, bracket.strip("()").split(", "))) for bracket in brackets)
        found.setdefault(name.lower(), []).append(_Row(names, sql))
    return found


@cache
def _tree(sql: str) -> exp.Expr:
    tree: exp.Expr = parse(f"SELECT {sql}").expressions[0]
    return tree


def translate(query: exp.Expr) -> None:
    """Translate a parsed query in place.

    Raises :class:`InvalidQuery` or :class:`QueryNotAllowed` with the form that does, where there is no translation.
    """
    _Translator().run(query)


class _Translator:
    """One query, inside out: what stands in a call is translated before the call."""

    def __init__(self) -> None:
        self.copied = 0

    def run(self, query: exp.Expr) -> None:
        for node in reversed(list(query.walk())):
            if isinstance(node, exp.Anonymous):
                self.call(node)
            elif isinstance(node, exp.DataType):
                idiom_trees.plain_type(node)
            elif isinstance(node, (exp.Table, exp.Lateral)):
                idiom_trees.table(node)
            else:
                built = idiom_trees.operator(node)
                if built is not None:
                    _put(node, built)

    # -- calls --------------------------------------------------------------------------------------------------------

    def call(self, node: exp.Anonymous) -> None:
        name = node.name.lower().removesuffix(PARAMETRIC)
        if name not in idiom_table.NAMES or isinstance(node.parent, (exp.Table, exp.Lateral)):
            return
        groups = _groups(node)
        built = self.built(name, groups)
        if built is None and (name not in functions.ALLOWED or len(groups) > 1):
            raise _refused(node.name.removesuffix(PARAMETRIC), name)
        if built is not None:
            built.meta[SHOWN] = name
            _place(node, built)

    def built(self, name: str, groups: list[Args]) -> exp.Expr | None:
        """The translation of a call, or None where there is none."""
        build = _BUILDERS.get(name)
        if build is not None:
            return build(self, groups[-1])
        if name in _WHOLE and len(groups[0]) == 1 and (found := self.whole(_WHOLE[name], groups[0][0])) is not None:
            return found
        if (
            name in _SECONDS
            and len(groups[0]) == 1
            and idiom_trees.is_whole(groups[0][0])
            and int(groups[0][0].name) >= _DAYS_END
        ):
            groups = [[self.template("n = CAST(to_timestamp(n) AS TIMESTAMP)", groups[0][0])]]
        row = next((row for row in _rows().get(name, ()) if row.takes(groups)), None)
        if row is not None:
            return self.filled(row, groups)
        if name in idiom_table.TIMED and len(groups[0]) > 1 and not groups[0][-1].is_number:
            zone = groups[0].pop()
            groups[0][0] = self.zoned(groups[0][0], zone)
            return self.built(name, groups)
        return self.conditional(name.removesuffix("if"), groups) if name.endswith("if") else None

    def conditional(self, base: str, groups: list[Args]) -> exp.Expr | None:
        """``sumIf(x, c)`` as ``sum(x) FILTER (WHERE c)``."""
        if base not in idiom_table.COMBINED or not groups[-1]:
            return None
        condition = groups[-1].pop()
        built = self.built(base, groups)
        if built is None:
            if base not in functions.AGGREGATES or len(groups) > 1:
                return None
            built = call(base, *groups[0])
        return _narrowed(built, condition)

    def filled(self, row: _Row, groups: list[Args]) -> exp.Expr:
        """The SQL of a row with the arguments in it."""
        holder = exp.Paren(this=_tree(row.sql).copy())
        values: dict[str, Args] = {}
        for names, args in zip(row.brackets, groups, strict=True):
            for place, name in enumerate(names):
                values[name.lstrip("*")] = args[place:] if name.startswith("*") else [args[place]]
        used: set[str] = set()
        for node in list(holder.find_all(exp.Column, exp.DataTypeParam)):
            name = node.name.lower()
            if name in values:
                args = [self.copy(arg) for arg in values[name]] if name in used else values[name]
                used.add(name)
                _splice(node, args)
        built: exp.Expr = holder.this
        return built

    def copy(self, node: exp.Expr) -> exp.Expr:
        self.copied += sum(1 for _ in node.walk())
        if self.copied > MAX_NODES:
            raise QueryNotAllowed("The query is nested too deeply; simplify it")
        return idiom_trees.inside(node).copy()

    def template(self, signature: str, *args: exp.Expr) -> exp.Expr:
        """``template("f(x) = g(x)", arg)``: a row that is not in the table."""
        names, _, sql = signature.partition(" = ")
        return self.filled(_Row((tuple(names.split(", ")),), sql), [list(args)])

    def zoned(self, time: exp.Expr, zone: exp.Expr) -> exp.Expr:
        return exp.Paren(this=self.template(f"t, zone = {idiom_table.ZONED}", time, zone))

    # -- what takes more than a line ----------------------------------------------------------------------------------

    def whole(self, kind: str, value: exp.Expr) -> exp.Expr | None:
        """``toInt64(x)`` where it shows what x is: a time, a condition, a number."""
        plain = value.unnest()
        if idiom_trees.is_time(plain):
            return self.built("tounixtimestamp", [[value]])
        if isinstance(plain, _TRUTHS):
            return self.template(f"x = CAST(x AS {kind})", value)
        if isinstance(plain, _NUMBERS) and not plain.is_string:
            return self.template(f"x = TRY_CAST(trunc(x) AS {kind})", value)
        return None

    def rows(self, args: Args) -> exp.Expr | None:
        """``uniq(a, b)``: of rows without a NULL."""
        if not args:
            return None
        built: exp.Expr = call("count", exp.Distinct(expressions=args))
        if len(args) == 1:
            return self.template("x = count(DISTINCT x)", args[0])
        for arg in args:
            built = _narrowed(built, self.template("x = x IS NOT NULL", self.copy(arg)))
        return built

    def multi_if(self, args: Args) -> exp.Expr | None:
        if len(args) < 3 or len(args) % 2 == 0:
            raise InvalidQuery("multiIf takes a condition and a value for each case, and one value for all others")
        *pairs, default = args
        cases = [exp.If(this=one, true=two) for one, two in zip(pairs[::2], pairs[1::2], strict=True)]
        return exp.Case(ifs=cases, default=default)

    def add(self, args: Args) -> exp.Expr | None:
        return self.moved("+", args)

    def subtract(self, args: Args) -> exp.Expr | None:
        return self.moved("-", args)

    def moved(self, sign: str, args: Args) -> exp.Expr | None:
        """``dateAdd(DAY, 3, t)`` and ``dateAdd(t, INTERVAL 3 DAY)``; not DuckDB's own ``date_sub('day', a, b)``."""
        if len(args) == 2:
            return self.template(f"t, i = CAST(t AS TIMESTAMP) {sign} i", *args)
        unit = idiom_formats.unit_of(args[0]) if len(args) == 3 else None
        if unit is None or (args[0].is_string and sign == "-"):
            return None
        return self.template(f"t, n = CAST(t AS TIMESTAMP) {sign} to_{unit}s(n)", args[2], args[1])

    def difference(self, args: Args) -> exp.Expr | None:
        return self.between("date_diff", args)

    def age(self, args: Args) -> exp.Expr | None:
        return self.between("date_sub", args) if len(args) > 2 else None

    def between(self, name: str, args: Args) -> exp.Expr | None:
        unit = idiom_formats.unit_of(args[0]) if len(args) in (3, 4) else None
        if unit is None:
            return None
        times = args[1:3]
        if len(args) == 4:
            times = [self.zoned(times[0], args[3]), self.zoned(times[1], self.copy(args[3]))]
        return call(name, exp.Literal.string(unit), *times)

    def start_of_interval(self, args: Args) -> exp.Expr | None:
        """Counted from where ClickHouse counts; DuckDB counts from 2000."""
        if len(args) not in (2, 3):
            return None
        interval = idiom_formats.interval_of(args[1])
        if interval is None or interval[1] < 1:
            raise InvalidQuery("toStartOfInterval takes a literal interval: toStartOfInterval(t, INTERVAL 15 MINUTE)")
        time = self.zoned(args[0], args[2]) if len(args) == 3 else args[0]
        return self.template(f"t, i = time_bucket(i, t, {idiom_formats.origin_of(*interval)})", time, args[1])

    def start_of_week(self, args: Args) -> exp.Expr | None:
        """From Sunday, as there, unless the mode says from Monday."""
        given = len(args) > 1 and args[1].is_number
        mode, zone = (args[1].sql(), args[2:]) if given else ("0", args[1:])
        if mode not in ("0", "1") or len(zone) > 1 or not args:
            raise InvalidQuery("toStartOfWeek(t) starts on Sunday, toStartOfWeek(t, 1) and toMonday(t) on Monday")
        time = self.zoned(args[0], zone[0]) if zone else args[0]
        if mode == "1":
            return self.template("t = CAST(date_trunc('week', t) AS DATE)", time)
        day = "INTERVAL 1 DAY"
        return self.template(f"t = CAST(date_trunc('week', CAST(t AS TIMESTAMP) + {day}) - {day} AS DATE)", time)

    def format_clickhouse(self, args: Args) -> exp.Expr | None:
        if len(args) not in (2, 3):
            return None
        time = self.zoned(args[0], args[2]) if len(args) == 3 else args[0]
        return call("strftime", time, idiom_formats.given(idiom_formats.from_clickhouse, "formatDateTime", args[1]))

    def to_char(self, args: Args) -> exp.Expr | None:
        if len(args) != 2:
            return None
        return call("strftime", args[0], idiom_formats.given(idiom_formats.from_postgresql, "to_char", args[1]))

    def to_date(self, args: Args) -> exp.Expr | None:
        if len(args) == 1:
            return self.template("t = CAST(t AS DATE)", args[0])
        parsed = self.to_timestamp(args)
        return self.template("t = CAST(t AS DATE)", parsed) if parsed is not None else None

    def to_timestamp(self, args: Args) -> exp.Expr | None:
        if len(args) != 2:
            return None
        return call("strptime", args[0], idiom_formats.given(idiom_formats.from_postgresql, "to_timestamp", args[1]))

    def extract(self, args: Args) -> exp.Expr | None:
        return self.extracted("regexp_extract", args)

    def extract_all(self, args: Args) -> exp.Expr | None:
        return self.extracted("regexp_extract_all", args)

    def extracted(self, name: str, args: Args) -> exp.Expr | None:
        """The first group of the pattern, or the whole where there is none."""
        if len(args) != 2:
            return None
        return call(name, *args, idiom_trees.group_in(args[1]), exp.Literal.string("s"))

    def slice(self, args: Args) -> exp.Expr | None:
        if len(args) == 2:
            return call("list_slice", *args, exp.Neg(this=exp.Literal.number(1)))
        if len(args) != 3 or not all(map(idiom_trees.is_whole, args[1:])):
            raise InvalidQuery("arraySlice takes a literal place and length; write list[first:last]")
        last = int(args[1].name) + int(args[2].name) - 1
        return call("list_slice", args[0], args[1], exp.Literal.number(last))

    # -- JSON ---------------------------------------------------------------------------------------------------------

    def json(self, args: Args, to: str) -> exp.Expr | None:
        """``JSONExtractInt(properties, 'a', 'b')``: a step for each key, and the conversion ``to``."""
        if not args:
            return None
        value = idiom_trees.stepped(args[0], args[1:], text=to not in ("raw", "keys", "len", "type", "list"))
        forms = {
            "raw": "x = CAST(CAST(x AS JSON) AS VARCHAR)",
            "keys": "x = json_keys(x)",
            "len": "x = json_array_length(x)",
            "list": "x = CAST(x AS VARCHAR[])",
            "type": "x = json_type(x)",
        }
        return self.template(forms[to], value) if to in forms else self.built(f"to{to}", [[value]])

    def json_as(self, args: Args) -> exp.Expr | None:
        """``JSONExtract(properties, 'page', 'Nullable(String)')``"""
        kind = args[-1].name if len(args) > 1 and args[-1].is_string else ""
        kind = re.sub(r"^(?:Nullable|LowCardinality)\((.*)\)$", r"\1", kind)
        kind = "list" if kind == "Array(String)" else kind.lower()
        if kind != "list" and f"to{kind}" not in _rows():
            raise InvalidQuery("JSONExtract takes a plain type such as 'Int64' last; or write properties.name::BIGINT")
        return self.json(args[:-1], kind)

    def json_has(self, args: Args) -> exp.Expr | None:
        if len(args) < 2:
            return None
        found = idiom_trees.exists(args[0], args[1:])
        return call("coalesce", found, exp.Boolean(this=False))  # false of what is not there, as there

    def json_text(self, args: Args) -> exp.Expr | None:
        return self.json(args, "string")

    def json_path(self, args: Args) -> exp.Expr | None:
        return exp.Paren(this=idiom_trees.stepped(args[0], args[1:], text=False)) if args else None


Builder = Callable[[_Translator, Args], exp.Expr | None]


def _json(to: str) -> Builder:
    return lambda translator, args: translator.json(args, to)


def _builders() -> Iterator[tuple[str, Builder]]:
    for prefix in ("JSONExtract", "simpleJSONExtract", "visitParamExtract"):
        for name, to in (
            ("Bool", "bool"),
            ("Float", "float64"),
            ("Int", "int64"),
            ("Raw", "raw"),
            ("String", "string"),
        ):
            yield prefix + name, _json(to)
    yield from (("JSONExtractUInt", _json("uint64")), ("JSONExtractKeys", _json("keys")), ("JSONLength", _json("len")))
    yield from (("JSONType", _json("type")), ("JSONExtract", _Translator.json_as))
    yield from ((name, _Translator.json_has) for name in ("JSONHas", "simpleJSONHas", "visitParamHas"))
    yield "jsonb_extract_path", _Translator.json_path
    yield "jsonb_extract_path_text", _Translator.json_text
    yield from ((name, _Translator.add) for name in ("dateAdd", "date_add", "timestampAdd"))
    yield from ((name, _Translator.subtract) for name in ("dateSub", "date_sub", "timestampSub"))
    yield from ((name, _Translator.difference) for name in ("dateDiff", "date_diff", "timestampDiff"))
    yield from ((name, _Translator.rows) for name in ("uniq", "uniqExact", "countDistinct"))
    yield from (("age", _Translator.age), ("multiIf", _Translator.multi_if), ("arraySlice", _Translator.slice))
    yield from (("extract", _Translator.extract), ("extractAll", _Translator.extract_all))
    yield from (("formatDateTime", _Translator.format_clickhouse), ("to_char", _Translator.to_char))
    yield from (("to_date", _Translator.to_date), ("to_timestamp", _Translator.to_timestamp))
    yield from (("toStartOfInterval", _Translator.start_of_interval), ("toStartOfWeek", _Translator.start_of_week))


_BUILDERS: Final = {name.lower(): build for name, build in _builders()}


# -- arguments --------------------------------------------------------------------------------------------------------


def _groups(node: exp.Anonymous) -> list[Args]:
    """The arguments of a call by bracket."""
    args = list(node.expressions)
    if not node.name.endswith(PARAMETRIC) or not args:
        return [args]
    first, *rest = args
    return [list(first.expressions) if isinstance(first, exp.Tuple) else [first.this], rest]


def _splice(node: exp.Expr, args: Args) -> None:
    """Put arguments where the name of one stands."""
    parent, key = node.parent, str(node.arg_key)
    if isinstance(parent, exp.Distinct):
        args = [idiom_trees.inside(arg) if isinstance(arg, exp.Distinct) else arg for arg in args]
    if len(args) != 1:
        assert parent is not None
        held = parent.args[key]
        place = next(place for place, item in enumerate(held) if item is node)
        parent.set(key, [*held[:place], *args, *held[place + 1 :]])
        return
    arg = args[0]
    if isinstance(arg, _LOOSE) and not isinstance(arg, _TIGHT) and not isinstance(parent, _HOLDS):
        arg = exp.Paren(this=arg)
    node.replace(arg)


# -- the place of a translation ---------------------------------------------------------------------------------------


def _narrowed(built: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """The tree with its aggregate over the rows of a condition only."""
    aggregate = _aggregate(built)
    around = aggregate.parent
    if isinstance(around, exp.Filter):
        where = around.expression
        where.set("this", exp.And(this=exp.Paren(this=where.this), expression=exp.Paren(this=condition)))
        return built
    narrow = exp.Filter(expression=exp.Where(this=condition))
    if aggregate is built:
        narrow.set("this", built)
        return narrow
    aggregate.replace(narrow)
    narrow.set("this", aggregate)
    return built


def _aggregate(built: exp.Expr) -> exp.Expr:
    calls = built.find_all(exp.Anonymous)
    return next((node for node in calls if node.name.lower() in functions.AGGREGATES), built)


def _place(node: exp.Expr, built: exp.Expr) -> None:
    """Put a translation where the call stood: its FILTER and OVER go around the aggregate in it."""
    shown = built.meta[SHOWN]
    if isinstance(node.parent, exp.Filter) and node.arg_key == "this":
        node = node.parent
        built = _narrowed(built, node.expression.this)
    if isinstance(node.parent, exp.Window) and node.arg_key == "this":
        inner = _aggregate(built)
        inner = inner.parent if isinstance(inner.parent, exp.Filter) else inner
        if inner is not built:
            window, hole = node.parent, exp.Null()
            inner.replace(hole)
            node.replace(inner)
            _put(window, built)
            hole.replace(window)
            built.meta[SHOWN] = shown
            return
    built.meta[SHOWN] = shown
    _put(node, built)


def _put(node: exp.Expr, built: exp.Expr) -> None:
    shown = built.meta.get(SHOWN)
    if isinstance(built, _LOOSE) and not isinstance(built, _TIGHT) and not isinstance(node.parent, _HOLDS):
        built = exp.Paren(this=built)
        built.meta[SHOWN] = shown
    node.replace(built)


def _refused(written: str, name: str) -> Exception:
    if name in _INSTEAD:
        spelled, form = _INSTEAD[name]
        return QueryNotAllowed(f"Function {spelled} is not available; {form}")
    forms = [written + "".join(f"({', '.join(names)})" for names in row.brackets) for row in _rows().get(name, ())]
    if name in idiom_table.TIMED:
        forms.append(f"{written}(t, 'Europe/Paris')")
    if name.removesuffix("if") in idiom_table.COMBINED and not forms:
        forms.append(f"{written}(…, condition)")
    if name in _BUILDERS:
        forms.append(f"{written}(properties, 'name')" if "json" in name else f"{written}(t, 'YYYY-MM-DD')")
    if name.startswith("array"):
        forms.append("a call of list_zip(a, b) for two lists")
    return InvalidQuery(f"{written} takes other arguments: {' or '.join(forms) or f'FROM {written}(3)'}")
