"""The options of ``bridge deploy``: what a deployment file says, in flags, which go before the file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.pairs import pairs_of

if TYPE_CHECKING:
    from trackbridge.operations.deployment_requests import DeploymentRequest

PERCENT = click.IntRange(0, 100)
SERVING = ("realtime", "serverless", "asynchronous", "batch")
AUTHENTICATION = ("key", "token", "identity")

Command = TypeVar("Command", bound=Callable[..., Any])

_FIELDS = {
    "endpoint": "endpoint",
    "deployment": "deployment",
    "traffic": "traffic_percent",
    "mirror": "mirror_percent",
    "capture": "capture_percent",
    "instances": "instance_count",
    "instance_type": "instance_type",
    "memory": "memory_mib",
    "concurrency": "concurrency_max",
    "image": "image",
    "environment": "environment",
    "timeout": "request_timeout_s",
}
"""Options whose value is a field of ``DeploymentSpec`` as it is."""

_OPTIONS = (
    click.option(
        "-f",
        "--file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="A deployment file (YAML); flags go before what it says.",
    ),
    click.option("--endpoint", metavar="NAME", help="The endpoint; it is made when missing."),
    click.option("--deployment", metavar="NAME", help="Name of the deployment; by default v<version>."),
    click.option("--traffic", type=PERCENT, metavar="N", help="Its share of live requests in percent; 100."),
    click.option(
        "--mirror",
        type=PERCENT,
        metavar="N",
        help="Percent of live requests whose copy it gets without answering; its traffic is then 0.",
    ),
    click.option(
        "--capture", type=PERCENT, metavar="N", help="Percent of its requests whose payload is kept."
    ),
    click.option("--instances", type=click.IntRange(1), metavar="N", help="How many servers."),
    click.option("--instance-type", metavar="TYPE", help="The kind of machine, where there are several."),
    click.option(
        "--autoscale",
        metavar="MIN..MAX@N",
        help="From MIN to MAX servers, one more at N requests each a minute.",
    ),
    click.option(
        "--serving",
        type=click.Choice(SERVING),
        help="How requests are answered: at once (realtime), by machines that come and go (serverless), "
        "into files (asynchronous), or files on request (batch).",
    ),
    click.option("--memory", type=click.IntRange(1), metavar="MIB", help="Of a serverless deployment."),
    click.option(
        "--concurrency", type=click.IntRange(1), metavar="N", help="Requests that are answered at once."
    ),
    click.option("--authentication", type=click.Choice(AUTHENTICATION), help="What callers show."),
    click.option("--image", metavar="IMAGE", help="The container's image."),
    click.option("--environment", metavar="NAME", help="An environment that the platform has a name for."),
    click.option(
        "--detailed-metrics", is_flag=True, help="Figures that the platform bills apart, where there are any."
    ),
    click.option(
        "--alarm", "alarms", multiple=True, metavar="NAME", help="An alarm of the platform; repeatable."
    ),
    click.option(
        "--env", "variables", multiple=True, metavar="K=V", help="A variable of the server; repeatable."
    ),
    click.option("--timeout", type=DURATION, metavar="TIME", help="Limit of one request, for example 30s."),
    click.option("-C", "--option", "options_", multiple=True, metavar="K=V", help="An option of the target."),
    click.option(
        "--on-failure",
        type=click.Choice(("keep", "delete")),
        help="What becomes of a deployment that fails; where somebody pays: delete.",
    ),
    click.option(
        "--preflight/--no-preflight",
        "has_preflight",
        default=None,
        help="Load the model in a clean environment before anything changes; where somebody pays: yes.",
    ),
)


def deployment_options(command: Command) -> Command:
    """Add the options of a deployment, handed over as ``request``, and the argument MODEL."""

    @functools.wraps(command)
    def with_request(*args: Any, model: str | None, target: str | None, **given: Any) -> Any:
        names = {name for name in given if name in _NAMES}
        said = {name: given.pop(name) for name in names}
        return command(*args, request=_request(model, target, said), **given)

    wrapped: Any = with_request
    for decorator in reversed(_OPTIONS):
        wrapped = decorator(wrapped)
    return wrapped  # type: ignore[no-any-return]


_NAMES = frozenset(
    {
        *_FIELDS,
        *("file", "autoscale", "serving", "authentication", "detailed_metrics", "alarms", "variables"),
        *("options_", "on_failure", "has_preflight"),
    }
)


def _request(model: str | None, target: str | None, said: dict[str, Any]) -> DeploymentRequest:
    """Return what the file says, and what the flags say instead.

    Raises:
        BridgeError: The file cannot be read, or a field of it is wrong.
    """
    from trackbridge.domain.deployments import Authentication, Serving
    from trackbridge.operations.deployment_requests import (
        DeploymentRequest,
        autoscale_of,
        read_deployment_file,
    )
    from trackbridge.operations.endpoint_goals import OnFailure

    fields = {field: said[name] for name, field in _FIELDS.items() if said[name] is not None}
    if said["autoscale"]:
        fields["autoscale"] = autoscale_of(said["autoscale"])
    if said["serving"]:
        fields["serving"] = Serving(said["serving"])
    if said["authentication"]:
        fields["authentication"] = Authentication(said["authentication"])
    if said["detailed_metrics"]:
        fields["detailed_metrics"] = True
    if said["alarms"]:
        fields["alarms"] = list(said["alarms"])
    for name, option in (("variables", "--env"), ("options", "--option")):
        pairs = pairs_of(said["options_" if name == "options" else name], option)
        if pairs:
            fields[name] = pairs
    flags = DeploymentRequest(
        model=model or "",
        target=target,
        fields=fields,
        on_failure=OnFailure(said["on_failure"]) if said["on_failure"] else None,
        has_preflight=said["has_preflight"],
    )
    return read_deployment_file(said["file"]).merged(flags) if said["file"] else flags
