"""Deployments that scale by themselves: autoscale settings of Azure Monitor, one for each deployment.

Two rules: one instance more when the requests a minute and instance are above the target, one less when they
are below half of it. (The official sample's second rule says ``Increase`` as well, and never shrinks.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from trackbridge.domain.deployments import Autoscale
from trackbridge_adapters.azureml.arm import Arm, Json, path_of
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.deployments_names import spec_in

KIND = "autoscalesettings"
METRIC = "RequestsPerMinute"
NAMESPACE = "microsoft.machinelearningservices/workspaces/onlineendpoints/deployments"
SHRINK_SHARE = 0.5
"""Below which share of the target an instance goes: at one half, those left are not above it at once."""
WINDOW, COOL_DOWN = "PT5M", "PT5M"


class Scaling:
    """Autoscale settings of deployments of one workspace. Any thread may use it."""

    def __init__(self, arm: Arm, workspace: Workspace) -> None:
        self._arm = arm
        self._group = (
            f"/subscriptions/{quote(workspace.subscription)}/resourceGroups/{quote(workspace.group)}"
            "/providers/Microsoft.Insights/autoscalesettings"
        )

    def bounds(self, deployments: Sequence[Json]) -> dict[str, Autoscale]:
        """Return the bounds of deployments that scale, by their ids in small letters.

        Only those are looked at whose tags say that they were made so.
        """
        found = {}
        for deployment in deployments:
            spec = spec_in(deployment.get("tags") or {})
            if spec is not None and spec.autoscale is not None:
                held = self._arm.find(self._path(str(deployment["id"])), KIND)
                bounds = None if held is None else _bounds_in(properties_of(held))
                if bounds is not None:
                    found[str(deployment["id"]).lower()] = bounds
        return found

    def set(self, deployment: str, wanted: Autoscale | None, was_set: bool) -> None:
        """Let a deployment scale so, or no more (None).

        Args:
            deployment: Its id; it is there, or being made.
            wanted: The bounds.
            was_set: Whether there is a setting, which is deleted where there is to be none.
        """
        path = self._path(deployment)
        if wanted is not None:
            self._arm.put(path, KIND, _body(deployment, wanted, self._location(deployment)))
        elif was_set:
            self._arm.delete(path, KIND)

    def _location(self, deployment: str) -> str:
        endpoint = deployment.rpartition("/deployments/")[0]
        return str(self._arm.get(quote(endpoint), "onlineEndpoints").get("location") or "")

    def _path(self, deployment: str) -> str:
        *_, endpoint, _, name = deployment.split("/")
        own = hashlib.sha256(deployment.lower().encode()).hexdigest()[:8]  # of several workspaces in a group
        return f"{self._group}{path_of(f'bridge-{endpoint}-{name}-{own}')}"


def _body(deployment: str, scale: Autoscale, location: str) -> Json:
    target = scale.requests_per_instance_target
    capacity = {
        "minimum": str(scale.instances_min),
        "maximum": str(scale.instances_max),
        "default": str(scale.instances_min),
    }
    rules = [
        _rule(deployment, "GreaterThan", target, "Increase"),
        _rule(deployment, "LessThan", target * SHRINK_SHARE, "Decrease"),
    ]
    profile = {"name": "requests", "capacity": capacity, "rules": rules}
    properties = {"enabled": True, "targetResourceUri": deployment, "profiles": [profile]}
    return {"location": location, "tags": {}, "properties": properties}


def _rule(deployment: str, operator: str, threshold: float, direction: str) -> Json:
    trigger = {
        "metricName": METRIC,
        "metricNamespace": NAMESPACE,
        "metricResourceUri": deployment,
        "timeGrain": "PT1M",
        "statistic": "Sum",
        "timeWindow": WINDOW,
        "timeAggregation": "Average",
        "operator": operator,
        "threshold": threshold,
        "dividePerInstance": True,
    }
    action = {"direction": direction, "type": "ChangeCount", "value": "1", "cooldown": COOL_DOWN}
    return {"metricTrigger": trigger, "scaleAction": action}


def _bounds_in(told: Mapping[str, Any]) -> Autoscale | None:
    """Return the bounds that a setting has; None for one that is off, or not ours any more."""
    profiles = told.get("profiles") or []
    if len(profiles) != 1 or not told.get("enabled", True):
        return None
    grows = [
        rule["metricTrigger"]
        for rule in profiles[0].get("rules") or ()
        if str((rule.get("scaleAction") or {}).get("direction")).lower() == "increase"
    ]
    if len(grows) != 1:
        return None
    capacity = profiles[0]["capacity"]
    return Autoscale(
        instances_min=int(capacity["minimum"]),
        instances_max=int(capacity["maximum"]),
        requests_per_instance_target=float(grows[0]["threshold"]),
    )
