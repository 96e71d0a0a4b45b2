"""Logged models from one MLflow server to another, as mlflow's own client wrote them and finds them again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.migrations import local_side, migrate, pair_of, to_do
from tests.support.mlflow_clients import client_of, talking_to
from tests.support.mlflow_servers import MlflowServer
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import Kind, Selection, Symbol, Treatment
from trackbridge.errors import Rejected
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.resolve.uri import parse

OWN = ("bridge.", "mlflow.modelVersions")
"""Beginnings of tags that copies alone have, or that each server writes itself."""


@dataclass
class Written:
    """What mlflow's client wrote."""

    logged: str
    external: str
    lonely: str
    trained: str
    evaluated: str


@pytest.fixture
def client(
    newest: MlflowServer, second: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    newest.reset(keeps_default=True)
    second.reset(keeps_default=True)
    return client_of(newest)


@pytest.fixture(scope="module")
def known() -> list[tuple[Written, dict[str, list[tuple[object, ...]]]]]:
    """What was written once, with all that the server held then; empty before the first test."""
    return []


@pytest.fixture
def written(
    client: Any, newest: MlflowServer, known: list[tuple[Written, dict[str, list[tuple[object, ...]]]]]
) -> Written:
    if not known:
        made = write(client, newest)
        known.append((made, newest.content()))
    made, content = known[0]
    newest.fill(content)
    return made


def write(client: Any, newest: MlflowServer) -> Written:
    """Have mlflow's client write, which takes seconds."""
    experiment = client.create_experiment("wine")
    with talking_to(newest) as mlflow:
        from mlflow.data.http_dataset_source import HTTPDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        class Echo(mlflow.pyfunc.PythonModel):
            def predict(self, model_input: list[str]) -> list[str]:
                return model_input

        with mlflow.start_run(experiment_id=experiment, run_name="train") as trained:
            logged = mlflow.pyfunc.log_model(
                name="clf ü",
                python_model=Echo(),
                pip_requirements=["mlflow"],
                params={"lr": "0.1", "ü": "🚀"},
                tags={"team": "ü"},
                model_type="classifier",
                registered_model_name="wine",
            ).model_id
            mlflow.log_metric("acc", 0.5, step=1, model_id=logged)
            mlflow.log_metric("acc", 0.75, step=-2, model_id=logged)
            mlflow.set_tag("best", f"use models:/{logged}!")
        with mlflow.start_run(experiment_id=experiment, run_name="eval") as evaluated:
            data = MetaDataset(HTTPDatasetSource("https://example.test/d"), name="held out")
            mlflow.log_metric("f1", 0.25, step=2, model_id=logged, dataset=data)
        external = mlflow.create_external_model(name="agent", experiment_id=experiment).model_id
    client.set_registered_model_alias("wine", "best", "1")
    lonely = client.create_logged_model(experiment, name="lonely").model_id
    return Written(logged, external, lonely, trained.info.run_id, evaluated.info.run_id)


def side(server: MlflowServer) -> Side:
    return side_of(open_uri(parse(server.url)), server.url)


@pytest.fixture
def pair(written: Written, newest: MlflowServer, second: MlflowServer, tmp_path: Path) -> Pair:
    return pair_of(side(newest), side(second), tmp_path / "home")


def fields(client: Any, model_id: str, runs: dict[str, str]) -> dict[str, Any]:
    """Return a logged model as mlflow's client shows it, runs by the ids of ``runs``."""
    model = client.get_logged_model(model_id)
    return {
        "name": model.name,
        "type": model.model_type,
        "status": model.status,
        "params": model.params,
        "tags": {key: value for key, value in model.tags.items() if not key.startswith(OWN)},
        "run": runs.get(model.source_run_id, model.source_run_id),
        "metrics": sorted(
            (
                item.key,
                item.value,
                item.step,
                item.timestamp,
                item.dataset_name,
                item.dataset_digest,
                runs[item.run_id],
            )
            for item in model.metrics or ()
        ),
    }


def copies(second: MlflowServer) -> tuple[dict[str, str], dict[str, str]]:
    """Return the ids that copies of logged models, and of runs, have at the target."""
    models = second.rows(
        "SELECT tag_value, model_id FROM logged_model_tags WHERE tag_key = 'bridge.model_id'"
    )
    runs = second.rows("SELECT value, run_uuid FROM tags WHERE key = 'bridge.run_id'")
    return {str(a): str(b) for a, b in models}, {str(a): str(b) for a, b in runs}


def test_every_logged_model_arrives_with_all_that_it_has(
    written: Written, pair: Pair, client: Any, second: MlflowServer, tmp_path: Path
) -> None:
    account = migrate(pair)
    assert account.remaining == []
    assert account.unexplained() == {}
    assert account.source.logged_models == account.target.logged_models == 3
    assert {loss.treatment for loss in account.losses} <= {Treatment.REWRITTEN}
    models, runs = copies(second)
    assert set(models) == {written.logged, written.external, written.lonely}
    assert not set(models) & set(models.values())
    target = client_of(second)
    ours = {native: run_id for run_id, native in runs.items()}
    same = {run_id: run_id for run_id in runs}
    for model_id, native in models.items():
        assert fields(target, native, ours) == fields(client, model_id, same)
        created = client.get_logged_model(model_id).creation_timestamp
        assert target.get_logged_model(native).tags["bridge.src.creation_time"] == str(created)
    trained, evaluated = (target.get_run(runs[name]) for name in (written.trained, written.evaluated))
    assert trained.data.tags["best"] == f"use models:/{models[written.logged]}!"
    assert [item.model_id for item in trained.outputs.model_outputs] == [models[written.logged]]
    assert {item.model_id for item in evaluated.inputs.model_inputs} == {models[written.logged]}
    version = target.get_model_version("wine", "1")
    assert version.source == f"models:/{models[written.logged]}"
    assert version.run_id == runs[written.trained]
    with talking_to(second) as mlflow:
        assert mlflow.pyfunc.load_model("models:/wine@best").predict(["ü"]) == ["ü"]
        folder = mlflow.artifacts.download_artifacts(f"models:/{models[written.logged]}")
    mlmodel = (Path(folder) / "MLmodel").read_text(encoding="utf-8")
    assert f"model_id: {models[written.logged]}" in mlmodel
    assert written.logged not in mlmodel
    assert {item.symbol for item in check(pair, Selection(), download=True)} == {Symbol.SAME}


def test_a_repetition_does_nothing_and_a_change_comes_after(
    written: Written, pair: Pair, client: Any, second: MlflowServer
) -> None:
    migrate(pair)
    models, runs = copies(second)
    assert to_do(plan_migration(pair, Asked())) == []
    client.set_logged_model_tags(written.external, {"late": "ü"})
    client.finalize_logged_model(written.lonely, "FAILED")
    changed = {line.split()[2].rstrip(":") for line in to_do(plan_migration(pair, Asked()))}
    assert changed == {written.external, written.lonely}
    client_of(second).set_logged_model_tags(models[written.external], {"theirs": "stays"})
    migrate(pair)
    assert copies(second) == (models, runs)
    copy = client_of(second).get_logged_model(models[written.external])
    assert (copy.tags["late"], copy.tags["theirs"]) == ("ü", "stays")
    assert to_do(plan_migration(pair, Asked())) == []


def test_on_the_way_back_the_originals_are_meant(written: Written, pair: Pair, tmp_path: Path) -> None:
    migrate(pair)
    home = pair_of(pair.target, pair.source, tmp_path / "home")
    kinds = ("logged_model", "run")
    assert [line for line in to_do(plan_migration(home, Asked())) if line.split()[1] in kinds] == []


class _Killed(BaseException):
    """Stands for a process that ends on the spot."""


@pytest.mark.parametrize("point", ["opened", "logged model", "file", "logged model ended", "ended"])
def test_an_interrupted_copy_is_gone_on_with(
    written: Written, pair: Pair, client: Any, second: MlflowServer, point: str, tmp_path: Path
) -> None:
    def kill(name: str) -> None:
        if name == point:
            raise _Killed

    with pytest.raises(_Killed):
        migrate(pair, how=Applying(on_point=kill))
    again = pair_of(side_of_same(pair.source), side_of_same(pair.target), tmp_path / "home")
    account = migrate(again)
    assert account.remaining == []
    assert {item.symbol for item in check(again, Selection(), download=True)} == {Symbol.SAME}
    models, runs = copies(second)
    assert len(models) == 3
    assert second.rows("SELECT count(*) FROM logged_models") == [(3,)]
    assert client_of(second).get_run(runs[written.trained]).info.status == "FINISHED"


def side_of_same(known: Side) -> Side:
    """Open a side anew, as another process would."""
    return side_of(open_uri(parse(known.uri)), known.uri)


def test_a_selected_version_brings_the_logged_model_that_it_is_made_of(
    written: Written, pair: Pair, second: MlflowServer
) -> None:
    account = migrate(pair, Asked(selection=Selection(models=("wine",))))
    assert account.remaining == []
    models, _ = copies(second)
    assert written.logged in models
    assert written.lonely not in models
    assert client_of(second).get_model_version("wine", "1").source == f"models:/{models[written.logged]}"


def test_a_target_that_holds_none_names_each_and_keeps_registered_ones(
    written: Written, newest: MlflowServer, tmp_path: Path, floor: MlflowServer
) -> None:
    floor.reset()
    pair = pair_of(side(newest), side(floor), tmp_path / "home")
    plan = plan_migration(pair, Asked())
    losses = [loss for change in plan.changes for loss in losses_of(change)]
    refused = {loss.item for loss in losses if loss.field == Kind.LOGGED_MODEL.value}
    assert refused == {f"logged_model {name}" for name in (written.logged, written.external, written.lonely)}
    assert all("older" in loss.detail for loss in losses if loss.field == Kind.LOGGED_MODEL.value)
    with pytest.raises(Rejected):
        apply_migration(plan, pair, Applying(strict=True))
    account = apply_migration(plan, pair)
    assert account.remaining == []
    assert account.unexplained() == {}
    assert (account.source.logged_models, account.target.logged_models) == (3, 0)
    with talking_to(floor) as mlflow:
        assert mlflow.pyfunc.load_model("models:/wine/1").predict(["ü"]) == ["ü"]
    compared = {item.subject: item.symbol for item in check(pair, Selection())}
    assert compared[f"logged_model {written.lonely}"] is Symbol.MISSING_AT_TARGET


def test_files_of_a_logged_model_are_read_and_written_by_its_id(
    written: Written, pair: Pair, tmp_path: Path
) -> None:
    artifacts = pair.source.artifacts
    assert artifacts is not None
    names = {info.path for info in pair.source.files(written.logged)}
    assert "MLmodel" in names
    assert pair.source.versions("wine")[0].source == f"bridge-artifacts:/{written.logged}"
    local = pair_of(pair.source, local_side(tmp_path / "local"), tmp_path / "home")
    assert migrate(local).remaining == []
