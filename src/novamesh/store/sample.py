"""Paths in a sample of events, by the shapes of the events and some of their values. Pure.

A shape is what ``json_structure`` says of a document. It has all keys of all objects and the type of each value, but
of a list only what its elements have in common: where they differ (``JSON``) values are looked into.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from novamesh.store.contract import JsonType, SampledPath

MOST_PATHS = 500
EXAMPLES = 3
EXAMPLE_CHARACTERS = 80
# Longer keys are no help to who writes a query.
KEY_CHARACTERS = 200
# Beyond so many paths there are ids among the keys, and no end of them.
REMEMBERED = 5_000
# Of a list that are looked at.
_ELEMENTS = 20

_KINDS: dict[str, JsonType] = {
    "BIGINT": "integer",
    "BOOLEAN": "boolean",
    "DOUBLE": "number",
    "HUGEINT": "integer",
    "NULL": "null",
    "UBIGINT": "integer",
    "UHUGEINT": "integer",
    "VARCHAR": "string",
}
_NATIVE: dict[type, JsonType] = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
    type(None): "null",
}

Steps = tuple[str | int, ...]


class Group(NamedTuple):
    """Documents of one shape: properties or contexts of ``events`` events, of so many ``bytes``; some of the
    documents. Those that are not there have no shape, nor have the ``large`` ones, that were not looked at."""

    column: str
    shape: str | None
    events: int
    bytes: int
    documents: list[str | None]
    large: int = 0


class _Path:
    """What is known of a path."""

    def __init__(self) -> None:
        self.events = 0
        self.types: set[JsonType] = set()
        self.examples: dict[bytes, None] = {}

    def add_example(self, value: Any) -> None:
        if len(self.examples) >= EXAMPLES or value is None or isinstance(value, dict):
            return
        if isinstance(value, str | list) and len(value) > EXAMPLE_CHARACTERS:
            return
        example = msgspec.json.encode(value)
        if len(value if isinstance(value, str) else example) <= EXAMPLE_CHARACTERS:
            self.examples[example] = None


class Sample:
    """What has been seen so far: ``events``, of so many ``bytes`` and ``shapes``. ``full``: no more paths are noted.
    What comes when the time is ``over`` is counted alone."""

    def __init__(self, over: Callable[[], bool] = lambda: False) -> None:
        self._over = over
        self.events = self.bytes = self.shapes = 0
        self.full = False
        self._paths: dict[Steps, _Path] = {}
        self._left_out = False

    def add(self, groups: list[Group]) -> None:
        """Add groups of documents. The events are those with properties or without: those of that column."""
        for group in groups:
            self.events += group.events if group.column == "properties" else 0
            self.bytes += group.bytes
            self._left_out |= group.large > 0
            if group.shape is not None:
                self.shapes += 1
                if self._over():
                    self._left_out = True
                else:
                    self._add(group, msgspec.json.decode(group.shape))

    def paths(self) -> tuple[list[SampledPath], bool]:
        """The paths, those of the most events first, and whether there are others."""
        found = sorted(self._paths.items(), key=lambda item: (-item[1].events, *map(str, item[0])))
        shown = [
            SampledPath(list(steps), sorted(path.types), path.events, [msgspec.Raw(text) for text in path.examples])
            for steps, path in found[:MOST_PATHS]
        ]
        return shown, self._left_out or len(found) > MOST_PATHS

    def _add(self, group: Group, shape: Any) -> None:
        seen: set[Steps] = set()
        root: Steps = (group.column,)
        for steps, kind in _walk_shape(root, shape):
            if path := self._path(steps):
                seen.add(steps)
                path.types |= {kind} if kind else set()
        for document in group.documents:
            if self._over():
                break
            for steps, value in _walk(root, msgspec.json.decode(document or "{}")):
                if path := self._path(steps):
                    seen.add(steps)
                    path.types.add(_NATIVE[type(value)])
                    path.add_example(value)
        for steps in seen:
            self._paths[steps].events += group.events

    def _path(self, steps: Steps) -> _Path | None:
        path = self._paths.get(steps)
        if path is None:
            last = steps[-1]
            if self.full or (isinstance(last, str) and len(last) > KEY_CHARACTERS):
                self._left_out = True
                return None
            path = self._paths[steps] = _Path()
            self.full = len(self._paths) >= REMEMBERED
        return path


def _walk_shape(root: Steps, shape: Any) -> Iterator[tuple[Steps, JsonType | None]]:
    """All paths of a shape and their types; None where the shape does not tell."""
    waiting: list[tuple[Steps, Any, bool]] = [(root, shape, False)]
    while waiting:
        steps, node, in_list = waiting.pop()
        if isinstance(node, dict):
            children = [((*steps, key), child, in_list) for key, child in node.items()]
        elif isinstance(node, list):
            children = [((*steps, 1), child, True) for child in node if child != "NULL"]
        else:
            continue
        for below, child, within in children:
            yield below, _kind(child, within)
        waiting += children


def _kind(node: Any, in_list: bool) -> JsonType | None:
    if isinstance(node, dict):
        return "object"
    if isinstance(node, list):
        return "array"
    # An object without keys is JSON; within a list, values of several types are so too.
    return _KINDS.get(node, None if in_list else "object")


def _walk(root: Steps, document: Any) -> Iterator[tuple[Steps, Any]]:
    """All values in a document, of lists those of the first elements."""
    waiting: list[tuple[Steps, Any]] = [(root, document)]
    while waiting:
        steps, node = waiting.pop()
        children: list[tuple[Steps, Any]] = []
        if isinstance(node, dict):
            children = [((*steps, key), child) for key, child in node.items()]
        elif isinstance(node, list):
            children = [((*steps, 1), child) for child in node[:_ELEMENTS]]
        yield from children
        waiting += children
