"""``bridge deploy``: a registered model becomes a deployment of an endpoint."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.options import example, output_option, uri_option
from trackbridge.cli.output import Output
from trackbridge.cli.pairs import pairs_of
from trackbridge.cli.plans import PlanOptions, carry_out, named_target, plan_fields, plan_options

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointState
    from trackbridge.operations.opening import Opened

PERCENT = click.IntRange(0, 100)
target_option = click.option(
    "--target",
    default="local",
    show_default=True,
    metavar="TARGET",
    help="Where models are served: local, a remote's name or a URI.",
)


@click.command(
    epilog=example(
        "bridge deploy models:/wine@champion --endpoint wine",
        "bridge deploy models:/wine/2 --endpoint wine --traffic 10",
        "bridge deploy models:/wine/2 --endpoint wine --mirror 50 --plan --out wine.plan",
    )
)
@click.argument("model")
@target_option
@click.option("--endpoint", required=True, metavar="NAME", help="The endpoint; it is made when missing.")
@click.option("--deployment", metavar="NAME", help="Name of the deployment; by default v<version>.")
@click.option("--traffic", type=PERCENT, metavar="N", help="Its share of live requests in percent; 100.")
@click.option(
    "--mirror",
    type=PERCENT,
    metavar="N",
    help="Percent of live requests whose copy it gets without answering; its traffic is then 0.",
)
@click.option("--capture", type=PERCENT, metavar="N", help="Percent of its requests whose payload is kept.")
@click.option("--instances", type=click.IntRange(1), metavar="N", help="How many servers.")
@click.option("--instance-type", metavar="TYPE", help="The kind of machine, where there are several.")
@click.option(
    "--env", "variables", multiple=True, metavar="K=V", help="A variable of the server; repeatable."
)
@click.option("--timeout", type=DURATION, metavar="TIME", help="Limit of one request, for example 30s.")
@click.option("-C", "--option", "options_", multiple=True, metavar="K=V", help="An option of the target.")
@uri_option
@plan_options
@output_option
def deploy(
    output: Output,
    model: str,
    target: str,
    endpoint: str,
    deployment: str | None,
    traffic: int | None,
    mirror: int | None,
    capture: int | None,
    instances: int | None,
    instance_type: str | None,
    variables: tuple[str, ...],
    timeout: float | None,
    options_: tuple[str, ...],
    uri: str | None,
    options: PlanOptions,
) -> None:
    """Deploy a registered model to an endpoint: plan, show, ask, apply, check.

    MODEL is models:/NAME/VERSION, models:/NAME@ALIAS or models:/NAME/STAGE; the plan pins it to a version.
    Without --traffic it gets all live requests; with less, the other deployments share the rest as before.
    """
    from trackbridge.operations.deploy import pinned_spec, plan_deploy
    from trackbridge.operations.model_source import open_registry
    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import Settings

    settings = Settings()
    place = open_place(target, settings=settings)
    _deliver_what_was_logged(uri)
    registry = open_registry(uri, settings=settings)
    spec = pinned_spec(
        model,
        registry.registry,
        endpoint=endpoint,
        deployment=deployment,
        traffic_percent=traffic,
        mirror_percent=mirror,
        capture_percent=capture,
        instance_count=instances,
        instance_type=instance_type,
        variables=pairs_of(variables, "--env"),
        request_timeout_s=timeout,
        options=pairs_of(options_, "--option"),
    )
    plan = plan_deploy(
        place, spec, models_uri=open_place(uri, settings=settings).uri, registry_uri=registry.uri
    )
    applied = carry_out(output, plan, place, options)
    state = applied.state if applied is not None else place.target.observe(endpoint)
    if state is not None:
        show_address(output, place, state)
    output.summary(
        {
            **plan_fields(plan),
            "applied": applied is not None,
            "endpoint": state_fields(state) if state else None,
        }
    )


def _deliver_what_was_logged(uri: str | None) -> None:
    """Deliver first what this machine's programs have logged: the model may be among it."""
    from trackbridge.cli.options import open_client

    open_client(uri).reader.drain()


def show_address(output: Output, place: Opened, state: EndpointState) -> None:
    """Say where an endpoint answers, and how to ask it."""
    named = named_target(place.uri)
    shares = ", ".join(f"{name} {share} %" for name, share in state.traffic.items() if share)
    output.show(
        f"{state.endpoint} is {state.status.value}: {shares or 'no deployment has traffic'}", colour="green"
    )
    if state.url:
        output.show(f"  address  {state.url}")
    row = '{"inputs": [[...]]}'
    output.show(f"  ask it   bridge endpoints invoke {state.endpoint}{named} --data '{row}'")
    if state.url and state.url.startswith("http"):
        header = "-H 'Content-Type: application/json'"
        output.show(f"           curl {state.url}/invocations {_token(place, state)}{header} -d '{row}'")
    output.show(f"  watch    bridge endpoints watch {state.endpoint}{named}")
    output.show(f"  go back  bridge endpoints rollback {state.endpoint}{named}")


def _token(place: Opened, state: EndpointState) -> str:
    """Return curl's option for the token of an endpoint: where it lies, never what it is."""
    from trackbridge.resolve.uri import parse

    folder = parse(place.uri).path
    token = folder / "endpoints" / state.endpoint / "token" if folder else None
    if token is None or not token.is_file():
        return ""
    return f'-H "Authorization: Bearer $(cat {shlex.quote(str(token))})" '


def state_fields(state: EndpointState) -> dict[str, Any]:
    """Return an endpoint as fields of a JSON object."""
    return {
        "endpoint": state.endpoint,
        "status": state.status.value,
        "url": state.url,
        "reason": state.reason,
        "deployments": [
            {
                "deployment": found.deployment,
                "model": found.model,
                "status": found.status.value,
                "traffic_percent": found.traffic_percent,
                "mirror_percent": found.mirror_percent,
                "instance_count": found.instance_count,
                "reason": found.reason,
            }
            for found in state.deployments
        ],
    }
