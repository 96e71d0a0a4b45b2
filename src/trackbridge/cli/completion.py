"""``bridge completion``."""

from __future__ import annotations

import click

from trackbridge.cli.options import example

PROGRAMS = ("bridge", "trackbridge")
VARIABLE = "_BRIDGE_COMPLETE"
"""By which a shell asks either program."""


@click.command(
    epilog=example(
        'eval "$(bridge completion bash)"       # in ~/.bashrc',
        'eval "$(bridge completion zsh)"        # in ~/.zshrc',
        "bridge completion fish > ~/.config/fish/completions/bridge.fish",
    )
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script for completion in a shell.

    Completes commands, options, remotes, and the names of experiments, models and endpoints that a folder
    holds; nothing is asked of a network.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    root = click.get_current_context().find_root()
    for program in PROGRAMS:
        click.echo(kind(root.command, {}, program, VARIABLE).source())
