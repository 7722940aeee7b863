"""The log of slow queries: what was asked, without what it was asked about."""

import logging
import re

from novamesh.store.contract import QueryRequest

log = logging.getLogger(__name__)

# Comments, text in quotes of all kinds (what is not closed goes to the end), numbers; names, quoted or not, are kept.
_TOKENS = re.compile(
    r"""
    (?P<comment>--[^\n]*|/\*)
  | (?P<literal>\b[eE]'(?:''|\\.|[^'\\])*(?:'|\Z)
      |(?:\b[xXbB])?'(?:''|[^'])*(?:'|\Z)
      |\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)
      |(?<![\w.$])\.?\d[\w.]*)
  | (?P<name>"(?:""|[^"])*(?:"|\Z)|[$\w]+)
    """,
    re.VERBOSE | re.DOTALL,
)

_COMMENT_MARK = re.compile(r"/\*|\*/")


def without_literals(sql: str) -> str:
    """The text with ``?`` for each literal, without comments, its blanks joined."""
    masked: list[str] = []
    at = 0
    while token := _TOKENS.search(sql, at):
        masked += sql[at : token.start()], token[0] if token["name"] else "?" if token["literal"] else " "
        at = _comment_end(sql, token.end()) if token[0] == "/*" else token.end()
    return " ".join("".join([*masked, sql[at:]]).split())


def _comment_end(sql: str, at: int) -> int:
    """Where the comment ends that was opened before ``at``: comments nest. What is not closed goes to the end."""
    depth = 1
    while depth and (mark := _COMMENT_MARK.search(sql, at)):
        depth += 1 if mark[0] == "/*" else -1
        at = mark.end()
    return len(sql) if depth else at


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
