"""What a shell completes beside commands and options: remotes, experiments, models and endpoints.

Only files of this machine are read, and nothing is delivered or made: of a backend that is not a folder,
there are no names. A shell asks at each press of a key, so that trouble is no message but an empty answer.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    import click

    from trackbridge.ports.adapter import Adapter

NAMES_MAX = 1000
URI_PARAMETERS = ("uri", "named_uri")
DATABASE = "store.db"

Completer = Callable[["click.Context", "click.Parameter", str], list[CompletionItem]]


def remotes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a remote."""
    from trackbridge.errors import BridgeError
    from trackbridge.resolve.remotes import list_remotes

    try:
        return _matching((remote.name for remote in list_remotes()), incomplete)
    except (BridgeError, OSError):
        return []


def uris(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a tracking URI: a remote, else a folder."""
    return remotes(context, parameter, incomplete) or [CompletionItem(incomplete, type="dir")]


def experiments(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of an experiment."""
    return _of_store(
        context,
        incomplete,
        lambda store: store.tracking.list_experiments(max_results=NAMES_MAX).items if store.tracking else (),
    )


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a registered model."""
    return _of_store(
        context,
        incomplete,
        lambda store: store.registry.list_models(max_results=NAMES_MAX).items if store.registry else (),
    )


def endpoints(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of an endpoint of this machine."""
    return _of_store(
        context,
        incomplete,
        lambda store: (
            store.deployments.list_endpoints(max_results=NAMES_MAX).items if store.deployments else ()
        ),
    )


def _of_store(
    context: click.Context, incomplete: str, read: Callable[[Adapter], Iterable[Any]]
) -> list[CompletionItem]:
    from trackbridge.errors import BridgeError

    uri = next(filter(None, (context.params.get(name) for name in URI_PARAMETERS)), None)
    try:
        with _local_store(uri) as store:
            found = read(store) if store else ()
            return _matching((getattr(item, "name", None) or item.endpoint for item in found), incomplete)
    except (BridgeError, OSError):
        return []


@contextmanager
def _local_store(uri: str | None) -> Iterator[Adapter | None]:
    """Open the folder that is read from, None where it is none, or has nothing yet."""
    from trackbridge.delivery.connect import open_uri
    from trackbridge.resolve.destinations import resolve_destinations

    first = resolve_destinations(uri)[0].uri
    if first.path is None or not (first.path / DATABASE).is_file():
        yield None
        return
    adapter = open_uri(first)
    try:
        yield adapter
    finally:
        adapter.close()


def _matching(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return those that begin so; shells would put in wrongly what needs quotes or has a colon."""
    return [
        CompletionItem(name)
        for name in sorted(set(names))
        if name.startswith(incomplete) and shlex.quote(name) == name and ":" not in name
    ]
