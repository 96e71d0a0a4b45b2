"""``python -m trackbridge.serving.container [serve]``: the server as a container runs it, on every platform.

The model is used where it lies, nothing is installed and nothing is written but into the folder for temporary
files. What is said goes to stdout, one JSON line each. SIGTERM drains, also while the model is being loaded.

Variables of the environment; an empty one counts as none:

``BRIDGE_MODEL_PATH``
    The model's folder, or the one it is in; without it ``AZUREML_MODEL_DIR``, else ``/opt/ml/model``.
``BRIDGE_SERVING_HOST``, ``BRIDGE_SERVING_PORT``
    Where to listen; ``0.0.0.0``, and ``SAGEMAKER_BIND_TO_PORT``, else 8080.
``BRIDGE_SERVING_WORKERS``
    Processes that score; ``WORKER_COUNT`` (Azure's), ``SAGEMAKER_MODEL_SERVER_WORKERS``, else 1.
``BRIDGE_SERVING_TIMEOUT_S``
    Seconds that one request may take; ``SAGEMAKER_MODEL_SERVER_TIMEOUT``, else 60.
``BRIDGE_SERVING_QUEUE_MAX``
    Requests that may wait for a process; 64.
``BRIDGE_SERVING_BODY_BYTES_MAX``
    Bytes of a request; 32 MiB.
``BRIDGE_SERVING_DRAIN_S``
    Seconds after SIGTERM to answer what was accepted; 20.
``BRIDGE_SERVING_NAME``, ``BRIDGE_SERVING_MODEL``
    Name of the deployment and reference of the model, for logs and metrics.
``BRIDGE_SERVING_TOKEN_FILE``
    File with the token that callers must show; none.
``BRIDGE_SERVING_CAPTURE_PERCENT``, ``BRIDGE_SERVING_CAPTURE_FOLDER``
    Share of the payloads to keep, and where; none.
``BRIDGE_SERVING_TRACING``
    1: a span of each request to ``OTEL_EXPORTER_OTLP_ENDPOINT``.
``BRIDGE_TELEMETRY_SINKS``, ``BRIDGE_TELEMETRY_REQUESTS_PERCENT``, ``BRIDGE_SERVING_WINDOW_S``
    Where figures go (``cloudwatch``, ``otlp``, ``application_insights``), the share of requests that are told
    one by one, and how many seconds are summed up: nowhere, 0, 10.

Temporary files lie where Python puts them: ``TMPDIR``, else ``/tmp``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from trackbridge.domain.serving import MEBIBYTE, Capture, ServingSettings
from trackbridge.errors import BridgeError, ConfigError
from trackbridge.events.subscribers import read_sinks
from trackbridge.resolve.config import Settings
from trackbridge.serving import serve
from trackbridge.serving.logs import log, log_to, take_over_logging

MODEL_PATH = "/opt/ml/model"
"""Where SageMaker puts the model, and our images have it."""
PORT = 8080
BODY_BYTES_MAX = 32 * MEBIBYTE
"""More than any platform hands on to a container in one request (SageMaker: 25 MB)."""
STDOUT = 1
SWITCH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}

Value = TypeVar("Value")


class _Variables:
    """Reads variables of the environment; an empty one is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def first(self, *names: str) -> tuple[str, str] | None:
        """Return name and value of the first that is set."""
        return next(((name, self._environ[name]) for name in names if self._environ.get(name)), None)

    def text(self, *names: str) -> str | None:
        """Return the value of the first that is set."""
        found = self.first(*names)
        return found[1] if found else None

    def value(self, parse: Callable[[str], Value], what: str, default: Value, *names: str) -> Value:
        """Return the first that is set, parsed.

        Raises:
            ConfigError: It is not what it must be; names it.
        """
        found = self.first(*names)
        if found is None:
            return default
        try:
            return parse(found[1].strip().lower())
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"{found[0]} must be {what}, not {found[1]!r}",
                operation="serving.start",
                hint=f"change or remove {found[0]} in the container's environment",
            ) from error


