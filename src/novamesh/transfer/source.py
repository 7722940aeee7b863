"""Files that are imported: what they hold is told by their content, and read one item after another in flat memory.

An item is a line (JSON lines), an element (a JSON array or a batch's body) or a row (CSV, Parquet). A place in a source
is a number that reading can start from again: bytes for JSON lines, items for all others; of compressed files, of what
is in them.
"""

import codecs
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from isal import igzip, isal_zlib

from novamesh.errors import NovameshError
from novamesh.transfer.zstd import ZstdError, ZstdFile

FORMATS = ("ndjson", "json", "csv", "parquet")
HEAD_BYTES = 64 * 1024
MAX_ITEM_BYTES = 16 * 1024 * 1024  # above any limit of a node's that is of use
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
_SHOWN_BYTES = 1000

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_BLANKS = b" \t\r\n"
_BATCH_HEAD = re.compile(rb'\{\s*"(events|context)"\s*:')
# Typed as a value by its library.
_ISAL_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]
_DAMAGED = (ZstdError, zlib.error, _ISAL_ERROR)
_RAW = msgspec.json.Decoder(msgspec.Raw)


class SourceError(NovameshError):
    """A file cannot be read, or not any further. The message says why and what to do."""


class Place(NamedTuple):
    """Where reading can start: ``position`` as the source counts, and the number of the last line read, from 1."""

    position: int = 0
    line: int = 0


class Item(NamedTuple):
    """One event as JSON, or what cannot be one and why. ``place`` is behind it."""

    place: Place
    event: bytes
    fault: str = ""


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]
    context: msgspec.Raw = msgspec.Raw(b"")


class Opened:
    """A file with its compression taken off. ``format`` is None if its content does not tell."""

    def __init__(self, path: Path | None) -> None:
        """Open a file, or standard input for None. Raises :class:`SourceError`."""
        self.path = path
        self.share: float | None = None  # told by a reader that opens the file by itself
        with reading(self):
            self._file: IO[bytes] = sys.stdin.buffer if path is None else path.open("rb", _BUFFER_BYTES)
        try:
            with reading(self):
                # A pipe may have a name too: its bytes come once, and nobody knows how many.
                self.regular = path is not None and path.is_file()
                self.size = path.stat().st_size if path is not None and self.regular else None
                self.stream, self.head = _pushed(self._file)
                self.compressed = self.head.startswith((_GZIP, _ZSTD))
                if self.compressed:
                    self.stream, self.head = _pushed(_inflated(self.stream, self.head))
        except SourceError:
            self.close()
            raise

    @property
    def name(self) -> str:
        return "standard input" if self.path is None else str(self.path)

    @property
    def fraction(self) -> float | None:
        """How much of the file has been read, 0 to 1; None where that cannot be told."""
        if self.share is not None:
            return self.share
        return min(1.0, self._file.tell() / self.size) if self.size else None

    @property
    def format(self) -> str | None:
        if self.head.startswith(_PARQUET):
            return "parquet"
        start = self.head.removeprefix(codecs.BOM_UTF8).lstrip(_BLANKS)
        if start.startswith(b"["):
            return "json"
        if start.startswith(b"{"):
            return "json" if _is_batch(start) else "ndjson"
        suffixes = [] if self.path is None else [suffix.lower() for suffix in self.path.suffixes]
        return "csv" if ".csv" in suffixes or ".tsv" in suffixes else None

    def skip(self, count: int) -> None:
        """Pass over the first bytes. Raises :class:`SourceError`."""
        if count and not self.compressed and self.regular:
            self._file.seek(count)
            self.stream = self._file
            return
        while count:
            piece = self.stream.read(min(count, _BUFFER_BYTES))
            if not piece:
                raise SourceError(f"{self.name} is shorter than it was; start again without its progress file")
            count -= len(piece)

    def close(self) -> None:
        if self.path is not None:
            self._file.close()


class reading:  # noqa: N801 - used as a block
    """Tells what the libraries say of damaged files as :class:`SourceError`."""

    def __init__(self, opened: Opened) -> None:
        self._name = opened.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EOFError):
            raise SourceError(f"{self._name} ends before its compressed data does; get the whole file") from None
        if isinstance(error, _DAMAGED):
            raise SourceError(f"{self._name} is damaged: {error}") from None
        if isinstance(error, OSError):
            raise SourceError(f"cannot read {self._name}: {error.strerror or error}") from None


def read_lines(opened: Opened, start: Place) -> Iterator[Item]:
    """The lines of JSON lines. Blank ones are no items. Raises :class:`SourceError`."""
    opened.skip(start.position)
    position, line = start
    readline = opened.stream.readline
    while raw := readline(MAX_ITEM_BYTES):
        position += len(raw)
        line += 1
        if len(raw) == MAX_ITEM_BYTES and not raw.endswith(b"\n"):
            position += _skip_line(opened.stream)
            yield Item(Place(position, line), raw[:_SHOWN_BYTES], f"is longer than {MAX_ITEM_BYTES:,} bytes")
            continue
        if line == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        event = raw.strip(_BLANKS)
        if event:
            yield Item(Place(position, line), event, fault_of(event))


