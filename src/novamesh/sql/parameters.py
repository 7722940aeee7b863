"""The values of a query's placeholders: ``$user`` by name, ``$1`` and ``?`` by place."""

from difflib import get_close_matches
from typing import Any, Final

from novamesh.errors import InvalidParameter

Value = None | bool | int | float | str | list[Any]

MAX_LIST: Final = 10_000
_BITS: Final = 127


def bind(used: tuple[str, ...], given: dict[str, Any] | list[Any]) -> dict[str, Value]:
    """The value of every placeholder in ``used``, which names each once.

    Raises :class:`InvalidParameter` for a placeholder without a value, a value without a placeholder, and a value
    that is neither a scalar nor a list of scalars.
    """
    values = given if isinstance(given, dict) else {str(place): value for place, value in enumerate(given, 1)}
    for name in used:
        if name not in values:
            way = "" if given else ' of a POST to /v1/query, as in {"q": "…", "params": {"user": "u1"}}'
            hint = f"did you mean ${near}?" if (near := _nearest(name, values)) else f"give it in params{way}."
            raise InvalidParameter(f"The placeholder ${name} has no value; {hint}")
    for name, value in values.items():
        if name not in used:
            hint = f"did you mean ${near}?" if (near := _nearest(name, used)) else "remove it from params."
            raise InvalidParameter(f"The query has no placeholder ${name[:40]}; {hint}")
        _verify(name, value)
    return values


def _nearest(name: str, known: Any) -> str:
    return next(iter(get_close_matches(name, list(known), 1)), "")


def _verify(name: str, value: object) -> None:
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_LIST:
        raise InvalidParameter(f"The list ${name} has more than {MAX_LIST} values; split the query.")
    for item in items:
        if isinstance(item, (dict, list)):
            raise InvalidParameter(
                f"The value of ${name} must be a string, a number, a boolean, null or a list of such."
            )
        if isinstance(item, int) and item.bit_length() > _BITS:
            raise InvalidParameter(f"The number ${name} is beyond 128 bits; send it as a string.")
