"""``SHOW TABLES``, ``DESCRIBE`` and ``EXPLAIN``: what people type first at a database they do not know.

None of them is a query, so none gets into the tree: what they stand before is checked as any query is.
"""

import re
from typing import Final

from novamesh.sql.names import TYPES

_SHOW: Final = re.compile(r"\s*SHOW\s+TABLES\s*;?\s*", re.IGNORECASE)
_DESCRIBE: Final = re.compile(
    r"\s*(?:DESCRIBE|DESC|SHOW\s+COLUMNS\s+FROM)\s+(?:TABLE\s+)?\"?(\w+)\"?\s*;?\s*", re.IGNORECASE
)
_BEFORE: Final = re.compile(r"\s*(DESCRIBE|DESC|EXPLAIN)\s+(?=(?:SELECT|WITH|FROM|VALUES)\b|\()", re.IGNORECASE)

ROWS, DESCRIPTION, PLAN = "rows", "description", "plan"


def resolve(sql: str) -> tuple[str, str]:
    """The query behind the words, and what is wanted of it: its rows, its columns or its plan.

    The words become spaces, so that positions in error messages stay those of the text as it was sent.
    """
    if _SHOW.fullmatch(sql):
        return _table(("name",), [(name,) for name in TYPES]), ROWS
    described = _DESCRIBE.fullmatch(sql)
    if described and described[1].lower() in TYPES:
        return _table(("column_name", "column_type"), list(TYPES[described[1].lower()].items())), ROWS
    before = _BEFORE.match(sql)
    if before is None:
        return sql, ROWS
    rest = re.sub(r"\S", " ", before[0]) + sql[before.end() :]
    return rest, PLAN if before[1].upper() == "EXPLAIN" else DESCRIPTION


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    values = ", ".join("('" + "', '".join(row) + "')" for row in rows)
    return f"SELECT * FROM (VALUES {values}) AS t({', '.join(columns)})"
