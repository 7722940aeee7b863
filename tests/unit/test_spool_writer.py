"""The writer: what is acknowledged is synced, what is refused is never read."""

import asyncio
import errno
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from novamesh.errors import SpoolFull, SpoolUnavailable
from novamesh.spool import writer as writers
from novamesh.spool.frame import KIND_END, SEGMENT_HEADER_SIZE, encode_frame, frame_at, frame_size
from novamesh.spool.segment import has_writer, list_segments, mark_path, read_mark
from novamesh.spool.tally import Tally
from novamesh.spool.writer import Limits, Place, SpoolWriter, Waiter, spool_size
from tests.faults.files import FaultyFiles
from tests.unit.spool_files import NODE, SEGMENT_BYTES, read_all, record, with_writer, write

END_SIZE = frame_size(len(KIND_END))


def test_payloads_come_back_in_order(tmp_path: Path) -> None:
    payloads = [record(f"{n}" * (n % 50)) for n in range(300)]
    write(tmp_path, payloads)
    assert read_all(tmp_path) == payloads


@pytest.mark.parametrize("counted", [True, False])
def test_an_append_says_where_its_payload_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool) -> None:
    """Also when a segment is given up because what is in it could not be counted."""
    payloads = [record("x" * n) for n in range(40)]
    places: list[Place] = []
    spool = tmp_path / "spool"
    spool.mkdir()
    tally = Tally(tmp_path / "ledger", spool)
    monkeypatch.setattr(tally, "add", lambda *_: counted)

    async def use(writer: SpoolWriter) -> None:
        places.extend(await asyncio.gather(*(writer.append(payload) for payload in payloads[:20])))
        places.extend([await writer.append(payload) for payload in payloads[20:]])

    with_writer(spool, use, segment_bytes=500, tally=tally)
    tally.close()
    assert len({place.segment for place in places}) > 2
    for payload, (segment, end) in zip(payloads, places, strict=True):
        assert frame_at((spool / segment).read_bytes()[:end], end - frame_size(len(payload))) is not None
        assert (spool / segment).read_bytes()[:end].rstrip(b"\0").endswith(payload)
    assert sorted(read_all(spool)) == sorted(payloads)


def test_many_appends_share_few_syncs(tmp_path: Path) -> None:
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        held = files.hold("fdatasync")
        futures = [writer.append(record(str(n))) for n in range(1000)]
        held.let_go()  # the others have queued up meanwhile
        await asyncio.gather(*futures)

    with_writer(tmp_path, use, files=files)
    groups = files.calls.count("fdatasync") - 1  # the last one is that of the end frame
    assert groups <= 1 + 1000 // writers.GROUP_FRAMES + 1


def test_nothing_is_acknowledged_before_its_sync(tmp_path: Path) -> None:
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        held = files.hold("fdatasync")
        future = writer.append(record("one"))
        await asyncio.to_thread(held.reached.wait, 30)
        (segment,) = list_segments(tmp_path)
        assert segment.stat().st_size > SEGMENT_HEADER_SIZE, "it is written"
        assert read_mark(segment) == SEGMENT_HEADER_SIZE, "but not marked"
        assert read_all(tmp_path) == [], "and no reader takes it"
        await asyncio.sleep(0)
        assert not future.done()
        held.let_go()
        await future
        assert read_all(tmp_path) == [record("one")]

    with_writer(tmp_path, use, files=files)


def test_rotation(tmp_path: Path) -> None:
    payloads = [record("x" * 100 + str(n)) for n in range(100)]
    write(tmp_path, payloads, segment_bytes=1000)
    assert len(list_segments(tmp_path)) > 5
    assert read_all(tmp_path) == payloads
    for segment in list_segments(tmp_path):
        assert read_mark(segment) == segment.stat().st_size - END_SIZE, "it says what was acknowledged"


def test_a_live_segment_is_locked_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    async def use(writer: SpoolWriter) -> None:
        (segment,) = list_segments(tmp_path)
        assert has_writer(segment)
        assert mark_path(segment).exists()

    with_writer(tmp_path, use)
    (segment,) = list_segments(tmp_path)
    assert not has_writer(segment)


@pytest.mark.parametrize("partial", [0, 7, 40, 100_000])
@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, SpoolFull), (errno.EDQUOT, SpoolFull), (errno.EIO, SpoolUnavailable)]
)
def test_a_write_that_fails(tmp_path: Path, code: int, error: type[Exception], partial: int) -> None:
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        await writer.append(record("before"))
        files.write_part(partial, code)
        with pytest.raises(error, match="Nothing was accepted"):
            await writer.append(record("refused"))
        assert writer.failure()
        await writer.append(record("after"))
        assert writer.failure() is None

    with_writer(tmp_path, use, files=files)
    assert len(list_segments(tmp_path)) == 2, "the segment that failed is given up"
    assert read_all(tmp_path) == [record("before"), record("after")]


