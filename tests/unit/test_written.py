"""Paths as they are written: a query with one reads exactly that path."""

import pytest
from sqlglot.dialects.duckdb import DuckDB

from novamesh.sql.guard import check
from novamesh.sql.written import written

KEYWORDS = sorted(word.lower() for word in DuckDB.Tokenizer.KEYWORDS if word.isidentifier())


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (["properties", "page"], "properties.page"),
        (["context", "cart", "total"], "context.cart.total"),
        (["properties", "items", 1, "sku"], "properties.items[1].sku"),
        (["properties", "odd key"], "properties['odd key']"),
        (["properties", "a'b", "c"], "properties['a''b'].c"),
        (["properties", "a.b"], "properties['a.b']"),
        (["properties", ""], "properties['']"),
        (["properties", "1"], "properties['1']"),
        (["properties", "1a"], "properties['1a']"),
        (["properties", "Select"], "properties['Select']"),
        (["properties", "selected"], "properties.selected"),
        (["properties", "ключ"], "properties['ключ']"),
        (["properties", "a\n"], "properties['a\n']"),
        (["properties", "[1]", 1, 1], "properties['[1]'][1][1]"),
    ],
)
def test_written(steps: list[str | int], text: str) -> None:
    assert written(steps) == text
    read = "".join(
        f"[{step}]" if isinstance(step, int) else "['" + step.replace("'", "''") + "']" for step in steps[1:]
    )
    assert f"{steps[0]}{read} AS" in check(f"SELECT {text} FROM events", schema="p_x", limit=1).sql


@pytest.mark.parametrize("key", ["a\0", "\ue000", "x\ue001y"])
def test_what_no_query_may_hold_cannot_be_written(key: str) -> None:
    assert written(["properties", "a", key]) is None


def test_keywords_are_keys_like_others() -> None:
    """In a version of the parser to come others may need quotes."""
    for word in KEYWORDS:
        checked = check(f"SELECT {written(['properties', word])} FROM events", schema="p_x", limit=1)
        assert f"properties['{word}']" in checked.sql, word
        assert list(checked.names.values()) == [word]
