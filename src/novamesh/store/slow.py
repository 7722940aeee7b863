"""The log of slow queries: what was asked, without what it was asked about."""

import logging
import re

from novamesh.store.contract import QueryRequest

log = logging.getLogger(__name__)

# Comments, text in quotes of all kinds (what is not closed goes to the end), numbers; names, quoted or not, are kept.
_TOKENS = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<literal>\b[eE]'(?:''|\\.|[^'\\])*(?:'|\Z)
      |(?:\b[xXbB])?'(?:''|[^'])*(?:'|\Z)
      |\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)
      |(?<![\w.$])\.?\d[\w.]*)
  | (?P<name>"(?:""|[^"])*(?:"|\Z)|[$\w]+)
    """,
    re.VERBOSE | re.DOTALL,
)


def without_literals(sql: str) -> str:
    """The text with ``?`` for each literal, without comments, its blanks joined."""
    masked = _TOKENS.sub(lambda token: token[0] if token["name"] else "?" if token["literal"] else " ", sql)
    return " ".join(masked.split())


def note(request: QueryRequest, elapsed_s: float, reading_s: float, rows: int, outcome: str) -> None:
    """One slow query that is over. ``elapsed_s`` holds ``reading_s``, in which its reader kept it waiting."""
    log.warning(
        "a slow query",
        extra={
            "space": request.space,
            "key": request.key,
            "elapsed_ms": round(1000 * elapsed_s),
            "reading_ms": round(1000 * reading_s),
            "rows": rows,
            "outcome": outcome,
            "sql": without_literals(request.text),
        },
    )
