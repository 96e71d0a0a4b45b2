"""``autolog``: mlflow's automatic logging, into our runs and through our journal.

mlflow is pointed at its plugin ``bridge:``, which logs to what is set here, and each run that becomes active
here becomes so for mlflow, too: a ``fit`` inside of ``start_run`` logs into that run, one outside begins and
ends a run of its own.
"""

from __future__ import annotations

import os
from typing import Any

from trackbridge.api import active, fluent
from trackbridge.api.active import ActiveRun
from trackbridge.api.client import Client
from trackbridge.api.extras import require
from trackbridge.api.session import before_close

_BRIDGE = "bridge:"
_shared: set[str] = set()  # ids of the runs that mlflow was told of


def autolog(**options: Any) -> None:
    """Log params, metrics and models of the libraries that mlflow knows, without further calls.

    Args:
        options: Those of ``mlflow.autolog``, such as ``log_models=False`` or ``disable=True``.

    Raises:
        MissingExtra: mlflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = require("mlflow", extra="mlflow", purpose="autolog")
    if Client.default_uri is None:  # it may be MLFLOW_TRACKING_URI, which is the plugin's own from now on
        Client.default_uri = list(fluent.client().session.destinations)
    mlflow.set_tracking_uri(_BRIDGE)
    active.observe(_share)
    before_close(_forget_shared)
    run = active.current()
    if run is not None and all(known.info.run_id != run.recorder.run_id for known in _stack()):
        _share(run, True)
    mlflow.autolog(**options)


def _share(run: ActiveRun, is_active: bool) -> None:
    """Let mlflow have a run active in this thread, or have it so no more."""
    stack, run_id = _stack(), run.recorder.run_id
    if not is_active:
        stack[:] = [known for known in stack if known.info.run_id != run_id]
        return
    mlflow = require("mlflow", extra="mlflow", purpose="autolog")
    run.recorder.keep_points()
    _shared.add(run_id)
    stack.append(mlflow.ActiveRun(mlflow.MlflowClient(_BRIDGE).get_run(run_id)))


def _forget_shared() -> None:
    """Leave runs that were begun here to us at the end of the program."""
    stacks = _stacks()
    for stack in [stacks] if isinstance(stacks, list) else stacks.get_all_thread_values().values():
        stack[:] = [known for known in stack if known.info.run_id not in _shared]


def _stack() -> list[Any]:
    stacks = _stacks()  # in older mlflow one stack for all threads
    stack: list[Any] = stacks if isinstance(stacks, list) else stacks.get()
    return stack


def _stacks() -> Any:
    return require("mlflow.tracking.fluent", extra="mlflow", purpose="autolog")._active_run_stack
