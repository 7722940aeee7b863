"""The writer of one edge worker: group commit. One thread, one ``writev``, one ``fdatasync``."""

import asyncio
import contextlib
import errno
import logging
import os
import threading
from collections import deque
from pathlib import Path
from typing import NamedTuple

from novamesh.errors import RequestError, SpoolFull, SpoolUnavailable
from novamesh.spool.files import SYSTEM, Files, write_all
from novamesh.spool.frame import KIND_END, encode_frame, frame_size
from novamesh.spool.segment import SUFFIX, OpenSegment
from novamesh.spool.tally import Tally

log = logging.getLogger(__name__)

# IOV_MAX is 1024 on Linux and a frame takes up to three buffers.
GROUP_FRAMES = 340
GROUP_BYTES = 16 * 1024 * 1024
PENDING_BYTES = 128 * 1024 * 1024
CHECK_INTERVAL_S = 0.5


class Place(NamedTuple):
    """Where a payload lies in the spool: the segment's file name, and the offset behind the frame."""

    segment: str
    end: int


class Waiter(NamedTuple):
    """A payload, whose and how many its events are, and who waits for its sync."""

    payload: bytes
    space: str
    events: int
    future: "asyncio.Future[Place]"


def spool_size(directory: Path) -> int:
    """Bytes that wait in the spool: not what was cut off or set aside."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                total += entry.stat().st_size if entry.name.endswith(SUFFIX) else 0
            except FileNotFoundError:
                continue  # the store deletes segments while we count
    return total


class Limits:
    """When the spool must say no: too large, or the disk too full. Sizes are in bytes."""

    def __init__(self, directory: Path, spool_bytes: int, reserve_bytes: int, files: Files = SYSTEM) -> None:
        self._directory = directory
        self._files = files
        self._spool_bytes = spool_bytes
        self._reserve_bytes = reserve_bytes
        self._checked_at = float("-inf")
        self._reason: str | None = None

    def reason(self) -> str | None:
        """Why nothing may be added now, or None. Looks at the disk twice a second at most."""
        now = self._files.monotonic()
        if now - self._checked_at >= CHECK_INTERVAL_S:
            self._checked_at = now
            self._reason = self._measure()
        return self._reason

    def _measure(self) -> str | None:
        try:
            disk = self._files.statvfs(self._directory)
            size = spool_size(self._directory)
        except OSError as cause:
            log.error("the spool cannot be measured", extra={"cause": str(cause)})
            return "the disk of this node cannot be read"
        if disk.f_bavail * disk.f_frsize < self._reserve_bytes:
            return "the disk reserve of this node is reached"
        if size > self._spool_bytes:
            return "the spool of this node has reached its size limit"
        return None


class SpoolWriter:
    """Appends payloads to this process's own segment and syncs them in groups.

    ``append`` is for the event loop's thread. The constructor opens the first segment and
    raises OSError if that fails. What is synced is counted in the ``tally``, if there is one.
    """

    def __init__(
        self,
        directory: Path,
        node_id: bytes,
        segment_bytes: int,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        tally: Tally | None = None,
        files: Files = SYSTEM,
    ) -> None:
        self._tally = tally
        self._files = files
        self._directory = directory
        self._node_id = node_id
        self._segment_bytes = segment_bytes
        self._limits = limits
        self._loop = loop
        self._queue: deque[Waiter] = deque()
        self._pending_bytes = 0
        self._wake = threading.Event()
        self._stopping = False
        self._rotating = False
        self._failure: str | None = None
        self._uncut: list[OpenSegment] = []
        self._segment: OpenSegment | None = OpenSegment(directory, node_id, files)
        self._thread = threading.Thread(target=self._run, name="spool-writer", daemon=True)
        self._thread.start()

    def append(self, payload: bytes, space: str = "", events: int = 0) -> "asyncio.Future[Place]":
        """Queue one payload, with so many events of a space. The future is its place, once it is synced.

        Raises, or sets as the future's exception: :class:`SpoolFull` when a limit is reached,
        :class:`SpoolUnavailable` when the disk refuses.
        """
        if reason := self.refusal():
            raise SpoolFull(f"Nothing was accepted because {reason}; send it again later.")
        future = self._loop.create_future()
        self._pending_bytes += len(payload)
        self._queue.append(Waiter(payload, space, events, future))
        # Set means that the thread has yet to clear it, and after that it reads the queue.
        if not self._wake.is_set():
            self._wake.set()
        return future

    def refusal(self) -> str | None:
        """Why an append would be refused now, or None."""
        if self._pending_bytes > PENDING_BYTES:
            return "the disk of this node is too slow for what is coming in"
        return self._limits.reason()

    def failure(self) -> str | None:
        """What the disk said last, if the last write or sync failed."""
        return self._failure

    def tend(self) -> None:
        """Close the segment, with what is queued in it, if a reader has asked for that. For now and then."""
        segment = self._segment
        if segment is not None and segment.is_given_up():
            self._rotating = True
            self._wake.set()

    def stop(self) -> None:
        """Sync what is queued, close the segment in order, end the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not (self._stopping and not self._queue):
            self._wake.wait()
            # Cleared before the queue is read: what is queued after this sets it again.
            self._wake.clear()
            while group := self._take():
                self._commit(group)
            if self._rotating:
                self._rotating = False
                self._rotate()
        self._rotate()
        self._cut_back()
        for segment in self._uncut:
            segment.close()

    def _take(self) -> list[Waiter]:
        group: list[Waiter] = []
        size = 0
        while self._queue and len(group) < GROUP_FRAMES and size < GROUP_BYTES:
            waiter = self._queue.popleft()
            size += len(waiter.payload)
            group.append(waiter)
        return group

    def _commit(self, group: list[Waiter]) -> None:
        places: list[Place] = []
        error: RequestError | None = None
        try:
            places = self._write(group)
            self._failure = None
        except OSError as cause:
            error = self._give_up(cause)
        except Exception as cause:
            # Memory, or a bug: without this thread every request would wait for ever.
            log.exception("the spool writer failed")
            error = self._give_up(cause)
        # A loop that is closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._release, group, places, error)

    def _write(self, group: list[Waiter]) -> list[Place]:
        if self._segment is not None and self._segment.is_given_up():
            self._rotate()
        segment = self._segment
        if segment is None:
            self._cut_back()
            segment = self._segment = OpenSegment(self._directory, self._node_id, self._files)
        buffers: list[bytes] = []
        places: list[Place] = []
        name, end = segment.path.name, segment.offset
        for waiter in group:
            segment.sequence += 1
            buffers += encode_frame(segment.sequence, waiter.payload)
            end += frame_size(len(waiter.payload))
            places.append(Place(name, end))
        write_all(self._files, segment.descriptor, buffers)
        segment.sync()
        if not self._count(segment, end, group):
            # A reader takes what lies before the mark for counted, and counts what it finds without a writer.
            segment.offset = end
            self._rotate()
            return places
        segment.mark(end)
        if end >= self._segment_bytes:
            self._rotate()
        return places

    def _count(self, segment: OpenSegment, end: int, group: list[Waiter]) -> bool:
        counts = ((waiter.space, waiter.events) for waiter in group)
        return self._tally is None or self._tally.add(segment.path.name, end, counts)

    def _rotate(self) -> None:
        # The group is synced: its waiters are answered with yes whatever happens here, and the
        # next group finds no segment and tries again.
        try:
            self._close()
        except OSError as cause:
            self._give_up(cause)

    def _close(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        try:
            write_all(self._files, segment.descriptor, encode_frame(segment.sequence + 1, KIND_END))
            segment.sync()
        except OSError:
            segment.cut_back()
            raise
        finally:
            segment.close()

    def _give_up(self, cause: Exception) -> RequestError:
        """Leave the segment at its last good sync: after a failed sync, a second one may lie."""
        if isinstance(cause, OSError):
            self._failure = f"the disk refused a write: {cause.strerror}"
        else:
            self._failure = "the spool writer failed"
        log.error("spool write failed", extra={"cause": str(cause)})
        segment, self._segment = self._segment, None
        if segment is not None:
            self._uncut.append(segment)
            self._cut_back()
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return SpoolFull("Nothing was accepted because this node's disk is full; send it again later.")
        return SpoolUnavailable("Nothing was accepted because this node's disk refused the write; send it again.")

    def _cut_back(self) -> None:
        """Take what was refused off its segments. One that the disk does not let us cut stays open: as long as it has
        a writer no reader goes beyond its mark."""
        for segment in list(self._uncut):
            try:
                segment.cut_back()
            except OSError as error:
                log.error("spool segment cannot be cut back", extra={"cause": str(error), "file": segment.path.name})
                continue
            self._uncut.remove(segment)
            segment.close()

    def _release(self, group: list[Waiter], places: list[Place], error: RequestError | None) -> None:
        for n, (payload, _, _, future) in enumerate(group):
            self._pending_bytes -= len(payload)
            if future.done():
                continue  # the client went away while we were writing
            if error is None:
                future.set_result(places[n])
            else:
                future.set_exception(error)
