"""``bridge endpoints list``: everything that serves, wherever it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.deploy import state_fields
from trackbridge.cli.failures import EXIT_PARTLY
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import LINE_CHARS_MAX, Output

if TYPE_CHECKING:
    from trackbridge.domain.deployments import DeploymentState, EndpointState
    from trackbridge.operations.endpoint_listing import ListedEndpoint

COLUMNS = ("ENDPOINT", "TARGET", "DEPLOYMENT", "MODEL", "DIGEST", "TRAFFIC", "HEALTH", "SINCE (UTC)", "BY")
DIGEST_CHARS = 12
USER_CHARS_MAX = 20
"""Of a name on a terminal: a cloud's ids of users are long, and would fold every line in two."""


@click.command("list", epilog=example("bridge endpoints list", "bridge endpoints list --target prod --json"))
@click.option("--target", metavar="TARGET", help="Only of this one: local, a remote's name or a URI.")
@output_option
def list_(output: Output, target: str | None) -> None:
    """List what serves, in all places: version, digest, traffic, health, since when, by whom.

    That is the local store, the tracking URI's place and every remote. One that cannot be asked is told, and
    ends the command with 3.
    """
    from trackbridge.operations.endpoint_listing import list_endpoints
    from trackbridge.resolve.config import Settings

    listing = list_endpoints(target, settings=Settings())
    rows: list[tuple[str, ...]] = []
    for listed in listing.endpoints:
        output.event("endpoint", _fields(listed))
        rows += _rows(listed, user_chars_max=USER_CHARS_MAX if sys.stdout.isatty() else LINE_CHARS_MAX)
    if rows:
        output.table(COLUMNS, rows, cell_chars_max=120)
    elif listing.troubles:
        output.note("there are no endpoints at the places that could be asked")
    else:
        output.note("there are no endpoints; make one: bridge deploy models:/NAME@ALIAS --endpoint NAME")
    for place, error in listing.troubles:
        output.warn(f"{place} cannot be asked: {error}" + (f" ({error.hint})" if error.hint else ""))
    output.summary(
        {
            "endpoints": len(listing.endpoints),
            "troubles": [{"target": place, "error": str(error)} for place, error in listing.troubles],
        }
    )
    if listing.troubles:
        output.end(EXIT_PARTLY)


def _rows(listed: ListedEndpoint, *, user_chars_max: int) -> list[tuple[str, ...]]:
    from trackbridge.api.display import format_time, printable

    state = listed.state
    if not state.deployments:
        return [(state.endpoint, listed.place, "", "", "", "", _health(state), "", "")]
    rows: list[tuple[str, ...]] = []
    for found in state.deployments:
        since = listed.since[found.deployment]
        share = f"{found.traffic_percent} %"
        rows.append(
            (
                state.endpoint,
                listed.place,
                found.deployment,
                found.model,
                _digest(found).removeprefix("sha256:")[:DIGEST_CHARS],
                f"{share} (mirror {found.mirror_percent} %)" if found.mirror_percent else share,
                _health(found),
                "" if since.time is None else format_time(since.time),
                printable(since.user, user_chars_max),
            )
        )
    return rows


def _health(found: EndpointState | DeploymentState) -> str:
    return f"{found.status.value}: {found.reason}" if found.reason else found.status.value


def _digest(found: DeploymentState) -> str:
    return found.spec.model_digest if found.spec is not None else ""


def _fields(listed: ListedEndpoint) -> dict[str, Any]:
    fields = state_fields(listed.state)
    for found, item in zip(listed.state.deployments, fields["deployments"], strict=True):
        since = listed.since[found.deployment]
        item |= {"digest": _digest(found), "time": since.time, "user": since.user}
    return {**fields, "target": listed.place, "target_uri": listed.uri, "adapter": listed.adapter}
