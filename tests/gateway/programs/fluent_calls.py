"""mlflow's fluent functions, with models that are logged, registered and loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient

from tests.gateway.programs.artifact_calls import digests, listed
from tests.gateway.programs.notes import Notes
from tests.gateway.programs.tracking_calls import START_MS, data

REQUIREMENTS = ["cloudpickle"]
LEFT_OUT = ("mlflow.log-model.history", "mlflow.loggedArtifacts")


class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Tell twice of what it is given."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Return the double of each value."""
        return model_input * 2


def fluent(client: MlflowClient, note: Notes) -> None:
    """Touch the fluent functions as programs use them."""
    made = note("fluent set experiment", lambda: mlflow.set_experiment(f"{note.mark}-fluent"), _of_experiment)
    note.named("experiment fluent", made.experiment_id)
    note("fluent set experiment again", lambda: mlflow.set_experiment(f"{note.mark}-fluent"), _of_experiment)
    note(
        "fluent set experiment by id",
        lambda: mlflow.set_experiment(experiment_id=made.experiment_id),
        _of_experiment,
    )
    note("fluent experiment tag", lambda: mlflow.set_experiment_tag("a", "b"))
    note("fluent experiment tags", lambda: mlflow.set_experiment_tags({"c": "d", "e": 1}))
    note("fluent experiment", lambda: mlflow.get_experiment(made.experiment_id).tags)
    _run(client, note)
    _nested(client, note)
    _failing(client, note)
    _model(client, note, made.experiment_id)
    note("fluent search", lambda: mlflow.search_runs(experiment_names=[f"{note.mark}-fluent"]), _frame)
    found = lambda **asked: mlflow.search_runs([made.experiment_id], output_format="list", **asked)  # noqa: E731
    note("fluent search as list", lambda: found(filter_string="tags.kind = 'inner'"), _run_names)
    note(
        "fluent experiments",
        lambda: mlflow.search_experiments(filter_string=f"name = '{note.mark}-fluent'"),
        len,
    )


def _of_experiment(made: Any) -> Any:
    return [made.name, made.lifecycle_stage, dict(made.tags)]


def _run_names(found: Any) -> list[str]:
    return [run.info.run_name for run in found]


def _frame(found: Any) -> Any:
    ordered = found.sort_values(["tags.mlflow.runName"])
    kept = [name for name in sorted(ordered.columns) if name not in {f"tags.{tag}" for tag in LEFT_OUT}]
    return {
        name: [None if value is None else str(value) for value in ordered[name]]
        for name in kept
        if name not in ("start_time", "end_time", "run_id", "tags.mlflow.parentRunId")
    }


