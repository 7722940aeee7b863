"""Logs: one JSON object a line, to standard error."""

import json
import logging
import logging.config
import threading
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec

from novamesh.redact import redact

log = logging.getLogger(__name__)

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# What lines of this thread say besides, such as the request that it serves.
CONTEXT: ContextVar[dict[str, str] | None] = ContextVar("log context", default=None)
_encoder = msgspec.json.Encoder(enc_hook=str)


class JsonFormatter(logging.Formatter):
    """``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, then what ``extra`` holds."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= CONTEXT.get() or {}
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return redact(_encoded(line))


def _encoded(line: dict[str, Any]) -> str:
    """As JSON. Half of a surrogate pair, which JSON in UTF-8 cannot hold, becomes ``?``: no line may be lost."""
    try:
        return _encoder.encode(line).decode()
    except UnicodeEncodeError:
        return json.dumps(line, ensure_ascii=False, default=str).encode(errors="replace").decode()


def dict_config(level: str) -> dict[str, Any]:
    """The ``logging.config`` dictionary of every process of a node."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "novamesh.logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        # The server's own start and stop messages say nothing an operator needs twice.
        "loggers": {
            "_granian": {"level": "WARNING"},
            "granian.access": {"level": "WARNING"},
            "novamesh.access": {"level": "INFO"},
        },
    }


def configure(level: str) -> None:
    """Set up logging for this process, also of what ends a thread."""
    logging.config.dictConfig(dict_config(level))
    threading.excepthook = log_thread


def log_thread(failed: threading.ExceptHookArgs) -> None:
    """Say that an error nobody expected has ended a thread."""
    name = failed.thread.name if failed.thread else ""
    log.error("a thread has failed", extra={"failed": name}, exc_info=failed.exc_value)
