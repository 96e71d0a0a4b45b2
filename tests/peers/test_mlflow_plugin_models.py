"""Logged models and the registry of mlflow on our plugin; autologging of the libraries that are installed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb

Frame = Any


def constant(value: float) -> Any:
    import mlflow

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return [value] * len(model_input)

    return Model()


def log_constant(value: float, name: str = "model", **options: Any) -> Any:
    import mlflow

    return mlflow.pyfunc.log_model(
        name=name, python_model=constant(value), pip_requirements=["mlflow"], **options
    )


def predicted(uri: str) -> float:
    import mlflow
    import pandas as pd

    (value,) = mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"x": [0]}))
    return float(value)


def test_a_model_is_found_by_run_by_id_and_by_ours(plugged: str) -> None:
    import mlflow

    with mlflow.start_run() as run:
        info = log_constant(1.5)
    assert predicted(f"runs:/{run.info.run_id}/model") == 1.5
    assert predicted(info.model_uri) == 1.5
    ours = tb.Client(plugged.removeprefix("bridge+"))
    assert "MLmodel" in {
        item.path.rpartition("/")[2] for item in ours.list_artifacts(run.info.run_id, "model")
    }
    found = mlflow.get_logged_model(info.model_id)
    assert (found.name, found.source_run_id, found.status) == ("model", run.info.run_id, "READY")
    (output,) = mlflow.get_run(run.info.run_id).outputs.model_outputs
    assert output.model_id == info.model_id
    assert mlflow.last_logged_model().model_id == info.model_id


def test_models_of_one_name_in_one_run_are_kept(plugged: str) -> None:
    import mlflow

    with mlflow.start_run() as run:
        first = log_constant(1.0, registered_model_name="wine")
        second = log_constant(2.0, registered_model_name="wine")
    assert (predicted(first.model_uri), predicted(second.model_uri)) == (1.0, 2.0)
    assert (predicted("models:/wine/1"), predicted("models:/wine/2")) == (1.0, 2.0)
    assert predicted(f"runs:/{run.info.run_id}/model") == 2.0  # the newest, as with mlflow
    mlflow.register_model(f"runs:/{run.info.run_id}/model", "newest")
    assert predicted("models:/newest/1") == 2.0
    listed = [info.path for info in mlflow.MlflowClient().list_artifacts(run.info.run_id, "model")]
    assert len(listed) == len(set(listed)) > 2


def test_a_model_beside_one_of_ours(plugged: str) -> None:
    import mlflow

    tb.set_tracking_uri(plugged.removeprefix("bridge+"))
    with tb.start_run() as run:
        tb.log_model(constant(3.0), "model", requirements=["mlflow"])
        mlflow.set_tracking_uri("bridge:")
        with mlflow.start_run(run_id=run.info.run_id):
            info = log_constant(4.0)
    assert (predicted(info.model_uri), predicted(f"runs:/{run.info.run_id}/model")) == (4.0, 4.0)
    assert tb.load_model(f"runs:/{run.info.run_id}/model", "pyfunc").predict([[0]]) == [3.0]


def test_a_model_without_a_run(plugged: str) -> None:
    import mlflow

    mlflow.set_experiment("wine")
    info = log_constant(5.0, registered_model_name="alone")
    assert mlflow.active_run() is None
    assert (predicted(info.model_uri), predicted("models:/alone/1")) == (5.0, 5.0)
    found = mlflow.get_logged_model(info.model_id)
    assert (found.source_run_id, found.status) == (None, "READY")
    (run,) = mlflow.search_runs(output_format="list")  # which holds its files, and has ended with it
    assert (run.info.run_name, run.info.status) == ("model model", "FINISHED")


def test_logged_models_are_searched_and_changed(plugged: str) -> None:
    import mlflow

    experiment = mlflow.set_experiment("wine")
    with mlflow.start_run():
        mlflow.log_param("depth", 3)
        first = log_constant(1.0, "first", tags={"kind": "small"})
        second = log_constant(2.0, "second", params={"width": 9}, model_type="tree")
        mlflow.log_metric("score", 0.5, step=4, model_id=first.model_id)
        mlflow.log_metric("score", math.nan, step=5, model_id=first.model_id)
        mlflow.log_metric("score", 0.9, model_id=second.model_id)

    def search(filter_string: str) -> list[str]:
        found = mlflow.search_logged_models(
            [experiment.experiment_id], filter_string, output_format="list", order_by=[{"field_name": "name"}]
        )
        return [model.name for model in found]

    assert search("") == ["first", "second"]
    assert search("name = 'first'") == ["first"]
    assert search("tags.kind = 'small'") == ["first"]
    assert search("params.depth = '3'") == ["first", "second"]
    assert search("params.width = '9' and model_type = 'tree'") == ["second"]
    assert search("metrics.score > 0.8") == ["second"]
    points = mlflow.get_logged_model(first.model_id).metrics
    assert [(point.key, point.step, repr(point.value)) for point in points] == [
        ("score", 4, "0.5"),
        ("score", 5, "nan"),
    ]
    mlflow.set_logged_model_tags(first.model_id, {"kind": "big", "more": "yes"})
    mlflow.delete_logged_model_tag(first.model_id, "more")
    assert search("tags.kind = 'big'") == ["first"]
    mlflow.MlflowClient().delete_logged_model(first.model_id)
    assert search("") == ["second"]
    with pytest.raises(mlflow.MlflowException, match="no logged model"):
        mlflow.get_logged_model(first.model_id)


def test_a_model_that_cannot_be_saved_has_failed(plugged: str) -> None:
    import mlflow

    with mlflow.start_run() as run, pytest.raises(TypeError):
        mlflow.sklearn.log_model(object(), name="model", pip_requirements=[], code_paths=3)  # type: ignore[arg-type]
    (output,) = mlflow.get_run(run.info.run_id).outputs.model_outputs
    assert mlflow.get_logged_model(output.model_id).status == "FAILED"


def test_an_external_model_and_its_params(plugged: str) -> None:
    import mlflow

    model = mlflow.create_external_model(name="agent", params={"a": "1"})
    mlflow.log_model_params({"b": "2"}, model_id=model.model_id)
    found = mlflow.get_logged_model(model.model_id)
    assert (found.params, found.status) == ({"a": "1", "b": "2"}, "READY")


# The registry.


def test_each_registration_is_a_version(plugged: str, tmp_path: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        log_constant(1.0, registered_model_name="wine")
    again = mlflow.register_model(f"runs:/{run.info.run_id}/model", "wine", tags={"a": "b"})
    mlflow.pyfunc.save_model(str(tmp_path / "saved"), python_model=constant(6.0), pip_requirements=["mlflow"])
    of_path = mlflow.register_model(str(tmp_path / "saved"), "wine")
    copied = client.copy_model_version("models:/wine/3", "copy")
    assert (again.version, again.tags, of_path.version, copied.version) == ("2", {"a": "b"}, "3", "1")
    assert [predicted(f"models:/wine/{number}") for number in (1, 2, 3)] == [1.0, 1.0, 6.0]
    assert predicted("models:/copy/1") == 6.0
    assert {version.run_id for version in client.search_model_versions("name = 'wine'")} >= {run.info.run_id}


def test_versions_have_stages_aliases_and_tags(plugged: str) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    with mlflow.start_run():
        for value in (1.0, 2.0):
            log_constant(value, registered_model_name="wine")
    client.transition_model_version_stage("wine", "1", "Production")
    client.transition_model_version_stage("wine", "2", "Production", archive_existing_versions=True)
    assert client.get_model_version("wine", "1").current_stage == "Archived"
    assert predicted("models:/wine/Production") == predicted("models:/wine/latest") == 2.0
    latest = client.get_registered_model("wine").latest_versions
    assert sorted((version.version, version.current_stage) for version in latest) == [
        ("1", "Archived"),
        ("2", "Production"),
    ]
    client.set_registered_model_alias("wine", "champion", "1")
    assert client.get_model_version_by_alias("wine", "champion").version == "1"
    assert predicted("models:/wine@champion") == 1.0
    assert client.get_registered_model("wine").aliases == {"champion": "1"}
    client.set_model_version_tag("wine", "1", "checked", "yes")
    (found,) = client.search_model_versions("name = 'wine' and tags.checked = 'yes'")
    assert (found.version, found.tags) == ("1", {"checked": "yes"})
    client.delete_model_version_tag("wine", "1", "checked")
    client.update_registered_model("wine", "red")
    client.set_registered_model_tag("wine", "owner", "ada")
    (model,) = client.search_registered_models("name LIKE 'wi%'")
    assert (model.description, model.tags) == ("red", {"owner": "ada"})
    client.delete_model_version("wine", "1")
    assert client.get_registered_model("wine").aliases == {}
    client.delete_registered_model("wine")
    assert client.search_registered_models() == []


def test_a_registry_of_its_own(plugged: str, tmp_path: Path) -> None:
    import mlflow

    mlflow.set_registry_uri(f"bridge+file:{tmp_path}/registry")
    try:
        with mlflow.start_run():
            log_constant(7.0, registered_model_name="wine")
        assert predicted("models:/wine/1") == 7.0
        assert [found.name for found in tb.Client(f"{tmp_path}/registry").search_registered_models()] == [
            "wine"
        ]
        runs = plugged.removeprefix("bridge+")
        assert tb.Client(runs, registry_uri=runs).search_registered_models() == []
    finally:
        mlflow.set_registry_uri("")


# Autologging.


@pytest.fixture(scope="module")
def frame() -> Frame:
    import numpy as np
    import pandas as pd

    values = np.random.default_rng(7).normal(size=(200, 3))
    return pd.DataFrame(values, columns=["alcohol", "acid", "ash"])


@pytest.fixture(scope="module")
def target(frame: Frame) -> Any:
    return (frame["alcohol"] > 0).astype(int)


def test_autolog_of_xgboost(plugged: str, frame: Frame, target: Any) -> None:
    import mlflow
    import xgboost

    mlflow.xgboost.autolog()
    data = xgboost.DMatrix(frame, label=target)
    booster = xgboost.train({"max_depth": 2}, data, num_boost_round=6, evals=[(data, "train")])
    run = mlflow.last_active_run()
    assert (run.info.status, run.data.params["max_depth"]) == ("FINISHED", "2")
    steps = [point.step for point in mlflow.MlflowClient().get_metric_history(run.info.run_id, "train-rmse")]
    assert steps == list(range(6))
    loaded = mlflow.xgboost.load_model(f"runs:/{run.info.run_id}/model")
    assert loaded.predict(data).tolist() == booster.predict(data).tolist()
    assert "feature_importance_weight.png" in {
        info.path for info in mlflow.MlflowClient().list_artifacts(run.info.run_id)
    }


def test_autolog_of_lightgbm(plugged: str, frame: Frame, target: Any) -> None:
    import lightgbm
    import mlflow

    mlflow.lightgbm.autolog()
    data = lightgbm.Dataset(frame, label=target)
    with mlflow.start_run() as run:
        booster = lightgbm.train(
            {"objective": "binary", "num_leaves": 4, "verbose": -1}, data, 5, valid_sets=[data]
        )
    found = mlflow.get_run(run.info.run_id)
    assert (found.info.status, found.data.params["num_leaves"]) == ("FINISHED", "4")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "training-binary_logloss")
    assert [point.step for point in history] == list(range(5))
    loaded = mlflow.lightgbm.load_model(f"runs:/{run.info.run_id}/model")
    assert loaded.predict(frame).tolist() == booster.predict(frame).tolist()


def test_autolog_of_a_search_of_sklearn(plugged: str, frame: Frame, target: Any) -> None:
    import mlflow
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    mlflow.sklearn.autolog(max_tuning_runs=None)
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, cv=2).fit(frame, target)
    parent = mlflow.last_active_run()
    children = mlflow.search_runs(
        filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'", output_format="list"
    )
    assert sorted(run.data.params["C"] for run in children) == ["0.1", "1.0", "10.0"]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert "best_cv_score" in parent.data.metrics
    names = {mlflow.get_logged_model(found.model_id).name for found in parent.outputs.model_outputs}
    assert names == {"model", "best_estimator"}
