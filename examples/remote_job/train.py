"""A training that runs as a job wherever there are machines; job.yaml beside it says how.

cd examples/remote_job
bridge run job.yaml
bridge run job.yaml -r requirements.txt --on azureml: --compute cpu-cluster
bridge run job.yaml -r requirements.txt --on sagemaker: --compute ml.m5.large -P rate=0.1

Wherever it runs, its run with params, metrics and the model is at BRIDGE_TRACKING_URI. Needs the extras jobs
and azure or aws; here also what requirements.txt names. `--plan` shows what would be sent and billed.
"""

from __future__ import annotations

import argparse

from sklearn.datasets import load_wine
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import trackbridge as tb


def main(rate: float, epochs: int) -> None:
    rows, kinds = load_wine(return_X_y=True)
    split = train_test_split(StandardScaler().fit_transform(rows), kinds, random_state=7, stratify=kinds)
    train_x, test_x, train_y, test_y = split
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=rate, random_state=7)
    with tb.start_run():
        tb.log_params({"rate": rate, "epochs": epochs})
        for epoch in range(epochs):
            model.partial_fit(train_x, train_y, classes=[0, 1, 2])
            tb.log_metric("loss", log_loss(test_y, model.predict_proba(test_x)), step=epoch)
        tb.log_metric("accuracy", model.score(test_x, test_y))
        tb.log_model(model, name="model", input_example=test_x[:2])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    given = parser.parse_args()
    main(given.rate, given.epochs)
