"""``bridge remotes``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from trackbridge.cli import completions
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output

_USER = click.option("--user", "is_user", is_flag=True, help="In the user's settings, not the project's.")


@click.group(epilog=example("bridge remotes add prod azureml:", "bridge runs list --uri prod"))
def remotes() -> None:
    """Give tracking URIs short names.

    A remote can be named wherever a tracking URI is asked for.
    """


@remotes.command("list", epilog=example("bridge remotes list"))
@output_option
def list_(output: Output) -> None:
    """List the remotes of the project and of the user."""
    from trackbridge.resolve.remotes import list_remotes

    found = list_remotes()
    for remote in found:
        fields = {"name": remote.name, "uri": remote.uri.text, "options": dict(remote.options)}
        output.event("remote", {**fields, "scope": remote.scope.value, "place": remote.place})
    rows = [
        (
            item.name,
            item.uri.text,
            " ".join(f"{key}={value}" for key, value in item.options),
            item.scope.value,
        )
        for item in found
    ]
    if rows:
        output.table(("NAME", "URI", "OPTIONS", "SCOPE"), rows, cell_chars_max=300)
    else:
        output.note("there are no remotes; add one with: bridge remotes add NAME URI")
    output.summary({"remotes": len(found)})


@remotes.command(
    epilog=example(
        "bridge remotes add prod azureml:", "bridge remotes add lab ./lab --option busy_timeout_s=9"
    )
)
@click.argument("name")
@click.argument("uri")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="For the adapter; repeatable.")
@_USER
@output_option
def add(output: Output, name: str, uri: str, options: Sequence[str], is_user: bool) -> None:
    """Add a remote. Adding the same again changes nothing.

    An option never holds a credential, but names the variable that does: --option token_env=PROD_TOKEN.
    """
    from trackbridge.resolve.remotes import add_remote

    remote = add_remote(name, uri, dict(_pair(option) for option in options), user=is_user)
    output.show(f"{remote.name} is {remote.uri.text}")
    output.summary({"name": remote.name, "uri": remote.uri.text, "options": dict(remote.options)})


@remotes.command(epilog=example("bridge remotes remove prod"))
@click.argument("name", shell_complete=completions.remotes)
@_USER
@output_option
def remove(output: Output, name: str, is_user: bool) -> None:
    """Remove a remote from the settings; what lies there stays."""
    from trackbridge.resolve.remotes import remove_remote

    remove_remote(name, user=is_user)
    output.show(f"removed {name}")
    output.summary({"name": name})


@remotes.command(epilog=example("bridge remotes rename prod production"))
@click.argument("old", shell_complete=completions.remotes)
@click.argument("new")
@_USER
@output_option
def rename(output: Output, old: str, new: str, is_user: bool) -> None:
    """Rename a remote."""
    from trackbridge.resolve.remotes import rename_remote

    rename_remote(old, new, user=is_user)
    output.show(f"{old} is {new} now")
    output.summary({"old": old, "new": new})


def _pair(option: str) -> tuple[str, str]:
    key, sign, value = option.partition("=")
    if not sign:
        raise click.BadParameter("write KEY=VALUE", param_hint="--option")
    return key, value