def test_a_sync_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        await writer.append(record("before"))
        files.fail("fdatasync", errno.EIO)
        with pytest.raises(SpoolUnavailable):
            await writer.append(record("refused"))
        await writer.append(record("after"))

    with_writer(tmp_path, use, files=files)
    first, second = list_segments(tmp_path)
    assert first.read_bytes().count(b"refused") == 0
    assert read_all(tmp_path) == [record("before"), record("after")]
    assert b"after" in second.read_bytes()


def test_no_new_segment_can_be_made(tmp_path: Path) -> None:
    """After a failure every answer is no, until a new segment is open and synced."""
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        files.fail("fdatasync", errno.EIO)
        with pytest.raises(SpoolUnavailable):
            await writer.append(record("refused 1"))
        files.fail("fsync", errno.EIO, times=2)
        for n in (2, 3):
            with pytest.raises(SpoolUnavailable):
                await writer.append(record(f"refused {n}"))
        await writer.append(record("after"))

    with_writer(tmp_path, use, files=files)
    assert read_all(tmp_path) == [record("after")]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_rotation_that_fails_loses_nothing(tmp_path: Path) -> None:
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        for n in range(30):
            if n == 10:
                files.fail("fsync", errno.EIO)
            try:
                await writer.append(record(f"{n:0100}"))
                kept.append(record(f"{n:0100}"))
            except SpoolUnavailable:
                refused.append(n)

    kept: list[bytes] = []
    refused: list[int] = []
    with_writer(tmp_path, use, segment_bytes=500, files=files)
    assert len(refused) == 1
    assert read_all(tmp_path) == kept


def test_a_short_write_goes_on(tmp_path: Path) -> None:
    files = FaultyFiles()
    files.plan("writev", lambda _, descriptor, buffers: os.write(descriptor, b"".join(buffers)[:5]), times=100)
    files.plan("write", lambda _, descriptor, data: os.write(descriptor, bytes(data)[:3]), times=1000)

    async def use(writer: SpoolWriter) -> None:
        await writer.append(record("one"))
        await writer.append(record("two"))

    with_writer(tmp_path, use, files=files)
    assert files.calls.count("write") > 10
    assert read_all(tmp_path) == [record("one"), record("two")]


def test_limits(tmp_path: Path) -> None:
    (tmp_path / "1.seg").write_bytes(bytes(1000))
    assert spool_size(tmp_path) == 1000
    assert Limits(tmp_path, 1000, 0).reason() is None
    assert "size limit" in (Limits(tmp_path, 999, 0).reason() or "")
    assert "disk reserve" in (Limits(tmp_path, 1000, 2**62).reason() or "")


def test_beyond_a_limit_nothing_is_queued(tmp_path: Path) -> None:
    async def use(writer: SpoolWriter) -> None:
        with pytest.raises(SpoolFull, match="send it again later"):
            writer.append(record("one"))

    with_writer(tmp_path, use, limits=Limits(tmp_path, 1, 0))
    assert read_all(tmp_path) == []


def test_a_disk_that_cannot_keep_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "PENDING_BYTES", 100)
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        held = files.hold("fdatasync")
        first = writer.append(record("x" * 200))
        with pytest.raises(SpoolFull, match="too slow"):
            writer.append(record("two"))
        held.let_go()
        await first
        await writer.append(record("three"))

    with_writer(tmp_path, use, files=files)


def test_stop_syncs_what_is_queued(tmp_path: Path) -> None:
    futures: list[asyncio.Future[Place]] = []

    async def use(writer: SpoolWriter) -> None:
        futures.extend(writer.append(record(str(n))) for n in range(50))

    with_writer(tmp_path, use)
    assert read_all(tmp_path) == [record(str(n)) for n in range(50)]


def test_a_client_that_went_away_does_no_harm(tmp_path: Path) -> None:
    async def use(writer: SpoolWriter) -> None:
        gone = writer.append(record("gone"))
        gone.cancel()
        await writer.append(record("stays"))

    with_writer(tmp_path, use)
    assert record("stays") in read_all(tmp_path)


def test_stop_ends_the_segment(tmp_path: Path) -> None:
    write(tmp_path, [record("one"), record("two")])
    (segment,) = list_segments(tmp_path)
    assert segment.read_bytes().endswith(b"".join(encode_frame(3, KIND_END)))


