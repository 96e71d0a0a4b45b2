"""Every operation that the emulator has itself, gathered from its modules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Operation

PACKAGE = "trackbridge.testing.emulators.sagemaker"
MODULES = (
    "experiments",
    "tagging",
    "metrics",
    "search",
    "registry",
    "jobs",
    "models",
    "endpoint_configs",
    "endpoints",
    "inference_components",
    "invocations",
    "autoscaling",
    "service_quotas",
)
TABLES = {
    "sagemaker": "OPERATIONS",
    "sagemaker-metrics": "METRICS_OPERATIONS",
    "sagemaker-runtime": "RUNTIME_OPERATIONS",
    "application-autoscaling": "AUTOSCALING_OPERATIONS",
    "application-autoscaling checks": "AUTOSCALING_CHECKS",
    "service-quotas": "QUOTAS_OPERATIONS",
}
"""What a module calls its operations of each service; checks come before what moto answers."""


@lru_cache(maxsize=1)
def all_operations() -> Mapping[str, Mapping[str, Operation]]:
    """Return the operations by service and name.

    Raises:
        ValueError: Two modules have the same operation.
    """
    found: dict[str, dict[str, Operation]] = {service: {} for service in TABLES}
    for module in _modules():
        for service, table in TABLES.items():
            for name, operation in getattr(module, table, {}).items():
                if name in found[service]:
                    raise ValueError(f"{name} of {service} is there twice, once in {module.__name__}")
                found[service][name] = operation
    return found


def _modules() -> list[Any]:
    return [import_module(f"{PACKAGE}.{name}") for name in MODULES]
