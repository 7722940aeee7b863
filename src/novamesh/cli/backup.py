"""``novamesh backup`` and ``novamesh restore``."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.cli.store import holding
from novamesh.datadir import DataDirectory


@click.command(epilog="Example: novamesh backup /backups/2026-01-31 --data-dir ./novamesh-data")
@click.argument("target", type=click.Path(path_type=Path))
@setting_options("data_dir")
@config_option
def backup(target: Path, config_file: Path | None, **flags: Any) -> None:
    """Copy everything a node keeps to a new directory, while it runs or not.

    A running node goes on accepting and answering; events that come in meanwhile are loaded when the copy is done.
    """
    from novamesh.store import backup as backups  # it loads the database

    started = time.monotonic()
    directory = DataDirectory(load_config(flags, config_file).data_path)
    with _at_rest(directory, flags, config_file) as (events, still):
        manifest = backups.copy(directory, target.absolute(), events, still)
    click.echo(
        f"{manifest.events:,} stored events and what waits in the spool, {manifest.size / 1e6:,.1f} MB,"
        f" in {time.monotonic() - started:.1f} s: {target}"
    )


@click.command(epilog="Example: novamesh restore /backups/2026-01-31 --data-dir ./novamesh-data")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@setting_options("data_dir")
@config_option
def restore(source: Path, config_file: Path | None, **flags: Any) -> None:
    """Make a data directory from a backup. Every file is compared with the backup's list first.

    The directory must be new or empty, or the one that was backed up and have lost its database: then what is in its
    spool is kept and loaded. A node that waits there for its database goes on by itself.
    """
    from novamesh.store import backup as backups  # it loads the database

    directory = DataDirectory(load_config(flags, config_file).data_path)
    if directory.holds(directory.identity):
        directory.open_stopped()
    try:
        manifest = backups.restore(source.absolute(), directory)
    finally:
        directory.close()
    click.echo(f"{manifest.events:,} stored events of {manifest.made_at}: {directory.path}")


@contextlib.contextmanager
def _at_rest(
    directory: DataDirectory, flags: dict[str, Any], config_file: Path | None
) -> Iterator[tuple[int, Callable[[], None]]]:
    """While nothing writes to the database: the number of its events, and what raises if something has."""
    if not directory.open_stopped():
        with holding(directory) as (answer, still):
            yield answer.events, still
        return
    from novamesh.store.opening import open_database  # it loads the database

    try:
        database = open_database(load_config(flags, config_file))
        try:
            events = database.events()
        finally:
            database.close()
        yield events, lambda: None
    finally:
        directory.close()
