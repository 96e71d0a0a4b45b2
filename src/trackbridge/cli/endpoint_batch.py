"""``bridge endpoints batch``: files in a platform's storage are scored there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trackbridge.cli import completions
from trackbridge.cli.deploy import target_option
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.cli.plans import named_target

if TYPE_CHECKING:
    from trackbridge.domain.deployments import Operation
    from trackbridge.operations.opening import Opened


@click.command(
    epilog=example(
        "bridge endpoints batch wine s3://bucket/rows/ s3://bucket/answers/ --target sagemaker",
        "bridge endpoints batch wine SOURCE DESTINATION --target azureml --key monday --no-wait",
    )
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.argument("source")
@click.argument("destination")
@click.option("--deployment", metavar="NAME", help="Score with this one; by default with the busiest.")
@click.option("--key", metavar="KEY", help="Names this piece of work, which is begun only once.")
@click.option("--wait/--no-wait", default=True, help="Wait until it is done.")
@target_option
@output_option
def batch(
    output: Output,
    endpoint: str,
    source: str,
    destination: str,
    deployment: str | None,
    key: str | None,
    wait: bool,
    target: str,
) -> None:
    """Score the files below SOURCE, addresses in the platform's storage, into DESTINATION.

    Ctrl-C leaves it going on; the same command with the same --key waits for it again.
    """
    from trackbridge.domain.ids import mint_id
    from trackbridge.operations.opening import open_place

    place = open_place(target)
    key = key or mint_id()
    operation = place.target.start_batch(
        endpoint, source=source, destination=destination, key=key, deployment=deployment
    )
    again = f"bridge endpoints batch {endpoint} {source} {destination} --key {key}{named_target(place.uri)}"
    output.note(f"scoring {source}; to wait for it again: {again}")
    fields = {"endpoint": endpoint, "source": source, "destination": destination, "key": key}
    if wait:
        operation = _finished(operation, place)
        output.show(f"{source} is scored: {destination}", colour="green")
    output.summary({**fields, "operation": operation.operation_id, "done": operation.done})


def _finished(operation: Operation, place: Opened) -> Operation:
    """Wait for the end of an operation.

    Raises:
        Rejected: It failed.
    """
    from trackbridge.errors import Rejected
    from trackbridge.operations.waiting import Pace

    pace = Pace()
    started_s = pace.clock()
    while not operation.done:
        pace.wait(started_s)
        operation = place.target.poll(operation)
    if operation.error is not None:
        raise Rejected(
            operation.error,
            adapter=place.capabilities.adapter,
            operation="deployments.start_batch",
            hint="mend what it says, and score with another --key",
        )
    return operation
