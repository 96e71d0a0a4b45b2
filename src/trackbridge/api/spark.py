"""A registered model as a function of Spark's, for batches and for streams."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trackbridge.api import models
from trackbridge.api.extras import require, require_package
from trackbridge.api.flavors import load_mlflow, read_mlmodel
from trackbridge.domain.secrets import redact, shown
from trackbridge.errors import ConfigError, InvalidInput
from trackbridge.operations.spark_sessions import context_of, said, use_this_python

OPERATION = "spark_udf"
PURPOSE = "a model as a function of Spark"
PYTHON_FLAVOR = "python_function"
LOCAL = "local"


def spark_udf(
    spark: Any,
    model_uri: str | os.PathLike[str],
    result_type: Any = None,
    env_manager: str | None = None,
    params: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Return a function of Spark's that scores columns with a model of any backend.

    The model's files come to this machine, are checked by their digest, and are brought to the executors by
    Spark: these need no credentials of the backend. An alias or a stage is looked up once, here; a stream
    goes on with the version that it began with. It works on top of ``mlflow.pyfunc.spark_udf``.

    ::

        score = tb.spark_udf(spark, "models:/wine@champion")
        wines.withColumn("kind", score(*feature_columns)).write.parquet("kinds")

    Args:
        spark: A Spark session that reaches its executors: not one of Spark Connect.
        model_uri: ``models:/wine/3``, ``models:/wine@champion``, ``runs:/RUN_ID/PATH``, or a path.
        result_type: Type of the column, Spark's own or its text such as ``"double"`` or
            ``"array<double>"``; by default that of the model's signature, else ``double``.
        env_manager: ``local`` (the default) scores in the executors' own Python, which needs mlflow and the
            model's packages; ``virtualenv``, ``uv`` or ``conda`` make an environment of the model's
            requirements there.
        params: Parameters of the model's signature.
        options: Further arguments of ``mlflow.pyfunc.spark_udf``, such as ``extra_env``.

    Returns:
        The function: of columns, or of none for those that the signature names. Its attribute ``metadata`` is
        mlflow's description of the model.

    Raises:
        MissingExtra: pyspark, pandas or mlflow is missing.
        NotFound: There is no such model.
        Rejected: Its files are not those that were registered.
        InvalidInput: It has no flavor ``python_function``, or mlflow refuses an argument.
        ConfigError: The session does not reach its executors, or their Python is another one or lacks mlflow.
    """
    require("pyspark.sql", extra="spark", purpose=PURPOSE)
    spark_errors = require("pyspark.errors", extra="spark", purpose=PURPOSE)
    require_package("pyarrow", install="pyarrow", purpose=PURPOSE)
    mlflow = load_mlflow()
    context = context_of(spark, operation=OPERATION)
    path = Path(models.download_model(model_uri))
    _check_model(path, os.fspath(model_uri), is_local=env_manager in (None, LOCAL))
    use_this_python(context)
    _check_executors(context)
    # Spark reads the result's type.
    refused = (mlflow.exceptions.MlflowException, spark_errors.PySparkException)
    try:
        return mlflow.pyfunc.spark_udf(
            spark,
            str(path),
            result_type=result_type,
            env_manager=env_manager,
            params=None if params is None else dict(params),
            **options,
        )
    except refused as error:
        raise InvalidInput(
            f"mlflow makes no function of {os.fspath(model_uri)!r}: {shown(str(error))}",
            operation=OPERATION,
            hint="see the arguments of mlflow.pyfunc.spark_udf",
        ) from error


def _check_model(path: Path, name: str, *, is_local: bool) -> None:
    """Raise unless a model can be called as a Python function; warn where it was made by another Python."""
    flavors = read_mlmodel(path).get("flavors") or {}
    if PYTHON_FLAVOR not in flavors:
        has = f"has only {', '.join(sorted(flavors))}" if flavors else "is not in the MLmodel format"
        raise InvalidInput(
            f"{name!r} cannot be called as a Python function: it {has}",
            operation=OPERATION,
            hint="log it with tb.log_model, by a flavor of mlflow's that has python_function",
        )
    made_by = str(flavors[PYTHON_FLAVOR].get("python_version", ""))
    if is_local and made_by and _minor(made_by) != _minor(platform.python_version()):
        warnings.warn(
            f"{name} was saved by Python {made_by}, and is loaded by {platform.python_version()}: what was "
            "pickled may not load. env_manager='virtualenv' makes an environment with its own Python",
            stacklevel=3,
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _check_executors(context: Any) -> None:
    """Ask an executor whether its Python can load models, rather than fail in the midst of a batch.

    Raises:
        ConfigError: It cannot.
    """
    try:
        (missing,) = context.parallelize([""], 1).mapPartitions(_asker()).collect()
    except Exception as error:  # py4j's, pyspark's, or of a connection that is closed
        text = said(error)
        is_other = "PYTHON_VERSION_MISMATCH" in text
        problem = "driver and executors have different Pythons" if is_other else "the executors do not answer"
        hint = "set PYSPARK_PYTHON to a Python of the driver's version" if is_other else "see their logs"
        raise ConfigError(f"{problem}: {text}", operation=OPERATION, hint=hint) from error
    if missing:
        raise ConfigError(
            f"the executors' Python cannot score: {redact(missing)}",
            operation=OPERATION,
            hint="set PYSPARK_PYTHON to a Python that has mlflow, pandas and pyarrow, or install them there",
        )


def _asker() -> Callable[[Iterator[str]], Iterator[str]]:
    """Return what asks an executor. It is sent by its code, for trackbridge need not be there."""

    def ask(_: Iterator[str]) -> Iterator[str]:
        import importlib.util
        import sys

        names = [name for name in ("mlflow", "pandas", "pyarrow") if importlib.util.find_spec(name) is None]
        yield f"{sys.executable} lacks {' and '.join(names)}" if names else ""

    return ask
