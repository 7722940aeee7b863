"""The command line: thin commands. Data goes to stdout, logs and progress to stderr."""

import sys

import click

from novamesh import __version__
from novamesh.cli.backup import backup, restore
from novamesh.cli.completion import PROGRAM, VARIABLE, completion
from novamesh.cli.doctor import doctor
from novamesh.cli.export import export
from novamesh.cli.import_ import import_command
from novamesh.cli.keys import keys
from novamesh.cli.quarantine import quarantine
from novamesh.cli.query import query
from novamesh.cli.serve import serve
from novamesh.cli.status import status
from novamesh.cli.tail import tail
from novamesh.cli.upkeep import compact, erase, retention
from novamesh.cli.verify import verify
from novamesh.cli.write_off import write_off
from novamesh.errors import NovameshError


@click.group(epilog="Example: novamesh serve --data-dir ./novamesh-data --port 8000")
@click.version_option(__version__, prog_name="novamesh")
def cli() -> None:
    """One event-ingestion node: events in over HTTP, on disk before the 202, in SQL a second later."""


for command in (
    *(serve, keys, query, import_command, export, tail, status, verify, doctor),
    *(quarantine, write_off, backup, restore, erase, retention, compact, completion),
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run a command: the process's own, or this one. Exit status: 0, 1 failed, 2 wrong usage."""
    try:
        cli(arguments, prog_name=PROGRAM, complete_var=VARIABLE)
    except NovameshError as error:
        click.echo(f"novamesh: {error}", err=True)
        sys.exit(1)


__all__ = ["cli", "main"]
