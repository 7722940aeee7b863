"""Batches are always the same, counted in order, and parted when the node does not say which event is at fault."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from novamesh.client import Client, Refused
from novamesh.transfer import importing
from novamesh.transfer.importing import Importer, Refusal, RefusedError, RefusedFile, batches
from novamesh.transfer.progress import Fingerprint, Progress, begin
from novamesh.transfer.source import Item, Place, SourceError
from tests.scripted import Answer, Request, Scripted, accept, scripted


def items(count: int, start: int = 0) -> Iterator[Item]:
    for n in range(start, count):
        yield Item(Place((n + 1) * 10, n + 1), b'{"event": "e", "properties": {"n": %d}}' % n)


def test_batches_are_the_same_from_every_place() -> None:
    whole = list(batches(items(1234), Place()))
    assert [len(batch.events) for batch in whole] == [500, 500, 234]
    assert [(batch.start, batch.end) for batch in whole] == [
        (0, Place(5000, 500)),
        (5000, Place(10000, 1000)),
        (10000, Place(12340, 1234)),
    ]
    assert list(batches(items(1234, 500), Place(5000, 500))) == whole[1:]


def test_batches_have_a_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_BYTES", 1000)
    whole = list(batches(items(100), Place()))
    assert max(sum(map(len, batch.events)) for batch in whole) <= 1000
    assert [event for batch in whole for event in batch.events] == [item.event for item in items(100)]
    # One that is larger alone goes alone: the node says what it thinks of it.
    large = [Item(Place(n, n), b"x" * 5000) for n in (1, 2)]
    assert [len(batch.events) for batch in batches(large, Place())] == [1, 1]


def importer(server: Scripted, tmp_path: Path, progress: Progress | None = None, **options: Any) -> Importer:
    begun = progress or begin(server.url, "", "", Fingerprint(0, "", ""))
    stop = threading.Event()
    client = Client(server.url, "k", retry_s=0, stop=stop)
    return Importer(client, begun, tmp_path / "state", tmp_path / "refused", stop=stop, **options)


def close(one: Importer) -> None:
    one._client.close()


def refused(tmp_path: Path) -> list[tuple[int, str]]:
    lines = (tmp_path / "refused").read_text().splitlines()
    return [(record["line"], record["reason"]) for record in map(json.loads, lines)]


def test_the_event_at_fault_is_found_by_halves(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        numbers = [event["properties"]["n"] for event in request.events]
        if 321 in numbers or (7 in numbers and len(numbers) > 1):
            return Answer(413, {"error": "payload_too_large", "message": "Too large."})
        return accept(request)

    with scripted(answer) as server:
        one = importer(server, tmp_path)
        assert one.run(items(1000), lambda: None)
        close(one)
    counts = one.counts
    assert (counts.read, counts.accepted, counts.refused) == (1000, 999, 1)
    assert refused(tmp_path) == [(322, "Too large.")]
    taken = [r for r in server.requests if accept(r) == answer(r)]
    assert sorted(e["properties"]["n"] for r in taken for e in r.events) == [n for n in range(1000) if n != 321]
    assert len({request.headers["idempotency-key"] for request in server.requests}) == len(server.requests)


def test_what_a_proxy_finds_too_large_is_parted_as_well(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        return Answer(413, b"<html>Too large</html>") if len(request.events) > 30 else accept(request)

    with scripted(answer) as server:
        one = importer(server, tmp_path)
        assert one.run(items(100), lambda: None)
        close(one)
    assert (one.counts.accepted, one.counts.refused) == (100, 0)


def test_all_reasons_of_an_event_stand_in_one_record(tmp_path: Path) -> None:
    details = [{"pointer": "/events/1/a", "message": text, "index": 1} for text in ("One.", "Two.")]
    body = {"accepted": True, "events": 2, "batch_id": "b", "rejected": details}
    with scripted(Answer(202, body)) as server:
        one = importer(server, tmp_path)
        one.run([*items(2), Item(Place(30, 3), b"\xff{", "is not JSON"), *items(4, 3)], lambda: None)
        close(one)
    assert refused(tmp_path) == [(2, "One. Two."), (3, "is not JSON")]
    assert (one.counts.read, one.counts.accepted, one.counts.refused) == (4, 2, 2)
    assert json.loads((tmp_path / "state").read_bytes())["line"] == 4
    one.forget()
    assert not (tmp_path / "state").exists()


def test_what_was_refused_but_not_counted_is_not_written_twice(tmp_path: Path) -> None:
    with scripted(accept) as server:
        begun = begin(server.url, "", "", Fingerprint(0, "", ""))
        (tmp_path / "refused").write_bytes(b'{"line":1,"reason":"r"}\n{"line":2,"reason":"again"}\n{"li')
        begun.refused_bytes = len(b'{"line":1,"reason":"r"}\n')
        one = importer(server, tmp_path, begun)
        one.run([Item(Place(20, 2), b"{", "is bad")], lambda: None)
        close(one)
    assert refused(tmp_path) == [(1, "r"), (2, "is bad")]


def test_a_refused_file_that_was_moved_away_or_cut_is_begun_anew_or_gone_on_with(tmp_path: Path) -> None:
    path, lines = tmp_path / "refused", b'{"line":1,"reason":"r"}\n' * 2
    for held, kept in ((None, b""), (lines[: len(lines) // 2], lines[: len(lines) // 2]), (lines, lines)):
        path.unlink(missing_ok=True)
        if held is not None:
            path.write_bytes(held)
        file = RefusedFile(path, len(lines))
        assert file.size == len(kept)
        size = file.add([Refusal(3, "new", b"{}")])
        file.close()
        assert path.read_bytes() == kept + b'{"line":3,"reason":"new","original":{}}\n'
        assert size == path.stat().st_size


def test_what_is_refused_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: nothing that could not be written down is counted, and no part of it is left."""
    (tmp_path / "refused").mkdir()
    with pytest.raises(RefusedError, match="--state-dir"):
        RefusedFile(tmp_path / "refused", 0).add([Refusal(1, "r", b"{}")])
    with pytest.raises(RefusedError, match="--state-dir"):
        RefusedFile(tmp_path / "refused", 10)
    (tmp_path / "refused").rmdir()

    class Full:
        """As a file on a disk with room for 5 bytes."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, data: Any) -> int:
            if self._file.tell() >= 5:
                raise OSError(28, "No space left on device")
            return int(self._file.write(data[:5]))

    opened: Callable[..., Any] = Path.open

    def full_or_opened(path: Path, *arguments: Any, **options: Any) -> Any:
        file = opened(path, *arguments, **options)
        return Full(file) if arguments == ("wb",) and path.name == "refused" else file

    monkeypatch.setattr(Path, "open", full_or_opened)
    with scripted(accept) as server:
        one = importer(server, tmp_path)
        with pytest.raises(RefusedError, match="No space left"):
            one.run([*items(600), Item(Place(9000, 900), b"{", "is bad")], lambda: None)
        close(one)
    assert (tmp_path / "refused").read_bytes() == b""
    saved = json.loads((tmp_path / "state").read_bytes())
    assert (saved["line"], saved["counts"]["read"], saved["refused_bytes"]) == (500, 500, 0)


def test_a_node_that_takes_no_more_stops_it_and_what_was_answered_is_saved(tmp_path: Path) -> None:
    def answer(request: Request) -> Answer:
        if any(event["properties"]["n"] >= 1500 for event in request.events):
            return Answer(401, {"error": "unauthorized", "message": "API key required."})
        return accept(request)

    with scripted(answer) as server:
        one = importer(server, tmp_path, in_flight=1)
        with pytest.raises(Refused, match="API key"):
            one.run(items(100_000), lambda: None)
        close(one)
        assert len(server.requests) < 10
    saved = json.loads((tmp_path / "state").read_bytes())
    assert (saved["line"], saved["counts"]["accepted"], saved["settled"]) == (1500, 1500, False)


def test_a_source_that_breaks_off_is_imported_up_to_there(tmp_path: Path) -> None:
    def broken() -> Iterator[Item]:
        yield from items(700)
        raise SourceError("damaged")

    with scripted(accept) as server:
        one = importer(server, tmp_path)
        with pytest.raises(SourceError, match="damaged"):
            one.run(broken(), lambda: None)
        close(one)
    saved = json.loads((tmp_path / "state").read_bytes())
    assert (saved["line"], saved["settled"]) == (700, True)
    assert sum(len(request.events) for request in server.requests) == 700


def test_the_context_goes_with_each_batch(tmp_path: Path) -> None:
    with scripted(accept) as server:
        one = importer(server, tmp_path, context=b'{"app": "shop"}')
        one.run(items(600), lambda: None)
        close(one)
    assert [json.loads(request.body)["context"] for request in server.requests] == [{"app": "shop"}] * 2


def test_what_is_refused_keeps_the_context_it_shared(tmp_path: Path) -> None:
    details = [{"pointer": "/events/0", "message": "No.", "index": n} for n in range(3)]
    body = {"accepted": True, "events": 0, "batch_id": "b", "rejected": details}
    events = [b'{"event": "a"}', b'{"event": "b", "context": {"app": "own", "x": 10000000000000000001.50}}', b"[1]"]
    with scripted(Answer(202, body)) as server:
        one = importer(server, tmp_path, context=b'{"app": "shop", "v": 12345678901234567890}')
        one.run([Item(Place(n, n), event) for n, event in enumerate(events, 1)], lambda: None)
        close(one)
    originals = [line.partition('"original":')[2] for line in (tmp_path / "refused").read_text().splitlines()]
    assert originals == [
        '{"event":"a","context":{"app":"shop","v":12345678901234567890}}}',
        '{"event":"b","context":{"app":"own","v":12345678901234567890,"x":10000000000000000001.50}}}',
        "[1]}",
    ]
