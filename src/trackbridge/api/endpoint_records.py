"""What is known of an endpoint, put on the run that its model came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trackbridge.domain.runs import Metric
from trackbridge.domain.telemetry import TelemetryPoint, run_metrics
from trackbridge.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.domain.deployments import DeploymentState
    from trackbridge.operations.drift import DriftReport
    from trackbridge.ports.registry import ModelRegistry

AUTO = "auto"
FLUSH_S = 30.0
_KEY_CHARS = re.compile(r"[^\w.\- /]")


def run_of(log_to: str, found: DeploymentState, registry: ModelRegistry | None) -> str:
    """Return the id of the run that ``runs:/ID`` names, or for ``auto`` of the one the model came from.

    Raises:
        InvalidInput: The text is neither.
        NotFound: The version is not registered there, or says no run.
    """
    if log_to != AUTO:
        run_id = log_to.removeprefix("runs:/").strip("/")
        if not log_to.startswith("runs:/") or not run_id or "/" in run_id:
            raise InvalidInput(f"{log_to[:120]!r} names no run", hint="write runs:/RUN_ID, or auto")
        return run_id
    if registry is None:
        raise NotFound(
            "there is no model registry that knows the run", hint="name it yourself: --log-to runs:/RUN_ID"
        )
    from trackbridge.operations.endpoint_models import version_behind

    version = version_behind(found, registry)
    if not version.run_id:
        raise NotFound(
            f"models:/{version.name}/{version.version} does not say from which run it came",
            hint="name the run yourself: --log-to runs:/RUN_ID",
        )
    return version.run_id


def log_telemetry(client: Client, run_id: str, point: TelemetryPoint) -> None:
    """Log a look as metrics of a run; the same look twice is one point.

    The step is the time in seconds since 1970, so that looks from several places come in order.
    """
    log_figures(client, run_id, run_metrics(point), time_ms=point.time)


def log_drift(client: Client, run_id: str, report: DriftReport, *, time_ms: int) -> None:
    """Log a drift report as metrics of a run: ``endpoint/wine/v2/drift/psi/alcohol`` and so on."""
    prefix = f"endpoint/{report.endpoint}/{report.deployment or 'all'}/drift"
    figures = {f"{prefix}/worst": report.worst, f"{prefix}/rows": float(report.rows)}
    for column in report.columns:
        name = _KEY_CHARS.sub("_", column.name)[:200]
        part = "" if column.part == "input" else "prediction/"
        figures[f"{prefix}/psi/{part}{name}"] = column.psi
        if column.ks is not None:
            figures[f"{prefix}/ks/{part}{name}"] = column.ks
    log_figures(client, run_id, figures, time_ms=time_ms)


def log_figures(client: Client, run_id: str, figures: Mapping[str, float], *, time_ms: int) -> None:
    """Log metrics of one time to a run, and wait until they are delivered.

    Raises:
        NotFound: There is no such run.
    """
    client.get_run(run_id)
    step = time_ms // 1000
    client.log_batch(
        run_id,
        metrics=[
            Metric(key=key, value=value, timestamp=time_ms, step=step) for key, value in figures.items()
        ],
    )
    client.flush(FLUSH_S)
