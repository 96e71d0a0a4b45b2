"""A model object to a folder in the MLmodel format, and back, by mlflow's own flavors.

The flavor of an object is that of the first of its classes (in the order in which Python looks a method up)
that a library below is known for; so an ``XGBClassifier``, which is a scikit-learn estimator as well, is
XGBoost's. What is none of these and can be called is a pyfunc.

**Requirements** are read off here rather than by mlflow, which starts another Python and loads the model in
it (6 to 10 s, against milliseconds): the packages that the flavor needs, those that the classes of the object
and of what it holds come from, those that the code of a pyfunc imports or refers to, and numpy, pandas and
scipy where they are loaded, each in the version that is installed. What is only imported by a name that is
made at run time is not seen: name it in ``requirements=[...]``.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import os
import shutil
import sys
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trackbridge.api.extras import require
from trackbridge.api.requirements import installed_versions, packages_of
from trackbridge.domain.model_digest import MLMODEL
from trackbridge.domain.secrets import shown
from trackbridge.errors import InvalidInput
from trackbridge.operations.submit import requirement_lines

PYFUNC = "pyfunc"
_KERAS = "keras"
FLAVORS: Mapping[str, str] = {
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "transformers": "transformers",
    "sklearn": "sklearn",
    "torch": "pytorch",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "onnx": "onnx",
    "catboost": "catboost",
    "statsmodels": "statsmodels",
}
"""mlflow's name of the flavor by the top package of a class. Other flavors of mlflow are named explicitly."""

_MLFLOW = "mlflow"
_KERAS_OF_ITS_OWN = 3  # before, Keras was a part of tensorflow, and so is mlflow's flavor
_SILENCED = ("mlflow", "mlflow.utils.requirements_utils", "mlflow.models.model", "mlflow.pyfunc")


def flavor_of(model: Any) -> str:
    """Return mlflow's name of the flavor of an object.

    Raises:
        InvalidInput: No flavor is known for it.
    """
    if isinstance(model, type):
        raise InvalidInput(
            f"{model.__name__} is a class, not a model",
            operation="log_model",
            hint=f"log an object of it: {model.__name__}()",
        )
    for kind in type(model).__mro__:
        module = str(kind.__module__).partition(".")[0]
        if module == "keras" and _keras_version() < _KERAS_OF_ITS_OWN:
            return "tensorflow"
        if module in FLAVORS:
            return FLAVORS[module]
        if str(kind.__module__).startswith("mlflow.pyfunc"):
            return PYFUNC
    if callable(model):
        return PYFUNC
    raise InvalidInput(
        f"no flavor is known for a model of type {type(model).__name__}",
        operation="log_model",
        hint="name mlflow's: flavor='prophet'; or wrap it in an mlflow.pyfunc.PythonModel, or log its folder",
    )


def _keras_version() -> int:
    version = getattr(sys.modules.get("keras"), "__version__", "0")
    return int(version.partition(".")[0])


