"""What was accepted, by space: counted by the writers after each sync, apart from the segments.

The ledger (``docs/reliability.md``) compares this count with what is in the spool and in the database. It would say
nothing if it were made from either, so it has files of its own, in ``ledger/`` beside ``spool/``::

    base.json              the counts of all earlier runs; written, synced and renamed by the supervisor at each start
    <µs>-<pid>.tally       the counts of one edge worker of this run

A tally holds its state twice, each half of the file being::

    0   4  length of the state
    4   4  CRC32C of length, number and state, in that order
    8   8  number: the half with the higher one is the newer
    16  n  state, JSON: ``{"segments":{<name>:<offset>},"counts":{<space>:<events>}}``

The writer overwrites the older half, so that one is whole wherever it is killed, and the counts always belong to the
offsets: the events of each segment are in the counts up to its offset, and none behind it. Frames behind the offset of
a segment whose writer is gone were written, but never counted (nor acknowledged, unless the machine died): the store
counts them when it loads them. A segment that no file lists has not been counted at all.

The file is written as a whole when it is made, so that a full disk does not matter to it later. It is not synced: after
a power cut an older state may be found, and fewer events counted than there are. The store notices at its next start.
"""

import contextlib
import fcntl
import logging
import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from google_crc32c import extend, value

from novamesh.spool.files import SYSTEM, write_new
from novamesh.spool.repair import QUARANTINE
from novamesh.spool.segment import has_writer

log = logging.getLogger(__name__)

SUFFIX = ".tally"
BASE_NAME = "base.json"
HALF_BYTES = 4096
# A reader that meets both halves in the middle of a change looks again.
READ_ATTEMPTS = 100
# Of segments that are gone so many are remembered in the base.
GONE_SEGMENTS = 1000

_HEADER = struct.Struct("<IIQ")
_CHECKED = struct.Struct("<IQ")


class State(msgspec.Struct, frozen=True):
    """``counts``: events accepted, by space. ``segments``: up to which offset the events of a segment are in them."""

    segments: dict[str, int]
    counts: dict[str, int]


class Base(msgspec.Struct, frozen=True):
    """The state of all earlier runs. The tallies ``folded`` are in it, and do not count should they still be there."""

    segments: dict[str, int] = {}
    counts: dict[str, int] = {}
    folded: list[str] = []


class Counted(NamedTuple):
    """All files together."""

    counts: dict[str, int]
    segments: dict[str, int]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(State)


class Tally:
    """The writer of one worker's tally. For one thread. The constructor raises OSError."""

    def __init__(self, directory: Path, spool: Path) -> None:
        directory.mkdir(exist_ok=True, mode=0o700)
        self._path = directory / f"{time.time_ns() // 1000:016d}-{os.getpid()}{SUFFIX}"
        self._spool = spool
        self._state = State({}, {})
        self._number = 0
        self._half = HALF_BYTES
        self._descriptor = self._create(_encoder.encode(self._state))

    def add(self, segment: str, end: int, events: Iterable[tuple[str, int]]) -> bool:
        """Count what was synced in ``segment`` up to offset ``end``: how many events of which space.

        Returns False if the disk refuses: then it is not counted, and must not be read as if it was.
        """
        counts = self._state.counts.copy()
        for space, count in events:
            counts[space] = counts.get(space, 0) + count
        segments = self._state.segments
        if segment not in segments:
            segments = _existing(segments, self._spool)
        state = State({**segments, segment: end}, counts)
        try:
            self._write(_encoder.encode(state))
        except OSError as cause:
            log.error("accepted events cannot be counted", extra={"file": self._path.name, "cause": str(cause)})
            return False
        self._state = state
        return True

    def close(self) -> None:
        """Sync and close; the counts stay."""
        with contextlib.suppress(OSError):
            os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _write(self, state: bytes) -> None:
        if _HEADER.size + len(state) > self._half:
            before, self._descriptor = self._descriptor, self._create(state)
            os.close(before)
            return
        data = _encode(self._number + 1, state)
        if os.pwrite(self._descriptor, data, (self._number + 1) % 2 * self._half) != len(data):
            raise OSError("a short write")
        self._number += 1

    def _create(self, state: bytes) -> int:
        """A file with room for twice the state, complete before it takes the place of the one there is."""
        half = self._half
        while _HEADER.size + len(state) > half:
            half *= 2
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # A node that was killed may be started anew while its workers are still ending.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            content = memoryview(_encode(self._number, state).ljust(2 * half, b"\0"))
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
            draft.rename(self._path)
        except BaseException:
            os.close(descriptor)
            draft.unlink(missing_ok=True)
            raise
        # That state is in the first half, whatever its number.
        self._number += self._number % 2
        self._half = half
        return descriptor


