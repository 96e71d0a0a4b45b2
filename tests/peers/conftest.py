"""mlflow in this process, and nothing left of it for the next test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program_state import forget
from trackbridge.api import active

MLFLOW_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder of its own, delivered to in this process, as mlflow's tracking URI."""
    import mlflow
    from mlflow.tracking import fluent as mlflow_fluent
    from mlflow.utils import requirements_utils
    from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS
    from mlflow.utils.import_hooks import _post_import_hooks

    for name in (*MLFLOW_VARIABLES, "BRIDGE_TRACKING_URI", "BRIDGE_RUN_ID", "BRIDGE_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / ".bridge"))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    # mlflow would start another Python for each model, to see what it imports.
    monkeypatch.setattr(requirements_utils, "_capture_imported_modules", lambda *_, **__: ["sklearn"])
    monkeypatch.chdir(tmp_path)
    uri = f"bridge+file:{tmp_path}/store"
    mlflow.set_tracking_uri(uri)
    yield uri
    AUTOLOGGING_INTEGRATIONS.clear()  # autolog(disable=True) leaves those that were asked for by name
    _post_import_hooks.clear()  # and libraries that nobody has imported so far wait for it
    while mlflow.active_run() is not None:
        mlflow.end_run()
    forget()
    active._observers.clear()
    mlflow_fluent._active_experiment_id = None
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    for name in MLFLOW_VARIABLES:
        os.environ.pop(name, None)
