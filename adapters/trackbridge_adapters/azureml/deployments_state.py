"""What ARM says of an endpoint, as the port has it.

What Azure tells of a deployment (machines, variables, timeouts) is read from Azure, whoever changed it; the
rest of the spec comes of our tags. A deployment whose model is not the one in its tags, and one that somebody
else made, has no spec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trackbridge.domain.deployments import (
    Autoscale,
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
)
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import created_ms, creator_of, properties_of
from trackbridge_adapters.azureml.deployments_names import (
    MODEL,
    TIME,
    USER,
    asset_in,
    own_deployment,
    spec_in,
)
from trackbridge_adapters.azureml.deployments_resources import HeldEndpoint, state_of

OURS = "BRIDGE_SERVING_"
"""How variables begin that we give to a server of ours."""
SINKS, INSIGHTS = "BRIDGE_TELEMETRY_SINKS", "APPLICATIONINSIGHTS_CONNECTION_STRING"
"""Variables that say where a server of ours tells what it scores."""
ADDED = frozenset({SINKS, INSIGHTS, "AML_APP_ROOT", "SERVER_PORT"})
ADDED_PREFIXES = (OURS, "AZUREML_")
"""Variables, by names and by how they begin, that we add to what is wanted, or Azure itself does."""
_STATUS = {
    "creating": EndpointStatus.CREATING,
    "updating": EndpointStatus.UPDATING,
    "scaling": EndpointStatus.UPDATING,
    "deleting": EndpointStatus.DELETING,
    "failed": EndpointStatus.FAILED,
    "canceled": EndpointStatus.FAILED,
}
_DURATION = re.compile(
    r"P(?:(?P<days>[\d.]+)D)?(?:T(?:(?P<hours>[\d.]+)H)?(?:(?P<minutes>[\d.]+)M)?(?:(?P<seconds>[\d.]+)S)?)?"
)
_UNITS = {"days": 86_400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}

Scales = Mapping[str, Autoscale]
"""Bounds of the numbers of instances, by ids of deployments in small letters."""
WhyFailed = Callable[[Json], str]


def endpoint_state(held: HeldEndpoint, scales: Scales, why_failed: WhyFailed) -> EndpointState:
    """Return an endpoint as it stands.

    Args:
        held: Of ARM.
        scales: How its deployments scale by themselves.
        why_failed: Says why a deployment failed.
    """
    traffic, mirror = shares_in(held)
    deployments = tuple(
        sorted(
            (_deployment_state(item, held, traffic, mirror, scales, why_failed) for item in held.deployments),
            key=lambda found: found.deployment,
        )
    )
    status = _endpoint_status(held, deployments)
    lack = "none of its deployments could be started" if _have_all_failed(deployments) else ""
    told = properties_of(held.endpoint)
    return EndpointState(
        endpoint=str(held.endpoint.get("name")),
        status=status,
        deployments=deployments,
        url=str(told.get("scoringUri") or "") or None,
        reason=lack if status is EndpointStatus.FAILED else "",
        native_id=held.id,
    )


def shares_in(held: HeldEndpoint) -> tuple[dict[str, int], dict[str, int]]:
    """Return the shares of live requests and of copies, by our names of deployments, without zeros."""
    told = properties_of(held.endpoint)
    if held.is_batch:
        chosen = str((told.get("defaults") or {}).get("deploymentName") or "")
        return ({own_deployment(chosen): 100} if chosen else {}), {}
    return _own(told.get("traffic")), _own(told.get("mirrorTraffic"))


def _own(shares: Mapping[str, Any] | None) -> dict[str, int]:
    return {own_deployment(name): int(percent) for name, percent in (shares or {}).items() if percent}


def _deployment_state(
    found: Json,
    held: HeldEndpoint,
    traffic: Mapping[str, int],
    mirror: Mapping[str, int],
    scales: Scales,
    why_failed: WhyFailed,
) -> DeploymentState:
    name = own_deployment(str(found.get("name")))
    spec = spec_of(found, scales)
    tags = found.get("tags") or {}
    status = _STATUS.get(state_of(found), EndpointStatus.READY)
    if spec is not None:
        spec = msgspec.structs.replace(
            spec,
            endpoint=str(held.endpoint.get("name")),
            deployment=name,
            traffic_percent=traffic.get(name, 0),
            mirror_percent=mirror.get(name, 0),
        )
    time = str(tags.get(TIME) or "")
    return DeploymentState(
        deployment=name,
        model=str(tags.get(MODEL) or "") if spec is not None else model_of(found),
        status=status,
        traffic_percent=traffic.get(name, 0),
        mirror_percent=mirror.get(name, 0),
        instance_count=instances_of(found),
        reason=why_failed(found) if status is EndpointStatus.FAILED else "",
        spec=spec,
        native_id=str(found.get("id") or ""),
        time=int(time) if time.isdecimal() else created_ms(found),
        user=str(tags.get(USER) or "") or creator_of(found),
    )


def spec_of(found: Json, scales: Scales) -> DeploymentSpec | None:
    """Return what a deployment was made from, with no share of the traffic; None where that is not known."""
    tags, told = found.get("tags") or {}, properties_of(found)
    spec = spec_in(tags)
    if spec is None or asset_in(tags).lower() != model_of(found).lower():
        return None
    spec = msgspec.structs.replace(spec, traffic_percent=0, autoscale=scales.get(str(found["id"]).lower()))
    if "endpointComputeType" not in told:
        return spec
    requests = told.get("requestSettings") or {}
    at_once = int(requests.get("maxConcurrentRequestsPerInstance") or 1)
    count = spec.instance_count if spec.autoscale is not None else instances_of(found)
    return msgspec.structs.replace(
        spec,
        instance_type=told.get("instanceType") or spec.instance_type,
        instance_count=count or spec.instance_count,
        variables=_variables(told, spec.variables),
        request_timeout_s=seconds_of(requests.get("requestTimeout"), spec.request_timeout_s),
        concurrency_max=None if at_once == 1 and spec.concurrency_max is None else at_once,
        detailed_metrics=bool(told.get("appInsightsEnabled")),
        capture_percent=captured_percent(told),
    )


def model_of(found: Mapping[str, Any]) -> str:
    """Return the id of the model of a deployment, as Azure names it; "" where it has none."""
    model = properties_of(found).get("model") or ""
    return str(model.get("assetId") or model.get("path") or "") if isinstance(model, dict) else str(model)


def instances_of(found: Mapping[str, Any]) -> int | None:
    """Return how many instances a deployment is to have."""
    kept = (found.get("sku") or {}).get("capacity")
    if kept is None:
        kept = (properties_of(found).get("resources") or {}).get("instanceCount")
    return None if kept is None else int(kept)


def _variables(told: Mapping[str, Any], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a deployment, without those that we or Azure add to what is wanted."""
    return {
        str(name): str(value)
        for name, value in (told.get("environmentVariables") or {}).items()
        if name in wanted or not (str(name).startswith(ADDED_PREFIXES) or name in ADDED)
    }


