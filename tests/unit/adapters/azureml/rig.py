"""Adapters on the emulator of Azure ML, where only who signs in, where and with what matters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.support.scripted_servers import Answer, Request
from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.findings import Finding, Severity
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.azureml.identity import Credential
from trackbridge_adapters.azureml.service import service_of

RUN = "4e5f" * 8


def milliseconds() -> int:
    return time.time_ns() // 1_000_000


def answer_of(request: Request) -> Answer:
    """Answer as an MLflow server with one experiment and one run."""
    if "experiments/get-by-name" in request.path:
        return Answer(status=404, body={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"})
    if "experiments/get" in request.path:
        experiment = {"experiment_id": "7", "name": "seven", "lifecycle_stage": "active"}
        return Answer(body={"experiment": experiment})
    if "runs/get" not in request.path:
        return Answer()
    info = {
        "run_id": RUN,
        "experiment_id": "7",
        "status": "RUNNING",
        "start_time": 1,
        "lifecycle_stage": "active",
        "artifact_uri": "mlflow-artifacts:/7",
    }
    return Answer(body={"run": {"info": info, "data": {}}})


def opened(
    azure: AzureMlEmulator,
    home: Path,
    *,
    uri: str | None = None,
    credential: Credential | None = None,
    options: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    skew_ms: int = 0,
) -> RestAdapter:
    """Open the emulator's workspace, with its clock; without ``options``, by its own credential."""
    given = {**azure.options, **(options or {})}
    context = AdapterContext(
        home=home, options=given, clock_ms=lambda: int(azure.cloud.now_s() * 1000) + skew_ms
    )
    signed_in = credential or (None if options else azure.credential())
    service = service_of(
        uri or azure.uri, context, credential=signed_in, environment=environment or {}, folder=home
    )
    return RestAdapter(service, context)


def asked_for(azure: AzureMlEmulator, *routes: str) -> list[str]:
    """Return the paths of the requests that end with one of the routes."""
    return [call.path for call in azure.calls if call.path.endswith(routes)]


def tell_host(azure: AzureMlEmulator, host: str) -> None:
    """Let the workspace name another host for its services, for the rest of a test."""
    azure.cloud.addresses = lambda request: replace(azure.addresses(request), mlflow=host)


def problems(found: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in found if finding.severity is not Severity.OK]
