"""Text to tree and back, so that the tree says what the text says.

sqlglot is made to translate between dialects, and changes rows even from DuckDB to DuckDB. That is turned off
before it parses (:func:`_faithful`): it rewrites functions it knows, so names of functions are marked and stay as
written; it splits interval strings (``'1 day ago'`` loses its sign, ``'30 min'`` its meaning), so they become casts; it
reads ``f(j -> 'a')`` as a lambda. And it recurses, backtracks and falls back to keeping text it does not know, so what
would make it do so is refused by a scan of the tokens first.
"""

import re
from difflib import get_close_matches
from typing import ClassVar, Final

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError
from sqlglot.expressions.core import POSITION_META_KEYS
from sqlglot.tokenizer_core import Token, TokenType

from novamesh.errors import InvalidQuery, QueryNotAllowed
from novamesh.sql import functions
from novamesh.sql.idioms import syntax as idiom_syntax
from novamesh.sql.idioms import table as idiom_table

MAX_TEXT: Final = 100_000
MAX_TOKENS: Final = 6_000
MAX_NODES: Final = 8_000
MAX_BRACKETS: Final = 40
MAX_PREFIXES: Final = 12
MAX_LIMITS_DEEP: Final = 3
MAX_JOINS: Final = 10
OURS: Final = 40
"""How many times larger what is generated may be than what a user sends: care takes its place (see ``paths.py``)."""

_FAILURES: Final = (SqlglotError, ValueError, TypeError, AttributeError, IndexError, KeyError)
MARK: Final = "\ue000"
_PARAMETER: Final = "\ue001"
UNWRITABLE: Final = frozenset({MARK, _PARAMETER, "\0"})
"""Characters that no query may hold."""
_DOLLAR: Final = re.compile(r"(\$(?:[^\W\d]\w*)?\$).*?\1|(?<![\w$])\$(?=\w)", re.DOTALL)
_UNMARKED: Final = frozenset(  # their arguments have a syntax of their own: FROM, IN, PLACING, IGNORE NULLS
    "extract first_value lag last_value lead nth_value overlay position substring trim".split()
)
_LAMBDA_TAKERS: Final = frozenset({"aggregate", "apply", "columns", "filter", "reduce"})
# What sqlglot has a class for that may not run keeps its name too, so that a refusal says what the user wrote.
_KNOWN: Final = (
    {name.lower() for name in DuckDB.Parser.FUNCTIONS}
    - {name.lower() for name in DuckDB.Parser.FUNCTION_PARSERS}
    - {name.lower() for kind in functions.NODES if issubclass(kind, exp.Func) for name in kind.sql_names()}
)
_TYPE_NAMES: Final = frozenset({"date", "json", "map", "row"})
_STARTS: Final = frozenset({TokenType.SELECT, TokenType.WITH, TokenType.FROM, TokenType.VALUES, TokenType.L_PAREN})
_BEFORE_STAR: Final = frozenset(
    {TokenType.SELECT, TokenType.COMMA, TokenType.DOT, TokenType.L_PAREN, TokenType.DISTINCT, TokenType.ALL}
)
_OPENING: Final = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSING: Final = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_PLACED: Final = (exp.Anonymous, exp.Identifier, exp.Literal, exp.Star)
_LIMITS: Final = frozenset({TokenType.FETCH, TokenType.LIMIT, TokenType.OFFSET})
_PREFIXES: Final = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE, TokenType.INTERVAL})
_STATEMENTS: Final = (frozenset(DuckDB.Parser.STATEMENT_PARSERS) | frozenset(DuckDB.Tokenizer.COMMANDS)) - {
    TokenType.DESC,
    TokenType.PIVOT,
    TokenType.SEMICOLON,
    TokenType.UNPIVOT,
}
_STATEMENTS_AFTER: Final = {TokenType.L_PAREN: _STATEMENTS | {TokenType.DESC}, TokenType.R_PAREN: _STATEMENTS}
# What starts a statement in DuckDB besides, and sqlglot takes for a name.
_STATEMENT_WORDS: Final = frozenset(
    "ABORT ANALYZE ATTACH BEGIN CALL CHECKPOINT COMMENT COMMIT COPY CREATE DEALLOCATE DELETE DETACH DO DROP"
    " EXECUTE EXPORT FORCE IMPORT INSERT INSTALL LOAD MERGE PREPARE REINDEX RELEASE RENAME REPLACE RESET REVOKE"
    " ROLLBACK SAVEPOINT SET"
    " START TABLE TRUNCATE UNINSTALL UPDATE USE VACUUM GRANT ALTER LOCK EXPLAIN PIVOT UNPIVOT".split()
)
_INSPECTING: Final = frozenset({"DESC", "DESCRIBE", "EXPLAIN", "PRAGMA", "SHOW", "SUMMARIZE"})


