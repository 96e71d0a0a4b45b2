"""The weights and the mirror that an online endpoint may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.azureml.endpoint_rules import bad

MIRROR_PERCENT_MAX = 50


def checked(
    properties: Mapping[str, Any], deployments: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the weights and the mirror that a body asks for, under the names that deployments have.

    Args:
        properties: Of the endpoint, with ``traffic`` and ``mirrorTraffic``.
        deployments: The names that are there, by their lower case.

    Raises:
        Refused: The weights' sum is neither 0 nor 100, somebody is not there, or the mirror is against the
            rules: one deployment, which has no weight, and at most half of the requests.
    """
    traffic = _of(properties, "traffic", deployments)
    mirror = _of(properties, "mirrorTraffic", deployments)
    total = sum(traffic.values())
    if total not in (0, 100):
        raise bad(f"The sum of traffic must be 0 or 100, and is {total}", target="traffic")
    shadows = {name: weight for name, weight in mirror.items() if weight}
    if len(shadows) > 1:
        raise bad("Traffic can be mirrored to one deployment only", target="mirrorTraffic")
    for name, weight in shadows.items():
        if weight > MIRROR_PERCENT_MAX:
            raise bad(
                f"At most {MIRROR_PERCENT_MAX} % of traffic can be mirrored, not {weight}",
                target="mirrorTraffic",
            )
        if traffic.get(name):
            message = f"Deployment {name} can get either live traffic or mirrored traffic, not both"
            raise bad(message, target="mirrorTraffic")
    return traffic, mirror


def _of(properties: Mapping[str, Any], member: str, deployments: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, weight in (properties.get(member) or {}).items():
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 100:
            raise bad(f"The {member} of {name} must be a whole number from 0 to 100", target=member)
        if name.lower() not in deployments:
            raise bad(f"Deployment {name} of {member} does not exist", code="ResourceNotFound", target=member)
        found[deployments[name.lower()]] = weight
    return found
