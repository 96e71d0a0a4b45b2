"""Which flavor an object has, and which packages it needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

import hypothesis
import pytest

from trackbridge.api import requirements
from trackbridge.api.flavors import flavor_of, native_flavor
from trackbridge.api.requirements import installed_versions, packages_of
from trackbridge.errors import InvalidInput


def instance(*modules: str) -> Any:
    """Return an object whose classes come from these modules, the nearest first."""
    kind: type = object
    for module in reversed(modules):
        kind = type("Model", (kind,), {"__module__": module})
    return kind()


@pytest.mark.parametrize(
    ("modules", "flavor"),
    [
        (("sklearn.pipeline", "sklearn.base"), "sklearn"),
        (("xgboost.sklearn", "sklearn.base"), "xgboost"),
        (("lightgbm.sklearn", "sklearn.base"), "lightgbm"),
        (("__main__", "torch.nn.modules.module"), "pytorch"),
        (("transformers.pipelines.base",), "transformers"),
        (("transformers.models.bert", "torch.nn.modules.module"), "transformers"),
        (("onnx.onnx_ml_pb2", "google.protobuf.message"), "onnx"),
        (("tensorflow.python.module",), "tensorflow"),
        (("__main__", "mlflow.pyfunc.model"), "pyfunc"),
        (("mine", "sklearn.base"), "sklearn"),
    ],
)
def test_flavor(modules: tuple[str, ...], flavor: str) -> None:
    assert flavor_of(instance(*modules)) == flavor


@pytest.mark.parametrize(("number", "flavor"), [("3.4.1", "keras"), ("2.15.0", "tensorflow")])
def test_flavor_of_keras(number: str, flavor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = ModuleType("keras")
    keras.__version__ = number  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", keras)
    assert flavor_of(instance("keras.src.models.sequential", "torch.nn.modules.module")) == flavor


def test_what_can_be_called_and_what_not() -> None:
    assert flavor_of(lambda values: values) == "pyfunc"
    with pytest.raises(InvalidInput) as caught:
        flavor_of(instance("mine"))
    assert "flavor=" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("flavors", "flavor"),
    [
        ({"python_function": {"loader_module": "mlflow.sklearn"}, "sklearn": {}}, "sklearn"),
        ({"keras": {}, "python_function": {"loader_module": "mlflow.tensorflow"}}, "keras"),
        ({"python_function": {"loader_module": "mlflow.pyfunc.model"}}, "pyfunc"),
        ({"onnx": {}}, "onnx"),
        ({"python_function": None}, "pyfunc"),
    ],
)
def test_the_flavor_that_a_model_was_saved_with(flavors: dict[str, Any], flavor: str) -> None:
    assert native_flavor(flavors) == flavor


def imports_inside(values: Any) -> Any:
    import click

    return click.echo(values)


def refers(values: Any) -> Any:
    return hypothesis.note(values)


def calls_another(values: Any) -> Any:
    return imports_inside(values)


class Wrapping:
    def __init__(self, inner: Any) -> None:
        self.steps = [("inner", {"model": inner})]

    def predict(self, values: Any) -> Any:
        return refers(values)


@pytest.mark.parametrize(
    ("model", "package"),
    [
        (imports_inside, "click"),
        (refers, "hypothesis"),
        (calls_another, "click"),
        (Wrapping(imports_inside), "click"),
        (Wrapping(3), "hypothesis"),
        (Wrapping(instance("msgspec.inner")), "msgspec"),
        (Wrapping, "hypothesis"),
    ],
)
def test_packages_are_read_off(model: Any, package: str) -> None:
    found = packages_of(model)
    assert package in found
    assert not found & {"__main__", "builtins", "typing", "trackbridge"}


def test_versions_are_those_that_are_installed() -> None:
    lines = installed_versions(["click", "absent", "tests"], known=["msgspec>=0.1"])
    assert lines == ["msgspec>=0.1", f"click=={version('click')}"]


def test_what_is_named_already_is_not_named_again(monkeypatch: pytest.MonkeyPatch) -> None:
    distributions = {"xgboost": ("xgboost-cpu",), "sklearn": ("scikit-learn",)}
    monkeypatch.setattr(requirements, "_distributions", lambda: distributions)
    monkeypatch.setattr(requirements.metadata, "version", lambda name: "1.0+cpu")
    assert installed_versions(["xgboost", "sklearn"], known=["xgboost==1"]) == [
        "xgboost==1",
        "scikit-learn==1.0",
    ]


def test_an_object_that_holds_itself_and_a_large_one_come_to_an_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    packages_of(Wrapping(loop))
    packages_of(Wrapping([[object() for _ in range(10)] for _ in range(100_000)]))


def test_public_names_are_there() -> None:
    import trackbridge

    for name in trackbridge.__all__:
        assert getattr(trackbridge, name) is not None
    code = "import sys, trackbridge; assert 'trackbridge.api' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_class_that_names_no_module() -> None:
    kind = type("Model", (), {"__module__": None, "__call__": lambda self, values: values})
    assert flavor_of(kind()) == "pyfunc"
    assert packages_of(kind()) >= set()


def test_a_class_instead_of_an_object() -> None:
    with pytest.raises(InvalidInput, match="is a class") as caught:
        flavor_of(dict)
    assert caught.value.hint == "log an object of it: dict()"
