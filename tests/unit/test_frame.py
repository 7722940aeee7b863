"""The spool's bytes, pinned: what one version has written, every later one must read."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from google_crc32c import value
from hypothesis import given, settings
from hypothesis import strategies as st

from novamesh.spool import frame
from novamesh.spool.frame import FrameError, SegmentHeader, decode_frame, encode_frame, find_frame, is_end
from novamesh.spool.segment import list_segments
from tests.unit.spool_files import write

NODE = bytes(range(16))
HEADER = bytes.fromhex(
    "4e4d53504f4f4c00"  # NMSPOOL\0
    "01000000"  # version
    "00000000"
    "00ec939c03610600"  # 1_795_518_000_000_000 µs
    "000102030405060708090a0b0c0d0e0f"
    "0000000000000000000000000000000000000000"
    "5058d3c9"  # CRC32C of what stands before
)
FRAME = bytes.fromhex(
    "05000000"  # length
    "5f00a7bd"  # CRC32C of length, number and payload
    "0700000000000000"  # number
    "0168656c6c"  # payload
    "000000"  # up to a multiple of 8
)
CREATED_US = 1_795_518_000_000_000


def test_a_segment_header_byte_by_byte() -> None:
    header = frame.encode_segment_header(SegmentHeader(CREATED_US, NODE))
    assert header.hex() == HEADER.hex()
    assert len(header) == frame.SEGMENT_HEADER_SIZE == 64
    assert frame.decode_segment_header(HEADER) == SegmentHeader(CREATED_US, NODE)


def test_a_frame_byte_by_byte() -> None:
    data = b"".join(encode_frame(7, b"\x01hell"))
    assert data.hex() == FRAME.hex()
    assert frame.frame_size(5) == len(FRAME) == 24
    assert decode_frame(FRAME, 0, 7, len(FRAME)) == (7, b"\x01hell", 24)


def test_the_checksum_is_crc32c() -> None:
    assert value(b"123456789") == 0xE3069283  # the check value in the catalogue of CRC algorithms
    assert int.from_bytes(FRAME[4:8], "little") == value(FRAME[0:4] + FRAME[8:16] + FRAME[16:21])
    assert int.from_bytes(HEADER[60:], "little") == value(HEADER[:60])


def test_the_end_frame() -> None:
    assert frame.KIND_END == b"\0"
    assert frame.KIND_RECORD == b"\1"
    assert frame.frame_size(len(frame.KIND_END)) == 24


def test_the_document_and_the_docstring_say_the_same() -> None:
    document = (Path(__file__).parents[2] / "docs/spool-format.md").read_text()
    segment, frames = document.split("## Frame")
    rows = re.compile(r"^\| (\d+) \| (\d+|\*n\*) \|", re.MULTILINE)
    assert rows.findall(segment) == [
        ("0", "8"),
        ("8", "4"),
        ("12", "4"),
        ("16", "8"),
        ("24", "16"),
        ("40", "20"),
        ("60", "4"),
    ]
    assert rows.findall(frames.split("## Record")[0]) == [("0", "4"), ("4", "4"), ("8", "8"), ("16", "*n*")]
    import novamesh.spool

    text = novamesh.spool.__doc__ or ""
    tables = re.findall(r"^    (\d+) +(\d+|n) ", text, re.MULTILINE)
    assert tables == [
        *(("0", "8"), ("8", "4"), ("12", "4"), ("16", "8"), ("24", "16"), ("40", "20"), ("60", "4")),
        *(("0", "4"), ("4", "4"), ("8", "8"), ("16", "n")),
    ]


def test_the_documented_way_to_read_by_hand(tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "docs/spool-format.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    payloads = [b"\x01one", b"\x01" + b"x" * 30]
    write(tmp_path, payloads)
    (segment,) = list_segments(tmp_path)
    shown = subprocess.run([sys.executable, "-c", code, segment], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == [f"1 64 {payloads[0]!r}", f"2 88 {payloads[1]!r}", f"3 136 {frame.KIND_END!r}"]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda data: data[:63], "cut short"),
        (lambda data: b"X" + data[1:], "not a spool segment"),
        (lambda data: data[:20] + b"X" + data[21:], "checksum"),
    ],
)
def test_a_bad_segment_header(change: object, cause: str) -> None:
    assert callable(change)
    with pytest.raises(FrameError, match=cause):
        frame.decode_segment_header(change(HEADER))


def test_a_newer_segment_is_refused() -> None:
    body = HEADER[:8] + (2).to_bytes(4, "little") + HEADER[12:60]
    with pytest.raises(FrameError, match="version 2, this node reads 1"):
        frame.decode_segment_header(body + value(body).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("data", "sequence", "limit", "cause"),
    [
        (bytes(24), 1, 24, "length zero"),
        (b"\xff\xff\xff\x7f" + FRAME[4:], 7, 24, "claims"),
        (FRAME, 8, 24, "has number 7, expected 8"),
        (FRAME[:18] + b"x" + FRAME[19:], 7, 24, "checksum"),
        (FRAME[:10], 7, 10, "inside a frame header"),
        (FRAME[:20], 7, 20, "claims"),
    ],
)
def test_what_is_not_a_frame(data: bytes, sequence: int, limit: int, cause: str) -> None:
    with pytest.raises(FrameError, match=cause):
        decode_frame(data, 0, sequence, limit)


def test_a_frame_that_is_still_to_come() -> None:
    for size in range(len(FRAME)):
        assert decode_frame(FRAME[:size], 0, 7, 1000) is None


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=10))
@settings(derandomize=True, database=None, deadline=None)
def test_frames_come_back(payloads: list[bytes]) -> None:
    data = b"".join(b"".join(encode_frame(number, payload)) for number, payload in enumerate(payloads, 1))
    position = 0
    for number, payload in enumerate(payloads, 1):
        found = decode_frame(data, position, number, len(data) - position)
        assert found is not None
        assert (found.payload, found.end % frame.ALIGNMENT) == (payload, 0)
        position = found.end
    assert position == len(data)


def test_no_flipped_bit_goes_unnoticed() -> None:
    data = b"".join(encode_frame(1, b"\x01" + bytes(range(40))))
    padding = range(frame.FRAME_HEADER_SIZE + 41, len(data))
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            if place in padding:
                continue  # it holds nothing
            with pytest.raises(FrameError):
                decode_frame(bytes(changed), 0, 1, len(data))


def test_a_frame_is_found_behind_damage() -> None:
    whole = b"".join(encode_frame(9, b"\x01" + b"\x01" * 30))
    assert find_frame(bytes(64) + whole, 0) == 64
    assert find_frame(b"\x01" * 64 + whole[:-8], 0) is None
    assert find_frame(b"", 0) is None


def test_an_end_is_told_from_what_looks_like_one() -> None:
    end = b"".join(encode_frame(9, frame.KIND_END))
    assert is_end(end)
    assert is_end(bytes(13) + end)
    assert not is_end(end[1:])
    assert not is_end(end + bytes(8))
    assert not is_end(bytes(64))
    assert not is_end(b"")
    assert not is_end(b"".join(encode_frame(9, b"\x01")))
