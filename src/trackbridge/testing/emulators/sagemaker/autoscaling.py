"""What application-autoscaling asks SageMaker before a target is registered, and scaling on demand.

moto keeps targets and policies. No policy is ever led by a metric here: ``scale`` says when to scale.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import LiveVariant
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoints
from trackbridge.testing.emulators.sagemaker.endpoint_targets import backend_of, register, targets
from trackbridge.testing.emulators.sagemaker.inference_components import Components, set_copies

ROWS_MAX = 50
COUNT = "sagemaker:variant:DesiredInstanceCount"
CONCURRENCY = "sagemaker:variant:DesiredProvisionedConcurrency"
COPIES = "sagemaker:inference-component:DesiredCopyCount"
_VARIANT = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
_COMPONENT = re.compile(r"inference-component/([^/]+)")
_METRICS = {
    COUNT: (
        "SageMakerVariantInvocationsPerInstance",
        "SageMakerVariantConcurrentRequestsPerModelHighResolution",
    ),
    CONCURRENCY: ("SageMakerVariantProvisionedConcurrencyUtilization",),
    COPIES: (
        "SageMakerInferenceComponentInvocationsPerCopy",
        "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution",
    ),
}


class Activities:
    """What was scaled, newest first."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.rows: list[dict[str, Any]] = []


def _refuse(message: str) -> Refused:
    return Refused("ValidationException", message)


