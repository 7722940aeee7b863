"""Request figures of all edge workers, shared without locks: one small mapped file per worker in ``<data_dir>/run/``.

Each file has one writer, its worker; anyone may read all files and add them up. The files of workers that died stay, so
totals hold until the node starts anew and :func:`reset` clears them.

File ``edge-<pid>.metrics``, native byte order, :data:`FILE_SIZE` bytes::

    0    u64  MAGIC
    8    f64  time of the last heartbeat, unix seconds
    16   u64  1 if the worker could accept events at that time
    24   u64  requests accepted (1xx-3xx)
    32   u64  requests refused (4xx)
    40   u64  requests failed (5xx)
    48   u64  events accepted
    64   60 slots of 1,760 bytes; minute m (unix time // 60) is in slot m % 60
             u64        minute the slot holds; 0: none
             f64        time at which the worker was first seen in that minute, unix seconds
             f64        time at which it was last seen: of its last heartbeat
             u64        events accepted
             432 x u32  latencies counted per bucket
    105,664   16 x u64   the counts of :data:`COUNTS`, in their order
             432 x u64  latencies of accepted requests counted per bucket, since the node's start
             432 x u64  durations of queries counted per bucket, since the node's start
              64 x u64  errors answered, by the place of their code among all codes in order

A heartbeat claims the slot of its minute, so a minute in which nothing was accepted is told from one in which there was
no worker. What the status page draws is made of the slots by
:mod:`novamesh.status.history`.

Latencies are counted in log-linear buckets, the idea of HdrHistogram (Gil Tene): each power of two is cut into 16 equal
buckets. For a latency of ``v`` units of 64 ns::

    v < 32:   index = v
    else:     shift = bit_length(v) - 5;  index = 16 * shift + (v >> shift)

A bucket is at most 1/16 of its lower bound wide, and its middle is what is reported: at most 1/32 (3.2 %) off from 1 µs
up to 68 s, and at most 32 ns off below. Longer latencies count in the last bucket.

Every value is aligned to its size and stored by one instruction, so on x86-64 and ARM64 a reader sees the old or the
new value, never half of each. Values written one after another may be seen apart: one total may be a request ahead.
"""

import contextlib
import math
import mmap
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from operator import add
from pathlib import Path

import msgspec

from novamesh.errors import by_code

MAGIC = int.from_bytes(b"nmstats2", "little")
SLOTS = 60
SLOT_S = 60
BUCKETS = 432
LIVE_S = 5.0  # a heartbeat older than this is that of a dead or stuck worker
HOUR_S = SLOTS * SLOT_S

_HEADER_SIZE = 64
_SLOT_HEAD = 32
_SLOT_SIZE = _SLOT_HEAD + 4 * BUCKETS
_TOTALS = _HEADER_SIZE + SLOTS * _SLOT_SIZE
_MOST_COUNTS, _MOST_CODES = 16, 64
FILE_SIZE = _TOTALS + 8 * (_MOST_COUNTS + 2 * BUCKETS + _MOST_CODES)

COUNTS = (
    "accepted_bytes",
    "queries_answered",
    "queries_refused",
    "queries_failed",
    "queries_cancelled",
    "tails_open",  # now, not in all
    "tail_events",
    "tail_dropped",
)
CODES = tuple(sorted(by_code()))

# Places in the file, counted in 8-byte words.
_COUNTS = _TOTALS // 8
_LATENCIES = _COUNTS + _MOST_COUNTS
_DURATIONS = _LATENCIES + BUCKETS
_ERRORS = _DURATIONS + BUCKETS
_COUNT_PLACES = {name: _COUNTS + place for place, name in enumerate(COUNTS)}
_ERROR_PLACES = {code: _ERRORS + place for place, code in enumerate(CODES)}
_BEAT, _ACCEPTING, _ACCEPTED, _REFUSED, _FAILED, _EVENTS = range(1, 7)

_UNIT_BITS = 6
_NO_COUNTS = bytes(_SLOT_SIZE - 8)

# What the workers' files hold, by process id.
Files = dict[int, bytes]


class Snapshot(msgspec.Struct, frozen=True):
    """All workers together. Totals are since the node's start; latencies are those of the last ``window_s`` seconds.

    ``p50_ms`` and ``p99_ms`` are ``None`` if no request was accepted in the window. ``requests`` includes ``refused``
    (4xx) and ``failed`` (5xx). ``workers`` counts live workers; ``accepting`` says if one of them can accept events.
    """

    p50_ms: float | None
    p99_ms: float | None
    window_s: int
    requests: int
    events: int
    refused: int
    failed: int
    accepting: bool
    workers: int


class Slot(msgspec.Struct, frozen=True):
    """One worker's minute (unix time // 60): when it was seen (unix seconds), its events, its latencies by bucket.

    ``counts`` are 4-byte integers of native byte order.
    """

    minute: int
    first_s: float
    last_s: float
    events: int
    counts: bytes


