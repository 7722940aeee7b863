"""An import: items in batches, several of them under way, counted in their order.

Whatever happens to the process, the same import goes on where it was: see :mod:`novamesh.transfer.progress`.
"""

import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from novamesh.client import Client, ClientError, Refused, Stopped
from novamesh.errors import NovameshError
from novamesh.event.model import MAX_EVENTS
from novamesh.transfer.progress import Counts, Progress, save
from novamesh.transfer.source import Item, Place, SourceError

BATCH_BYTES = 4 * 1024 * 1024
SAVE_S = 0.5
# The node may have taken none of these; then it may still take the half of them.
_PARTED = frozenset(("invalid_event", "invalid_json", "invalid_encoding"))
_TOO_LARGE = 413  # also a proxy's, which has no code


class Refusal(NamedTuple):
    """One item that was not accepted. ``original`` is what was read, or the event made of it."""

    line: int
    reason: str
    original: bytes


class Batch(NamedTuple):
    """Items that follow each other: ``events``, each of the line in ``lines``, and those that cannot be any."""

    start: int
    end: Place
    events: list[bytes]
    lines: list[int]
    faults: list[Refusal]


def batches(items: Iterable[Item], start: Place) -> Iterator[Batch]:
    """Always the same batches for the same items from the same place.

    Raises :class:`SourceError` if the source does, once what came before it is given.
    """
    batch, size = Batch(start.position, start, [], [], []), 0
    failure: SourceError | None = None
    try:
        for place, event, fault in items:
            count = len(batch.events) + len(batch.faults)
            if count and (count >= MAX_EVENTS or size + len(event) > BATCH_BYTES):
                yield batch
                batch, size = Batch(batch.end.position, batch.end, [], [], []), 0
            if fault:
                batch.faults.append(Refusal(place.line, fault, event))
            else:
                batch.events.append(event)
                batch.lines.append(place.line)
            size += len(event) + 1
            batch = batch._replace(end=place)
    except SourceError as error:
        failure = error
    if batch.events or batch.faults:
        yield batch
    if failure:
        raise failure


