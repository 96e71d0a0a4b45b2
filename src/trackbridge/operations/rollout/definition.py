"""What a rollout will do: planned without changing anything, and begun as it was planned."""

from __future__ import annotations

from typing import Any

import msgspec

from trackbridge.domain.deployment_changes import shares_of
from trackbridge.domain.deployments import DeploymentSpec, EndpointState, Serving, shared_traffic
from trackbridge.domain.durations import length_text
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.domain.rollouts import (
    OPERATION,
    GuardMetric,
    Rollout,
    RolloutSpec,
    RolloutState,
    parse_guards,
)
from trackbridge.errors import ConfigError, InvalidInput, LimitReached, PlanStale, Rejected
from trackbridge.operations.deploy import goal_of, now_ms, plan_deploy
from trackbridge.operations.endpoint_goals import Deploy, OnFailure, state_for_basis
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.opening import Opened
from trackbridge.operations.plans import basis_of
from trackbridge.operations.rollout.ledger import RolloutLedger
from trackbridge.ports.capabilities import Feature


def plan_rollout(
    place: Opened,
    spec: DeploymentSpec,
    rollout: RolloutSpec,
    *,
    models: ModelSource,
    models_uri: str = "",
    registry_uri: str = "",
    on_failure: OnFailure | None = None,
    has_preflight: bool | None = None,
) -> Plan:
    """Plan a rollout: the deployment without traffic, then one change of the traffic for each step.

    Where nobody serves yet there is nothing to share with: the deployment gets everything at once, and is
    watched for one bake.

    Args:
        place: Where to roll out.
        spec: What; its share of the traffic is the rollout's.
        rollout: In which steps, and what must hold.
        models: Where the model comes from; asked for its baseline where a guard is on drift.
        models_uri: The tracking URI that the model is from; by default the configured one.
        registry_uri: Where it is registered; by default the same.
        on_failure: What becomes of a deployment that fails, see ``deploy.plan_deploy``.
        has_preflight: Whether the model is tried out first, see the same.

    Raises:
        Unsupported: The target cannot share its traffic, or has no telemetry.
        InvalidInput: The spec and the rollout do not go together.
        Rejected: The target cannot hold the spec, the deployment has traffic already, or the model's baseline
            cannot be used.
        MissingExtra: A guard is on drift, and scipy is not installed.
    """
    _refuse_unwatchable(place, spec, rollout, models)
    observed = place.target.observe(spec.endpoint)
    before = _served_by_others(spec, observed)
    alone = msgspec.structs.replace(spec, traffic_percent=0 if before else 100)
    if not before:
        rollout = _alone(rollout)
    deploying = plan_deploy(
        place,
        alone,
        models_uri=models_uri,
        registry_uri=registry_uri,
        on_failure=on_failure,
        has_preflight=has_preflight,
    )
    if deploying.changes_something:
        _refuse_serving(spec, observed)
    shifting = _shift_changes(spec, rollout, before)
    if observed is not None and not deploying.changes_something and _has_all(spec, observed):
        shifting = ()
    stood = observed is not None and (not before or observed.find(spec.deployment) is not None)
    stays = stood or _keeps_failed(deploying)
    return Plan(
        operation=OPERATION,
        basis=deploying.basis,
        changes=(*deploying.changes, *shifting),
        created_time=deploying.created_time,
        parameters={
            **deploying.parameters,
            "rollout": msgspec.to_builtins(rollout),
            "changes_of_deployment": len(deploying.changes),
        },
        notes=(*_notes(spec, rollout, before, stays=stays), *deploying.notes),
    )


def _alone(rollout: RolloutSpec) -> RolloutSpec:
    """Return the rollout of a deployment that there is nobody to share with, nor to compare with."""
    guards = tuple(guard for guard in rollout.guards if not guard.is_relative)
    return msgspec.structs.replace(rollout, steps=(100,), guards=guards or parse_guards(())[0])