def read_array(opened: Opened, start: Place) -> Iterator[Item]:
    """The elements of a JSON array. Raises :class:`SourceError` where it is malformed."""
    for number, element in enumerate(_elements(opened), 1):
        if number > start.position:
            event = element.encode("utf-8", "surrogatepass")
            yield Item(Place(number, number), event, fault_of(event))


def read_batch(opened: Opened) -> tuple[bytes, list[bytes]]:
    """Shared context (or nothing) and events of a batch's body. Raises :class:`SourceError`."""
    body = opened.stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(body) > MAX_DOCUMENT_BYTES:
        raise SourceError(f"{opened.name} is one batch of more than 64 MiB; make it a JSON array, or JSON lines")
    try:
        batch = msgspec.json.decode(body.removeprefix(codecs.BOM_UTF8), type=_Batch)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SourceError(
            f'{opened.name} is not the body of a batch, {{"events": […], "context": {{…}}}}: {error}; correct it, or'
            " make it JSON lines"
        ) from None
    return bytes(batch.context), [bytes(event) for event in batch.events]


def is_batch(opened: Opened) -> bool:
    """Whether a JSON file is one object that holds ``events``, and not an array."""
    return opened.head.removeprefix(codecs.BOM_UTF8).lstrip(_BLANKS).startswith(b"{")


def fault_of(event: bytes) -> str:
    """Why ``event`` is not one JSON value in UTF-8; empty if it is. What it may hold is the node's to say."""
    try:
        _RAW.decode(event)
        if not event.isascii():
            event.decode("utf-8")
    except msgspec.DecodeError as error:
        return f"is not JSON: {str(error).removeprefix('JSON is malformed: ')}"
    except UnicodeDecodeError as error:
        return f"is not UTF-8 at byte {error.start}"
    except RecursionError:
        return "is nested too deeply"
    return ""


def _is_batch(start: bytes) -> bool:
    if not _BATCH_HEAD.match(start):
        return False
    try:
        fields = msgspec.json.decode(start.split(b"\n", 1)[0], type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return True  # over several lines, or longer than what was looked at
    return "events" in fields and "event" not in fields


def _skip_line(stream: IO[bytes]) -> int:
    skipped = 0
    while piece := stream.readline(_BUFFER_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _elements(opened: Opened) -> Iterator[str]:
    decode, text = json.JSONDecoder().raw_decode, _Text(opened)
    text.take("[")
    if text.next() == "]":
        text.take("]")
    else:
        while True:
            yield text.value(decode)
            if text.next() == "]":
                text.take("]")
                break
            text.take(",")
    if text.next():
        raise SourceError(f"{opened.name} goes on after its array; make it JSON lines: {text.where}")


class _Text:
    """The text of a stream, of which a part is held."""

    _BLANK = re.compile(r"[ \t\r\n]*")

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._before = "", 0, 0
        self._more = True

    @property
    def where(self) -> str:
        return f"character {self._before + self._at:,}"

    def next(self) -> str:
        """The next character that is not blank, which stays; empty at the end."""
        while True:
            match = self._BLANK.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._fill(_BUFFER_BYTES):
                return self._text[self._at : self._at + 1]

    def take(self, character: str) -> None:
        if self.next() != character:
            raise self._malformed(f"{character} is missing")
        self._at += 1

    def value(self, decode: object) -> str:
        """The text of the next value."""
        assert callable(decode)
        self.next()
        wanted = _BUFFER_BYTES
        while True:
            try:
                _, end = decode(self._text, self._at)
                # A number may go on behind what is held.
                if end < len(self._text) or not self._fill(wanted):
                    value, self._at = self._text[self._at : end], end
                    return value
            except RecursionError:
                raise self._malformed("an element is nested too deeply") from None
            except ValueError as error:
                if len(self._text) - self._at > MAX_ITEM_BYTES or not self._fill(wanted):
                    raise self._malformed(str(error).partition(":")[0]) from None
            wanted *= 2  # what is long is not looked at too often

    def _fill(self, size: int) -> bool:
        if not self._more:
            return False
        piece = self._opened.stream.read(size)
        self._more = bool(piece)
        try:
            more = self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError:
            raise SourceError(f"{self._opened.name} is not UTF-8, after {self.where}; convert it") from None
        self._before += self._at
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more) or self._more

    def _malformed(self, why: str) -> SourceError:
        return SourceError(f"{self._opened.name} is malformed at {self.where}: {why}; correct it from there on")


def _inflated(stream: IO[bytes], head: bytes) -> IO[bytes]:
    # Both follow one member or frame with the next, as the tools that write them do.
    return igzip.open(stream) if head.startswith(_GZIP) else ZstdFile(stream)  # type: ignore[return-value, no-untyped-call]


def _pushed(stream: IO[bytes]) -> tuple[IO[bytes], bytes]:
    """The stream, and what it starts with: a line or 64 KiB."""
    head = b""
    while len(head) < HEAD_BYTES and b"\n" not in head.lstrip(_BLANKS):
        piece = stream.read1(HEAD_BYTES - len(head)) if hasattr(stream, "read1") else stream.read(HEAD_BYTES)
        if not piece:
            break
        head += piece
    return io.BufferedReader(_Pushed(head, stream), _BUFFER_BYTES), head


class _Pushed(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        piece = self._head[: len(buffer)] or self._rest.read1(len(buffer))  # type: ignore[attr-defined]
        self._head = self._head[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)