class Importer:
    """Sends batches. ``path`` is where progress is kept, if it is; ``refused`` where what was refused goes."""

    def __init__(
        self,
        client: Client,
        progress: Progress,
        path: Path | None,
        refused: Path,
        *,
        context: bytes = b"",
        in_flight: int = 4,
        stop: threading.Event,
    ) -> None:
        self.progress = progress
        self._client = client
        self._path = path
        self._refused = RefusedFile(refused, progress.refused_bytes)
        progress.refused_bytes = self._refused.size
        self._context = context
        self._in_flight = in_flight
        self._stop = stop
        self._saved = 0.0
        self._waiting: deque[tuple[Batch, Future[list[Refusal]]]] = deque()
        self.reading = False

    @property
    def counts(self) -> Counts:
        return self.progress.counts

    @property
    def resumable(self) -> bool:
        """Whether a later run can go on from where this one stops."""
        return self._path is not None

    def run(self, items: Iterable[Item], shown: Callable[[], None]) -> bool:
        """Send everything; ``shown`` is called now and then. Returns whether all of it was, and not stopped.

        Raises :class:`NovameshError` if the file cannot be read on, or the node does not take any more; what was
        answered until then is counted and saved.
        """
        self.progress.settled = False
        self._save()
        failure: NovameshError | None = None
        with ThreadPoolExecutor(self._in_flight, "import") as pool:
            try:
                for batch in self._read(batches(items, self.progress.place)):
                    self._waiting.append((batch, pool.submit(self._deliver, batch)))
                    if len(self._waiting) >= 2 * self._in_flight:
                        self._settle()
                    self._save_soon()
                    shown()
            except Interrupted:
                pass
            except NovameshError as error:
                failure = error
                if isinstance(error, ClientError):  # what waits would fail as well
                    self._stop.set()
            failure = self._drain(shown) or failure
        try:
            self._save()
        finally:
            self._refused.close()
        if failure and not isinstance(failure, Stopped):
            raise failure
        return not self._stop.is_set()

    def forget(self) -> None:
        """Remove the progress file: the next import of this file is another one."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, source: Iterator[Batch]) -> Iterator[Batch]:
        """Only while it reads may a signal break in: see :meth:`interrupted`."""
        while not self._stop.is_set():
            self.reading = True
            try:
                batch = next(source, None)
            finally:
                self.reading = False
            if batch is None:
                return
            yield batch

    def interrupted(self) -> None:
        """Stop in order; for a signal handler. A read that waits for more is given up."""
        self._stop.set()
        if self.reading:
            self.reading = False
            raise Interrupted

    def _drain(self, shown: Callable[[], None]) -> NovameshError | None:
        """Wait for what is under way. The first that was not answered ends what can be counted, for it is in order."""
        try:
            while self._waiting:
                self._settle()
                shown()
        except NovameshError as error:
            self._stop.set()
            self.progress.settled = False
            return error
        self.progress.settled = True
        return None

    def _settle(self) -> None:
        """Count the oldest batch. Raises what it met."""
        batch, future = self._waiting[0]
        refusals = sorted([*batch.faults, *future.result()], key=lambda refusal: refusal.line)
        progress, counts = self.progress, self.progress.counts
        progress.refused_bytes = self._refused.add(refusals)
        self._waiting.popleft()
        read = len(batch.events) + len(batch.faults)
        counts.read += read
        counts.refused += len(refusals)
        counts.accepted += read - len(refusals)
        progress.position, progress.line = batch.end

    def _deliver(self, batch: Batch) -> list[Refusal]:
        """Send one batch. Raises :class:`ClientError`."""
        if not batch.events:
            return []
        body = self._body(batch.events)
        return self._send(batch.events, batch.lines, self.progress.key(batch.start, body), body)

    def _send(self, events: list[bytes], lines: list[int], key: str, body: bytes) -> list[Refusal]:
        try:
            rejected = self._client.send_body(body, key, partial=True).rejected
        except Refused as error:
            if error.code not in _PARTED and error.status != _TOO_LARGE:
                raise
            rejected = error.details
            if not rejected or {detail.index for detail in rejected} != set(range(len(events))):
                return self._send_parts(events, lines, key, str(error))
        reasons: dict[int, list[str]] = {}
        for detail in rejected:
            reasons.setdefault(detail.index or 0, []).append(detail.message)
        return [
            Refusal(lines[index], " ".join(texts), self._original(events[index])) for index, texts in reasons.items()
        ]

    def _send_parts(self, events: list[bytes], lines: list[int], key: str, reason: str) -> list[Refusal]:
        """Which of them is it that the node refuses them all for?"""
        if len(events) == 1:
            return [Refusal(lines[0], reason, self._original(events[0]))]
        half = len(events) // 2
        found = []
        for name, part in (("a", slice(0, half)), ("b", slice(half, None))):
            found += self._send(events[part], lines[part], key + name, self._body(events[part]))
        return found

    def _original(self, event: bytes) -> bytes:
        """The event with the context it shared, by itself: as the node would have put them together."""
        if not self._context:
            return event
        try:
            fields = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
            shared = msgspec.json.decode(self._context, type=dict[str, msgspec.Raw])
            own = msgspec.json.decode(fields.get("context", b"null"), type=dict[str, msgspec.Raw] | None)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return event  # what is no object has no context
        return msgspec.json.encode({**fields, "context": {**shared, **(own or {})}})

    def _body(self, events: list[bytes]) -> bytes:
        context = b', "context": ' + self._context if self._context else b""
        return b'{"events": [' + b",".join(events) + b"]" + context + b"}"

    def _save_soon(self) -> None:
        if time.monotonic() - self._saved >= SAVE_S:
            self._save()

    def _save(self) -> None:
        self._refused.flush()
        if self._path is not None:
            save(self._path, self.progress)
        self._saved = time.monotonic()


class Interrupted(Exception):
    """A signal came while a source was read."""


class RefusedError(NovameshError):
    """What was refused cannot be written down. The message says why and what to do."""


class RefusedFile:
    """``FILE.refused.ndjson``: made with the first refusal. ``size`` bytes of it belong to this import.

    If it was moved away or cut meanwhile, what follows goes behind what is left. Raises :class:`RefusedError`.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = 0
        self._file: IO[bytes] | None = None
        if not size:
            return
        try:
            with path.open("r+b") as file:
                self.size = min(size, os.fstat(file.fileno()).st_size)
                file.truncate(self.size)  # what is behind was not counted: it comes again
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unwritable(error) from None

    def add(self, refusals: list[Refusal]) -> int:
        """Write them, all or none. Returns the file's size."""
        if not refusals:
            return self.size
        data = b"".join(map(_record, refusals))
        try:
            if self._file is None:
                self._file = self.path.open("ab" if self.size else "wb", buffering=0)
            self._write(self._file, data)
        except OSError as error:
            raise self._unwritable(error) from None
        self.size += len(data)
        return self.size

    def flush(self) -> None:
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._unwritable(error) from None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, file: IO[bytes], data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.seek(self.size)
                file.truncate()
            raise

    def _unwritable(self, error: OSError) -> RefusedError:
        return RefusedError(
            f"what is refused cannot be written to {self.path}: {error.strerror}; make room or give --state-dir DIR"
        )


def _record(refusal: Refusal) -> bytes:
    original: Any = msgspec.Raw(refusal.original)
    try:
        msgspec.json.decode(refusal.original, type=msgspec.Raw)
        refusal.original.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        original = refusal.original.decode("utf-8", "replace")
    record = {"line": refusal.line, "reason": refusal.reason, "original": original}
    with contextlib.suppress(UnicodeEncodeError):
        return msgspec.json.encode(record) + b"\n"
    return json.dumps(record | {"original": str(original)}).encode() + b"\n"
