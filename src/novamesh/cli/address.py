"""``--url`` and ``--key``: which node a command talks to over HTTP."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.config import ENVIRONMENT_PREFIX
from novamesh.datadir import DataDirectory
from novamesh.errors import NovameshError

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_URL = "http://127.0.0.1:8000"


def node_options(command: Command) -> Command:
    """``--url``, ``--key``, ``--data-dir`` and ``--config``; :func:`node_url` and :func:`node_key` read them."""
    command = config_option(setting_options("data_dir")(command))
    key = click.option(
        "--key",
        envvar=ENVIRONMENT_PREFIX + "KEY",
        help="The API key. Give it as NOVAMESH_KEY: others see a command line in the list of processes.",
    )
    url = click.option(
        "--url",
        envvar=ENVIRONMENT_PREFIX + "URL",
        help=f"The node's address. [NOVAMESH_URL; default: of the node that runs on --data-dir, or {DEFAULT_URL}]",
    )
    return url(key(command))


def node_url(url: str | None, config_file: Path | None, flags: dict[str, Any]) -> str:
    """The address that was given, or that of the node which runs on the data directory, or the default."""
    if url:
        return url
    running = DataDirectory(load_config(flags, config_file).data_path).running()
    return running.address if running and is_alive(running.pid) else DEFAULT_URL


def node_key(key: str | None) -> str:
    """The key without what a copy may have put around it. Raises :class:`NovameshError` if there is none."""
    if not key or not key.strip():
        raise NovameshError("a key is needed: export NOVAMESH_KEY=nm_live_…; novamesh keys create makes one")
    return key.strip()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # of another user
    return True