class WorkerMetrics:
    """The writer of one worker's file. Not for use by several threads at once."""

    def __init__(self, directory: Path, pid: int) -> None:
        path = directory / f"edge-{pid}.metrics"
        # A file of this name is that of a dead worker of this run whose pid came up again: go on from its totals.
        if _loaded(path) is None:
            _create(path)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), FILE_SIZE)
        self._bytes = memoryview(self._map)
        self._words = self._bytes.cast("Q")
        self._floats = self._bytes.cast("d")
        self._counts = self._bytes.cast("I")
        self._words[_COUNT_PLACES["tails_open"]] = 0  # those of the dead worker are not
        self._minute = -1
        self._base = 0  # of the current slot's buckets, in 4-byte words
        self._slot = 0  # the current slot, in 8-byte words

    def observe(self, latency_ns: int, now_s: float, events: int = 0) -> None:
        """Count the latency and the events of one accepted request that ended at ``now_s`` (unix seconds)."""
        minute = int(now_s) // SLOT_S
        if minute != self._minute:
            self._turn(minute, now_s)
        place = bucket(latency_ns)
        self._counts[self._base + place] += 1
        self._words[_LATENCIES + place] += 1
        self._words[self._slot + 3] += events

    def count(self, status: int, events: int = 0) -> None:
        """Count one answered request by its HTTP status, and the events it had accepted."""
        words = self._words
        words[_FAILED if status >= 500 else _REFUSED if status >= 400 else _ACCEPTED] += 1
        if events:
            words[_EVENTS] += events

    def add(self, name: str, count: int) -> None:
        """Count so many more of one of :data:`COUNTS`."""
        self._words[_COUNT_PLACES[name]] += count

    def count_error(self, code: str) -> None:
        """Count one error that is answered."""
        self._words[_ERROR_PLACES[code]] += 1

    def count_query(self, outcome: str, duration_ns: int) -> None:
        """Count one query that is over: ``answered``, ``refused``, ``failed`` or ``cancelled``."""
        self.add(f"queries_{outcome}", 1)
        self._words[_DURATIONS + bucket(duration_ns)] += 1

    def heartbeat(self, now_s: float, accepting: bool) -> None:
        """Say that this worker is alive and whether it can accept events. More often than every :data:`LIVE_S`."""
        minute = int(now_s) // SLOT_S
        if minute != self._minute:
            self._turn(minute, now_s)
        self._floats[self._slot + 2] = now_s
        self._words[_ACCEPTING] = accepting
        self._floats[_BEAT] = now_s

    def close(self) -> None:
        """Leave: the worker no longer counts as live, its file and totals stay."""
        self._words[_ACCEPTING] = False
        self._floats[_BEAT] = 0.0
        for view in (self._words, self._floats, self._counts, self._bytes):
            view.release()
        self._map.close()

    def _turn(self, minute: int, now_s: float) -> None:
        """Make the slot of ``minute`` the current one, emptied if it holds an older minute."""
        start = _HEADER_SIZE + minute % SLOTS * _SLOT_SIZE
        slot = start // 8
        if self._words[slot] != minute:
            self._words[slot] = 0  # first: a reader must not take old counts for those of the new minute
            self._bytes[start + 8 : start + _SLOT_SIZE] = _NO_COUNTS
            self._floats[slot + 1] = self._floats[slot + 2] = now_s
            self._words[slot] = minute
        self._minute, self._slot, self._base = minute, slot, (start + _SLOT_HEAD) // 4


def bucket(latency_ns: int) -> int:
    """The bucket that counts ``latency_ns``."""
    value = latency_ns >> _UNIT_BITS
    if value < 32:
        return max(0, value)
    shift = value.bit_length() - 5
    index = (shift << 4) + (value >> shift)
    return index if index < BUCKETS else BUCKETS - 1


def bucket_middle_ns(index: int) -> float:
    """The latency that bucket ``index`` is reported as: its middle."""
    shift = max(0, (index >> 4) - 1)
    low = index - (shift << 4)
    return (low + 0.5) * (1 << shift + _UNIT_BITS)


def percentiles_ms(counts: Iterable[int], *shares: float) -> list[float | None]:
    """Nearest-rank percentiles in milliseconds: for each share (0..1) the least latency that as many do not exceed."""
    seen = list(accumulate(counts))
    ranks = (max(1, math.ceil(share * seen[-1])) for share in shares)
    places = (bisect_left(seen, rank) for rank in ranks)
    return [bucket_middle_ns(place) / 1e6 if place < len(seen) else None for place in places]


def read(directory: Path, now_s: float, window_s: int = HOUR_S) -> Snapshot:
    """The :func:`snapshot` of the files as they are now."""
    return snapshot(load(directory), now_s, window_s)


