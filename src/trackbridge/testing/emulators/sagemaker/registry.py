"""The emulated model registry: groups, versions, packages on their own, and policies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker import registry_groups, registry_packages
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation
from trackbridge.testing.emulators.sagemaker.registry_packages import approved_containers
from trackbridge.testing.emulators.sagemaker.registry_state import Registry

__all__ = ["OPERATIONS", "SEARCHABLE", "SHARED", "Registry", "approved_containers"]

OPERATIONS: Mapping[str, Operation] = {**registry_groups.OPERATIONS, **registry_packages.OPERATIONS}
"""The operations of the model registry."""

Source = Callable[[Cloud], Iterable[dict[str, Any]]]

SEARCHABLE: Mapping[str, Source] = {
    "ModelPackage": registry_packages.package_records,
    "ModelPackageGroup": registry_groups.group_records,
}
"""What Search finds of the caller's account."""

SHARED: Mapping[str, Source] = {"ModelPackageGroup": registry_groups.shared_group_records}
"""What Search finds of other accounts."""
