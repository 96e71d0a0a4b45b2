"""The fluent functions mean what mlflow's users expect, and keep or refuse whatever they are given."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import struct
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np  # noqa: TID253
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trackbridge as tb
from trackbridge.api.values import KEY_BYTES_MAX
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    Conflict,
    InvalidInput,
    InvalidQuery,
    NotFound,
    Rejected,
    Unsupported,
)

pytestmark = pytest.mark.usefixtures("project")


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def history(run: tb.ActiveRun, key: str) -> list[tb.Metric]:
    return tb.Client().get_metric_history(run.info.run_id, key)


# Runs.


def test_a_run_from_beginning_to_end() -> None:
    experiment = tb.set_experiment("wine")
    with tb.start_run(run_name="first", tags={"team": "blue"}, description="why") as run:
        assert tb.active_run() is run
        tb.log_params({"lr": 0.1, "depth": None})
        tb.log_metric("loss", 0.5, step=1)
        tb.set_tag("kind", "test")
    assert tb.active_run() is None
    read = tb.get_run(run.info.run_id)
    assert read.info.experiment_id == experiment.experiment_id
    assert (read.info.run_name, str(read.info.status)) == ("first", "FINISHED")
    assert read.info.end_time is not None
    assert read.info.end_time >= read.info.start_time
    assert read.data.params == {"lr": "0.1", "depth": "None"}
    assert read.data.metrics == {"loss": 0.5}
    tags = read.data.tags
    assert (tags["team"], tags["kind"], tags["mlflow.note.content"]) == ("blue", "test", "why")
    assert tags["mlflow.source.type"] == "LOCAL"
    assert "bridge/requirements.txt" in [
        info.path for info in tb.Client().list_artifacts(run.info.run_id, "bridge")
    ]


def test_logging_without_a_run_starts_one() -> None:
    tb.log_metric("loss", 1.0)
    run = tb.active_run()
    assert run is not None
    assert run.data.metrics == {"loss": 1.0}


def test_a_second_run_needs_nested() -> None:
    with tb.start_run() as outer:
        with pytest.raises(Conflict, match="is active") as caught:
            tb.start_run()
        assert "nested=True" in str(caught.value.hint)
        with tb.start_run(nested=True) as inner:
            assert tb.active_run() is inner
        assert tb.active_run() is outer
    parent = tb.Client().get_parent_run(inner.info.run_id)
    assert parent is not None
    assert parent.info.run_id == outer.info.run_id


def test_an_exception_fails_the_run() -> None:
    with pytest.raises(ZeroDivisionError), tb.start_run() as run:
        1 / 0  # noqa: B018
    read = tb.get_run(run.info.run_id)
    assert str(read.info.status) == "FAILED"
    assert "ZeroDivisionError" in read.data.tags["bridge.traceback"]


def test_each_thread_has_its_own_active_run() -> None:
    found: list[str] = []

    def work() -> None:
        with tb.start_run() as run:
            tb.log_metric("loss", 1.0)
            found.append(run.info.run_id)

    with tb.start_run() as outer:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({*found, outer.info.run_id}) == 5
    assert all(tb.get_run(run_id).data.metrics == {"loss": 1.0} for run_id in found)


def test_an_active_run_is_read_from_memory() -> None:
    with tb.start_run() as run:
        tb.log_metric("loss", 1.0, step=5)
        tb.log_metric("loss", 2.0, step=3)
        tb.log_metrics({"loss": 9.0, "acc": 0.5}, step=4)
        assert tb.get_run(run.info.run_id).data.metrics == {"loss": 1.0, "acc": 0.5}
    assert tb.get_run(run.info.run_id).data.metrics == {"loss": 1.0, "acc": 0.5}


def test_a_run_is_taken_up_again() -> None:
    with tb.start_run() as run:
        tb.log_param("lr", 0.1)
    with tb.start_run(run_id=run.info.run_id) as resumed:
        assert tb.get_run(run.info.run_id).info.status is tb.RunStatus.RUNNING
        tb.log_metric("loss", 1.0)
    assert resumed.info.run_id == run.info.run_id
    read = tb.get_run(run.info.run_id)
    assert (read.info.status, read.data.params) == (tb.RunStatus.FINISHED, {"lr": "0.1"})
    assert read.data.metrics == {"loss": 1.0}


def test_the_environment_names_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with tb.start_run() as run:
        pass
    monkeypatch.setenv("BRIDGE_RUN_ID", run.info.run_id)
    with tb.start_run() as resumed:
        assert resumed.info.run_id == run.info.run_id


def test_a_run_that_does_not_exist_cannot_be_taken_up() -> None:
    with pytest.raises(NotFound):
        tb.start_run(run_id="f" * 32)
    assert tb.active_run() is None


def test_end_run_takes_a_status_and_may_be_called_twice() -> None:
    run = tb.start_run()
    with pytest.raises(InvalidInput, match="RUNNING"):
        tb.end_run("RUNNING")
    tb.end_run("KILLED")
    tb.end_run()
    assert str(tb.get_run(run.info.run_id).info.status) == "KILLED"


# Values.


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, -0.0, 0.0, 2.0**60, 5e-324, 1.7976931348623157e308, 0.1],
)
def test_values_return_bit_for_bit(value: float) -> None:
    with tb.start_run() as run:
        tb.log_metric("value", value)
        (point,) = history(run, "value")
        assert bits(tb.get_run(run.info.run_id).data.metrics["value"]) == bits(value)
    assert bits(point.value) == bits(value)
    assert bits(tb.get_run(run.info.run_id).data.metrics["value"]) == bits(value)


def test_a_nan_keeps_its_payload() -> None:
    odd = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF))[0]
    with tb.start_run() as run:
        tb.log_metric("value", odd)
    assert bits(history(run, "value")[0].value) == bits(odd)


@pytest.mark.parametrize("value", [1, True, 2**60, np.float32(0.5), np.array([3.0]), np.int64(7)])
def test_what_is_a_number_is_taken(value: float) -> None:
    with tb.start_run() as run:
        tb.log_metric("value", value)
    assert history(run, "value")[0].value == float(np.asarray(value).item())


@pytest.mark.parametrize("value", ["0.5", None, [1.0, 2.0], object(), 10**400, b"1"])
def test_what_is_no_number_is_refused(value: object) -> None:
    with tb.start_run() as run:
        with pytest.raises(InvalidInput, match="must be a number"):
            tb.log_metric("value", value)  # type: ignore[arg-type]
        tb.log_metric("after", 1.0)
    assert tb.get_run(run.info.run_id).data.metrics == {"after": 1.0}


@pytest.mark.parametrize("step", [0, -1, 2**63 - 1, -(2**63), np.int32(5), 3.0, True])
def test_steps_of_64_bits_are_kept(step: int) -> None:
    with tb.start_run() as run:
        tb.log_metric("value", 1.0, step=step)
    assert history(run, "value")[0].step == int(step)


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 1.5, "3", math.nan, math.inf])
def test_other_steps_are_refused(step: object) -> None:
    with tb.start_run(), pytest.raises(InvalidInput, match="step"):
        tb.log_metric("value", 1.0, step=step)  # type: ignore[arg-type]


@pytest.mark.parametrize("timestamp", [-1, 2**63, "now", 1.5])
def test_wrong_timestamps_are_refused(timestamp: object) -> None:
    with tb.start_run(), pytest.raises(InvalidInput, match="timestamp"):
        tb.log_metric("value", 1.0, timestamp=timestamp)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "x" * (KEY_BYTES_MAX + 1), 7, None, ["a"]])
def test_hostile_keys_are_refused_and_nothing_is_lost(key: object) -> None:
    with tb.start_run() as run:
        for call in (
            lambda: tb.log_metric(key, 1.0),  # type: ignore[arg-type]
            lambda: tb.log_param(key, 1),  # type: ignore[arg-type]
            lambda: tb.set_tag(key, 1),  # type: ignore[arg-type]
        ):
            with pytest.raises(InvalidInput, match="key"):
                call()
        tb.log_metric("after", 1.0)
    assert tb.get_run(run.info.run_id).data.metrics == {"after": 1.0}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.text(min_size=1, max_size=60).filter(lambda text: not text.startswith("bridge.")),
    value=st.text(max_size=300),
)
def test_any_text_is_kept_exactly_or_refused_clearly(key: str, value: str) -> None:
    with tb.start_run(nested=True) as run:
        if "\0" in key + value or any("\ud800" <= char <= "\udfff" for char in key + value):
            with pytest.raises(InvalidInput):
                tb.log_param(key, value)
            return
        tb.log_param(key, value)
        tb.set_tag(key, value)
        tb.log_metric(key, 1.0)
    read = tb.get_run(run.info.run_id)
    assert read.data.params == {key: value}
    assert read.data.tags[key] == value
    assert read.data.metrics == {key: 1.0}


def test_params_are_written_once() -> None:
    with tb.start_run() as run:
        assert tb.log_param("lr", 0.1) == 0.1
        tb.log_param("lr", "0.1")
        with pytest.raises(Conflict, match=r"'0\.1' already") as caught:
            tb.log_param("lr", 0.2)
        assert run.info.run_id in str(caught.value)
    assert tb.get_run(run.info.run_id).data.params == {"lr": "0.1"}


def test_reserved_tags_are_refused() -> None:
    with tb.start_run(), pytest.raises(InvalidInput, match="reserved"):
        tb.set_tag("bridge.run_id", "x")


def test_tags_are_replaced_and_deleted() -> None:
    with tb.start_run() as run:
        tb.set_tags({"a": 1, "b": 2})
        tb.set_tag("a", 3)
        tb.delete_tag("b")
        tb.delete_tag("never")
    tags = tb.get_run(run.info.run_id).data.tags
    assert tags["a"] == "3"
    assert "b" not in tags


def test_a_batch_of_any_size() -> None:
    points = [tb.Metric("loss", step / 3, 1000 + step, step) for step in range(12_345)]
    with tb.start_run() as run:
        tb.log_batch(metrics=points, params={"a": 1}, tags={"b": 2})
    assert history(run, "loss") == points
    read = tb.get_run(run.info.run_id)
    assert (read.data.params, read.data.tags["b"]) == ({"a": "1"}, "2")


# Artifacts.


def test_artifacts_hold_what_the_file_held_when_it_was_logged(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"one")
    with tb.start_run() as run:
        tb.log_artifact(file, "models")
        file.write_bytes(b"two")
    path = tb.Client().download_artifacts(run.info.run_id, "models/model.bin")
    assert Path(path).read_bytes() == b"one"


def test_a_folder_with_all_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "ü b.txt").write_text("b")
    (folder / "link.txt").symlink_to("a.txt")
    with tb.start_run() as run:
        tb.log_artifacts(folder)
        tb.log_artifact(folder, "copy")
    target = Path(tb.Client().download_artifacts(run.info.run_id))
    assert (target / "deep" / "ü b.txt").read_text() == "b"
    assert (target / "link.txt").read_text() == "a"
    assert (target / "copy" / "out" / "a.txt").read_text() == "a"


def test_links_out_of_the_folder_are_refused_before_anything_is_logged(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    for target in (secret, tmp_path):
        link = folder / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with tb.start_run(nested=True) as run, pytest.raises(InvalidInput, match="symbolic link"):
            tb.log_artifacts(folder)
        paths = [info.path for info in tb.Client().list_artifacts(run.info.run_id)]
        assert paths == ["bridge"]


@pytest.mark.parametrize(
    "path", ["../up.txt", "/etc/x", "a/../../b", "a//b", "", ".", "a\0b", "x" * 300, "a\\b"]
)
def test_path_tricks_are_refused(path: str) -> None:
    with tb.start_run(), pytest.raises(InvalidInput, match="artifact path"):
        tb.log_text("x", path)


@pytest.mark.parametrize("missing", ["nowhere.txt", "folder-that-is-not"])
def test_a_file_that_is_not_there(missing: str) -> None:
    with tb.start_run(), pytest.raises(InvalidInput, match="cannot be read"):
        tb.log_artifact(missing)


def test_objects_as_artifacts() -> None:
    with tb.start_run() as run:
        tb.log_text("hällo", "text.txt")
        tb.log_dict({"a": [1, 2]}, "data.json")
        tb.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "image.png")
        tb.log_image(np.zeros((4, 4)), key="samples", step=3)
        tb.log_table({"x": [1, 2], "y": ["a", "b"]}, "table.json")
        tb.log_table({"x": [3], "y": ["c"]}, "table.json")
    client = tb.Client()
    folder = Path(client.download_artifacts(run.info.run_id))
    assert (folder / "text.txt").read_text() == "hällo"
    assert json.loads((folder / "data.json").read_text()) == {"a": [1, 2]}
    assert (folder / "image.png").read_bytes().startswith(b"\x89PNG")
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2
    assert len(json.loads((folder / "table.json").read_text())["data"]) == 3


def test_the_last_version_of_an_artifact_counts() -> None:
    with tb.start_run() as run:
        tb.log_text("one", "a.txt")
        tb.log_text("two", "a.txt")
    path = tb.Client().download_artifacts(run.info.run_id, "a.txt")
    assert Path(path).read_text() == "two"
    with pytest.raises(NotFound):
        tb.Client().download_artifacts(run.info.run_id, "b.txt")


def test_notes_and_notebooks(tmp_path: Path) -> None:
    notebook = tmp_path / "analysis.ipynb"
    cell = {"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": [], "execution_count": 1}
    notebook.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    with tb.start_run() as run:
        tb.note("dropped column x: it leaks")
        tb.note("second thought")
        tb.log_notebook(notebook)
    read = tb.get_run(run.info.run_id)
    assert "dropped column x" in read.data.tags["mlflow.note.content"]
    assert "second thought" in read.data.tags["mlflow.note.content"]
    names = [info.path for info in tb.Client().list_artifacts(run.info.run_id, "notebooks")]
    assert names == ["notebooks/analysis.ipynb", "notebooks/analysis.md"]
    with tb.start_run(), pytest.raises(InvalidInput, match="running notebook"):
        tb.log_notebook()


def test_data_sets() -> None:
    with tb.start_run() as run:
        tb.log_input({"x": [1, 2, 3]}, context="training", name="wine")
    (dataset,) = tb.get_run(run.info.run_id).inputs.dataset_inputs
    assert dataset.name == "wine"


# Experiments and search.


def test_search_finds_filters_and_orders() -> None:
    tb.set_experiment("search")
    for number in range(5):
        with tb.start_run(run_name=f"run-{number}"):
            tb.log_metric("acc", number / 10)
            tb.log_param("lr", "0.1" if number % 2 else "0.2")
    runs = tb.search_runs(
        filter_string="metrics.acc > 0.1 and params.lr = '0.1'", order_by=["metrics.acc DESC"]
    )
    assert [run.info.run_name for run in runs] == ["run-3"]
    page = tb.search_runs(order_by=["metrics.acc DESC"], max_results=2)
    rest = tb.search_runs(order_by=["metrics.acc DESC"], max_results=10, page_token=page.token)
    assert [run.info.run_name for run in [*page, *rest]] == [f"run-{number}" for number in (4, 3, 2, 1, 0)]
    frame = tb.search_runs(order_by=["metrics.acc"]).to_frame()
    assert list(frame["metrics.acc"]) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert "run-3" in runs._repr_html_()


def test_a_wrong_filter_says_where() -> None:
    with pytest.raises(InvalidQuery) as caught:
        tb.search_runs(experiment_ids=["x"], filter_string="metrics.acc >> 1")
    assert caught.value.position == 13
    assert "position 13" in str(caught.value)


def test_searching_without_experiments_finds_nothing() -> None:
    assert tb.search_runs() == []
    assert tb.search_runs(search_all_experiments=True) == []


def test_experiments() -> None:
    client = tb.Client()
    experiment_id = client.create_experiment("one", tags={"team": "blue"})
    with pytest.raises(Conflict):
        client.create_experiment("one")
    assert client.get_experiment(experiment_id).tags == {"team": "blue"}
    with pytest.raises(Unsupported, match="tracking URI decides"):
        client.create_experiment("two", "/elsewhere")
    assert [experiment.name for experiment in tb.search_experiments(filter_string="name LIKE 'o%'")] == [
        "one"
    ]
    run = client.create_run(experiment_id, run_name="r")
    client.set_terminated(run.info.run_id)
    client.delete_experiment(experiment_id)
    assert tb.search_experiments() == []
    with pytest.raises(Rejected, match="deleted"):
        tb.set_experiment("one")
    client.restore_experiment(experiment_id)
    assert len(client.search_runs([experiment_id])) == 1


def test_deleted_runs_come_back() -> None:
    with tb.start_run() as run:
        pass
    client, run_id = tb.Client(), run.info.run_id
    client.delete_run(run_id)
    client.delete_run(run_id)
    assert client.search_runs([run.info.experiment_id]) == []
    assert len(client.search_runs([run.info.experiment_id], run_view_type=tb.ViewType.DELETED_ONLY)) == 1
    client.restore_run(run_id)
    assert len(client.search_runs([run.info.experiment_id])) == 1


# Destinations.


def test_the_tracking_uri_decides(tmp_path: Path) -> None:
    tb.set_tracking_uri(tmp_path / "elsewhere")
    with tb.start_run() as run:
        tb.log_metric("loss", 1.0)
    assert tb.get_tracking_uri() == f"file:{tmp_path}/elsewhere"
    assert tb.Client(tmp_path / "elsewhere").get_run(run.info.run_id).data.metrics == {"loss": 1.0}
    tb.set_tracking_uri(None)
    with pytest.raises(NotFound):
        tb.get_run(run.info.run_id)


def test_several_destinations_get_everything(tmp_path: Path) -> None:
    tb.set_tracking_uri([tmp_path / "one", tmp_path / "two"])
    with tb.start_run() as run:
        tb.log_metric("loss", 1.0)
        tb.log_text("x", "a.txt")
    tb.flush()
    for name in ("one", "two"):
        client = tb.Client(tmp_path / name)
        assert client.get_run(run.info.run_id).data.metrics == {"loss": 1.0}
        assert "a.txt" in [info.path for info in client.list_artifacts(run.info.run_id)]


@pytest.mark.parametrize("uri", ["azureml:", "sagemaker:", "nonsense:", "databricks"])
def test_a_backend_that_is_not_there_is_refused_at_once(uri: str) -> None:
    before = tb.get_tracking_uri()
    with pytest.raises(ConfigError) as caught:
        tb.set_tracking_uri(uri)
    assert caught.value.hint
    assert tb.get_tracking_uri() == before


def test_every_public_name_exists() -> None:
    for name in tb.__all__:
        assert getattr(tb, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tb.nonsense  # noqa: B018
    assert issubclass(tb.BridgeError, BridgeError)


def test_results_have_a_face() -> None:
    experiment = tb.set_experiment("<b>hostile</b>")
    with tb.start_run(run_name="<script>") as run:
        tb.log_metric("loss", 1.0)
        assert "&lt;script&gt;" in run._repr_html_()
    read = tb.get_run(run.info.run_id)
    found = tb.search_experiments()
    assert "1 metrics" in repr(read)
    assert "hostile" in repr(experiment)
    for html in (read._repr_html_(), found._repr_html_(), tb.search_runs()._repr_html_()):
        assert "<script>" not in html
        assert "<b>" not in html
    assert "&lt;b&gt;hostile" in found._repr_html_()
    assert "no experiments" in tb.search_experiments(filter_string="name = 'none'")._repr_html_()
    assert "<strong>&lt;b&gt;" in experiment._repr_html_()


def test_an_open_run_stays_where_it_was_opened(tmp_path: Path) -> None:
    tb.set_tracking_uri(tmp_path / "one")
    with tb.start_run() as run:
        tb.set_tracking_uri(tmp_path / "two")
        tb.log_metric("loss", 1.0)
        tb.log_text("x", "a.txt")
        tb.log_batch(params={"a": 1}, run_id=run.info.run_id)
        tb.log_table({"x": [1]}, "t.json")
    client = tb.Client(tmp_path / "one")
    read = client.get_run(run.info.run_id)
    assert (read.data.metrics, read.data.params) == ({"loss": 1.0}, {"a": "1"})
    paths = [info.path for info in client.list_artifacts(run.info.run_id)]
    assert paths == ["a.txt", "bridge", "t.json"]


def test_a_locked_store_stops_neither_a_start_nor_logging(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_READ_WAIT_S", "0.1")
    tb.set_tracking_uri("file:.bridge?busy_timeout_s=0.05")
    with tb.start_run() as before:
        tb.log_metric("loss", 1.0)
    tb.flush()
    lock = sqlite3.connect(project / ".bridge" / "store.db")
    lock.execute("BEGIN IMMEDIATE")
    try:
        with tb.start_run() as run:
            tb.set_experiment("another")
            tb.log_table({"x": [1]}, "t.json")
            tb.log_table({"x": [2]}, "t.json")
            tb.log_metric("loss", 2.0)
    finally:
        lock.rollback()
        lock.close()
    tb.flush()
    path = tb.Client().download_artifacts(run.info.run_id, "t.json")
    assert len(json.loads(Path(path).read_text())["data"]) == 2
    assert tb.get_run(before.info.run_id).data.metrics == {"loss": 1.0}


def test_processes_that_this_one_starts_do_as_it_does(tmp_path: Path) -> None:
    tb.set_tracking_uri(tmp_path / "elsewhere")
    experiment = tb.set_experiment("mine")
    code = "import trackbridge as tb\nwith tb.start_run(): tb.log_metric('loss', 1.0)"
    environment = {**os.environ, "BRIDGE_DELIVERY": "thread"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
    (run,) = tb.search_runs([experiment.experiment_id])
    assert run.data.metrics == {"loss": 1.0}
    tb.set_tracking_uri(None)
    assert "BRIDGE_TRACKING_URI" not in os.environ
    assert "BRIDGE_EXPERIMENT_NAME" not in os.environ


def test_a_forked_worker_starts_runs_of_its_own_beside_its_parents() -> None:
    with tb.start_run() as parent:
        worker = os.fork()
        if worker == 0:
            try:
                with tb.start_run() as run:
                    tb.log_metric("worker", 1.0)
                os._exit(0 if run.info.run_id != parent.info.run_id else 3)
            finally:
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        assert tb.active_run() is parent
    runs = tb.search_runs([parent.info.experiment_id])
    assert [run.data.metrics for run in runs if run.info.run_id != parent.info.run_id] == [{"worker": 1.0}]
    assert {str(run.info.status) for run in runs} == {"FINISHED"}


def test_mlflows_ways_of_saying_it() -> None:
    experiment = tb.set_experiment(experiment_name="one")
    assert tb.set_experiment(experiment_id=experiment.experiment_id).name == "one"
    for wrong in ({}, {"experiment_name": "a", "experiment_id": "b"}):
        with pytest.raises(InvalidInput, match="either"):
            tb.set_experiment(**wrong)
    with tb.start_run() as run:
        tb.log_metric("loss", 1.0, synchronous=True)
        tb.log_input({"x": [1]}, tags={"split": "train"})
    assert tb.search_runs(experiment_names="one", order_by="metrics.loss")[0].info.run_id == run.info.run_id
    assert list(tb.search_runs(output_format="pandas")["run_id"]) == [run.info.run_id]
    assert len(tb.search_runs(run_view_type=1)) == 1
    assert tb.search_runs(run_view_type=2) == []
    (dataset,) = tb.get_run(run.info.run_id).inputs.dataset_inputs
    assert dataset.tags["split"] == "train"
    with pytest.raises(NotFound, match="'nope'"):
        tb.search_runs(experiment_names=["nope"])


def test_a_search_returns_more_than_a_page() -> None:
    client = tb.Client()
    experiment = tb.set_experiment("many")
    for _ in range(7):
        client.set_terminated(client.create_run(experiment.experiment_id).info.run_id)
    client.reader.drain()
    small = msgspec.structs.replace(client.reader.capabilities.limits, page_items_max=3)
    capabilities = msgspec.structs.replace(client.reader.capabilities, limits=small)
    client.reader.adapter.capabilities = lambda: capabilities  # type: ignore[method-assign]
    assert len(client.search_runs([experiment.experiment_id])) == 7
    page = client.search_runs([experiment.experiment_id], max_results=5)
    assert len(page) == 5
    assert len(client.search_runs([experiment.experiment_id], page_token=page.token)) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: tb.log_params([("a", 1)]),  # type: ignore[arg-type]
        lambda: tb.log_metrics([1]),  # type: ignore[arg-type]
        lambda: tb.set_tags("x"),  # type: ignore[arg-type]
        lambda: tb.log_batch(metrics=[("loss", 1.0)]),
        lambda: tb.log_batch(params=[("a", 1)]),
        lambda: tb.search_runs(filter_string=5),  # type: ignore[arg-type]
        lambda: tb.start_run(run_name=5, nested=True),  # type: ignore[arg-type]
        lambda: tb.start_run(tags="x", nested=True),  # type: ignore[arg-type]
        lambda: tb.Client().update_run(tb.active_run().info.run_id, "BAD"),  # type: ignore[union-attr]
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_with_the_next_step(call) -> None:  # type: ignore[no-untyped-def]
    with tb.start_run() as run:
        with pytest.raises(InvalidInput) as caught:
            call()
        tb.log_metric("after", 1.0)
    assert str(caught.value)
    if hasattr(caught.value, "__notes__"):
        assert caught.value.__notes__ == [f"hint: {caught.value.hint}"]
    assert tb.get_run(run.info.run_id).data.metrics == {"after": 1.0}


def test_a_params_other_value_is_refused_at_the_call_also_after_a_resume() -> None:
    with tb.start_run() as run:
        tb.log_param("a", 1)
    with pytest.raises(Conflict):
        tb.Client().log_param(run.info.run_id, "a", 2)
    with tb.start_run(run_id=run.info.run_id) as resumed, pytest.raises(Conflict, match="'1'"):
        tb.log_param("a", 3)
    assert resumed.data.params == {"a": "1"}


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        tb.set_tracking_uri(tmp_path / "file.py")


def test_a_long_history_prints_in_one_line() -> None:
    with tb.start_run() as run:
        for step in range(1000):
            tb.log_metric("loss", 1.0, step=step)
    assert repr(tb.Client().get_metric_columns(run.info.run_id, "loss")) == (
        "<MetricColumns 1,000 points, steps 0 to 999>"
    )
