"""``novamesh export``."""

from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from novamesh.cli.address import node_key, node_options, node_url
from novamesh.cli.progress import Meter
from novamesh.client import Client
from novamesh.errors import NovameshError
from novamesh.transfer.exporting import FORMATS, Day, Export

RETRY_S = 300


class Date(click.ParamType[date]):
    """A day, such as 2026-01-31."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail("give a day such as 2026-01-31", param, ctx)


@click.command(epilog="Example: novamesh export ./events --from 2026-01-01 --to 2026-01-31")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--format", "kind", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True)
@click.option("--from", "first", type=Date(), metavar="DAY", help="The first day (UTC); default: of the oldest event.")
@click.option("--to", "last", type=Date(), metavar="DAY", help="The last day, included; default: of the newest event.")
@click.option("--where", default="", metavar="SQL", help="Only events for which this is true: \"event = 'purchase'\".")
@node_options
def export(
    directory: Path,
    kind: str,
    first: date | None,
    last: date | None,
    where: str,
    url: str | None,
    key: str | None,
    config_file: Path | None,
    **flags: Any,
) -> None:
    """Write a node's events to a directory, a file for each day (UTC, by timestamp): DIR/2026-01-31.parquet.

    A file gets its name when it is whole. The same command goes on after an interruption, and fetches what has come
    since: days that are whole are left alone, and today is written again. Exit status: 0 if all days are whole.
    """
    with Client(node_url(url, config_file, flags), node_key(key), retry_s=RETRY_S) as client:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NovameshError(f"cannot make {directory}: {error.strerror}") from None
        work = Export(client, directory, kind, where.strip())
        days = work.days(first, last)
        wanted = [day for day in days if not work.is_whole(day)]
        events, size = _write(work, wanted)
    left = len(days) - len(wanted)
    old = f"; {left:,} days were whole already" if left else ""
    click.echo(f"{events:,} events of {len(wanted):,} days, {size / 1e6:,.1f} MB: {directory}{old}", err=True)


def _write(work: Export, days: list[Day]) -> tuple[int, int]:
    total = sum(day.events for day in days)
    events = size = 0
    with Meter("export", 0) as meter:

        def show(done: int) -> None:
            meter.show(done, done / total if total else None)

        for day in days:
            written = work.write(day, partial(show, events))
            events += written.events
            size += written.bytes
            if day.date >= datetime.now(UTC).date():
                meter.end()
                click.echo(f"{day.date} is not over: run this again to have all of it", err=True)
    return events, size
