"""``python -m bench``: all measurements, one table, one JSON file. See ``--help``."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import edge, hostile, overload, queries, store, upkeep
from bench.report import Row, as_json, as_markdown


def main() -> None:
    """Measure and print; progress goes to stderr."""
    parser = argparse.ArgumentParser(description="Measures real nodes; takes about ten minutes.")
    parser.add_argument("--seconds", type=float, default=5, help="length of each load (default 5)")
    parser.add_argument("--only", default="abcdefghij", help="groups to measure, such as ab (default all)")
    parser.add_argument("--json", type=Path, help="write the figures here as JSON too")
    parser.add_argument("--events", type=float, default=1, help="group g: part of its 6 million events (default 1)")
    parser.add_argument("--keep", type=Path, help="group g: make its data here, or use what an earlier run made")
    parser.add_argument("--chdb", default=sys.executable, help="group g: a python that has chdb (default this one)")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="novamesh-bench-") as name:
        directory = Path(name)
        for row in _measure(directory, options):
            print(f"{row.group} {row.what}: {row.value:,.4g} {row.unit} {row.note}", file=sys.stderr)
            rows.append(row)
    print(as_markdown(rows))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(as_json(rows))


def _measure(directory: Path, options: argparse.Namespace) -> Iterator[Row]:
    groups, seconds = options.only, options.seconds
    if "a" in groups:
        yield from edge.requests(directory, seconds)
    if "b" in groups:
        yield from edge.events(directory, seconds)
    if set("cdef") & set(groups):
        loaded, sustained, key = store.loading(directory)
        yield from loaded
        if "d" in groups:
            yield from store.freshness(directory, sustained)
        if "e" in groups:
            yield from store.queries(directory, key)
        if "f" in groups:
            yield from store.size_and_memory(directory)
    if "g" in groups:
        yield from queries.measure(directory, options.events, options.keep, options.chdb)
    if "h" in groups:
        yield from hostile.measure(directory, seconds)
    if "i" in groups:
        yield from overload.measure(directory, seconds)
    if "j" in groups:
        yield from upkeep.measure(directory, seconds)


if __name__ == "__main__":
    main()
