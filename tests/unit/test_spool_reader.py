"""The reader and what it does with bytes that are not a frame."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from google_crc32c import value

from novamesh.spool import reader as readers
from novamesh.spool.frame import SEGMENT_HEADER_SIZE, encode_frame, frame_size
from novamesh.spool.reader import Position, SegmentReader
from novamesh.spool.repair import SpoolDamage, set_aside
from novamesh.spool.segment import TORN_SUFFIX, list_segments, mark_path
from novamesh.spool.writer import SpoolWriter
from tests.unit.spool_files import NODE, read, record, with_writer, write

PAYLOADS = [record("one"), record("two" * 20), record("three")]
END_SIZE = frame_size(1)


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A segment of three frames after a power cut: no end frame, and no mark that says what was acknowledged."""
    write(tmp_path, PAYLOADS)
    (path,) = list_segments(tmp_path)
    mark_path(path).unlink()
    data = path.read_bytes()
    path.write_bytes(data[:-END_SIZE])
    return path


def test_a_growing_segment_is_followed(tmp_path: Path) -> None:
    async def use(writer: SpoolWriter) -> None:
        (path,) = list_segments(tmp_path)
        reader = SegmentReader(path, NODE, Position())
        try:
            assert reader.read(1000) == []
            for payload in PAYLOADS:
                await writer.append(payload)
                (frame,) = reader.read(1000)
                assert frame.payload == payload
                assert not reader.finished
        finally:
            reader.close()

    with_writer(tmp_path, use)
    assert read(list_segments(tmp_path)[0]) == PAYLOADS


def test_a_reader_goes_on_where_another_stopped(segment: Path) -> None:
    first = SegmentReader(segment, NODE, Position())
    frames = first.read(1)
    first.close()
    assert [frame.payload for frame in frames] == PAYLOADS[:1], "one frame at least, and little more than asked for"
    again = SegmentReader(segment, NODE, Position(frames[0].end, frames[0].sequence))
    assert [frame.payload for frame in again.read(1000)] == PAYLOADS[1:]
    assert again.finished
    again.close()


def test_frames_larger_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "CHUNK_BYTES", 64)
    payloads = [record("x" * size) for size in (1, 60, 500, 3, 5000, 47, 48, 49)]
    write(tmp_path, payloads)
    assert read(list_segments(tmp_path)[0]) == payloads


def test_no_more_is_read_than_was_asked_for(tmp_path: Path) -> None:
    """Chunks are for large reads; a small one must not take megabytes."""
    payloads = [record(f"{n:100}") for n in range(200)]
    write(tmp_path, payloads)
    reader = SegmentReader(list_segments(tmp_path)[0], NODE, Position())
    parts = list(iter(lambda: [frame.payload for frame in reader.read(1000)], []))
    reader.close()
    assert [payload for part in parts for payload in part] == payloads
    assert max(map(len, parts)) <= 1000 // frame_size(len(payloads[0])) + 1


def test_a_segment_of_a_newer_version(segment: Path) -> None:
    data = segment.read_bytes()
    body = data[:8] + (2).to_bytes(4, "little") + data[12:60]
    segment.write_bytes(body + value(body).to_bytes(4, "little") + data[64:])
    with pytest.raises(SpoolDamage, match="version 2, this node reads 1"):
        SegmentReader(segment, NODE, Position())


def test_a_torn_tail_at_every_offset_of_the_last_frame(segment: Path, tmp_path: Path) -> None:
    whole = segment.read_bytes()
    last = len(whole) - frame_size(len(PAYLOADS[-1]))
    for size in range(last + 1, len(whole)):
        segment.write_bytes(whole[:size])
        assert read(segment) == PAYLOADS[:-1], size
        assert segment.stat().st_size == last
        torn = segment.with_name(segment.name + TORN_SUFFIX)
        assert torn.read_bytes() == whole[last:size]
        torn.unlink()


@pytest.mark.parametrize("rubbish", [b"\xff" * 100, bytes(4096), b"\x01" * 33, b"x"])
def test_rubbish_behind_the_last_frame(segment: Path, rubbish: bytes) -> None:
    with segment.open("ab") as file:
        file.write(rubbish)
    assert read(segment) == PAYLOADS
    assert segment.with_name(segment.name + TORN_SUFFIX).read_bytes() == rubbish


def _second_frame() -> int:
    return SEGMENT_HEADER_SIZE + frame_size(len(PAYLOADS[0]))


