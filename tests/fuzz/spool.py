"""Segments of any bytes: what is read are the whole frames before the first thing that is none, and nothing is lost."""

import atexit
import fcntl
import struct
import tempfile
from functools import cache
from pathlib import Path

from novamesh.spool.frame import KIND_END, SegmentHeader, encode_frame, encode_segment_header
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import SpoolDamage
from novamesh.spool.segment import TORN_SUFFIX, mark_path
from tests.fuzz.target import Target
from tests.unit.spool_files import NODE

_HEADER = encode_segment_header(SegmentHeader(1, NODE))
_FRAME = struct.Struct("<IIQ")
_POLYNOMIAL = 0x82F63B78  # of Castagnoli, bits reversed


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """CRC32C by the book, not by the library that the spool uses."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@cache
def directory() -> Path:
    """Where segments are made."""
    made = tempfile.TemporaryDirectory(prefix="novamesh-fuzz-")
    atexit.register(made.cleanup)
    return Path(made.name)


def frames_of(data: bytes, *, live: bool = False) -> tuple[list[bytes], int]:
    """The payloads of the whole frames that a segment starts with, its end among them, and the offset behind them.

    While the segment is ``live`` an end is a frame like any: only without a writer does it say that nothing follows.
    """
    payloads: list[bytes] = []
    at = len(_HEADER)
    while at + _FRAME.size <= len(data):
        length, crc, number = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + (length + 7) // 8 * 8
        payload = data[at + _FRAME.size :][:length]
        if not length or end > len(data) or number != len(payloads) + 1:
            break
        if crc32c(data[at : at + 4] + data[at + 8 : at + 16] + payload) != crc:
            break
        payloads.append(payload)
        at = end
        if payload == KIND_END and not live:
            break
    return payloads, at


def segment(data: bytes) -> None:
    """Bytes 0 and 1 say how much is read at a time and what the rest is: a segment's content, or how to make one."""
    step, how, rest = (data[0] + 1) * 16 if data else 16, data[1:2], data[2:]
    content = rest if how == b"f" else _HEADER + rest if how in (b"r", b"l") else _made(rest)
    path = directory() / f"{1:016d}-1.seg"
    path.write_bytes(content)
    try:
        if how in (b"l", b"L"):
            _check_live(path, content, step)
        else:
            _check_closed(path, content, step)
    finally:
        for left in directory().iterdir():
            left.unlink()


def _check_closed(path: Path, content: bytes, step: int) -> None:
    payloads, end = frames_of(content)
    ended = payloads[-1:] == [KIND_END]
    found, damage = _read(path, step)
    if content[: len(_HEADER)] != _HEADER:
        assert damage is not None
        assert (found, damage.offset) == ([], 0)
        return
    assert found == [payload for payload in payloads if payload != KIND_END], "not the frames that are there"
    torn = path.with_name(path.name + TORN_SUFFIX)
    if damage is not None:
        assert damage.offset == end
        assert path.read_bytes() == content, "a damaged segment was changed"
        assert not torn.exists()
        return
    if end < len(content):
        assert not ended, "what follows the end was not noticed"
        assert path.read_bytes() == content[:end]
        assert torn.read_bytes() == content[end:], "what was cut was not kept"
    else:
        assert path.read_bytes() == content
        assert not torn.exists()
    assert _read(path, 2**40) == (found, None), "a second reading finds something else"


def _check_live(path: Path, content: bytes, step: int) -> None:
    """A segment that has a writer: nothing behind the mark is read, and nothing is cut."""
    mark = min(len(content), step * 4)
    mark_path(path).write_bytes(struct.pack("<Q", mark))
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found, _ = _read(path, step)
    payloads, _ = frames_of(content[:mark], live=True)
    if content[: len(_HEADER)] == _HEADER:
        assert found == [payload for payload in payloads if payload != KIND_END][: len(found)]
    assert path.read_bytes() == content, "a live segment was changed"


def _read(path: Path, step: int) -> tuple[list[bytes], SpoolDamage | None]:
    """All payloads, some bytes at a time, and the damage behind them."""
    found: list[bytes] = []
    try:
        reader = SegmentReader(path, NODE, Position())
    except SpoolDamage as damage:
        return found, damage
    try:
        while frames := reader.read(step):
            found += [frame.payload for frame in frames]
        if _has_no_writer(path):
            assert reader.finished, "a segment without a writer is not read to its end"
    except SpoolDamage as damage:
        return found, damage
    finally:
        reader.close()
    return found, None


def _has_no_writer(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _made(script: bytes) -> bytes:
    """A segment by a script, three bytes a step: append, repeat and end frames, flip, cut and put bytes."""
    content = bytearray(_HEADER)
    number = 0
    for at in range(0, min(len(script), 300) - 2, 3):
        what, a, b = script[at : at + 3]
        if what in b"abcde":  # a frame, now and then with a number that is not its own
            number += 1
            payload = b"\x01" + bytes([b]) * (a if what != ord("e") else a * 40)
            content += b"".join(encode_frame(number + (what == ord("d")), payload))
        elif what == ord("z"):
            number += 1
            content += b"".join(encode_frame(number, KIND_END))
        elif what == ord("f") and len(content) > len(_HEADER):
            content[-1 - (a * 256 + b) % len(content)] ^= 1 << (a & 7)
        elif what == ord("t"):
            del content[max(1, len(content) - (a * 4 + b) % 600) :]
        elif what == ord("p"):
            content += bytes([b]) * a
        elif what == ord("s"):  # bytes again that were there before, as a lost write leaves them
            start = (a * 64) % len(content)
            content += content[start : start + b * 8]
    return bytes(content)


def _seeds() -> list[bytes]:
    plain = b"".join(b"".join(encode_frame(n, b"\x01" + b"x" * n)) for n in range(1, 5))
    end = b"".join(encode_frame(5, KIND_END))
    scripts = (b"a\x10xa\x20yz\0\0", b"a\x05xe\x30yf\x00\x20a\x08z", b"a\x10xt\x01\x05", b"a\x10xp\x30\x01a\x10yz\0\0")
    return [
        *(b"\xffr" + content for content in (plain, plain + end, plain[:-5], plain + bytes(40), plain + end + plain)),
        b"\x01f" + _HEADER + plain + end,
        b"\x07l" + plain,
        *(b"\x02" + how + script for how in (b"m", b"L") for script in scripts),
    ]


TARGETS = (Target("segment", segment, (*(bytes([c]) for c in b"abcdezftps"), b"a\x10x", b"z\0\0", bytes(8)), _seeds),)
