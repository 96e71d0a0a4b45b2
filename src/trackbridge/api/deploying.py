"""Deploying a registered model: shared by ``tb.deploy`` and the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.domain.plans import Plan
from trackbridge.domain.rollouts import OPERATION as ROLLOUT
from trackbridge.errors import InvalidInput
from trackbridge.operations.deploy import pinned_spec, plan_deploy
from trackbridge.operations.deployment_checks import findings_of, refuse_errors
from trackbridge.operations.deployment_requests import DeploymentRequest, request_of_fields
from trackbridge.operations.model_source import ModelSource, open_models, open_registry
from trackbridge.operations.opening import LOCAL, Opened, open_place, user_name
from trackbridge.operations.preflight.trials import Trials
from trackbridge.ports.findings import Finding
from trackbridge.resolve.config import Settings
from trackbridge.resolve.home import bridge_home

if TYPE_CHECKING:
    from trackbridge.api.endpoints import Endpoint
    from trackbridge.operations.opening import UriArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDeployment:
    """A deployment that was planned and looked at; nothing was changed."""

    request: DeploymentRequest
    spec: DeploymentSpec
    plan: Plan
    place: Opened
    models: ModelSource
    findings: tuple[Finding, ...]


def prepare_deployment(
    request: DeploymentRequest, *, settings: Settings, tracking_uri: UriArgument = None
) -> PreparedDeployment:
    """Plan a deployment, and look whether the target would take it.

    Args:
        request: What was said.
        settings: The settings in use.
        tracking_uri: Where the model is from; by default the configured URI.

    Raises:
        BridgeError: The model, the target or a field is wrong; which one says what, and how to put it right.
    """
    place = open_place(request.target or LOCAL, settings=settings)
    request = request.at(place.capabilities.adapter)
    if not request.model or not request.fields.get("endpoint"):
        missing = "MODEL" if not request.model else "--endpoint"
        raise InvalidInput(
            f"what to deploy is not said: {missing} is missing",
            operation="deploy",
            hint="bridge deploy models:/NAME@ALIAS --endpoint NAME, or a file with model: and endpoint:",
        )
    registry = open_registry(tracking_uri, settings=settings)
    tracking = open_place(tracking_uri, settings=settings)
    spec = pinned_spec(request.model, registry.registry, **request.fields)
    models = open_models(tracking.uri, registry_uri=registry.uri, settings=settings)
    said: dict[str, Any] = {
        "models_uri": tracking.uri,
        "registry_uri": registry.uri,
        "on_failure": request.on_failure,
        "has_preflight": request.has_preflight,
    }
    if request.rollout is not None:
        from trackbridge.operations.rollout import open_ledger, plan_rollout

        open_ledger(settings).refuse_unfinished(place.uri, spec.endpoint)
        plan = plan_rollout(place, spec, request.rollout, models=models, **said)
    else:
        plan = plan_deploy(place, spec, **said)
    findings: tuple[Finding, ...] = ()
    if plan.changes_something:
        findings = findings_of(place, spec, place.target.observe(spec.endpoint), models)
    return PreparedDeployment(
        request=request, spec=spec, plan=plan, place=place, models=models, findings=findings
    )


def trials_of(settings: Settings) -> Trials:
    """Return what tries models out before they are deployed."""
    return Trials(bridge_home(settings.around))


def deploy(
    model: str,
    *,
    endpoint: str,
    target: UriArgument = None,
    why: str = "",
    on_note: Callable[[str], None] = lambda text: None,
    **fields: Any,
) -> Endpoint:
    """Deploy a registered model to an endpoint, and return the endpoint once it serves.

    What ``bridge deploy`` shows first is applied at once. Deploying what stands already changes nothing. With
    ``canary`` it is a guarded rollout, which is watched until it is promoted or has gone back.

    Args:
        model: ``models:/wine/3``, ``models:/wine@champion`` or ``models:/wine/Production``.
        endpoint: The endpoint's name; it is made when missing.
        target: Where: ``local`` (the default), a remote's name or a URI.
        why: For the endpoint's history.
        on_note: Told what is worth to know meanwhile.
        **fields: The other fields of a deployment file (docs/deployments.md), with the same names and values:
            ``instances=2``, ``instance_type="ml.m5.large"``, ``capture=100``, ``env={"MODE": "fast"}``,
            ``timeout="30s"``, ``canary=[5, 25, 100]``, ``bake="10m"``, ``guards=["error_rate<1%"]``.

    Raises:
        ConfigError: There is no such field, or its value is wrong.
        Rejected: The target does not take it, the model does not load, it was rejected for deployment, or the
            rollout went back.
        LimitReached: The rollout waits for a person: there were too few requests to judge it by.
        Unsupported: It asks for something that the target does not have.
        BridgeError: It was made in part only; the message says how it stands.
    """
    request = request_of_fields({**fields, "model": model, "endpoint": endpoint})
    return _deployed(request, target, Settings(), why=why, on_note=on_note)


def _deployed(
    request: DeploymentRequest,
    target: UriArgument,
    settings: Settings,
    *,
    why: str,
    on_note: Callable[[str], None],
) -> Endpoint:
    from trackbridge.api.endpoints import Endpoint
    from trackbridge.operations.applying import apply_plan

    prepared = prepare_deployment(msgspec.structs.replace(request, target=_named(target)), settings=settings)
    refuse_errors(prepared.findings, prepared.spec.endpoint)
    for finding in prepared.findings:
        on_note(f"{finding.severity.value}: {finding.subject}: {finding.message}")
    if prepared.plan.operation == ROLLOUT:
        _rolled_out(prepared, settings, why=why, on_note=on_note)
        return Endpoint(prepared.spec.endpoint, target)
    with trials_of(settings) as trials:
        applied = apply_plan(
            prepared.plan,
            prepared.place,
            models=prepared.models,
            user=user_name(settings),
            why=why,
            trials=trials,
            on_note=on_note,
        )
    applied.raise_if_incomplete()
    return Endpoint(prepared.spec.endpoint, target)


def _rolled_out(
    prepared: PreparedDeployment, settings: Settings, *, why: str, on_note: Callable[[str], None]
) -> None:
    from trackbridge.operations.rollout import open_ledger, raise_unless_promoted, run_plan

    if not prepared.plan.changes_something:
        return
    with trials_of(settings) as trials:
        rollout = run_plan(
            prepared.plan,
            prepared.place,
            ledger=open_ledger(settings),
            models=prepared.models,
            user=user_name(settings),
            why=why,
            on_progress=lambda rollout, told: on_note(told.text) if told.kind == "transition" else None,
            trials=trials,
        )
    raise_unless_promoted(rollout)


def _named(target: UriArgument) -> str | None:
    return None if target is None else str(target)
