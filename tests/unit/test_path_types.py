"""Of which JSON types a path's values have been: noted before they can be read, and what queries rely on."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from novamesh.sql.guard import check
from novamesh.sql.types import PathTypes
from novamesh.store.paths import PathBudget
from tests.unit.store_files import Store

EVENT = {"event": "e"}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store(tmp_path / "data") as store:
        yield store


def take(store: Store, *properties: dict[str, Any], **fields: Any) -> None:
    store.take([{**EVENT, "properties": each, **fields} for each in properties])


def types(store: Store) -> dict[str, str]:
    return store.database.path_types("default")[0]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"k": 1}, {"k": "UBIGINT"}),
        ({"k": -1}, {"k": "BIGINT"}),
        ({"k": 1.5}, {"k": "DOUBLE"}),
        ({"k": 2**63}, {"k": "UBIGINT"}),
        ({"k": "x"}, {"k": "VARCHAR"}),
        ({"k": True}, {"k": "BOOLEAN"}),
        ({"k": None}, {}),
        ({"k": []}, {"k": "ARRAY"}),
        ({}, {}),
        ({"odd key": 1, "a.b": "x"}, {"odd key": "UBIGINT", "a.b": "VARCHAR"}),
        ({"o": {"k": 1, "p": {"q": "x"}}}, {"o": "OBJECT", "o.k": "UBIGINT", "o.p": "OBJECT", "o.p.q": "VARCHAR"}),
        ({"a": {"b": 1}, "a.b": "x"}, {"a": "OBJECT", "a.b": "UBIGINT,VARCHAR"}),
        ({"text": ':{"k":1}', "n": 1}, {"text": "VARCHAR", "n": "UBIGINT"}),
    ],
)
def test_types_of_one_event(store: Store, properties: dict[str, Any], expected: dict[str, str]) -> None:
    take(store, properties)
    assert types(store) == {f"properties.{path}": kind for path, kind in expected.items()}


def test_types_of_a_context(store: Store) -> None:
    take(store, {}, context={"device": {"width": 390}})
    assert types(store) == {"context.device": "OBJECT", "context.device.width": "UBIGINT"}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_types_add_up(store: Store, nested: bool, together: bool) -> None:
    events = [{"k": value, **({"o": {"p": 1}} if nested else {})} for value in (1, None, "x", 0.5, 2)]
    for batch in [events] if together else [[event] for event in events]:
        take(store, *batch)
    assert types(store)["properties.k"] == "DOUBLE,UBIGINT,VARCHAR"
    store.restart()
    assert types(store)["properties.k"] == "DOUBLE,UBIGINT,VARCHAR"
    assert store.rows("SELECT count(*) FROM novamesh.paths WHERE path = 'properties.k'") == [(1,)]


def test_a_path_without_a_place_has_no_types(tmp_path: Path) -> None:
    with Store(tmp_path / "data", max_shredded_paths=1) as store:
        take(store, {"k": 1}, {"k": "x", "other": 1})
        assert store.names(table="events_plain") == ["e"]
        assert types(store) == {"properties.k": "UBIGINT,VARCHAR"}


def test_a_refused_event_leaves_no_type(store: Store) -> None:
    take(store, {"k": 1})
    store.take([{**EVENT, "timestamp": "rubbish", "properties": {"k": "x", "new": 1}}])
    assert store.rows("SELECT count(*) FROM p_default.quarantine") == [(1,)]
    assert types(store) == {"properties.k": "UBIGINT"}


def test_paths_of_an_older_version_stay_unknown(store: Store) -> None:
    take(store, {"k": 1, "n": None})
    store.rows("UPDATE novamesh.paths SET types = NULL")
    store.restart()
    take(store, {"k": 2, "n": 2})
    assert types(store) == {}
    assert store.database.holds("default", {"properties.k": "", "properties.n": "", "properties.gone": ""})


def test_what_was_relied_on_holds_until_another_type_comes(store: Store) -> None:
    take(store, {"k": 1})
    known = PathTypes(types(store))
    relied = check(
        "SELECT sum(properties.k), max(properties.gone) FROM events", schema="p_default", limit=1, types=known
    )
    assert relied.relied == {"properties.k": "UBIGINT", "properties.gone": ""}
    assert store.database.holds("default", relied.relied)
    take(store, {"k": 2, "n": "x"})
    assert store.database.holds("default", relied.relied)
    take(store, {"k": "x"})
    assert not store.database.holds("default", relied.relied)


def test_what_was_rolled_back_is_forgotten() -> None:
    budget = PathBudget({"k": frozenset({"UBIGINT"}), "old": None}, 3)
    assert budget.admit({"k": frozenset({"VARCHAR"}), "old": frozenset({"VARCHAR"}), "new": frozenset({"BOOLEAN"})})
    assert budget.admit({"new": frozenset({"DOUBLE"}), "k": frozenset({"BOOLEAN"})})
    assert budget.changed == {"k": "BOOLEAN,UBIGINT,VARCHAR", "new": "BOOLEAN,DOUBLE"}
    assert not budget.admit({"fourth": frozenset({"VARCHAR"})})
    budget.roll_back()
    assert budget.all_types() == {"k": "UBIGINT"}
    assert budget.changed == {}
    assert budget.admit({"k": frozenset({"DOUBLE"})})
    budget.commit()
    budget.roll_back()
    assert budget.all_types() == {"k": "DOUBLE,UBIGINT"}


def test_whether_all_events_are_shredded(tmp_path: Path) -> None:
    with Store(tmp_path / "data", max_shredded_paths=1) as store:
        take(store, {"k": 1})
        assert store.database.path_types("default")[1]
        sql = check("SELECT count(*), sum(properties.k) FROM events", schema="p_default", limit=1, types=_all(store))
        assert sql.shredded_only
        assert "events_plain" not in sql.sql
        assert store.rows(sql.sql) == [(1, 1.0)]
        assert store.database.holds("default", sql.relied, shredded_only=True)
        take(store, {"other": 1})
        assert not store.database.holds("default", sql.relied, shredded_only=True)
        assert store.database.holds("default", sql.relied)
        sql = check("SELECT count(*), sum(properties.k) FROM events", schema="p_default", limit=1, types=_all(store))
        assert not sql.shredded_only
        assert store.rows(sql.sql) == [(2, 1.0)]
        store.restart()
        assert not store.database.path_types("default")[1]


def _all(store: Store) -> PathTypes:
    found, shredded_only = store.database.path_types("default")
    return PathTypes(found, shredded_only=shredded_only)


def test_a_path_that_had_no_room_before_stays_unknown(tmp_path: Path) -> None:
    """What it was then is in no books: it is among events that are kept as JSON."""
    with Store(tmp_path / "data", max_shredded_paths=1) as store:
        take(store, {"k": 1}, {"k": 1, "late": "x"})
        store.config = msgspec.structs.replace(store.config, max_shredded_paths=10)
        store.restart()
        take(store, {"late": 5, "new": 1})
        assert types(store) == {"properties.k": "UBIGINT"}
        store.restart()
        assert types(store) == {"properties.k": "UBIGINT"}


def test_events_that_were_refused_are_not_kept_as_json(tmp_path: Path) -> None:
    with Store(tmp_path / "data", max_shredded_paths=1) as store:
        take(store, {"k": 1})
        store.take([{**EVENT, "timestamp": "rubbish", "properties": {"k": 1, "other": 1}}])
        assert store.rows("SELECT count(*) FROM p_default.quarantine") == [(1,)]
        assert store.database.path_types("default")[1]