class Dialect(DuckDB):
    """DuckDB's dialect, without what sqlglot changes on the way from text to tree."""

    INDEX_OFFSET = 0  # x[1] stays x[1]

    class Tokenizer(DuckDB.Tokenizer):
        IDENTIFIERS: ClassVar = ['"', "`"]  # as in MySQL and ClickHouse; what is generated has "
        SINGLE_TOKENS: ClassVar = {**DuckDB.Tokenizer.SINGLE_TOKENS, _PARAMETER: TokenType.PARAMETER}

    def to_json_path(self, path: exp.Expr | None) -> exp.Expr | None:
        return path  # j->>'a.b' is one key, not the path $.a.b


def parse(sql: str, *, ours: bool = False) -> exp.Query | exp.Values:
    """The tree of a text; one of ``ours`` was generated from a tree that kept the limits."""
    if len(sql) > MAX_TEXT * (OURS if ours else 1):
        raise QueryNotAllowed(f"The query is longer than {MAX_TEXT} characters; shorten it")
    if not UNWRITABLE.isdisjoint(sql):
        raise InvalidQuery("The query holds a character SQL does not have; remove it")
    dialect, tokens = Dialect(), list[Token]()
    try:
        tokens = idiom_syntax.joined(_bounded(_tokens(dialect, sql), ours=ours))
        idiom_syntax.check(tokens)
        trees = _trees(dialect, tokens, sql, MAX_NODES * (OURS if ours else 1))
    except ParseError as error:
        raise idiom_syntax.hint(tokens) or _invalid(error) from None
    except _FAILURES as error:
        raise InvalidQuery(f"The query cannot be parsed: {_first_line(error)}") from None
    if len(trees) != 1 or not isinstance(trees[0], (exp.Query, exp.Values)):
        raise QueryNotAllowed("Only one SELECT may run; start the query with SELECT, WITH, FROM or VALUES")
    _unmark(trees[0])
    _spread(trees[0])
    _select_values(trees[0])
    return trees[0]


def _tokens(dialect: Dialect, sql: str) -> list[Token]:
    """The tokens of a text. sqlglot takes ``$a,$`` for the tag of a quotation, so placeholders get another sign."""
    marked = _DOLLAR.sub(lambda found: found[0] if found[1] else _PARAMETER, sql)
    tokens = dialect.tokenize(marked)
    if marked == sql:
        return tokens
    return [
        _like(token, token.token_type, token.text.replace(_PARAMETER, "$")) if _PARAMETER in token.text else token
        for token in tokens
    ]


def _trees(dialect: Dialect, tokens: list[Token], sql: str, nodes: int) -> list[exp.Expr | None]:
    try:
        return dialect.parser(error_level=ErrorLevel.IMMEDIATE, max_nodes=nodes).parse(_faithful(tokens), sql)
    except ParseError:
        mended = idiom_syntax.mended(tokens)
        if mended is None:
            raise
        return _trees(dialect, mended, sql, nodes)


def _bounded(tokens: list[Token], *, ours: bool = False) -> list[Token]:
    """The tokens of one statement, if a parser that recurses and goes back to try again can take them."""
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise InvalidQuery("The query is empty; write a SELECT")
    _check_start(tokens[0])
    if len(tokens) > MAX_TOKENS * (OURS if ours else 1):
        raise QueryNotAllowed(f"The query has more than {MAX_TOKENS} words; shorten it")
    shape, before = _Shape(slack=MAX_BRACKETS if ours else 0), tokens[0]
    for token in tokens:
        kind = token.token_type
        shape.add(kind)
        if kind == TokenType.SEMICOLON:
            raise InvalidQuery(f"Only one statement at a time{_at(token)}; remove what follows the semicolon")
        if kind in _STATEMENTS_AFTER.get(before.token_type, ()):
            # sqlglot would keep the text of a statement inside brackets, or after WITH, as it is
            word = token.text.upper()
            raise QueryNotAllowed(f"{word} may not run{_at(token)}: queries only read; quote it if it is a name")
        before = token
    return tokens


