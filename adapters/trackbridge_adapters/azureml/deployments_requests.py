"""The bodies of the requests that make and change endpoints and deployments.

A PUT replaces everything, and nothing guards two writers against each other (there are no etags): what was
read just before is sent again, with what is to change. azure-ai-ml sends an endpoint without its traffic, and
so takes it from everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trackbridge.domain.deployments import Authentication, DeploymentSpec, Serving
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.deployments_names import (
    MIRRORED,
    named_natively,
    native_deployment,
    without_ours,
)
from trackbridge_adapters.azureml.deployments_state import INSIGHTS, OURS, SINKS, instances_of

MODES = {
    Authentication.KEY: "Key",
    Authentication.TOKEN: "AMLToken",
    Authentication.IDENTITY: "AADToken",
}
READ_ONLY = frozenset({"provisioningState", "scoringUri", "swaggerUri"})
COLLECTIONS = ("request", "response")
SCRIPT = "score.py"
SLACK_S = 1.0
"""How much sooner than Azure our server gives a request up, so that the answer says why."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a deployment names, by ids in Azure; "" for what it has not.

    ``collections`` are ids of data assets by collection, ``insights`` says how Application Insights are
    reached.
    """

    model: str
    environment: str = ""
    code: str = ""
    compute: str = ""
    collections: Mapping[str, str] | None = None
    insights: str = field(default="", repr=False)


def new_endpoint(location: str, mode: Authentication | None, serving: Serving) -> Json:
    """Return the body that makes an endpoint."""
    if serving is Serving.BATCH:
        return {"location": location, "properties": {"authMode": "AADToken"}}
    return {
        "location": location,
        "kind": "Managed",
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "authMode": MODES[mode or Authentication.KEY],
            "traffic": {},
            "mirrorTraffic": {},
            "publicNetworkAccess": "Enabled",
        },
    }


def endpoint_with_traffic(
    endpoint: Json, traffic: Mapping[str, int], mirror: Mapping[str, int], now_ms: int
) -> Json:
    """Return an endpoint as it stands, with other shares; by our names of deployments."""
    body = _kept(endpoint)
    body["properties"] |= {"traffic": named_natively(traffic), "mirrorTraffic": named_natively(mirror)}
    mirrored = next(iter(mirror), "")
    body["tags"] = with_mirror(endpoint.get("tags") or {}, mirrored, now_ms)
    return body


def batch_endpoint_with_default(endpoint: Json, deployment: str) -> Json:
    """Return a batch endpoint as it stands, whose work goes to a deployment; "" for none."""
    body = _kept(endpoint)
    name = native_deployment(deployment) if deployment else None
    body["properties"]["defaults"] = {"deploymentName": name}
    return body


def with_mirror(tags: Mapping[str, Any], deployment: str, now_ms: int) -> dict[str, str]:
    """Return an endpoint's tags, which say to which deployment copies go, or went last, from when to when."""
    kept = {str(name): str(value) for name, value in tags.items()}
    name, begin, end = mirror_in(tags)
    if deployment and (deployment != name or end):
        kept[MIRRORED] = f"{deployment} {now_ms} 0"
    elif not deployment and name and not end:
        kept[MIRRORED] = f"{name} {begin} {now_ms}"
    return kept


def mirror_in(tags: Mapping[str, Any]) -> tuple[str, int, int]:
    """Return whom copies go to, or went to, from when to when (0: still), in milliseconds; "" for nobody."""
    name, _, times = str(tags.get(MIRRORED) or "").partition(" ")
    begin, _, end = times.partition(" ")
    is_good = begin.isdecimal() and end.isdecimal()
    return (name, int(begin), int(end)) if is_good else ("", 0, 0)


def _kept(endpoint: Json) -> Json:
    """Return what of an endpoint is ours to send back."""
    body: Json = {
        name: endpoint[name] for name in ("location", "kind", "sku", "tags") if endpoint.get(name) is not None
    }
    identity = endpoint.get("identity") or {}
    if identity:
        users = identity.get("userAssignedIdentities")
        body["identity"] = {"type": identity.get("type")}
        body["identity"] |= {"userAssignedIdentities": {name: {} for name in users}} if users else {}
    told = properties_of(endpoint)
    body["properties"] = {
        name: value for name, value in told.items() if name not in READ_ONLY and value is not None
    }
    return body


