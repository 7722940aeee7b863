"""``novamesh write-off``: takes a loss as known, so that the ledger holds again and says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.cli.store import ask
from novamesh.datadir import DataDirectory
from novamesh.errors import NovameshError
from novamesh.store.loss import Loss, LossRequest, LostSegment, WriteOff, WriteOffRequest

REASON_CHARACTERS = 500
Asking = Callable[[LossRequest | WriteOffRequest], Loss]


class NotWrittenOff(NovameshError):
    """Nothing was written off. The message says why and what to do."""


@click.command("write-off", epilog="Example: novamesh write-off --reason 'disk failed on 2026-01-31'")
@click.option("--reason", required=True, help="Why these events are lost; kept for ever, and shown by novamesh verify.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@setting_options("data_dir")
@config_option
def write_off(reason: str, yes: bool, config_file: Path | None, **flags: Any) -> None:
    """Take accepted events that the spool has lost as known, on a running node or a stopped one.

    Shows what is lost and asks first. The node is well again then, and novamesh verify goes on saying what was lost.
    No file is deleted; what comes back later is stored and no longer written off.
    """
    why = _reason(reason)
    directory = DataDirectory(load_config(flags, config_file).data_path)
    with _asking(directory, flags, config_file) as tell:
        loss = _agreed(tell(LossRequest()))
        click.echo("\n".join([f"lost: {counted(loss.events)}", *map(segment_line, loss.segments)]), err=True)
        if not yes:
            click.confirm("Write them off? This stays in the ledger for ever.", abort=True, err=True)
        written = _agreed(tell(WriteOffRequest(why, loss)))
    click.echo(f"written off: {counted(written.events)}")


def counted(events: dict[str, int]) -> str:
    """How many events of which spaces."""
    return ", ".join(f"{count:,} {'event' if count == 1 else 'events'} of {space}" for space, count in events.items())


def segment_line(segment: LostSegment) -> str:
    """A segment, what is wrong with it, and where it is kept."""
    where = "missing" if segment.missing else f"kept in spool/quarantine, {segment.size:,} bytes"
    return f"  {segment.file}: {where}; from offset {segment.offset}: {_plain(segment.cause)}"


def record_lines(record: WriteOff) -> list[str]:
    """One write-off, for people."""
    when = datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    first = f"written off at {when}: {counted(record.events)}, because: {record.reason}"
    return [first, *map(segment_line, record.segments)]


@contextmanager
def _asking(directory: DataDirectory, flags: dict[str, Any], config_file: Path | None) -> Iterator[Asking]:
    """What asks the store of a node that runs, or else its files."""
    if not directory.open_stopped():
        yield lambda request: ask(directory, request, Loss)
        return
    from novamesh.store.offline import write_off_stopped  # it loads the database

    config = load_config(flags, config_file)
    try:
        yield lambda request: write_off_stopped(config, directory, request)
    finally:
        directory.close()


def _agreed(loss: Loss) -> Loss:
    if loss.refused is not None:
        raise NotWrittenOff(loss.refused)
    return loss


def _reason(text: str) -> str:
    plain = " ".join(_plain(text).split())
    if not plain or len(plain) > REASON_CHARACTERS:
        raise click.BadParameter(f"say why, in 1 to {REASON_CHARACTERS} characters", param_hint="--reason")
    return plain


def _plain(text: str) -> str:
    """Nothing that would control a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
