"""How many instances of a type the account may have at once, for each use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused

INSTANCES = 20
SPOT, ENDPOINT = "spot training job", "endpoint"
"""AWS's words for uses; the others are the kinds of jobs, such as ``training job``."""
Sizes = Iterable[tuple[str, int]]
"""Instance types, each with a number of instances."""


class Quotas:
    """The account's quotas. ``limits`` holds those that differ from the default, by type and use."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.default = INSTANCES
        self.limits: dict[tuple[str, str], int] = {}

    def check(self, use: str, wanted: Sizes, held: Sizes) -> None:
        """Refuse more instances than the account may have.

        Raises:
            Refused: ``ResourceLimitExceeded``, in AWS's words.
        """
        used = _summed(held)
        for kind, count in _summed(wanted).items():
            limit = self.limits.get((kind, use), self.default)
            if count > 0 and used.get(kind, 0) + count > limit:
                now = used.get(kind, 0)
                raise Refused(
                    "ResourceLimitExceeded",
                    f"The account-level service limit '{kind} for {use} usage' is {limit} Instances, with "
                    f"current utilization of {now} Instances and a request delta of {count} Instances. "
                    "Please use AWS Service Quotas to request an increase for this quota.",
                )


def instances_of(resources: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return what a ResourceConfig, ClusterConfig, TransformResources or variant asks for."""
    groups = resources.get("InstanceGroups")
    if groups:
        return [(group["InstanceType"], group["InstanceCount"]) for group in groups]
    if "InstanceType" not in resources:
        return []
    count = resources.get("InstanceCount", resources.get("InitialInstanceCount", 1))
    return [(resources["InstanceType"], count)]


def _summed(sizes: Sizes) -> dict[str, int]:
    summed: dict[str, int] = {}
    for kind, count in sizes:
        summed[kind] = summed.get(kind, 0) + count
    return summed
