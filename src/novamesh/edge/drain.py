"""Takes in what clients still send of a body that was refused before it was read.

To close a connection with bytes on their way resets it, and who sends first and reads then, as most clients and
proxies do, never sees the answer. So what comes is thrown away: not too much, not for long, not of too many at once.
"""

import asyncio
from contextlib import suppress

from granian.rsgi import ProtocolClosed, Scope

from novamesh.edge.call import Call

TIME_S = 2.0
MOST_AT_ONCE = 64
# Who asks whether to send a body at all has the answer by then. Before, the server would say yes when a body is read.
ASKED_S = 0.1


class Drain:
    """One worker's. For the event loop's thread."""

    def __init__(self, largest: int) -> None:
        """``largest``: the most bytes that the body of any endpoint may have."""
        self._most = largest * 3 // 2  # those a little beyond it are told so
        self._under_way = 0

    async def finish(self, call: Call, scope: Scope) -> None:
        """When the request is answered: take in the rest of its body. Where that is too much, or too slow, or too many
        are at it, the server closes the connection as soon as the call is over."""
        length = scope.headers.get("content-length")
        if length is None and "transfer-encoding" not in scope.headers:
            return
        # An HTTP/2 stream can end in both directions at once.
        if not scope.http_version.startswith("1") or self._under_way >= MOST_AT_ONCE:
            return
        if length is not None and int(length) > self._most:
            return
        self._under_way += 1
        try:
            with suppress(TimeoutError, ProtocolClosed):
                async with asyncio.timeout(TIME_S):
                    if "expect" in scope.headers:
                        await asyncio.sleep(ASKED_S)
                    await call.discard(self._most)
        finally:
            self._under_way -= 1