def _run(client: MlflowClient, note: Notes) -> None:
    with mlflow.start_run(run_name="fluent", tags={"a": "b"}, description="about it") as run:
        note.named("run fluent", run.info.run_id)
        note("fluent metric", lambda: mlflow.log_metric("loss", 0.5, step=1, timestamp=START_MS), bool)
        note(
            "fluent metrics",
            lambda: mlflow.log_metrics({"x": 1.0, "y": 2.0}, step=2, timestamp=START_MS),
            bool,
        )
        note("fluent param", lambda: mlflow.log_param("lr", 0.01))
        note("fluent params", lambda: mlflow.log_params({"a": 1, "b": [1, 2], "c": None}), bool)
        note("fluent many params", lambda: mlflow.log_params({f"p{n}": n for n in range(150)}), bool)
        note("fluent tag", lambda: mlflow.set_tag("t", "u"))
        note("fluent tags", lambda: mlflow.set_tags({"v": 1, "w": "x"}), bool)
        note("fluent tag gone", lambda: mlflow.delete_tag("t"))
        note("fluent text", lambda: mlflow.log_text("hi", "hi.txt"))
        note("fluent dict", lambda: mlflow.log_dict({"k": 1}, "d/k.json"))
        note("fluent address", lambda: mlflow.get_artifact_uri("hi.txt"))
        note("fluent loads text", lambda: mlflow.artifacts.load_text(mlflow.get_artifact_uri("hi.txt")))
        note("fluent loads runs URI", lambda: mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/d/k.json"))
        note("fluent input", lambda: _log_input(mlflow))
        note("fluent active run", lambda: mlflow.active_run().info.run_name)
    note("fluent run", lambda: client.get_run(run.info.run_id).data, data)
    note("fluent run's info", lambda: client.get_run(run.info.run_id).info)
    note("fluent run's inputs", lambda: client.get_run(run.info.run_id).inputs.dataset_inputs, _datasets)
    note("fluent last run", lambda: mlflow.last_active_run().info.run_id)
    with mlflow.start_run(run_id=run.info.run_id):
        note("fluent goes on", lambda: mlflow.log_metric("loss", 0.25, step=2, timestamp=START_MS), bool)
        note("fluent goes on as", lambda: client.get_run(run.info.run_id).info.status)
    note(
        "fluent went on",
        lambda: [
            client.get_run(run.info.run_id).info.status,
            len(client.get_metric_history(run.info.run_id, "loss")),
        ],
    )


def _log_input(module: Any) -> None:
    import numpy

    data_set = module.data.from_numpy(numpy.arange(6).reshape(3, 2), name="numbers")
    module.log_input(data_set, context="training", tags={"k": "v"})


def _datasets(inputs: Any) -> list[Any]:
    return [[dict(one.dataset), sorted([tag.key, tag.value] for tag in one.tags)] for one in inputs]


def _nested(client: MlflowClient, note: Notes) -> None:
    with mlflow.start_run(run_name="outer") as outer:
        note.named("run outer", outer.info.run_id)
        with mlflow.start_run(run_name="inner", nested=True, tags={"kind": "inner"}) as inner:
            note.named("run inner", inner.info.run_id)
            note("fluent parent", lambda: mlflow.get_parent_run(inner.info.run_id).info.run_id)
    search = f"tags.mlflow.parentRunId = '{outer.info.run_id}'"
    note("fluent children", lambda: client.search_runs([outer.info.experiment_id], search), _run_names)
    note("fluent inner", lambda: client.get_run(inner.info.run_id).data.tags)


def _failing(client: MlflowClient, note: Notes) -> None:
    raised = None
    try:
        with mlflow.start_run(run_name="failing") as run:
            raise RuntimeError("on purpose")
    except RuntimeError as error:
        raised = error
    assert raised is not None
    note("fluent failed", lambda: client.get_run(run.info.run_id).info.status)
    note("fluent delete", lambda: mlflow.delete_run(run.info.run_id))
    note("fluent deleted", lambda: client.get_run(run.info.run_id).info.lifecycle_stage)


def _model(client: MlflowClient, note: Notes, experiment: str) -> None:
    name = f"{note.mark}-fluent-model"
    with mlflow.start_run(run_name="trains") as run:
        note.named("run trains", run.info.run_id)
        logged = note(
            "model logged",
            lambda: _log_model(name, run),
            lambda made: [made.flavors["python_function"]["loader_module"]],
        )
    if getattr(logged, "model_id", None):
        note.named("model of the run", logged.model_id)
    note("model's run", lambda: client.get_run(run.info.run_id), _of_models)
    note("model's address", lambda: logged.model_uri)
    note("model's files", lambda: client.list_artifacts(run.info.run_id, "model"), _paths)
    note("model's version", lambda: client.get_model_version(name, "1"))
    places = {"as told": logged.model_uri, "of the run": f"runs:/{run.info.run_id}/model"}
    places |= {"of a version": f"models:/{name}/1", "of the latest": f"models:/{name}/latest"}
    for label, uri in places.items():
        note(f"model loaded {label}", lambda: _doubled(uri))  # noqa: B023
    note("model registered", lambda: mlflow.register_model(f"runs:/{run.info.run_id}/model", name))
    note(
        "model registered under a new name",
        lambda: mlflow.register_model(logged.model_uri, f"{name}-2").version,
    )
    note(
        "model registered from nowhere",
        lambda: mlflow.register_model(f"runs:/{run.info.run_id}/none", f"{name}-3"),
    )
    client.set_registered_model_alias(name, "best", "1")
    note("model loaded by alias", lambda: _doubled(f"models:/{name}@best"))
    note("model loaded missing", lambda: _doubled(f"models:/{name}/77"))
    note(
        "model's info",
        lambda: mlflow.models.get_model_info(f"models:/{name}/1").flavors["python_function"]["loader_module"],
    )
    with tempfile.TemporaryDirectory() as folder:
        fetch = lambda: mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=folder)  # noqa: E731
        note("model fetched", fetch, lambda place: sorted(digests(place)))
    note("models searched", lambda: mlflow.search_registered_models(filter_string=f"name = '{name}'"), len)
    note("versions searched", lambda: mlflow.search_model_versions(filter_string=f"name = '{name}'"), len)
    if hasattr(client, "create_logged_model"):
        from tests.gateway.programs.logged_model_calls import logged_models

        logged_models(client, note, experiment)


def _log_model(name: str, run: Any) -> Any:
    import inspect

    how = {
        "name"
        if "name" in inspect.signature(mlflow.pyfunc.log_model).parameters
        else "artifact_path": "model"
    }
    return mlflow.pyfunc.log_model(
        **how, python_model=Doubler(), pip_requirements=REQUIREMENTS, registered_model_name=name
    )


def _doubled(uri: str) -> list[int]:
    import pandas

    told = mlflow.pyfunc.load_model(uri).predict(pandas.DataFrame({"a": [1, 2]}))
    return [int(value) for value in told["a"]]


def _of_models(run: Any) -> Any:
    outputs = getattr(run, "outputs", None)
    return {
        "outputs": [[one.model_id, one.step] for one in outputs.model_outputs] if outputs else [],
        "tags": sorted(run.data.tags),
    }


def _paths(found: Any) -> list[Any]:
    return [[path, is_dir] for path, is_dir, _ in listed(found) if Path(path).name != "registered_model_meta"]
