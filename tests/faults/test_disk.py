"""The disk fails at each call of the spool's writer and of its repair: nothing acknowledged is lost, nothing refused is stored."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from novamesh.errors import RequestError
from novamesh.spool.frame import KIND_END, frame_size
from novamesh.spool.repair import QUARANTINE, SpoolDamage, clear_leftovers, cut_torn_tail, set_aside
from novamesh.spool.segment import TORN_SUFFIX, list_segments, mark_path
from novamesh.spool.writer import SpoolWriter
from tests.faults.files import Death, FaultyFiles
from tests.unit.spool_files import read, read_all, record, with_writer, write

END_SIZE = frame_size(len(KIND_END))
CALLS = ("open", "writev", "fsync", "fdatasync", "fstat", "rename", "sync_directory", "close")


@pytest.mark.parametrize("skip", range(4))
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("code", "answers"),
    [(errno.EIO, {"spool_unavailable"}), (errno.ENOSPC, {"spool_full"})],
    ids=["EIO", "ENOSPC"],
)
def test_an_error_at_every_call(tmp_path: Path, call: str, skip: int, code: int, answers: set[str]) -> None:
    """While segments are rotated: each append is stored, or answered with a 503 that says when to come again."""
    files = FaultyFiles()
    stored: list[bytes] = []
    refused: list[RequestError] = []

    async def use(writer: SpoolWriter) -> None:
        files.calls.clear()
        files.fail(call, code, skip=skip)
        for n in range(12):
            payload = record(f"{n:050}")
            try:
                await writer.append(payload)
                stored.append(payload)
            except RequestError as error:
                refused.append(error)
        assert writer.failure() is None, "it passes by itself"

    with_writer(tmp_path, use, segment_bytes=200, files=files)
    assert read_all(tmp_path) == stored
    assert len(stored) >= 11
    assert files.calls.count(call) > skip, "the fault was there"
    assert {error.code for error in refused} <= answers
    for error in refused:
        assert (error.status, error.retry_after is not None) == (503, True)
        assert "Nothing was accepted" in error.message
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_refuses_every_write_until_there_is_room(tmp_path: Path) -> None:
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        await writer.append(record("before"))
        files.fail("writev", errno.ENOSPC, times=1000)
        for n in range(5):
            with pytest.raises(RequestError) as caught:
                await writer.append(record(f"refused {n}"))
            assert caught.value.code == "spool_full"
        assert writer.failure() == f"the disk refused a write: {os.strerror(errno.ENOSPC)}", "health says so"
        files.heal()
        await writer.append(record("after"))

    with_writer(tmp_path, use, files=files)
    assert read_all(tmp_path) == [record("before"), record("after")]


def test_a_slow_disk_delays_answers_and_acknowledges_nothing_early(tmp_path: Path) -> None:
    """Others are appended meanwhile, share the next sync, and the event loop goes on answering."""
    files = FaultyFiles()

    async def use(writer: SpoolWriter) -> None:
        held = files.hold("fdatasync")
        first = writer.append(record("0"))
        await asyncio.to_thread(held.reached.wait, 60)
        others = [writer.append(record(str(n))) for n in range(1, 50)]
        await asyncio.sleep(0)  # the loop is free
        assert not any(future.done() for future in (first, *others))
        assert read_all(tmp_path) == []
        files.calls.clear()
        held.let_go()
        await asyncio.gather(first, *others)
        assert files.calls.count("fdatasync") == 1

    with_writer(tmp_path, use, files=files)
    assert read_all(tmp_path) == [record(str(n)) for n in range(50)]


# ---- Repair, interrupted --------------------------------------------------------------------------------


def torn(directory: Path) -> tuple[Path, bytes, bytes]:
    """A segment with a torn tail, what is whole of it, and the tail."""
    write(directory, [record("one"), record("two")])
    (segment,) = list_segments(directory)
    whole, tail = segment.read_bytes()[:-END_SIZE], b"\xff" * 30
    segment.write_bytes(whole + tail)
    return segment, whole, tail


def interrupted(files: FaultyFiles, call: str, skip: int, after: bool, work: Callable[[], object]) -> bool:
    """Run ``work`` in a process that dies at a call. Returns whether it came to that."""
    files.die(call, skip, after=after)
    try:
        work()
    except Death:
        return True
    finally:
        files.heal()
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("call", "skip"),
    [("open", 0), ("open", 1), ("writev", 0), ("fsync", 0), ("sync_directory", 0), ("ftruncate", 0), ("fsync", 1)],
)
def test_a_cut_that_is_killed_at_a_step_is_made_again(tmp_path: Path, call: str, skip: int, after: bool) -> None:
    files = FaultyFiles()
    segment, whole, tail = torn(tmp_path)
    assert interrupted(files, call, skip, after, lambda: cut_torn_tail(segment, len(whole), "rubbish", files))
    clear_leftovers(tmp_path)
    assert read(segment) == [record("one"), record("two")]
    assert segment.read_bytes() == whole
    assert segment.with_name(segment.name + TORN_SUFFIX).read_bytes() == tail, "the copy was whole before the cut"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("call", "skip"),
    [
        ("open", 0), ("writev", 0), ("fsync", 0), ("sync_directory", 0), ("rename", 0), ("unlink", 0), ("unlink", 1),
        ("sync_directory", 1), ("sync_directory", 2),
    ],
)  # fmt: skip
def test_a_setting_aside_that_is_killed_at_a_step_is_finished(
    tmp_path: Path, call: str, skip: int, after: bool
) -> None:
    files = FaultyFiles()
    write(tmp_path, [record("one"), record("two"), record("three")])
    (segment,) = list_segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[110] ^= 1
    segment.write_bytes(data)
    damage = SpoolDamage(segment, 64, "a cause")
    assert interrupted(files, call, skip, after, lambda: set_aside(damage, files))
    clear_leftovers(
        tmp_path
    )  # as the next start does; then the segment, if it is there, is read and found damaged again
    if segment.exists():
        set_aside(damage)
    assert (tmp_path / QUARANTINE / segment.name).read_bytes() == bytes(data)
    assert len(list((tmp_path / QUARANTINE).glob("*.json"))) == 1
    assert not segment.exists()
    assert not mark_path(segment).exists()
