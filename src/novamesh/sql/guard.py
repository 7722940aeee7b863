"""Which SQL may run, and the text that runs instead of it.

::

    text ─bounds─▶ tokens ─▶ tree ─allow-lists─▶ names, paths, tables, limit ─▶ text ─▶ tree ─allow-lists─▶ run

The text a user sent never reaches the engine: what runs is generated from the checked tree, parsed once more and
checked once more, so that what was checked is what runs. Everything is an allow-list (node types, functions, cast
targets, tables): DuckDB types ``WITH x AS (COPY … TO '<database file>') SELECT 1`` as a SELECT, so the statement's
kind proves nothing.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec
from sqlglot import exp

from novamesh.errors import InvalidQuery, QueryNotAllowed
from novamesh.sql import functions, hoist, inspect, names, rewrite, shown, work
from novamesh.sql.hoist import Extent
from novamesh.sql.idioms import table as idiom_table
from novamesh.sql.idioms.translate import translate
from novamesh.sql.parse import MAX_JOINS, generate, parse
from novamesh.sql.paths import NATIVE_TYPES
from novamesh.sql.types import NO_TYPES, PathTypes

_REMEMBERED: Final = 256  # checked queries: dashboards send the same ones again and again
MAX_DEPTH: Final = 150
MAX_QUERIES_DEEP: Final = 10
MAX_LAMBDAS_DEEP: Final = 2
MAX_COMPARED_DEEP: Final = 5
"""The engine looks at what IN, BETWEEN and nullif compare three times, and so on within it, and cannot be stopped then:
10 of them in each other take 10 s (DuckDB 2.0.0)."""
HOISTED_DEEP: Final = 2  # how many queries hoist.py puts in place of a table
MAX_SET_OPERATIONS: Final = 20
MAX_CTES: Final = 20
MAX_CTE_COPIES: Final = 100
MAX_IN_LIST: Final = 2_000
MAX_CUBE: Final = 5
MAX_GROUPING_SETS: Final = 32

TABLES: Final = ("events", "quarantine")
_FUNCTIONS: Final = functions.ALLOWED | idiom_table.SPELLED
_OUR_TABLES: Final = (*TABLES, hoist.SHREDDED, hoist.PLAIN)


class Checked(msgspec.Struct, frozen=True):
    """A query that may run.

    ``sql`` is the only text the engine sees. ``names`` maps placeholder column names in it to the names the user is to
    see: show ``names.get(name, name)`` for each result column. ``parameters`` are the names of its placeholders;
    ``wanted`` of it are its rows, its columns or its plan (see ``inspect.py``). ``resumable``: a row is an event, and
    they come in the order in which events are stored. ``relied`` are paths and the types it was made for;
    ``shredded_only``: it leaves out the events that are kept as JSON, because there are none. ``variants`` are the
    places of columns that are to be called VARIANT, whatever they are (see ``shown.py``).
    """

    sql: str
    names: dict[str, str]
    parameters: tuple[str, ...]
    wanted: str
    resumable: bool
    relied: dict[str, str]
    shredded_only: bool
    variants: tuple[int, ...]


def check(
    sql: str,
    *,
    schema: str,
    limit: int | None,
    careful: bool = False,
    extent: Extent | None = None,
    types: PathTypes = NO_TYPES,
) -> Checked:
    """Check a query on one project's ``schema``; its result is cut after ``limit + 1`` rows, if there is a limit.

    With an ``extent`` it reads only the events within. What is made for the ``types`` of the paths may only run while
    they are these.
    ``careful`` makes slower SQL, for data the engine cannot cast (``duplicate name … in struct``): see ``paths.py``.

    Raises :class:`InvalidQuery` for what cannot be understood and :class:`QueryNotAllowed` for what may not run.
    """
    try:
        return _check(sql, schema, limit, careful, extent, types)
    except RecursionError:
        raise QueryNotAllowed("The query is nested too deeply; simplify it") from None


def warm() -> None:
    """Parse once, so that the first user does not wait the 20 ms sqlglot takes to load its tables."""
    check("SELECT event, count() FROM events GROUP BY event LIMIT 10", schema="main", limit=1)


@lru_cache(_REMEMBERED)
def _check(sql: str, schema: str, limit: int | None, careful: bool, extent: Extent | None, types: PathTypes) -> Checked:
    sql, wanted = inspect.resolve(sql)
    query = parse(sql)
    if isinstance(query, exp.Select) and not query.expressions:
        raise InvalidQuery("The query ends after SELECT; name what to select")
    translate(query)
    _verify(query, ours=False)
    _Tables(schema, ours=False).visit(query, {})
    titles = names.assign(query)
    resumable = wanted == inspect.ROWS and hoist.gives_events_in_order(query)
    relied = rewrite.apply(query, careful=careful, types=types)
    if work.is_larger(query, work.MAX_WRITTEN):  # what comes next takes ten times as long
        raise QueryNotAllowed("The query is nested too deeply; simplify it")
    variants = shown.apply(query)
    shredded_only = extent is None and types.shredded_only
    hoist.apply(query, extent, shredded_only=shredded_only)
    text = generate(_limited(query, limit + 1) if limit is not None else query)
    _confirm(text, schema)
    parameters = sorted({node.name for node in query.find_all(exp.Placeholder)})
    if len({name.isdecimal() for name in parameters}) > 1:
        both = ", $".join(parameters)[:80]
        raise InvalidQuery(f"Placeholders are all named ($user) or all numbered ($1, ?); here are ${both}")
    return Checked(text, titles, tuple(parameters), wanted, resumable, relied, shredded_only, variants)


def _confirm(text: str, schema: str) -> None:
    """Check the text that will run as if a stranger had written it."""
    try:
        again = parse(text, ours=True)
    except InvalidQuery:
        again = None
    if again is None or generate(again) != text:
        raise QueryNotAllowed("The query cannot be written back unchanged; write it in a simpler form")
    _verify(again, ours=True)
    _Tables(schema, ours=True).visit(again, {})


# -- what may be in the tree ----------------------------------------------------------------------------------------


def _verify(query: exp.Expr, *, ours: bool) -> None:
    """Refuse everything that is not allowed, in a user's text or in our own."""
    counts = dict.fromkeys((exp.Join, exp.SetOperation, exp.CTE), 0)
    slack = HOISTED_DEEP if ours else 0
    for node, depth, queries, lambdas, growth, compared in _walk(query):
        _verify_size(node, depth - 4 * slack, queries - slack, lambdas)
        if compared > MAX_COMPARED_DEEP and not ours:
            raise QueryNotAllowed(
                f"IN, BETWEEN and nullif may compare each other at most {MAX_COMPARED_DEEP} deep; write CASE"
            )
        for kind in counts:
            counts[kind] += isinstance(node, kind)
        _verify_node(node, ours=ours)
        if growth > functions.MAX_GROWTH:
            raise QueryNotAllowed(f"Strings may grow at most {functions.MAX_GROWTH} times; repeat less")
    for kind, most, word in (
        (exp.Join, MAX_JOINS, "joins"),
        (exp.SetOperation, MAX_SET_OPERATIONS, "set operations"),
        (exp.CTE, MAX_CTES, "WITH queries"),
    ):
        if counts[kind] > most and not ours:
            raise QueryNotAllowed(f"A query may have at most {most} {word}; split it")


