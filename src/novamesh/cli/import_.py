"""``novamesh import``."""

import contextlib
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import click
import msgspec

from novamesh.cli.address import node_key, node_options, node_url
from novamesh.cli.progress import Meter
from novamesh.client import Client, ClientError, Refused
from novamesh.errors import NovameshError
from novamesh.transfer import progress, source, tables
from novamesh.transfer.importing import Importer
from novamesh.transfer.progress import Counts, Fingerprint, Progress
from novamesh.transfer.source import FORMATS, Item, Opened, Place, SourceError

RETRY_S = 300
PATIENCE_S = 10.0
RATE_LIMITED = 429
STDIN = "-"


class Options(msgspec.Struct, frozen=True):
    """What is the same for all files of a command."""

    kind: str
    mapping: tables.Mapping
    in_flight: int
    state_dir: Path | None
    go_on: bool
    sender: str

    def text(self, kind: str) -> str:
        """What batches depend on, in words: as the command line had it."""
        parts = [f"--format {kind}"]
        parts += [f"--map {column}={target}" for column, target in sorted(self.mapping.targets.items())]
        parts += [f"--event-name {self.mapping.event_name}"] if self.mapping.event_name else []
        parts += [f"--delimiter {self.mapping.delimiter!r}"] if self.mapping.delimiter else []
        return " ".join([*parts, "--strings"] if self.mapping.strings else parts)


@click.command("import", epilog="Example: novamesh import events.ndjson.gz --url https://ingest-eu5.example")
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="FILE...")
@click.option("--format", "kind", type=click.Choice(("auto", *FORMATS)), default="auto", help="Default: by content.")
@click.option("--event-name", default="", metavar="NAME", help="For rows (CSV, Parquet) without an event of their own.")
@click.option("--map", "maps", multiple=True, metavar="COLUMN=FIELD", help="What a column becomes; empty: left out.")
@click.option("--strings", is_flag=True, help="Make no numbers, booleans and objects of CSV values.")
@click.option("--delimiter", default="", metavar="CHAR", help="Between the values of a CSV; default: by its header.")
@click.option("--in-flight", type=click.IntRange(1, 64), default=4, show_default=True, help="Batches sent at once.")
@click.option(
    "--state-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where progress and refused lines are written; default: beside the file.",
)
@click.option("--retry", "retry_s", type=click.IntRange(0), default=RETRY_S, show_default=True, metavar="SECONDS")
@click.option("--go-on", is_flag=True, help="Go on though file or key have changed, or it is long ago.")
@node_options
def import_command(
    files: tuple[str, ...],
    kind: str,
    event_name: str,
    maps: tuple[str, ...],
    strings: bool,
    delimiter: str,
    in_flight: int,
    state_dir: Path | None,
    retry_s: int,
    go_on: bool,
    url: str | None,
    key: str | None,
    config_file: Path | None,
    **flags: Any,
) -> None:
    """Send the events in files to a node: JSON lines, a JSON array, CSV or Parquet, plain, gzip or zstd; - is standard
    input.

    It may be interrupted and killed: the same command goes on, and each event is stored once. --retry is how long a
    node may be away or full. What is refused goes to FILE.refused.ndjson. Exit status: 0 if every event was accepted,
    else 1.
    """
    if len(delimiter.replace("\\t", "\t")) > 1:
        raise click.BadParameter("give one character, or \\t", param_hint="--delimiter")
    mapping = tables.Mapping(_targets(maps), event_name, strings, delimiter.replace("\\t", "\t"))
    mapping.check()
    options = Options(kind, mapping, in_flight, state_dir, go_on, progress.sender_of(node_key(key)))
    stop = threading.Event()
    address, patience = node_url(url, config_file, flags), Patience()
    with Client(address, node_key(key), retry_s=retry_s, stop=stop, on_wait=patience.tell) as client:
        # One after the other, to the end or to the first that cannot go on.
        done = [_import(client, name, options, stop) for name in files if not stop.is_set()]
    if stop.is_set():
        raise SystemExit(1)
    # Only now: whoever gives the same command again must not send the files before the one that was interrupted again.
    for importer in done:
        importer.forget()
    if any(importer.counts.refused for importer in done):
        raise SystemExit(1)


def _import(client: Client, name: str, options: Options, stop: threading.Event) -> Importer:
    """Import one file, to its end or until ``stop`` is set. Raises :class:`NovameshError`."""
    path = None if name == STDIN else Path(name)
    opened = Opened(path)
    with contextlib.ExitStack() as stack:
        stack.callback(opened.close)
        kind = _kind(opened, options)
        # What cannot be read again, such as a pipe, cannot be gone on with either.
        state, refused = _state_files(path if opened.regular else None, options.state_dir)
        if state is not None:
            stack.enter_context(progress.alone(state))
        begun = _progress(client, path, state, kind, options)
        context, items = _items(opened, kind, begun.place, options.mapping)
        importer = Importer(client, begun, state, refused, context=context, in_flight=options.in_flight, stop=stop)
        _run(importer, opened, items, refused)
        return importer


