"""Run a program of mlflow's on a tracking URI, then write down all that mlflow can read back of it, as JSON.

``python run_and_describe.py PROGRAM URI FILE [OTHER URI]``; what is read through the other one goes to
``FILE.other``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import runpy
import sys
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.utils import requirements_utils

# mlflow would start another Python for each model, to see what it imports: 6 s that prove nothing here.
requirements_utils._capture_imported_modules = lambda *_, **__: ["sklearn"]

IDS = re.compile(r"m-[0-9a-f]{32}(-[0-9a-f]{8})?|[0-9a-f]{32}")
TIMES = re.compile(r"'?20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*'?")
EXPLICIT_TIMES = ("loss", "accuracy", "nothing")


def main(program: str, uri: str, file: str, other: str | None = None) -> None:
    printed = io.StringIO()
    sys.argv = [program, uri]
    with contextlib.redirect_stdout(printed):
        runpy.run_path(program, run_name="__main__")
    loaded = [name for name in sys.modules if name.startswith("trackbridge.")]
    write(f"{file}.loaded", {"of ours": loaded})
    write(file, {"printed": printed.getvalue().splitlines(), **describe(MlflowClient())})
    if other is not None:
        mlflow.set_tracking_uri(other)
        write(f"{file}.other", describe(MlflowClient()))


def write(file: str, described: dict[str, Any]) -> None:
    Path(file).write_text(json.dumps(described, indent=1, sort_keys=True, default=str))


def describe(client: MlflowClient) -> dict[str, Any]:
    experiment = client.get_experiment_by_name("program")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=100)
    names = {run.info.run_id: run.info.run_name for run in runs}
    return {
        "experiment": {"tags": experiment.tags, "stage": experiment.lifecycle_stage},
        "runs": {run.info.run_name: of_run(client, run.info.run_id, names) for run in runs},
        "logged models": logged_models(client, experiment.experiment_id, names),
        "registered models": {
            model.name: of_model(client, model, names) for model in client.search_registered_models()
        },
    }


def of_run(client: MlflowClient, run_id: str, names: dict[str, str]) -> dict[str, Any]:
    run = client.get_run(run_id)
    info = run.info
    tags = dict(run.data.tags)
    if "mlflow.parentRunId" in tags:
        tags["mlflow.parentRunId"] = names.get(tags["mlflow.parentRunId"], "unknown")
    explicit_start = info.start_time == 1_760_000_000_000
    return {
        "status": info.status,
        "stage": info.lifecycle_stage,
        "user": info.user_id,
        "times": [info.start_time, info.end_time] if explicit_start else sane_times(info),
        "params": run.data.params,
        "metrics": {key: repr(value) for key, value in run.data.metrics.items()},
        "history": {key: history(client, run_id, key) for key in run.data.metrics},
        "tags": tags,
        "inputs": sorted(of_input(given) for given in run.inputs.dataset_inputs),
        "outputs": sorted(
            [client.get_logged_model(output.model_id).name, output.step]
            for output in run.outputs.model_outputs
        ),
        "artifacts": artifacts(client, run_id),
    }


def sane_times(info: Any) -> str:
    return "in order" if info.end_time is not None and info.start_time <= info.end_time else "not in order"


def history(client: MlflowClient, run_id: str, key: str) -> list[Any]:
    points = client.get_metric_history(run_id, key)
    rows = [
        [point.step, point.timestamp if key in EXPLICIT_TIMES else "a time", repr(point.value)]
        for point in points
    ]
    return sorted(rows, key=str)


def of_input(given: Any) -> list[Any]:
    dataset = given.dataset
    tags = {tag.key: tag.value for tag in given.tags}
    return [
        dataset.name,
        dataset.digest,
        dataset.source_type,
        dataset.source,
        dataset.schema,
        dataset.profile,
        str(tags),
    ]


def artifacts(client: MlflowClient, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def walk(path: str | None) -> None:
        for info in client.list_artifacts(run_id, path):
            found.setdefault(info.path, []).append("folder" if info.is_dir else "file")
            if info.is_dir:
                walk(info.path)

    for top in (None, "model", "scaler"):
        walk(top)
    for path, kinds in found.items():
        if kinds == ["file"]:
            found[path] = content(path, Path(client.download_artifacts(run_id, path)))
    return found


def content(path: str, file: Path) -> str:
    """The bytes where they do not depend on ids and times; else what is left without these."""
    data = file.read_bytes()
    if path.endswith(".skops"):  # a zip file, which holds times
        return f"{len(data)} bytes"
    if path.endswith("MLmodel"):
        text = IDS.sub("ID", TIMES.sub("TIME", data.decode()))
        return "\n".join(line for line in text.splitlines() if not line.startswith("artifact_path"))
    return f"{len(data)} bytes, sha256:{hashlib.sha256(data).hexdigest()}"


def logged_models(client: MlflowClient, experiment_id: str, names: dict[str, str]) -> dict[str, Any]:
    found = client.search_logged_models([experiment_id])
    return {f"{names[model.source_run_id]}/{model.name}": of_logged_model(model) for model in found}


def of_logged_model(model: Any) -> dict[str, Any]:
    return {
        "status": str(model.status),
        "type": model.model_type,
        "tags": model.tags,
        "params": model.params,
        "metrics": sorted([metric.key, metric.step, repr(metric.value)] for metric in model.metrics or []),
    }


def of_model(client: MlflowClient, model: Any, names: dict[str, str]) -> dict[str, Any]:
    found = client.get_registered_model(model.name)
    versions = client.search_model_versions(f"name = '{model.name}'")
    return {
        "description": found.description,
        "tags": found.tags,
        "aliases": {alias: str(version) for alias, version in found.aliases.items()},
        "latest": sorted([version.current_stage, str(version.version)] for version in found.latest_versions),
        "versions": {str(version.version): of_version(client, version, names) for version in versions},
    }


def of_version(client: MlflowClient, version: Any, names: dict[str, str]) -> dict[str, Any]:
    found = client.get_model_version(version.name, str(version.version))
    return {
        "run": names.get(found.run_id),
        "description": found.description or "",
        "tags": found.tags,
        "aliases": sorted(found.aliases),
        "stage": found.current_stage,
        "status": found.status,
        "user": found.user_id,
        "has model": bool(found.model_id),
        "source": IDS.sub("ID", found.source),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