@pytest.mark.parametrize(
    ("place", "change", "cause"),
    [
        (_second_frame(), b"\xff\xff\xff\x7f", "claims"),
        (_second_frame(), bytes(4), "length zero"),
        (_second_frame() + 4, b"rubb", "checksum"),
        (_second_frame() + 8, b"\x05", "checksum"),
        (_second_frame() + 20, b"?", "checksum"),
        (_second_frame(), bytes(72), "length zero"),
    ],
)
def test_damage_in_the_middle(segment: Path, place: int, change: bytes, cause: str) -> None:
    data = bytearray(segment.read_bytes())
    data[place : place + len(change)] = change
    segment.write_bytes(data)
    reader = SegmentReader(segment, NODE, Position())
    assert [frame.payload for frame in reader.read(1000)] == PAYLOADS[:1], "what came before is read"
    with pytest.raises(SpoolDamage, match=cause) as caught:
        reader.read(1000)
    reader.close()
    assert (caught.value.segment, caught.value.offset) == (segment, _second_frame())
    assert segment.read_bytes() == bytes(data), "nothing is cut"


def test_a_missing_frame(segment: Path) -> None:
    data = segment.read_bytes()
    start = _second_frame()
    segment.write_bytes(data[:start] + data[start + frame_size(len(PAYLOADS[1])) :])
    reader = SegmentReader(segment, NODE, Position())
    reader.read(1000)
    with pytest.raises(SpoolDamage, match="number 3, expected 2"):
        reader.read(1000)
    reader.close()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "cut short"),
        (b"not a segment at all, but long enough to be one: " + bytes(64), "not a spool segment"),
    ],
)
def test_what_is_no_segment(tmp_path: Path, data: bytes, cause: str) -> None:
    path = tmp_path / "0.seg"
    path.write_bytes(data)
    with pytest.raises(SpoolDamage, match=cause):
        SegmentReader(path, NODE, Position())


def test_a_segment_of_another_node(segment: Path) -> None:
    with pytest.raises(SpoolDamage, match="another node"):
        SegmentReader(segment, b"z" * 16, Position())


def test_a_damaged_segment_is_set_aside_with_a_report(segment: Path) -> None:
    content = segment.read_bytes()
    target = set_aside(SpoolDamage(segment, 88, "the frame's checksum does not match"))
    assert target.read_bytes() == content
    assert not segment.exists()
    report = json.loads(target.with_suffix(".json").read_text())
    assert (report["file"], report["offset"]) == (segment.name, 88)
    assert "checksum" in report["cause"]


def test_damage_before_the_mark_of_a_live_segment_is_not_cut(tmp_path: Path) -> None:
    async def use(writer: SpoolWriter) -> None:
        for payload in PAYLOADS:
            await writer.append(payload)
        (path,) = list_segments(tmp_path)
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(size - 5)
            file.write(b"?")
        reader = SegmentReader(path, NODE, Position())
        reader.read(1000)
        with pytest.raises(SpoolDamage, match="checksum"):
            reader.read(1000)
        reader.close()
        assert path.stat().st_size == size

    with_writer(tmp_path, use)


def test_a_writer_that_is_killed_leaves_a_segment_that_can_be_read(tmp_path: Path) -> None:
    """The lock goes with the process, whatever it was doing."""
    code = (
        "import sys, os; from pathlib import Path\n"
        "from novamesh.spool.files import SYSTEM, write_all\n"
        "from novamesh.spool.segment import OpenSegment\n"
        "from novamesh.spool.frame import encode_frame\n"
        f"s = OpenSegment(Path(sys.argv[1]), {NODE!r})\n"
        "write_all(SYSTEM, s.descriptor, encode_frame(1, b'\\x01one') + encode_frame(2, b'\\x01two')[:1])\n"
        "print(flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    (path,) = list_segments(tmp_path)
    assert read(path) == [], "nothing of it is marked as synced"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read(path) == [b"\x01one"]
    shutil.rmtree(tmp_path)


def test_bytes_behind_the_end_are_damage(tmp_path: Path) -> None:
    write(tmp_path, [record("one")])
    (path,) = list_segments(tmp_path)
    with path.open("ab") as file:
        file.write(b"".join(encode_frame(3, record("late"))))
    reader = SegmentReader(path, NODE, Position())
    assert [frame.payload for frame in reader.read(1000)] == [record("one")]
    assert not reader.finished
    with pytest.raises(SpoolDamage, match="bytes follow the end"):
        reader.read(1000)
    reader.close()
