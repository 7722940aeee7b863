"""Lines of the log: whatever they are told to hold, they are JSON, and there."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from novamesh.logs import JsonFormatter, dict_config
from novamesh.store.process import EXIT_THREAD


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


def test_a_line_has_the_time_in_utc_and_where_an_error_came_from() -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        line = formatted(created=1_750_000_000.25, exc_info=sys.exc_info())
    assert line["time"] == "2025-06-15T15:06:40.250+00:00"
    assert line["traceback"].startswith("Traceback")
    assert line["traceback"].endswith("ValueError: wrong\n")


def test_no_line_holds_a_key() -> None:
    """Whoever puts one into a query or a file's name, or has it in an error."""
    for kind in ("live", "test"):
        key = f"nm_{kind}_{'aB3' * 10}xy"
        try:
            raise ValueError(key)
        except ValueError:
            line = formatted(msg=f"for {key}", sql=f"SELECT '{key}'", inner={"deep": [key]}, exc_info=sys.exc_info())
        assert "aB3" not in str(line)
        assert (line["message"], line["inner"]) == (f"for nm_{kind}_…", {"deep": [f"nm_{kind}_…"]})


def test_the_level_is_the_one_that_is_set() -> None:
    """That of requests has a setting of its own, and the server says nothing twice."""
    config = dict_config("error")
    assert config["root"]["level"] == "ERROR"
    assert config["loggers"]["novamesh.access"]["level"] == "INFO"
    assert config["loggers"]["granian.access"]["level"] == "WARNING"


@pytest.mark.parametrize("half", ["\ud800", "x\udcffy\n"])
def test_half_of_a_surrogate_pair_loses_no_line(half: str) -> None:
    """Names of files and what a program was given may hold some, where they were no UTF-8."""
    line = formatted(cause=half, inner={"deep": [half, "ü"]}, kind=object)
    shown = half.encode(errors="replace").decode()
    assert (line["message"], line["cause"], line["inner"]) == ("said", shown, {"deep": [shown, "ü"]})
    assert line["kind"] == str(object)


THREADS = """
import sys, threading
from novamesh.logs import configure
from novamesh.store import process

def fail():
    raise KeyError("unexpected")

configure("info")
threading.excepthook = process.end_with_thread
failing = threading.Thread(target=fail, name=sys.argv[1])
failing.start()
failing.join()
"""


@pytest.mark.parametrize(("name", "status"), [("query", 0), ("query-turns", EXIT_THREAD)])
def test_what_ends_a_thread_is_said_and_ends_the_store_that_cannot_do_without(name: str, status: int) -> None:
    ended = subprocess.run([sys.executable, "-c", THREADS, name], capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    said = json.loads(line)
    assert (said["level"], said["message"], said["failed"]) == ("error", "a thread has failed", name)
    assert said["traceback"].endswith("KeyError: 'unexpected'\n")
    assert ended.returncode == status
