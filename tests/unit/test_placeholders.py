"""Where a query's placeholders may stand."""

import pytest

from novamesh.errors import InvalidQuery
from novamesh.sql import check


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT event $x FROM events",
        "SELECT event ? FROM events",
        "SELECT event@x$y FROM events",
        "SELECT 1 AS $x",
        "SELECT 1 FROM events $x",
        "SELECT 1 FROM events AS e($x)",
        "SELECT 1 FROM $x",
        "SELECT events.$x FROM events",
        "SELECT * EXCLUDE ($x) FROM events",
        "SELECT * FROM events JOIN events AS e USING ($x)",
        "SELECT count() OVER $x FROM events",
        "SELECT 1 FROM events WINDOW $x AS ()",
        "SELECT struct_pack($x := 1)",
        "WITH $x AS (SELECT 1) SELECT 1",
        "WITH x($y) AS (SELECT 1) SELECT 1",
    ],
)
def test_a_placeholder_is_no_name(sql: str) -> None:
    with pytest.raises(InvalidQuery, match="stands where a name belongs"):
        check(sql, schema="p1", limit=10)


def test_a_placeholder_is_a_value_anywhere() -> None:
    sql = """
        SELECT $a AS x, $b, {'k': $c}, struct_pack(k := $d), sum($e) OVER w, properties[$f], CASE $g WHEN $h THEN $i END
        FROM events WHERE user_id IN ($j, $k) WINDOW w AS (PARTITION BY $l ORDER BY $m) LIMIT $n
    """
    assert check(sql, schema="p1", limit=10).parameters == (*"abcdefghijklmn",)
