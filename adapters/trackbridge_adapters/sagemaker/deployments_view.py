"""How an endpoint stands: SageMaker's own answers, and what our records add to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from trackbridge.domain.deployment_changes import Facts, facts_of, spec_of
from trackbridge.domain.deployments import (
    Autoscale,
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
)
from trackbridge.errors import AuthError, NotFound
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments_names import deployment_of, native_endpoint
from trackbridge_adapters.sagemaker.deployments_records import Companion, EndpointRecord, Records
from trackbridge_adapters.sagemaker.deployments_scaling import scaling_of

STATUSES = {
    "Creating": EndpointStatus.CREATING,
    "InService": EndpointStatus.READY,
    "Updating": EndpointStatus.UPDATING,
    "SystemUpdating": EndpointStatus.UPDATING,
    "RollingBack": EndpointStatus.UPDATING,
    "Deleting": EndpointStatus.DELETING,
    "Failed": EndpointStatus.FAILED,
    "OutOfService": EndpointStatus.FAILED,
    "UpdateRollbackFailed": EndpointStatus.FAILED,
}
"""SageMaker's states of an endpoint, and ours."""
BUSY = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack"})
"""States in which SageMaker takes no change."""
TAKEN_BACK = "SageMaker took the change back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A variant of the config in use, with what it really has. ``asked`` is its part of the config."""

    deployment: str
    asked: Mapping[str, Any]
    mirrors: bool
    weight: float
    desired_count: int | None
    current_count: int | None

    @property
    def name(self) -> str:
        """SageMaker's name."""
        return str(self.asked["VariantName"])


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is known of one endpoint at one moment."""

    endpoint: str
    native: str
    record: EndpointRecord | None
    told: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    kept: Companion = field(default_factory=Companion)
    pending: Companion | None = None
    scaling: Mapping[str, Autoscale] | None = None
    """Of each deployment that scales by itself; None where it may not be asked for."""

    @property
    def exists(self) -> bool:
        """Whether there is an endpoint, at SageMaker or so far only for us; not one that others deleted."""
        record = self.record
        return self.told is not None or (record is not None and not record.is_deleting and not record.settled)

    @property
    def status(self) -> str:
        """SageMaker's word for its state, "" where it has none."""
        return str(self.told["EndpointStatus"]) if self.told is not None else ""

    @property
    def config_name(self) -> str:
        """The config in use."""
        return str(self.told["EndpointConfigName"]) if self.told is not None else ""

    @property
    def is_busy(self) -> bool:
        """Whether SageMaker takes no change now."""
        return self.status in BUSY

    @property
    def is_settled(self) -> bool:
        """Whether what comes after a change (scaling, cleaning) was done for the config in use."""
        return self.record is None or self.record.settled == self.config_name

    @property
    def variants(self) -> list[Variant]:
        """The variants of the config in use; production first."""
        return [
            *self._variants("ProductionVariants", False),
            *self._variants("ShadowProductionVariants", True),
        ]

    def find(self, deployment: str) -> Variant | None:
        """Return the variant of a deployment."""
        return next((each for each in self.variants if each.deployment == deployment), None)

    def _variants(self, key: str, mirrors: bool) -> Iterator[Variant]:
        live = {each["VariantName"]: each for each in (self.told or {}).get(key, ())}
        for asked in self.config.get(key, ()):
            told = live.get(asked["VariantName"], {})
            count = asked.get("InitialInstanceCount")
            yield Variant(
                deployment=deployment_of(asked["VariantName"]),
                asked=asked,
                mirrors=mirrors,
                weight=float(told.get("DesiredWeight", asked.get("InitialVariantWeight", 1.0))),
                desired_count=told.get("DesiredInstanceCount", count),
                current_count=told.get("CurrentInstanceCount"),
            )


