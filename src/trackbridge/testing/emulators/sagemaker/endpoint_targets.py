"""Scalable targets (application-autoscaling): kept by moto, which checks nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.endpoint_configs import EndpointConfig
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import Fleet


def backend_of(cloud: Cloud) -> Any:
    """Return moto's backend of application-autoscaling."""
    from moto.backends import get_backend

    return get_backend("applicationautoscaling")[cloud.account][cloud.region]


def register(cloud: Cloud, asked: Mapping[str, Any]) -> str:
    """Keep a target, or change the one that is there; returns its ARN."""
    from moto.applicationautoscaling.models import FakeScalableTarget

    backend = backend_of(cloud)
    resource, dimension = asked["ResourceId"], asked["ScalableDimension"]
    given = (asked.get("MinCapacity"), asked.get("MaxCapacity"))
    held = backend.targets.setdefault(dimension, {})
    if resource in held:
        held[resource].update(*given, asked.get("SuspendedState"))
    else:
        role = asked.get("RoleARN") or _service_role(cloud)
        suspended: Any = asked.get("SuspendedState")  # moto says it were a string
        held[resource] = FakeScalableTarget(
            backend, "sagemaker", resource, dimension, *given, role, suspended
        )
    return str(held[resource].arn)


def _service_role(cloud: Cloud) -> str:
    name = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
    service = "sagemaker.application-autoscaling.amazonaws.com"
    return f"arn:{cloud.partition}:iam::{cloud.account}:role/aws-service-role/{service}/{name}"


def targets(cloud: Cloud) -> dict[tuple[str, str], Any]:
    """Return moto's targets of SageMaker by resource and dimension."""
    if "moto.applicationautoscaling.models" not in sys.modules:
        return {}  # nobody has registered one, and the import takes two seconds
    backend = backend_of(cloud)
    found = backend.describe_scalable_targets("sagemaker", None, None)
    return {(target.resource_id, target.scalable_dimension): target for target in found}


def check_removed_targets(cloud: Cloud, endpoint: str, fleet: Fleet, config: EndpointConfig) -> None:
    """Refuse a configuration that removes a variant, or changes its instances, while it scales automatically.

    Raises:
        Refused: It does.
    """
    new = {variant["VariantName"]: variant for variant in config.asked["ProductionVariants"]}
    registered = {resource for resource, _ in targets(cloud)}
    refused = []
    for variant in fleet.variants:
        is_registered = f"endpoint/{endpoint}/variant/{variant.name}" in registered
        kept = new.get(variant.name)
        is_same = kept is not None and kept.get("InstanceType") == variant.asked.get("InstanceType")
        if is_registered and not is_same:
            refused.append(variant.name)
    if refused:
        raise Refused(
            "ValidationException",
            f'The variant(s) "{refused}" must be deregistered as scalable targets with AutoScaling before '
            "they can be removed or have their instance type updated.",
        )