def captured_percent(told: Mapping[str, Any]) -> int:
    """Return the share of payloads that are kept."""
    collections = {
        name.lower(): each
        for name, each in ((told.get("dataCollector") or {}).get("collections") or {}).items()
    }
    found = collections.get("request") or collections.get("model_inputs") or {}
    if str(found.get("dataCollectionMode") or "").lower() != "enabled":
        return 0
    rate = found.get("samplingRate")
    return 100 if rate is None else round(float(rate) * 100)


def seconds_of(duration: object, default: float) -> float:
    """Return the seconds of a duration as ARM writes it, such as ``PT1M30S``."""
    found = _DURATION.fullmatch(str(duration or ""))
    if found is None or not any(found.groups()):
        return default
    return sum(float(found[unit]) * seconds for unit, seconds in _UNITS.items() if found[unit])


def _have_all_failed(deployments: tuple[DeploymentState, ...]) -> bool:
    return {found.status for found in deployments} == {EndpointStatus.FAILED}


def _endpoint_status(held: HeldEndpoint, deployments: tuple[DeploymentState, ...]) -> EndpointStatus:
    native = _STATUS.get(state_of(held.endpoint), EndpointStatus.READY)
    if native is not EndpointStatus.READY:
        return native
    answering = [found.status for found in deployments if found.traffic_percent]
    if EndpointStatus.FAILED in answering or _have_all_failed(deployments):
        return EndpointStatus.FAILED
    settled = (EndpointStatus.READY, EndpointStatus.FAILED)
    return (
        EndpointStatus.READY
        if all(found.status in settled for found in deployments)
        else EndpointStatus.UPDATING
    )
