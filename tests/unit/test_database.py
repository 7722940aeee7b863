"""The database: what it refuses, where it keeps what, and its versions."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from novamesh.errors import StartError
from novamesh.event.accept import accept_batch
from novamesh.store.contract import Counters, Gaps
from novamesh.store.migrations import MIGRATIONS
from novamesh.store.paths import paths_of
from novamesh.store.recount import recount
from tests.unit.store_files import NOW, Event, Store, canonical, make_older, named

BUDGET = 64


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "data") as made:
        yield made


# ---- Quarantine -----------------------------------------------------------------------------------------

RUBBISH: Event = {"event": "bad", "timestamp": "rubbish"}
COLUMNS = "batch_id, event_index, events, body, reason"


def quarantine(store: Store) -> list[tuple[Any, ...]]:
    return store.rows(f"SELECT {COLUMNS} FROM p_default.quarantine ORDER BY event_index, body")


def test_a_bad_event_among_good_ones_goes_to_quarantine(store: Store) -> None:
    good = store.record(named("a", "b"))
    mixed = store.record([*named("c", "d"), RUBBISH, *named("e")], batch="f" * 28)
    store.write(good, mixed, store.record(named("f")))
    store.load()
    assert (store.names(), store.totals()) == (["a", "b", "c", "d", "e", "f"], (6, 0, 1))
    ((batch, index, events, body, reason),) = quarantine(store)
    assert (batch, index, events, body) == ("b_" + "f" * 28, 2, 1, canonical([RUBBISH]).decode()[1:-1])
    assert "rubbish" in reason
    assert (store.segments(), store.positions()) == (0, 0)


def test_a_record_that_is_not_json_goes_to_quarantine_as_a_whole(store: Store) -> None:
    store.write(store.record(named("a")), store.record(b"[not json", n=3), store.record(named("b")))
    store.load()
    assert (store.names(), store.totals()) == (["a", "b"], (2, 0, 3))
    ((_, index, events, body, reason),) = quarantine(store)
    assert (index, events, body) == (0, 3, "[not json")
    assert "JSON" in reason


def test_all_faults_of_a_load_are_found(store: Store) -> None:
    records = [store.record([*named(f"good {n}"), {**RUBBISH, "user_id": str(n)}]) for n in range(5)]
    store.write(*records, store.record([RUBBISH, RUBBISH], named=False))
    store.load()
    assert store.names() == [f"good {n}" for n in range(5)]
    assert store.totals() == (5, 0, 7)
    users = [json.loads(body).get("user_id", "none") for _, _, _, body, _ in quarantine(store)]
    assert sorted(users) == ["0", "1", "2", "3", "4", "none", "none"]


def test_duplicates_and_faults_add_up(store: Store) -> None:
    events = [{"event": "a", "id": "1"}, RUBBISH, {"event": "b", "id": "1"}, {"event": "c"}]
    store.write(store.record(events, key="k"), store.record(named("d"), key="k"), store.record(events, "default.test"))
    store.load()
    assert (store.names(), store.names("t_default")) == (["a", "c"], ["a", "c"])
    assert store.totals() == (4, 3, 2)
    assert store.rows("SELECT count(*) FROM t_default.quarantine") == [(1,)]


@pytest.mark.parametrize(
    ("body", "n", "stored", "quarantined"),
    [
        (b'{"event":"a"}', 2, ["b"], 2),
        (b"null", 2, ["b"], 2),
        (b"[]", 2, ["b"], 2),
        (b'[{"event":"a"}]', 2, ["a", "b"], 1),
        (b'[{"event":"a"},{"event":"c"}]', 1, ["b"], 1),
        (b'[{"event":"a"},{"event":"c"},{"event":"d"}]', 2, ["a", "b"], 1),
    ],
)
def test_a_record_that_holds_other_than_it_says_is_in_quarantine_not_among_duplicates(
    store: Store, body: bytes, n: int, stored: list[str], quarantined: int
) -> None:
    store.write(store.record(body, n=n), store.record(named("b")))
    store.load()
    assert (store.names(), store.totals()) == (stored, (len(stored), 0, quarantined))
    for _, _, _, kept, reason in quarantine(store):
        assert kept == body.decode(), "all that came is kept"
        assert "as many events" in reason or "JSON" in reason, reason


# ---- Values ---------------------------------------------------------------------------------------------

VALUES: dict[str, dict[str, Any]] = {
    "scalars": {"text": "a", "empty": "", "yes": True, "no": False, "none": None},
    "numbers": {"int": 1, "zero": 0, "minus": -5, "float": 0.1, "small": 5e-324, "large": 1.7976931348623157e308},
    "wide": {"i64": -(2**63), "u64": 2**64 - 1, "exact": 2**53 + 1},
    "texts": {"quotes": 'a"b\\c', "lines": "a\nb\tc\r\u2028", "wide": "žluťoučký 🐎 \U0010ffff", "zero": "a\u0000b"},
    "likenesses": {
        "date": "2026-01-01",
        "uuid": "01234567-89ab-7def-8123-456789ab0000",
        "int": "12",
        "json": '{"a":1}',
    },
    "nested": {"cart": {"items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2.5}], "total": 3, "empty": {}, "none": []}},
    "arrays": {"mixed": [1, "a", None, True, 2.5, [1, [2]], {"a": {"b": 1}}], "ints": [1, 2, 3], "objects": [{}, {}]},
    "keys": {"": 1, "a.b": 2, 'quo"te': 3, "ž": 4, "A": 5, "a": 6, "with space": 7, "select": 8},
    "marks": {"text": ":{ and [{ and [[", "list": ["[["]},
    "deep": {"a": {"b": {"c": {"d": {"e": {"f": [[[{"g": 1}]]]}}}}}},
    "other types": {"text": 1, "int": "one", "yes": {"no": 1}, "cart": [1], "none": {"a": 1}, "ints": 5},
    "void": {},
}


@pytest.mark.parametrize("budget", [1000, 5, 0])
@pytest.mark.parametrize("together", [True, False])
def test_values_come_out_as_they_went_in(tmp_path: Path, budget: int, together: bool) -> None:
    events = [{"event": name, "properties": value, "context": value} for name, value in VALUES.items()]
    with Store(tmp_path / "data", max_shredded_paths=budget) as store:
        for part in [events] if together else [[event] for event in events]:
            store.take(part)
        store.take(named("absent"))
        store.rows("CHECKPOINT")
        assert store.values() == {**VALUES, "absent": None}
        assert store.values(column="context") == {**VALUES, "absent": None}
        assert store.rows("SELECT count(*) <= ? FROM novamesh.paths", budget) == [(True,)]


# What could be taken for a path, a pattern, a number or a quotation by what lies between.
PIECES = [
    "a",
    "A",
    '"',
    "'",
    "\\",
    "\n",
    "\0",
    "\x1f",
    ".",
    "$",
    "[0]",
    "[]",
    "{",
    "}",
    ":{",
    "[{",
    "*",
    "%",
    "é",
    "🐎",
    " ",
]
PIECES += ["\u2028", "\ufeff", "\uffff", "null", "NaN", "1", "-0", "1e5", "2026-01-01", "true", "id", "{{", "{0}", "?"]


def arbitrary(rng: random.Random, depth: int = 0) -> Any:
    """A JSON value."""
    kind = rng.randrange(12 if depth < 5 else 9)
    if kind < 3:
        return "".join(rng.choices(PIECES, k=rng.randrange(4)))
    if kind < 6:
        return rng.choice([0, 1, -1, 0.5, 1e300, -1e-300, 2**53 + 1, -(2**63), 2**64 - 1, 1.0, rng.random(), -1.5e-7])
    if kind < 9:
        return rng.choice([True, False, None, "", "x"])
    if kind == 9:
        return [arbitrary(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {
        "".join(rng.choices(PIECES, k=rng.randrange(4))): arbitrary(rng, depth + 1) for _ in range(rng.randrange(5))
    }


@pytest.mark.parametrize("budget", [0, 64, 5000])
def test_arbitrary_values_come_out_as_they_went_in(tmp_path: Path, budget: int) -> None:
    """From the body of a request to the view."""
    rng = random.Random(7)
    sent = {str(n): {f"{n % 7}{k}": arbitrary(rng) for k in range(4)} for n in range(300)}
    with Store(tmp_path / "data", max_shredded_paths=budget) as store:
        for start in range(0, 300, 60):
            events = [{"event": name, "properties": sent[name]} for name in map(str, range(start, start + 60))]
            accepted = accept_batch(json.dumps({"events": events}).encode())
            store.take(accepted.events, n=accepted.count)
        store.rows("CHECKPOINT")
        assert store.totals() == (300, 0, 0)
        # As text, so that 1 is not 1.0 and true is not 1.
        found = {name: json.dumps(value, sort_keys=True) for name, value in store.values().items()}
        assert found == {name: json.dumps(value, sort_keys=True) for name, value in sent.items()}


def test_times_are_those_sent_or_those_of_receipt(store: Store) -> None:
    store.take([{"event": "sent", "timestamp": "2025-12-31T23:59:59.123456Z"}, {"event": "received"}])
    rows = store.rows('SELECT "timestamp"::VARCHAR, received_at::VARCHAR FROM p_default.events ORDER BY event')
    assert rows == [
        ("2026-01-01 00:00:00", "2026-01-01 00:00:00"),
        ("2025-12-31 23:59:59.123456", "2026-01-01 00:00:00"),
    ]
    assert NOW == 1_767_225_600_000_000


# ---- Paths ----------------------------------------------------------------------------------------------

ORDINARY = {"plan": "pro", "cart": {"total": 1.5, "items": [{"sku": "a"}]}}


def ordinary(name: str) -> Event:
    return {"event": name, "properties": ORDINARY}


def with_many_keys(shape: str) -> list[Event]:
    """Ten events that have 10,000 distinct keys between them."""
    groups = [{f"id{n:05d}": n for n in range(first, first + 1000)} for first in range(0, 10_000, 1000)]
    shapes: dict[str, Callable[[Event], Event]] = {
        "flat": lambda keys: keys,
        "nested": lambda keys: {"users": keys},
        "in a list": lambda keys: {"plan": "x", "list": [{"users": keys}]},
    }
    return [{"event": f"many {n}", "properties": shapes[shape](keys)} for n, keys in enumerate(groups)]


@pytest.mark.parametrize("shape", ["flat", "nested", "in a list"])
def test_ids_as_keys_take_up_no_columns(store: Store, shape: str) -> None:
    many = with_many_keys(shape)
    store.take([ordinary("before")])
    store.take([*many, ordinary("among")])
    store.restart()
    store.take([ordinary("after"), {"event": "new", "properties": {"new": 1}}])
    store.rows("CHECKPOINT")
    assert store.rows("SELECT count(*), count(DISTINCT path) FROM novamesh.paths") == [(BUDGET, BUDGET)]
    assert store.names(table="events_shredded") == ["after", "among", "before"]
    assert store.names(table="events_plain") == sorted([*(event["event"] for event in many), "new"])
    expected = {event["event"]: event["properties"] for event in many}
    expected |= {"new": {"new": 1}} | dict.fromkeys(("before", "among", "after"), ORDINARY)
    assert store.values() == expected


def test_each_key_can_be_read_by_its_name(store: Store) -> None:
    store.take([ordinary("ordinary"), *with_many_keys("nested")])
    sql = "SELECT properties.users.{0}::INTEGER FROM p_default.events WHERE properties.users.{0} IS NOT NULL"
    for key in ("id00000", "id04321", "id09999"):
        assert store.rows(sql.format(key)) == [(int(key[2:]),)]
    assert store.rows("SELECT properties.plan::VARCHAR FROM p_default.events WHERE event = 'ordinary'") == [("pro",)]


def test_only_short_shapes_are_remembered() -> None:
    short = json.dumps({"cart": {"total": "DOUBLE", "items": [{"sku": "VARCHAR"}]}})
    long = json.dumps({"users": {f"id{n}": "VARCHAR" for n in range(10_000)}})
    expected = {
        "p.cart": frozenset({"OBJECT"}),
        "p.cart.total": frozenset({"DOUBLE"}),
        "p.cart.items": frozenset({"ARRAY"}),
        "p.cart.items[].sku": frozenset({"VARCHAR"}),
    }
    assert paths_of("p", short) == expected
    assert paths_of("p", short) is paths_of("p", short)
    assert len(paths_of("p", long)) == 10_001
    assert paths_of("p", long) is not paths_of("p", long)


def test_each_space_has_its_own_budget(tmp_path: Path) -> None:
    with Store(tmp_path / "data", max_shredded_paths=1) as store:
        for space in ("default", "default.test"):
            store.send([{"event": "first", "properties": {space: 1}}], space)
            store.load()
            store.send([{"event": "second", "properties": {"second": 1}}], space)
        store.load()
        for schema in ("p_default", "t_default"):
            assert store.names(schema, "events_shredded") == ["first"]
            assert store.names(schema, "events_plain") == ["second"]
        paths = [("default", "properties.default", "UBIGINT"), ("default.test", "properties.default.test", "UBIGINT")]
        assert store.rows("FROM novamesh.paths ORDER BY space") == paths


def test_a_refused_event_takes_up_no_room(tmp_path: Path) -> None:
    with Store(tmp_path / "data", max_shredded_paths=1) as store:
        store.send([{"event": "bad", "timestamp": "rubbish", "properties": {"bad": 1}}])
        store.load()
        store.take([{"event": "good", "properties": {"good": 1}}])
        assert store.names(table="events_shredded") == ["good"]
        assert store.rows("SELECT path FROM novamesh.paths") == [("properties.good",)]


# ---- Versions -------------------------------------------------------------------------------------------


def versions(store: Store) -> list[int]:
    return [version for (version,) in store.rows("SELECT version FROM novamesh.migrations ORDER BY version")]


def test_a_fresh_database_has_every_migration_once(store: Store) -> None:
    expected = list(range(1, len(MIGRATIONS) + 1))
    assert versions(store) == expected
    store.take(named("a"))
    store.restart()
    assert versions(store) == expected
    assert store.names() == ["a"]


def test_a_database_from_before_the_ledger_has_received_what_became_of_it(store: Store) -> None:
    store.send([{"event": "a", "id": "1"}, {"event": "b", "id": "1"}, RUBBISH, *named("c")])
    store.load()
    store.die()
    make_older(store.file, 2)
    with duckdb.connect(store.file, read_only=True) as connection:
        assert recount(connection, store.places)["default"].gaps == Gaps(), "as verify sees it, which does not migrate"
    store.start()
    assert store.database.counters == {"default": Counters(4, 2, 1, 1, recovered=4)}
    assert store.recount()["default"].gaps == Gaps()
    assert store.recount()["default"].accepted == 4


def test_a_newer_database_is_refused_and_left_alone(store: Store) -> None:
    newer = len(MIGRATIONS) + 1
    store.die()
    with duckdb.connect(store.file) as connection:
        connection.execute("INSERT INTO novamesh.migrations VALUES (?, now()::TIMESTAMP)", [newer])
    with pytest.raises(StartError, match=rf"schema version {newer}, .* knows {newer - 1}"):
        store.start()
    # Closed by the refusal: a connection with other settings can be made.
    with duckdb.connect(store.file) as connection:
        connection.execute("DELETE FROM novamesh.migrations WHERE version = ?", [newer])
    store.start()


def test_a_migration_that_fails_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.die()
    with monkeypatch.context() as patch:
        broken = "CREATE TABLE novamesh.half (a INTEGER); SELECT no_such_function()"
        patch.setattr("novamesh.store.migrations.MIGRATIONS", (*MIGRATIONS, broken))
        with pytest.raises(duckdb.CatalogException):
            store.start()
    store.start()
    assert versions(store) == list(range(1, len(MIGRATIONS) + 1))
    assert store.rows("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'half'") == [(0,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO 'out.csv'",
        "ATTACH 'other.duckdb'",
        "SET GLOBAL enable_external_access = true",
        "SET threads = 1",
        "INSTALL httpfs",
    ],
)
def test_the_database_is_locked_down(store: Store, sql: str) -> None:
    with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException)):
        store.rows(sql)
