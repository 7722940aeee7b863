"""docs/sql.md says what the code says: functions, limits, columns."""

import re
from types import ModuleType

import pytest

from novamesh.sql import functions, guard, names, parse
from tests.function_list import FIRST, FIRST_IDIOM, LAST, LAST_IDIOM, PAGE, with_list

TEXT = PAGE.read_text()

LIMITS: dict[str, tuple[ModuleType, str]] = {
    "characters": (parse, "MAX_TEXT"),
    "words": (parse, "MAX_TOKENS"),
    "brackets inside of brackets": (parse, "MAX_BRACKETS"),
    "SELECT inside of SELECT": (guard, "MAX_QUERIES_DEEP"),
    "joins": (parse, "MAX_JOINS"),
    "WITH queries": (guard, "MAX_CTES"),
    "times WITH queries are read in all": (guard, "MAX_CTE_COPIES"),
    "UNION, INTERSECT, EXCEPT": (guard, "MAX_SET_OPERATIONS"),
    "values in an IN list": (guard, "MAX_IN_LIST"),
    "columns of a CUBE": (guard, "MAX_CUBE"),
    "grouping sets": (guard, "MAX_GROUPING_SETS"),
    "lambdas inside of lambdas": (guard, "MAX_LAMBDAS_DEEP"),
    "IN, BETWEEN and nullif inside of what they compare": (guard, "MAX_COMPARED_DEEP"),
    "size in `repeat`, `lpad`, `rpad`, `list_resize`, `bar` (a literal, or `least(n, 100)`)": (functions, "MAX_SIZE"),
    "times a string may grow, nested calls multiplied": (functions, "MAX_GROWTH"),
    "bounds of a range in `list_zip`": (functions, "MAX_RANGE"),
    "characters of a regular expression (a literal)": (functions, "MAX_PATTERN"),
    "counted repeats in a regular expression, multiplied": (functions, "MAX_PATTERN_REPEATS"),
    "characters of the literal in `levenshtein`, `jaccard`, …": (functions, "MAX_DISTANCE_LITERAL"),
}


def _section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_list_of_functions_is_the_code_s() -> None:
    assert [TEXT.count(mark) for mark in (FIRST, LAST, FIRST_IDIOM, LAST_IDIOM)] == [1] * 4
    assert with_list(TEXT) == TEXT, "docs/sql.md lists other functions than the code: run scripts/docs"


def test_the_list_holds_every_function() -> None:
    listed = re.findall(r"`(\w+)`", TEXT.partition(FIRST)[2].partition(LAST)[0])
    assert sorted(listed) == sorted(functions.ALLOWED)


@pytest.mark.parametrize("words", LIMITS)
def test_limits_are_the_code_s(words: str) -> None:
    module, name = LIMITS[words]
    assert f"\n| {words} | {getattr(module, name):,} |\n" in TEXT


def test_every_limit_shown_is_one_of_them() -> None:
    shown = re.findall(r"^\| ([^|]+) \| [\d,]+ \|$", _section("What may run"), re.MULTILINE)
    assert shown == list(LIMITS)


def test_tables_and_columns() -> None:
    part = TEXT.partition("## Tables")[2].partition("## Property paths")[0]
    columns = tuple(re.findall(r"^\| (`.+?`) \| [A-Z]", part.partition("`quarantine` holds")[0], re.MULTILINE))
    assert tuple(column.strip("`") for column in columns) == names.COLUMNS["events"]
    for table in guard.TABLES:
        assert f"`{table}` holds" in part
