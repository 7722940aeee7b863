"""``novamesh completion``: the script that makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "novamesh"
VARIABLE = "_NOVAMESH_COMPLETE"
_INSTALL = {
    "bash": 'Put this into ~/.bashrc:  eval "$(novamesh completion bash)"',
    "zsh": 'Put this into ~/.zshrc, behind compinit:  eval "$(novamesh completion zsh)"',
    "fish": "Run once:  novamesh completion fish > ~/.config/fish/completions/novamesh.fish",
}


@click.command(epilog='Example: eval "$(novamesh completion bash)"')
@click.argument("shell", type=click.Choice(tuple(_INSTALL)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options, with how to install it.

    bash needs version 4.4 or newer.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(f"# {_INSTALL[shell]}")
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())
