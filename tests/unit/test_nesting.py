"""Queries that are nested: the work of a check, and what it writes, grow with them and do not multiply."""

import pytest

from novamesh.errors import QueryNotAllowed
from novamesh.sql import Checked, check, guard, work


def checked(sql: str) -> Checked:
    return check(sql, schema="p_default", limit=10)


def nested(before: str, after: str, depth: int) -> str:
    return "SELECT " + before * depth + "properties.a" + after * depth + " FROM events"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + " || ".join(f"properties.p{n}" for n in range(100)) + " FROM events",
        nested("list_transform(", ", lambda x: x)", 15),
        nested("contains(", ", 1)", 15),
        nested("contains([1], ", ")", 15),
        nested("properties[", "]", 15),
        nested("list_contains(DISTINCT ", " ORDER BY 1)", 15),
    ],
    ids=["joined texts", "lambdas", "contains", "looked for", "brackets", "distinct"],
)
def test_the_work_does_not_double_with_each_part(sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_VISITS", 1_000)
    assert checked(sql).sql


def test_both_ends_of_between_look_at_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_VISITS", 50)
    assert checked(nested("(", " BETWEEN $p AND properties.b)", guard.MAX_COMPARED_DEEP)).sql


@pytest.mark.parametrize("after", [" IN ('a', event))::TEXT", " BETWEEN 'a' AND event)::TEXT"])
def test_what_the_engine_could_not_be_stopped_at_is_refused(after: str) -> None:
    assert checked(nested("(", after, guard.MAX_COMPARED_DEEP)).sql
    with pytest.raises(QueryNotAllowed, match="at most 5 deep"):
        checked(nested("(", after, guard.MAX_COMPARED_DEEP + 1))
    with pytest.raises(QueryNotAllowed, match="at most 5 deep"):
        checked(nested("nullif(", ", 'a')", guard.MAX_COMPARED_DEEP + 1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("greatest(properties.b, ", ")"),
        ("(properties.b IN ('a', ", "))"),
        ("(", ")[1:2]"),
        ("length(properties[", "])"),
        ("CASE WHEN ", " THEN properties.b ELSE properties.c END = 1"),
        ("CASE ", " WHEN properties.b THEN properties.a ELSE properties.c END"),
        ("({'a': ", "} = {'a': properties.b})"),
        ("(CASE WHEN ", " THEN {'a': properties.b, 'b': properties.c} END = {'a': properties.d, 'b': 1})"),
        ("([properties.b, 1] IN ([properties.c], [", ", 1]))"),
    ],
)
def test_what_is_written_does_not_multiply_with_each_part(before: str, after: str) -> None:
    some, more = (len(checked(nested(before, after, depth)).sql) for depth in (4, 8))
    assert more < 4 * some


def test_what_takes_too_many_visits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_VISITS", 1_000)
    with pytest.raises(QueryNotAllowed, match="nested too deeply"):
        checked("SELECT " + ", ".join(f"properties.p{n} + 1" for n in range(400)) + " FROM events")


def test_what_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_SECONDS", -1.0)
    with pytest.raises(QueryNotAllowed, match="nested too deeply"):
        checked("SELECT properties.late FROM events")


def test_what_becomes_too_large_is_refused_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "generate", pytest.fail)
    monkeypatch.setattr(work, "MAX_WRITTEN", 0)
    with pytest.raises(QueryNotAllowed, match="nested too deeply"):
        checked("SELECT properties.a FROM events WHERE properties.b = 7")
