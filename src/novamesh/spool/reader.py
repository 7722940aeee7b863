"""The reader of one segment: whole frames, in order, from where it stopped last time."""

import os
from pathlib import Path
from typing import NamedTuple

from novamesh.spool.files import SYSTEM, Files
from novamesh.spool.frame import (
    KIND_END,
    SEGMENT_HEADER_SIZE,
    Frame,
    FrameError,
    decode_frame,
    decode_segment_header,
)
from novamesh.spool.repair import SpoolDamage, cut_torn_tail
from novamesh.spool.segment import has_writer, read_mark

CHUNK_BYTES = 4 * 1024 * 1024


class Position(NamedTuple):
    """How far a segment was read: the offset behind the last frame and that frame's number."""

    offset: int = 0
    sequence: int = 0


class SegmentReader:
    """Reads one segment from a :class:`Position` on, and follows it while it grows.

    ``finished`` is True when nothing will ever follow, ``live`` when the segment had a writer at the last read. Raises
    :class:`SpoolDamage` when the bytes at the position are damaged, OSError when the file cannot be read.
    """

    def __init__(self, path: Path, node_id: bytes, position: Position, files: Files = SYSTEM) -> None:
        self.path = path
        self.finished = False
        self.live = True
        self._synced = 0
        self._settled = False
        self._files = files
        self._descriptor = files.open(path, os.O_RDONLY)
        try:
            self._check_header(node_id)
        except BaseException:
            self.close()
            raise
        self.position = position if position.offset else Position(SEGMENT_HEADER_SIZE, 0)

    def close(self) -> None:
        self._files.close(self._descriptor)

    def _check_header(self, node_id: bytes) -> None:
        try:
            header = decode_segment_header(self._files.pread(self._descriptor, SEGMENT_HEADER_SIZE, 0))
        except FrameError as error:
            raise SpoolDamage(self.path, 0, str(error)) from None
        if header.node_id != node_id:
            raise SpoolDamage(self.path, 0, "the segment belongs to another node")

    def read(self, max_bytes: int) -> list[Frame]:
        """Record frames that follow the position: none, or up to about ``max_bytes`` of them.

        Their ``end`` is an offset in the file.
        """
        # In this order: a segment that has no writer any more does not grow.
        live = self.live = has_writer(self.path)
        self._synced = read_mark(self.path)
        end = self._synced if live else self._files.fstat(self._descriptor).st_size
        if not live and not self._settled and end > self._synced:
            # What a killed writer had not synced could go with the power after it is stored, and would then be missed.
            self._files.fdatasync(self._descriptor)
            self._settled = True
        frames: list[Frame] = []
        while self.position.offset < end and max_bytes > 0 and not self.finished:
            before = self.position.offset
            try:
                frames += self._read_chunk(min(max_bytes, CHUNK_BYTES), end, live)
            except SpoolDamage:
                if frames:
                    break  # hand over what is whole; the next read comes back to this
                raise
            if self.position.offset == before:
                break
            max_bytes -= self.position.offset - before
        if not live and self.position.offset >= end and not self.finished:
            self._end_of_file(frames, end)
        return frames

    def _end_of_file(self, frames: list[Frame], end: int) -> None:
        must_be = max(self._synced, self.position.offset)
        if end >= must_be:
            self.finished = True
        elif not frames:
            raise SpoolDamage(self.path, end, f"the file ends here, but was synced up to offset {must_be}")

    def _read_chunk(self, size: int, end: int, live: bool) -> list[Frame]:
        while True:
            data = self._files.pread(self._descriptor, min(size, end - self.position.offset), self.position.offset)
            frames = self._decode(data, end, live)
            if frames or self.finished or self.position.offset + len(data) >= end:
                return frames
            size *= 2  # one frame is larger than the chunk

    def _decode(self, data: bytes, end: int, live: bool) -> list[Frame]:
        frames: list[Frame] = []
        start, at = self.position.offset, 0
        while at < len(data):
            try:
                frame = decode_frame(data, at, self.position.sequence + 1, end - start - at)
            except FrameError as error:
                if not frames:
                    self._not_a_frame(start + at, str(error), live)
                break
            if frame is None:
                break
            if frame.payload == KIND_END and not live:
                self._end(frames, start + frame.end, end)
                break
            at = frame.end
            if frame.payload != KIND_END:
                frames.append(frame._replace(end=start + frame.end))
            self.position = Position(start + at, frame.sequence)
        return frames

    def _end(self, frames: list[Frame], offset: int, end: int) -> None:
        if offset < end:
            if not frames:
                raise SpoolDamage(self.path, offset, "bytes follow the end of the segment")
            return
        self.finished = True
        self.position = Position(offset, self.position.sequence + 1)

    def _not_a_frame(self, offset: int, cause: str, live: bool) -> None:
        if live or offset < self._synced:
            # Before the mark everything is synced and whole, or the disk does not keep its word.
            raise SpoolDamage(self.path, offset, cause)
        cut_torn_tail(self.path, offset, cause, self._files)
        self.finished = True
