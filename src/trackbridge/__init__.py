"""One tracking API in front of swappable backends; logging that survives ``kill -9``.

::

    import trackbridge as tb

    tb.set_experiment("wine")
    with tb.start_run():
        tb.log_param("lr", 0.1)
        tb.log_metric("loss", 0.42, step=1)

Where runs go is decided by ``set_tracking_uri`` (or ``BRIDGE_TRACKING_URI``) alone. Everything public is
listed in ``__all__`` and loaded when it is first used, so that importing costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trackbridge._version import __version__ as __version__

if TYPE_CHECKING:
    from trackbridge.api import migrate
    from trackbridge.api.active import ActiveRun
    from trackbridge.api.autologging import autolog
    from trackbridge.api.client import Client, ViewType
    from trackbridge.api.deploying import deploy
    from trackbridge.api.endpoints import endpoint
    from trackbridge.api.fluent import (
        active_run,
        delete_tag,
        end_run,
        flush,
        get_run,
        get_tracking_uri,
        log_artifact,
        log_artifacts,
        log_batch,
        log_dict,
        log_figure,
        log_image,
        log_input,
        log_metric,
        log_metrics,
        log_notebook,
        log_param,
        log_params,
        log_table,
        log_text,
        note,
        search_experiments,
        search_runs,
        set_experiment,
        set_tag,
        set_tags,
        set_tracking_uri,
        start_run,
    )
    from trackbridge.api.job_functions import job
    from trackbridge.api.jobs import run_project, submit
    from trackbridge.api.model_results import ModelInfo, ModelVersion, RegisteredModel
    from trackbridge.api.models import (
        delete_registered_model_alias,
        download_model,
        get_model_history,
        get_model_version,
        load_model,
        log_model,
        register_model,
        search_model_versions,
        search_registered_models,
        set_model_version_approval,
        set_model_version_tag,
        set_registered_model_alias,
        transition_model_version_stage,
    )
    from trackbridge.api.results import Experiment, Run, Runs
    from trackbridge.api.spark import spark_udf
    from trackbridge.api.sweeps import sweep
    from trackbridge.domain.runs import DatasetInput, Metric, RunStatus
    from trackbridge.errors import BridgeError

__all__ = [
    "ActiveRun",
    "BridgeError",
    "Client",
    "DatasetInput",
    "Experiment",
    "Metric",
    "ModelInfo",
    "ModelVersion",
    "RegisteredModel",
    "Run",
    "RunStatus",
    "Runs",
    "ViewType",
    "__version__",
    "active_run",
    "autolog",
    "delete_registered_model_alias",
    "delete_tag",
    "deploy",
    "download_model",
    "end_run",
    "endpoint",
    "flush",
    "get_model_history",
    "get_model_version",
    "get_run",
    "get_tracking_uri",
    "job",
    "load_model",
    "log_artifact",
    "log_artifacts",
    "log_batch",
    "log_dict",
    "log_figure",
    "log_image",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_notebook",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "migrate",
    "note",
    "register_model",
    "run_project",
    "search_experiments",
    "search_model_versions",
    "search_registered_models",
    "search_runs",
    "set_experiment",
    "set_model_version_approval",
    "set_model_version_tag",
    "set_registered_model_alias",
    "set_tag",
    "set_tags",
    "set_tracking_uri",
    "spark_udf",
    "start_run",
    "submit",
    "sweep",
    "transition_model_version_stage",
]

_MODULES = {"migrate": "trackbridge.api.migrate"}
_ELSEWHERE = {
    "ActiveRun": "trackbridge.api.active",
    "BridgeError": "trackbridge.errors",
    "Client": "trackbridge.api.client",
    "DatasetInput": "trackbridge.domain.runs",
    "Experiment": "trackbridge.api.results",
    "Metric": "trackbridge.domain.runs",
    "ModelInfo": "trackbridge.api.model_results",
    "ModelVersion": "trackbridge.api.model_results",
    "RegisteredModel": "trackbridge.api.model_results",
    "Run": "trackbridge.api.results",
    "RunStatus": "trackbridge.domain.runs",
    "Runs": "trackbridge.api.results",
    "ViewType": "trackbridge.api.client",
    "autolog": "trackbridge.api.autologging",
    "deploy": "trackbridge.api.deploying",
    "endpoint": "trackbridge.api.endpoints",
    "job": "trackbridge.api.job_functions",
    "run_project": "trackbridge.api.jobs",
    "spark_udf": "trackbridge.api.spark",
    "submit": "trackbridge.api.jobs",
    "sweep": "trackbridge.api.sweeps",
    **dict.fromkeys(
        (
            "delete_registered_model_alias",
            "download_model",
            "get_model_history",
            "get_model_version",
            "load_model",
            "log_model",
            "register_model",
            "search_model_versions",
            "search_registered_models",
            "set_model_version_approval",
            "set_model_version_tag",
            "set_registered_model_alias",
            "transition_model_version_stage",
        ),
        "trackbridge.api.models",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise _NoSuchName(name)
    from importlib import import_module

    if name in _MODULES:
        value: Any = import_module(_MODULES[name])
    else:
        value = getattr(import_module(_ELSEWHERE.get(name, "trackbridge.api.fluent")), name)
    globals()[name] = value
    return value


class _NoSuchName(AttributeError):
    """Says what was meant when it is shown: who only looks, such as pickle in every module, loads nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.wanted = name

    def __str__(self) -> str:
        return f"module {__name__!r} has no attribute {self.wanted!r}{_meant(self.wanted)}"


def _meant(name: str) -> str:
    """Say where mlflow's users find what is called otherwise here."""
    if name.startswith("_"):  # asked for by machinery, not by people
        return ""
    if name == "MlflowClient":
        return "; it is trackbridge.Client here, with the same methods"
    from trackbridge.api.client import Client

    return f"; it is a method here: trackbridge.Client().{name}" if hasattr(Client, name) else ""


def __dir__() -> list[str]:
    return sorted(__all__)
