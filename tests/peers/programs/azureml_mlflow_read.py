"""Tells as JSON what mlflow with Microsoft's plugin reads of a run and of a model's version.

Arguments: experiment, run, name and version of the model, folder for downloads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
from mlflow import MlflowClient


def main(experiment: str, run_id: str, name: str, number: str, folder: str) -> None:
    client = MlflowClient()
    run = client.get_run(run_id)
    found = client.get_experiment_by_name(experiment)
    listed = client.search_runs([found.experiment_id], max_results=100)
    version = client.get_model_version(name, number)
    # Not get_metric_history: it asks for 25,000 rows, and the service gives fewer than 1,000 (mlflow#10694).
    history = client._tracking_client.store.get_metric_history(run_id, "loss", max_results=999)
    # Not runs:/ for files: mlflow 3 looks for logged models there, which the service has not.
    files = run.info.artifact_uri
    downloaded = Path(mlflow.artifacts.download_artifacts(f"{files}/model", dst_path=folder))
    told = {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "metrics": run.data.metrics,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
        "history": sorted([point.step, point.value] for point in history),
        "runs": [item.info.run_id for item in listed],
        "artifacts": sorted(item.path for item in client.list_artifacts(run_id)),
        "files": {
            path.relative_to(downloaded).as_posix(): len(path.read_bytes())
            for path in downloaded.rglob("*")
            if path.is_file()
        },
        "version": {
            "source": version.source,
            "stage": version.current_stage,
            "description": version.description,
            "tags": version.tags,
            "status": version.status,
        },
        # Not search_registered_models: mlflow 3 leaves prompts out by a tag, which the service does not take.
        "model": client.get_registered_model(name).name,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
