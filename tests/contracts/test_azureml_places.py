"""What the live tests of Azure ML make way with, and what they leave alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.azureml_emulators import ask
from tests.support.azureml_places import MARK, OWN_TAG, Place, clean, delete_models, left_over
from trackbridge.domain.ids import experiment_id_of
from trackbridge.errors import Rejected
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.azureml import open_workspace
from trackbridge_adapters.azureml.service import Backend, backend_of

PREFIX = f"{MARK}0123abcd"


@pytest.fixture
def backend(azureml: AzureMlEmulator, tmp_path: Path) -> Backend:
    return backend_of(azureml.uri, context_of(azureml, tmp_path), credential=azureml.credential())


def context_of(azureml: AzureMlEmulator, home: Path) -> AdapterContext:
    return AdapterContext(home=home, options=azureml.options, clock_ms=lambda: time.time_ns() // 1_000_000)


def opened(azureml: AzureMlEmulator, home: Path, place: str | None) -> RestAdapter:
    adapter = open_workspace(azureml.uri, context=context_of(azureml, home), credential=azureml.credential())
    assert isinstance(adapter, RestAdapter)
    if place is not None:
        Place(place, adapter.tracking.wire.service.http)
    return adapter


def names(adapter: RestAdapter) -> list[str]:
    return [item.name for item in adapter.tracking.list_experiments(stage=None)]


def run_with_file(adapter: RestAdapter, folder: Path) -> str:
    run = adapter.tracking.open_run(run_spec("one")).info
    assert adapter.artifacts is not None
    file = file_of(folder, b"x")
    adapter.artifacts.put(run.run_id, "a/b.txt", file, digest=digest_of(b"x"), size=1)
    return str(run.native_id)


def test_places_know_nothing_of_each_other(azureml: AzureMlEmulator, tmp_path: Path) -> None:
    one, two, whole = (
        opened(azureml, tmp_path / name, place)
        for name, place in (("1", f"{PREFIX}-1"), ("2", f"{PREFIX}-2"), ("whole", None))
    )
    long = "n" * 256
    for name in ("wine", long):
        made = one.tracking.ensure_experiment(name, experiment_id=experiment_id_of(name))
        assert made.name == name
        assert one.tracking.ensure_experiment(name, experiment_id=experiment_id_of(name)) == made
    assert sorted(names(one)) == [long, "wine"]
    assert names(two) == []
    one.tracking.delete_experiment(experiment_id_of("wine"))
    assert two.tracking.ensure_experiment("wine", experiment_id=experiment_id_of("wine")).name == "wine"
    ours = [name for name in names(whole) if name.startswith(PREFIX)]
    assert {f"{PREFIX}-1-wine", f"{PREFIX}-2-wine"} <= set(ours)
    assert (len(ours), max(map(len, ours)) <= 256) == (3, True)


@pytest.mark.parametrize("name", ["", "n" * 257])
def test_what_the_workspace_must_refuse_it_is_asked(
    name: str, azureml: AzureMlEmulator, tmp_path: Path
) -> None:
    place = opened(azureml, tmp_path, f"{PREFIX}-1")
    with pytest.raises(Rejected):
        place.tracking.ensure_experiment(name, experiment_id=experiment_id_of("x"))


def test_only_what_has_the_prefix_goes(azureml: AzureMlEmulator, backend: Backend, tmp_path: Path) -> None:
    theirs = run_with_file(opened(azureml, tmp_path / "theirs", None), tmp_path)
    ours = run_with_file(opened(azureml, tmp_path / "ours", f"{PREFIX}-1"), tmp_path)
    assert left_over(PREFIX, backend) == [f"{PREFIX}-1-contract"]
    clean(PREFIX, backend)
    assert left_over(PREFIX, backend) == []
    blobs = [blob.path for blob in azureml.cloud.storage.blobs(container="azureml")]
    assert blobs == [f"ExperimentRun/dcid.{theirs}/a/b.txt"]
    assert ours != theirs
    clean(PREFIX, backend)


@pytest.mark.parametrize("prefix", ["", "wine", MARK, MARK + "12345"])
def test_a_prefix_that_could_be_somebodys_is_refused(prefix: str, backend: Backend) -> None:
    with pytest.raises(ValueError, match="no prefix of tests"):
        clean(prefix, backend)


def test_models_go_only_where_the_workspace_says_so(azureml: AzureMlEmulator, backend: Backend) -> None:
    delete_models(backend)
    assets = backend.assets
    body = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a/b"}
    assets.create("models", "wine", "1", body)
    with pytest.raises(ValueError, match="somebody's"):
        delete_models(backend)
    assert [item["name"] for item in assets.containers("models")] == ["wine"]
    assert ask(azureml, "PATCH", "", {"tags": {OWN_TAG: "yes"}}).status == 200
    delete_models(backend)
    assert list(assets.containers("models")) == []
