"""What several commands share: ``--json``, ``--uri``, ``--yes``, and finding what a name means."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.cli import completions
from trackbridge.cli.near_names import near_names
from trackbridge.cli.output import Output
from trackbridge.cli.waits import told_waits

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.results import Experiment

Command = TypeVar("Command", bound=Callable[..., Any])

uri_option = click.option(
    "--uri",
    metavar="URI",
    shell_complete=completions.uris,
    help="Tracking URI or remote; else BRIDGE_TRACKING_URI, else the project's settings.",
)


def uri_argument(command: Command) -> Command:
    """Let the tracking URI be named by position or, as everywhere, by ``--uri``."""

    @functools.wraps(command)
    def with_uri(*args: Any, uri: str | None, named_uri: str | None, **options: Any) -> Any:
        if uri and named_uri and uri != named_uri:
            raise click.UsageError(f"two tracking URIs are named, {uri} and --uri {named_uri}; name one")
        return command(*args, uri=uri or named_uri, **options)

    option = click.option(
        "--uri",
        "named_uri",
        metavar="URI",
        shell_complete=completions.uris,
        help="The same as URI.",
    )
    return click.argument("uri", required=False, shell_complete=completions.uris)(option(with_uri))  # type: ignore[return-value]


yes_option = click.option("--yes", "-y", "is_agreed", is_flag=True, help="Do not ask.")
deleted_option = click.option("--deleted", "view", flag_value="deleted", help="Only deleted ones.")
all_option = click.option("--all", "view", flag_value="all", help="Deleted ones, too.")


def output_option(command: Command) -> Command:
    """Add ``--json``, hand the command its ``Output`` as the first argument, and advise on names."""

    @functools.wraps(command)
    def with_output(*args: Any, as_json: bool, **options: Any) -> Any:
        output = Output(as_json=as_json)
        with told_waits(output), near_names(options):
            return command(output, *args, **options)

    option = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, one object a line; the last one is the summary."
    )
    return option(with_output)  # type: ignore[return-value]


def example(*lines: str) -> str:
    """Return the epilog of a command: what one may type."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def open_client(uri: str | None) -> Client:
    """Return a client of the URI, else of the configured one."""
    from trackbridge.api.client import Client

    return Client(uri)


def find_experiment(client: Client, name_or_id: str) -> Experiment:
    """Return an experiment by its name, else by its id, deleted or not.

    Raises:
        NotFound: There is none.
    """
    return client.get_experiment_by_name(name_or_id) or client.get_experiment(name_or_id)


def all_experiments(client: Client, view: str = "active") -> Sequence[Experiment]:
    """Return every experiment, through all pages."""
    found: list[Experiment] = []
    token: str | None = None
    while True:
        page = client.search_experiments(view_type=view, page_token=token)
        found.extend(page)
        token = page.token
        if token is None:
            return found
