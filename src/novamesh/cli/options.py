"""Options made from the table of settings, so that flags, environment and file never differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from novamesh.config import ENVIRONMENT_PREFIX, Config, load, settings

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_options(*names: str) -> Callable[[Command], Command]:
    """Options for the settings named, or for all."""

    def decorate(command: Command) -> Command:
        for setting in reversed([row for row in settings() if not names or row.name in names]):
            variable = ENVIRONMENT_PREFIX + setting.name.upper()
            option = click.option(
                "--" + setting.name.replace("_", "-"),
                setting.name,
                type=setting.kind,
                help=f"{setting.help} [{variable}; default {setting.default!r}]",
            )
            command = option(command)
        return command

    return decorate


def config_option(command: Command) -> Command:
    """``--config FILE``."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with settings. [NOVAMESH_CONFIG; default novamesh.toml, if it is there]",
    )(command)


def load_config(flags: dict[str, Any], config_file: Path | None) -> Config:
    """Settings by precedence: flags, environment, file. Raises :class:`ConfigError`."""
    return load({name: value for name, value in flags.items() if value is not None}, file=config_file)