def _walk(root: exp.Expr) -> Iterator[tuple[exp.Expr, int, int, int, int, int]]:
    """Every node with its depth, how many queries and lambdas it stands in, how much strings grow around it, and how
    many comparisons it is compared by."""
    stack = [(root, 0, 0, 0, 1, 0)]
    while stack:
        node, depth, queries, lambdas, growth, compared = stack.pop()
        queries += isinstance(node, (exp.Select, exp.Values))
        lambdas += isinstance(node, (exp.Lambda, exp.Comprehension))
        if isinstance(node, exp.Anonymous):
            growth *= functions.growth(node)
        compared += _is_compared(node)
        yield node, depth, queries, lambdas, growth, compared
        stack += [(child, depth + 1, queries, lambdas, growth, compared) for child in node.iter_expressions()]


def _is_compared(node: exp.Expr) -> bool:
    """Whether this is what IN, BETWEEN or nullif compares with the rest."""
    if isinstance(node.parent, (exp.In, exp.Between)):
        return node.arg_key == "this"
    return isinstance(node.parent, exp.Anonymous) and node.parent.name.lower() == "nullif" and not node.index


def _verify_size(node: exp.Expr, depth: int, queries: int, lambdas: int) -> None:
    if depth > MAX_DEPTH or queries > MAX_QUERIES_DEEP:
        raise QueryNotAllowed("The query is nested too deeply; use IN for long OR chains and WITH for nested queries")
    if lambdas > MAX_LAMBDAS_DEEP:
        raise QueryNotAllowed(f"Lambdas may stand at most {MAX_LAMBDAS_DEEP} deep; use unnest instead")
    if isinstance(node, exp.In) and len(node.expressions) > MAX_IN_LIST:
        raise QueryNotAllowed(f"An IN list may hold at most {MAX_IN_LIST} values; use a range or split the query")
    if isinstance(node, exp.Group):
        cubed = sum(len(cube.expressions) for cube in node.find_all(exp.Cube))
        sets = sum(len(part.expressions) for part in node.find_all(exp.GroupingSets, exp.Rollup))
        if cubed > MAX_CUBE or sets > MAX_GROUPING_SETS:
            raise QueryNotAllowed(f"Group by a CUBE of at most {MAX_CUBE} columns or {MAX_GROUPING_SETS} grouping sets")