def save(
    model: Any,
    folder: Path,
    *,
    flavor: str,
    run_id: str,
    name: str,
    requirements: Sequence[str] | str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> Any:
    """Write a model to a folder that does not exist yet, and return mlflow's ``Model`` that describes it.

    Args:
        model: The object.
        folder: Where to.
        flavor: mlflow's name of the flavor.
        run_id: The run that the model belongs to.
        name: The name that it is logged under.
        requirements: pip requirements; None reads them off.
        options: Further arguments of mlflow's ``save_model``.

    Raises:
        MissingExtra: mlflow is not installed.
        InvalidInput: mlflow has no such flavor.
    """
    mlflow = load_mlflow()
    module = _flavor_module(flavor)
    wanted = dict(options)
    named = ("pip_requirements", "extra_pip_requirements", "conda_env")
    if requirements is not None:
        wanted["pip_requirements"] = list(requirement_lines(requirements))
    elif not any(option in wanted for option in named):
        wanted["pip_requirements"] = read_requirements(model, module)
    if flavor == _KERAS and wanted.get("input_example") is not None:
        _prepare_keras(model, folder, wanted)

    def write(**more: Any) -> Any:
        description = mlflow.models.Model(run_id=run_id, artifact_path=name)
        arguments = {"mlflow_model": description, **wanted, **more}
        if flavor == PYFUNC:
            _save_pyfunc(module, model, folder, arguments)
        else:
            module.save_model(model, str(folder), **arguments)
        return description

    with quiet():
        try:
            return write()
        except mlflow.exceptions.MlflowException as error:
            # From mlflow 3.11 on scikit-learn models are skops files, which hold no class of others.
            if "untrusted types" not in str(error) or "serialization_format" in wanted:
                raise InvalidInput(
                    f"mlflow cannot save the model: {shown(str(error))}",
                    operation="log_model",
                    hint="see what mlflow says, and the arguments for its flavor",
                ) from error
            shutil.rmtree(folder)
            return write(serialization_format="cloudpickle")


def _prepare_keras(model: Any, folder: Path, options: dict[str, Any]) -> None:
    """Do what mlflow leaves out for Keras: make the folder of the example, infer the signature from it."""
    folder.mkdir()
    example = options["input_example"]
    if "signature" not in options and hasattr(example, "dtype"):  # of frames it takes no signature
        options["signature"] = infer_signature(example, model.predict(example, verbose=0))


def _save_pyfunc(module: Any, model: Any, folder: Path, options: dict[str, Any]) -> None:
    is_python_model = isinstance(model, module.PythonModel) or not _is_plain_callable(model)
    module.save_model(str(folder), python_model=model if is_python_model else _as_function(model), **options)


def _is_plain_callable(model: Any) -> bool:
    return callable(model) and not isinstance(model, type)


def _as_function(model: Any) -> Any:
    """Return a function that mlflow takes as a model: of one argument, or of its own two."""
    if isinstance(model, types.FunctionType):
        return model

    def predict(model_input):  # type: ignore[no-untyped-def]
        return model(model_input)

    return predict


def read_requirements(model: Any, module: Any) -> list[str]:
    """Return the pip requirements of a model without loading it anew."""
    takes = inspect.signature(module.get_default_pip_requirements).parameters
    options = {name: True for name in ("include_cloudpickle", "include_skops") if name in takes}
    defaults = [str(item) for item in module.get_default_pip_requirements(**options)]
    return installed_versions(packages_of(model), known=defaults)


def load(folder: Path, flavor: str | None) -> Any:
    """Load a model from a folder in the MLmodel format, as its library knows it.

    Args:
        folder: The folder with ``MLmodel``.
        flavor: mlflow's name of the flavor; ``pyfunc`` for the generic form; None for the model's own.

    Raises:
        MissingExtra: mlflow is not installed.
        InvalidInput: The model was not saved with this flavor.
    """
    mlflow = load_mlflow()
    flavors = mlflow.models.Model.load(str(folder / MLMODEL)).flavors
    wanted = flavor or native_flavor(flavors)
    if ("python_function" if wanted == PYFUNC else wanted) not in flavors:
        known = ", ".join(sorted({PYFUNC if name == "python_function" else name for name in flavors}))
        raise InvalidInput(
            f"the model was not saved with the flavor {wanted!r}",
            operation="load_model",
            hint=f"it has {known}",
        )
    with _untraced(), _without_hints():
        return _flavor_module(wanted).load_model(str(folder))


def native_flavor(flavors: Mapping[str, Any]) -> str:
    """Return the flavor that a model was saved with, ``pyfunc`` where it is only that."""
    loader = str((flavors.get("python_function") or {}).get("loader_module", ""))
    by_loader = loader.removeprefix("mlflow.").partition(".")[0]
    if by_loader in flavors:
        return by_loader
    return next((name for name in flavors if name != "python_function"), PYFUNC)


def read_mlmodel(folder: Path) -> dict[str, Any]:
    """Return what an ``MLmodel`` file says; nothing without the file, or without a reader of YAML."""
    file = folder / MLMODEL
    if not file.is_file():
        return {}
    try:
        yaml = importlib.import_module("yaml")  # mlflow brings it; without it nobody could load the model
    except ImportError:
        return {}
    try:
        content = yaml.safe_load(file.read_bytes())
    except yaml.YAMLError as error:
        raise InvalidInput(
            f"{file} is no valid MLmodel file: {error}", operation="log_model", hint="save the model again"
        ) from error
    return content if isinstance(content, dict) else {}


def load_mlflow() -> Any:
    """Import mlflow, which sends no usage reports from here.

    Raises:
        MissingExtra: It is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    require("mlflow.models", extra="mlflow", purpose="saving and loading models")
    return require(_MLFLOW, extra="mlflow", purpose="saving and loading models")


def _flavor_module(flavor: str) -> Any:
    if not flavor.isidentifier():
        raise _no_flavor(flavor)
    module = require(f"{_MLFLOW}.{flavor}", extra="mlflow", purpose=f"a model of the flavor {flavor!r}")
    if not hasattr(module, "save_model") or not hasattr(module, "load_model"):
        raise _no_flavor(flavor)
    return module


def _no_flavor(flavor: str) -> InvalidInput:
    return InvalidInput(
        f"mlflow has no flavor {flavor[:40]!r}",
        operation="log_model",
        hint=f"known are {', '.join(sorted({*FLAVORS.values(), PYFUNC}))}, and others of mlflow",
    )


def infer_signature(inputs: Any, outputs: Any = None) -> Any:
    """Return mlflow's signature of inputs and outputs."""
    with quiet():
        return load_mlflow().models.infer_signature(inputs, outputs)


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Keep mlflow 2 from turning its tracing on, and with it a store ``./mlruns``, each time it was off.

    Where a program has set tracing up itself, it is left alone.
    """
    provider = importlib.import_module("mlflow.tracing.provider")
    begun = getattr(provider, "_MLFLOW_TRACER_PROVIDER_INITIALIZED", None)
    reset = getattr(provider, "reset_tracer_setup", None)
    if begun is None or reset is None or getattr(begun, "done", True):
        yield
        return
    provider.disable()
    try:
        yield
    finally:
        reset()


@contextlib.contextmanager
def _without_hints() -> Iterator[None]:
    """Drop warnings that mlflow itself gives; it adds filters, so that they are sorted out afterwards."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        if f"{os.sep}mlflow{os.sep}" not in warning.filename:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep mlflow's hints, which are about its own way of logging, off the terminal."""
    loggers = [logging.getLogger(name) for name in _SILENCED]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with _untraced(), _without_hints():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
