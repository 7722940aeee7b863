"""The operating system's files with faults in them: calls that fail, write short, wait, or are the process's last."""

import os
import threading
from collections.abc import Callable
from typing import Any

from novamesh.spool.files import SystemFiles

Action = Callable[..., Any]

# Those that change something, or fail in some way of their own.
CALLS = frozenset(
    "open close pread write writev fdatasync fsync ftruncate fstat rename unlink sync_directory statvfs".split()
)


class Death(BaseException):
    """The process dies here. Nothing but the test may catch it."""


class FaultyFiles(SystemFiles):
    """:class:`SystemFiles` whose calls are noted in ``calls``, and whose next ones may be replaced.

    The clock is ``clock_us`` where that is set, and the steady one ``steady_s``.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.clock_us: int | None = None
        self.steady_s: float | None = None
        self._planned: dict[str, list[Action | None]] = {}

    def plan(self, name: str, action: Action, times: int = 1, skip: int = 0) -> None:
        """After ``skip`` more calls of ``name`` the next ``times`` are ``action``, which gets the real call and the
        arguments."""
        assert name in CALLS
        self._planned.setdefault(name, []).extend([None] * skip + [action] * times)

    def fail(self, name: str, code: int, times: int = 1, skip: int = 0) -> None:
        """The next calls raise this error, and do nothing."""
        self.plan(name, lambda *_: _raise(code), times, skip)

    def write_part(self, size: int, code: int) -> None:
        """The next ``writev`` writes ``size`` bytes at most, then fails as a disk does in the middle of a group."""

        def partial(_real: Action, descriptor: int, buffers: list[bytes]) -> None:
            os.write(descriptor, b"".join(buffers)[:size])
            _raise(code)

        self.plan("writev", partial)

    def hold(self, name: str) -> "Held":
        """The next call waits until it is let go: a disk as slow as the test wants it."""
        held = Held()
        self.plan(name, held.wait)
        return held

    def die(self, name: str, skip: int = 0, *, after: bool = False, death: Callable[[], None] | None = None) -> None:
        """The process dies before (or after) this call: by default ``Death``, which only leaves the test's thread."""

        def dying(real: Action, *arguments: Any) -> None:
            if after:
                real(*arguments)
            (death or _die)()

        self.plan(name, dying, skip=skip)

    def heal(self) -> None:
        """Nothing fails any more."""
        self._planned.clear()

    def now_us(self) -> int:
        return super().now_us() if self.clock_us is None else self.clock_us

    def __getattribute__(self, name: str) -> Any:
        if name == "monotonic" and self.steady_s is not None:
            return lambda: self.steady_s
        real = super().__getattribute__(name)
        if name not in CALLS:
            return real
        return lambda *arguments: self._call(name, real, arguments)

    def _call(self, name: str, real: Action, arguments: tuple[Any, ...]) -> Any:
        self.calls.append(name)
        planned = self._planned.get(name)
        action = planned.pop(0) if planned else None
        return real(*arguments) if action is None else action(real, *arguments)


class Held:
    """A call that waits. ``reached`` is set when it is there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._let_go = threading.Event()

    def wait(self, real: Action, *arguments: Any) -> Any:
        self.reached.set()
        assert self._let_go.wait(60), "the test never let it go"
        return real(*arguments)

    def let_go(self) -> None:
        self._let_go.set()


def _raise(code: int) -> None:
    raise OSError(code, os.strerror(code))


def _die() -> None:
    raise Death
