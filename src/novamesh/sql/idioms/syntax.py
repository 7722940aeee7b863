"""Syntax of ClickHouse and PostgreSQL that is not in the grammar: read another way, or refused with the form that does.

What parses is left alone, so that a column may be called ``final`` or ``format``: most of this is asked only after
parsing failed.
"""

from collections.abc import Callable
from typing import Final

from sqlglot.tokenizer_core import Token, TokenType

from novamesh.errors import InvalidQuery
from novamesh.sql.idioms import table as idiom_table

Hint = tuple[str, str] | None
"""A piece of syntax, and what to write instead."""

PARAMETRIC: Final = "()"
"""What is put after the name of a parametric call: ``quantile(0.9)(x)`` becomes ``quantile()((0.9), x)``."""

_FORMATS: Final = {
    "json": "json",
    "jsoncompact": "json",
    "jsoneachrow": "ndjson",
    "ndjson": "ndjson",
    "jsonlines": "ndjson",
    "csv": "csv",
    "csvwithnames": "csv",
    "parquet": "parquet",
    "arrow": "arrow",
    "arrowstream": "arrow",
}
_ENDS_VALUE: Final = frozenset(
    {
        *(TokenType.VAR, TokenType.IDENTIFIER, TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.STRING),
        *(TokenType.JSON, TokenType.JSONB),
    }
)
_COMPARISONS: Final = frozenset(
    {
        *(TokenType.EQ, TokenType.NEQ, TokenType.GT, TokenType.GTE, TokenType.LT, TokenType.LTE, TokenType.LIKE),
        *(TokenType.ILIKE, TokenType.NULLSAFE_EQ, TokenType.RLIKE, TokenType.IRLIKE),
    }
)


def is_call(tokens: list[Token], place: int) -> bool:
    """Whether a word of the grammar is a function here: ``any(x)``, ``extract(s, '…')``, ``position(s, 'x')``."""
    word, before = tokens[place].text.lower(), tokens[place - 1].token_type if place else None
    if word == "any":
        return before not in _COMPARISONS
    inside = _inside(tokens, place + 1)
    if word == "extract":
        return TokenType.FROM not in inside
    return word == "position" and TokenType.IN not in inside


def _inside(tokens: list[Token], opening: int) -> list[TokenType]:
    """The kinds of the words in a bracket, without those in brackets inside of it."""
    found: list[TokenType] = []
    depth = 0
    for token in tokens[opening:]:
        depth += token.token_type == TokenType.L_PAREN
        depth -= token.token_type == TokenType.R_PAREN
        if depth == 0:
            break
        if depth == 1:
            found.append(token.token_type)
    return found


def is_key_test(tokens: list[Token], place: int) -> bool:
    """Whether ``?`` is PostgreSQL's operator, as in ``properties ? 'page'``: no placeholder stands there."""
    return (
        0 < place < len(tokens) - 1
        and tokens[place - 1].token_type in _ENDS_VALUE
        and tokens[place + 1].token_type == TokenType.STRING
    )


def joined(tokens: list[Token]) -> list[Token]:
    """The tokens, with the two brackets of a parametric call made one: ``name(p)(x)`` as ``name()((p), x)``."""
    result: list[Token] = []
    openings: list[int] = []  # where, in the result, each open bracket is
    joins = False
    for place, token in enumerate(tokens):
        if joins:
            result.append(_like(token, TokenType.COMMA, ","))
            joins = False
            continue
        if token.token_type == TokenType.L_PAREN:
            openings.append(len(result))
        elif token.token_type == TokenType.R_PAREN and openings:
            opening = openings.pop()
            joins = opening > 0 and _is_parametric(result[opening - 1]) and _follows(tokens, place, TokenType.L_PAREN)
            if joins:
                name = result[opening - 1]
                result[opening - 1] = _like(name, TokenType.VAR, name.text + PARAMETRIC)
                result.insert(opening, result[opening])
                openings.append(opening)
        result.append(token)
    return result


def _is_parametric(token: Token) -> bool:
    return token.text.lower() in idiom_table.PARAMETRIC