class _Shape:
    """What makes sqlglot slow, counted token by token.

    Measured: NOT, brackets and CASE recurse in C; time doubles with each JOIN that has no ON yet, and with each bracket
    after a LIMIT (``f(1 LIMIT f(1 LIMIT …``, 300 characters, took minutes).
    """

    def __init__(self, slack: int = 0) -> None:
        self.slack = slack
        self.limits = [False]  # for each open bracket, whether a LIMIT came in it
        self.prefixes = self.joins = 0

    def add(self, kind: TokenType) -> None:
        if kind in _OPENING:
            self.limits.append(False)
        elif kind in _CLOSING and len(self.limits) > 1:
            self.limits.pop()
        elif kind in _LIMITS:
            self.limits[-1] = True
        self.prefixes = self.prefixes + 1 if kind in _PREFIXES else 0
        self.joins += kind == TokenType.JOIN
        if (
            len(self.limits) > MAX_BRACKETS + self.slack
            or self.prefixes > MAX_PREFIXES
            or sum(self.limits) > MAX_LIMITS_DEEP
        ):
            raise QueryNotAllowed("The query is nested too deeply; simplify it")
        if kind == TokenType.PIPE_GT:  # each step copies all before it: 1,000 steps took 17 s
            raise QueryNotAllowed("Pipes (|>) are not available; write a WITH query")
        if self.joins > MAX_JOINS:
            raise QueryNotAllowed(f"A query may join at most {MAX_JOINS} times; split it")


def _check_start(token: Token) -> None:
    if token.token_type in _STARTS:
        return
    word = token.text.upper()
    if word in _INSPECTING:
        raise QueryNotAllowed(f"{word} is not available; SELECT from events, with LIMIT 1 to see its columns")
    if token.token_type in _STATEMENTS or word in _STATEMENT_WORDS:
        raise QueryNotAllowed(f"{word} may not run: queries only read; start with SELECT, WITH, FROM or VALUES")
    near = get_close_matches(word, ("SELECT", "WITH", "FROM", "VALUES"), 1)
    hint = f"did you mean {near[0]}?" if near else "start with SELECT, WITH, FROM or VALUES"
    raise InvalidQuery(f"Unexpected {token.text[:40]!r}{_at(token)}; {hint}")


def _faithful(tokens: list[Token]) -> list[Token]:
    """The tokens, changed so that sqlglot builds the tree the text says."""
    result: list[Token] = []
    calls = [""]  # for each open bracket, the word before it
    unnamed = 0
    for place, token in enumerate(tokens):
        if token.token_type in (TokenType.L_PAREN, TokenType.L_BRACKET):
            calls.append(tokens[place - 1].text.lower() if place else "")
        elif token.token_type in (TokenType.R_PAREN, TokenType.R_BRACKET) and len(calls) > 1:
            calls.pop()
        elif token.token_type == TokenType.ARROW and _is_json_arrow(tokens, place, calls[-1]):
            name = result.pop()
            opening, closing = _like(name, TokenType.L_PAREN, "("), _like(name, TokenType.R_PAREN, ")")
            result += [opening, opening, name, closing, closing]
        after = tokens[place + 1] if place + 1 < len(tokens) else None
        if token.token_type == TokenType.PLACEHOLDER and idiom_syntax.is_key_test(tokens, place):
            result.append(token)
        elif token.token_type == TokenType.PLACEHOLDER and token.text == "?":
            # Rewriting may repeat or move a placeholder, so each keeps the place it has now.
            unnamed += 1
            result += [_like(token, TokenType.PARAMETER, "$"), _like(token, TokenType.NUMBER, str(unnamed))]
        elif token.token_type == TokenType.STRING and place and tokens[place - 1].token_type == TokenType.INTERVAL:
            result[-1:] = _interval(tokens[place - 1], token, after)
        elif after is not None and after.token_type == TokenType.L_PAREN and _is_call(tokens, place):
            result.append(_like(token, TokenType.VAR, MARK + token.text))
        else:
            result.append(token)
    return result


def _is_json_arrow(tokens: list[Token], place: int, call: str) -> bool:
    """Whether ``x -> 'a'``, first in an argument, takes a key of JSON: a lambda returns no constant."""
    if place < 2 or place + 1 == len(tokens) or call.startswith(("list_", "array")) or call in _LAMBDA_TAKERS:
        return False
    return (
        tokens[place + 1].token_type in (TokenType.STRING, TokenType.NUMBER)
        and tokens[place - 2].token_type in (TokenType.L_PAREN, TokenType.COMMA)
        and tokens[place - 1].token_type in (TokenType.VAR, TokenType.IDENTIFIER)
    )


def _is_call(tokens: list[Token], place: int) -> bool:
    """Whether the word before a bracket is one of the functions whose name must stay as written.

    Marking a word that is no call (an alias with columns) does no harm: marks are removed wherever they end up.
    """
    word = tokens[place].text.lower()
    if word in ("any", "extract", "position"):
        return idiom_syntax.is_call(tokens, place)
    word = word.removesuffix(idiom_syntax.PARAMETRIC)
    known = word in functions.ALLOWED or word in idiom_table.NAMES
    if word in _UNMARKED or not (known or (word in _KNOWN and tokens[place].token_type == TokenType.VAR)):
        return False
    kinds = [token.token_type for token in tokens[max(0, place - 2) : place]]
    last = kinds[-1] if kinds else None
    if last == TokenType.STAR and word == "replace":
        return len(kinds) > 1 and kinds[-2] not in _BEFORE_STAR
    if last == TokenType.R_PAREN and word in ("filter", "replace"):
        return False
    return not (last in (TokenType.DCOLON, TokenType.ALIAS) and word in _TYPE_NAMES)