def begin_rollout(
    plan: Plan, place: Opened, ledger: RolloutLedger, *, user: str = "", why: str = "", time_ms: int = 0
) -> Rollout:
    """Write down a planned rollout as the endpoint's; nothing is changed yet.

    Raises:
        ConfigError: It is no plan of a rollout.
        PlanStale: The endpoint has changed since the plan was made.
        Conflict: One of this endpoint is not over.
    """
    rollout, spec = spec_of_plan(plan)
    observed = place.target.observe(spec.endpoint)
    if basis_of(state_for_basis(observed)) != plan.basis:
        raise PlanStale(
            f"the endpoint {spec.endpoint!r} has changed since the plan was made",
            adapter=place.capabilities.adapter,
            operation=OPERATION,
            hint="nothing was changed; make the plan anew",
        )
    before = _served_by_others(spec, observed)
    stable = max(before, key=lambda name: (before[name], name), default="")
    now = time_ms or now_ms()
    uris = {name: str(plan.parameters.get(name, "")) for name in ("models", "registry")}

    def made(number: int) -> Rollout:
        return Rollout(
            name=f"{spec.endpoint}.{number}",
            target=place.uri,
            endpoint=spec.endpoint,
            spec=spec,
            rollout=rollout,
            plan=_plan_of_deployment(plan),
            models_uri=uris["models"],
            registry_uri=uris["registry"],
            user=user,
            why=why,
            traffic_before=before,
            stable=stable,
            had_endpoint=observed is not None,
            had_deployment=observed is not None and observed.find(spec.deployment) is not None,
            keeps_failed=_keeps_failed(plan),
            creation_time=now,
            update_time=now,
        )

    return ledger.add(made, target=place.uri, endpoint=spec.endpoint, told=f"begun: {rollout.text}")


def spec_of_plan(plan: Plan) -> tuple[RolloutSpec, DeploymentSpec]:
    """Return what a plan rolls out, and how.

    Raises:
        ConfigError: It is no plan of a rollout.
    """
    goal = goal_of(plan)
    try:
        rollout = msgspec.convert(plan.parameters["rollout"], RolloutSpec)
    except (KeyError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"the plan of the operation {plan.operation[:80]!r} is none of a rollout",
            hint="make the plan anew",
        ) from error
    if not isinstance(goal, Deploy):
        raise ConfigError("the plan of the rollout deploys nothing", hint="make the plan anew")
    return rollout, goal.spec


def _plan_of_deployment(plan: Plan) -> Plan:
    """Return the part of a rollout's plan that brings the deployment."""
    count = int(plan.parameters.get("changes_of_deployment", 0))
    return msgspec.structs.replace(plan, operation="deploy", changes=plan.changes[:count])


def _keeps_failed(plan: Plan) -> bool:
    goal = goal_of(plan)
    return isinstance(goal, Deploy) and goal.on_failure is OnFailure.KEEP


def shares_at(spec: DeploymentSpec, before: dict[str, int], percent: int) -> dict[str, int]:
    """Return how the live requests are shared once the new deployment has so many percent, without zeros."""
    shares = shared_traffic(before, spec.deployment, percent) if before else {spec.deployment: 100}
    return {name: share for name, share in sorted(shares.items()) if share}


def _served_by_others(spec: DeploymentSpec, observed: EndpointState | None) -> dict[str, int]:
    traffic = observed.traffic if observed is not None else {}
    return {name: share for name, share in sorted(traffic.items()) if share and name != spec.deployment}


def _has_all(spec: DeploymentSpec, observed: EndpointState) -> bool:
    return observed.traffic.get(spec.deployment) == 100


# What is refused.


def _refuse_unwatchable(
    place: Opened, spec: DeploymentSpec, rollout: RolloutSpec, models: ModelSource
) -> None:
    needed = [Feature.DEPLOYMENTS_TRAFFIC, Feature.DEPLOYMENTS_METRICS]
    watches_drift = any(guard.metric is GuardMetric.DRIFT for guard in rollout.guards)
    if watches_drift:
        needed.append(Feature.DEPLOYMENTS_CAPTURE)
    for feature in needed:
        place.capabilities.require(feature, operation=OPERATION)
    if spec.serving in (Serving.BATCH, Serving.ASYNCHRONOUS):
        raise _impossible(
            f"{spec.serving.value} deployments answer no live requests that could be shared",
            "leave --canary out",
        )
    if spec.mirror_percent:
        raise _impossible(
            f"{spec.deployment!r} would get live requests and copies of live requests",
            "deploy it with --mirror first, then roll it out with --canary",
        )
    if watches_drift and not spec.capture_percent:
        raise _impossible("a guard on drift needs payloads, and none are kept", "add --capture 100")
    if watches_drift:
        _refuse_unmeasurable(spec, models)


