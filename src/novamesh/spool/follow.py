"""Following what is accepted, by all writers, as it comes: for readers that keep nothing and hold nobody up.

How far the segments may be read is taken from the writers' tallies (``tally.py``), not from the marks, because a tally
says in one piece how many events of each space were synced and up to which offsets: so what a follower has not seen,
whatever the reason, is known to the event. Segments are deleted when they are loaded; one that is open can be read on.
Nothing in the spool is changed: no torn tail is cut, and no damage set aside.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from novamesh.event.record import Record, RecordError, decode_header
from novamesh.spool import tally
from novamesh.spool.frame import FRAME_HEADER_SIZE, KIND_END, SEGMENT_HEADER_SIZE, claimed_size, frame_at
from novamesh.spool.segment import is_locked
from novamesh.spool.tally import Counted

# More than that of one look is skipped: who follows wants what is new.
READ_BYTES = 4 * 1024 * 1024


class Followed(NamedTuple):
    """What one look found: records of the wanted spaces with their payloads, oldest first. ``missed`` counts, by space,
    the events that were synced, and will not be given."""

    records: list[tuple[Record, bytes]]
    missed: Counter[str]


class Follower:
    """Follows from the moment it is made. Not for several threads at once. Raises OSError from all it does."""

    def __init__(self, spool: Path, ledger: Path) -> None:
        self._spool = spool
        self._ledger = ledger
        self._begin = tally.read(ledger)
        self._read_to = dict(self._begin.segments)
        self._accounted: Counter[str] = Counter()  # events seen, or told to be missed, since the beginning
        self._open: dict[str, _Segment] = {}
        try:
            self._open_grown(self._begin, all_live=True)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close all segments."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()

    def read(self, spaces: Container[str]) -> Followed:
        """What was synced since the last look. After an OSError the next look finds what this one would have."""
        counted = tally.read(self._ledger)
        self._open_grown(counted)
        room = READ_BYTES // max(1, len(self._open))
        # All is read before any of it counts as seen.
        parts = [self._read(name, segment, counted, room) for name, segment in self._open.items()]
        found: list[tuple[Record, bytes]] = []
        for part in parts:
            for payload, behind in part.payloads:
                self._take(payload, behind <= part.known, spaces, found)
            segment = self._open[part.name]
            self._read_to[part.name] = segment.offset = max(part.end, segment.offset)
            if part.over:
                del self._open[part.name]
                segment.close()
        found.sort(key=lambda item: item[0].at)
        return Followed(found, self._missed(counted))

    def _read(self, name: str, segment: "_Segment", counted: Counted, room: int) -> "_Part":
        over = not segment.has_writer()
        if over:
            # It does not grow any more. What its writer has not counted, since it died, is stored all the same.
            end = segment.size()
            known = tally.read(self._ledger).segments.get(name, end)
        else:
            end = known = counted.segments.get(name, segment.offset)
        return _Part(name, segment.read(end, room), end, known, over)

    def _take(self, payload: bytes, known: bool, spaces: Container[str], found: list[tuple[Record, bytes]]) -> None:
        with contextlib.suppress(RecordError):  # then it is counted as missed
            record = decode_header(payload)
            self._accounted[record.space] += record.n if known else 0
            if record.space in spaces:
                found.append((record, payload))

    def _missed(self, counted: Counted) -> Counter[str]:
        missed: Counter[str] = Counter()
        for space, count in counted.counts.items():
            since = count - self._begin.counts.get(space, 0) - self._accounted[space]
            if since > 0:
                missed[space] = since
                self._accounted[space] += since
        return missed

    def _open_grown(self, counted: Counted, *, all_live: bool = False) -> None:
        """Open the segments in which something is to be read, or, with ``all_live``, may soon be."""
        for name, offset in counted.segments.items():
            start = self._read_to.get(name, SEGMENT_HEADER_SIZE)
            if name in self._open or not (all_live or offset > start):
                continue
            with contextlib.suppress(FileNotFoundError):  # loaded and deleted already: what was in it is missed
                segment = _Segment(self._spool / name, start)
                if all_live and not segment.has_writer():
                    segment.close()
                    continue
                self._open[name] = segment


class _Part(NamedTuple):
    """What a look read of a segment before ``end``: payloads, each with the offset behind it; they are counted up to
    ``known``. ``over``: it has no writer any more."""

    name: str
    payloads: list[tuple[bytes, int]]
    end: int
    known: int
    over: bool


class _Segment:
    """An open segment, read up to ``offset``. Deleting it does no harm."""

    def __init__(self, path: Path, offset: int) -> None:
        self.offset = offset
        self._descriptor = os.open(path, os.O_RDONLY)

    def close(self) -> None:
        os.close(self._descriptor)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def has_writer(self) -> bool:
        """Whether some process is writing it."""
        return is_locked(self._descriptor)

    def read(self, end: int, room: int) -> list[tuple[bytes, int]]:
        """The payloads of whole frames before ``end``, each with the offset behind it: in about ``room`` bytes, or one
        frame that is larger."""
        data = os.pread(self._descriptor, max(0, min(end - self.offset, room)), self.offset)
        if len(data) >= FRAME_HEADER_SIZE and (size := claimed_size(data)) > len(data):
            data = os.pread(self._descriptor, size, self.offset) if size <= end - self.offset else b""
        payloads: list[tuple[bytes, int]] = []
        at = 0
        while (frame := frame_at(data, at)) is not None and frame.payload != KIND_END:
            at = frame.end
            payloads.append((frame.payload, self.offset + at))
        return payloads
