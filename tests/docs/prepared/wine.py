"""The model ``wine`` as versions 1 and 2, ``champion`` on 1; ``train.py``, ``rows.json`` and ``model/``."""

from __future__ import annotations

import json
from pathlib import Path

from sklearn.datasets import load_wine  # noqa: TID253  a program of a user's
from sklearn.linear_model import LogisticRegression  # noqa: TID253
from sklearn.pipeline import make_pipeline  # noqa: TID253
from sklearn.preprocessing import StandardScaler  # noqa: TID253

import trackbridge as tb

TRAIN = """
import argparse
import trackbridge as tb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
given, _ = parser.parse_known_args()
with tb.start_run():
    tb.log_params(vars(given))
    for step in range(given.epochs):
        tb.log_metric("loss", given.lr / (step + 1), step=step)
"""

Path("train.py").write_text(TRAIN, encoding="utf-8")
rows, kinds = load_wine(return_X_y=True)
Path("rows.json").write_text(json.dumps({"inputs": rows[:3].tolist()}), encoding="utf-8")
tb.set_experiment("wine")
for strength in (0.1, 1.0):
    with tb.start_run(run_name=f"C={strength}"):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength)).fit(rows, kinds)
        tb.log_param("C", strength)
        tb.log_metric("accuracy", float(model.score(rows, kinds)))
        tb.log_model(model, name="model", input_example=rows[:3], registered_model_name="wine")
    tb.flush()
tb.set_registered_model_alias("wine", "champion", "1")
tb.download_model("models:/wine/1", "model")
