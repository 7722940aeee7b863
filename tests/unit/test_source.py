"""What files hold is told by their content, and read from any place."""

import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from novamesh.transfer import source
from novamesh.transfer.source import Item, Opened, Place, SourceError, read_array, read_batch, read_lines, reading
from novamesh.transfer.zstd import ZstdFile

EVENTS = [{"event": f"e{n}", "properties": {"text": 'a "b" [{\\ ü €' * (n % 3), "n": [n, {}]}} for n in range(40)]
# What gzip cannot make much smaller, so that the start is there without the end.
MANY = b"".join(b'{"event": "%s"}\n' % random.Random(n).randbytes(100).hex().encode() for n in range(2000))
LINES = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)


def zstd(data: bytes) -> bytes:
    out = io.BytesIO()
    with ZstdFile(out, "wb") as file:
        file.write(data)
    return out.getvalue()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    made: list[Opened] = []

    def make(data: bytes, name: str = "events") -> Opened:
        (tmp_path / name).write_bytes(data)
        made.append(Opened(tmp_path / name))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (LINES, "events", "ndjson"),
        (b"\xef\xbb\xbf" + LINES, "events.csv", "ndjson"),
        (gzip.compress(LINES, mtime=0), "events.csv", "ndjson"),
        (zstd(LINES), "events", "ndjson"),
        (b'{"context": {}, "event": "e"}\n', "events", "ndjson"),
        (b' \n [ {"event": "e"}]', "events", "json"),
        (b'{"events": []}', "events", "json"),
        (b'{\n  "context": {\n', "events", "json"),
        (b"PAR1...", "events.csv", "parquet"),
        (b"event,user_id\n", "events.csv", "csv"),
        (gzip.compress(b"event\n", mtime=0), "events.csv.gz", "csv"),
        (b"event,user_id\n", "events", None),
    ],
)
def test_the_kind_is_told_by_the_content(
    opened: Callable[..., Opened], data: bytes, name: str, kind: str | None
) -> None:
    assert opened(data, name).format == kind


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, zstd, lambda data: gzip.compress(data[:99], mtime=0) + gzip.compress(data[99:])]
)
def test_lines_from_every_place(opened: Callable[..., Opened], pack: Callable[[bytes], bytes]) -> None:
    whole = list(read_lines(opened(pack(LINES)), Place()))
    assert [json.loads(item.event) for item in whole] == EVENTS
    assert [item.place.line for item in whole] == list(range(1, 41))
    for n in (0, 17, 39):
        assert list(read_lines(opened(pack(LINES)), whole[n].place)) == whole[n + 1 :]


def test_lines_that_are_none(opened: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_ITEM_BYTES", 100)
    data = b'\n{"a":1}\r\n  \n{"a":1},{"b":2}\n{"a":"\xff"}\n' + b"x" * 1000 + b'\n{"a"\n{"last": true}'
    items = list(read_lines(opened(data), Place()))
    assert [(item.place.line, item.fault.split(":")[0]) for item in items] == [
        (2, ""),
        (4, "is not JSON"),
        (5, "is not UTF-8 at byte 6"),
        (6, "is longer than 100 bytes"),
        (7, "is not JSON"),
        (8, ""),
    ]
    assert items[-1].place.position == len(data)
    assert source.fault_of(b"[" * 100_000 + b"]" * 100_000) != ""


@pytest.mark.parametrize("buffer", [2, 7, 100_000])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_in_pieces(
    opened: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch, buffer: int, indent: int | None
) -> None:
    monkeypatch.setattr(source, "_BUFFER_BYTES", buffer)
    data = json.dumps([*EVENTS, 12, -1.5], indent=indent, ensure_ascii=False).encode()
    whole = list(read_array(opened(data), Place()))
    assert [json.loads(item.event) for item in whole] == [*EVENTS, 12, -1.5]
    assert list(read_array(opened(data), whole[30].place)) == whole[31:]
    assert list(read_array(opened(b" [ ] \n"), Place())) == []


@pytest.mark.parametrize(
    "data",
    [b"[1, 2", b"[1 2]", b"[1,, 2]", b"[1, {]", b"[1] x", b"[1", b'["\xff"]', b"[" * 100_000, b"[1, x" + b" " * 99],
)
def test_an_array_that_is_malformed(opened: Callable[..., Opened], data: bytes) -> None:
    with pytest.raises(SourceError, match="character"):
        list(read_array(opened(data), Place()))


def test_a_batch_shares_its_context_wherever_that_stands(opened: Callable[..., Opened]) -> None:
    for data in (
        b'{"context": {"a": 1}, "events": [{"event": "e"}]}',
        b'{"events": [{"event": "e"}],\n "context": {"a": 1}}',
    ):
        assert read_batch(opened(data)) == (b'{"a": 1}', [b'{"event": "e"}'])
    with pytest.raises(SourceError, match="is not"):
        read_batch(opened(b'{"events": 3}'))
    with pytest.raises(SourceError, match="unknown field `source`"):
        read_batch(opened(b'{"events": [], "source": "app"}'))


@pytest.mark.parametrize("data", [gzip.compress(MANY, mtime=0)[:-20], zstd(MANY)[:-20]], ids=["gzip", "zstd"])
def test_compressed_data_that_is_cut(opened: Callable[..., Opened], data: bytes) -> None:
    file = opened(data)
    with pytest.raises(SourceError, match="ends before"), reading(file):
        list(read_lines(file, Place()))
    with pytest.raises(SourceError, match="ends before"):
        opened(data[:30])


def test_compressed_data_that_is_damaged(opened: Callable[..., Opened]) -> None:
    with pytest.raises(SourceError, match=r"damaged|cannot read|ends before"):  # the libraries differ in what they find
        opened(gzip.compress(LINES, mtime=0)[:30] + b"\xff" * 100)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        Opened(tmp_path / "none")


def test_items_compare() -> None:
    assert Item(Place(1, 1), b"{}") == Item(Place(1, 1), b"{}", "")
