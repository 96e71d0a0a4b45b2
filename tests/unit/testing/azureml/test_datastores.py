"""Workspaces and datastores of the emulator: what is there, what secrets are handed out, where uploads go."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.support.azureml_calls import KEY, Rig

SECRETS = "datastores/workspaceblobstore/listSecrets"


def _own(**credentials: Any) -> dict[str, Any]:
    store = {"datastoreType": "AzureBlob", "accountName": "tbteststore", "containerName": "own"}
    return {"properties": {**store, "credentials": credentials}}


def test_a_workspace_has_its_datastores_from_the_beginning(rig: Rig) -> None:
    found = rig.ask("GET", "datastores").content["value"]

    assert {item["name"]: item["properties"]["isDefault"] for item in found} == {
        "workspaceblobstore": True,
        "workspaceartifactstore": False,
    }
    default = rig.ask("GET", "datastores?isDefault=true").content["value"]
    assert [item["name"] for item in default] == ["workspaceblobstore"]


def test_workspaces_share_no_container(rig: Rig) -> None:
    other = rig.workspace.replace("test-workspace", "other-ws")
    rig.ask("PUT", other, {"location": "westeurope"})

    containers = [
        item["properties"]["containerName"]
        for scope in (rig.workspace, other)
        for item in rig.ask("GET", f"{scope}/datastores").content["value"]
    ]

    assert len(set(containers)) == 4


def test_a_workspace_tells_where_its_services_are(rig: Rig) -> None:
    told = rig.ask("GET", rig.workspace).content

    assert told["properties"]["mlFlowTrackingUri"] == f"azureml://here/mlflow/v1.0{rig.workspace}"
    listed = rig.ask("GET", rig.workspace.rpartition("/")[0]).content["value"]
    assert [item["id"] for item in listed] == [rig.workspace]


def test_making_a_workspace_takes_its_time(rig: Rig) -> None:
    begun = rig.ask("PUT", rig.workspace.replace("test-workspace", "other-ws"), {"location": "westeurope"})

    assert begun.status == 201
    assert rig.outcome(begun)["status"] == "Succeeded"


@pytest.mark.parametrize("name", ["ab", "-begins", "with.dot", "a" * 34])
def test_names_of_workspaces_are_those_of_the_published_pattern(rig: Rig, name: str) -> None:
    assert rig.ask("PUT", rig.workspace.replace("test-workspace", name), {}).status == 400


def test_secrets_that_expire_are_signatures_and_others_the_key(rig: Rig) -> None:
    signature = rig.ask("POST", SECRETS, {"expirableSecret": True, "expireAfterHours": 1}).content
    key = rig.ask("POST", SECRETS).content

    assert signature["secretsType"] == "Sas"
    assert parse_qs(signature["sasToken"])["sr"] == ["c"]
    assert key == {"secretsType": "AccountKey", "key": KEY}


def test_a_signature_lasts_as_long_as_was_asked_for(rig: Rig) -> None:
    rig.cloud.signature_seconds = 10.0

    def expiry(hours: int) -> str:
        told = rig.ask("POST", SECRETS, {"expirableSecret": True, "expireAfterHours": hours}).content
        return parse_qs(told["sasToken"])["se"][0]

    assert expiry(1) < expiry(3)
    refused = rig.ask("POST", SECRETS, {"expirableSecret": True, "expireAfterHours": 1000})
    assert refused.status == 400


def test_secrets_need_a_right_of_their_own(rig: Rig) -> None:
    rig.permissions.discard("secrets")

    refused = rig.ask("POST", SECRETS)

    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert "listSecrets" in refused.message


def test_what_was_given_to_get_at_a_datastore_is_told_by_list_secrets_alone(rig: Rig) -> None:
    secrets = {"secretsType": "Sas", "sasToken": "sv=1&sig=hidden"}
    made = rig.ask("PUT", "datastores/mine", _own(credentialsType="Sas", secrets=secrets))

    told = rig.ask("GET", "datastores/mine")

    assert made.status == 201
    assert "hidden" not in str(made.content) + str(told.content)
    assert rig.ask("POST", "datastores/mine/listSecrets").content == secrets


def test_a_datastore_without_credentials_has_no_secrets(rig: Rig) -> None:
    rig.ask("PUT", "datastores/mine", _own(credentialsType="None"))

    assert rig.ask("POST", "datastores/mine/listSecrets").status == 400


def test_a_key_of_an_account_elsewhere_is_told_as_it_was_given(rig: Rig) -> None:
    secrets = {"secretsType": "AccountKey", "key": "c29tZQ=="}
    body = _own(credentialsType="AccountKey", secrets=secrets)
    body["properties"]["accountName"] = "elsewhere"
    rig.ask("PUT", "datastores/mine", body)

    told = rig.ask("POST", "datastores/mine/listSecrets", {"expirableSecret": True, "expireAfterHours": 1})

    assert told.content == secrets


def test_the_default_datastore_stays(rig: Rig) -> None:
    secrets = {"secretsType": "AccountKey", "key": KEY}
    rig.ask("PUT", "datastores/mine", _own(credentialsType="AccountKey", secrets=secrets))

    assert rig.ask("DELETE", "datastores/workspaceblobstore").status == 400
    assert rig.ask("DELETE", "datastores/mine").status == 200
    assert rig.ask("DELETE", "datastores/mine").status == 204
    assert rig.ask("GET", "datastores/mine").status == 404


def test_every_upload_of_code_has_a_container_of_its_own(rig: Rig) -> None:
    path, body = "codes/c/versions/1/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"}

    places = [rig.ask("POST", path, body).content for _ in range(2)]

    references = [place["blobReferenceForConsumption"] for place in places]
    assert references[0]["blobUri"] != references[1]["blobUri"]
    assert all(item["credential"]["sasUri"].startswith(f"{item['blobUri']}?") for item in references)
    assert {place["pendingUploadType"] for place in places} == {"TemporaryBlobReference"}
