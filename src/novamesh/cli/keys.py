"""``novamesh keys create | list | revoke``."""

import re
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.datadir import DataDirectory
from novamesh.errors import StartError
from novamesh.keys import DEFAULT_SCOPES, SCOPES, KeyStore

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group(epilog="Example: novamesh keys create --scope ingest --name web --expires 90d")
def keys() -> None:
    """Create, list and revoke API keys. Changes take effect within a second, without a restart."""


@keys.command(epilog="Example: export NOVAMESH_KEY=$(novamesh keys create --project default --scope ingest)")
@click.option("--project", default="default", show_default=True, help="Whose events the key is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="May be given more than once; default ingest and query.",
)
@click.option("--name", default="", help="What the key is for, for the list.")
@click.option("--expires", default=None, help="Lifetime, such as 90d, 12h or 30m; default: none.")
@click.option("--test", is_flag=True, help="Make an nm_test_ key, whose events are kept apart.")
@click.option("--rate", type=click.IntRange(0), help="Events a second it may send; 0: no limit; default: key_rate.")
@click.option("--burst", type=click.IntRange(1), help="Events it may send at once; default: key_burst.")
@click.option("--origin", "origins", multiple=True, help="For web pages of this origin alone; may be given again.")
@setting_options("data_dir")
@config_option
def create(
    project: str,
    scopes: tuple[str, ...],
    name: str,
    expires: str | None,
    test: bool,
    rate: int | None,
    burst: int | None,
    origins: tuple[str, ...],
    config_file: Path | None,
    **flags: Any,
) -> None:
    """Make a key and print it, alone, once."""
    expires_at = None if expires is None else int(time.time()) + _duration_s(expires)
    store = _open(flags, config_file)
    click.echo(store.create(project, scopes or DEFAULT_SCOPES, name, expires_at, test, rate, burst, origins))


@keys.command("list", epilog="Example: novamesh keys list")
@setting_options("data_dir")
@config_option
def list_keys(config_file: Path | None, **flags: Any) -> None:
    """Print all keys, tab-separated: id, project, kind, scopes, state, created, name, rate/burst, origins."""
    now = time.time()
    for key in _open(flags, config_file).all():
        state = "usable" if key.usable(now) else "revoked" if key.revoked_at else "expired"
        kind = "test" if key.test else "live"
        created = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        limit = "/".join("default" if value is None else str(value) for value in (key.rate, key.burst))
        columns = (key.id, key.project, kind, ",".join(key.scopes), state, created, key.name, limit)
        click.echo("\t".join((*columns, " ".join(key.origins))))


@keys.command(epilog="Example: novamesh keys revoke k_3f9a0c12d4e5")
@click.argument("key")
@setting_options("data_dir")
@config_option
def revoke(key: str, config_file: Path | None, **flags: Any) -> None:
    """Revoke a key by its id, or by the key itself."""
    click.echo(_open(flags, config_file).revoke(key).id)


def _open(flags: dict[str, Any], config_file: Path | None) -> KeyStore:
    directory = DataDirectory(load_config(flags, config_file).data_path)
    if not directory.holds(directory.keys):
        raise StartError(f"there is no node's data in {directory.path}; run novamesh serve first or give --data-dir")
    try:
        return KeyStore(directory.keys)
    except sqlite3.Error as error:
        raise StartError(
            f"{directory.keys} cannot be opened: {error}; run this as the user to whom it belongs"
        ) from None


def _duration_s(text: str) -> int:
    match = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if not match:
        raise click.BadParameter("give a number and s, m, h or d, such as 90d", param_hint="--expires")
    return int(match[1]) * _UNITS_S[match[2]]
