"""``novamesh doctor``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from novamesh.cli.options import config_option, load_config, setting_options

if TYPE_CHECKING:
    from novamesh.doctor import Finding


@click.command(epilog="Example: novamesh doctor --data-dir ./novamesh-data --port 8000")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@setting_options()
@config_option
def doctor(as_json: bool, config_file: Path | None, **flags: Any) -> None:
    """Look at machine, settings, data directory and node, and say what is wrong and what to do.

    Give it the settings that the node has. Nothing is changed. Exit status: 0, or 1 if there is a problem.
    """
    from novamesh.doctor import examine  # it loads much that no other command needs

    findings = examine(load_config(flags, config_file))
    well = all(finding.level != "problem" for finding in findings)
    if as_json:
        document = msgspec.json.encode({"ok": well, "findings": findings})
        click.echo(msgspec.json.format(document).decode())
    else:
        click.echo("\n".join(map(_line, findings)))
    if not well:
        raise SystemExit(1)


def _line(finding: "Finding") -> str:
    advice = f"\n{'':9}{'':13}→ {finding.advice}" if finding.advice else ""
    return f"{finding.level:9}{finding.check:13}{finding.text}{advice}"
