"""Models, data, environments and code of the emulated workspace keep the service's rules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.azureml_calls import Rig

IMMUTABLE = "Asset paths cannot be updated."


def _changed(version: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {"properties": {**version["properties"], **properties}}


def test_a_version_brings_its_container_and_the_next_number(rig: Rig) -> None:
    rig.model("digits", "1")
    rig.model("digits", "7")
    rig.model("digits", "named")

    told = rig.ask("GET", "models/digits").content

    assert told["properties"]["latestVersion"] == "named"
    assert told["properties"]["nextVersion"] == "8"
    assert [item["name"] for item in rig.ask("GET", "models").content["value"]] == ["digits"]


def test_latest_is_what_was_made_last_and_not_what_was_changed_last(rig: Rig) -> None:
    first = rig.model("digits", "1")
    rig.model("digits", "2")
    rig.ask("PUT", "models/digits/versions/1", _changed(first, description="changed"))

    found = rig.ask("GET", "models/digits/versions?$orderBy=createdtime desc&$top=1").content

    assert [item["name"] for item in found["value"]] == ["2"]
    assert "nextLink" not in found


def test_a_put_replaces_all_that_can_change(rig: Rig) -> None:
    made = rig.model("digits", tags={"a": "1"}, description="first")
    body = {"properties": {"modelUri": made["properties"]["modelUri"], "modelType": "mlflow_model"}}

    told = rig.ask("PUT", "models/digits/versions/1", body)

    assert told.status == 200
    assert told.content["properties"]["tags"] == {}
    assert told.content["properties"]["description"] is None
    assert told.content["systemData"]["createdAt"] == made["systemData"]["createdAt"]


@pytest.mark.parametrize(
    "change", [{"modelUri": "azureml://datastores/d/paths/x"}, {"modelType": "custom_model"}]
)
def test_files_and_type_of_a_version_never_change(rig: Rig, change: dict[str, str]) -> None:
    made = rig.model("digits")

    refused = rig.ask("PUT", "models/digits/versions/1", _changed(made, **change))

    assert (refused.status, refused.code, refused.message) == (400, "UserError", IMMUTABLE)
    assert rig.ask("GET", "models/digits/versions/1").content["properties"] == made["properties"]


def test_short_and_long_addresses_are_one(rig: Rig) -> None:
    made = rig.model("digits")
    short = "azureml://datastores/workspaceblobstore/paths/LocalUpload/digits-1"

    again = rig.ask("PUT", "models/digits/versions/1", _changed(made, modelUri=short))

    assert again.status == 200
    assert again.content["properties"]["modelUri"] == made["properties"]["modelUri"]
    assert made["properties"]["modelUri"].endswith(
        "/workspaces/test-workspace/datastores/workspaceblobstore/paths/LocalUpload/digits-1"
    )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("runs:/r1/model", "workspaceartifactstore/paths/ExperimentRun/dcid.r1/model"),
        (
            "azureml://jobs/r1/outputs/artifacts/paths/model/",
            "workspaceartifactstore/paths/ExperimentRun/dcid.r1/model",
        ),
        ("azureml://jobs/r1/outputs/best/paths/sub", "workspaceblobstore/paths/azureml/r1/best/sub"),
        (
            "azureml://artifacts/LocalUpload/240101T000000-00000000/model",
            "workspaceartifactstore/paths/LocalUpload/240101T000000-00000000/model",
        ),
    ],
)
def test_files_of_runs_and_jobs_are_told_by_where_they_lie(rig: Rig, given: str, kept: str) -> None:
    body = {"properties": {"modelType": "custom_model", "modelUri": given}}

    told = rig.ask("PUT", "models/digits/versions/1", body)

    assert told.content["properties"]["modelUri"].endswith(f"/datastores/{kept}")


def test_archived_versions_are_left_out_unless_asked_for(rig: Rig) -> None:
    first = rig.model("digits", "1")
    rig.model("digits", "2")
    rig.ask("PUT", "models/digits/versions/1", _changed(first, isArchived=True))

    def listed(view: str) -> list[str]:
        found = rig.ask("GET", f"models/digits/versions{view}").content["value"]
        return [item["name"] for item in found]

    assert listed("") == ["2"]
    assert listed("?listViewType=ArchivedOnly") == ["1"]
    assert listed("?listViewType=All") == ["2", "1"]


def test_a_long_list_comes_in_pages(rig: Rig) -> None:
    for number in range(130):
        rig.ask("PUT", f"models/m{number}", {"properties": {}})

    first = rig.ask("GET", "models?listViewType=All").content
    second = rig.ask("GET", first["nextLink"].partition("127.0.0.1:1")[2], version="").content

    names = [item["name"] for item in (*first["value"], *second["value"])]
    assert len(first["value"]) == 100
    assert len(set(names)) == 130
    assert "nextLink" not in second


def test_versions_and_models_can_be_deleted(rig: Rig) -> None:
    rig.model("digits", "1")
    rig.model("digits", "2")

    assert rig.ask("DELETE", "models/digits/versions/2").status == 200
    assert rig.ask("DELETE", "models/digits/versions/2").status == 204
    assert rig.ask("GET", "models/digits").content["properties"]["latestVersion"] == "1"
    assert rig.ask("DELETE", "models/digits").status == 200
    assert rig.ask("GET", "models/digits/versions/1").status == 404


@pytest.mark.parametrize("name", ["with space", "-begins", "a" * 256, "dot.ted"])
def test_names_are_those_of_the_published_pattern(rig: Rig, name: str) -> None:
    body = {"properties": {"modelUri": "azureml://datastores/d/paths/x"}}

    refused = rig.ask("PUT", f"models/{name}/versions/1".replace(" ", "%20"), body)

    assert (refused.status, refused.code) == (400, "ValidationError")
    assert rig.ask("GET", "models").content["value"] == []


def test_a_model_has_at_most_1500_files(rig: Rig) -> None:
    uri = rig.upload("many", {f"{number}.bin": b"" for number in range(1501)})

    refused = rig.ask("PUT", "models/digits/versions/1", {"properties": {"modelUri": uri}})

    assert refused.status == 400
    assert "1500" in refused.message


def test_flavors_are_read_from_the_files(rig: Rig) -> None:
    told = rig.model("digits")["properties"]

    assert told["flavors"] == {"sklearn": {"data": {"pickled_model": "model.pkl"}}}


@pytest.mark.parametrize("content", [b"\x00{[", b"- a\n- b\n", b"flavors: 3\n", b"flavors: [a]\n"])
def test_a_damaged_mlmodel_has_no_flavors(rig: Rig, content: bytes) -> None:
    uri = rig.upload("odd", {"MLmodel": content})
    body = {"properties": {"modelUri": uri, "modelType": "mlflow_model"}}

    assert rig.ask("PUT", "models/odd/versions/1", body).content["properties"]["flavors"] == {}


def test_code_is_found_by_its_content_whatever_name_was_asked(rig: Rig) -> None:
    hashes = {"hash_sha256": "abc", "hash_version": 202208}
    body = {
        "properties": {"codeUri": "https://s.blob.core.windows.net/c/src?sig=secret", "properties": hashes}
    }
    rig.ask("PUT", "codes/one/versions/1", body)

    found = rig.ask("GET", "codes/other/versions?hash=abc&hashVersion=202208").content["value"]

    assert [item["id"].rpartition("/codes/")[2] for item in found] == ["one/versions/1"]
    assert found[0]["properties"]["codeUri"] == "https://s.blob.core.windows.net/c/src"
    assert rig.ask("GET", "codes/other/versions?hash=abd").content["value"] == []


def test_an_environment_needs_an_image_or_a_build(rig: Rig) -> None:
    good = rig.ask("PUT", "environments/e/versions/1", {"properties": {"image": "python:3.11"}})
    refused = rig.ask("PUT", "environments/e/versions/2", {"properties": {"description": "nothing"}})

    assert good.content["properties"]["environmentType"] == "UserCreated"
    assert refused.status == 400


def test_data_keeps_its_type_and_place(rig: Rig) -> None:
    uri = "azureml://datastores/workspaceblobstore/paths/d/"
    body = {"properties": {"dataType": "uri_folder", "dataUri": uri}}
    rig.ask("PUT", "data/d/versions/1", body)

    changed = {"properties": {"dataType": "uri_folder", "dataUri": f"{uri}other"}}

    assert rig.ask("PUT", "data/d/versions/1", changed).message == IMMUTABLE
    assert rig.ask("GET", "data/d/versions/1").content["properties"]["dataUri"].endswith("/paths/d/")


def test_nothing_is_read_or_written_in_another_workspace(rig: Rig) -> None:
    other = rig.workspace.replace("test-workspace", "other")

    assert rig.ask("GET", f"{other}/models").code == "ResourceNotFound"
    rig.ask("PUT", other, {"location": "westeurope"})
    rig.model("digits")
    assert rig.ask("GET", f"{other}/models").content["value"] == []