def load(directory: Path) -> Files:
    """The files of all workers of this run, those that died too. Some 100 KiB each."""
    contents = ((path, _loaded(path)) for path in sorted(directory.glob("edge-*.metrics")))
    return {int(path.stem.removeprefix("edge-")): content for path, content in contents if content is not None}


def snapshot(files: Files, now_s: float, window_s: int = HOUR_S) -> Snapshot:
    """All workers' figures as of ``now_s`` (unix seconds).

    ``window_s`` is a whole number of minutes, at most 60; the running minute counts as one of them.
    """
    recent: list[Slot] = []
    sums = [0] * 4
    accepting, workers = False, 0
    for content in files.values():
        words = array("Q", content[:_HEADER_SIZE])
        sums = list(map(add, sums, words[_ACCEPTED : _EVENTS + 1]))
        if _is_live(content, now_s):
            workers += 1
            accepting = accepting or words[_ACCEPTING] == 1
        recent += _recent(content, int(now_s) // SLOT_S, window_s // SLOT_S)
    accepted, refused, failed, events = sums
    p50_ms, p99_ms = percentiles_ms(merged(recent), 0.50, 0.99)
    return Snapshot(
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        window_s=window_s,
        requests=accepted + refused + failed,
        events=events,
        refused=refused,
        failed=failed,
        accepting=accepting,
        workers=workers,
    )


def slots(directory: Path, now_s: float) -> Iterator[Slot]:
    """All workers' minutes of the hour up to ``now_s`` (unix seconds), in no order."""
    for content in load(directory).values():
        yield from _recent(content, int(now_s) // SLOT_S, SLOTS)


def merged(slots: Iterable[Slot]) -> list[int]:
    """The latencies of all of them together, by bucket."""
    # One addition of long integers adds all buckets: none carries into the next before it has counted 2**32.
    total = sum(int.from_bytes(slot.counts, sys.byteorder) for slot in slots)
    return array("I", total.to_bytes(4 * BUCKETS, sys.byteorder)).tolist()


class Totals(msgspec.Struct, frozen=True):
    """All workers of this run together, those that died too. ``counts`` are by the names of :data:`COUNTS`, open tails
    those of live workers; ``latencies`` and ``durations`` are by bucket; ``pids`` those of live workers."""

    counts: dict[str, int]
    errors: dict[str, int]
    latencies: list[int]
    durations: list[int]
    pids: list[int]


def totals(files: Files, now_s: float) -> Totals:
    """What was counted since the node's start, as of ``now_s`` (unix seconds)."""
    words = [0] * ((FILE_SIZE - _TOTALS) // 8)
    tails, pids = 0, []
    for pid, content in files.items():
        mine = array("Q", content[_TOTALS:])
        words = list(map(add, words, mine))
        if _is_live(content, now_s):
            tails += mine[_COUNT_PLACES["tails_open"] - _COUNTS]
            pids.append(pid)
    return Totals(
        counts={name: words[place - _COUNTS] for name, place in _COUNT_PLACES.items()} | {"tails_open": tails},
        errors={code: words[place - _COUNTS] for code, place in _ERROR_PLACES.items()},
        latencies=words[_LATENCIES - _COUNTS : _DURATIONS - _COUNTS],
        durations=words[_DURATIONS - _COUNTS : _ERRORS - _COUNTS],
        pids=pids,
    )


def reset(directory: Path) -> None:
    """Begin a new run of the node: make ``directory`` and remove the files of the last run."""
    directory.mkdir(parents=True, exist_ok=True)
    for pattern in ("edge-*.metrics", "edge-*.metrics.new"):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


def _create(path: Path) -> None:
    """A file of zeros, complete before it has its name, so that no reader finds half of one.

    The zeros are written, not left as a hole: a store into a mapped hole kills the process if the disk is full by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_bytes(array("Q", [MAGIC]).tobytes() + bytes(FILE_SIZE - 8))
    draft.replace(path)


def _loaded(path: Path) -> bytes | None:
    """The file's bytes, or ``None`` if there is none or it is not of this layout."""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if len(content) == FILE_SIZE and array("Q", content[:8])[0] == MAGIC:
            return content
    return None


def _is_live(content: bytes, now_s: float) -> bool:
    beat = array("d", content[8 * _BEAT : 8 * _BEAT + 8])[0]
    return abs(now_s - beat) <= LIVE_S  # abs: the clock may have been set back


def _recent(content: bytes, minute: int, minutes: int) -> Iterator[Slot]:
    """Those slots that hold one of the last ``minutes`` up to ``minute``."""
    for start in range(_HEADER_SIZE, _TOTALS, _SLOT_SIZE):
        words = array("Q", content[start : start + _SLOT_HEAD])
        if minute - minutes < words[0] <= minute:
            first_s, last_s = array("d", content[start + 8 : start + 24])
            yield Slot(words[0], first_s, last_s, words[3], content[start + _SLOT_HEAD : start + _SLOT_SIZE])