def _verify_node(node: exp.Expr, *, ours: bool) -> None:
    if isinstance(node, exp.Anonymous):
        _verify_call(node)
    elif isinstance(node, exp.Dot) and not isinstance(node.expression, exp.Identifier):
        name = node.expression.name if node.expression is not None else ""
        raise QueryNotAllowed(f"Functions are called as {name or 'f'}(x), without a dot before them")
    elif isinstance(node, exp.Alias) and not isinstance(node.parent, (exp.Select, exp.Star)):
        raise QueryNotAllowed(f"Only result columns and tables have aliases; remove AS {node.alias}")
    elif isinstance(node, exp.Placeholder) and _stands_for_name(node):
        raise InvalidQuery(
            f"The placeholder {generate(node)} stands where a name belongs; write a name, or the comma before it"
        )
    elif isinstance(node, exp.Identifier) and not node.name:
        raise InvalidQuery("A name may not be empty; the empty key is variant_extract(properties, '')")
    elif isinstance(node, exp.DataType):
        if not _is_castable(node, ours):
            raise QueryNotAllowed(f"Values may not be cast to {generate(node)}; use a plain type such as VARCHAR")
    elif isinstance(node, (exp.RegexpLike, exp.SimilarTo)):
        fault = functions.pattern_fault(node.expression)
        if fault:
            raise QueryNotAllowed(f"That pattern may not run: {fault}")
    elif isinstance(node, exp.Interval):
        if node.unit is None or node.unit.name.upper() not in functions.UNITS:
            raise QueryNotAllowed("Write intervals as INTERVAL 7 DAY or INTERVAL '7 days'")
    elif isinstance(node, exp.Limit) and not isinstance(node.parent, exp.Query):
        raise InvalidQuery("LIMIT stands at the end of a query, not among the arguments of a function")
    elif type(node) not in functions.NODES:
        raise QueryNotAllowed(_unknown(node))


def _stands_for_name(node: exp.Expr) -> bool:
    if isinstance(node.parent, (exp.Column, exp.PropertyEQ, exp.Table, exp.TableAlias, exp.Window)):
        return node.arg_key in ("alias", "columns", "this")
    return node.arg_key in ("alias", "except_", "using")


def _verify_call(call: exp.Anonymous) -> None:
    name = call.name.lower()
    if name not in functions.ALLOWED:
        raise QueryNotAllowed(f"Function {name} is not allowed{functions.nearest(name, _FUNCTIONS)}")
    fault = functions.argument_fault(name, call)
    if fault:
        raise QueryNotAllowed(f"That call of {name} may not run: {fault}")


def _unknown(node: exp.Expr) -> str:
    if isinstance(node, exp.Func):
        name = (node.meta.get("name") or node.sql_name()).lower()
        return f"Function {name} is not allowed{functions.nearest(name, _FUNCTIONS)}"
    return f"{type(node).__name__.upper()} may not be used in a query; queries read events with SELECT"


def _is_castable(node: exp.DataType, ours: bool) -> bool:
    if node.this in functions.NESTED_TYPES:
        return True  # its element types are nodes of their own
    if node.this == exp.DType.VARIANT:
        # A path's elements or a JSON column, and only in what rewrite.py and hoist.py wrote.
        elements = isinstance(node.parent, exp.DataType) and isinstance(node.parent.parent, exp.TryCast)
        document = isinstance(node.parent, exp.Cast) and _is_scalar(node.parent.this)
        return ours and (elements or document)
    return node.this in functions.TYPES


def _is_scalar(value: exp.Expr) -> bool:
    """A column of ours, or a path as the one type of its values."""
    return isinstance(value, exp.Column) or (isinstance(value, exp.Cast) and value.to.this in NATIVE_TYPES)


# -- tables ---------------------------------------------------------------------------------------------------------


