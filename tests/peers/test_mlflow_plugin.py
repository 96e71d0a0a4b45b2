"""mlflow's own client on our plugin: what is logged is read back, what is wrong has mlflow's codes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb


def test_what_is_logged_is_read_back(plugged: str) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    mlflow.set_experiment("wine")
    points = [("loss", 0.5, 7, 0), ("loss", math.nan, 8, 1), ("loss", math.inf, 9, -2), ("loss", -0.0, 9, 3)]
    with mlflow.start_run(run_name="first", tags={"a": "b"}) as run:
        run_id = run.info.run_id
        for key, value, timestamp, step in points:
            mlflow.log_metric(key, value, step=step, timestamp=timestamp)
        mlflow.log_metrics({"x": 1.0, "y": 2.0}, step=4)
        mlflow.log_params({"lr": 0.1, "none": None})
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("z", 1)
        while_active = client.get_run(run_id)
    after = client.get_run(run_id)
    for found in (while_active, after):
        assert found.data.params == {"lr": "0.1", "none": "None"}
        assert found.data.metrics == {"loss": 0.0, "x": 1.0, "y": 2.0}
        (last,) = (point for point in found.data._metric_objs if point.key == "loss")
        assert (last.step, last.timestamp, repr(last.value)) == (3, 9, "-0.0")
        assert found.data.tags["a"] == "b"
        assert found.info.run_name == found.data.tags["mlflow.runName"] == "first"
    assert (while_active.info.status, after.info.status) == ("RUNNING", "FINISHED")
    history = client.get_metric_history(run_id, "loss")
    assert [(point.step, point.timestamp, repr(point.value)) for point in history] == [
        (-2, 9, "inf"),
        (0, 7, "0.5"),
        (1, 8, "nan"),
        (3, 9, "-0.0"),
    ]
    assert client.get_parent_run(child.info.run_id).info.run_id == run_id
    found_runs = mlflow.search_runs(filter_string="params.lr = '0.1'", output_format="list")
    assert [item.info.run_id for item in found_runs] == [run_id]


def test_history_from_memory_is_that_of_the_backend(plugged: str) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        for step in (3, 1, 1, 2):
            mlflow.log_metric("a", step / 3, step=step, timestamp=5)
        mlflow.log_metric("a", math.nan, step=1, timestamp=5)
        from_memory = client.get_metric_history(run.info.run_id, "a")
    assert {str(point) for point in from_memory} == {
        str(point) for point in client.get_metric_history(run.info.run_id, "a")
    }
    assert len(from_memory) == 4


def test_points_beyond_memory_are_read_from_the_backend(
    plugged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    from trackbridge.api.recorder import KeptPoints

    monkeypatch.setattr(KeptPoints, "POINTS_MAX", 3)
    with mlflow.start_run() as run:
        for step in range(5):
            mlflow.log_metric("a", 1.0, step=step)
        assert len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "a")) == 5


def test_runs_are_deleted_and_restored(plugged: str) -> None:
    import mlflow
    from mlflow.entities import ViewType

    client = mlflow.MlflowClient()
    experiment_id = client.create_experiment("wine", tags={"team": "vision"})
    run_id = client.create_run(experiment_id).info.run_id
    client.delete_run(run_id)
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert client.search_runs([experiment_id]) == []
    assert len(client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY)) == 1
    client.restore_run(run_id)
    assert len(client.search_runs([experiment_id])) == 1
    client.delete_experiment(experiment_id)
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    client.restore_experiment(experiment_id)
    found = client.get_experiment_by_name("wine")
    assert found is not None
    assert (found.lifecycle_stage, found.tags) == ("active", {"team": "vision"})


def test_default_experiment_is_mlflows(plugged: str) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    assert client.get_experiment("0").name == "Default"
    with mlflow.start_run() as run:
        mlflow.log_metric("a", 1)
    assert run.info.experiment_id == "0"
    assert [found.info.run_id for found in client.search_runs(["0"])] == [run.info.run_id]
    assert [found.experiment_id for found in client.search_experiments()] == ["0"]


def test_a_run_is_taken_up_again(plugged: str) -> None:
    import mlflow

    with mlflow.start_run() as run:
        mlflow.log_param("a", 1)
    with mlflow.start_run(run_id=run.info.run_id, tags={"again": "yes"}) as again:
        assert again.info.status == "RUNNING"
        mlflow.log_param("b", 2)
        with pytest.raises(mlflow.MlflowException):
            mlflow.log_param("a", 2)
    found = mlflow.get_run(run.info.run_id)
    assert found.data.params == {"a": "1", "b": "2"}
    assert (found.info.status, found.data.tags["again"]) == ("FINISHED", "yes")


def test_threads_log_to_one_run(plugged: str) -> None:
    import mlflow

    with mlflow.start_run() as run:
        client, run_id = mlflow.MlflowClient(), run.info.run_id

        def log(number: int) -> None:
            for step in range(100):
                client.log_metric(run_id, f"m{number}", step, step=step, timestamp=step)

        threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(4):
        assert [point.step for point in client.get_metric_history(run_id, f"m{number}")] == list(range(100))


def test_asynchronous_calls_are_done_at_once(plugged: str) -> None:
    import mlflow

    with mlflow.start_run() as run:
        operations = mlflow.log_metrics({"a": 1.0}, synchronous=False)
        mlflow.log_param("b", 1, synchronous=False)
        mlflow.set_tag("c", "d", synchronous=False)
        found = mlflow.get_run(run.info.run_id).data
        assert (found.metrics, found.params, found.tags["c"]) == ({"a": 1.0}, {"b": "1"}, "d")
        operations.wait()


def test_datasets_are_inputs(plugged: str) -> None:
    import mlflow
    import numpy as np

    dataset = mlflow.data.from_numpy(np.arange(12.0).reshape(4, 3), name="grapes")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training")
    (found,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("grapes", dataset.digest)
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]


def test_system_metrics_are_logged(plugged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    with mlflow.start_run(log_system_metrics=True) as run:
        done = threading.Event()
        for _ in range(200):
            if "system/cpu_utilization_percentage" in mlflow.get_run(run.info.run_id).data.metrics:
                break
            done.wait(0.1)
    assert "system/cpu_utilization_percentage" in mlflow.get_run(run.info.run_id).data.metrics


# Artifacts.


def test_artifacts(plugged: str, tmp_path: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    folder = tmp_path / "given"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.bin").write_bytes(b"\0\1")
    with mlflow.start_run() as run:
        run_id = run.info.run_id
        mlflow.log_artifact(str(folder / "a.txt"), "below")
        mlflow.log_artifacts(str(folder), "all")
        mlflow.log_text("text", "t.txt")
        mlflow.log_table({"x": [1, 2]}, "table.json")
        assert mlflow.get_artifact_uri("all") == f"bridge-artifacts:/{run_id}/all"
    assert [info.path for info in client.list_artifacts(run_id)] == ["all", "below", "t.txt", "table.json"]
    listed = [(info.path, info.is_dir, info.file_size) for info in client.list_artifacts(run_id, "all")]
    assert listed == [("all/a.txt", False, 1), ("all/deep", True, None)]
    assert client.list_artifacts(run_id, "t.txt") == []
    copied = Path(client.download_artifacts(run_id, "all", str(tmp_path)))
    assert (copied / "deep" / "b.bin").read_bytes() == b"\0\1"
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/t.txt") == "text"
    assert list(mlflow.load_table("table.json", run_ids=[run_id])["x"]) == [1, 2]
    with pytest.raises(mlflow.MlflowException):
        client.download_artifacts(run_id, "absent", str(tmp_path))


def test_logged_files_are_ours_too(plugged: str) -> None:
    import mlflow

    with mlflow.start_run() as run:
        mlflow.log_text("text", "t.txt")
        mlflow.log_metric("a", 1)
    ours = tb.Client(plugged.removeprefix("bridge+"))
    assert ours.get_run(run.info.run_id).data.metrics == {"a": 1.0}
    assert Path(ours.download_artifacts(run.info.run_id, "t.txt")).read_text() == "text"


# What is wrong.


def _experiment_exists(client: Any, run_id: str) -> None:
    client.create_experiment("Default")
    client.create_experiment("Default")


def _model_exists(client: Any, run_id: str) -> None:
    client.create_registered_model("wine")
    client.create_registered_model("wine")


def _model_renamed(client: Any, run_id: str) -> None:
    client.create_registered_model("wine")
    client.rename_registered_model("wine", "beer")


def _param_changes(client: Any, run_id: str) -> None:
    client.log_param(run_id, "a", 1)
    client.log_param(run_id, "a", 2)


WRONG: dict[str, tuple[Callable[[Any, str], object], str]] = {
    "no run": (lambda client, _: client.get_run("f" * 32), "RESOURCE_DOES_NOT_EXIST"),
    "no experiment": (lambda client, _: client.get_experiment("no"), "RESOURCE_DOES_NOT_EXIST"),
    "no model": (lambda client, _: client.get_registered_model("no"), "RESOURCE_DOES_NOT_EXIST"),
    "no model to delete": (lambda client, _: client.delete_registered_model("no"), "RESOURCE_DOES_NOT_EXIST"),
    "no version": (lambda client, _: client.get_model_version("no", "1"), "RESOURCE_DOES_NOT_EXIST"),
    "no alias": (lambda client, _: client.get_model_version_by_alias("no", "a"), "RESOURCE_DOES_NOT_EXIST"),
    "no logged model": (lambda client, _: client.get_logged_model("m-1"), "RESOURCE_DOES_NOT_EXIST"),
    "no such logged model": (
        lambda client, run_id: client.get_logged_model(f"m-{run_id}-00000000"),
        "RESOURCE_DOES_NOT_EXIST",
    ),
    "no model to add to": (
        lambda client, run_id: client.create_model_version("no", f"runs:/{run_id}/model"),
        "RESOURCE_DOES_NOT_EXIST",
    ),
    "experiment exists": (_experiment_exists, "RESOURCE_ALREADY_EXISTS"),
    "model exists": (_model_exists, "RESOURCE_ALREADY_EXISTS"),
    "param changes": (_param_changes, "INVALID_PARAMETER_VALUE"),
    "bad filter": (lambda client, _: client.search_runs(["0"], "metrics.a >"), "INVALID_PARAMETER_VALUE"),
    "bad token": (lambda client, _: client.search_runs(["0"], page_token="x"), "INVALID_PARAMETER_VALUE"),
    "reserved tag": (lambda client, run_id: client.set_tag(run_id, "bridge.a", 1), "INVALID_PARAMETER_VALUE"),
    "no number": (lambda client, run_id: client.log_metric(run_id, "a", "b"), "INVALID_PARAMETER_VALUE"),
    "artifact location": (
        lambda client, _: client.create_experiment("a", "s3://bucket"),
        "NOT_IMPLEMENTED",
    ),
    "renaming": (lambda client, _: client.rename_experiment("0", "a"), "NOT_IMPLEMENTED"),
    "renaming a model": (_model_renamed, "NOT_IMPLEMENTED"),
    "scorers": (lambda client, _: client._tracking_client.store.list_scorers("0"), "NOT_IMPLEMENTED"),
    "traces": (lambda client, _: client._tracking_client.store.get_trace_info("t"), "NOT_IMPLEMENTED"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_are_mlflows(plugged: str, name: str) -> None:
    import mlflow

    call, code = WRONG[name]
    client = mlflow.MlflowClient()
    run_id = client.create_run("0").info.run_id
    with pytest.raises(mlflow.MlflowException) as caught:
        call(client, run_id)
    assert caught.value.error_code == code


def test_a_wrong_address_is_told_at_once(plugged: str) -> None:
    import mlflow

    for uri in ("bridge+https://user:secret@host", "bridge+azureml://nonsense", "bridge:no-such-remote"):
        with pytest.raises(mlflow.MlflowException) as caught:
            mlflow.MlflowClient(uri)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
        assert "secret" not in str(caught.value)
