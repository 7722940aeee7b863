"""Tables for people."""

import pytest

from novamesh.cli.table import breadth, fit, render, shown


def test_numbers_to_the_right_and_text_to_the_left() -> None:
    text = render(
        ["event", "count", "share"], ["VARCHAR", "BIGINT", "DOUBLE"], [["a", 5, 0.25], ["bcdefgh", 12345, None]], None
    )
    assert text.splitlines() == [
        "event    count  share",
        "───────  ─────  ─────",
        "a            5   0.25",
        "bcdefgh  12345   NULL",
    ]


def test_values_of_any_type_that_are_numbers_go_to_the_right() -> None:
    assert render(["n"], ["VARIANT"], [[1], [100]], None).splitlines()[2:] == ["  1", "100"]
    assert render(["n"], ["VARIANT"], [[1], ["x00"]], None).splitlines()[2:] == ["1", "x00"]


@pytest.mark.parametrize("width", [20, 33, 50, 80])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    rows = [["short", "long " * 50, "日本語" * 40, 12]]
    lines = render(["a", "b", "c", "d"], ["VARCHAR"] * 3 + ["BIGINT"], rows, width).splitlines()
    assert all(breadth(line) <= width for line in lines)
    assert "…" in lines[2]
    assert lines[2].startswith("short" if width > 20 else "sho")
    assert lines[2].endswith("12")


@pytest.mark.parametrize(
    ("widths", "width", "fitted"),
    [
        ([5, 5], 80, [5, 5]),
        ([5, 100], 30, [5, 23]),
        ([50, 100], 42, [20, 20]),
        ([10, 30, 30], 34, [10, 10, 10]),
        ([30, 30], 3, [4, 4]),
        ([2, 30], 3, [2, 4]),
    ],
)
def test_the_widest_columns_give_way(widths: list[int], width: int, fitted: list[int]) -> None:
    assert fit(widths, width) == fitted


def test_nothing_reaches_the_terminal_that_it_would_obey() -> None:
    assert shown("a\nb\t\x1b[31mred\x07\u202e") == "a\\nb\\t�[31mred��"
    assert shown({"a": [True, None, "x"]}) == '{"a":[true,null,"x"]}'
    assert (shown(None), shown(True), shown(1.5)) == ("NULL", "true", "1.5")


def test_a_table_without_rows_has_its_columns() -> None:
    assert render(["a", "bc"], ["VARCHAR", "BIGINT"], [], 80).splitlines() == ["a  bc", "─  ──"]
