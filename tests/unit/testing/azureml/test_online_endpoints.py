"""Online endpoints in Resource Manager: what a body may ask for, traffic, keys, quotas, life cycle."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.azureml_calls import Rig, Told
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations

BODY = {"location": "westeurope", "properties": {"authMode": "Key"}}


def endpoint(rig: Rig, name: str = "wine", **properties: Any) -> dict[str, Any]:
    """Make an endpoint, and let its time pass."""
    body = {**BODY, "properties": {"authMode": "Key", **properties}}
    begun = rig.ask("PUT", f"onlineEndpoints/{name}", body)
    assert begun.status in (200, 201), begun
    assert rig.outcome(begun)["status"] == "Succeeded"
    found: dict[str, Any] = rig.ask("GET", f"onlineEndpoints/{name}").content
    return found


def stub_deployment(rig: Rig, name: str, endpoint_name: str = "wine") -> None:
    """Put a deployment there that nothing serves: for what only its resource is needed."""
    place = f"{rig.workspace}/onlineEndpoints/{endpoint_name}/deployments/{name}"
    kept = {"provisioningState": "Succeeded", "scaleSettings": {"scaleType": "Default"}}
    rig.cloud.resources.put(place, {"location": "westeurope", "sku": {"capacity": 1}, "properties": kept})


def put(rig: Rig, name: str = "wine", **properties: Any) -> Told:
    """Ask for an endpoint."""
    return rig.ask(
        "PUT", f"onlineEndpoints/{name}", {**BODY, "properties": {"authMode": "Key", **properties}}
    )


def test_an_endpoint_is_made_in_its_time_and_has_an_address_of_its_own(rig: Rig) -> None:
    begun = rig.ask("PUT", "onlineEndpoints/wine", BODY)
    assert begun.status == 201
    assert begun.content["properties"]["provisioningState"] == "Creating"
    assert rig.outcome(begun)["status"] == "Succeeded"
    made = rig.ask("GET", "onlineEndpoints/wine").content
    assert made["properties"]["scoringUri"] == "http://here/endpoints/wine/score"
    assert made["properties"]["traffic"] == {}
    assert made["identity"]["type"] == "SystemAssigned"


@pytest.mark.parametrize("name", ["ab", "1ab", "a--b", "ab-", "a_b", "a" * 33])
def test_a_name_that_breaks_the_rule_is_refused(rig: Rig, name: str) -> None:
    refused = rig.ask("PUT", f"onlineEndpoints/{name}", BODY)
    assert (refused.status, refused.code) == (400, "BadArgument")


def test_a_name_is_unique_in_a_region_for_both_kinds(rig: Rig) -> None:
    endpoint(rig)
    batch = {"location": "westeurope", "properties": {"authMode": "aadToken"}}
    assert "unique within a region" in rig.ask("PUT", "batchEndpoints/WINE", batch).message
    workspace = rig.workspace.replace("test-workspace", "another")
    rig.outcome(rig.ask("PUT", workspace, {"location": "westeurope", "properties": {}}))
    elsewhere = rig.ask("PUT", f"{workspace}/onlineEndpoints/wine", BODY)
    assert "unique within a region" in elsewhere.message


def test_while_it_is_being_changed_nothing_else_can_change_it(rig: Rig) -> None:
    rig.ask("PUT", "onlineEndpoints/wine", BODY)
    assert rig.ask("PUT", "onlineEndpoints/wine", BODY).status == 409
    assert rig.ask("DELETE", "onlineEndpoints/wine").status == 409


def test_traffic_sums_up_to_nothing_or_to_all(rig: Rig) -> None:
    endpoint(rig)
    stub_deployment(rig, "blue")
    stub_deployment(rig, "green")
    assert "must be 0 or 100" in put(rig, traffic={"blue": 60, "green": 30}).message
    assert "does not exist" in put(rig, traffic={"red": 100}).message
    assert "from 0 to 100" in put(rig, traffic={"blue": 120, "green": -20}).message
    rig.outcome(put(rig, traffic={"BLUE": 90, "green": 10}))
    kept = rig.ask("GET", "onlineEndpoints/wine").content["properties"]
    assert kept["traffic"] == {"blue": 90, "green": 10}


def test_a_put_without_traffic_leaves_none(rig: Rig) -> None:
    endpoint(rig)
    stub_deployment(rig, "blue")
    rig.outcome(put(rig, traffic={"blue": 100}))
    rig.outcome(put(rig, traffic={}))
    assert rig.ask("GET", "onlineEndpoints/wine").content["properties"]["traffic"] == {}


@pytest.mark.parametrize(
    ("traffic", "mirror", "words"),
    [
        ({"blue": 100}, {"green": 60}, "At most 50 %"),
        ({"blue": 100}, {"green": 10, "red": 10}, "one deployment only"),
        ({"blue": 90, "green": 10}, {"green": 10}, "not both"),
    ],
)
def test_the_mirror_has_rules(rig: Rig, traffic: dict[str, int], mirror: dict[str, int], words: str) -> None:
    endpoint(rig)
    for name in ("blue", "green", "red"):
        stub_deployment(rig, name)
    refused = put(rig, traffic=traffic, mirrorTraffic=mirror)
    assert refused.status == 400
    assert words in refused.message


def test_keys_are_two_and_are_made_anew_one_by_one(rig: Rig) -> None:
    endpoint(rig)
    before = rig.ask("POST", "onlineEndpoints/wine/listKeys").content
    assert before["primaryKey"] != before["secondaryKey"]
    again = {"keyType": "Primary", "keyValue": before["primaryKey"]}
    rig.outcome(rig.ask("POST", "onlineEndpoints/wine/regenerateKeys", again))
    after = rig.ask("POST", "onlineEndpoints/wine/listKeys").content
    assert after["primaryKey"] != before["primaryKey"]
    assert after["secondaryKey"] == before["secondaryKey"]
    rig.outcome(
        rig.ask("POST", "onlineEndpoints/wine/regenerateKeys", {"keyType": "Secondary", "keyValue": "own"})
    )
    assert rig.ask("POST", "onlineEndpoints/wine/listKeys").content["secondaryKey"] == "own"
    assert rig.ask("POST", "onlineEndpoints/wine/regenerateKeys", {"keyType": "Third"}).status == 400


def test_keys_can_be_brought_along_and_are_never_shown_in_the_resource(rig: Rig) -> None:
    made = endpoint(rig, keys={"primaryKey": "one", "secondaryKey": "two"})
    assert "keys" not in made["properties"]
    assert rig.ask("POST", "onlineEndpoints/wine/listKeys").content == {
        "primaryKey": "one",
        "secondaryKey": "two",
    }


def test_an_endpoint_with_tokens_has_no_keys_and_the_other_way_round(rig: Rig) -> None:
    endpoint(rig)
    endpoint(rig, "beer", authMode="amltoken")
    assert rig.ask("POST", "onlineEndpoints/wine/token").status == 400
    assert rig.ask("POST", "onlineEndpoints/beer/listKeys").status == 400
    token = rig.ask("POST", "onlineEndpoints/beer/token").content
    assert token["tokenType"] == "Bearer"
    assert rig.cloud.now_s() < token["refreshAfterTimeUtc"] < token["expiryTimeUtc"]


def test_keys_need_the_right_to_secrets(rig: Rig) -> None:
    endpoint(rig)
    rig.permissions.discard("secrets")
    assert rig.ask("POST", "onlineEndpoints/wine/listKeys").status == 403


def test_tags_are_all_that_a_patch_takes(rig: Rig) -> None:
    endpoint(rig)
    stub_deployment(rig, "blue")
    rig.outcome(put(rig, traffic={"blue": 100}))
    body = {"tags": {"team": "a"}, "properties": {"traffic": {"blue": 0}}}
    rig.outcome(rig.ask("PATCH", "onlineEndpoints/wine", body))
    found = rig.ask("GET", "onlineEndpoints/wine").content
    assert found["tags"] == {"team": "a"}
    assert found["properties"]["traffic"] == {"blue": 100}


def test_a_region_has_a_quota_of_endpoints(rig: Rig) -> None:
    rig.cloud.part(OnlineEndpoints).endpoints_max = 1
    endpoint(rig)
    assert put(rig, "beer").code == "OutOfQuota"
    assert put(rig).status == 200


def test_a_deletion_takes_the_deployments_along_and_can_be_repeated(rig: Rig) -> None:
    endpoint(rig)
    stub_deployment(rig, "blue")
    begun = rig.ask("DELETE", "onlineEndpoints/wine")
    assert begun.status == 202
    assert rig.outcome(begun)["status"] == "Succeeded"
    assert rig.ask("GET", "onlineEndpoints/wine/deployments/blue").status == 404
    assert rig.ask("DELETE", "onlineEndpoints/wine").status == 204


def test_a_failure_on_demand_leaves_a_failed_endpoint_that_can_be_put_again(rig: Rig) -> None:
    rig.cloud.part(SlowOperations).fail("*/onlineEndpoints/wine", code="InternalServerError")
    assert rig.outcome(rig.ask("PUT", "onlineEndpoints/wine", BODY))["status"] == "Failed"
    assert rig.ask("GET", "onlineEndpoints/wine").content["properties"]["provisioningState"] == "Failed"
    assert rig.outcome(rig.ask("PUT", "onlineEndpoints/wine", BODY))["status"] == "Succeeded"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"properties": {"endpointComputeType": "Managed"}}, "mlflow_model"),
        ({"sku": {"name": "Default", "capacity": 51}}, "50 instances"),
        ({"sku": {"name": "Default", "capacity": 0}}, "whole number from 1"),
        ({"properties": {"requestSettings": {"requestTimeout": "PT181S"}}}, "180 s"),
        ({"properties": {"requestSettings": {"requestTimeout": "soon"}}}, "duration"),
        ({"properties": {"model": "azureml:wine:1"}}, "not the id of a version"),
        ({"properties": {"endpointComputeType": "Kubernetes"}}, "no Kubernetes"),
    ],
)
def test_a_deployment_that_makes_no_sense_is_refused_before_anything_starts(
    rig: Rig, change: dict[str, Any], words: str
) -> None:
    endpoint(rig)
    properties = {"endpointComputeType": "Managed", **change.get("properties", {})}
    body = {"location": "westeurope", **change, "properties": properties}
    refused = rig.ask("PUT", "onlineEndpoints/wine/deployments/blue", body)
    assert refused.status == 400
    assert words in refused.message
    assert rig.ask("GET", "onlineEndpoints/wine/deployments/blue").status == 404


def test_a_deployment_needs_its_endpoint_and_a_good_name(rig: Rig) -> None:
    body = {"location": "westeurope", "properties": {"endpointComputeType": "Managed"}}
    assert rig.ask("PUT", "onlineEndpoints/wine/deployments/blue", body).status == 404
    rig.ask("PUT", "onlineEndpoints/wine", BODY)
    early = rig.ask("PUT", "onlineEndpoints/wine/deployments/blue", body)
    assert (early.status, "Creating provisioning state" in early.message) == (409, True)
    endpoint(rig, "beer")
    assert rig.ask("PUT", "onlineEndpoints/beer/deployments/b-", body).code == "BadArgument"


def test_an_endpoint_has_at_most_so_many_deployments(rig: Rig) -> None:
    rig.cloud.part(OnlineEndpoints).deployments_max = 1
    endpoint(rig)
    stub_deployment(rig, "blue")
    body = {"location": "westeurope", "properties": {"endpointComputeType": "Managed"}}
    assert rig.ask("PUT", "onlineEndpoints/wine/deployments/green", body).code == "OutOfQuota"


def test_a_deployment_with_traffic_is_not_deleted(rig: Rig) -> None:
    endpoint(rig)
    stub_deployment(rig, "blue")
    rig.outcome(put(rig, traffic={"blue": 100}))
    assert "gets traffic" in rig.ask("DELETE", "onlineEndpoints/wine/deployments/blue").message
    rig.outcome(put(rig, traffic={}))
    rig.outcome(rig.ask("DELETE", "onlineEndpoints/wine/deployments/blue"))
    assert rig.ask("DELETE", "onlineEndpoints/wine/deployments/blue").status == 204