def _register(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    _check_namespace(asked)
    _check_register(cloud, asked)
    return {"ScalableTargetARN": register(cloud, asked)}


def _check_namespace(asked: Mapping[str, Any]) -> None:
    if asked["ServiceNamespace"] != "sagemaker":
        raise _refuse(f"The emulator scales SageMaker only, not {asked['ServiceNamespace']}")


def _describe_targets(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    _check_namespace(asked)
    wanted, dimension = asked.get("ResourceIds"), asked.get("ScalableDimension")
    rows = [
        _told(target)
        for (resource, own), target in sorted(targets(cloud).items())
        if dimension in (None, own) and (not wanted or resource in wanted)
    ]
    begin = int(asked.get("NextToken", "0"))
    end = begin + asked.get("MaxResults", ROWS_MAX)
    return {"ScalableTargets": rows[begin:end]} | ({"NextToken": str(end)} if end < len(rows) else {})


def _told(target: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended"), False
    )
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": target.resource_id,
        "ScalableDimension": target.scalable_dimension,
        "MinCapacity": int(target.min_capacity),
        "MaxCapacity": int(target.max_capacity),
        "RoleARN": target.role_arn,
        "CreationTime": float(target.creation_time),
        "SuspendedState": nothing | (target.suspended_state or {}),
        "ScalableTargetARN": target.arn,
    }


def _deregister(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    _check_namespace(asked)
    resource, dimension = asked["ResourceId"], asked["ScalableDimension"]
    if (resource, dimension) not in targets(cloud):
        raise _missing(resource, dimension)
    backend = backend_of(cloud)
    del backend.targets[dimension][resource]
    gone = [
        policy
        for policy in list(backend.policies.values())
        if (policy.resource_id, policy.scalable_dimension) == (resource, dimension)
    ]
    for policy in gone:  # AWS removes the policies of a target with it
        backend.delete_scaling_policy(policy.policy_name, "sagemaker", resource, dimension)
    return {}


def _missing(resource: str, dimension: str) -> Refused:
    return Refused(
        "ObjectNotFoundException",
        "No scalable target found for service namespace: sagemaker, "
        f"resource ID: {resource}, scalable dimension: {dimension}",
    )


def _check_register(cloud: Cloud, asked: Mapping[str, Any]) -> None:
    resource, dimension = asked["ResourceId"], asked["ScalableDimension"]
    least, most = asked.get("MinCapacity"), asked.get("MaxCapacity")
    if (resource, dimension) not in targets(cloud) and (least is None or most is None):
        raise _refuse("MinCapacity and MaxCapacity are required to register a new scalable target")
    if least is not None and most is not None and least > most:
        raise _refuse("Maximum capacity cannot be less than minimum capacity")
    if dimension == COPIES:
        _component(cloud, resource)
        return
    variant = _variant(cloud, resource)
    _check_kind(variant, resource, dimension)


def _check_kind(variant: LiveVariant, resource: str, dimension: str) -> None:
    if dimension == COUNT:
        if variant.serverless is not None:
            raise _refuse(f"{resource} is serverless: its dimension is {CONCURRENCY}")
        if variant.asked["InstanceType"].startswith("ml.t2."):
            raise _refuse(f"The instance type {variant.asked['InstanceType']} does not support autoscaling")
    elif dimension == CONCURRENCY:
        if variant.serverless is None or "ProvisionedConcurrency" not in variant.serverless:
            raise _refuse(f"{resource} has no provisioned concurrency")
    else:
        raise _refuse(f"{dimension} is not a scalable dimension of SageMaker")


def _variant(cloud: Cloud, resource: str) -> LiveVariant:
    found = _VARIANT.fullmatch(resource)
    endpoint = cloud.part(Endpoints).held.get(found[1]) if found else None
    variant = endpoint.fleet.find(found[2]) if endpoint and found else None
    if variant is None or endpoint is None or endpoint.status == "Deleting":
        raise _refuse(f"Unable to find a variant for the resource {resource}")
    return variant


def _component(cloud: Cloud, resource: str) -> Any:
    found = _COMPONENT.fullmatch(resource)
    component = cloud.part(Components).held.get(found[1]) if found else None
    if component is None:
        raise _refuse(f"Unable to find an inference component for the resource {resource}")
    return component


def _check_policy(cloud: Cloud, asked: Mapping[str, Any]) -> None:
    if asked.get("ServiceNamespace") != "sagemaker":
        return
    resource, dimension = asked.get("ResourceId", ""), asked.get("ScalableDimension", "")
    if (resource, dimension) not in targets(cloud):
        raise _missing(resource, dimension)
    metric = (
        asked.get("TargetTrackingScalingPolicyConfiguration", {})
        .get("PredefinedMetricSpecification", {})
        .get("PredefinedMetricType")
    )
    if metric is not None and metric not in _METRICS.get(dimension, ()):
        raise _refuse(f"The metric {metric} is not one of the dimension {dimension}")


def scale(cloud: Cloud, resource: str, dimension: str, capacity: int) -> None:
    """Scale a registered target, as its policy would; the capacity stays within the target's bounds.

    Raises:
        Refused: There is no such target.
    """
    with cloud.lock:
        target = targets(cloud).get((resource, dimension))
        if target is None:
            raise _refuse(f"No scalable target found for {resource}")
        capacity = max(int(target.min_capacity), min(int(target.max_capacity), capacity))
        _apply(cloud, resource, dimension, capacity)
        now = cloud.now_s()
        row = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": "sagemaker",
            "ResourceId": resource,
            "ScalableDimension": dimension,
            "Description": f"Setting desired capacity to {capacity}.",
            "Cause": "the emulator was told to scale",
            "StartTime": now,
            "EndTime": now,
            "StatusCode": "Successful",
            "StatusMessage": f"Successfully set desired capacity to {capacity}.",
        }
        cloud.part(Activities).rows.insert(0, row)


def _apply(cloud: Cloud, resource: str, dimension: str, capacity: int) -> None:
    if dimension == COPIES:
        set_copies(cloud, _component(cloud, resource), capacity)
        return
    variant = _variant(cloud, resource)
    if variant.serverless is not None:
        variant.serverless["ProvisionedConcurrency"] = capacity
    else:
        variant.count = variant.desired_count = capacity


def _activities(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    wanted = ("ServiceNamespace", "ResourceId", "ScalableDimension")
    rows = [
        row
        for row in cloud.part(Activities).rows
        if all(asked.get(name, row[name]) == row[name] for name in wanted)
    ]
    return {"ScalingActivities": rows[: asked.get("MaxResults", 50)]}


AUTOSCALING_CHECKS: Mapping[str, Callable[[Cloud, Mapping[str, Any]], None]] = {
    "PutScalingPolicy": _check_policy,
}
AUTOSCALING_OPERATIONS: Mapping[str, Operation] = {
    "RegisterScalableTarget": _register,
    "DescribeScalableTargets": _describe_targets,
    "DeregisterScalableTarget": _deregister,
    "DescribeScalingActivities": _activities,
}
