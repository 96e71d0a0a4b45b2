"""A Databricks workspace as a service of the shared REST client."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from urllib.parse import quote

from trackbridge.errors import BridgeError
from trackbridge.ports.adapter import AdapterContext
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.databricks.artifacts import PART_BYTES, DatabricksArtifacts
from trackbridge_adapters.databricks.capabilities import GAPS, JOBS, LIMITS
from trackbridge_adapters.databricks.config import ADAPTER, Login, login_of
from trackbridge_adapters.databricks.health import check, fix_of
from trackbridge_adapters.databricks.identity import authentication_of, user_of
from trackbridge_adapters.databricks.paths import HOMES, WorkspacePaths, parent_of


def service_of(
    uri: str,
    context: AdapterContext,
    *,
    environment: Mapping[str, str] = os.environ,
    part_bytes: int = PART_BYTES,
) -> Service:
    """Describe the workspace of a tracking URI; nobody is contacted.

    Args:
        uri: One of the forms of ``config``.
        context: Of the adapter.
        environment: The variables to read.
        part_bytes: A larger file goes up in parts.
    """
    login = login_of(uri, context.options, environment)
    http = HttpClient(adapter=ADAPTER, verify=login.verify, answer_s=login.answer_s)
    http.authentication = authentication_of(login, http, context.clock_ms)
    paths = _paths_of(login, lambda: Wire(service))
    service = Service(
        adapter=ADAPTER,
        address=login.host,
        base_url=lambda: login.host,
        http=http,
        limits=LIMITS,
        gaps={**GAPS, **JOBS},
        artifacts=lambda tracking: DatabricksArtifacts(tracking, part_bytes=part_bytes),
        run_url=lambda experiment, run: f"{login.host}/ml/experiments/{quote(experiment)}/runs/{quote(run)}",
        experiment_name=paths.native,
        our_experiment_name=paths.ours,
        experiment_names=paths.names,
        make_room=_make_folder,
        dedups_points=False,
        fix_of=fix_of,
        check=check,
    )
    return service


def _paths_of(login: Login, wire: Callable[[], Wire]) -> WorkspacePaths:
    if login.experiment_folder is not None:
        folder = login.experiment_folder
        return WorkspacePaths(lambda: folder, beginning=folder)
    return WorkspacePaths(lambda: f"{HOMES}{user_of(wire())}")


def _make_folder(wire: Wire, path: str) -> None:
    """Make the folder that an experiment is to be in, with those above it."""
    folder = parent_of(path)
    try:
        wire.post("mkdirs", {"path": folder}, prefix="/api/2.0/workspace")
    except BridgeError as error:
        error.hint = f"make the folder {folder} in the workspace, or set the option experiment_folder"
        raise
