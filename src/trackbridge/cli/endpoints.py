"""``bridge endpoints``: what serves models, how it is doing, and how it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli import completions
from trackbridge.cli.deploy import state_fields, target_option
from trackbridge.cli.durations import DURATION
from trackbridge.cli.endpoint_batch import batch
from trackbridge.cli.endpoint_changes import delete, remove, rollback, traffic
from trackbridge.cli.endpoint_drift import drift
from trackbridge.cli.endpoint_invoke import invoke
from trackbridge.cli.endpoint_listing import list_
from trackbridge.cli.endpoint_telemetry import telemetry
from trackbridge.cli.endpoint_watch import figures, metrics_by_deployment, watch
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.cli.plans import named_target

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointState


@click.group(
    epilog=example("bridge endpoints list", "bridge endpoints show wine", "bridge endpoints rollback wine")
)
def endpoints() -> None:
    """See endpoints, ask them, share their traffic, roll them back."""


endpoints.add_command(invoke)
endpoints.add_command(batch)
endpoints.add_command(list_)
endpoints.add_command(watch)
endpoints.add_command(telemetry)
endpoints.add_command(drift)
endpoints.add_command(traffic)
endpoints.add_command(rollback)
endpoints.add_command(remove)
endpoints.add_command(delete)


@endpoints.command(
    epilog=example("bridge endpoints show wine", "bridge endpoints show wine --window 1h --json")
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.option(
    "--window", type=DURATION, default="5m", show_default=True, metavar="TIME", help="Of the figures."
)
@target_option
@output_option
def show(output: Output, endpoint: str, window: float, target: str) -> None:
    """Show an endpoint: each deployment's model, traffic, state, requests, errors and latencies."""
    from trackbridge.operations.deploy import observed_endpoint
    from trackbridge.operations.opening import open_place

    place = open_place(target)
    state = observed_endpoint(place, endpoint)
    metrics = metrics_by_deployment(place, endpoint, max(1, round(window)))
    output.show(f"{state.endpoint} is {state.status.value}", colour="cyan")
    for label, value in (("address", state.url), ("because", state.reason)):
        if value:
            output.show(f"  {label:<9}{value}")
    rows = [
        (
            found.deployment,
            found.model,
            f"{found.traffic_percent} %",
            f"{found.mirror_percent} %" if found.mirror_percent else "",
            found.status.value,
            *figures(metrics.get(found.deployment)),
        )
        for found in state.deployments
    ]
    columns = ("DEPLOYMENT", "MODEL", "TRAFFIC", "MIRROR", "STATE", *FIGURE_COLUMNS)
    if rows:
        output.table(columns, rows)
    for found in state.deployments:
        if found.reason:
            output.show(f"{found.deployment}: {found.reason}", colour="yellow")
    output.summary(
        {
            **state_fields(state),
            "window_s": max(1, round(window)),
            "metrics": {name: _struct_fields(item) for name, item in metrics.items()},
        }
    )


FIGURE_COLUMNS = ("REQUESTS", "ERRORS", "P50 ms", "P95 ms", "P99 ms")


@endpoints.command(epilog=example("bridge endpoints logs wine", "bridge endpoints logs wine v2 --follow"))
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.argument("deployment", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C.")
@target_option
@output_option
def logs(output: Output, endpoint: str, deployment: str | None, follow: bool, target: str) -> None:
    """Print what the servers of a deployment log; without DEPLOYMENT the one with the most traffic."""
    from trackbridge.cli.job_logs import print_log
    from trackbridge.operations.deploy import observed_endpoint
    from trackbridge.operations.following import follow_log
    from trackbridge.operations.opening import open_place

    place = open_place(target)
    name = deployment or _busiest(observed_endpoint(place, endpoint))
    pieces = follow_log(
        lambda cursor: place.target.read_logs(endpoint, name, cursor=cursor),
        goes_on=lambda: follow,
        on_trouble=output.warn,
    )
    print_log(output, pieces)
    output.summary({"endpoint": endpoint, "deployment": name})


def _busiest(state: EndpointState) -> str:
    if not state.deployments:
        raise click.UsageError(
            f"{state.endpoint} has no deployments; name one that it had", click.get_current_context()
        )
    return max(state.deployments, key=lambda found: found.traffic_percent).deployment


@endpoints.command(epilog=example("bridge endpoints history wine"))
@click.argument("endpoint", shell_complete=completions.endpoints)
@target_option
@output_option
def history(output: Output, endpoint: str, target: str) -> None:
    """List how an endpoint stood before each operation on it, newest first; also of one that was deleted."""
    from trackbridge.api.display import format_time
    from trackbridge.operations.deploy import list_revisions
    from trackbridge.operations.opening import open_place

    place = open_place(target)
    found = list_revisions(place, endpoint)
    rows = []
    for revision in found:
        stood = ", ".join(
            f"{spec.deployment} {spec.traffic_percent} % ({spec.model})" for spec in revision.deployments
        )
        rows.append(
            (
                revision.number,
                stood or "(no endpoint)",
                revision.operation,
                revision.user,
                format_time(revision.time),
                revision.why,
            )
        )
        output.event("revision", _struct_fields(revision))
    if rows:
        output.table(("REVISION", "STOOD AS", "BEFORE", "BY", "TIME (UTC)", "WHY"), rows, cell_chars_max=120)
        named = named_target(place.uri)
        output.note(f"return to one: bridge endpoints rollback {endpoint}{named} --to NUMBER")
    else:
        output.note(f"nothing was done to an endpoint {endpoint!r}")
    output.summary({"endpoint": endpoint, "revisions": len(found)})


def _struct_fields(value: object) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(value)
    return fields
