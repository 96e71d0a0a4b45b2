"""Computes, sizes and quota of the emulated Azure ML: told in ARM's shapes, and kept to by jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.azureml_calls import Rig, Told
from trackbridge.testing.emulators.azureml.computes import Quotas

PLACE = "/subscriptions/{}/providers/Microsoft.MachineLearningServices/locations/westeurope"


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.cloud.close()


def put(
    rig: Rig, name: str = "cpu", *, size: str = "Standard_DS2_v2", kind: str = "AmlCompute", **inner: Any
) -> Told:
    properties = {"computeType": kind, "properties": {"vmSize": size, **inner}}
    return rig.ask("PUT", f"computes/{name}", {"location": "westeurope", "properties": properties})


def submit(rig: Rig, **properties: Any) -> Told:
    rig.ask("PUT", "environments/tiny/versions/1", {"properties": {"image": "python:3.11"}})
    environment = f"{rig.workspace}/environments/tiny/versions/1"
    given = {"jobType": "Command", "command": "true", "environmentId": environment, **properties}
    return rig.ask("PUT", "jobs/one", {"properties": given})


def test_a_cluster_is_made_and_told(rig: Rig) -> None:
    begun = put(rig, scaleSettings={"maxNodeCount": 3})

    assert (begun.status, begun.content["properties"]["provisioningState"]) == (201, "Creating")
    assert rig.outcome(begun)["status"] == "Succeeded"
    found = rig.ask("GET", "computes/cpu").content
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert found["properties"]["properties"]["vmPriority"] == "Dedicated"
    assert [item["name"] for item in rig.ask("GET", "computes").content["value"]] == ["cpu"]
    rig.outcome(rig.ask("DELETE", "computes/cpu"))
    assert (rig.ask("GET", "computes/cpu").status, rig.ask("GET", "computes/cpu").code) == (
        404,
        "ComputeNotFound",
    )


def test_what_is_no_cluster_is_refused(rig: Rig) -> None:
    assert put(rig, size="Standard_X").status == 400
    assert put(rig, kind="Toaster").status == 400


@pytest.mark.parametrize(
    ("name", "nodes", "told"),
    [("other", 1, "Unknown compute target 'other'."), ("cpu", 4, "exceeds the maximum number of nodes 3")],
)
def test_a_job_keeps_to_its_compute(rig: Rig, name: str, nodes: int, told: str) -> None:
    put(rig, scaleSettings={"maxNodeCount": 3})
    place = f"{rig.workspace}/computes/{name}"

    refused = submit(rig, computeId=place, resources={"instanceCount": nodes})

    assert refused.status == 400
    assert told in refused.message


def test_sizes_and_quota_are_those_of_the_region(rig: Rig) -> None:
    place = PLACE.format(rig.cloud.subscription)
    family = "Standard DSv2 Family Cluster Dedicated vCPUs"
    rig.cloud.part(Quotas).used[family] = 8

    sizes = {item["name"]: item for item in rig.ask("GET", f"{place}/vmSizes").content["value"]}
    usages = {item["name"]["value"]: item for item in rig.ask("GET", f"{place}/usages").content["value"]}

    assert (sizes["Standard_DS3_v2"]["vCPUs"], sizes["Standard_DS3_v2"]["family"]) == (
        4,
        "standardDSv2Family",
    )
    used = usages[family]
    assert (used["currentValue"], used["limit"], used["unit"]) == (8, 100, "Count")
