"""Organisational registries of the emulator: found by name, filled by imports, read by signatures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.azureml_calls import MLMODEL, Rig, Told
from trackbridge.testing.emulators.azureml.storage import REGISTRY_ACCOUNT

ASSET = "azureml://registries/test-registry/models/digits/versions/1"
REGISTRY_PLACE = "https://tbregistrystore.blob.core.windows.net/"


def _share(rig: Rig, *, name: str = "digits", version: str = "1", **changed: str) -> Told:
    guid = rig.ask("GET", rig.workspace).content["properties"]["workspaceId"]
    source = f"azureml://locations/westeurope/workspaces/{guid}/models/{name}/versions/{version}"
    asked = {
        "referenceType": "Id",
        "destinationName": "digits",
        "destinationVersion": "1",
        "sourceAssetId": source,
        **changed,
    }
    return rig.in_registry("POST", "import", {"properties": asked})


def test_a_registry_is_found_by_its_name(rig: Rig) -> None:
    found = rig.ask("GET", "/registrymanagement/v1.0/registries/test-registry/discovery", version="").content

    assert found["primaryRegionResourceProviderUri"].endswith("/")
    assert f"/resourceGroups/{found['resourceGroup']}/" in rig.registry
    missing = rig.ask("GET", "/registrymanagement/v1.0/registries/none/discovery", version="")
    assert missing.status == 404


def test_a_shared_model_has_its_own_copy_of_the_files(rig: Rig) -> None:
    rig.model("digits", tags={"team": "a"}, description="reads digits")

    begun = _share(rig)
    early = rig.in_registry("GET", "models/digits/versions/1")
    outcome = rig.outcome(begun)
    told = rig.in_registry("GET", "models/digits/versions/1").content

    assert (begun.status, begun.content, early.status) == (202, None, 404)
    assert outcome["status"] == "Succeeded"
    assert told["id"] == ASSET
    assert told["properties"]["tags"] == {"team": "a"}
    assert told["properties"]["description"] == "reads digits"
    place = told["properties"]["modelUri"].removeprefix(REGISTRY_PLACE)
    container, _, folder = place.partition("/")
    assert rig.storage.get(f"{folder}/MLmodel", container=container, account=REGISTRY_ACCOUNT) == MLMODEL


def test_a_finished_import_has_no_body(rig: Rig) -> None:
    rig.model("digits")
    begun = _share(rig)
    rig.outcome(begun)

    result = rig.ask("GET", begun.headers["Location"].removeprefix("http://here"), version="")

    assert (result.status, result.content) == (204, None)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"version": "9"}, 404),
        ({"sourceAssetId": "azureml://locations/x/workspaces/none/models/digits/versions/1"}, 404),
        ({"sourceAssetId": "azureml:digits:1"}, 400),
        ({"referenceType": "OutputPath"}, 400),
    ],
)
def test_what_cannot_be_imported_is_refused(rig: Rig, changed: dict[str, Any], status: int) -> None:
    rig.model("digits")

    assert _share(rig, **changed).status == status


def test_a_version_is_imported_once(rig: Rig) -> None:
    rig.model("digits")
    rig.outcome(_share(rig))

    assert _share(rig).status == 409


def test_an_import_without_files_fails_late(rig: Rig) -> None:
    body = {"properties": {"modelUri": "azureml://datastores/workspaceblobstore/paths/nothing"}}
    rig.ask("PUT", "models/digits/versions/1", body)

    outcome = rig.outcome(_share(rig))

    assert outcome["status"] == "Failed"
    assert "nothing" in outcome["error"]["message"]
    assert rig.in_registry("GET", "models/digits/versions/1").status == 404


def test_a_model_is_promoted_from_one_registry_to_another(rig: Rig) -> None:
    rig.model("digits")
    rig.outcome(_share(rig))
    other = rig.registry.partition("/mferp/managementfrontend")[2].replace("test-registry", "prod-registry")
    rig.outcome(rig.ask("PUT", other, {"location": "westeurope"}))
    asked = {"referenceType": "Id", "sourceAssetId": ASSET}

    begun = rig.ask(
        "POST",
        f"/mferp/managementfrontend{other}/import",
        {"properties": asked},
        version="2021-10-01-dataplanepreview",
    )

    assert rig.outcome(begun)["status"] == "Succeeded"
    told = rig.ask("GET", f"{other}/models/digits/versions/1").content
    assert told["id"] == ASSET.replace("test-registry", "prod-registry")


def test_files_are_put_before_their_version_and_read_by_a_signature(rig: Rig) -> None:
    asked = {"assetId": ASSET, "temporaryDataReferenceType": "TemporaryBlobReference"}
    given = rig.in_registry("PUT", "tempdatarefs/digits/versions/1", asked).content
    again = rig.in_registry("PUT", "tempdatarefs/digits/versions/1", asked).content
    container = given["blobReferenceForConsumption"]["blobUri"].rpartition("/")[2]
    rig.storage.put("model/MLmodel", MLMODEL, container=container, account=REGISTRY_ACCOUNT)
    properties = {"modelType": "mlflow_model", "modelUri": f"{REGISTRY_PLACE}{container}/model"}

    begun = rig.in_registry("PUT", "models/digits/versions/1", {"properties": properties})

    assert again["blobReferenceForConsumption"]["blobUri"].endswith(container)
    assert (begun.status, begun.content) == (202, None)
    creating = rig.in_registry("GET", "models/digits/versions/1").content["properties"]
    assert creating["provisioningState"] == "Creating"
    assert rig.outcome(begun)["status"] == "Succeeded"
    told = rig.in_registry("GET", "models/digits/versions/1").content["properties"]
    assert told["provisioningState"] == "Succeeded"
    assert "sklearn" in told["flavors"]
    reading = rig.in_registry(
        "POST", "datarefs/digits/versions/1", {"assetId": ASSET, "blobUri": "x"}
    ).content
    signed = reading["blobReferenceForConsumption"]["credential"]["sasUri"]
    assert f"/{container}?" in signed
    assert "sp=rl&" in signed
    assert rig.in_registry("PUT", "tempdatarefs/digits/versions/1", asked).status == 409


def test_a_name_with_a_dot_comes_with_a_version_and_not_without(rig: Rig) -> None:
    """As published: of the data plane versions alone, and nothing of Resource Manager's routes."""
    properties = {"modelType": "custom_model", "modelUri": f"{REGISTRY_PLACE}c/model"}
    body = {"properties": properties}
    routes = rig.registry.partition("/mferp/managementfrontend")[2]

    alone = rig.in_registry("PUT", "models/phi-3.5", {"properties": {}})
    by_arm = rig.ask("PUT", f"{routes}/models/phi-3.5/versions/1", body)
    by_data_plane = rig.in_registry("PUT", "models/phi-3.5/versions/1", body)

    assert (alone.status, by_arm.status) == (400, 400)
    assert rig.outcome(by_data_plane)["status"] == "Succeeded"
    assert rig.in_registry("GET", "models/phi-3.5").status == 200
    assert rig.in_registry("PUT", "models/phi-3.5./versions/1", body).status == 400


def test_what_was_deleted_of_a_registry_cannot_be_made_again(rig: Rig) -> None:
    rig.model("digits")
    rig.outcome(_share(rig))
    kept = rig.in_registry("GET", "models/digits/versions/1").content["properties"]
    rig.in_registry("DELETE", "models/digits/versions/1")

    refused = rig.in_registry("PUT", "models/digits/versions/1", {"properties": kept})

    assert refused.status == 400
    assert "cannot be recreated" in refused.message
    another = rig.in_registry("PUT", "models/digits/versions/2", {"properties": kept})
    assert rig.outcome(another)["status"] == "Succeeded"


def test_the_data_plane_has_one_api_version(rig: Rig) -> None:
    refused = rig.ask("GET", f"{rig.registry}/models", version="2024-04-01")

    assert (refused.status, refused.code) == (400, "InvalidApiVersionParameter")
