"""Writes a run and a model with mlflow and Microsoft's plugin, and tells their ids as JSON.

Arguments: experiment, folder of a model, name of the model. The tracking URI is in the environment.
"""

from __future__ import annotations

import json
import sys

import mlflow
from mlflow import MlflowClient


def main(experiment: str, folder: str, name: str) -> None:
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name="by-the-plugin", tags={"team": "vision"}) as run:
        mlflow.log_params({"learning_rate": 0.25, "optimizer": "adam"})
        for step, value in enumerate((0.5, 0.25, 0.125)):
            mlflow.log_metric("loss", value, step=step)
        mlflow.log_metrics({"accuracy": 0.9})
        mlflow.log_text("written by the plugin", "notes/first note.txt")
        mlflow.log_artifacts(folder, "model")
    client = MlflowClient()
    client.create_registered_model(name, description="theirs")
    # Not log_model: the service has no logged models, and mlflow 3 asks for them.
    version = client.create_model_version(
        name, f"runs:/{run.info.run_id}/model", run.info.run_id, tags={"by": "plugin"}
    )
    client.transition_model_version_stage(name, version.version, "Staging")
    print(json.dumps({"run": run.info.run_id, "version": version.version}))


if __name__ == "__main__":
    main(*sys.argv[1:])
