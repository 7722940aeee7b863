"""What is still whole in a segment that is damaged."""

from pathlib import Path
from typing import NamedTuple

from novamesh.spool.frame import KIND_END, SEGMENT_HEADER_SIZE, Frame, find_frame, frame_at, frame_size, is_end


class Salvage(NamedTuple):
    """Whole record frames, whose ``end`` is an offset in the file, and bytes among and behind them that are in none."""

    frames: list[Frame]
    unreadable: int


def salvage(segment: Path, start: int, max_bytes: int) -> Salvage:
    """Whole frames at or behind ``start``, about ``max_bytes`` of them or all there are. Raises OSError.

    ``start`` is 0 or just behind a frame. Frames are found by their alignment and their checksum, whatever their
    number: between two of them others may be missing.
    """
    start = max(start, SEGMENT_HEADER_SIZE)
    with segment.open("rb") as file:
        file.seek(start)
        data = file.read()
    frames: list[Frame] = []
    at = unreadable = 0
    while at < len(data) and max_bytes > 0:
        frame = frame_at(data, at)
        if frame is None:
            found = find_frame(data, at)
            if found is None:
                return Salvage(frames, unreadable + len(data) - at - (frame_size(len(KIND_END)) if is_end(data) else 0))
            unreadable += found - at
            at = found
            continue
        max_bytes -= frame.end - at
        at = frame.end
        if frame.payload != KIND_END:
            frames.append(frame._replace(end=start + at))
    return Salvage(frames, unreadable)