def _refuse_unmeasurable(spec: DeploymentSpec, models: ModelSource) -> None:
    """Refuse a guard on drift where a drift could not be measured; else the first look would find out."""
    from trackbridge.operations.drift import baseline_of, checked_baseline
    from trackbridge.operations.drift_figures import require_scipy

    require_scipy()
    baseline = baseline_of(spec, models)
    if baseline is None:
        raise _impossible(
            f"{spec.model} has no baseline that a drift could be measured from",
            "log the model with its training data, or leave the guard on drift out",
        )
    checked_baseline(baseline)


def _impossible(problem: str, hint: str) -> InvalidInput:
    return InvalidInput(problem, operation=OPERATION, hint=hint)


def _refuse_serving(spec: DeploymentSpec, observed: EndpointState | None) -> None:
    """Refuse to change a deployment that answers live requests."""
    found = observed.find(spec.deployment) if observed is not None else None
    if found is None or not found.traffic_percent:
        return
    raise Rejected(
        f"{spec.endpoint}/{spec.deployment} has {found.traffic_percent} % of the traffic already",
        operation=OPERATION,
        hint="roll out under another name (--deployment NAME), or take its traffic away first: "
        f"bridge endpoints traffic {spec.endpoint}",
    )


# What is shown.


def _shift_changes(spec: DeploymentSpec, rollout: RolloutSpec, before: dict[str, int]) -> tuple[Change, ...]:
    if not before:
        return ()
    changes = []
    held = before
    for number, percent in enumerate(rollout.steps, start=1):
        shares = shares_at(spec, before, percent)
        why = f"step {number} of {len(rollout.steps)}, held for {length_text(rollout.bake_s)}"
        changes.append(
            Change(
                action=Action.UPDATE,
                subject=f"traffic {spec.endpoint}",
                before=shares_of(held, {}),
                after=shares_of(shares, {}),
                why=f"{why} while {rollout.guards_text}",
            )
        )
        held = shares
    return tuple(changes)


def _notes(
    spec: DeploymentSpec, rollout: RolloutSpec, before: dict[str, int], *, stays: bool
) -> tuple[str, ...]:
    """Return what is worth to know; ``stays`` says that a failure leaves the deployment where it is."""
    name = spec.deployment
    left = f"{name} is left there without traffic" if stays else f"{name} is taken away"
    if before:
        shares = ", ".join(f"{other} {share} %" for other, share in before.items())
        failure = f"the traffic goes back at once ({shares}), and {left}"
    else:
        failure = f"nobody else serves, and {name} stays" if stays else f"{name} is taken away"
    notes = [
        f"a guard that is broken ({rollout.guards_text}), or a failure: {failure}",
        f"guards are judged from {rollout.requests_min:,} requests of a step on; with fewer, a step is held "
        f"for up to {length_text(rollout.bake_s_max)}, and then you are asked",
    ]
    if not before:
        notes.append(
            f"nobody serves yet: {name} gets all requests at once, and is watched for "
            f"{length_text(rollout.bake_s)}"
        )
    return tuple(notes)


def fields_of(rollout: Rollout) -> dict[str, Any]:
    """Return what events and summaries say of a rollout."""
    return {
        "rollout": rollout.name,
        "endpoint": rollout.endpoint,
        "deployment": rollout.spec.deployment,
        "model": rollout.spec.model,
        "status": rollout.status,
        "percent": rollout.percent,
        "reason": rollout.reason or rollout.waits_for,
    }


def raise_unless_promoted(rollout: Rollout) -> None:
    """Return where a rollout has brought its deployment to all requests.

    Raises:
        Rejected: It went back, or was ended.
        LimitReached: It waits for a person.
    """
    if rollout.state is RolloutState.PROMOTED:
        return
    if rollout.waits_for:
        raise LimitReached(
            f"the rollout {rollout.name} waits at {rollout.percent} %: {rollout.waits_for}",
            operation=OPERATION,
            hint=f"bridge rollouts show {rollout.name}",
        )
    word = rollout.state.value.replace("_", " ")
    raise Rejected(
        f"the rollout {rollout.name} was {word} at {rollout.percent} %: {rollout.reason}",
        operation=OPERATION,
        hint=f"see what happened: bridge rollouts show {rollout.name}",
    )
