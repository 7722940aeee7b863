"""What the paths of one query may cost to look at."""

import time
from itertools import islice
from typing import Final

from sqlglot import exp

from novamesh.errors import QueryNotAllowed

# A query of 8,000 nodes, the most there may be, has about as many visits.
MAX_VISITS: Final = 20_000
MAX_SECONDS: Final = 4.0
MAX_WRITTEN: Final = 64_000
"""Nodes of the rewritten query, of which 10,000 take a second and more.

One that groups by 300 paths, by way of JSON, has 54,000."""


def is_larger(tree: exp.Expr, nodes: int) -> bool:
    """Whether a tree has more nodes than that. Looks at no more of them."""
    return next(islice(tree.walk(), nodes, None), None) is not None


class Work:
    """A net: each part of a query is visited once, but for those that stand in what it groups by, and what is written
    for it grows with it. Where that fails, the query is refused. Shared by its subqueries."""

    def __init__(self) -> None:
        self._left = MAX_VISITS
        self._end_s = time.thread_time() + MAX_SECONDS

    def visit(self) -> None:
        """One part more. Raises :class:`QueryNotAllowed`."""
        self._left -= 1
        self.go_on()

    def go_on(self) -> None:
        """Only if it has not been too much. Raises :class:`QueryNotAllowed`."""
        if self._left < 0 or time.thread_time() > self._end_s:
            raise QueryNotAllowed("The query is nested too deeply; simplify it")
