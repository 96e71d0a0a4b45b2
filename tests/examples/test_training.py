"""The examples of trainings: what each has tracked, and that one which is killed goes on."""

from __future__ import annotations

import difflib
import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import trackbridge as tb
from tests.examples.running import EXAMPLES, RUN, ran, started
from tests.support.processes import eventually
from tests.support.warm_python import warm_python

pytestmark = pytest.mark.timeout(600)
IMPORTED = (
    *("sklearn.datasets", "sklearn.linear_model", "sklearn.model_selection", "sklearn.pipeline", "pandas"),
    *("torch", "keras", "xgboost", "mlflow.sklearn", "mlflow.pytorch", "mlflow.keras", "mlflow.xgboost"),
)
"""What takes most of the seconds of an example, done once for all of them."""
BATCHES = 23
"""Of 64 pictures, in an epoch of pytorch_digits.py."""
READ_DIGITS = """
import sys, numpy, trackbridge as tb
from sklearn.datasets import load_digits
digits, axis, count = load_digits(), int(sys.argv[2]), int(sys.argv[3])
images = numpy.expand_dims(digits.images[-count:], axis).astype("float32") / 16
model = tb.load_model(sys.argv[1], flavor="pyfunc")
print((model.predict(images).argmax(axis=1) == digits.target[-count:]).mean())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """An interpreter for examples that need not import what they train with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")  # it is fixed by the import
        with warm_python(tmp_path_factory.mktemp("warm"), IMPORTED) as path:
            yield path, "-c", RUN


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """The variables of a program that tracks to a folder of its own."""
    folder = str(tmp_path / "runs")
    # Waiting is only ever as long as it has to be: a busy machine takes longer to deliver.
    return {"BRIDGE_TRACKING_URI": folder, "BRIDGE_HOME": folder, "BRIDGE_DELIVERY_EXIT_WAIT_S": "120"}


@pytest.fixture
def client(store: dict[str, str]) -> tb.Client:
    return tb.Client(store["BRIDGE_TRACKING_URI"])


def runs_of(client: tb.Client, experiment: str) -> list[tb.Run]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return client.search_runs([found.experiment_id])


def run_of(client: tb.Client, experiment: str) -> tb.Run:
    """Return the only run of an experiment, which has to be finished."""
    (run,) = runs_of(client, experiment)
    assert run.info.status == "FINISHED"
    return run


def points(client: tb.Client, run: tb.Run, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))


def content(client: tb.Client, run: tb.Run, path: str, folder: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, path, folder)).read_text(encoding="utf-8")


def right_of_loaded(folder: Path, python: tuple[str, ...], store: dict[str, str], *words: str) -> float:
    """Load a model from the registry in a process of its own; return its share of right answers."""
    script = folder / "read_digits.py"
    script.write_text(READ_DIGITS, encoding="utf-8")
    printed = ran(folder, str(script), *words, variables=store, python=python)
    return float(printed.splitlines()[-1])  # before it, Keras shows its progress


def test_quickstart(
    tmp_path: Path, python: tuple[str, ...], store: dict[str, str], client: tb.Client
) -> None:
    told = ran(tmp_path, "quickstart.py", variables=store, python=python)
    runs = {run.info.run_name: run for run in runs_of(client, "quickstart")}
    assert sorted(runs) == ["rate-0.0001", "rate-0.001", "rate-0.01"]
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert run.data.params == {"rate": name.removeprefix("rate-"), "epochs": "20"}
        losses = points(client, run, "loss")
        assert [step for step, _ in losses] == list(range(20))
        assert losses[-1][1] < losses[0][1]
    best = min(runs.values(), key=lambda run: run.data.metrics["test_loss"])
    champion = client.get_model_version_by_alias("wine", "champion")
    assert (champion.version, champion.run_id) == ("1", best.info.run_id)
    right = round(best.data.metrics["accuracy"] * 45)
    assert told == f"{best.info.run_name} is wine/1, the champion: {right} of 45 right\n"


def test_a_pytorch_training_that_is_killed_goes_on(
    tmp_path: Path, python: tuple[str, ...], store: dict[str, str], client: tb.Client
) -> None:
    with started(tmp_path, "pytorch_digits.py", "--epochs", "999", variables=store, python=python) as killed:
        assert killed.stdout is not None
        run_id = killed.stdout.readline().split()[1].rstrip(",")
        while (line := killed.stdout.readline()) and not line.startswith("epoch 1:"):
            pass
        killed.kill()
        assert line, killed.stderr and killed.stderr.read()
    eventually(lambda: client.get_run(run_id).info.status == "KILLED", "the end of the run")
    kept = len(client.list_artifacts(run_id, "checkpoints"))
    assert kept >= 1
    arguments = ("--epochs", str(kept + 2), "--resume", run_id)
    told = ran(tmp_path, "pytorch_digits.py", *arguments, variables=store, python=python)
    assert told.startswith(f"run {run_id}, from epoch {kept} on\nepoch {kept}: ")
    run = run_of(client, "digits")
    assert run.info.run_id == run_id
    assert run.data.params == {"batch": "64", "rate": "0.01", "device": run.data.params["device"]}
    # Steps after the last checkpoint were taken twice, with the same result: nothing of the state was lost.
    losses = set(points(client, run, "loss"))
    assert sorted(step for step, _ in losses) == list(range((kept + 2) * BATCHES))
    accuracies = dict(points(client, run, "accuracy"))
    assert sorted(accuracies) == list(range(kept + 2))
    assert len(client.list_artifacts(run_id, "checkpoints")) == kept + 2
    right = right_of_loaded(tmp_path, python, store, "models:/digits/1", "1", "360")
    assert right == pytest.approx(accuracies[kept + 1])
    assert right > 0.6


