"""What mlflow 3 added: logged models, their metrics, traces, prompts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric

from tests.gateway.programs.artifact_calls import digests, listed
from tests.gateway.programs.notes import Notes
from tests.gateway.programs.tracking_calls import START_MS

NO_MODEL = "m-0123456789abcdef0123456789abcdef"


def logged_models(client: MlflowClient, note: Notes, experiment: str) -> None:
    """Make, fill, read, search and delete logged models."""
    run = client.create_run(experiment, START_MS, run_name="of models").info.run_id
    note.named("run of models", run)
    made = note(
        "logged create",
        lambda: client.create_logged_model(experiment, "tree", run, {"t": "1"}, {"depth": "3"}, "forest"),
        lambda model: [model.name, str(model.status), model.tags, model.params, model.model_type],
    )
    model = str(made.model_id)
    note.named("logged tree", model)
    note("logged", lambda: client.get_logged_model(model))
    note("logged missing", lambda: client.get_logged_model(NO_MODEL))
    note("logged of no id", lambda: client.get_logged_model("no-id"))
    note("logged in no experiment", lambda: client.create_logged_model("987654321", "x"))
    note("logged with bad name", lambda: client.create_logged_model(experiment, "a/b:c"))
    runless = client.create_experiment(f"{note.mark}-runless")
    unnamed = note("logged unnamed", lambda: client.create_logged_model(runless), lambda one: bool(one.name))
    note("logged without a run", lambda: len(client.search_runs([runless])))
    note("logged tags", lambda: client.set_logged_model_tags(model, {"a": "b", "t": "2"}))
    note("logged tag gone", lambda: client.delete_logged_model_tag(model, "a"))
    note("logged tag missing gone", lambda: client.delete_logged_model_tag(model, "none"))
    note("logged tags of none", lambda: client.set_logged_model_tags(NO_MODEL, {"a": "b"}))
    note("logged params", lambda: client.log_model_params(model, {"leaves": "7"}))
    note("logged params otherwise", lambda: client.log_model_params(model, {"leaves": "8"}))
    _metrics(client, note, run, model)
    _files(client, note, model)
    note("logged ready", lambda: client.finalize_logged_model(model, "READY"))
    note("logged failed", lambda: str(client.finalize_logged_model(unnamed.model_id, "FAILED").status))
    note("logged ready of none", lambda: client.finalize_logged_model(NO_MODEL, "READY"))
    note("logged at last", lambda: client.get_logged_model(model))
    _in_and_out(client, note, experiment, model)
    _searches(client, note)
    note("logged delete", lambda: client.delete_logged_model(unnamed.model_id))
    note("logged deleted", lambda: client.get_logged_model(unnamed.model_id))
    note("logged delete missing", lambda: client.delete_logged_model(NO_MODEL))


def _metrics(client: MlflowClient, note: Notes, run: str, model: str) -> None:
    note("logged metric", lambda: client.log_metric(run, "acc", 0.9, START_MS, 1, model_id=model))
    read = {"dataset_name": "train", "dataset_digest": "d1"}
    note(
        "logged metric of data",
        lambda: client.log_metric(run, "f1", 0.8, START_MS, 1, **read, model_id=model),
    )
    batch = [Metric("loss", 0.1, START_MS, 2, model_id=model, run_id=run)]
    note("logged batch", lambda: client.log_batch(run, batch))
    note("logged metrics", lambda: client.get_logged_model(model).metrics, _ordered)
    note("logged metrics of the run", lambda: client.get_run(run).data.metrics)


def _ordered(metrics: Any) -> list[Any]:
    ordered = sorted(metrics, key=lambda one: str(one.key))
    return [[one.key, one.value, one.step, one.timestamp, one.dataset_name, one.run_id] for one in ordered]


def _files(client: MlflowClient, note: Notes, model: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "files"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.txt").write_text("a")
        (folder / "MLmodel").write_text("flavors: {}\n")
        note("logged file", lambda: client.log_model_artifact(model, str(folder / "MLmodel")))
        note("logged files", lambda: client.log_model_artifacts(model, str(folder)))
        note("logged files of none", lambda: client.log_model_artifacts(NO_MODEL, str(folder)))
        note("logged listing", lambda: client.list_logged_model_artifacts(model), listed)
        note("logged listing below", lambda: client.list_logged_model_artifacts(model, "deep"), listed)
        note("logged listing of none", lambda: client.list_logged_model_artifacts(NO_MODEL), listed)
        for place in (f"models:/{model}", f"models:/{model}/deep/a.txt"):
            fetch = lambda: mlflow.artifacts.download_artifacts(place, dst_path=temporary)  # noqa: B023, E731
            note(
                f"logged fetch {place.replace(model, '<model>')}", fetch, lambda found: sorted(digests(found))
            )


def _in_and_out(client: MlflowClient, note: Notes, experiment: str, model: str) -> None:
    run = client.create_run(experiment, START_MS, run_name="in and out").info.run_id
    note("logged inputs", lambda: client.log_inputs(run, models=[LoggedModelInput(model)]))
    note("logged outputs", lambda: client.log_outputs(run, [LoggedModelOutput(model, 4)]))
    read = lambda: client.get_run(run)  # noqa: E731
    note("logged in", read, lambda told: [one.model_id for one in told.inputs.model_inputs])
    note("logged out", read, lambda told: [[one.model_id, one.step] for one in told.outputs.model_outputs])


def _searches(client: MlflowClient, note: Notes) -> None:
    experiment = client.create_experiment(f"{note.mark}-logged")
    note.named("experiment logged", experiment)
    run = client.create_run(experiment).info.run_id
    for number, name in enumerate(("a", "b", "c", "d")):
        tags, params = {"team": "red" if number % 2 else "blue"}, {"depth": str(number)}
        made = client.create_logged_model(experiment, name, run, tags, params, "forest")
        client.log_metric(run, f"acc-{name}", number / 4, START_MS, 1, model_id=made.model_id)
        client.log_metric(run, "acc", number / 4, START_MS, number, model_id=made.model_id)
        if number < 2:
            client.finalize_logged_model(made.model_id, "READY")
    by_name = [{"field_name": "name", "ascending": True}]
    asked: dict[str, dict[str, Any]] = {
        "by name": {"order_by": by_name},
        "falling": {"order_by": [{"field_name": "name", "ascending": False}]},
        "by metric": {"order_by": [{"field_name": "metrics.acc", "ascending": False}]},
        "named": {"filter_string": "name = 'b'"},
        "like": {"filter_string": "name LIKE 'b%'"},
        "of a param": {"filter_string": "params.depth = '2'"},
        "of a tag": {"filter_string": "tags.team = 'red'", "order_by": by_name},
        "of a metric": {"filter_string": "metrics.acc > 0.3", "order_by": by_name},
        "ready": {"filter_string": "status = 'READY'", "order_by": by_name},
        "of a run": {"filter_string": f"source_run_id = '{run}'", "order_by": by_name},
        "page": {"order_by": by_name, "max_results": 3},
        "bad filter": {"filter_string": "name ="},
        "bad field": {"filter_string": "colour = 'red'"},
        "bad order": {"order_by": [{"field_name": "colour"}]},
        "none": {"max_results": 0},
    }
    search: Callable[..., Any] = lambda **more: client.search_logged_models([experiment], **more)  # noqa: E731
    shown = lambda found: {"names": [one.name for one in found], "has more": bool(found.token)}  # noqa: E731
    for label, more in asked.items():
        note(f"logged search {label}", lambda: search(**more), shown)  # noqa: B023
    token = search(order_by=by_name, max_results=3).token
    note("logged search next page", lambda: search(order_by=by_name, max_results=3, page_token=token), shown)
    note("logged search in none", lambda: client.search_logged_models(["987654321"]), shown)


def prompts(client: MlflowClient, note: Notes) -> None:
    """Register prompts, which are registered models with a tag."""
    name = f"{note.mark}-prompt"
    first = lambda: client.register_prompt(name, "Hello {{who}}", "first", {"a": "b"})  # noqa: E731
    shown = lambda made: [made.name, made.version, made.template, made.commit_message, made.tags]  # noqa: E731
    note("prompt", first, shown)
    note("prompt again", lambda: client.register_prompt(name, "Bye {{who}}"), shown)
    note("prompt loaded", lambda: client.load_prompt(name, version=1), shown)
    note("prompt missing", lambda: client.load_prompt(f"{name}-none", version=1))
    note("prompt alias", lambda: client.set_prompt_alias(name, "best", 2))
    note("prompt by alias", lambda: client.load_prompt(f"prompts:/{name}@best"), shown)
    note("prompts", lambda: [one.name for one in client.search_prompts(f"name = '{name}'")])
    note("prompts are no models", lambda: len(client.search_registered_models(f"name = '{name}'")))


def traces(client: MlflowClient, note: Notes) -> None:
    """Write a trace, read it, tag it, delete it."""
    experiment = mlflow.set_experiment(f"{note.mark}-traces").experiment_id
    note.named("experiment traces", experiment)
    with mlflow.start_span("outer") as span:
        span.set_inputs({"q": 1})
        with mlflow.start_span("inner"):
            pass
        span.set_outputs({"a": 2})
    mlflow.flush_trace_async_logging()
    trace = span.trace_id
    note.named("trace", trace)
    read = lambda: client.get_trace(trace)  # noqa: E731
    note("trace", read, lambda told: sorted(one.name for one in told.data.spans))
    note("trace's state", read, lambda told: [str(told.info.state), told.info.request_preview])
    found = lambda: client.search_traces(locations=[experiment])  # noqa: E731
    note("traces", found, lambda told: [one.info.trace_id for one in told])
    for label, condition in {
        "by state": "trace.status = 'OK'",
        "by another name": "trace.name = 'inner'",
        "by metadata": "metadata.`mlflow.user` != 'nobody'",
    }.items():
        filtered = lambda: client.search_traces(locations=[experiment], filter_string=condition)  # noqa: E731, B023
        note(f"traces {label}", filtered, lambda told: [one.info.trace_id for one in told])
    note("trace tag", lambda: client.set_trace_tag(trace, "a", "b"))
    note("trace tagged", read, lambda told: told.info.tags.get("a"))
    note("trace tag gone", lambda: client.delete_trace_tag(trace, "a"))
    note("trace missing", lambda: client.get_trace("tr-0123456789abcdef0123456789abcdef"))
    note("traces delete", lambda: client.delete_traces(experiment, trace_ids=[trace]))
    note("traces then", lambda: len(client.search_traces(locations=[experiment])))
