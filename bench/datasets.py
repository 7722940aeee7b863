"""Millions of events in a node's data directory, made in SQL from a seed and stored as the loader stores them.

Two projects: ``web``, the events of :mod:`bench.events` over thirty days, and ``social``, nested documents of the shape
of JSONBench's (github.com/ClickHouse/JSONBench, a day of Bluesky's stream). The values are ours; what counts for the
measurement is the shape, the number of distinct values of each path and how unevenly they are spread.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from bench.events import BATCH_SIZE, BROWSERS, COUNTRIES, EVENT_NAMES, PAGES
from novamesh.config import Config
from novamesh.store.contract import schema_for
from novamesh.store.damage import FILE_NAME
from novamesh.store.duckdb import Database
from novamesh.store.paths import PathBudget, paths_of

SEED = 7
WEB_EVENTS, SOCIAL_EVENTS = 5_000_000, 1_000_000
USERS, AUTHORS = 50_000, 200_000
START_US = 1_795_046_400_000_000  # 2026-11-19, midnight
WEB_DAYS = 30
DAY_US = 86_400_000_000
# One INSERT: as many rows as keep the JSON text of it well below the node's memory limit.
PART = 500_000

REFERRERS = ("https://www.google.com/", "https://news.ycombinator.com/", "")
WIDTHS = (360, 390, 768, 1280, 1440, 1920)
POST, REPOST, LIKE, FOLLOW = "app.bsky.feed.post", "app.bsky.feed.repost", "app.bsky.feed.like", "app.bsky.graph.follow"
KINDS = {"commit": 97, "identity": 2, "account": 1}
OPERATIONS = {"create": 92, "delete": 6, "update": 2}
# Per cent of the commits. The rest of JSONBench's collections are rarer still.
COLLECTIONS = {
    LIKE: 46,
    POST: 20,
    REPOST: 14,
    FOLLOW: 13,
    "app.bsky.graph.block": 3,
    "app.bsky.actor.profile": 1,
    "app.bsky.graph.listitem": 1,
    "app.bsky.feed.threadgate": 1,
    "app.bsky.graph.list": 1,
}
WORDS = (
    "the morning light over a quiet harbour makes every picture better than it was and I have nothing else to say about"
    " coffee trains weather football elections music cats bread code books rain"
).split()


class Dataset(NamedTuple):
    """A node's data directory and what is in it."""

    directory: Path
    web: int
    social: int

    @property
    def file(self) -> Path:
        return self.directory / "store" / FILE_NAME


def prepare(directory: Path, scale: float = 1) -> tuple[Dataset, float]:
    """The data in ``directory``, made unless it is there; and the seconds that took."""
    data = Dataset(directory, round(WEB_EVENTS * scale), round(SOCIAL_EVENTS * scale))
    started = time.perf_counter()
    database = Database(Config(data_dir=str(directory)))
    try:
        with database.cursor() as cursor:
            for space, count in (("web", data.web), ("social", data.social)):
                database.ensure_space(space)
                _fill(cursor, space, count)
    finally:
        database.close()
    return data, time.perf_counter() - started


def _fill(cursor: duckdb.DuckDBPyConnection, space: str, count: int) -> None:
    table = f'"{schema_for(space)}".events_shredded'
    found = cursor.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert found is not None
    if found[0] == count:
        return
    if found[0]:
        raise ValueError(f"the data directory holds {found[0]:,} events of {space}, not {count:,}: name another")
    for first in range(0, count, PART):
        rows = _rows(space, first, min(first + PART, count), count)
        cursor.execute(f"INSERT INTO {table} {rows}")
    _note(cursor, space, table, count)
    cursor.execute("CHECKPOINT")


def _note(cursor: duckdb.DuckDBPyConnection, space: str, table: str, count: int) -> None:
    """What the loader keeps besides the events, so that the node finds its books in order."""
    shapes = cursor.execute(f"SELECT DISTINCT json_structure(properties::JSON)::VARCHAR FROM {table}").fetchall()
    budget = PathBudget({}, Config().max_shredded_paths)
    for (shape,) in shapes:
        budget.admit(paths_of("properties", shape))
    rows = [(space, path, types) for path, types in sorted(budget.all_types().items())]
    cursor.executemany("INSERT INTO novamesh.paths VALUES (?, ?, ?)", rows)
    counted = "space, received, stored, recovered, duplicates, quarantined"
    cursor.execute(f"INSERT INTO novamesh.counters ({counted}) VALUES (?, ?, ?, ?, 0, 0)", [space, count, count, count])


def _rows(space: str, first: int, end: int, count: int) -> str:
    """The rows ``first`` to ``end`` of a space that has ``count``, in the table's columns."""
    return f"""
        SELECT (batch || lpad(to_hex(i % {BATCH_SIZE}), 4, '0'))::UUID, event, user_id, make_timestamp(us),
               properties::VARIANT, NULL, make_timestamp(us + 20_000), 'b_' || batch
        FROM (
            SELECT *, lpad(to_hex(us // 10_000_000), 12, '0')
                || lpad(to_hex({_random("batch", f"i // {BATCH_SIZE}")}), 16, '0') AS batch
            FROM ({_web(first, end, count) if space == "web" else _social(first, end, count)}))
    """


