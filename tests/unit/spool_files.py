"""Spools for tests: a writer on an event loop of its own, and everything a reader finds."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from novamesh.spool.files import SYSTEM, Files
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.segment import list_segments
from novamesh.spool.tally import Tally
from novamesh.spool.writer import Limits, SpoolWriter

NODE = b"a node's own id."
SEGMENT_BYTES = 1_000_000


def with_writer(
    directory: Path,
    use: Callable[[SpoolWriter], Awaitable[None]],
    segment_bytes: int = SEGMENT_BYTES,
    limits: Limits | None = None,
    tally: Tally | None = None,
    files: Files = SYSTEM,
) -> None:
    """Run ``use`` with a writer, then stop the writer in order."""

    async def run() -> None:
        given = limits or Limits(directory, 2**40, 0, files)
        writer = SpoolWriter(directory, NODE, segment_bytes, given, asyncio.get_running_loop(), tally, files)
        try:
            await use(writer)
        finally:
            # stop() waits for the thread, which wants to tell the loop what it has synced.
            await asyncio.to_thread(writer.stop)

    asyncio.run(run())


def write(directory: Path, payloads: list[bytes], segment_bytes: int = SEGMENT_BYTES) -> None:
    """Payloads, one group each, in segments that are closed in order."""

    async def use(writer: SpoolWriter) -> None:
        for payload in payloads:
            await writer.append(payload)

    with_writer(directory, use, segment_bytes)


def read(segment: Path) -> list[bytes]:
    """All payloads a new reader gets from a segment."""
    reader = SegmentReader(segment, NODE, Position())
    try:
        payloads: list[bytes] = []
        while frames := reader.read(2**40):
            payloads += [frame.payload for frame in frames]
        return payloads
    finally:
        reader.close()


def read_all(directory: Path) -> list[bytes]:
    """All payloads of all segments, oldest segment first."""
    return [payload for segment in list_segments(directory) for payload in read(segment)]


def record(text: str) -> bytes:
    """A payload."""
    return b"\x01" + text.encode()