def test_a_loop_that_is_gone_does_not_keep_the_writer_from_syncing(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    writer = SpoolWriter(tmp_path, NODE, SEGMENT_BYTES, Limits(tmp_path, 2**40, 0), loop)
    loop.close()
    for n in range(1000):  # more than one group
        writer._queue.append(Waiter(record(str(n)), "", 0, loop.create_future()))
    writer.stop()
    assert read_all(tmp_path) == [record(str(n)) for n in range(1000)]
    (segment,) = list_segments(tmp_path)
    assert segment.read_bytes().endswith(b"".join(encode_frame(1001, KIND_END)))


def test_a_file_system_that_became_read_only(tmp_path: Path) -> None:
    """Nothing can be cut back, removed or made: every answer is no, none is missing, and it passes."""
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        await writer.append(record("before"))
        for call in ("fdatasync", "ftruncate", "open", "unlink"):
            files.fail(call, errno.EROFS, times=1000)
        for _ in range(3):
            with pytest.raises(SpoolUnavailable):
                await asyncio.wait_for(writer.append(b"\x01"), 30)
        assert writer.failure() == f"the disk refused a write: {os.strerror(errno.EROFS)}"
        files.heal()
        await writer.append(record("after"))
        assert writer.failure() is None

    with_writer(tmp_path, use, files=files)
    assert [payload for payload in read_all(tmp_path) if payload != b"\x01"] == [record("before"), record("after")]


def test_a_fault_that_is_not_the_disk_s_is_answered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: object) -> None:
        raise MemoryError

    async def use(writer: SpoolWriter) -> None:
        await writer.append(record("before"))
        with monkeypatch.context() as patch:
            patch.setattr(writers, "encode_frame", too_much)
            with pytest.raises(SpoolUnavailable):
                await asyncio.wait_for(writer.append(record("refused")), 30)
            assert writer.failure()
        await writer.append(record("after"))

    with_writer(tmp_path, use)
    assert read_all(tmp_path) == [record("before"), record("after")]


def test_a_cut_back_is_synced_before_the_lock_is_given_up(tmp_path: Path) -> None:
    """Or a power cut brings back what was refused."""
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        await writer.append(record("before"))
        (segment,) = list_segments(tmp_path)
        files.fail("writev", errno.EIO)

        def closing(real: Any, descriptor: int) -> None:
            files.calls.append(f"locked: {has_writer(segment)}")
            real(descriptor)

        files.plan("close", closing)
        files.calls.clear()
        with pytest.raises(SpoolUnavailable):
            await writer.append(record("refused"))

    with_writer(tmp_path, use, files=files)
    done = [call for call in files.calls if call in ("ftruncate", "fsync", "locked: True")]
    assert done[:3] == ["ftruncate", "fsync", "locked: True"]


def list_all(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def test_a_mark_that_does_not_fit_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """The mark's block is there before it is mapped: a store into a hole on a full disk would be a SIGBUS."""
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        writers_segment = writer._segment
        assert writers_segment is not None
        files.fail("fdatasync", errno.EIO)
        with pytest.raises(SpoolUnavailable):
            await writer.append(record("refused 1"))
        files.fail("writev", errno.ENOSPC, skip=1)  # the header fits, the mark does not
        with pytest.raises(SpoolFull):
            await writer.append(record("refused 2"))
        assert set(list_all(tmp_path)) == {writers_segment.path, mark_path(writers_segment.path)}
        await writer.append(record("after"))

    with_writer(tmp_path, use, files=files)
    assert read_all(tmp_path) == [record("after")]


def test_a_mark_is_never_seen_half_written(tmp_path: Path) -> None:
    segment = tmp_path / "1.seg"
    code = (
        "import sys; from pathlib import Path; from novamesh.spool import segment as s\n"
        "class Half: _mark = s._create_mark(s.mark_path(Path(sys.argv[1])), s.SYSTEM)\n"
        "half = Half(); s.OpenSegment.mark(half, 0x0102030405060708); print(flush=True)\n"
        "while True:\n"
        "    s.OpenSegment.mark(half, 0x1112131415161718); s.OpenSegment.mark(half, 0x0102030405060708)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(segment)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert {read_mark(segment) for _ in range(20_000)} <= {0x0102030405060708, 0x1112131415161718}
    finally:
        process.kill()
        process.communicate()


def test_what_is_no_mark_says_that_nothing_is_synced(tmp_path: Path) -> None:
    segment = tmp_path / "1.seg"
    assert read_mark(segment) == 0
    for data in (b"", b"1234567"):
        mark_path(segment).write_bytes(data)
        assert read_mark(segment) == 0
    mark_path(segment).write_bytes(struct.pack("<Q", 4096))
    assert read_mark(segment) == 4096


def test_a_disk_that_cannot_be_measured_takes_nothing(tmp_path: Path) -> None:
    files = FaultyFiles()
    files.steady_s = 0.0
    files.fail("statvfs", errno.EIO)
    limits = Limits(tmp_path, 2**40, 0, files)
    assert limits.reason() == "the disk of this node cannot be read"
    files.steady_s = writers.CHECK_INTERVAL_S
    assert limits.reason() is None
