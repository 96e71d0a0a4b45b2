"""Boost trees on the wine data with XGBoost: each round tracked, data sets named, importances as a table.

python examples/xgboost_wine.py

Needs the extras mlflow and frames, xgboost and scikit-learn.
"""

from __future__ import annotations

from typing import Any

import xgboost
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

import trackbridge as tb


class Track(xgboost.callback.TrainingCallback):
    """Log what is evaluated after each round, as `train/mlogloss`, `test/mlogloss` ..."""

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, list[float]]]) -> bool:
        values = {f"{of}/{name}": found[-1] for of, each in evals_log.items() for name, found in each.items()}
        tb.log_metrics(values, step=epoch)
        return False  # go on


frame = load_wine(as_frame=True).frame
train, test = train_test_split(frame, random_state=7, stratify=frame["target"])
columns = list(frame.columns.drop("target"))
train_data, test_data = (xgboost.DMatrix(part[columns], part["target"]) for part in (train, test))

tb.set_experiment("wine")
with tb.start_run(run_name="xgboost"):
    params = {"objective": "multi:softprob", "num_class": 3, "eta": 0.3, "max_depth": 3, "seed": 7}
    params["eval_metric"] = ["mlogloss", "merror"]
    tb.log_params({**params, "rounds": 15})
    model = xgboost.train(
        params,
        train_data,
        num_boost_round=15,
        evals=[(train_data, "train"), (test_data, "test")],
        callbacks=[Track()],
        verbose_eval=False,
    )
    gains = model.get_score(importance_type="gain")
    tb.log_input(test, context="test", name="wine", source="sklearn.datasets.load_wine", targets="target")
    tb.log_table({"column": list(gains), "gain": list(gains.values())}, "importances.json")
    tb.log_model(model, name="model", training_data=train[columns], registered_model_name="wine-trees")
    print(f"{1 - float(model.eval(test_data).rpartition(':')[2]):.1%} right on {len(test)} wines")
