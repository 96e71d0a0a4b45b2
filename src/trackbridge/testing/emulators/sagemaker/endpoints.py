"""Endpoints: the operations, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.pauses import Pauses
from trackbridge.testing.emulators.sagemaker import endpoint_alarms, endpoint_changes
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.endpoint_configs import EndpointConfig, EndpointConfigs
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import Fleet
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoint, Endpoints, set_status
from trackbridge.testing.emulators.sagemaker.endpoint_targets import check_removed_targets
from trackbridge.testing.emulators.sagemaker.inference_components import Components
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.quotas import ENDPOINT, Quotas, instances_of


def _refuse(message: str) -> Refused:
    return Refused("ValidationException", message)


def _create(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    endpoints, name = cloud.part(Endpoints), asked["EndpointName"]
    arn = cloud.arn("endpoint", name)
    if name in endpoints.held:
        raise _refuse(f'Cannot create already existing endpoint "{arn}".')
    config = cloud.part(EndpointConfigs).get(asked["EndpointConfigName"])
    _check_deployment(cloud, asked.get("DeploymentConfig"))
    _check_quota(cloud, _sizes(config))
    fleet = Fleet(cloud, name, config)
    cloud.tags.start(arn, asked.get("Tags"))
    now = cloud.now_s()
    endpoint = Endpoint(name, arn, fleet, Pauses(cloud.later), now, now)
    endpoint.capture = config.asked.get("DataCaptureConfig")
    endpoint.deployment = endpoint.last_deployment = asked.get("DeploymentConfig")
    endpoints.held[name] = endpoint
    endpoint_changes.begin(cloud, endpoint, lambda: endpoint_changes.create(cloud, endpoint))
    return {"EndpointArn": arn}


def _sizes(config: EndpointConfig) -> list[tuple[str, int]]:
    variants = [*config.asked["ProductionVariants"], *config.asked.get("ShadowProductionVariants", ())]
    return [size for variant in variants for size in instances_of(variant)]


def _check_quota(cloud: Cloud, wanted: list[tuple[str, int]]) -> None:
    """Refuse more instances than the account may have: those of all endpoints and of updates together."""
    held = [
        (variant.asked["InstanceType"], variant.desired_count)
        for endpoint in cloud.part(Endpoints).held.values()
        for fleet in (endpoint.fleet, endpoint.pending)
        if fleet is not None and endpoint.status != "Failed"
        for variant in fleet.all
        if variant.serverless is None
    ]
    cloud.part(Quotas).check(ENDPOINT, wanted, held)


def _check_deployment(cloud: Cloud, deployment: Mapping[str, Any] | None) -> None:
    if deployment is None:
        return
    if "BlueGreenUpdatePolicy" in deployment and "RollingUpdatePolicy" in deployment:
        raise _refuse("Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy can be given")
    endpoint_alarms.check(cloud, endpoint_alarms.names_in(deployment))
    routing = deployment.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration")
    if routing is not None:
        _check_size(routing, "CANARY", "CanarySize", (1, 50))
        _check_size(routing, "LINEAR", "LinearStepSize", (10, 50))
    if "RollingUpdatePolicy" in deployment:
        size = deployment["RollingUpdatePolicy"]["MaximumBatchSize"]
        if size["Type"] == "CAPACITY_PERCENT" and not 5 <= size["Value"] <= 50:
            raise _refuse(f"MaximumBatchSize must be from 5 to 50 percent, not {size['Value']}")


def _check_size(routing: Mapping[str, Any], kind: str, field: str, bounds: tuple[int, int]) -> None:
    if (routing["Type"] == kind) != (field in routing):
        raise _refuse(f"{field} must be given when, and only when, the traffic routing type is {kind}")
    if routing["Type"] != kind or routing[field]["Type"] != "CAPACITY_PERCENT":
        return
    if not bounds[0] <= routing[field]["Value"] <= bounds[1]:
        raise _refuse(f"{field} must be from {bounds[0]} to {bounds[1]} percent of the capacity")


def _in_service(cloud: Cloud, name: str, doing: str) -> Endpoint:
    endpoint = cloud.part(Endpoints).get(name)
    if endpoint.status not in ("InService", "Failed", "OutOfService", "UpdateRollbackFailed"):
        raise _refuse(f'Cannot {doing} in-progress endpoint "{endpoint.arn}".')
    return endpoint


def _update(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    endpoint = _in_service(cloud, asked["EndpointName"], "update")
    if endpoint.status != "InService":
        raise _refuse(f'Cannot update endpoint "{endpoint.arn}" in status {endpoint.status}.')
    config = cloud.part(EndpointConfigs).get(asked["EndpointConfigName"])
    excluded = {each["VariantPropertyType"] for each in asked.get("ExcludeRetainedVariantProperties", ())}
    is_retaining = asked.get("RetainAllVariantProperties", False)
    if excluded and not is_retaining:
        raise _refuse("ExcludeRetainedVariantProperties needs RetainAllVariantProperties to be true")
    if asked.get("RetainDeploymentConfig") and "DeploymentConfig" in asked:
        raise _refuse("DeploymentConfig cannot be given when RetainDeploymentConfig is true")
    _check_deployment(cloud, asked.get("DeploymentConfig"))
    check_removed_targets(cloud, endpoint.name, endpoint.fleet, config)
    if cloud.part(Components).on(endpoint.name):
        raise _refuse(
            f"Endpoint {endpoint.name} has inference components; the emulator updates these one by one"
        )
    _check_quota(cloud, _sizes(config))
    fleet = Fleet(cloud, endpoint.name, config)
    if is_retaining:
        _retain(endpoint, fleet, excluded)
        fleet.retains_capture = "DataCaptureConfig" not in excluded
    if not asked.get("RetainDeploymentConfig"):
        endpoint.deployment = asked.get("DeploymentConfig")
    endpoint.last_deployment = endpoint.deployment
    endpoint.pending, endpoint.share = fleet, 0.0
    set_status(cloud, endpoint, "Updating")
    endpoint_changes.begin(cloud, endpoint, lambda: endpoint_changes.update(cloud, endpoint, fleet))
    return {"EndpointArn": endpoint.arn}


def _retain(endpoint: Endpoint, fleet: Fleet, excluded: set[str]) -> None:
    """Give a new fleet's variants what those of the same name have now."""
    for variant in fleet.variants:
        old = endpoint.fleet.find(variant.name)
        if old is None:
            continue
        if "DesiredWeight" not in excluded:
            variant.weight = variant.desired_weight = old.desired_weight
        if "DesiredInstanceCount" not in excluded:
            variant.count = variant.desired_count = old.desired_count


