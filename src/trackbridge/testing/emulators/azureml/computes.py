"""Computes of a workspace, sizes of machines, and quota: as ARM tells them. No machine is ever started.

A cluster bounds how many nodes a job may ask for. Sizes and quota are a few of what a region really has
(machineLearningServices.json 2024-04-01: ``ComputeResource``, ``VirtualMachineSize``, ``Usage``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trackbridge.testing.emulators.azureml.core import (
    PROVIDER,
    Answer,
    Cloud,
    Refused,
    Request,
    Route,
    of_workspace,
    pages,
)
from trackbridge.testing.emulators.azureml.slow_operations import LOCATION, SlowOperations
from trackbridge.testing.emulators.azureml.workspaces import require

CREATION_S = 2.0
KINDS = ("amlcompute", "computeinstance", "kubernetes")
SERVERLESS = "serverless"
NODES_MAX = 4
IN_ALL, SPOT_IN_ALL = "Total Cluster Dedicated Regional vCPUs", "Total Cluster LowPriority Regional vCPUs"


class Size(NamedTuple):
    """A size of machine."""

    name: str
    family: str
    cores: int
    gpus: int
    memory_gb: float
    has_spot: bool


SIZES = (
    Size("Standard_DS2_v2", "standardDSv2Family", 2, 0, 7.0, True),
    Size("Standard_DS3_v2", "standardDSv2Family", 4, 0, 14.0, True),
    Size("Standard_E4s_v3", "standardESv3Family", 4, 0, 32.0, True),
    Size("Standard_NC6s_v3", "standardNCSv3Family", 6, 1, 112.0, True),
    Size("Standard_M128s", "standardMSFamily", 128, 0, 2048.0, False),
)


class Quotas:
    """How many cores may be used, and are; ``cloud.part(Quotas)``. A test may change them.

    Names are as ``az ml compute list-usage`` shows them; of spot capacity the families have no limit (-1).
    """

    def __init__(self, cloud: Cloud) -> None:
        names = {name for size in SIZES for name in (family_quota(size), family_quota(size, "LowPriority"))}
        self.limits = {name: -1 if "LowPriority" in name else 100 for name in sorted(names)}
        self.limits |= {IN_ALL: 200, SPOT_IN_ALL: 100}
        self.used: dict[str, int] = {}


def family_quota(size: Size, tier: str = "Dedicated") -> str:
    """Return what a family's quota is called, such as ``Standard DSv2 Family Cluster Dedicated vCPUs``."""
    family = size.family.removeprefix("standard").removesuffix("Family")
    return f"Standard {family} Family Cluster {tier} vCPUs"


def check_compute(cloud: Cloud, compute_id: str, nodes: int) -> None:
    """Refuse a job whose compute is not there, or has too few nodes.

    Raises:
        Refused: That.
    """
    name = compute_id.rstrip("/").rpartition("/")[2]
    if not compute_id or name.lower() == SERVERLESS:
        return
    found = cloud.resources.get(compute_id)
    if found is None:
        raise Refused(400, "UserError", f"Unknown compute target '{name}'.")
    most = int(
        (found["properties"]["properties"].get("scaleSettings") or {}).get("maxNodeCount") or NODES_MAX
    )
    if nodes > most:
        message = f"The specified node count {nodes} exceeds the maximum number of nodes {most} of '{name}'."
        raise Refused(400, "UserError", message)


def _get(cloud: Cloud, request: Request) -> Answer:
    return Answer(200, _found(cloud, request))


def _found(cloud: Cloud, request: Request) -> dict[str, Any]:
    name = request.names["compute"]
    found = cloud.resources.get(f"{require(cloud, request)}/computes/{name}")
    if found is None:
        message = f"Compute '{name}' was not found in the workspace."
        raise Refused(404, "ComputeNotFound", message)
    return found


def _list(cloud: Cloud, request: Request) -> Answer:
    return pages(request, cloud.resources.children(f"{require(cloud, request)}/computes"))


def _put(cloud: Cloud, request: Request) -> Answer:
    workspace_id, name, given = require(cloud, request), request.names["compute"], request.properties
    kind = str(given.get("computeType") or "")
    inner = dict(given.get("properties") or {})
    if kind.lower() not in KINDS:
        raise Refused(400, "BadRequest", f"The compute type {kind!r} is none of {', '.join(KINDS)}.")
    if kind.lower() == "amlcompute" and _size(str(inner.get("vmSize"))) is None:
        raise Refused(400, "BadRequest", f"STATUS: {inner.get('vmSize')} is not a supported VM size.")
    kept = {
        **given,
        "provisioningState": "Creating",
        "properties": {"vmPriority": "Dedicated", "allocationState": "Steady", **inner},
    }
    resource_id = f"{workspace_id}/computes/{name}"
    location = request.content.get("location") or cloud.region
    resource, is_new = cloud.resources.put(resource_id, {"location": location, "properties": kept})

    def finish() -> None:
        resource["properties"]["provisioningState"] = "Succeeded"

    slow = cloud.part(SlowOperations)
    return slow.begin(request, seconds=CREATION_S, finish=finish, resource=resource, is_new=is_new)


def _delete(cloud: Cloud, request: Request) -> Answer:
    held = _found(cloud, request)
    return cloud.part(SlowOperations).begin(
        request, seconds=CREATION_S, finish=lambda: cloud.resources.delete(held["id"])
    )


def _size(name: str) -> Size | None:
    return next((size for size in SIZES if size.name.lower() == name.lower()), None)


def _sizes(cloud: Cloud, request: Request) -> Answer:
    value = [
        {
            "name": size.name,
            "family": size.family,
            "vCPUs": size.cores,
            "gpus": size.gpus,
            "osVhdSizeMB": 1047552,
            "maxResourceVolumeMB": 14336,
            "memoryGB": size.memory_gb,
            "lowPriorityCapable": size.has_spot,
            "premiumIO": True,
            "supportedComputeTypes": ["AmlCompute", "ComputeInstance"],
        }
        for size in SIZES
    ]
    return Answer(200, {"value": value})


def _usages(cloud: Cloud, request: Request) -> Answer:
    quotas, place = cloud.part(Quotas), request.resource_id
    rows = [
        {
            "id": f"{place}/{name}",
            "amlWorkspaceLocation": request.names["location"],
            "type": f"{PROVIDER}/usages",
            "unit": "Count",
            "currentValue": quotas.used.get(name, 0),
            "limit": limit,
            "name": {"value": name, "localizedValue": name},
        }
        for name, limit in quotas.limits.items()
    ]
    return pages(request, rows)


ROUTES = (
    of_workspace("computes", "GET", _list),
    of_workspace("computes/{compute}", "GET", _get),
    of_workspace("computes/{compute}", "PUT", _put),
    of_workspace("computes/{compute}", "DELETE", _delete),
    Route("GET", f"{LOCATION}/vmSizes", _sizes),
    Route("GET", f"{LOCATION}/usages", _usages),
)