def _interval(keyword: Token, text: Token, after: Token | None) -> list[Token]:
    """``INTERVAL '1 day ago'`` as ``CAST('1 day ago' AS INTERVAL)``; ``INTERVAL '7' DAY`` as it is."""
    is_word = after is not None and after.token_type in (TokenType.VAR, TokenType.YEAR)
    unit = after.text.upper() if after is not None and is_word else ""
    if unit in functions.UNITS:
        return [keyword, text]
    if unit and re.fullmatch(r"\s*[-+]?[\d.]+\s*", text.text):
        raise InvalidQuery(f"{unit} is no unit of an interval{_at(text)}; write INTERVAL '{text.text.strip()} minutes'")
    return [
        _like(keyword, TokenType.VAR, "CAST"),
        _like(keyword, TokenType.L_PAREN, "("),
        text,
        _like(keyword, TokenType.ALIAS, "AS"),
        keyword,
        _like(keyword, TokenType.R_PAREN, ")"),
    ]


def _like(token: Token, kind: TokenType, text: str) -> Token:
    return Token(kind, text, token.line, token.col, token.start, token.end, [])


def _unmark(tree: exp.Expr) -> None:
    for node in tree.walk():
        if isinstance(node, _PLACED):  # nobody asks where it stood, and copies would take it along
            for place in POSITION_META_KEYS:
                node.meta.pop(place, None)
        if isinstance(node.this, str) and node.this.startswith(MARK):
            node.set("this", node.this.removeprefix(MARK))


def _spread(tree: exp.Expr) -> None:
    """``string_agg(DISTINCT x, ',')`` has two arguments, where sqlglot has one row of two; count has rows."""
    for call in tree.find_all(exp.Anonymous):
        last = call.expressions[-1] if call.expressions else None
        distinct = last.this if isinstance(last, exp.Order) else last
        if isinstance(distinct, exp.Distinct) and not distinct.expressions:
            raise InvalidQuery(f"{call.name}(DISTINCT) needs an argument, as in count(DISTINCT user_id)")
        if not isinstance(distinct, exp.Distinct) or len(distinct.expressions) < 2 or call.name.lower() == "count":
            continue
        first, *rest = distinct.expressions
        if isinstance(last, exp.Order):
            last.set("this", rest.pop())
            rest.append(last)
        distinct.set("expressions", [first])
        call.set("expressions", [*call.expressions[:-1], distinct, *rest])


def _select_values(tree: exp.Expr) -> None:
    """``x IN (VALUES …)`` as the query it is, where sqlglot has a list with one member."""
    for within in list(tree.find_all(exp.In)):
        values = within.expressions[0] if len(within.expressions) == 1 else None
        if not isinstance(values, exp.Values) or not values.expressions:
            continue
        names = [
            exp.to_identifier(f"__nm_{place}", quoted=True) for place in range(len(values.expressions[0].expressions))
        ]
        values.set("alias", exp.TableAlias(this=exp.to_identifier("__nm_v", quoted=True), columns=names))
        columns = [exp.column(name.copy()) for name in names]
        select = exp.Select(expressions=columns, from_=exp.From(this=values))
        within.set("expressions", None)
        within.set("query", exp.Subquery(this=select))


def _at(token: Token) -> str:
    return f" at line {token.line}, column {token.col}"


def _invalid(error: ParseError) -> InvalidQuery:
    first = error.errors[0] if error.errors else {}
    text = first.get("highlight") or ""
    near = f" near {text!r}" if text else ""
    missing = str(first.get("description", "")).startswith("Required keyword")
    reason = "something is missing" if missing else _first_line(first.get("description") or error)
    return InvalidQuery(
        f"The query cannot be parsed at line {first.get('line', 1)}, column {first.get('col', 1)}{near}: {reason}"
    )


def _first_line(error: object) -> str:
    return str(error).strip().split("\n", 1)[0].replace(MARK, "")[:200]


def generate(tree: exp.Expr) -> str:
    try:
        return tree.sql(
            dialect=Dialect,
            comments=False,
            normalize_functions=False,
            unsupported_level=ErrorLevel.IMMEDIATE,
        )
    except _FAILURES as error:
        raise QueryNotAllowed(f"The query cannot be run as written: {_first_line(error)}") from None
