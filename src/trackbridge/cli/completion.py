"""``bridge completion``."""

from __future__ import annotations

import click

from trackbridge.cli.options import example


@click.command(
    epilog=example(
        'eval "$(bridge completion bash)"       # in ~/.bashrc',
        'eval "$(bridge completion zsh)"        # in ~/.zshrc',
        "bridge completion fish > ~/.config/fish/completions/bridge.fish",
    )
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script for completion in a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "bridge", "_BRIDGE_COMPLETE").source())