def _random(what: str, place: str = "i") -> str:
    """64 random bits for each row, others for each ``what``."""
    return f"hash({place}, {SEED}, '{what}')"


def _below(limit: int, what: str) -> str:
    return f"({_random(what)} % {limit})::BIGINT"


def _one_of(values: Sequence[object], what: str) -> str:
    return f"{list(values)}[{_below(len(values), what)} + 1]"


def _text(what: str, letters: int) -> str:
    """Letters and digits that hardly repeat: keys, and hashes of content."""
    return f"left(md5({_random(what)}::VARCHAR) || md5({_random(what + '2')}::VARCHAR), {letters})"


def _did(what: str) -> str:
    """One of the authors. A few of them do most of the writing."""
    number = f"floor(pow({_random(what)} % 1_000_000 / 1e6, 3) * {AUTHORS})::BIGINT"
    return f"'did:plc:' || left(md5('author' || {number}), 24)"


def _words(what: str) -> str:
    word = f"{list(WORDS)}[({_random(what, 'i, n')} % {len(WORDS)})::BIGINT + 1]"
    return f"array_to_string([{word} for n in range(5 + {_below(20, what)})], ' ')"


def _uri(what: str) -> str:
    return (
        f"json_object('cid', 'bafyrei' || {_text(what + 'c', 52)},"
        f" 'uri', 'at://' || {_did(what)} || '/{POST}/3l' || {_text(what + 'u', 11)})"
    )


def _web(first: int, end: int, count: int) -> str:
    common = f"""
        'page', {_one_of(PAGES, "page")}, 'referrer', {_one_of(REFERRERS, "referrer")},
        'browser', {_one_of(BROWSERS, "browser")}, 'country', {_one_of(COUNTRIES, "country")},
        'screen_width', {_one_of(WIDTHS, "width")}"""
    return f"""
        SELECT i, event, 'u' || {_below(USERS, "user")} AS user_id,
            {START_US} + i * {WEB_DAYS * DAY_US // count} AS us,
            CASE WHEN event = 'purchase'
                THEN json_object({common}, 'price', (100 + {_below(19_900, "price")}) / 100)
                ELSE json_object({common}) END AS properties
        FROM (SELECT i, {_one_of(EVENT_NAMES, "event")} AS event FROM range({first}, {end}) AS place(i))
    """


def _social(first: int, end: int, count: int) -> str:
    head = "'$type', collection, 'createdAt', strftime(make_timestamp(us - 500_000), '%Y-%m-%dT%H:%M:%S.%gZ')"
    post = f"{head}, 'langs', [{_one_of(('en',) * 5 + ('ja', 'pt', 'de', 'es'), 'lang')}], 'text', {_words('text')}"
    record = f"""
        CASE WHEN collection = '{POST}' AND {_below(2, "reply")} = 0 THEN json_object({post})
             WHEN collection = '{POST}'
             THEN json_object({post}, 'reply', json_object('parent', {_uri("parent")}, 'root', {_uri("root")}))
             WHEN collection IN ('{LIKE}', '{REPOST}') THEN json_object({head}, 'subject', {_uri("liked")})
             WHEN collection = 'app.bsky.actor.profile'
             THEN json_object({head}, 'displayName', {_text("name", 10)}, 'description', {_words("about")})
             ELSE json_object({head}, 'subject', {_did("followed")}) END"""
    commit = f"""
        'rev', '3l' || {_text("rev", 11)}, 'operation', operation, 'collection', collection,
        'rkey', '3l' || {_text("rkey", 11)}"""
    common = "'did', did, 'time_us', us, 'kind', kind"
    return f"""
        SELECT i, kind AS event, did AS user_id, us,
            CASE WHEN kind = 'commit' AND operation = 'delete'
                 THEN json_object({common}, 'commit', json_object({commit}))
                 WHEN kind = 'commit' THEN json_object({common}, 'commit',
                     json_object({commit}, 'record', {record}, 'cid', 'bafyrei' || {_text("cid", 52)}))
                 WHEN kind = 'identity' THEN json_object({common}, 'identity', json_object('did', did,
                     'handle', {_text("handle", 9)} || '.bsky.social', 'seq', i, 'time', make_timestamp(us)::VARCHAR))
                 ELSE json_object({common}, 'account', json_object('active', true, 'did', did, 'seq', i)) END
                 AS properties
        FROM (
            SELECT i, {_did("author")} AS did, {START_US} + i * {DAY_US // count} + {_below(50_000, "jitter")} AS us,
                {_one_of(_spread(KINDS), "kind")} AS kind, {_one_of(_spread(OPERATIONS), "operation")} AS operation,
                {_one_of(_spread(COLLECTIONS), "collection")} AS collection
            FROM range({first}, {end}) AS place(i))
    """


def _spread(per_cent: dict[str, int]) -> list[str]:
    """A hundred values to choose from."""
    return [value for value, times in per_cent.items() for _ in range(times)]
