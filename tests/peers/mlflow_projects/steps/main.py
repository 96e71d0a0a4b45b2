"""Runs the other entry points one after the other, with mlflow's own function for it."""

import argparse
import tempfile
from pathlib import Path

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=float)
rows = parser.parse_args().rows
with mlflow.start_run():
    loaded = mlflow.run(".", "load", parameters={"rows": rows}, env_manager="local")
    folder = Path(tempfile.mkdtemp())
    table = mlflow.artifacts.download_artifacts(
        run_id=loaded.run_id, artifact_path="tables/table.csv", dst_path=str(folder)
    )
    trained = mlflow.run(".", "train", parameters={"data": table, "ridge": 2.0}, env_manager="local")
    metrics = mlflow.MlflowClient().get_run(trained.run_id).data.metrics
    mlflow.log_metric("slope", metrics["slope"])
