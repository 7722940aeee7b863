"""Frames and segment headers as bytes. Pure: no I/O. The layout is in the package docstring."""

import struct
from typing import NamedTuple

from google_crc32c import extend, value

from novamesh.errors import NovameshError

MAGIC = b"NMSPOOL\0"
VERSION = 1
SEGMENT_HEADER_SIZE = 64
FRAME_HEADER_SIZE = 16
ALIGNMENT = 8

KIND_END = b"\x00"
KIND_RECORD = b"\x01"

_SEGMENT = struct.Struct("<8sIIQ16s20s")
_FRAME = struct.Struct("<IIQ")
_CHECKED = struct.Struct("<IQ")
_CRC = struct.Struct("<I")
_PADDING = tuple(b"\0" * n for n in range(ALIGNMENT))


class FrameError(NovameshError):
    """The bytes at an offset are not a whole, right frame. The message is the cause."""


class SegmentHeader(NamedTuple):
    """A segment's header: ``created_us`` since 1970, ``node_id`` of 16 bytes."""

    created_us: int
    node_id: bytes


class FrameHeader(NamedTuple):
    """What a frame says of itself: the payload's length and the frame's number."""

    length: int
    sequence: int


class Frame(NamedTuple):
    """One frame: its number, its payload and the offset, in what it was read from, just behind its padding."""

    sequence: int
    payload: bytes
    end: int


def encode_segment_header(header: SegmentHeader) -> bytes:
    """The 64 bytes a segment starts with."""
    body = _SEGMENT.pack(MAGIC, VERSION, 0, header.created_us, header.node_id, b"\0" * 20)
    return body + _CRC.pack(value(body))


def decode_segment_header(data: bytes) -> SegmentHeader:
    """The header in the first 64 bytes of ``data``. Raises :class:`FrameError`."""
    if len(data) < SEGMENT_HEADER_SIZE:
        raise FrameError("the segment header is cut short")
    body = data[: SEGMENT_HEADER_SIZE - _CRC.size]
    (crc,) = _CRC.unpack_from(data, SEGMENT_HEADER_SIZE - _CRC.size)
    magic, version, _, created_us, node_id, _ = _SEGMENT.unpack(body)
    if magic != MAGIC:
        raise FrameError("this is not a spool segment")
    if crc != value(body):
        raise FrameError("the segment header's checksum does not match")
    if version != VERSION:
        raise FrameError(f"the segment has format version {version}, this node reads {VERSION}")
    return SegmentHeader(created_us, node_id)


def encode_frame(sequence: int, payload: bytes) -> list[bytes]:
    """A frame as buffers for ``writev``: header, payload and, where needed, padding."""
    crc = extend(value(_CHECKED.pack(len(payload), sequence)), payload)
    header = _FRAME.pack(len(payload), crc, sequence)
    padding = -len(payload) % ALIGNMENT
    return [header, payload, _PADDING[padding]] if padding else [header, payload]


def frame_size(payload_size: int) -> int:
    """Bytes a payload of this size takes up in a segment."""
    return FRAME_HEADER_SIZE + payload_size + (-payload_size % ALIGNMENT)


def decode_frame(data: bytes, position: int, sequence: int, limit: int) -> Frame | None:
    """The frame at ``position`` in ``data``, which must be number ``sequence``.

    ``limit`` is the number of bytes that can follow ``position`` in the whole file: a length
    beyond it is damage, not a frame that is still to come. Returns None when ``data`` ends
    before the frame does. Raises :class:`FrameError`.
    """
    if position + FRAME_HEADER_SIZE > len(data):
        if limit < FRAME_HEADER_SIZE:
            raise FrameError("the file ends inside a frame header")
        return None
    length, crc, number = _FRAME.unpack_from(data, position)
    if length == 0:
        raise FrameError("the frame has length zero")
    if frame_size(length) > limit:
        raise FrameError(f"the frame claims {length} bytes, the file ends before that")
    start = position + FRAME_HEADER_SIZE
    if position + frame_size(length) > len(data):
        return None
    payload = data[start : start + length]
    if extend(value(_CHECKED.pack(length, number)), payload) != crc:
        raise FrameError("the frame's checksum does not match")
    if number != sequence:
        raise FrameError(f"the frame has number {number}, expected {sequence}")
    return Frame(number, payload, position + frame_size(length))


def decode_frame_header(data: bytes, position: int, limit: int) -> FrameHeader:
    """The header at ``position`` in ``data``, of a frame that ends within ``limit`` bytes; its checksum is not
    looked at. Raises :class:`FrameError`.
    """
    if position + FRAME_HEADER_SIZE > len(data):
        raise FrameError("the file ends inside a frame header")
    length, _, number = _FRAME.unpack_from(data, position)
    if length == 0:
        raise FrameError("the frame has length zero")
    if frame_size(length) > limit:
        raise FrameError(f"the frame claims {length} bytes, the file ends before that")
    return FrameHeader(length, number)


def find_frame(data: bytes, start: int) -> int | None:
    """Offset of the first whole record frame at or after ``start``, whatever its number."""
    at = data.find(KIND_RECORD, start + FRAME_HEADER_SIZE)
    while at >= 0:
        position = at - FRAME_HEADER_SIZE
        if position % ALIGNMENT == 0 and frame_at(data, position):
            return position
        at = data.find(KIND_RECORD, at + 1)
    return None


def is_end(data: bytes) -> bool:
    """Whether ``data`` closes with the frame that ends a segment, whatever its number."""
    position = len(data) - frame_size(len(KIND_END))
    return position >= 0 and data.endswith(KIND_END + _PADDING[-1]) and frame_at(data, position) is not None


def frame_at(data: bytes, position: int) -> Frame | None:
    """The whole frame at ``position``, whatever its number, or None. Its ``end`` is an offset in ``data``."""
    if position + FRAME_HEADER_SIZE > len(data):
        return None
    _, _, number = _FRAME.unpack_from(data, position)
    try:
        return decode_frame(data, position, number, len(data) - position)
    except FrameError:
        return None


def claimed_size(header: bytes) -> int:
    """Bytes that a frame takes up if its header is right."""
    return frame_size(_FRAME.unpack_from(header)[0])