def _follows(tokens: list[Token], place: int, kind: TokenType) -> bool:
    return place + 1 < len(tokens) and tokens[place + 1].token_type == kind


# -- what parses and means something else -----------------------------------------------------------------------------

_AFTER_WITH: Final = {
    "TOTALS": "write GROUP BY ROLLUP (…), whose last row is the total",
    "ROLLUP": "write GROUP BY ROLLUP (…)",
    "CUBE": "write GROUP BY CUBE (…)",
    "FILL": "join generate_series(first, last, INTERVAL 1 DAY)",
    "TIES": "write QUALIFY rank() OVER (ORDER BY …) <= n",
}


def check(tokens: list[Token]) -> None:
    """Refuse what the parser would take for something else."""
    for place, token in enumerate(tokens):
        for rule in _CHECKS:
            found = rule(tokens, place)
            if found:
                raise _refusal(token, found)


def _limit_by(tokens: list[Token], place: int) -> Hint:
    by = _by(tokens, place + 1) if tokens[place].token_type == TokenType.LIMIT else None
    if by is None:
        return None
    columns: list[str] = []
    for token in tokens[by + 1 :]:
        if token.token_type in (TokenType.LIMIT, TokenType.FORMAT, TokenType.SETTINGS, TokenType.R_PAREN):
            break
        columns.append(", " if token.token_type == TokenType.COMMA else token.text)
    count, keys = tokens[place + 1].text, "".join(columns)
    form = f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY timestamp) <= {count}"
    return f"LIMIT {count} BY {keys}", f"write {form}"


def _after_with(tokens: list[Token], place: int) -> Hint:
    """``WITH TOTALS``, but not ``WITH totals AS (…)``."""
    if tokens[place].token_type != TokenType.WITH or place + 1 >= len(tokens):
        return None
    word = tokens[place + 1].text.upper()
    is_query = _follows(tokens, place + 1, TokenType.ALIAS) or _follows(tokens, place + 1, TokenType.L_PAREN)
    return (f"WITH {word}", _AFTER_WITH[word]) if word in _AFTER_WITH and not is_query else None


def _array_join(tokens: list[Token], place: int) -> Hint:
    before = tokens[place - 1].token_type if place else None
    if tokens[place].token_type != TokenType.ARRAY or before in (TokenType.ALIAS, TokenType.FROM):
        return None
    form = "write FROM events, unnest(properties.tags) AS t(tag)"
    return ("ARRAY JOIN", form) if _follows(tokens, place, TokenType.JOIN) else None


def _typed_path(tokens: list[Token], place: int) -> Hint:
    typed = tokens[place].token_type == TokenType.DOT and _follows(tokens, place, TokenType.COLON)
    return (".:", "write properties.name::BIGINT, ::DOUBLE or ::VARCHAR") if typed else None


def _by(tokens: list[Token], place: int) -> int | None:
    """Where the BY of ``LIMIT n [OFFSET m] BY`` is."""
    for step in (1, 3):
        if place + step < len(tokens) and tokens[place + step].text.upper() == "BY":
            between = tokens[place + 1 : place + step]
            if not between or between[0].token_type in (TokenType.OFFSET, TokenType.COMMA):
                return place + step
    return None


# -- what does not parse ----------------------------------------------------------------------------------------------


def mended(tokens: list[Token]) -> list[Token] | None:
    """Tokens that did not parse, with what has the same meaning here; None where there is nothing of the kind."""
    words = [token.text.upper() for token in tokens]
    result = list(tokens)
    if "PREWHERE" in words and "WHERE" not in words:
        place = words.index("PREWHERE")
        result[place] = _like(tokens[place], TokenType.WHERE, "WHERE")
    if "FINAL" in words:  # every event is stored once
        del result[words.index("FINAL")]
    return result if result != tokens else None


def hint(tokens: list[Token]) -> InvalidQuery | None:
    """What to write instead of the syntax that may be why the tokens did not parse."""
    for place, token in enumerate(tokens):
        for rule in _HINTS:
            found = rule(tokens, place)
            if found:
                return _refusal(token, found)
    return None


