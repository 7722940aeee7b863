"""What a space's events hold: their names, and the paths in a sample of the newest.

The sample is taken in slices, the newest first, so that it ends when it has cost enough. A slice is one statement that
groups the events by the shapes of their columns: Python sees each shape once, and a few whole values of it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import duckdb

from novamesh.store.contract import Counters, EventCount, ExtentAnswer, SchemaAnswer, schema_for
from novamesh.store.duckdb import Database
from novamesh.store.sample import Group, Sample

MOST_EVENTS = 200
SAMPLE = 50_000
# Names are counted in so many of the newest events: 2 cores take about 3 ms for a million.
COUNTED = 20_000_000
# How long an answer holds while events come in; as long as none come or go it holds anyway.
FRESH_S = 5.0
REMEMBERED = 64

# What a sample may cost. A slice is four times the one before it: the first are small, because events may be large.
FIRST_ROWS = 1
# All values of a slice up to this are looked at for examples, of a larger one a value of each shape.
WHOLE_ROWS = 256
SLICE_BYTES = 4 * 2**20
MOST_BYTES = 32 * 2**20
# The engine looks at up to 2048 documents in one go, which an interrupt does not end: about 2 s, if all are of this
# size and full of keys. A larger one is counted, and has no shape.
DOCUMENT_BYTES = 256 * 2**10
SMALL_BYTES = 8 * 2**10
MOST_SHAPES = 1_000
# It ends after the one time if it has enough rows, and after the other whatever it has: where most events have been
# removed, many row numbers lead to none.
ENOUGH_ROWS = 5_000
ENOUGH_S, MOST_S = 0.25, 1.0

_EVENTS = """
SELECT event, count(*) FROM (
    SELECT event FROM "{schema}".events_shredded WHERE rowid >= $shredded
    UNION ALL SELECT event FROM "{schema}".events_plain WHERE rowid >= $plain)
GROUP BY event ORDER BY count(*) DESC, event LIMIT $most
"""
# How many of the newest events are among those kept as JSON: an id tells when its event arrived.
_NEWEST = """
SELECT count(*) FILTER (plain) FROM (
    SELECT id, false AS plain FROM "{schema}".events_shredded WHERE rowid >= $shredded
    UNION ALL SELECT id, true FROM "{schema}".events_plain WHERE rowid >= $plain
    ORDER BY id DESC LIMIT $most)
"""
_SLICE = """
WITH slice AS MATERIALIZED (
    SELECT properties::JSON AS properties, context::JSON AS context FROM "{schema}".events_shredded
    WHERE rowid >= $shredded_from AND rowid < $shredded_to
    UNION ALL SELECT properties, context FROM "{schema}".events_plain WHERE rowid >= $plain_from AND rowid < $plain_to
), documents AS (
    SELECT 'properties' AS name, properties AS document FROM slice
    UNION ALL SELECT 'context', context FROM slice)
SELECT name, json_structure(seen)::VARCHAR, count(*), coalesce(sum(bytes), 0)::BIGINT, {values},
    count(*) FILTER (bytes > $most)
FROM (SELECT name, strlen(document) AS bytes, CASE WHEN bytes <= $most THEN document END AS seen FROM documents)
GROUP BY ALL
"""
_ALL, _ANY = "list(seen)", "[any_value(seen)]"


class Window(NamedTuple):
    """Row numbers of a table that are looked at: from ``first`` to before ``end``."""

    first: int
    end: int


class Schemas:
    """Answers, remembered while they hold. For any thread. ``clock`` tells seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._answers: dict[str, tuple[Counters, float, SchemaAnswer]] = {}
        self._lock = threading.Lock()

    def of(self, cursor: duckdb.DuckDBPyConnection, space: str) -> SchemaAnswer:
        """What the events of a space hold. An event that was removed is in no answer after that. Raises
        ``duckdb.Error``."""
        now = self._clock()
        counters = self._database.counters.get(space, Counters())  # before the events: what comes meanwhile is news
        remembered = self._answers.get(space)
        if remembered is not None and _holds(remembered[0], counters, now - remembered[1]):
            return remembered[2]
        self._database.ensure_space(space)
        answer = _described(cursor, space, self._database.extent(space), self._clock)
        with self._lock:
            while len(self._answers) >= REMEMBERED and space not in self._answers:
                del self._answers[next(iter(self._answers))]
            self._answers[space] = counters, now, answer
        return answer


