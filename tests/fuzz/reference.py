"""What an event may be, said once more and plainly, on the standard library alone: slow, and easy to believe."""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - times without a zone are what is computed with here
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)?)?", re.ASCII
)
_FIELDS = {"event", "properties", "user_id", "timestamp", "id", "context"}


class NotJson(Exception):
    """The text is no JSON, or none that says one thing."""


class Ambiguous(Exception):
    """An object has a key twice: which value counts is not for this reference to say."""


def load(body: bytes) -> Any:
    """The JSON value in ``body``. Raises :class:`NotJson` and :class:`Ambiguous`."""
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        twice.extend([""] * (len(found) != len(items)))
        return found

    try:
        value = json.loads(
            body.decode(), object_pairs_hook=pairs, parse_constant=_refuse, parse_int=_integer, parse_float=float
        )
        json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
    except (ValueError, RecursionError) as error:
        raise NotJson from error
    if twice:
        raise Ambiguous
    return value


def _refuse(name: str) -> None:
    raise ValueError(name)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 100 else math.inf


def utc(text: str) -> datetime | None:
    """The time that ``text`` says, rounded to microseconds, half up; None if it says none from 1970 to 2100."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        return None
    micros = math.floor(Fraction("0" + (fraction or ".0")) * 1_000_000 + Fraction(1, 2))
    try:
        time = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001
        time = time + micros * MICROSECOND - offset
    except (ValueError, OverflowError):
        return None
    return time.replace(tzinfo=UTC) if 1970 <= time.year <= 2100 else None


def canonical(event: Any) -> dict[str, Any] | None:
    """The event as it is to be kept (a timestamp as microseconds since 1970), or None if it may not be."""
    if not isinstance(event, dict) or not event.keys() <= _FIELDS:
        return None
    kept: dict[str, Any] = {name: value for name, value in event.items() if value is not None}
    if "event" not in kept or not all(_is_name(kept.get(name, "x")) for name in ("event", "id")):
        return None
    if not all(_is_object(kept.get(name, {})) for name in ("properties", "context")):
        return None
    if not all(isinstance(kept.get(name, ""), str) for name in ("user_id", "timestamp")):
        return None
    if "timestamp" in kept:
        time = utc(kept["timestamp"])
        if time is None:
            return None
        kept["timestamp"] = micros(time)
    return kept


def micros(time: datetime) -> int:
    return (time.replace(tzinfo=None) - _EPOCH) // MICROSECOND


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= 200


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and _is_kept(value, 32)


def _is_kept(value: Any, levels: int) -> bool:
    """Whether arrays and objects nest at most so deep, and numbers are 64-bit integers or finite doubles."""
    if isinstance(value, dict | list):
        children = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_is_kept(child, levels - 1) for child in children)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return True
    return math.isfinite(value) and (isinstance(value, float) or -(2**63) <= value < 2**64)


def is_shared(context: Any) -> bool:
    """Whether ``context`` may stand beside the events of a batch."""
    if context is None:
        return True
    return _is_object(context) and len(json.dumps(context, separators=(",", ":"), ensure_ascii=False).encode()) <= 65536


def same(found: Any, wanted: Any) -> bool:
    """Equal, and of the same type: 1 is neither 1.0 nor true."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[key], wanted[key]) for key in found)
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return type(found) is type(wanted) and bool(found == wanted)
