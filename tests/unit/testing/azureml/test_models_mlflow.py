"""The MLflow endpoint's registry and Resource Manager show one set of models, each with its own view."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.support.azureml_calls import MLMODEL, Rig


def _source(rig: Rig, run: str = "r1") -> str:
    rig.storage.put(f"ExperimentRun/dcid.{run}/model/MLmodel", MLMODEL, container="azureml")
    return f"azureml://here/mlflow/v2.0{rig.workspace}/experiments/7/runs/{run}/artifacts/model"


def _registered(rig: Rig, name: str = "digits", **given: object) -> dict[str, object]:
    rig.mlflow("POST", "registered-models/create", {"name": name})
    body = {"name": name, "source": _source(rig), "run_id": "r1", **given}
    made = rig.mlflow("POST", "model-versions/create", body)
    assert made.status == 200, made
    found: dict[str, object] = made.content["model_version"]
    return found


def _error(rig: Rig, method: str, route: str, body: object = None) -> tuple[int, str]:
    told = rig.mlflow(method, route, body)
    return told.status, told.content["error_code"]


def test_a_version_made_by_mlflow_is_an_asset(rig: Rig) -> None:
    _registered(rig, description="reads digits", tags=[{"key": "team", "value": "a"}])

    told = rig.ask("GET", "models/digits/versions/1").content["properties"]

    assert told["modelType"] == "mlflow_model"
    assert told["modelUri"].endswith("/datastores/workspaceartifactstore/paths/ExperimentRun/dcid.r1/model")
    assert (told["description"], told["tags"], told["jobName"]) == ("reads digits", {"team": "a"}, "r1")


def test_an_asset_is_a_version_of_mlflow(rig: Rig) -> None:
    rig.model("digits", "5", tags={"team": "a"})

    told = rig.mlflow("GET", "model-versions/get?name=digits&version=5").content["model_version"]

    assert (told["version"], told["current_stage"], told["status"]) == ("5", "None", "READY")
    assert told["tags"] == [{"key": "team", "value": "a"}]
    assert _registered(rig)["version"] == "6"


def test_custom_models_are_not_seen(rig: Rig) -> None:
    rig.model("custom", kind="custom_model")
    rig.model("digits")

    found = rig.mlflow("GET", "registered-models/search").content["registered_models"]

    assert [item["name"] for item in found] == ["digits"]
    assert _error(rig, "GET", "registered-models/get?name=custom") == (404, "RESOURCE_DOES_NOT_EXIST")
    assert _error(rig, "POST", "registered-models/create", {"name": "custom"}) == (
        400,
        "RESOURCE_ALREADY_EXISTS",
    )


def test_stages_are_seen_by_mlflow_alone(rig: Rig) -> None:
    _registered(rig)
    rig.mlflow("POST", "model-versions/create", {"name": "digits", "source": _source(rig)})
    for version in ("1", "2"):
        body = {
            "name": "digits",
            "version": version,
            "stage": "production",
            "archive_existing_versions": True,
        }
        rig.mlflow("POST", "model-versions/transition-stage", body)

    found = rig.mlflow("GET", "registered-models/get?name=digits").content["registered_model"][
        "latest_versions"
    ]

    assert {item["version"]: item["current_stage"] for item in found} == {"1": "Archived", "2": "Production"}
    told = rig.ask("GET", "models/digits/versions/1").content["properties"]
    assert told["isArchived"] is False
    assert "stage" not in told
    wrong = {"name": "digits", "version": "1", "stage": "Live"}
    assert _error(rig, "POST", "model-versions/transition-stage", wrong) == (400, "INVALID_PARAMETER_VALUE")


def test_deletion_by_either_door_is_one(rig: Rig) -> None:
    _registered(rig)
    rig.mlflow("POST", "registered-models/alias", {"name": "digits", "version": "1", "alias": "champion"})

    assert rig.ask("DELETE", "models/digits/versions/1").status == 200

    assert _error(rig, "GET", "model-versions/get?name=digits&version=1")[0] == 404
    rig.model("other")
    rig.mlflow("DELETE", "model-versions/delete", {"name": "other", "version": "1"})
    assert rig.ask("GET", "models/other/versions/1").status == 404


def test_a_version_made_again_is_a_new_one(rig: Rig) -> None:
    _registered(rig)
    stage = {"name": "digits", "version": "1", "stage": "Production"}
    rig.mlflow("POST", "model-versions/transition-stage", stage)
    rig.mlflow("POST", "registered-models/alias", {"name": "digits", "version": "1", "alias": "champion"})
    rig.ask("DELETE", "models/digits/versions/1")
    rig.model("digits", "1")

    told = rig.mlflow("GET", "model-versions/get?name=digits&version=1").content["model_version"]

    assert (told["current_stage"], told["aliases"], told["run_id"]) == ("None", [], "")
    assert "LocalUpload" in told["source"]


@pytest.mark.parametrize(
    "source", ["s3://bucket/model", "runs:/r1/model", "/tmp/model", "", "azureml://here/nowhere"]
)
def test_only_addresses_of_azure_ml_are_sources(rig: Rig, source: str) -> None:
    rig.mlflow("POST", "registered-models/create", {"name": "digits"})

    body = {"name": "digits", "source": source}

    assert _error(rig, "POST", "model-versions/create", body) == (400, "INVALID_PARAMETER_VALUE")


def test_a_source_needs_an_mlmodel(rig: Rig) -> None:
    rig.mlflow("POST", "registered-models/create", {"name": "digits"})
    source = _source(rig).replace("/model", "/other")

    body = {"name": "digits", "source": source}

    assert _error(rig, "POST", "model-versions/create", body) == (400, "INVALID_PARAMETER_VALUE")


def test_tags_and_descriptions_can_change(rig: Rig) -> None:
    _registered(rig)
    at = {"name": "digits", "version": "1"}
    rig.mlflow("POST", "model-versions/set-tag", {**at, "key": "a", "value": "1"})
    rig.mlflow("POST", "registered-models/set-tag", {"name": "digits", "key": "b", "value": "2"})
    rig.mlflow("PATCH", "model-versions/update", {**at, "description": "of the version"})
    rig.mlflow("PATCH", "registered-models/update", {"name": "digits", "description": "of the model"})

    version = rig.ask("GET", "models/digits/versions/1").content["properties"]
    model = rig.ask("GET", "models/digits").content["properties"]
    rig.mlflow("DELETE", "model-versions/delete-tag", {**at, "key": "a"})

    assert (version["tags"], version["description"]) == ({"a": "1"}, "of the version")
    assert (model["tags"], model["description"]) == ({"b": "2"}, "of the model")
    assert rig.ask("GET", "models/digits/versions/1").content["properties"]["tags"] == {}


def test_a_search_takes_a_name_and_nothing_else(rig: Rig) -> None:
    for name in ("a", "b"):
        rig.model(name)
    rig.model("b", "2")

    def versions(text: str) -> list[tuple[str, str]]:
        found = rig.mlflow("GET", f"model-versions/search?filter={quote(text)}").content["model_versions"]
        return [(item["name"], item["version"]) for item in found]

    assert versions("name = 'b'") == [("b", "2"), ("b", "1")]
    assert versions("") == [("a", "1"), ("b", "2"), ("b", "1")]
    wrong = quote("name LIKE 'b%'")
    assert _error(rig, "GET", f"model-versions/search?filter={wrong}") == (400, "INVALID_PARAMETER_VALUE")


def test_a_search_comes_in_pages(rig: Rig) -> None:
    for number in range(5):
        rig.model(f"m{number}")

    first = rig.mlflow("GET", "registered-models/search?max_results=3").content
    rest = rig.mlflow(
        "GET", f"registered-models/search?max_results=3&page_token={first['next_page_token']}"
    ).content

    names = [item["name"] for page in (first, rest) for item in page["registered_models"]]
    assert names == [f"m{number}" for number in range(5)]
    assert "next_page_token" not in rest
