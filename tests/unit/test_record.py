"""What one request becomes in the spool."""

import json
import re
import time
import uuid

import pytest

from novamesh.event.record import Record, RecordError, batch_for_key, decode, encode, new_batch

NOW_US = 1_795_518_000_123_456


def test_a_record_byte_by_byte() -> None:
    record = Record(space="default", batch="0" * 28, at=NOW_US, n=1)
    payload = encode(record, b'[{"event":"a"}]')
    assert payload == (
        b'\x01{"space":"default","batch":"0000000000000000000000000000","at":1795518000123456,"n":1}\n[{"event":"a"}]'
    )
    assert decode(payload) == (record, b'[{"event":"a"}]')


def test_a_batch_s_record() -> None:
    record = Record(space="p.test", batch="a" * 28, at=NOW_US, n=2, named=True, key="k\n€")
    assert decode(encode(record, b"[1,\n2]")) == (record, b"[1,\n2]")
    assert record.batch_id == "b_" + "a" * 28


def test_a_single_event_has_no_batch_id() -> None:
    assert Record(space="p", batch="a" * 28, at=NOW_US, n=1).batch_id is None


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b"", "not a record"),
        (b"\x02{}\n[]", "not a record"),
        (b'\x01{"space":"p"}', "not a record"),
        (b"\x01nonsense\n[]", "cannot be read"),
        (b"\x01\xff\n[]", "cannot be read"),
        (
            b'\x01{"space":"p","batch":"00000000000000000000000000ff","at":1,"n":1,"v":2}\n[]',
            "version 2, this node reads 1",
        ),
        (b'\x01{"other":["fields"],"v":2}\n[]', "version 2, this node reads 1"),
    ],
)
def test_what_is_no_record(payload: bytes, cause: str) -> None:
    with pytest.raises(RecordError, match=cause):
        decode(payload)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("space", space) for space in ("", "a" * 41, 'a"b', "A", "a.live", "a\n", "a.test\n")),
        *(("batch", batch) for batch in ("", "a" * 27, "a" * 29, "g" * 28, "A" * 28, "a" * 28 + "\n")),
        *(("at", at) for at in (-1, 253_402_300_800_000_000, 2**63)),
        *(("n", n) for n in (-1, 0, 65_537)),
    ],
)
def test_what_names_and_ids_are_made_of_is_checked(field: str, value: object) -> None:
    fields = {"space": "default", "batch": "a" * 28, "at": NOW_US, "n": 1, field: value}
    with pytest.raises(RecordError, match=f"cannot be read.*{field}"):
        decode(b"\x01" + json.dumps(fields).encode() + b"\n[]")


def test_the_extremes_of_a_header_are_read() -> None:
    for space, at, n in (("a" * 40 + ".test", 0, 1), ("_", 253_402_300_799_999_999, 65_536)):
        record = Record(space=space, batch="0" * 28, at=at, n=n)
        assert decode(encode(record, b"[]")) == (record, b"[]")


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    batches = [new_batch(NOW_US + n * 1000) for n in range(100)]
    assert batches == sorted(batches)
    for batch in batches:
        assert re.fullmatch("[0-9a-f]{28}", batch)
        for place in (0, 499):
            id = uuid.UUID(f"{batch}{place:04x}")
            assert (id.version, id.variant) == (7, uuid.RFC_4122)
            assert abs((id.int >> 80) - NOW_US // 1000) <= 100


def test_ids_differ() -> None:
    now = time.time_ns() // 1000
    assert len({new_batch(now) for _ in range(100_000)}) == 100_000


def test_a_key_stands_for_one_batch_of_its_space() -> None:
    batch = batch_for_key("default", "order-1")
    assert batch == batch_for_key("default", "order-1")
    assert len({batch, batch_for_key("default", "order-2"), batch_for_key("other", "order-1")}) == 3
    id = uuid.UUID(batch + "0000")
    assert (id.version, id.variant) == (8, uuid.RFC_4122)
