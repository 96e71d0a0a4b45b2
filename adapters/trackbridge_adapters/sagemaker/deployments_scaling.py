"""Scaling of variants by themselves: Application Auto Scaling, told in our words.

``Autoscale.requests_per_instance_target`` is requests a minute for each instance, as CloudWatch counts them
(``SageMakerVariantInvocationsPerInstance``); of an asynchronous endpoint, requests that wait for each
instance (``ApproximateBacklogSizePerInstance``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trackbridge.domain.deployments import Autoscale
from trackbridge.errors import NotFound
from trackbridge_adapters.sagemaker.clients import Clients

SERVICE = "application-autoscaling"
NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
POLICY = "trackbridge"
METRIC = "SageMakerVariantInvocationsPerInstance"
BACKLOG = "ApproximateBacklogSizePerInstance"
ASKED_AT_ONCE = 50


def resource_of(endpoint: str, variant: str) -> str:
    """Return what the service calls a variant."""
    return f"endpoint/{endpoint}/variant/{variant}"


def scaling_of(clients: Clients, endpoint: str, variants: Iterable[str]) -> dict[str, Autoscale]:
    """Return how each variant scales, of those that do.

    Args:
        clients: Of the place.
        endpoint: SageMaker's name.
        variants: SageMaker's names.
    """
    found: dict[str, Autoscale] = {}
    wanted = {resource_of(endpoint, variant): variant for variant in variants}
    for target in _targets(clients, list(wanted)):
        resource = target["ResourceId"]
        found[wanted[resource]] = Autoscale(
            instances_min=int(target["MinCapacity"]),
            instances_max=int(target["MaxCapacity"]),
            requests_per_instance_target=_target_value(clients, resource),
        )
    return found


def start(
    clients: Clients, endpoint: str, variant: str, scaling: Autoscale, *, is_asynchronous: bool
) -> None:
    """Let a variant scale, or scale otherwise."""
    named = {"ServiceNamespace": NAMESPACE, "ResourceId": resource_of(endpoint, variant)}
    clients.call(
        SERVICE,
        "RegisterScalableTarget",
        **named,
        ScalableDimension=DIMENSION,
        MinCapacity=scaling.instances_min,
        MaxCapacity=scaling.instances_max,
    )
    clients.call(
        SERVICE,
        "PutScalingPolicy",
        **named,
        PolicyName=POLICY,
        ScalableDimension=DIMENSION,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": scaling.requests_per_instance_target,
            **_metric(endpoint, is_asynchronous=is_asynchronous),
        },
    )


def stop(clients: Clients, endpoint: str, variant: str) -> None:
    """Let a variant scale no longer; its policies go with that."""
    try:
        clients.call(
            SERVICE,
            "DeregisterScalableTarget",
            ServiceNamespace=NAMESPACE,
            ResourceId=resource_of(endpoint, variant),
            ScalableDimension=DIMENSION,
        )
    except NotFound:
        return


def _metric(endpoint: str, *, is_asynchronous: bool) -> dict[str, Any]:
    if not is_asynchronous:
        return {"PredefinedMetricSpecification": {"PredefinedMetricType": METRIC}}
    return {
        "CustomizedMetricSpecification": {
            "Namespace": "AWS/SageMaker",
            "MetricName": BACKLOG,
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
            "Statistic": "Average",
        }
    }


def _targets(clients: Clients, resources: list[str]) -> Iterable[Mapping[str, Any]]:
    for start_ in range(0, len(resources), ASKED_AT_ONCE):
        yield from clients.pages(
            SERVICE,
            "DescribeScalableTargets",
            "ScalableTargets",
            ServiceNamespace=NAMESPACE,
            ResourceIds=resources[start_ : start_ + ASKED_AT_ONCE],
            ScalableDimension=DIMENSION,
        )


def _target_value(clients: Clients, resource: str) -> float:
    """Return the load that a variant's policy aims at; 0 where it has none of that kind."""
    for policy in clients.pages(
        SERVICE,
        "DescribeScalingPolicies",
        "ScalingPolicies",
        ServiceNamespace=NAMESPACE,
        ResourceId=resource,
        ScalableDimension=DIMENSION,
    ):
        told = policy.get("TargetTrackingScalingPolicyConfiguration")
        if told is not None:
            return float(told["TargetValue"])
    return 0.0
