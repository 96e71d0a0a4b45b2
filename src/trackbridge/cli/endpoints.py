"""``bridge endpoints``: what serves models, how it is doing, and how it is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.deploy import state_fields, target_option
from trackbridge.cli.durations import DURATION
from trackbridge.cli.endpoint_changes import delete, remove, rollback, traffic
from trackbridge.cli.endpoint_watch import figures, metrics_by_deployment, watch
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointState
    from trackbridge.operations.opening import Opened

PAYLOAD_BYTES_MAX = 256 * 1024 * 1024


@click.group(
    epilog=example("bridge endpoints list", "bridge endpoints show wine", "bridge endpoints rollback wine")
)
def endpoints() -> None:
    """See endpoints, ask them, share their traffic, roll them back."""


endpoints.add_command(watch)
endpoints.add_command(traffic)
endpoints.add_command(rollback)
endpoints.add_command(remove)
endpoints.add_command(delete)


@endpoints.command(
    "list", epilog=example("bridge endpoints list", "bridge endpoints list --target prod --json")
)
@target_option
@output_option
def list_(output: Output, target: str) -> None:
    """List the endpoints in order of name."""
    from trackbridge.operations.opening import open_place

    found = all_endpoints(open_place(target))
    for state in found:
        output.event("endpoint", state_fields(state))
    rows = [(state.endpoint, state.status.value, _shares(state), state.url or "") for state in found]
    if rows:
        output.table(("NAME", "STATE", "TRAFFIC", "ADDRESS"), rows, cell_chars_max=120)
    else:
        output.note("there are no endpoints; make one: bridge deploy models:/NAME@ALIAS --endpoint NAME")
    output.summary({"endpoints": len(found)})


def all_endpoints(place: Opened) -> list[EndpointState]:
    """Return every endpoint, through all pages."""
    found: list[EndpointState] = []
    token: str | None = None
    while True:
        page = place.target.list_endpoints(token=token)
        found += page.items
        token = page.token
        if token is None:
            return found


@endpoints.command(
    epilog=example("bridge endpoints show wine", "bridge endpoints show wine --window 1h --json")
)
@click.argument("endpoint")
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


@endpoints.command(
    epilog=example(
        "bridge endpoints invoke wine --data '{\"inputs\": [[7.4, 0.7]]}'",
        "bridge endpoints invoke wine --data @rows.csv --deployment v2",
    )
)
@click.argument("endpoint")
@click.option(
    "--data",
    required=True,
    metavar="JSON|@FILE|-",
    help="The payload: text, @FILE, or - for stdin. A file that ends in .csv is sent as CSV.",
)
@click.option("--deployment", metavar="NAME", help="Ask this one, whatever its share of the traffic.")
@click.option("--content-type", metavar="TYPE", help="What the payload is; by default seen from it.")
@target_option
@output_option
def invoke(
    output: Output, endpoint: str, data: str, deployment: str | None, content_type: str | None, target: str
) -> None:
    """Send one request to an endpoint, and print the answer.

    The payload is what mlflow's scoring servers take: dataframe_split, dataframe_records, inputs, instances.
    """
    import json

    from trackbridge.operations.opening import open_place

    payload, kind = _payload_of(data)
    answer = open_place(target).target.invoke(
        endpoint, payload, content_type=content_type or kind, deployment=deployment
    )
    text = answer.decode("utf-8", "replace")
    output.show(text.rstrip("\n"))
    if output.as_json:
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        output.summary({"endpoint": endpoint, "deployment": deployment, "answer": value})


def _payload_of(data: str) -> tuple[bytes, str]:
    """Return the bytes of ``--data`` and their content type.

    Raises:
        UsageError: The file cannot be read, or the payload is too large.
    """
    kind = "application/json"
    if data == "-":
        content = sys.stdin.buffer.read(PAYLOAD_BYTES_MAX + 1)
    elif data.startswith("@"):
        path = Path(data[1:])
        try:
            with open(path, "rb") as file:
                content = file.read(PAYLOAD_BYTES_MAX + 1)
        except OSError as error:
            raise click.UsageError(
                f"{path} cannot be read: {error.strerror}", click.get_current_context()
            ) from error
        kind = "text/csv" if path.suffix.lower() == ".csv" else kind
    else:
        content = data.encode("utf-8", "surrogateescape")
    if len(content) > PAYLOAD_BYTES_MAX:
        raise click.UsageError(f"more than {PAYLOAD_BYTES_MAX:,} bytes", click.get_current_context())
    return content, kind


@endpoints.command(epilog=example("bridge endpoints logs wine", "bridge endpoints logs wine v2 --follow"))
@click.argument("endpoint")
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
@click.argument("endpoint")
@target_option
@output_option
def history(output: Output, endpoint: str, target: str) -> None:
    """List how an endpoint stood before each operation on it, newest first; also of one that was deleted."""
    from trackbridge.api.display import format_time
    from trackbridge.operations.deploy import list_revisions
    from trackbridge.operations.opening import open_place

    found = list_revisions(open_place(target), endpoint)
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
        output.note(f"return to one: bridge endpoints rollback {endpoint} --to NUMBER")
    else:
        output.note(f"nothing was done to an endpoint {endpoint!r}")
    output.summary({"endpoint": endpoint, "revisions": len(found)})


def _shares(state: EndpointState) -> str:
    return ", ".join(f"{name} {share} %" for name, share in state.traffic.items() if share)


def _struct_fields(value: object) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(value)
    return fields
