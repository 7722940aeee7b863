"""What a client reads of an error: one line, of a bounded length, whatever it quotes."""

import json

import pytest

from novamesh.errors import MAX_MESSAGE_CHARACTERS, InvalidParameter


@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("a\nb", "a?b"),
        ("\x1b[31m", "?[31m"),
        ("\ud800", "?"),
        ("é ☃ 🌊", "é ☃ 🌊"),
        ("x" * 100_000, "x" * MAX_MESSAGE_CHARACTERS + "…"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_message_is_one_printable_line(quoted: str, shown: str) -> None:
    assert json.loads(InvalidParameter(quoted).body())["message"] == shown
