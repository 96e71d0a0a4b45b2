"""``tb.autolog``: mlflow's automatic logging into our runs, which are mlflow's active runs as well."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import trackbridge as tb
from trackbridge.errors import MissingExtra


def fit() -> Any:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    inputs = np.random.default_rng(7).normal(size=(40, 2))
    return LogisticRegression(C=0.5).fit(inputs, inputs[:, 0] > 0)


@pytest.fixture
def ours(plugged: str) -> str:
    tb.set_tracking_uri(plugged.removeprefix("bridge+"))
    return tb.get_tracking_uri()


def test_a_fit_logs_into_the_run_around_it(ours: str) -> None:
    import mlflow

    tb.set_experiment("wine")
    tb.autolog(log_models=False)
    with tb.start_run(run_name="ours") as run:
        assert mlflow.active_run().info.run_id == run.info.run_id
        fit()
        mlflow.log_metric("theirs", 1)
        tb.log_metric("ours", 2)
    assert mlflow.active_run() is None
    (found,) = tb.search_runs(experiment_names=["wine"])
    assert found.data.params["C"] == "0.5"
    assert {"training_score", "theirs", "ours"} <= set(found.data.metrics)
    assert str(found.info.status) == "FINISHED"


def test_a_fit_outside_begins_a_run_in_our_experiment(ours: str) -> None:
    import mlflow

    tb.set_experiment("wine")
    tb.autolog(log_models=False)
    fit()
    (found,) = tb.search_runs(experiment_names=["wine"])
    assert (found.data.params["C"], str(found.info.status)) == ("0.5", "FINISHED")
    assert mlflow.active_run() is None


def test_a_run_that_is_active_already_is_shared(ours: str) -> None:
    import mlflow

    with tb.start_run() as run:
        tb.autolog(log_models=False)
        tb.autolog(log_models=False)
        assert mlflow.active_run().info.run_id == run.info.run_id
        with mlflow.start_run(nested=True) as inner:
            assert inner.data.tags["mlflow.parentRunId"] == run.info.run_id
        mlflow.end_run()
        assert (mlflow.active_run(), tb.active_run()) == (None, None)
    assert str(tb.get_run(run.info.run_id).info.status) == "FINISHED"


def test_models_are_logged_and_loaded(ours: str) -> None:
    tb.autolog()
    with tb.start_run() as run:
        model = fit()
    loaded = tb.load_model(f"runs:/{run.info.run_id}/model")
    assert loaded.coef_.tolist() == model.coef_.tolist()


def test_without_mlflow_the_extra_is_named(ours: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra) as caught:
        tb.autolog()
    assert caught.value.hint == "pip install 'trackbridge[mlflow]'"
