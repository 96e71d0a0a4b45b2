"""mlflow's own client code loads what was logged here, and what mlflow wrote is loaded here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from tests.unit.api.conftest import project
from trackbridge.api import flavors
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.errors import ConfigError, InvalidInput, MissingExtra

__all__ = ["project"]

Frame = Any
Case = tuple[Any, Frame, Callable[[Any, Any], Any]]


@pytest.fixture(scope="module")
def frame() -> Frame:
    import numpy as np
    import pandas as pd

    values = np.random.default_rng(7).normal(size=(1000, 4))
    return pd.DataFrame(values, columns=["alcohol", "acid", "ash", "hue"])


@pytest.fixture(scope="module")
def target(frame: Frame) -> Any:
    return (frame["alcohol"] + frame["acid"] ** 2 > 0.5).astype(int)


def sklearn_pipeline(frame: Frame, target: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, target)


def xgboost_classifier(frame: Frame, target: Any) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1).fit(frame, target)


def lightgbm_classifier(frame: Frame, target: Any) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(frame, target)


def torch_network(frame: Frame, target: Any) -> Any:
    import torch

    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))


def by_predict(model: Any, frame: Frame) -> Any:
    return model.predict(frame)


def by_tensor(model: Any, frame: Frame) -> Any:
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(frame.to_numpy(dtype="float32"))).numpy()


MODELS = [
    pytest.param("sklearn", sklearn_pipeline, by_predict, id="sklearn"),
    pytest.param("xgboost", xgboost_classifier, by_predict, id="xgboost"),
    pytest.param("lightgbm", lightgbm_classifier, by_predict, id="lightgbm"),
    pytest.param("pytorch", torch_network, by_tensor, id="pytorch"),
]


def same(left: Any, right: Any) -> bool:
    import numpy as np

    return bool(np.array_equal(np.asarray(left), np.asarray(right)))


@pytest.mark.parametrize(("flavor", "train", "predict"), MODELS)
def test_round_trip(
    project: Path,
    frame: Frame,
    target: Any,
    flavor: str,
    train: Callable[[Any, Any], Any],
    predict: Callable[[Any, Any], Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    model = train(frame, target)
    expected = predict(model, frame)
    capfd.readouterr()
    example = frame.to_numpy(dtype="float32")[:2] if flavor == "pytorch" else frame.head(2)
    options = {"serialization_format": "pickle"} if flavor == "pytorch" else {}
    with tb.start_run():
        info = tb.log_model(
            model, input_example=example, training_data=frame, registered_model_name="wine", **options
        )
    assert set(info.flavors) == {"python_function", flavor}
    assert info.signature is not None
    ours = tb.load_model("models:/wine/1")
    assert type(ours) is type(model)
    assert same(predict(ours, frame), expected)

    # mlflow's own code, over our files.
    folder = tb.download_model("models:/wine/1", project / "copy")
    theirs = getattr(mlflow, flavor).load_model(folder)
    assert same(predict(theirs, frame), expected)
    generic = mlflow.pyfunc.load_model(folder)
    payload = frame.to_numpy(dtype="float32") if flavor == "pytorch" else frame
    assert same(generic.predict(payload), expected)
    assert same(tb.load_model("models:/wine/1", "pyfunc").predict(payload), expected)
    assert mlflow.models.get_model_info(folder).signature is not None
    assert capfd.readouterr().out == ""
    left_by_mlflow = {"mlruns", "mlflow.db", "mlartifacts"} & {path.name for path in project.iterdir()}
    assert left_by_mlflow == set()


@pytest.mark.parametrize(("flavor", "train", "predict"), MODELS)
def test_what_mlflow_wrote(
    project: Path,
    frame: Frame,
    target: Any,
    flavor: str,
    train: Callable[[Any, Any], Any],
    predict: Callable[[Any, Any], Any],
) -> None:
    import mlflow

    model = train(frame, target)
    options = {"serialization_format": "pickle"} if flavor == "pytorch" else {}
    library = getattr(mlflow, flavor)
    library.save_model(model, str(project / "theirs"), pip_requirements=["scikit-learn"], **options)
    version = tb.register_model(project / "theirs", "wine")
    assert version.digest == digest_of_path(project / "theirs")
    assert same(predict(tb.load_model("models:/wine/1"), frame), predict(model, frame))
    assert same(predict(tb.load_model(project / "theirs"), frame), predict(model, frame))


@pytest.fixture
def tracking_server(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{project / 'theirs.db'}")
    yield project
    mlflow.end_run()
    mlflow.set_tracking_uri(None)


def test_a_model_that_mlflow_logged_has_the_same_digest_under_other_ids(
    tracking_server: Path, frame: Frame, target: Any
) -> None:
    import mlflow

    model = sklearn_pipeline(frame, target)
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(model, "model", pip_requirements=["scikit-learn"])
    theirs = Path(mlflow.artifacts.download_artifacts(logged.model_uri, dst_path=str(tracking_server / "d")))
    text = (theirs / "MLmodel").read_text()
    assert "run_id" in text
    before = digest_of_path(theirs)
    lines = [line for line in text.splitlines() if not line.startswith(("run_id", "model_id", "model_uuid"))]
    (theirs / "MLmodel").write_text("\n".join([*lines, "run_id: another", "model_uuid: another", ""]))
    assert digest_of_path(theirs) == before
    assert same(tb.load_model(theirs).predict(frame), model.predict(frame))


# pyfunc.


def test_a_python_model(project: Path, frame: Frame) -> None:
    import mlflow

    class Doubling(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input * 2

    with tb.start_run():
        info = tb.log_model(Doubling(), "double", input_example=frame.head(2))
    assert set(info.flavors) == {"python_function"}
    loaded = tb.load_model(info.model_uri)
    assert same(loaded.predict(frame), frame * 2)
    theirs = mlflow.pyfunc.load_model(tb.download_model(info.model_uri, project / "copy"))
    assert same(theirs.predict(frame), frame * 2)


class Tripling:
    def __call__(self, values: Any) -> Any:
        return values * 3


def test_anything_that_can_be_called(project: Path, frame: Frame) -> None:
    def halving(model_input: Any) -> Any:
        import numpy

        return numpy.asarray(model_input) / 2

    with tb.start_run():
        function = tb.log_model(halving, "half")
        instance = tb.log_model(Tripling(), "triple")
    assert same(tb.load_model(function.model_uri).predict(frame), frame / 2)
    assert same(tb.load_model(instance.model_uri).predict(frame), frame * 3)
    assert any(line.startswith("numpy==") for line in function.requirements)


def test_a_pipeline_with_classes_of_others(project: Path, frame: Frame, target: Any) -> None:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.pipeline import make_pipeline
    from xgboost import XGBClassifier

    class Negating(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, values: Any, labels: Any = None) -> Any:
            return self

        def transform(self, values: Any) -> Any:
            return -values

    model = make_pipeline(Negating(), XGBClassifier(n_estimators=3, n_jobs=1)).fit(frame, target)
    with tb.start_run():
        info = tb.log_model(model)
    assert set(info.flavors) == {"python_function", "sklearn"}
    assert same(tb.load_model(info.model_uri).predict(frame), model.predict(frame))
    assert any(line.startswith("xgboost") for line in info.requirements)


# What goes with a model.


def test_the_signature_is_inferred_from_the_training_data(project: Path, frame: Frame, target: Any) -> None:
    model = sklearn_pipeline(frame, target)
    with tb.start_run() as run:
        info = tb.log_model(model, training_data=frame.assign(quality=target))
    assert info.signature.inputs.input_names() == ["alcohol", "acid", "ash", "hue"]
    baseline = json.loads(
        (Path(tb.download_model(info.model_uri)) / "bridge-baseline.json").read_text("utf-8")
    )
    names = [column["name"] for column in baseline["columns"]]
    assert names == ["alcohol", "acid", "ash", "hue", "quality"]
    assert len(tb.get_run(run.info.run_id).inputs.dataset_inputs) == 1


def test_requirements_are_those_that_are_installed(project: Path, frame: Frame, target: Any) -> None:
    from importlib.metadata import version

    import sklearn

    model = sklearn_pipeline(frame, target)
    with tb.start_run():
        read = tb.log_model(model).requirements
        named = tb.log_model(model, requirements=["scikit-learn>=1"]).requirements
    assert f"scikit-learn=={sklearn.__version__}" in read
    assert f"mlflow=={version('mlflow')}" in read
    assert len({line.partition("==")[0] for line in read}) == len(read)
    assert "scikit-learn>=1" in named


def test_metadata_reaches_mlflow(project: Path, frame: Frame, target: Any) -> None:
    with tb.start_run():
        info = tb.log_model(sklearn_pipeline(frame, target), metadata={"team": "red"})
    assert info.metadata == {"team": "red"}


def test_wrong_flavors(project: Path, frame: Frame, target: Any) -> None:
    model = sklearn_pipeline(frame, target)
    with tb.start_run():
        with pytest.raises(InvalidInput, match="no flavor"):
            tb.log_model(model, flavor="os; import os")
        with pytest.raises(InvalidInput, match="no flavor"):
            tb.log_model(model, flavor="tracking")
        with pytest.raises(MissingExtra):
            tb.log_model(model, flavor="absent")
        uri = tb.log_model(model).model_uri
    with pytest.raises(InvalidInput, match="was not saved with"):
        tb.load_model(uri, "xgboost")


def test_the_flavor_is_that_of_the_first_class_that_is_known(frame: Frame, target: Any) -> None:
    from sklearn.base import BaseEstimator

    class Mine(BaseEstimator):  # type: ignore[misc]
        pass

    assert flavors.flavor_of(Mine()) == "sklearn"
    assert flavors.flavor_of(xgboost_classifier(frame, target).get_booster()) == "xgboost"
    assert flavors.flavor_of(lightgbm_classifier(frame, target).booster_) == "lightgbm"


LIGHT = """
import sys
import trackbridge as tb
from trackbridge.api import models

heavy = {"mlflow", "numpy", "pandas", "yaml", "starlette"} & set(sys.modules)
assert not heavy, heavy
"""


def test_nothing_heavy_is_imported_before_a_model_needs_it() -> None:
    subprocess.run([sys.executable, "-c", LIGHT], check=True, timeout=60)


def test_what_mlflow_refuses_is_told_as_our_error(project: Path) -> None:
    with tb.start_run():
        with pytest.raises(InvalidInput, match="mlflow cannot save"):
            tb.log_model(lambda values: values, input_example=object())
        with pytest.raises(ConfigError, match="cannot be read"):
            tb.log_model(lambda values: values, requirements="numpy")


def test_requirements_in_a_file(project: Path) -> None:
    (project / "needs.txt").write_text("# what it needs\nnumpy\n\n")
    with tb.start_run():
        info = tb.log_model(lambda values: values, requirements="needs.txt")
    assert "numpy" in info.requirements