def settings_of(environ: Mapping[str, str]) -> ServingSettings:
    """Return the settings that a container's variables ask for.

    Raises:
        ConfigError: One is not what it must be, or there is no model; names the variable.
    """
    variables = _Variables(environ)
    return ServingSettings(
        model_path=str(model_folder(Path(_model_path(variables)))),
        name=variables.text("BRIDGE_SERVING_NAME") or "model",
        model=variables.text("BRIDGE_SERVING_MODEL") or "",
        host=variables.text("BRIDGE_SERVING_HOST") or "0.0.0.0",
        port=variables.value(int, "a port", PORT, "BRIDGE_SERVING_PORT", "SAGEMAKER_BIND_TO_PORT"),
        token_file=variables.text("BRIDGE_SERVING_TOKEN_FILE"),
        says_ready=True,
        capture=_capture(variables),
        tracing=variables.value(SWITCH.__getitem__, "1 or 0", False, "BRIDGE_SERVING_TRACING"),
        **_numbers(variables),
    )


def _numbers(variables: _Variables) -> dict[str, Any]:
    """Return the settings that are numbers; without a variable, what ``ServingSettings`` says, but one."""
    whole = (
        ("workers", "BRIDGE_SERVING_WORKERS", "WORKER_COUNT", "SAGEMAKER_MODEL_SERVER_WORKERS"),
        ("queue_max", "BRIDGE_SERVING_QUEUE_MAX"),
        ("body_bytes_max", "BRIDGE_SERVING_BODY_BYTES_MAX"),
    )
    seconds = (
        ("request_timeout_s", "BRIDGE_SERVING_TIMEOUT_S", "SAGEMAKER_MODEL_SERVER_TIMEOUT"),
        ("drain_s", "BRIDGE_SERVING_DRAIN_S"),
        ("window_s", "BRIDGE_SERVING_WINDOW_S"),
    )
    given: dict[str, Any] = {"body_bytes_max": BODY_BYTES_MAX}
    for name, *names in whole:
        if variables.first(*names):
            given[name] = variables.value(int, "a whole number", 0, *names)
    for name, *names in seconds:
        if variables.first(*names):
            given[name] = variables.value(float, "a number of seconds", 0.0, *names)
    return given


def _capture(variables: _Variables) -> Capture | None:
    percent = variables.value(float, "a number from 0 to 100", 0.0, "BRIDGE_SERVING_CAPTURE_PERCENT")
    folder = variables.text("BRIDGE_SERVING_CAPTURE_FOLDER")
    if not percent:
        return None
    if folder is None:
        raise ConfigError(
            "BRIDGE_SERVING_CAPTURE_PERCENT asks for payloads to be kept, but not where",
            operation="serving.start",
            hint="set BRIDGE_SERVING_CAPTURE_FOLDER to a folder that the container may write",
        )
    return Capture(percent=percent, folder=folder)


def _model_path(variables: _Variables) -> str:
    return variables.text("BRIDGE_MODEL_PATH", "AZUREML_MODEL_DIR") or MODEL_PATH


def model_folder(path: Path) -> Path:
    """Return the folder with the MLmodel file: a path, or the only folder in it that has one (as on Azure).

    Raises:
        ConfigError: There is none, or more than one.
    """
    if (path / "MLmodel").is_file():
        return path
    found = sorted(file.parent for file in path.glob("*/MLmodel"))
    if len(found) == 1:
        return found[0]
    told = "several models: " + ", ".join(folder.name for folder in found) if found else "no MLmodel file"
    raise ConfigError(
        f"{path} holds {told}",
        operation="serving.start",
        hint="put an MLflow model's folder there, or set BRIDGE_MODEL_PATH to where one is",
    )


def check_sinks() -> None:
    """Check that the figures can go where they are to go.

    Raises:
        ConfigError: A sink that is named is none, or another setting is wrong.
        MissingExtra: What a sink needs is not installed.
    """
    for sink in read_sinks(Settings()):
        if sink.problem is not None:
            raise sink.problem


def main(arguments: list[str]) -> int:
    """Serve until told to end; the last line says what was wrong."""
    log_to(STDOUT)
    take_over_logging()
    # The first process of a container is not ended by a signal for which it has no handler.
    signal.signal(signal.SIGTERM, _end)
    try:
        if arguments not in ([], ["serve"]):
            log("usage: python -m trackbridge.serving.container [serve]", arguments=" ".join(arguments))
            return 2
        settings = settings_of(os.environ)
        check_sinks()
        serve(settings)
    except BridgeError as error:
        log(f"error: {error}", hint=error.hint)
        return 1
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
