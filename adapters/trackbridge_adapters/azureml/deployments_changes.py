"""Changes of endpoints and deployments: compared with what stands just before the write, then begun.

::

    GET endpoint and deployments -> as after?   done, or under way already: nothing is sent
                                 -> as before?  bring what is named, PUT (or PATCH the number of instances)
                                 -> neither:    PlanStale

So a change that was begun by a process that died is found again, and traffic that somebody else has set
meanwhile is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackbridge.domain.deployment_changes import (
    Facts,
    facts_of,
    is_same_deployment,
    shares_of,
    spec_of,
    split_subject,
)
from trackbridge.domain.deployments import Authentication, DeploymentSpec, Operation, Serving
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import InvalidInput, PlanStale, Rejected
from trackbridge_adapters.azureml import deployments_state as state
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.deployments_assets import DeploymentAssets
from trackbridge_adapters.azureml.deployments_names import (
    TIME,
    USER,
    asset_in,
    spec_in,
    spec_tags,
    without_ours,
)
from trackbridge_adapters.azureml.deployments_requests import (
    MODES,
    batch_endpoint_with_default,
    deployment_body,
    endpoint_with_traffic,
    instances_at_first,
    new_endpoint,
)
from trackbridge_adapters.azureml.deployments_resources import (
    BATCH,
    ONLINE,
    EndpointResources,
    HeldEndpoint,
    held_operation,
    is_under_way,
    state_of,
)
from trackbridge_adapters.azureml.deployments_scaling import Scaling

OPERATION = "deployments.apply"
FAILED = ("failed", "canceled")


class DeploymentChanges:
    """Applies changes. Any thread may use it.

    Args:
        resources: Of the workspace.
        assets: Brings what deployments name.
        scaling: How deployments scale by themselves.
        location: Returns the region of the workspace.
        user: Returns who signs in, for the tags.
        clock_ms: Milliseconds since 1970.
        before_end: Called with an endpoint's and a deployment's name before that is deleted.
    """

    def __init__(
        self,
        resources: EndpointResources,
        assets: DeploymentAssets,
        scaling: Scaling,
        *,
        location: Callable[[], str],
        user: Callable[[], str],
        clock_ms: Callable[[], int],
        before_end: Callable[[HeldEndpoint, str], None],
    ) -> None:
        self._resources = resources
        self._assets = assets
        self._scaling = scaling
        self._location = location
        self._user = user
        self._clock_ms = clock_ms
        self._before_end = before_end

    def apply(self, change: Change, payload: Path | None) -> Operation:
        """Begin one change; see the port."""
        kind, endpoint, deployment = split_subject(change.subject)
        held = self._resources.find(endpoint)
        if kind == "endpoint":
            return self._endpoint(change, endpoint, held)
        if held is None:
            if kind == "deployment" and change.after is None:
                return held_operation()
            raise _stale(change, "the endpoint is gone")
        if kind == "traffic":
            return self._traffic(change, held)
        if change.after is None:
            return self._removal(change, held, deployment)
        return self._deployment(change, held, deployment, payload)

    # Endpoints.

    def _endpoint(self, change: Change, endpoint: str, held: HeldEndpoint | None) -> Operation:
        serving, mode = wanted_endpoint(change.after or {})
        kind = BATCH if serving is Serving.BATCH else ONLINE
        if held is None:
            tags = {TIME: str(self._clock_ms()), **({USER: self._user()} if self._user() else {})}
            body = {**new_endpoint(self._location(), mode, serving), "tags": tags}
            return self._resources.change("PUT", change.subject, kind, body)
        found = str(properties_of(held.endpoint).get("authMode") or "")
        if held.kind != kind or (mode is not None and found.lower() != MODES[mode].lower()):
            raise _stale(change, f"somebody has made another one, with the authentication {found}")
        if is_under_way(held.endpoint):
            return self._resources.going_on(change.subject, kind)
        if state_of(held.endpoint) not in FAILED:
            return held_operation()
        shares = state.shares_in(held)
        body = endpoint_with_traffic(held.endpoint, *shares, self._clock_ms())
        if held.is_batch:
            body = batch_endpoint_with_default(held.endpoint, next(iter(shares[0]), ""))
        return self._resources.change("PUT", change.subject, kind, body)

    # Traffic.

    def _traffic(self, change: Change, held: HeldEndpoint) -> Operation:
        after = _shares(change.after)
        current = shares_of(*state.shares_in(held))
        if current == after:
            done = not is_under_way(held.endpoint)
            return held_operation() if done else self._resources.going_on(change.subject, held.kind)
        if current != _shares(change.before):
            raise _stale(change, f"the traffic is {current['traffic']} with the mirror {current['mirror']}")
        for name in {**after["traffic"], **after["mirror"]}:
            _check_serves(held, name, is_new=name not in current["traffic"])
        if held.is_batch:
            body = batch_endpoint_with_default(held.endpoint, next(iter(after["traffic"]), ""))
        else:
            body = endpoint_with_traffic(held.endpoint, after["traffic"], after["mirror"], self._clock_ms())
        return self._resources.change("PUT", change.subject, held.kind, body)

    # Deployments.

    def _deployment(
        self, change: Change, held: HeldEndpoint, deployment: str, payload: Path | None
    ) -> Operation:
        wanted = spec_of(change.after or {})
        _check_authentication(wanted, held)
        current = held.find(deployment)
        facts, scale = self._facts(current)
        has_failed = current is not None and state_of(current) in FAILED
        after = facts_of(wanted)
        is_as_after = is_same_deployment(facts, after)
        if current is not None and is_under_way(current):
            if _is_same_but_scale(facts, after):
                self._scaling.set(str(current["id"]), wanted.autoscale, scale)
                return self._resources.going_on(change.subject, held.kind)
            raise _stale(change, f"it is {state_of(current)}")
        if is_as_after and not has_failed:
            return held_operation()
        is_beside_scale = not has_failed and _is_same_but_scale(facts, after)
        if not (is_same_deployment(facts, _before(change)) or is_as_after or is_beside_scale):
            raise _stale(change, f"it was made from {(facts or {}).get('model', 'nothing')}")
        if current is not None and not has_failed and not held.is_batch and _is_light(facts, after):
            body = self._light_body(wanted, current)
            operation = self._resources.change("PATCH", change.subject, held.kind, body)
        else:
            operation = self._put(change, wanted, held, current, payload)
        if not held.is_batch:
            self._scaling.set(self._resources.id_of(held, deployment), wanted.autoscale, scale)
        return operation

    def _put(
        self,
        change: Change,
        wanted: DeploymentSpec,
        held: HeldEndpoint,
        current: Json | None,
        payload: Path | None,
    ) -> Operation:
        brought = self._assets.bring(wanted, payload)
        tags = spec_tags(wanted, brought.model, user=self._user(), time_ms=self._clock_ms())
        body = deployment_body(wanted, brought, tags, str(held.endpoint.get("location") or ""), current)
        return self._resources.change("PUT", change.subject, held.kind, body)

    def _light_body(self, wanted: DeploymentSpec, current: Json) -> Json:
        """Return what changes how many instances there are: nothing is started anew for it."""
        tags = current.get("tags") or {}
        told = spec_tags(wanted, asset_in(tags), user="", time_ms=0)
        kept = {name: str(tags[name]) for name in (USER, TIME) if name in tags}
        count = instances_at_first(wanted, state.instances_of(current))
        return {"sku": {"capacity": count}, "tags": {**without_ours(tags), **told, **kept}}

    def _facts(self, current: Json | None) -> tuple[Facts | None, bool]:
        """Return a deployment as a change holds it, and whether a setting was made that lets it scale."""
        if current is None:
            return None, False
        spec = state.spec_of(current, self._scaling.bounds([current]))
        facts = {"model": state.model_of(current)} if spec is None else facts_of(spec)
        return facts, _was_scaled(current)

    def _removal(self, change: Change, held: HeldEndpoint, deployment: str) -> Operation:
        current = held.find(deployment)
        if current is None:
            return held_operation()
        if state_of(current) == "deleting":
            return self._resources.going_on(change.subject, held.kind)
        traffic, mirror = state.shares_in(held)
        if traffic.get(deployment) or mirror.get(deployment):
            raise _stale(change, "it gets requests")
        facts, scale = self._facts(current)
        if not is_same_deployment(facts, _before(change)):
            raise _stale(change, f"it was made from {(facts or {}).get('model')}")
        self._before_end(held, deployment)
        self._scaling.set(str(current["id"]), None, scale)
        return self._resources.change("DELETE", change.subject, held.kind)

    def delete(self, endpoint: str) -> Operation:
        """Begin deleting an endpoint; see the port."""
        held = self._resources.find(endpoint)
        subject = f"endpoint {endpoint}"
        if held is None:
            return held_operation()
        if state_of(held.endpoint) == "deleting":
            return self._resources.going_on(subject, held.kind)
        for found in held.deployments:
            self._before_end(held, str(found.get("name")))
            self._scaling.set(str(found["id"]), None, _was_scaled(found))
        return self._resources.change("DELETE", subject, held.kind)


def endpoint_facts(spec: DeploymentSpec) -> dict[str, Any]:
    """Return what the change that makes the endpoint of a spec holds."""
    told: dict[str, Any] = {"endpoint": spec.endpoint}
    if spec.serving is not Serving.REALTIME:
        told["serving"] = spec.serving.value
    if spec.authentication is not None:
        told["authentication"] = spec.authentication.value
    return told


def wanted_endpoint(facts: Mapping[str, Any]) -> tuple[Serving, Authentication | None]:
    """Return what a change that makes an endpoint says of it.

    Raises:
        InvalidInput: It was not made by ``endpoint_facts``.
    """
    try:
        mode = facts.get("authentication")
        return Serving(facts.get("serving", "realtime")), None if mode is None else Authentication(mode)
    except ValueError as error:
        raise InvalidInput(f"the change does not hold an endpoint: {error}", hint="plan again") from error


def _was_scaled(found: Json) -> bool:
    """Tell whether we have let a deployment scale: its setting may be off, or changed by others, by now."""
    spec = spec_in(found.get("tags") or {})
    return spec is not None and spec.autoscale is not None


def _before(change: Change) -> Facts | None:
    return None if change.before is None or change.action is Action.CREATE else dict(change.before)


def _shares(facts: Mapping[str, Any] | None) -> Facts:
    told = facts or {}
    return shares_of(told.get("traffic") or {}, told.get("mirror") or {})


def _is_same_but_scale(facts: Facts | None, after: Facts) -> bool:
    """Tell whether at most the bounds of the number of instances differ: a resource of their own."""
    return facts is not None and is_same_deployment({**facts, "autoscale": after["autoscale"]}, after)


def _is_light(facts: Facts | None, after: Facts) -> bool:
    """Tell whether only the number of instances differs, or its bounds."""
    numbers = {name: after[name] for name in ("autoscale", "instance_count")}
    return facts is not None and is_same_deployment({**facts, **numbers}, after)


def _check_authentication(wanted: DeploymentSpec, held: HeldEndpoint) -> None:
    found = str(properties_of(held.endpoint).get("authMode") or "")
    mode = wanted.authentication
    if mode is not None and found.lower() != MODES[mode].lower():
        raise Rejected(
            f"the endpoint has the authentication {found}, and the deployment asks for {mode.value}",
            adapter=ADAPTER,
            operation=OPERATION,
            hint="leave authentication out, or choose another name for a new endpoint",
        )


def _check_serves(held: HeldEndpoint, deployment: str, *, is_new: bool) -> None:
    found = held.find(deployment)
    if found is None or (is_new and state_of(found) in (*FAILED, "deleting")):
        what = "is not there" if found is None else f"is {state_of(found)} and cannot answer requests"
        raise Rejected(
            f"the deployment {deployment!r} {what}",
            adapter=ADAPTER,
            operation=OPERATION,
            hint="deploy it again, or give its share to another deployment",
        )


def _stale(change: Change, how: str) -> PlanStale:
    return PlanStale(
        f"{change.subject} has changed since the plan was made: {how}",
        adapter=ADAPTER,
        operation=OPERATION,
        resource=change.subject,
        hint="plan again",
    )
