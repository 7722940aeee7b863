"""Lines of the log: whatever they are told to hold, they are JSON, and there."""

import json
import logging
from typing import Any

import pytest

from novamesh.logs import JsonFormatter


def formatted(**extra: Any) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "novamesh.x", "levelname": "WARNING", "msg": "said", **extra})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    line.encode()
    read: dict[str, Any] = json.loads(line)
    return read


def test_a_line_holds_what_is_extra() -> None:
    line = formatted(count=3, names=["a", "ü"], path=object)
    assert (line["level"], line["logger"], line["message"]) == ("warning", "novamesh.x", "said")
    assert (line["count"], line["names"], line["path"]) == (3, ["a", "ü"], str(object))


@pytest.mark.parametrize("half", ["\ud800", "x\udcffy\n"])
def test_half_of_a_surrogate_pair_loses_no_line(half: str) -> None:
    """Names of files and what a program was given may hold some, where they were no UTF-8."""
    line = formatted(cause=half, inner={"deep": [half, "ü"]}, kind=object)
    shown = half.encode(errors="replace").decode()
    assert (line["message"], line["cause"], line["inner"]) == ("said", shown, {"deep": [shown, "ü"]})
    assert line["kind"] == str(object)
