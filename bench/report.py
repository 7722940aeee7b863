"""One table and one JSON document of one run."""

import json
import os
import platform
from datetime import UTC, datetime
from typing import Any, NamedTuple

import duckdb
import granian

from novamesh import __version__


class Row(NamedTuple):
    """One figure. ``ratio`` is against ``against``, measured in the same run; ``aim`` is what we want."""

    group: str
    what: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    aim: str = ""
    note: str = ""


def as_markdown(rows: list[Row]) -> str:
    """The table of docs/performance.md."""
    lines = ["| | what | figure | ratio | aim | |", "|---|---|---:|---:|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} of {row.against}"
        lines.append(
            f"| {row.group} | {row.what} | {_number(row.value)} {row.unit} | {ratio} | {row.aim} | {row.note} |"
        )
    return "\n".join(lines)


def as_json(rows: list[Row]) -> str:
    """The same with the machine it was measured on."""
    document: dict[str, Any] = {"machine": machine(), "rows": [row._asdict() for row in rows]}
    return json.dumps(document, indent=1)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "novamesh": __version__,
        "duckdb": duckdb.__version__,
        "granian": granian.__version__,
        "load average at the start": os.getloadavg()[0],
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
