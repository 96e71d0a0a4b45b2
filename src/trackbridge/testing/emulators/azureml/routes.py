"""Every route that the emulator has, gathered from its modules."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from trackbridge.testing.emulators.azureml.core import PROVIDER, Route

PACKAGE = "trackbridge.testing.emulators.azureml"
MODULES = (
    "slow_operations",
    "access",
    "mlflow_endpoint",
    "workspaces",
    "datastores",
    "asset_routes",
    "registries",
    "run_history",
    "jobs",
    "computes",
    "vaults",
    "online_endpoints",
    "batch_endpoints",
    "monitor",
)
VERSIONS = (
    "2021-03-01-preview",
    "2021-10-01",
    "2021-10-01-dataplanepreview",
    "2022-01-01-preview",
    "2022-02-01-preview",
    "2022-05-01",
    "2022-06-01-preview",
    "2022-10-01",
    "2022-10-01-preview",
    "2022-12-01-preview",
    "2023-02-01-preview",
    "2023-04-01",
    "2023-04-01-preview",
    "2023-06-01-preview",
    "2023-08-01-preview",
    "2023-10-01",
    "2024-01-01-preview",
    "2024-04-01",
    "2024-04-01-preview",
    "2024-07-01-preview",
    "2024-10-01",
    "2024-10-01-preview",
    "2025-01-01-preview",
    "2025-04-01",
    "2025-04-01-preview",
    "2025-06-01",
    "2025-07-01-preview",
    "2025-09-01",
    "2025-10-01-preview",
    "2025-12-01",
)
"""Of Microsoft.MachineLearningServices, as Azure/azure-rest-api-specs and azure-ai-ml 1.35 have them."""


@lru_cache(maxsize=1)
def all_routes() -> tuple[tuple[re.Pattern[str], Route], ...]:
    """Return the routes with what their paths match; those with fewer free parts come first.

    Raises:
        ValueError: Two modules have the same route.
    """
    found: dict[tuple[str, str], Route] = {}
    for module in _modules():
        for route in module.ROUTES:
            key = (route.method, re.sub(r"\{\w+", "{", route.template).lower())
            if key in found:
                raise ValueError(f"{route.method} {route.template} is there twice, once in {module.__name__}")
            found[key] = route
    ordered = sorted(found.values(), key=_freedom)
    return tuple((route.pattern(), route) for route in ordered)


def has_version(route: Route, version: str) -> bool:
    """Tell whether a route is there in an api-version. Other providers' versions are not looked at."""
    if route.versions:
        return version in route.versions
    return PROVIDER.lower() not in route.template.lower() or version in VERSIONS


def _freedom(route: Route) -> tuple[int, int]:
    return route.template.count("...}"), route.template.count("{")


def _modules() -> list[Any]:
    names = [f"{PACKAGE}.{name}" for name in MODULES]
    return [import_module(name) for name in names if find_spec(name) is not None]