class _Tables:
    """Checks every table by the scope it is named in, and puts ``"schema".`` before those a user's text names.

    Scopes map the name of each visible WITH query to how many queries it stands for: 25 WITH queries that each read the
    one before twice are 2^25 scans in the planner, which cannot be interrupted.
    """

    def __init__(self, schema: str, *, ours: bool) -> None:
        self.schema = schema
        self.ours = ours

    def visit(self, node: exp.Expr, scope: dict[str, int]) -> int:
        copies = 0
        with_ = node.args.get("with_")
        if with_ is not None:
            scope = self.with_queries(with_, scope)
        if isinstance(node, exp.Table):
            copies += self.table(node, scope)
        for child in node.iter_expressions():
            if child is not with_:
                copies += self.visit(child, scope)
        if copies > MAX_CTE_COPIES:
            raise QueryNotAllowed(f"WITH queries may be read at most {MAX_CTE_COPIES} times in all; read them less")
        return copies

    def with_queries(self, with_: exp.Expr, scope: dict[str, int]) -> dict[str, int]:
        scope = dict(scope)
        for cte in with_.expressions:
            name = cte.alias.lower()
            if with_.args.get("recursive") and name in TABLES:  # whether it means itself is for the engine to say
                raise QueryNotAllowed(f"A recursive WITH query may not be called {name}; give it another name")
            inner = {**scope, name: 1} if with_.args.get("recursive") else scope
            scope[name] = 1 + self.visit(cte, inner)
        return scope

    def table(self, table: exp.Table, scope: dict[str, int]) -> int:
        source, qualified = table.this, bool(table.args.get("db") or table.args.get("catalog"))
        if qualified and not (self.ours and table.db == self.schema and not table.args.get("catalog")):
            raise QueryNotAllowed("Tables are named without a schema; read events or quarantine")
        if isinstance(source, exp.Anonymous):
            if source.name.lower() not in functions.TABLE_FUNCTIONS:
                allowed = "events, quarantine, range, generate_series or unnest"
                raise QueryNotAllowed(f"Function {source.name.lower()} is no table; read {allowed}")
            return 0
        if not isinstance(source, exp.Identifier):
            raise QueryNotAllowed("Read events, quarantine, your own WITH queries or subqueries")
        name = source.name.lower()
        if name in scope and not qualified:
            return scope[name]
        if name not in (_OUR_TABLES if self.ours else TABLES) or qualified != self.ours:
            near = functions.nearest(name, frozenset(TABLES) | scope.keys())
            raise QueryNotAllowed(f"Table {source.name} does not exist{near or '; read events'}")
        self.qualify(table, name)
        return 0

    def qualify(self, table: exp.Table, name: str) -> None:
        if not table.args.get("alias"):
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        table.set("this", exp.to_identifier(name, quoted=True))
        table.set("db", exp.to_identifier(self.schema, quoted=True))


# -- rows and text --------------------------------------------------------------------------------------------------


def _limited(query: exp.Expr, most: int) -> exp.Expr:
    """The query cut to ``most`` rows: on the query itself, so that ORDER BY … LIMIT stays a top-N and not a sort."""
    limit = query.args.get("limit")
    if isinstance(query, (exp.Select, exp.SetOperation)):
        if limit is None:
            query.set("limit", exp.Limit(expression=exp.Literal.number(most)))
            return query
        own = _literal_limit(limit)
        if own is not None:
            if own > most:
                limit.set("expression", exp.Literal.number(most))
            return query
    return _wrapped(query, most)


def _literal_limit(limit: exp.Expr) -> int | None:
    value = limit.args.get("expression")
    if not isinstance(limit, exp.Limit) or limit.args.get("limit_options") or not isinstance(value, exp.Literal):
        return None
    return int(value.name) if not value.is_string and value.name.isdecimal() else None


def _wrapped(query: exp.Expr, most: int) -> exp.Select:
    """``SELECT * FROM (query) LIMIT most``: for limits that are known only when they run."""
    alias = exp.TableAlias(this=exp.to_identifier("__nm", quoted=True))
    if isinstance(query, exp.Values):
        width = len(query.expressions[0].expressions)
        columns = [exp.to_identifier(names.placeholder(place), quoted=True) for place in range(width)]
        alias.set("columns", columns)
    return exp.Select(
        expressions=[exp.Star()],
        from_=exp.From(this=exp.Subquery(this=query, alias=alias)),
        limit=exp.Limit(expression=exp.Literal.number(most)),
    )
