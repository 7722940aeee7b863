"""Engine errors in words that fit what the user wrote."""

import pytest

from novamesh.sql.explain import explain

MISSING = 'Binder Error: Referenced column "{}" not found in FROM clause!\nCandidate bindings: {}'


@pytest.mark.parametrize(
    ("sql", "message", "expected"),
    [
        (
            "SELECT usr_id FROM events",
            MISSING.format("usr_id", '"user_id", "event"'),
            "There is no column usr_id at line 1, column 8; did you mean user_id?",
        ),
        (
            "SELECT event\nFROM events WHERE Timestmp > now()",
            MISSING.format("timestmp", '"event"'),
            "There is no column timestmp at line 2, column 19; did you mean timestamp?",
        ),
        (
            "SELECT country FROM events",
            MISSING.format("country", '"properties"'),
            "There is no column country at line 1, column 8; a property is written properties.country.",
        ),
        (
            "SELECT e.pge FROM events e",
            'Binder Error: Table "e" does not have a column named "pge"\nCandidate bindings: : "id"',
            "There is no column pge at line 1, column 10; events has the columns id, event, user_id, timestamp,"
            " properties, context, received_at, batch_id.",
        ),
        (
            "SELECT 1",
            "Conversion Error: Could not convert string 'x' to INT32",
            "Could not convert string 'x' to INT32.",
        ),
        ("SELECT 1", "Binder Error: Cannot group on a window clause!", "Cannot group on a window clause!"),
        ("SELECT 1", "Out of Range Error: Overflow\nmore", "Overflow."),
    ],
)
def test_explain(sql: str, message: str, expected: str) -> None:
    assert explain(sql, message) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('column "__nm_p0" must appear', "column properties.n must appear."),
        ('column events."__nm_p1" must appear', "column context['odd key'] must appear."),
        ('column "__nm_x" must appear', "column a calculated value must appear."),
    ],
)
def test_no_internal_name_is_shown(message: str, expected: str) -> None:
    generated = (
        """SELECT events."__nm_p0", events."__nm_p1" FROM (SELECT CAST(properties['n'] AS TEXT) AS "__nm_p0","""
        """ context['odd key'] AS "__nm_p1" FROM p.events_shredded) AS events"""
    )
    assert explain("SELECT properties.n FROM events", f"Binder Error: {message}", generated) == expected
