"""What the log of slow queries keeps of a query: no literal, however it is written."""

import pytest

from novamesh.store.slow import without_literals


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT 1", "SELECT ?"),
        (
            "SELECT event, count()\n  FROM events -- of Ann\n WHERE user_id = 'ann@example.org' GROUP BY event",
            "SELECT event, count() FROM events WHERE user_id = ? GROUP BY event",
        ),
        ("SELECT 'it''s', 'b'", "SELECT ?, ?"),
        (r"SELECT 'a\', x, 'b'", "SELECT ?, x, ?"),
        (r"SELECT E'a\' secret', x", "SELECT ?, x"),
        (r"SELECT e'a''b\\', x", "SELECT ?, x"),
        ("SELECT x'0aff', $$secret$$, $tag$sec'ret$$ $tag$, y", "SELECT ?, ?, ?, y"),
        ("SELECT properties.page2, t1.x, properties['email'], $user, $1", None),
        ("SELECT 1.5e3, .5, 0xFF, 1_000, x1, -7", "SELECT ?, ?, ?, ?, x1, -?"),
        ("SELECT \"odd 7 'name'\" FROM t", "SELECT \"odd 7 'name'\" FROM t"),
        ("SELECT /* for Ann */ x /* 'open", "SELECT x"),
        ("SELECT /* a /* b */ for Ann Smith */ x", "SELECT x"),
        ("SELECT /* a /* b /**/ */ of Ann */x/**/, 'b' /* '*/", "SELECT x , ?"),
        ("SELECT x /* a /* b */ for Ann", "SELECT x"),
        ("SELECT '/*', x, 5 /*/ of Ann */ -- /*\n, y", "SELECT ?, x, ? , y"),
        ("SELECT 'never closed and cut", "SELECT ?"),
        ("SELECT $$never closed", "SELECT ?"),
        ("SELECT '--', x -- 'y'\n, z", "SELECT ?, x , z"),
    ],
)
def test_literals_are_left_out(sql: str, shown: str | None) -> None:
    assert without_literals(sql) == (shown or "SELECT properties.page2, t1.x, properties[?], $user, $1")