def _holds(before: Counters, now: Counters, age_s: float) -> bool:
    if before == now:
        return True
    return age_s < FRESH_S and (before.erased, before.expired) == (now.erased, now.expired)


def _described(
    cursor: duckdb.DuckDBPyConnection, space: str, extent: ExtentAnswer, clock: Callable[[], float]
) -> SchemaAnswer:
    schema = schema_for(space)
    names = cursor.execute(
        _EVENTS.format(schema=schema),
        {"shredded": extent.shredded - COUNTED, "plain": extent.plain - COUNTED, "most": MOST_EVENTS + 1},
    ).fetchall()
    started = clock()
    # What is left of a slice then: a few shapes of thousands of keys each take as long as all others.
    sample = Sample(over=lambda: clock() - started > MOST_S)
    for shredded, plain, values in _slices(cursor, schema, extent, sample, clock):
        sample.add(_slice(cursor, schema, shredded, plain, values))
    paths, more = sample.paths()
    return SchemaAnswer(
        events=[EventCount(name, count) for name, count in names[:MOST_EVENTS]],
        paths=paths,
        sampled=sample.events,
        truncated=more or len(names) > MOST_EVENTS,
    )


def _slices(
    cursor: duckdb.DuckDBPyConnection, schema: str, extent: ExtentAnswer, sample: Sample, clock: Callable[[], float]
) -> Iterator[tuple[Window, Window, str]]:
    """The windows of both tables that make up each slice, and which of its values are wanted, while the sample is to
    grow."""
    shredded, plain = extent.shredded, extent.plain
    part = _plain_part(cursor, schema, extent)
    size, started = FIRST_ROWS, clock()
    while (shredded or plain) and _wants_more(sample, clock() - started):
        size = min(size, SAMPLE - sample.events)
        of_plain = min(plain, round(size * part))
        of_shredded = min(shredded, size - of_plain)
        of_plain = min(plain, size - of_shredded)
        yield (
            Window(shredded - of_shredded, shredded),
            Window(plain - of_plain, plain),
            _ALL if size <= WHOLE_ROWS else _ANY,
        )
        shredded, plain = shredded - of_shredded, plain - of_plain
        average = max(1, sample.bytes // max(1, sample.events))
        size = max(1, min(4 * size, SLICE_BYTES // average))


def _wants_more(sample: Sample, took_s: float) -> bool:
    return (
        sample.events < SAMPLE
        and sample.bytes < MOST_BYTES
        and sample.shapes < MOST_SHAPES
        and not sample.full
        and took_s < (ENOUGH_S if sample.events >= ENOUGH_ROWS else MOST_S)
    )


def _plain_part(cursor: duckdb.DuckDBPyConnection, schema: str, extent: ExtentAnswer) -> float:
    """Which part of the newest events is kept as JSON."""
    if not extent.plain or not extent.shredded:
        return float(extent.plain > 0)
    row = cursor.execute(
        _NEWEST.format(schema=schema),
        {"shredded": extent.shredded - SAMPLE, "plain": extent.plain - SAMPLE, "most": SAMPLE},
    ).fetchone()
    return min(1.0, row[0] / min(SAMPLE, extent.plain + extent.shredded)) if row else 0.0


def _slice(cursor: duckdb.DuckDBPyConnection, schema: str, shredded: Window, plain: Window, values: str) -> list[Group]:
    rows = shredded.end - shredded.first + plain.end - plain.first
    groups = cursor.execute(
        _SLICE.format(schema=schema, values=values),
        {
            "shredded_from": shredded.first,
            "shredded_to": shredded.end,
            "plain_from": plain.first,
            "plain_to": plain.end,
            "most": max(SMALL_BYTES, min(DOCUMENT_BYTES, SLICE_BYTES // max(1, rows))),
        },
    ).fetchall()
    return [Group(*group) for group in groups]
