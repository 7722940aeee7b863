"""The outputs below the cookbook's queries in docs/sql.md: those of fixed events, as of a fixed time.

``scripts/docs`` writes them anew. A query is shown with ``now()``, and run for its output with the time it stands for.
"""

import copy
import json
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.api.docs_events import shop_events
from tests.support import RunningNode, run_cli, running_node, wait_for

PAGE = Path(__file__).parents[2] / "docs/sql.md"
PROJECT = "docs"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SHOWN_ROWS = 5
SHOWN_CHARACTERS = 60
NO_ROWS = "No rows.\n"

# A query of the cookbook with its heading, and what is shown of its output.
_QUERY = re.compile(
    r"^(?P<head>### (?P<heading>[^\n]+)\n(?:(?!^#|^```).*\n)*```sql\n(?P<sql>(?:(?!^```).*\n)+)```\n)"
    r"(?P<output>\n(?:(?:\|.*\n)+(?:\nand [\d,]+ more rows?\.\n)?|No rows\.\n))?",
    re.MULTILINE,
)

Answer = dict[str, Any]


def queries(page: str) -> dict[str, tuple[str, str]]:
    """SQL and the output that is shown, by heading."""
    return {match["heading"]: (match["sql"].strip(), match["output"] or "") for match in _QUERY.finditer(page)}


def as_of(sql: str) -> str:
    """The same query at :data:`NOW`."""
    sql = sql.replace("today()", f"DATE '{NOW:%Y-%m-%d}'")
    return sql.replace("now()", f"TIMESTAMP '{NOW:%Y-%m-%d %H:%M:%S}'")


def output(answer: Answer) -> str:
    """An answer of ``/v1/query`` as Markdown: a table of its first rows, and how many more there are."""
    rows = answer["rows"]
    if not rows:
        return f"\n{NO_ROWS}"
    head, first = answer["columns"], rows[:SHOWN_ROWS]
    sides = ["---:" if all(map(_is_number, values)) else "---" for values in zip(*first, strict=True)]
    lines = [f"| {' | '.join(cells)} |\n" for cells in (head, *([_cell(value) for value in row] for row in first))]
    lines.insert(1, f"|{'|'.join(sides)}|\n")
    more = len(rows) - SHOWN_ROWS
    return f"\n{''.join(lines)}" + (f"\nand {more:,} more {'row' if more == 1 else 'rows'}.\n" if more > 0 else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    text = "NULL" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    short = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return short.replace("|", "\\|")


def with_fixed_events(node: RunningNode) -> RunningNode:
    """The same node as a project of its own sees it, which holds the fixed events."""
    made = run_cli("keys", "create", f"--project={PROJECT}", f"--data-dir={node.data_dir}")
    assert made.returncode == 0, made.stderr
    other = copy.copy(node)
    other.key = made.stdout.strip()
    wait_for(lambda: other.query("SELECT 1").status_code == 200, what="the new key")
    events = shop_events(NOW)
    other.send(events)
    other.wait_for_count(len(events))
    return other


def answer(node: RunningNode, sql: str) -> Answer:
    """What a node with the fixed events answers to a query of the page."""
    response = node.query(as_of(sql))
    assert response.status_code == 200, f"{response.text}\n{sql}"
    document: Answer = response.json()
    return document


def with_outputs(page: str, node: RunningNode) -> str:
    """The page with the outputs of today."""
    return _QUERY.sub(lambda match: match["head"] + output(answer(node, match["sql"])), page)


def _write() -> None:
    with tempfile.TemporaryDirectory() as directory, running_node(Path(directory) / "data", workers=1) as node:
        PAGE.write_text(with_outputs(PAGE.read_text(), with_fixed_events(node)))


if __name__ == "__main__":
    _write()