def _update_weights(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    endpoint = _in_service(cloud, asked["EndpointName"], "update")
    if endpoint.status != "InService":
        raise _refuse(f'Cannot update endpoint "{endpoint.arn}" in status {endpoint.status}.')
    wanted = asked["DesiredWeightsAndCapacities"]
    for each in wanted:
        variant = endpoint.fleet.find(each["VariantName"])
        if variant is None:
            raise _refuse(
                f'The variant name(s) "{each["VariantName"]}" is/are not present within endpoint config'
            )
        if each.get("DesiredInstanceCount", 1) < 1 and "ManagedInstanceScaling" not in variant.asked:
            raise _refuse(f"DesiredInstanceCount of variant {variant.name} must be at least 1")
        if "DesiredInstanceCount" in each and variant.serverless is not None:
            raise _refuse(f"Variant {variant.name} is serverless and has no instances")
    _check_quota(cloud, _more(endpoint, wanted))
    for each in wanted:
        variant = endpoint.fleet.find(each["VariantName"])
        assert variant is not None
        variant.desired_weight = each.get("DesiredWeight", variant.desired_weight)
        variant.desired_count = each.get("DesiredInstanceCount", variant.desired_count)
        if variant.serverless is not None:
            variant.serverless |= each.get("ServerlessUpdateConfig", {})
        variant.status = "Updating"
    set_status(cloud, endpoint, "Updating")
    endpoint_changes.begin(cloud, endpoint, lambda: endpoint_changes.settle_weights(cloud, endpoint))
    return {"EndpointArn": endpoint.arn}


def _more(endpoint: Endpoint, wanted: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the instances that a change of capacities asks for beyond those that are there."""
    more = []
    for each in wanted:
        variant = endpoint.fleet.find(each["VariantName"])
        if variant is not None and variant.serverless is None:
            count = each.get("DesiredInstanceCount", variant.desired_count) - variant.desired_count
            more.append((variant.asked["InstanceType"], count))
    return more


def _delete(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    endpoint = _in_service(cloud, asked["EndpointName"], "delete")
    if cloud.part(Components).on(endpoint.name):
        raise _refuse(f'Cannot delete endpoint "{endpoint.arn}" that has inference components')
    set_status(cloud, endpoint, "Deleting")
    endpoint_changes.begin(cloud, endpoint, lambda: endpoint_changes.delete(cloud, endpoint))
    return {}


def _describe(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    return described(cloud.part(Endpoints).get(asked["EndpointName"]))


def described(endpoint: Endpoint) -> dict[str, Any]:
    """Return what DescribeEndpoint tells; Search tells the same."""
    fleet, told = (
        endpoint.fleet,
        {
            "EndpointName": endpoint.name,
            "EndpointArn": endpoint.arn,
            "EndpointConfigName": endpoint.fleet.config.name,
            "EndpointStatus": endpoint.status,
            "CreationTime": endpoint.created_s,
            "LastModifiedTime": endpoint.modified_s,
        },
    )
    if endpoint.failure_reason is not None:
        told["FailureReason"] = endpoint.failure_reason
    if endpoint.status not in ("Creating", "Failed"):
        told["ProductionVariants"] = [variant.described() for variant in fleet.variants]
        if fleet.shadows:
            told["ShadowProductionVariants"] = [variant.described() for variant in fleet.shadows]
    if endpoint.capture is not None:
        told["DataCaptureConfig"] = _capture(endpoint.capture)
    if endpoint.last_deployment is not None:
        told["LastDeploymentConfig"] = endpoint.last_deployment
    for field in ("AsyncInferenceConfig", "ExplainerConfig", "MetricsConfig"):
        if field in fleet.config.asked:
            told[field] = fleet.config.asked[field]
    if endpoint.pending is not None:
        told["PendingDeploymentSummary"] = _pending(endpoint.pending)
    return told


def _capture(config: Mapping[str, Any]) -> dict[str, Any]:
    is_on = config.get("EnableCapture", True)
    return {
        "EnableCapture": is_on,
        "CaptureStatus": "Started" if is_on else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


def _pending(fleet: Fleet) -> dict[str, Any]:
    told: dict[str, Any] = {
        "EndpointConfigName": fleet.config.name,
        "StartTime": fleet.started_s,
        "ProductionVariants": [variant.described(is_pending=True) for variant in fleet.variants],
    }
    if fleet.shadows:
        told["ShadowProductionVariants"] = [variant.described(is_pending=True) for variant in fleet.shadows]
    return told


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    found, more = page(cloud.part(Endpoints).held.values(), asked, _fields, is_descending=True)
    rows = [
        {
            "EndpointName": each.name,
            "EndpointArn": each.arn,
            "CreationTime": each.created_s,
            "LastModifiedTime": each.modified_s,
            "EndpointStatus": each.status,
        }
        for each in found
    ]
    return {"Endpoints": rows, **more}


def _fields(endpoint: Endpoint) -> dict[str, Any]:
    times = {"CreationTime": endpoint.created_s, "LastModifiedTime": endpoint.modified_s}
    return {"Name": endpoint.name, "Status": endpoint.status, **times}


def records(cloud: Cloud) -> list[dict[str, Any]]:
    """Return all endpoints as Search finds them."""
    found = []
    for endpoint in cloud.part(Endpoints).held.values():
        told = described(endpoint)
        for field in ("LastDeploymentConfig", "AsyncInferenceConfig", "ExplainerConfig"):
            told.pop(field, None)
        told.pop("PendingDeploymentSummary", None)
        told.pop("MetricsConfig", None)
        found.append(told | {"Tags": cloud.tags.list(endpoint.arn)})
    return found


OPERATIONS: Mapping[str, Operation] = {
    "CreateEndpoint": _create,
    "DescribeEndpoint": _describe,
    "ListEndpoints": _list,
    "UpdateEndpoint": _update,
    "UpdateEndpointWeightsAndCapacities": _update_weights,
    "DeleteEndpoint": _delete,
}
SEARCHABLE: Mapping[str, Callable[[Cloud], Iterable[dict[str, Any]]]] = {"Endpoint": records}
