"""``novamesh erase``, ``retention`` and ``compact``: what takes events, or the room they took, away."""

import re
import time
from pathlib import Path
from typing import Any

import click

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.cli.store import ask
from novamesh.datadir import DataDirectory
from novamesh.errors import StartError
from novamesh.keys import check_project
from novamesh.store.contract import EraseAnswer, EraseRequest, RetentionAnswer, RetentionRequest

_FOREVER = "forever"


@click.command(epilog="Example: novamesh erase --user u_42 --project default")
@click.option("--user", required=True, help="The user_id whose events are to go.")
@click.option("--project", default="default", show_default=True, help="Whose events; live and test ones.")
@setting_options("data_dir")
@config_option
def erase(user: str, project: str, config_file: Path | None, **flags: Any) -> None:
    """Remove one person's events from store, spool and quarantine of a running node, and say how many.

    Backups made before are not touched; novamesh compact removes the last bytes of them from the database's file.
    """
    directory = DataDirectory(load_config(flags, config_file).data_path)
    check_project(project)
    answers = [ask(directory, EraseRequest(space, user), EraseAnswer) for space in (project, f"{project}.test")]
    events, quarantined = sum(a.events for a in answers), sum(a.quarantined for a in answers)
    click.echo(f"{events:,} events and {quarantined:,} quarantined events of {user} erased")
    if not all(answer.complete for answer in answers):
        raise click.ClickException("the spool may still hold others that came before; run this again")


@click.command(epilog="Example: novamesh retention 90d --project default")
@click.argument("keep", required=False)
@click.option("--project", default="default", show_default=True, help="Whose events.")
@setting_options("data_dir")
@config_option
def retention(keep: str | None, project: str, config_file: Path | None, **flags: Any) -> None:
    """Show for how long events are kept, or change it: 90d, or forever, or default (the setting retention_days).

    What is older, by its timestamp or by when it was received, is removed at once and then every hour.
    """
    directory = DataDirectory(load_config(flags, config_file).data_path)
    request = RetentionRequest() if keep is None else RetentionRequest(check_project(project), _days(keep))
    answer = ask(directory, request, RetentionAnswer)
    for name, days in answer.days.items():
        click.echo(f"{name}\t{_words(days)}")
    click.echo(f"all others\t{_words(answer.otherwise)}")
    if keep is not None:
        click.echo(f"{answer.expired:,} old events removed", err=True)


@click.command(epilog="Example: novamesh compact --data-dir ./novamesh-data")
@setting_options("data_dir")
@config_option
def compact(config_file: Path | None, **flags: Any) -> None:
    """Write the database of a stopped node anew, without the room of events that are gone.

    A running node uses that room again for new events, so this is for giving it back to the disk. Until it is done the
    disk holds both files.
    """
    from novamesh.store.compact import compact as compact_file  # it loads the database

    started = time.monotonic()
    config = load_config(flags, config_file)
    directory = DataDirectory(config.data_path)
    if not directory.open_stopped():
        raise StartError(f"a node runs on {directory.path}; stop it first")
    try:
        before, after = compact_file(config)
    finally:
        directory.close()
    click.echo(f"{before / 1e6:,.1f} MB -> {after / 1e6:,.1f} MB in {time.monotonic() - started:.1f} s")


def _days(text: str) -> int | None:
    if text in (_FOREVER, "default"):
        return 0 if text == _FOREVER else None
    match = re.fullmatch(r"([1-9]\d{0,4})d", text)
    if not match:
        raise click.BadParameter("give a number of days such as 90d, or forever, or default", param_hint="KEEP")
    return int(match[1])


def _words(days: int) -> str:
    return f"{days}d" if days else _FOREVER