class Views:
    """Looks at endpoints of a place."""

    def __init__(self, backend: Backend, records: Records) -> None:
        self._backend = backend
        self._clients = backend.clients
        self._records = records

    def look(self, endpoint: str) -> View:
        """Return how an endpoint stands now."""
        native = native_endpoint(self._backend.place, endpoint)
        record = self._records.endpoint(endpoint)
        told = self.described(native)
        if told is None:
            return View(endpoint=endpoint, native=native, record=record)
        config_name = told["EndpointConfigName"]
        pending = told.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
        config = self._config(config_name)
        return View(
            endpoint=endpoint,
            native=native,
            record=record,
            told=told,
            config=config,
            kept=self._records.companion(endpoint, config_name) or Companion(),
            pending=self._records.companion(endpoint, pending) if pending else None,
            scaling=self._scaling(native, config),
        )

    def described(self, native: str) -> dict[str, Any] | None:
        """Return what SageMaker tells of an endpoint; None where there is none."""
        try:
            return self._clients.call("sagemaker", "DescribeEndpoint", EndpointName=native)
        except NotFound:
            return None

    def _config(self, name: str) -> dict[str, Any]:
        try:
            return self._clients.call("sagemaker", "DescribeEndpointConfig", EndpointConfigName=name)
        except NotFound:  # somebody has deleted it from under the endpoint, which goes on without
            return {}

    def _scaling(self, native: str, config: Mapping[str, Any]) -> dict[str, Autoscale] | None:
        names = [each["VariantName"] for each in config.get("ProductionVariants", ())]
        try:
            return scaling_of(self._clients, native, names)
        except AuthError:
            return None


def state_of(view: View, url: str | None = None) -> EndpointState | None:
    """Return the state of an endpoint; None where there is none."""
    if not view.exists:
        return None
    deployments = {each.deployment: each for each in _deployments(view)}
    ordered = tuple(deployments[name] for name in sorted(deployments))
    told = view.told or {}
    if view.told is not None:
        status = STATUSES.get(view.status, EndpointStatus.FAILED)
    else:
        status = _status_without(view, ordered)
    lack = "none of its deployments could be started" if status is EndpointStatus.FAILED else ""
    return EndpointState(
        endpoint=view.endpoint,
        status=status,
        deployments=ordered,
        url=url if view.told is not None else None,
        reason=str(told.get("FailureReason", "")) or lack,
        native_id=told.get("EndpointArn"),
    )


def _status_without(view: View, deployments: tuple[DeploymentState, ...]) -> EndpointStatus:
    """Return the state of an endpoint that SageMaker has not."""
    if view.record is not None and view.record.batch:
        return EndpointStatus.READY
    return EndpointStatus.FAILED if deployments else EndpointStatus.CREATING


def _deployments(view: View) -> Iterator[DeploymentState]:
    """Yield the deployments; of two of one name the later counts."""
    failures = view.record.failures if view.record is not None else {}
    pending = _pending(view)
    present = {each.deployment for each in view.variants}
    for name, failure in failures.items():
        if name not in present and name not in pending:
            yield _failed(view, name, failure.facts, failure.reason)
    yield from _batch(view.record)
    traffic, copies = shares_in(view)
    for variant in view.variants:
        name = variant.deployment
        facts = pending.get(name, _facts(view, variant))
        reason = failures[name].reason if name in failures else ""
        yield _live(view, variant, facts, name in pending, reason, traffic, copies)
    for name in pending.keys() - present:
        spec = spec_of(pending[name])
        yield DeploymentState(
            deployment=name,
            model=spec.model,
            status=EndpointStatus.CREATING,
            instance_count=spec.instance_count,
            spec=spec,
        )


def _batch(record: EndpointRecord | None) -> Iterator[DeploymentState]:
    for name, served in (record.batch if record is not None else {}).items():
        share = record.traffic.get(name, 0) if record is not None else 0
        spec = msgspec.structs.replace(spec_of(served.facts), traffic_percent=share)
        yield DeploymentState(
            deployment=name,
            model=spec.model,
            status=EndpointStatus.READY,
            traffic_percent=share,
            instance_count=spec.instance_count,
            spec=spec,
            native_id=served.model,
            time=served.time,
            user=served.user,
        )