def _run(importer: Importer, opened: Opened, items: Iterable[Item], refused: Path) -> None:
    counts = importer.counts
    if counts.read:
        click.echo(f"{opened.name}: going on behind line {importer.progress.line:,}", err=True)
    meter = Meter(opened.name, counts.read)
    with _signals(importer), meter:
        try:
            done = importer.run(items, lambda: meter.show(counts.read, opened.fraction))
        except NovameshError:
            meter.end()
            click.echo(f"{opened.name}: {_summary(counts)} so far, {_up_to(importer)}", err=True)
            raise
    click.echo(f"{opened.name}: {_summary(counts)}{meter.rate(counts.read)}", err=True)
    if counts.refused:
        click.echo(f"{opened.name}: what was refused, and why: {refused}", err=True)
    if not done:
        click.echo(f"{opened.name}: interrupted; {_up_to(importer)}", err=True)


def _up_to(importer: Importer) -> str:
    place = f"up to line {importer.progress.line:,}"
    if importer.resumable:
        return f"{place}; run the same command to go on"
    # The same command would send all of it again.
    more = "" if importer.progress.settled else ", and some lines behind it may have been"
    return f"{place}; this cannot be gone on with: what is up to there was sent{more}"


def _summary(counts: Counts) -> str:
    return f"{counts.read:,} read = {counts.accepted:,} accepted + {counts.refused:,} refused"


def _targets(maps: Iterable[str]) -> dict[str, str]:
    targets: dict[str, str] = {}
    for column, target in map(_pair, maps):
        if column in targets:
            raise click.BadParameter(f"the column {column} is given twice", param_hint="--map")
        targets[column] = target
    return targets


def _pair(text: str) -> tuple[str, str]:
    column, equals, target = text.rpartition("=")
    if not equals or not column:
        raise click.BadParameter("give a column and a field, such as ts=timestamp", param_hint="--map")
    return column, target


def _kind(opened: Opened, options: Options) -> str:
    kind = opened.format if options.kind == "auto" else options.kind
    if not kind and not opened.head:
        return "ndjson"  # empty
    if not kind:
        # A pipe has no name; whoever names columns has a table.
        if options.mapping != tables.Mapping():
            return "csv"
        raise SourceError(f"{opened.name} is neither JSON nor Parquet; if it is CSV, say --format csv")
    return kind


def _state_files(path: Path | None, state_dir: Path | None) -> tuple[Path | None, Path]:
    """Where progress is kept (standard input has none), and where refused lines go."""
    if path is None:
        return None, (state_dir or Path()) / "stdin.refused.ndjson"
    name = path.name
    if state_dir is not None:
        # Files of several directories may have one name.
        name += "." + hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    directory = state_dir or path.parent
    return directory / (name + progress.SUFFIX), directory / f"{name}.refused.ndjson"


def _progress(client: Client, path: Path | None, state: Path | None, kind: str, options: Options) -> Progress:
    text = options.text(kind)
    if path is None or state is None:
        return progress.begin(client.url, options.sender, text, Fingerprint(0, "", ""))
    file = progress.fingerprint(path)
    found = progress.resume(state, client.url, options.sender, text, file, go_on=options.go_on)
    return found or progress.begin(client.url, options.sender, text, file)


def _items(opened: Opened, kind: str, start: Place, mapping: tables.Mapping) -> tuple[bytes, Iterable[Item]]:
    """The context that all share, and the items behind ``start``."""
    if kind in ("ndjson", "json") and mapping != tables.Mapping():
        raise SourceError(
            f"{opened.name} is JSON: --event-name, --map, --strings and --delimiter are for CSV and Parquet"
        )
    if kind == "json" and source.is_batch(opened):
        with source.reading(opened):
            context, events = source.read_batch(opened)
        numbered = enumerate(events[start.position :], start.position + 1)
        return context, (Item(Place(n, n), event, source.fault_of(event)) for n, event in numbered)
    readers: dict[str, Callable[[], Iterable[Item]]] = {
        "ndjson": lambda: source.read_lines(opened, start),
        "json": lambda: source.read_array(opened, start),
        "csv": lambda: tables.read_csv(opened, start, mapping),
        "parquet": lambda: tables.read_parquet(opened, start, mapping, lambda text: click.echo(text, err=True)),
    }
    return b"", _guarded(opened, readers[kind]())


def _guarded(opened: Opened, items: Iterable[Item]) -> Iterable[Item]:
    with source.reading(opened):
        yield from items


class Patience:
    """Says now and then what is waited for: called by every thread that waits."""

    def __init__(self) -> None:
        self._last = -PATIENCE_S
        self._lock = threading.Lock()

    def tell(self, error: ClientError) -> None:
        with self._lock:
            now = time.monotonic()
            # A key with a rate meets its limit all the time: that is no news.
            if (isinstance(error, Refused) and error.status == RATE_LIMITED) or now - self._last < PATIENCE_S:
                return
            self._last = now
        click.echo(f"waiting: {error}", err=True)


class _signals:  # noqa: N801 - used as a block
    """The first Ctrl-C or SIGTERM stops in order, a second one at once."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, importer: Importer) -> None:
        self._importer = importer
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._handle) for number in self._NUMBERS}

    def __exit__(self, *_error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        for number in self._NUMBERS:
            signal.signal(number, signal.SIG_DFL)
        self._importer.interrupted()
