"""API keys in texts: whoever puts one where it does not belong must not find it in a log or an error."""

import re

_KEY = re.compile(r"nm_(live|test)_[0-9A-Za-z]{6,}")
_MARK = "nm_"


def redact(text: str) -> str:
    """The text without the secret part of any key."""
    return _KEY.sub(r"nm_\1_…", text) if _MARK in text else text
