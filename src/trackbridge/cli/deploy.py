"""``bridge deploy``: a registered model becomes a deployment of an endpoint."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.deploy_options import deployment_options
from trackbridge.cli.options import example, output_option, uri_option
from trackbridge.cli.output import Output
from trackbridge.cli.plans import (
    PlanOptions,
    carry_out,
    is_agreed,
    named_target,
    plan_fields,
    plan_options,
    told_untouched,
)
from trackbridge.cli.rollout_options import roll_out, rollout_options
from trackbridge.domain.rollouts import OPERATION as ROLLOUT

if TYPE_CHECKING:
    from trackbridge.api.deploying import PreparedDeployment
    from trackbridge.domain.deployments import EndpointState
    from trackbridge.operations.deployment_requests import DeploymentRequest
    from trackbridge.operations.opening import Opened

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
        "bridge deploy models:/wine/2 --target azureml --endpoint wine --instance-type Standard_DS3_v2",
        "bridge deploy models:/wine/2 --endpoint wine --canary 5,25,100 --bake 10m --guard 'error_rate<1%'",
        "bridge deploy -f wine.yaml --plan --out wine.plan",
    )
)
@click.argument("model", required=False)
@click.option(
    "--target", metavar="TARGET", help="Where it is served: local (default), a remote's name or a URI."
)
@deployment_options
@rollout_options
@uri_option
@plan_options
@output_option
def deploy(output: Output, request: DeploymentRequest, uri: str | None, options: PlanOptions) -> None:
    """Deploy a registered model to an endpoint: plan, show, ask, apply, check.

    MODEL is models:/NAME/VERSION, models:/NAME@ALIAS or models:/NAME/STAGE; the plan pins it to a version.
    Without --traffic it gets all live requests; with less, the other deployments share the rest as before.
    """
    from trackbridge.api.deploying import prepare_deployment
    from trackbridge.resolve.config import Settings

    with told_untouched(output):
        _deliver_what_was_logged(uri)
        prepared = prepare_deployment(request, settings=Settings(), tracking_uri=uri)
    place = prepared.place
    if prepared.plan.operation == ROLLOUT:
        _deploy_in_steps(output, prepared, options)
        return
    applied = carry_out(output, prepared.plan, place, options, findings=prepared.findings)
    state = applied.state if applied is not None else place.target.observe(prepared.spec.endpoint)
    if state is not None:
        show_address(output, place, state)
    output.summary(
        {
            **plan_fields(prepared.plan),
            "applied": applied is not None,
            "endpoint": state_fields(state) if state else None,
        }
    )


def _deploy_in_steps(output: Output, prepared: PreparedDeployment, options: PlanOptions) -> None:
    place, plan = prepared.place, prepared.plan
    is_done = is_agreed(output, plan, options, question="Begin this rollout?", findings=prepared.findings)
    if is_done:
        roll_out(output, plan, place, why=options.why)
    state = place.target.observe(prepared.spec.endpoint)
    if state is not None:
        show_address(output, place, state)
    output.summary(
        {**plan_fields(plan), "applied": is_done, "endpoint": state_fields(state) if state else None}
    )


def _deliver_what_was_logged(uri: str | None) -> None:
    """Deliver first what this machine's programs have logged: the model may be among it."""
    from trackbridge.cli.options import open_client

    open_client(uri).reader.drain()


def show_address(output: Output, place: Opened, state: EndpointState) -> None:
    """Say where an endpoint answers, and how to ask it."""
    from trackbridge.ports.capabilities import Feature

    named = named_target(place.uri)
    shares = ", ".join(f"{name} {share} %" for name, share in state.traffic.items() if share)
    output.show(
        f"{state.endpoint} is {state.status.value}: {shares or 'no deployment has traffic'}", colour="green"
    )
    if state.url:
        output.show(f"  address  {state.url}")
    if place.capabilities.supports(Feature.DEPLOYMENTS_INVOKE):
        output.show(f"  ask it   bridge endpoints invoke {state.endpoint}{named} -i ROWS.json")
        token = _token(place, state)
        if token:
            header = "-H 'Content-Type: application/json'"
            output.show(f"           curl {state.url}/invocations {token}{header} -d @ROWS.json")
    if place.capabilities.supports(Feature.DEPLOYMENTS_METRICS):
        output.show(f"  watch    bridge endpoints watch {state.endpoint}{named}")
    if place.capabilities.supports(Feature.DEPLOYMENTS_REVISIONS):
        output.show(f"  go back  bridge endpoints {_way_back(place, state.endpoint)} {state.endpoint}{named}")


def _way_back(place: Opened, endpoint: str) -> str:
    """Return the command that undoes the last operation: a rollback to nothing is called what it is."""
    newest = place.target.list_revisions(endpoint, max_results=1).items
    return "delete" if newest and not newest[0].deployments else "rollback"


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