def test_keras(tmp_path: Path, python: tuple[str, ...], store: dict[str, str], client: tb.Client) -> None:
    told = ran(tmp_path, "keras_digits.py", variables=store, python=python)
    run = run_of(client, "digits")
    assert run.data.params == {
        "layers": "4",
        "weights": "2730",
        "epochs": "5",
        "rate": run.data.params["rate"],
    }
    assert float(run.data.params["rate"]) == pytest.approx(0.01)
    epochs = [step for step, _ in points(client, run, "epoch/val_accuracy")]
    assert epochs == list(range(len(epochs)))
    assert [step for step, _ in points(client, run, "loss")] == list(range(len(epochs) * 9))
    assert json.loads(content(client, run, "network.json", tmp_path))["class_name"] == "Sequential"
    accuracy = run.data.metrics["test_accuracy"]
    assert told == f"{accuracy:.1%} right\n"
    assert "signature" in content(client, run, "model/MLmodel", tmp_path)
    right = right_of_loaded(tmp_path, python, store, "models:/digits-keras/1", "3", "360")
    assert right == pytest.approx(accuracy)


def test_xgboost(tmp_path: Path, python: tuple[str, ...], store: dict[str, str], client: tb.Client) -> None:
    told = ran(tmp_path, "xgboost_wine.py", variables=store, python=python)
    run = run_of(client, "wine")
    histories = {key: points(client, run, key) for key in run.data.metrics}
    assert sorted(histories) == ["test/merror", "test/mlogloss", "train/merror", "train/mlogloss"]
    for history in histories.values():
        assert [step for step, _ in history] == list(range(15))
    assert told == f"{1 - histories['test/merror'][-1][1]:.1%} right on 45 wines\n"
    contexts = {given.tags["mlflow.data.context"]: given.name for given in run.inputs.dataset_inputs}
    assert contexts == {"training": "dataset", "test": "wine"}
    table = json.loads(content(client, run, "importances.json", tmp_path))
    assert table["columns"] == ["column", "gain"]
    assert all(gain > 0 for _, gain in table["data"])
    assert client.get_model_version("wine-trees", 1).run_id == run.info.run_id


def test_sklearn_by_autolog(
    tmp_path: Path, python: tuple[str, ...], store: dict[str, str], client: tb.Client
) -> None:
    told = ran(tmp_path, "sklearn_autolog.py", variables=store, python=python)
    run = run_of(client, "autolog")
    assert run.data.params["logisticregression__C"] == "0.5"
    accuracy = run.data.metrics["Pipeline_score_test_x"]
    assert told == f"{accuracy:.1%} right\n"
    assert 0.9 < run.data.metrics["training_score"] <= 1
    assert {given.tags["mlflow.data.context"] for given in run.inputs.dataset_inputs} == {"train"}
    assert "signature" in content(client, run, "model/MLmodel", tmp_path)


def test_an_mlflow_program_moves_by_one_line() -> None:
    before, after = (
        (EXAMPLES / "mlflow_program" / name).read_text(encoding="utf-8").splitlines()
        for name in ("before.py", "after.py")
    )
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert changed == [
        '- mlflow.set_tracking_uri("sqlite:///mlflow.db")',
        '+ mlflow.set_tracking_uri("bridge:")',
    ]


def test_the_moved_program_tracks_the_same(
    tmp_path: Path, python: tuple[str, ...], store: dict[str, str], client: tb.Client
) -> None:
    told = [
        ran(tmp_path, f"mlflow_program/{name}.py", variables=store, python=python)
        for name in ("before", "after")
    ]
    assert told[0] == told[1]
    run = run_of(client, "iris")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        params = dict(database.execute("SELECT key, value FROM params"))
        accuracies = database.execute("SELECT step, value FROM metrics ORDER BY step").fetchall()
        versions = database.execute("SELECT name, version FROM model_versions").fetchall()
    assert run.data.params == params
    assert points(client, run, "accuracy") == accuracies
    assert len(accuracies) == 10
    assert not any(math.isnan(value) for _, value in accuracies)
    assert run.data.tags["data"] == "iris"
    theirs = json.loads(next((tmp_path / "mlruns").rglob("weights.json")).read_text(encoding="utf-8"))
    assert json.loads(content(client, run, "weights.json", tmp_path)) == theirs
    champion = client.get_model_version_by_alias("iris", "champion")
    assert [(champion.name, int(champion.version))] == versions
    assert champion.run_id == run.info.run_id
