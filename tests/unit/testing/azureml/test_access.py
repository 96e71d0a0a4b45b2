"""What the emulated Resource Manager tells of rights, of what there is, and of tags that it does not take."""

from __future__ import annotations

from urllib.parse import quote

from tests.support.azureml_calls import Rig
from tests.support.azureml_endpoints import Desk

ENDPOINTS = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
PERMISSIONS = "providers/Microsoft.Authorization/permissions"


def test_permissions_are_what_one_may_do(rig: Rig) -> None:
    (granted,) = rig.ask("GET", PERMISSIONS, version="2022-04-01").content["value"]
    assert (granted["actions"], granted["notActions"]) == (["*"], [])
    rig.cloud.rights = {"read"}
    (granted,) = rig.ask("GET", PERMISSIONS, version="2022-04-01").content["value"]
    assert {"*/write", "*/listKeys/action"} <= set(granted["notActions"])


def test_tracked_resources_of_the_subscription_are_listed_by_type(rig: Rig) -> None:
    Desk(rig).endpoint("wine")
    place = f"/subscriptions/{rig.cloud.subscription}/resources"
    wanted = quote(f"resourceType eq '{ENDPOINTS}'")
    (found,) = rig.ask("GET", f"{place}?$filter={wanted}", version="2021-04-01").content["value"]
    assert (found["name"], found["location"]) == (f"{rig.cloud.workspace}/wine", "westeurope")
    assert "properties" not in found
    kinds = {item["type"] for item in rig.ask("GET", place, version="2021-04-01").content["value"]}
    assert ENDPOINTS in kinds
    refused = rig.ask("GET", f"{place}?$filter=name", version="2021-04-01")
    assert refused.status == 400


def test_tags_have_resource_managers_limits(rig: Rig) -> None:
    body = {"location": "westeurope", "properties": {"authMode": "Key"}}
    for tags, code in (
        ({f"t{number}": "" for number in range(51)}, "InvalidTags"),
        ({"a/b": ""}, "InvalidTagNameCharacters"),
        ({"long": "x" * 257}, "TagValueTooLong"),
    ):
        refused = rig.ask("PUT", "onlineEndpoints/wine", {**body, "tags": tags})
        assert (refused.status, refused.content["error"]["code"]) == (400, code)
    assert rig.ask("PUT", "onlineEndpoints/wine", {**body, "tags": {"long": "x" * 256}}).status == 201


def test_application_insights_of_the_workspace_are_told(rig: Rig) -> None:
    component = rig.ask("GET", rig.workspace).content["properties"]["applicationInsights"]
    told = rig.ask("GET", component, version="2020-02-02").content["properties"]
    assert told["ConnectionString"].startswith(f"InstrumentationKey={told['InstrumentationKey']};")
