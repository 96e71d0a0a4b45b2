"""Plans of what is done to an endpoint: deploy, share the traffic, roll back, remove, delete.

Nothing here changes anything; ``applying.apply_plan`` does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from trackbridge.domain.deployment_changes import facts_of, is_same_deployment
from trackbridge.domain.deployments import DeploymentSpec, EndpointRevision, EndpointState
from trackbridge.domain.models import Approval, ModelVersion
from trackbridge.domain.plans import Plan
from trackbridge.errors import ConfigError, NotFound, Rejected
from trackbridge.operations.endpoint_goals import (
    Delete,
    Deploy,
    Goal,
    OnFailure,
    Remove,
    Restore,
    Share,
    changes_to,
    specs_of,
    state_for_basis,
)
from trackbridge.operations.opening import Opened
from trackbridge.operations.plans import basis_of, refuse_secrets
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry

OPERATIONS = ("deploy", "traffic", "rollback", "remove", "delete")
"""Operations on an endpoint, as plans and revisions name them."""

_TO_REVISION = re.compile(r"to revision (\d{1,9})")


def pinned_spec(reference: str, registry: ModelRegistry, **wanted: Any) -> DeploymentSpec:
    """Return the spec of a deployment with the model's name pinned to one version.

    Args:
        reference: ``models:/wine/3``, ``models:/wine@champion``, ``models:/wine/Production``.
        registry: Where the model is registered.
        **wanted: The other fields of the spec. Without ``deployment`` it is called ``v<version>``; with
            ``mirror_percent`` and without ``traffic_percent`` it gets no live traffic.

    Raises:
        NotFound: There is no such model, version or alias.
        Rejected: The version was rejected for deployment.
        InvalidInput: The text names no registered model, or a variable or option looks like a secret.
    """
    from trackbridge.operations.model_payloads import at_registry, reference_of, resolve_version

    version = resolve_version(reference, registry)
    refuse_rejected(version)
    fields = {name: value for name, value in wanted.items() if value is not None}
    fields.setdefault("deployment", f"v{version.version}")
    fields.setdefault("traffic_percent", 0 if fields.get("mirror_percent") else 100)
    refuse_secrets("the variable", fields.get("variables", {}))
    refuse_secrets("the option", fields.get("options", {}))
    return DeploymentSpec(
        model=reference_of(version),
        model_source=at_registry(version, registry).source,
        model_digest=version.digest or "",
        **fields,
    )


def refuse_rejected(version: ModelVersion) -> None:
    """Refuse a version that somebody has rejected for deployment.

    Raises:
        Rejected: It was.
    """
    if version.approval is Approval.REJECTED:
        raise Rejected(
            f"models:/{version.name}/{version.version} was rejected for deployment",
            operation="deploy",
            hint=f"see why: bridge models history {version.name}; or deploy another version",
        )


def plan_deploy(
    place: Opened,
    spec: DeploymentSpec,
    *,
    models_uri: str = "",
    registry_uri: str = "",
    on_failure: OnFailure | None = None,
    has_preflight: bool | None = None,
) -> Plan:
    """Plan a deployment.

    Args:
        place: Where to deploy.
        spec: What; see ``pinned_spec``.
        models_uri: The tracking URI that the model is from; by default the configured one.
        registry_uri: Where it is registered, and asked again when the plan is applied; by default the same.
        on_failure: What becomes of a deployment that could not be made; by default it is kept on this
            machine, and deleted where somebody pays for it.
        has_preflight: Whether the model is loaded and asked in a clean environment of this machine before
            anything is changed; by default where somebody pays.

    Raises:
        Rejected: The target cannot hold the spec.
        Unsupported: The spec asks for a feature that the target does not declare.
    """
    is_paid = not place.capabilities.is_local
    goal = Deploy(spec=spec, on_failure=on_failure or (OnFailure.DELETE if is_paid else OnFailure.KEEP))
    preflight = is_paid if has_preflight is None else has_preflight
    return _plan(place, goal, models=models_uri, registry=registry_uri, preflight=preflight)


def plan_traffic(
    place: Opened, endpoint: str, shares: Mapping[str, int], mirrors: Mapping[str, int] | None = None
) -> Plan:
    """Plan how the deployments share the live requests, in percent; who is not named gets none.

    Raises:
        NotFound: There is no such endpoint.
        Rejected: The shares do not add up, or a deployment is not there.
    """
    goal = Share(
        endpoint=endpoint,
        percent_by_deployment=dict(shares),
        mirror_percent_by_deployment=None if mirrors is None else dict(mirrors),
    )
    return _plan(place, goal)


def plan_removal(place: Opened, endpoint: str, deployment: str) -> Plan:
    """Plan to take a deployment away.

    Raises:
        NotFound: There is no such endpoint or deployment.
        Rejected: It has traffic.
    """
    observed = observed_endpoint(place, endpoint)
    if observed.find(deployment) is None:
        known = ", ".join(found.deployment for found in observed.deployments) or "none"
        raise NotFound(f"{endpoint!r} has no deployment {deployment!r}", hint=f"its deployments: {known}")
    return _plan(place, Remove(endpoint=endpoint, deployment=deployment))


def plan_deletion(place: Opened, endpoint: str) -> Plan:
    """Plan to take an endpoint away with all its deployments.

    Raises:
        NotFound: There is no such endpoint.
    """
    observed_endpoint(place, endpoint)
    return _plan(place, Delete(endpoint=endpoint))


def plan_rollback(place: Opened, endpoint: str, *, to: int | None = None) -> Plan:
    """Plan the way back to how an endpoint stood.

    Without ``to`` that is the state before the last operation, so that rolling back twice goes forward
    again; a rollback that was interrupted is gone on with.

    Args:
        place: Where the endpoint is.
        endpoint: Its name; it may have been deleted.
        to: Number of a revision, see ``list_revisions``.

    Raises:
        Unsupported: The target keeps no revisions.
        NotFound: There is no such revision, or none at all.
    """
    observed = place.target.observe(endpoint)
    chosen = _chosen_revision(place, endpoint, specs_of(observed), to)
    goal = Restore(endpoint=endpoint, revision=chosen.number, deployments=chosen.deployments)
    return _plan(place, goal)


def observed_endpoint(place: Opened, endpoint: str) -> EndpointState:
    """Return an endpoint as it stands now.

    Raises:
        NotFound: There is none of this name.
    """
    observed = place.target.observe(endpoint)
    if observed is None:
        raise NotFound(
            f"there is no endpoint {endpoint!r}",
            adapter=place.capabilities.adapter,
            operation="deployments.observe",
            hint="bridge endpoints list",
        )
    return observed


def goal_of(plan: Plan) -> Goal:
    """Return what a plan leads to.

    Raises:
        ConfigError: It is no plan of an endpoint.
    """
    try:
        goal: Goal = msgspec.convert(plan.parameters["goal"], Goal)
    except (KeyError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"the plan of the operation {plan.operation!r} is none of an endpoint", hint="make the plan anew"
        ) from error
    return goal


def revision_why(goal: Goal, why: str) -> str:
    """Return what a revision says about the operation that came after it."""
    if not isinstance(goal, Restore):
        return why
    return f"to revision {goal.revision}: {why}" if why else f"to revision {goal.revision}"


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _plan(place: Opened, goal: Goal, *, preflight: bool = False, **uris: str) -> Plan:
    observed = place.target.observe(goal.endpoint)
    changes = changes_to(goal, observed, target=place.target, capabilities=place.capabilities)
    parameters: dict[str, Any] = {"target": place.uri, "goal": msgspec.to_builtins(goal)}
    parameters |= {name: uri for name, uri in uris.items() if uri}
    if preflight:
        parameters["preflight"] = True
    return Plan(
        operation=str(goal.__struct_config__.tag),
        basis=basis_of(state_for_basis(observed)),
        changes=changes,
        created_time=now_ms(),
        parameters=parameters,
        notes=_notes(place, goal, observed),
    )


def _notes(place: Opened, goal: Goal, observed: EndpointState | None) -> tuple[str, ...]:
    notes = []
    capabilities = place.capabilities
    if not capabilities.supports(Feature.DEPLOYMENTS_REVISIONS):
        notes.append(f"{capabilities.adapter} keeps no revisions: this cannot be rolled back by a command")
    if not capabilities.supports(Feature.DEPLOYMENTS_LOCK):
        notes.append(
            f"{capabilities.adapter} has no lock: see that nobody else changes the endpoint meanwhile"
        )
    if isinstance(goal, Restore):
        stood = ", ".join(
            f"{spec.deployment} ({spec.model}) {spec.traffic_percent} %" for spec in goal.deployments
        )
        notes.append(f"back to revision {goal.revision}, which was: {stood or 'no endpoint'}")
        lost = [spec.deployment for spec in goal.deployments if not spec.model_source]
        missing = [name for name in lost if observed is None or observed.find(name) is None]
        if missing:
            notes.append(f"where the model of {', '.join(missing)} lies is not known")
    if isinstance(goal, Delete):
        notes.append("what was captured, and the revisions, stay: it can be rolled back")
    return tuple(notes)


def _chosen_revision(
    place: Opened, endpoint: str, current: tuple[DeploymentSpec, ...], number: int | None
) -> EndpointRevision:
    revisions = list_revisions(place, endpoint)
    if not revisions:
        raise NotFound(f"nothing was done to an endpoint {endpoint!r} yet", hint="bridge endpoints list")
    by_number = {revision.number: revision for revision in revisions}
    if number is not None:
        if number not in by_number:
            raise NotFound(
                f"{endpoint!r} has no revision {number}", hint=f"bridge endpoints history {endpoint}"
            )
        return by_number[number]
    newest = revisions[0]
    interrupted = by_number.get(_rollback_target(newest) or 0)
    if interrupted is not None and _is_between(current, newest, interrupted):
        return interrupted
    return newest


def _is_between(current: tuple[DeploymentSpec, ...], begin: EndpointRevision, end: EndpointRevision) -> bool:
    """Tell whether an endpoint is on its way from one revision to another, and has not arrived."""
    if current == end.deployments:
        return False
    known = [facts_of(spec) for spec in (*begin.deployments, *end.deployments)]
    return all(any(is_same_deployment(facts_of(spec), facts) for facts in known) for spec in current)


def _rollback_target(revision: EndpointRevision) -> int | None:
    """Return the number of the revision that a rollback after this one went to, None after others."""
    match = _TO_REVISION.match(revision.why) if revision.operation == "rollback" else None
    return int(match[1]) if match else None


def list_revisions(place: Opened, endpoint: str) -> list[EndpointRevision]:
    """Return the revisions of an endpoint, newest first.

    Raises:
        Unsupported: The target keeps none.
    """
    found: list[EndpointRevision] = []
    token: str | None = None
    while True:
        page = place.target.list_revisions(endpoint, token=token)
        found += page.items
        token = page.token
        if token is None:
            return found
