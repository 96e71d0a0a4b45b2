"""What a registry is known to refuse is refused before a run is made, and before anything is logged to one.

Its names and numbers are declared: nobody is asked here, and nobody could be.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import trackbridge as tb
from trackbridge.errors import Rejected
from trackbridge_adapters.azureml.limits import most

ORGANISATION = "azureml://westeurope.api.azureml.ms/mlflow/v1.0/registries/test-registry"
WORKSPACE = "azureml://00000000-1111-2222-3333-444444444444/group/workspace"


@pytest.fixture(params=[ORGANISATION, WORKSPACE], ids=["registry", "workspace"])
def registry(request: pytest.FixtureRequest, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BRIDGE_REGISTRY_URI", request.param)
    uri: str = request.param
    return uri


@pytest.fixture
def folder(project: Path) -> Path:
    made = project / "exported"
    made.mkdir()
    (made / "weights.bin").write_bytes(b"1234")
    return made


def crowded(folder: Path) -> Path:
    for number in range(most("model.files")):
        (folder / f"part-{number}").touch()
    return folder


def logged(run_id: str) -> set[str]:
    return {info.path for info in tb.Client().list_artifacts(run_id)}


def test_a_name_that_cannot_be_held(registry: str, folder: Path) -> None:
    name = "no such name!" * 15  # a workspace takes any that is short enough to be written in another
    with pytest.raises(Rejected, match=r"is no(ne| name) that Azure ML takes"):
        tb.register_model(folder, name)
    assert tb.search_runs(search_all_experiments=True, output_format="list") == []
    with tb.start_run() as run, pytest.raises(Rejected, match=r"is no(ne| name) that Azure ML takes"):
        tb.log_model(folder, registered_model_name=name)
    assert "model" not in logged(run.info.run_id)


@pytest.mark.parametrize("is_mlflow", [True, False])
def test_a_name_that_only_workspaces_take(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_mlflow: bool
) -> None:
    monkeypatch.setenv("BRIDGE_REGISTRY_URI", WORKSPACE)
    tb.Client().models.check_name("wine of ours", is_mlflow=is_mlflow)
    monkeypatch.setenv("BRIDGE_REGISTRY_URI", ORGANISATION)
    with pytest.raises(Rejected, match="'wine of ours' is none that Azure ML takes"):
        tb.Client().models.check_name("wine of ours", is_mlflow=is_mlflow)


def test_more_files_than_a_version_holds(registry: str, folder: Path) -> None:
    crowded(folder)
    with pytest.raises(Rejected, match=r"1,501 files.*at most 1,500"):
        tb.register_model(folder, "wine")
    assert tb.search_runs(search_all_experiments=True, output_format="list") == []
    with tb.start_run() as run:
        with pytest.raises(Rejected, match="1,501 files"):
            tb.register_model(folder, "wine")
        with pytest.raises(Rejected, match="1,501 files"):
            tb.log_model(folder, registered_model_name="wine")
    assert "model" not in logged(run.info.run_id)


def test_as_many_files_as_a_version_holds(registry: str, folder: Path) -> None:
    (crowded(folder) / "part-0").unlink()
    tb.Client().models.check_files(most("model.files"))
    tb.Client()._check_path(folder, "wine")


@pytest.mark.parametrize(
    ("name", "problem"), [("wine", "has not three levels"), ("Main.ml.wine", "keeps names in lower case")]
)
def test_a_name_that_unity_catalog_cannot_hold(
    name: str, problem: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", "https://127.0.0.1:9")
    monkeypatch.setenv("DATABRICKS_TOKEN", "a-token")
    monkeypatch.setenv("BRIDGE_REGISTRY_URI", "databricks-uc:")
    with pytest.raises(Rejected, match=problem):
        tb.register_model(folder, name)
    assert tb.search_runs(search_all_experiments=True, output_format="list") == []


def test_a_registry_without_such_limits_takes_them(folder: Path) -> None:
    assert tb.register_model(folder, "no such name!").version == "1"
    tb.Client().models.check_files(1_000_000)