def _scalar_with(tokens: list[Token], place: int) -> Hint:
    if tokens[place].token_type != TokenType.WITH or place + 2 >= len(tokens):
        return None
    first, second = tokens[place + 1], tokens[place + 2]
    if first.token_type == TokenType.RECURSIVE or (
        first.token_type in (TokenType.VAR, TokenType.IDENTIFIER) and second.token_type == TokenType.ALIAS
    ):
        return None
    form = "name the value where it is selected, SELECT … AS x, which WHERE, GROUP BY and ORDER BY see"
    return "WITH … AS x", f"{form}, or write WITH x AS (SELECT …)"


def _format(tokens: list[Token], place: int) -> Hint:
    if tokens[place].token_type != TokenType.FORMAT or place + 2 < len(tokens) or place + 1 >= len(tokens):
        return None
    name = tokens[place + 1].text
    known = _FORMATS.get(name.lower())
    form = (
        f"leave it off and send the parameter format={known}"
        if known
        else "leave it off; the parameter format is one of"
    )
    return f"FORMAT {name}", form if known else f"{form} json, csv, ndjson, arrow and parquet"


def _settings(tokens: list[Token], place: int) -> Hint:
    last = tokens[place].token_type == TokenType.SETTINGS and place + 2 < len(tokens)
    return ("SETTINGS", "leave it off; a query cannot change settings") if last else None


def _sample(tokens: list[Token], place: int) -> Hint:
    if tokens[place].text.upper() != "SAMPLE" or not _follows(tokens, place, TokenType.NUMBER):
        return None
    return f"SAMPLE {tokens[place + 1].text}", "write TABLESAMPLE 10% after the table, or WHERE hash(user_id) % 10 = 0"


def _prewhere(tokens: list[Token], place: int) -> Hint:
    return ("PREWHERE", "write one WHERE, with AND") if tokens[place].text.upper() == "PREWHERE" else None


def _join(tokens: list[Token], place: int) -> Hint:
    word = tokens[place].text.upper()
    kind = tokens[place].token_type
    if kind != TokenType.STRING and word == "GLOBAL":
        return "GLOBAL", "leave it off; there is one node"
    near = {token.token_type for token in tokens[max(0, place - 1) : place + 3]}
    if kind == TokenType.ANY and TokenType.JOIN in near:
        return "ANY JOIN", "join a query with SELECT DISTINCT ON (key) …, or write ASOF JOIN for the last row before"
    return None


def _keys(tokens: list[Token], place: int) -> Hint:
    if tokens[place].token_type != TokenType.PLACEHOLDER:
        return None
    if any(token.token_type == TokenType.COLON for token in tokens[place:]):
        return "? :", "write if(condition, a, b)"
    operator = tokens[place + 1].text if place + 1 < len(tokens) else ""
    if operator not in ("|", "&"):
        return None
    word = "OR" if operator == "|" else "AND"
    return f"?{operator}", f"write variant_exists(properties, 'a') {word} variant_exists(properties, 'b')"


def _second_bracket(tokens: list[Token], place: int) -> Hint:
    between = tokens[place].token_type == TokenType.R_PAREN and _follows(tokens, place, TokenType.L_PAREN)
    return (")(", "only the parametric functions of docs/sql.md take two pairs of brackets") if between else None


Rule = Callable[[list[Token], int], Hint]
_CHECKS: Final[tuple[Rule, ...]] = (_limit_by, _after_with, _array_join, _typed_path)
_HINTS: Final[tuple[Rule, ...]] = (_scalar_with, _format, _settings, _sample, _prewhere, _join, _keys, _second_bracket)


def _refusal(token: Token, found: tuple[str, str]) -> InvalidQuery:
    return InvalidQuery(f"{found[0]} at line {token.line}, column {token.col} is not available here; {found[1]}")


def _like(token: Token, kind: TokenType, text: str) -> Token:
    return Token(kind, text, token.line, token.col, token.start, token.end, [])
