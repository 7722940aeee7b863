"""Requests that wait until the store has committed their events: all of a worker's ask with one voice."""

import asyncio
import contextlib
import logging
from pathlib import Path

from novamesh.edge.client import ask_statuses
from novamesh.errors import RequestError
from novamesh.store.contract import Awaited, BatchStatus

log = logging.getLogger(__name__)

# A load takes longer than this, and asking a thousandth of it.
ASK_INTERVAL_S = 0.02


class Waiting:
    """Those of one worker that wait. For the event loop's thread; asks only while somebody waits."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._waiters: dict[asyncio.Future[BatchStatus], Awaited] = {}
        self._asking: asyncio.Task[None] | None = None

    async def until_stored(self, record: Awaited, limit_s: float) -> BatchStatus:
        """Where the record's events are once they have left the spool, or ``queued`` when the time is over."""
        future: asyncio.Future[BatchStatus] = asyncio.get_running_loop().create_future()
        self._waiters[future] = record
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(limit_s):
                return await future
        except TimeoutError:
            return "queued"
        finally:
            del self._waiters[future]

    def close(self) -> None:
        """Ask no more. For when the loop has stopped."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        while self._waiters:
            asked = list(self._waiters)
            # A store that is down is up again soon, and nobody waits for longer than the limit.
            with contextlib.suppress(RequestError):
                statuses = await ask_statuses(self._socket, [self._waiters[future] for future in asked])
                for future, status in zip(asked, statuses, strict=True):
                    if status != "queued" and not future.done():
                        future.set_result(status)
            await asyncio.sleep(ASK_INTERVAL_S)
