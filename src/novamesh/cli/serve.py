"""``novamesh serve``."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from novamesh.cli.options import config_option, load_config, setting_options
from novamesh.config import Config, free_port


@click.command(epilog="Example: novamesh serve --data-dir ./novamesh-data --node ingest-eu5 --region eu")
@setting_options()
@config_option
def serve(config_file: Path | None, **flags: Any) -> None:
    """Run a node until Ctrl-C or SIGTERM."""
    from novamesh.logs import configure
    from novamesh.node import Node  # it loads the HTTP server

    config = load_config(flags, config_file)
    if config.port == 0:
        config = msgspec.structs.replace(config, port=free_port(config.host))
    configure(config.log_level)
    node = Node(config)
    secret = node.open()
    sys.exit(node.run(lambda: _announce(config, secret)))


def _announce(config: Config, secret: str | None) -> None:
    """Where the node is and what to do first; the first key is shown here and never again."""
    url = config.base_url
    lines = [
        f"novamesh {config.node} takes events at {url}",
        f"Status page: {url}/",
        f"Console: {url}/console",
        f"Data: {config.data_path}",
        "",
    ]
    if secret is None:
        key = "$NOVAMESH_KEY"
        create = f"novamesh keys create --data-dir {shlex.quote(str(config.data_path))}"
        lines += ["Keys made earlier go on working. For a new one:", f"  export NOVAMESH_KEY=$({create})", ""]
    else:
        key = secret
        lines += ["Your first key, shown this once:", f"  {secret}", ""]
    lines += [
        "Send an event, then ask for it:",
        f"  curl -X POST {url}/v1/ingest -H 'Authorization: Bearer {key}' \\",
        """    -H 'Content-Type: application/json' -d '{"event": "page_view", "properties": {"page": "/"}}'""",
        f"  curl -G {url}/v1/query -H 'Authorization: Bearer {key}' \\",
        "    --data-urlencode 'q=SELECT event, count() FROM events GROUP BY event'",
        "",
    ]
    if secret is None:
        lines = [
            line.replace("'Authorization: Bearer $NOVAMESH_KEY'", '"Authorization: Bearer $NOVAMESH_KEY"')
            for line in lines
        ]
    click.echo("\n".join(lines))