def read(directory: Path) -> Counted:
    """What all files say together. Raises OSError."""
    base = _read_base(directory)
    return _together(base, [path for path in _tallies(directory) if path.name not in base.folded])


def _together(base: Base, tallies: list[Path]) -> Counted:
    counts, segments = dict(base.counts), dict(base.segments)
    for path in tallies:
        state = _read_tally(path)
        if state is None:
            log.error("a count of accepted events is damaged", extra={"file": path.name})
            continue
        for space, count in state.counts.items():
            counts[space] = counts.get(space, 0) + count
        segments |= state.segments
    return Counted(counts, segments)


def fold(directory: Path, spool: Path) -> None:
    """Bring the tallies of the last run into the base; those that still have a writer stay. Raises OSError.

    Wherever this is cut short, each tally counts once.
    """
    directory.mkdir(exist_ok=True, mode=0o700)
    _set_damaged_base_aside(directory)
    before = _read_base(directory)
    kept: list[Path] = []
    for path in _tallies(directory):
        if path.name in before.folded:
            path.unlink()
        elif not has_writer(path):
            kept.append(path)
    if not kept:
        return
    counted = _together(before, kept)
    # Most of those that are gone are loaded. One that was taken away and is put back must not be counted again.
    newest = dict(sorted(counted.segments.items())[-GONE_SEGMENTS:])
    segments = newest | _existing(counted.segments, spool)
    base = Base(segments, counted.counts, [path.name for path in kept])
    draft = directory / (BASE_NAME + ".new")
    write_new(SYSTEM, draft, msgspec.json.encode(base))
    draft.rename(directory / BASE_NAME)
    SYSTEM.sync_directory(directory)
    SYSTEM.sync_directory(directory.parent)
    for path in kept:
        path.unlink()


def _encode(number: int, state: bytes) -> bytes:
    crc = extend(value(_CHECKED.pack(len(state), number)), state)
    return _HEADER.pack(len(state), crc, number) + state


def _existing(segments: dict[str, int], spool: Path) -> dict[str, int]:
    """Without the segments that are deleted: all that was in them is loaded."""
    return {
        name: offset
        for name, offset in segments.items()
        if (spool / name).exists() or (spool / QUARANTINE / name).exists()
    }


def _tallies(directory: Path) -> list[Path]:
    return sorted(directory.glob("*" + SUFFIX))


def _read_tally(path: Path) -> State | None:
    """The newer half that is whole; None if none is."""
    for _ in range(READ_ATTEMPTS):
        content = path.read_bytes()
        half = len(content) // 2
        found = [
            part
            for start in (0, half)
            if half > _HEADER.size and (part := _decode(content[start : start + half])) is not None
        ]
        if found:
            return max(found, key=lambda part: part[0])[1]
    return None


def _decode(half: bytes) -> tuple[int, State] | None:
    length, crc, number = _HEADER.unpack_from(half)
    state = half[_HEADER.size : _HEADER.size + length]
    if not length or extend(value(_CHECKED.pack(length, number)), state) != crc:
        return None
    return number, _decoder.decode(state)


def _read_base(directory: Path) -> Base:
    try:
        return msgspec.json.decode((directory / BASE_NAME).read_bytes(), type=Base)
    except FileNotFoundError:
        return Base()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.error("the count of earlier runs is damaged", extra={"file": BASE_NAME})
        return Base()


def _set_damaged_base_aside(directory: Path) -> None:
    path = directory / BASE_NAME
    with contextlib.suppress(FileNotFoundError):
        try:
            msgspec.json.decode(path.read_bytes(), type=Base)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            path.rename(path.with_suffix(".damaged"))
            log.error(
                "the count of earlier runs is damaged and was set aside; the store counts anew what is there",
                extra={"file": path.name, "cause": str(error)},
            )
