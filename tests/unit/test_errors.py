"""What a client reads of an error: one line, of a bounded length, whatever it quotes."""

import json

import pytest

from novamesh.errors import MAX_MESSAGE_CHARACTERS, Detail, InvalidEvent, InvalidParameter


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


def test_an_error_quotes_no_key() -> None:
    """Answers are logged by proxies and clients, and a message by the node."""
    key = "nm_live_" + "aB3" * 10 + "xy"
    error = InvalidEvent(f"for {key}", details=(Detail(index=0, pointer=f"/events/0/{key}", message=key),))
    assert error.message == str(error) == "for nm_live_…"
    assert b"aB3" not in error.body()
    assert json.loads(error.body())["details"][0]["message"] == "nm_live_…"