def _pending(view: View) -> dict[str, Facts]:
    """Return the deployments that an update under way brings or changes."""
    if view.pending is None or view.status not in ("Updating", "SystemUpdating"):
        return {}
    before = {name: served.facts for name, served in view.kept.deployments.items()}
    return {
        name: served.facts
        for name, served in view.pending.deployments.items()
        if before.get(name) != served.facts
    }


def _failed(view: View, name: str, facts: Facts, reason: str) -> DeploymentState:
    spec = spec_of(facts)
    return DeploymentState(
        deployment=name,
        model=spec.model,
        status=EndpointStatus.FAILED,
        instance_count=spec.instance_count,
        reason=reason,
        spec=spec,
    )


def _live(
    view: View,
    variant: Variant,
    facts: Facts | None,
    is_pending: bool,
    reason: str,
    shares: Mapping[str, int],
    mirrors: Mapping[str, int],
) -> DeploymentState:
    has_failed = STATUSES.get(view.status) is EndpointStatus.FAILED
    name = variant.deployment
    status = EndpointStatus.UPDATING if is_pending else EndpointStatus.READY
    if view.status == "Creating":
        status = EndpointStatus.CREATING
    elif has_failed:
        status = EndpointStatus.FAILED
    elif view.status == "Deleting":
        status = EndpointStatus.DELETING
    is_lost = view.status == "Failed"
    traffic, mirror = (0, 0) if is_lost else (shares.get(name, 0), mirrors.get(name, 0))
    spec = None
    if facts is not None:
        spec = msgspec.structs.replace(spec_of(facts), traffic_percent=traffic, mirror_percent=mirror)
    told = view.told or {}
    count = variant.current_count if variant.current_count is not None else variant.desired_count
    served = view.kept.deployments.get(name)
    return DeploymentState(
        deployment=name,
        model=spec.model if spec is not None else str(variant.asked.get("ModelName", "")),
        status=status,
        traffic_percent=traffic,
        mirror_percent=mirror,
        instance_count=count,
        reason=reason or (str(told.get("FailureReason", "")) if has_failed else ""),
        spec=spec,
        native_id=f"{view.native}/{variant.name}",
        time=served.time if served is not None and spec is not None else None,
        user=served.user if served is not None and spec is not None else "",
    )


def shares_in(view: View) -> tuple[dict[str, int], dict[str, int]]:
    """Return the shares of live requests and of copies, in percent, that the weights stand for."""
    variants = view.variants
    weights = {each.deployment: each.weight for each in variants if not each.mirrors}
    total = sum(weights.values())
    exact = {name: 100 * weight / total if total else 0.0 for name, weight in weights.items()}
    whole = {name: int(share) for name, share in exact.items()}
    left = round(sum(exact.values())) - sum(whole.values())
    for name in sorted(exact, key=lambda each: (whole[each] - exact[each], each))[:left]:
        whole[name] += 1
    mirrors = {
        each.deployment: min(100, round(100 * each.weight / total)) if total else 0
        for each in variants
        if each.mirrors
    }
    return whole, mirrors


def _facts(view: View, variant: Variant) -> Facts | None:
    """Return a deployment of ours as it really stands: what was changed by hand since counts."""
    served = view.kept.deployments.get(variant.deployment)
    if served is None or served.model != variant.asked.get("ModelName"):
        return None
    spec = spec_of(served.facts)
    if view.status != "InService" or not view.is_settled:
        return served.facts
    return facts_of(msgspec.structs.replace(spec, **_real(view, variant, spec)))


def _real(view: View, variant: Variant, spec: DeploymentSpec) -> dict[str, Any]:
    real: dict[str, Any] = {}
    capture = (view.told or {}).get("DataCaptureConfig", {})
    is_on = capture.get("EnableCapture", False)
    real["capture_percent"] = int(capture.get("CurrentSamplingPercentage", 0)) if is_on else 0
    real["detailed_metrics"] = bool(view.config.get("MetricsConfig", {}).get("EnableEnhancedMetrics", False))
    if view.scaling is not None:
        real["autoscale"] = view.scaling.get(variant.name)
    scales = real.get("autoscale", spec.autoscale) is not None
    if variant.desired_count is not None and not scales:
        real["instance_count"] = variant.desired_count
    return real
