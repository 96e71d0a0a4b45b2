"""Changes of an endpoint: look, compare, write.

::

    payload -> look -> as after? done -- as before? else PlanStale
            -> file of the config -> models -> config -> endpoint: create, update, or shift weights

Everything up to the last call is named by its content and changes nothing that serves, so that a change which
broke off is made again from the start. SageMaker has no condition on updates; between look and write lie a
few calls, and an endpoint that is being changed refuses other changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from trackbridge.domain.deployment_changes import (
    Facts,
    checked_endpoint_name,
    facts_of,
    is_same_deployment,
    shares_of,
    spec_of,
    split_subject,
)
from trackbridge.domain.deployments import DeploymentSpec, DeploymentState, EndpointStatus, Operation, Serving
from trackbridge.domain.plans import Change
from trackbridge.errors import Conflict, PlanStale, Rejected, Unavailable
from trackbridge_adapters.sagemaker import deployments_scaling
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments_aftermath import Aftermath
from trackbridge_adapters.sagemaker.deployments_models import BatchModels
from trackbridge_adapters.sagemaker.deployments_operations import CONFIG, DELETE, WEIGHTS, begun, held
from trackbridge_adapters.sagemaker.deployments_options import Defaults, options_of
from trackbridge_adapters.sagemaker.deployments_payloads import Payloads
from trackbridge_adapters.sagemaker.deployments_plan import Planner
from trackbridge_adapters.sagemaker.deployments_records import EndpointRecord, Records
from trackbridge_adapters.sagemaker.deployments_requests import Draft, Drafts
from trackbridge_adapters.sagemaker.deployments_view import View, Views, state_of
from trackbridge_adapters.sagemaker.jobs_roles import role_of

OPERATION = "deployments.apply"
IN_PROGRESS = "in-progress"
"""How SageMaker says that an endpoint is being changed."""
GONE_S, GONE_POLL_S = 20.0, 0.2
"""How long to wait for the rest of an endpoint that never came up to be gone, in seconds."""
SCALED = frozenset({"instance_count", "autoscale"})
"""Fields that are changed without a new config."""


class Changes:
    """Applies changes at one place. Any thread may use it."""

    def __init__(
        self,
        backend: Backend,
        defaults: Defaults,
        planner: Planner,
        records: Records,
        views: Views,
        aftermath: Aftermath,
    ) -> None:
        self._backend = backend
        self._clients = backend.clients
        self._defaults = defaults
        self._planner = planner
        self._records = records
        self._views = views
        self._aftermath = aftermath
        self._payloads = Payloads(backend.bucket)
        self._drafts = Drafts(backend, defaults)
        self._models = BatchModels(backend.clients, records)

    def apply(self, change: Change, payload: Path | None) -> Operation:
        """Start a change; see the port."""
        kind, endpoint, deployment = split_subject(change.subject)
        if kind == "endpoint":
            return self._endpoint(change, checked_endpoint_name(endpoint))
        if kind == "traffic":
            return self._traffic(change, endpoint)
        if change.after is None:
            return self._remove(change, endpoint, deployment)
        return self._deployment(change, payload)

    # The endpoint.

    def _endpoint(self, change: Change, endpoint: str) -> Operation:
        view = self._views.look(endpoint)
        if view.status == "Deleting":
            raise stale(change, "it is being deleted")
        now_ms = self._backend.context.clock_ms()

        def made(record: EndpointRecord | None) -> EndpointRecord | None:
            return record if view.exists else EndpointRecord(created_time=now_ms)

        self._records.change(endpoint, made)
        return held()

    # Deployments.

    def _deployment(self, change: Change, payload: Path | None) -> Operation:
        assert change.after is not None
        given = spec_of(change.after)
        mirror, spec = given.mirror_percent, msgspec.structs.replace(given, mirror_percent=0)
        after = facts_of(spec)
        if change.subject != f"deployment {spec.endpoint}/{spec.deployment}":
            raise _rejected("the change is not of the deployment that it names", change, "plan again")
        self._planner.check(spec)
        view = self._view(change, spec.endpoint)
        if self._holds(view, change, spec, after):
            return self._held_or_busy(view, spec.deployment)
        source = self._payloads.address_of(spec, payload)
        view = self._view(change, spec.endpoint)  # an upload takes its time
        if self._holds(view, change, spec, after):
            return self._held_or_busy(view, spec.deployment)
        refuse_busy(view)
        view = self._without_rest(view)
        if self._is_scaled_only(view, spec, after):
            return self._scale(view, spec, after)
        options = options_of(spec.options)
        role = options.role or role_of(self._defaults.jobs, self._clients)
        model = self._drafts.model(spec, view.native, source=source, role=role)
        if spec.serving is Serving.BATCH:
            served = self._drafts.served(after, model["ModelName"])
            return self._models.bring(view, spec.deployment, served, model)
        draft = self._drafts.with_deployment(view, spec, after, model, mirror=mirror)
        return self._send(view, draft, spec.deployment)

    def _holds(self, view: View, change: Change, spec: DeploymentSpec, after: Facts) -> bool:
        """Tell whether a deployment stands as it is wanted.

        Raises:
            PlanStale: It stands neither so nor as it was planned from.
        """
        current = _deployment(view, spec.deployment)
        now = _held(current)
        has_failed = current is not None and current.status is EndpointStatus.FAILED
        is_as_after = is_same_deployment(now, after)
        if is_as_after and not has_failed:
            return True
        if not is_as_after and not _is_unchanged(now, change.before):
            raise stale(change, "it is another one now")
        return False

    def _is_scaled_only(self, view: View, spec: DeploymentSpec, after: Facts) -> bool:
        """Tell whether nothing but the number of instances changes, for which no machine is started anew."""
        current = _deployment(view, spec.deployment)
        if current is None or current.spec is None or spec.serving is Serving.SERVERLESS:
            return False
        variant = view.find(spec.deployment)
        if current.status is EndpointStatus.FAILED or variant is None or variant.mirrors:
            return False
        before = facts_of(current.spec)
        changed = {name for name in after if before.get(name) != after[name]} - {"model_source"}
        return bool(changed) and changed <= SCALED

    def _scale(self, view: View, spec: DeploymentSpec, after: Facts) -> Operation:
        served = view.kept.deployments[spec.deployment]
        deployments = {**view.kept.deployments, spec.deployment: self._drafts.served(after, served.model)}
        companion = msgspec.structs.replace(view.kept, deployments=deployments)
        self._records.keep_companion(view.endpoint, view.config_name, companion)
        self._unsettle(view)
        variant = view.find(spec.deployment)
        if spec.autoscale is None and variant is not None and not variant.mirrors:
            deployments_scaling.stop(self._clients, view.native, variant.name)
            if variant.desired_count != spec.instance_count:
                capacity = {"VariantName": variant.name, "DesiredInstanceCount": spec.instance_count}
                self._weigh(view, [capacity])
        return begun(CONFIG, view.endpoint, view.config_name, spec.deployment)

    def _remove(self, change: Change, endpoint: str, deployment: str) -> Operation:
        view = self._views.look(endpoint)
        current = _deployment(view, deployment) if view.exists else None
        if current is None:
            return self._busy(view, "") if view.is_busy else held()
        if not _is_unchanged(_held(current), change.before):
            raise stale(change, "it is another one now")
        if current.traffic_percent:
            raise stale(change, "it has traffic now")
        if view.find(deployment) is None or view.status == "Failed":
            self._without_rest(view)
            self._models.remove(view, deployment)
            self._aftermath.forget_failure(endpoint, deployment)
            return held()
        refuse_busy(view)
        draft = self._drafts.without(view, deployment)
        if draft is None:
            return self._remove_last(view)
        return self._send(view, draft, "")

    def _remove_last(self, view: View) -> Operation:
        """Take away the only deployment: SageMaker has no endpoint without one, we have."""
        self._unsettle(view)
        self._aftermath.stop_scaling(view)
        self._clients.call("sagemaker", "DeleteEndpoint", EndpointName=view.native)
        return begun(DELETE, view.endpoint)

    # Traffic.

    def _traffic(self, change: Change, endpoint: str) -> Operation:
        after = _checked_shares(change)
        view = self._view(change, endpoint)
        state = state_of(view)
        assert state is not None
        mirrors = {found.deployment: found.mirror_percent for found in state.deployments}
        now = shares_of(state.traffic, mirrors)
        if now == after:
            return self._held_or_busy(view, "")
        if now != change.before:
            raise stale(change, f"the traffic is {now['traffic']}, copies {now['mirror']}")
        for name in (*after["traffic"], *after["mirror"]):
            found = state.find(name)
            if found is None:
                raise stale(change, f"there is no deployment {name!r}")
            if found.status is EndpointStatus.FAILED or not (view.find(name) or found.native_id):
                reason = found.reason or found.status.value
                raise _rejected(
                    f"{endpoint}/{name} does not serve: {reason}", change, "deploy it again first"
                )
        refuse_busy(view)
        if view.told is None:
            return self._models.share(view, after["traffic"])
        if now["mirror"].keys() != after["mirror"].keys() or (after["mirror"] and now != after):
            return self._send(view, self._drafts.with_shares(view, after["traffic"], after["mirror"]), "")
        weights = [
            {"VariantName": each.name, "DesiredWeight": float(after["traffic"].get(each.deployment, 0))}
            for each in view.variants
            if not each.mirrors
        ]
        self._weigh(view, weights)
        return begun(WEIGHTS, endpoint, view.config_name)

    def _weigh(self, view: View, wanted: list[dict[str, Any]]) -> None:
        self._call(
            view,
            "UpdateEndpointWeightsAndCapacities",
            EndpointName=view.native,
            DesiredWeightsAndCapacities=wanted,
        )

    # What they share.

    def _view(self, change: Change, endpoint: str) -> View:
        """Return how an endpoint stands that must be there.

        Raises:
            PlanStale: It is not.
        """
        view = self._views.look(endpoint)
        if not view.exists or view.status == "Deleting":
            raise stale(change, "there is no such endpoint any more")
        return view

    def _held_or_busy(self, view: View, deployment: str) -> Operation:
        """Return the operation of a change that holds: under way, or finished with its aftermath."""
        if view.is_busy:
            return self._busy(view, deployment)
        if not view.is_settled and view.status == "InService":
            self._aftermath.settle(view)
        return held()

    def _busy(self, view: View, deployment: str) -> Operation:
        pending = (view.told or {}).get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        if view.status == "Creating" or pending:
            return begun(CONFIG, view.endpoint, pending or view.config_name, deployment)
        return begun(WEIGHTS, view.endpoint, view.config_name)

    def _without_rest(self, view: View) -> View:
        """Return the view without an endpoint that never came up, whose name it would block.

        Raises:
            Unavailable: SageMaker takes long to delete it.
        """
        if view.status != "Failed":
            return view
        self._aftermath.clear_rest(view)
        for _ in range(round(GONE_S / GONE_POLL_S)):
            if self._views.described(view.native) is None:
                return self._views.look(view.endpoint)
            Event().wait(GONE_POLL_S)
        raise _unavailable(f"the endpoint {view.native}, which never came up, is still being deleted", view)

    def _send(self, view: View, draft: Draft, deployment: str) -> Operation:
        """Make the config, and let the endpoint be made from it or go over to it."""
        self._records.keep_companion(view.endpoint, draft.name, draft.companion)
        for model in draft.models:
            self._make("CreateModel", model)
        self._make("CreateEndpointConfig", draft.request)
        self._unsettle(view)
        if view.told is None:
            tags = [{"Key": "bridge.endpoint", "Value": view.endpoint}]
            named: dict[str, Any] = {
                "EndpointName": view.native,
                "EndpointConfigName": draft.name,
                "Tags": tags,
            }
            if draft.policy is not None:
                named["DeploymentConfig"] = draft.policy
            self._make("CreateEndpoint", named)
        else:
            for name in draft.leaving:
                self._aftermath.stop_variant(view.native, name)
            self._update(view, draft)
        return begun(CONFIG, view.endpoint, draft.name, deployment)

    def _update(self, view: View, draft: Draft) -> None:
        named: dict[str, Any] = {"RetainAllVariantProperties": True}
        if draft.excluded:
            excluded = [{"VariantPropertyType": each} for each in draft.excluded]
            named["ExcludeRetainedVariantProperties"] = excluded
        if draft.policy is not None:
            named["DeploymentConfig"] = draft.policy
        self._call(view, "UpdateEndpoint", EndpointName=view.native, EndpointConfigName=draft.name, **named)

    def _unsettle(self, view: View) -> None:
        """Note that what comes after the change is not done yet."""
        now_ms = self._backend.context.clock_ms()

        def changed(record: EndpointRecord | None) -> EndpointRecord:
            known = record or EndpointRecord(created_time=now_ms)
            return msgspec.structs.replace(known, settled="", is_deleting=False)

        self._records.change(view.endpoint, changed)

    def _make(self, operation: str, request: Mapping[str, Any]) -> None:
        """Make what is named by its content: one that is there already is the same."""
        try:
            self._clients.call("sagemaker", operation, **request)
        except Conflict:
            if operation == "CreateEndpoint":
                raise

    def _call(self, view: View, operation: str, /, **named: Any) -> None:
        try:
            self._clients.call("sagemaker", operation, **named)
        except (Rejected, Conflict) as error:
            if IN_PROGRESS in error.message:
                raise _unavailable(
                    f"the endpoint {view.native} is being changed by somebody else", view
                ) from error
            raise


def refuse_busy(view: View) -> None:
    """Refuse to change an endpoint that is being changed.

    Raises:
        Unavailable: It is.
    """
    if view.is_busy:
        raise _unavailable(f"the endpoint {view.native} is being changed ({view.status})", view)


def _unavailable(message: str, view: View) -> Unavailable:
    return Unavailable(
        message,
        adapter=ADAPTER,
        operation=OPERATION,
        resource=f"endpoint {view.endpoint}",
        hint=f"wait until it is in service: bridge endpoints show {view.endpoint}",
    )


def _deployment(view: View, name: str) -> DeploymentState | None:
    state = state_of(view)
    return state.find(name) if state is not None else None


def _held(current: DeploymentState | None) -> Facts | None:
    if current is None:
        return None
    return facts_of(current.spec) if current.spec is not None else {"model": current.model}


def _is_unchanged(now: Facts | None, before: Facts | None) -> bool:
    """Tell whether a deployment is as it was; what is captured is the endpoint's, for all alike."""
    shared = {"capture_percent": 0}
    both = (facts if facts is None else {**facts, **shared} for facts in (now, before))
    return is_same_deployment(*both)


def _checked_shares(change: Change) -> dict[str, dict[str, int]]:
    try:
        shares = msgspec.convert(change.after, dict[str, dict[str, int]])
        found = {"traffic": shares["traffic"], "mirror": shares["mirror"]}
    except (msgspec.ValidationError, KeyError) as error:
        raise _rejected(f"the change does not hold shares: {error}", change, "plan again") from error
    wrong = any(not 0 < percent <= 100 for part in found.values() for percent in part.values())
    if wrong or sum(found["traffic"].values()) != 100:
        raise _rejected(f"{found['traffic']} is not 100 % in all", change, "plan again")
    return found


def _rejected(message: str, change: Change, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation=OPERATION, resource=change.subject, hint=hint)


def stale(change: Change, why: str) -> PlanStale:
    """Return the error of a change whose subject stands neither as before nor as after it."""
    return PlanStale(
        f"{change.subject} is not as it was planned from: {why}",
        adapter=ADAPTER,
        operation=OPERATION,
        hint="plan again, look at it, and apply that",
    )