def deployment_body(
    spec: DeploymentSpec, brought: Brought, tags: Mapping[str, str], location: str, held: Json | None
) -> Json:
    """Return the body that makes or changes a deployment; what others set of it stays."""
    make = _batch_properties if spec.serving is Serving.BATCH else _online_properties
    before = {
        name: value
        for name, value in properties_of(held or {}).items()
        if name not in READ_ONLY and value is not None
    }
    body: Json = {
        "location": (held or {}).get("location") or location,
        "tags": {**without_ours((held or {}).get("tags")), **tags},
        "properties": {**before, **make(spec, brought)},
    }
    if spec.serving is not Serving.BATCH:
        body["kind"] = "Managed"
        current = None if held is None else instances_of(held)
        capacity = instances_at_first(spec, current)
        body["sku"] = {"name": "Default", "tier": "Standard", "capacity": capacity}
    return body


def instances_at_first(spec: DeploymentSpec, current: int | None = None) -> int:
    """Return how many instances a deployment begins with; one that scales goes on with those that it has."""
    scale = spec.autoscale
    if scale is None:
        return spec.instance_count
    return min(max(current or spec.instance_count, scale.instances_min), scale.instances_max)


def _online_properties(spec: DeploymentSpec, brought: Brought) -> Json:
    wait = spec.options.get("queue_wait_s")
    at_once = spec.concurrency_max or 1
    return {
        "endpointComputeType": "Managed",
        "model": brought.model,
        "environmentId": brought.environment or None,
        "codeConfiguration": _code(spec, brought),
        "instanceType": spec.instance_type,
        "environmentVariables": {**_server_variables(spec, brought.insights), **spec.variables},
        "requestSettings": {
            "requestTimeout": f"PT{spec.request_timeout_s:g}S",
            "maxConcurrentRequestsPerInstance": at_once,
            **({"maxQueueWait": f"PT{wait}S"} if wait else {}),
        },
        "scaleSettings": {"scaleType": "Default"},
        "appInsightsEnabled": spec.detailed_metrics,
        "dataCollector": _collector(spec, brought.collections or {}),
    }


def counts_itself(spec: DeploymentSpec) -> bool:
    """Tell whether a deployment may run our server or our script, which count what they score."""
    return bool(spec.image or spec.environment) and not spec.options.get("code")


def _server_variables(spec: DeploymentSpec, insights: str) -> dict[str, str]:
    """Return what tells a server of ours its settings; other images do not look at it."""
    if not counts_itself(spec):
        return {}
    sink = {SINKS: "application_insights", INSIGHTS: insights} if insights else {}
    return {
        **sink,
        f"{OURS}NAME": f"{spec.endpoint}/{spec.deployment}",
        f"{OURS}MODEL": spec.model,
        f"{OURS}TIMEOUT_S": f"{max(spec.request_timeout_s - SLACK_S, spec.request_timeout_s / 2):g}",
        f"{OURS}WORKERS": str(spec.concurrency_max or 1),
    }


def _code(spec: DeploymentSpec, brought: Brought) -> Json | None:
    if not brought.code:
        return None
    return {"codeId": brought.code, "scoringScript": spec.options.get("scoring_script", SCRIPT)}


def _collector(spec: DeploymentSpec, assets: Mapping[str, str]) -> Json | None:
    if not spec.capture_percent:
        return None
    each = {"dataCollectionMode": "Enabled", "samplingRate": spec.capture_percent / 100}
    return {
        "collections": {name: {**each, "dataId": assets[name]} for name in COLLECTIONS},
        "rollingRate": "Hour",
    }


def _batch_properties(spec: DeploymentSpec, brought: Brought) -> Json:
    options = spec.options
    return {
        "model": {"referenceType": "Id", "assetId": brought.model},
        "environmentId": brought.environment or None,
        "codeConfiguration": _code(spec, brought),
        "compute": brought.compute,
        "resources": {"instanceCount": spec.instance_count},
        "environmentVariables": dict(spec.variables),
        "maxConcurrencyPerInstance": spec.concurrency_max or 1,
        "miniBatchSize": int(options.get("mini_batch_size", "10")),
        "errorThreshold": int(options.get("error_threshold", "-1")),
        "outputAction": "AppendRow",
        "outputFileName": options.get("output_file", "predictions.csv"),
        "retrySettings": {"maxRetries": 3, "timeout": f"PT{spec.request_timeout_s:g}S"},
    }
