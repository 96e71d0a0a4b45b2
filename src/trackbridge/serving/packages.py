"""The packages of the extras ``serve``, ``mlflow`` and ``otel``, imported only where a model is served."""

from __future__ import annotations

import importlib
from typing import Any

from trackbridge.errors import MissingExtra

SERVE_PACKAGES = ("uvicorn", "httptools", "uvloop", "prometheus_client")


def require(module: str, *, extra: str) -> Any:
    """Import a module of one of trackbridge's extras.

    Raises:
        MissingExtra: It is not installed or cannot be imported; the hint is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"serving a model needs {module}, which cannot be imported ({error})",
            hint=f"pip install 'trackbridge[{extra}]'",
        ) from error


def require_all(*, is_tracing: bool) -> None:
    """Import everything that a server needs before a worker is forked.

    Raises:
        MissingExtra: One is missing; the hint is the command that installs it.
    """
    for module in SERVE_PACKAGES:
        require(module, extra="serve")
    for module in ("mlflow.pyfunc", "mlflow.pyfunc.scoring_server", "pandas"):
        require(module, extra="mlflow")
    if is_tracing:
        require("opentelemetry.sdk.trace.export", extra="otel")
        require("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="otel")
