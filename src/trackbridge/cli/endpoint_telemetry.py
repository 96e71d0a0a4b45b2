"""``bridge endpoints telemetry``: the figures of an endpoint, put where they are looked for later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli import completions
from trackbridge.cli.deploy import target_option
from trackbridge.cli.durations import DURATION
from trackbridge.cli.endpoint_watch import Exporting, figures, looks, opened_endpoint, otlp_option
from trackbridge.cli.options import example, open_client, output_option, uri_option
from trackbridge.cli.output import Output

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointState
    from trackbridge.domain.telemetry import TelemetryPoint

COLUMNS = ("DEPLOYMENT", "TRAFFIC", "REQUESTS", "ERRORS", "P50 ms", "P95 ms", "P99 ms", "REFUSED", "QUEUED",
           "INSTANCES", "CAPTURED")  # fmt: skip

log_to_option = click.option(
    "--log-to", metavar="RUN", help="runs:/ID, or auto: the run that each deployment's model came from."
)


@click.command(
    epilog=example(
        "bridge endpoints telemetry wine --window 1h",
        "bridge endpoints telemetry wine --log-to auto --every 5m --count 12",
        "bridge endpoints telemetry wine --json",
    )
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.option(
    "--window", type=DURATION, default="5m", show_default=True, metavar="TIME", help="Of the figures."
)
@click.option("--every", type=DURATION, metavar="TIME", help="How often; by default as long as the window.")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Looks.")
@log_to_option
@otlp_option
@target_option
@uri_option
@output_option
def telemetry(
    output: Output,
    endpoint: str,
    window: float,
    every: float | None,
    count: int,
    log_to: str | None,
    otlp: str | None,
    target: str,
    uri: str | None,
) -> None:
    """Show the telemetry of an endpoint; put it on runs and model versions, or send it to OpenTelemetry.

    With --log-to the figures become metrics of the run (endpoint/NAME/DEPLOYMENT/requests and so on), and a
    tag of the model version that the deployment serves.
    """
    from trackbridge.operations.telemetry import look
    from trackbridge.ports.capabilities import Feature

    place, name = opened_endpoint(endpoint, target)
    window_s = max(1, round(window))
    told = Exporting(output, otlp, window_s)
    logged = _Logging(output, log_to, uri) if log_to is not None else None
    seen = 0
    try:
        for _ in looks(every or window, count):
            state, points = look(place, name, window_s=window_s)
            place.capabilities.require(Feature.DEPLOYMENTS_METRICS, operation="endpoints.telemetry")
            seen += 1
            _show(output, points)
            told.export(points)
            if logged is not None:
                logged.log(state, points)
    finally:
        told.close()
    runs, versions = (logged.runs, logged.versions) if logged else ([], [])
    output.summary({"endpoint": name, "looks": seen, "runs": runs, "versions": versions})


def _show(output: Output, points: tuple[TelemetryPoint, ...]) -> None:
    rows = []
    for point in points:
        metrics = point.metrics
        told = (metrics.refused, metrics.queued, metrics.instances, metrics.captured)
        cells = tuple("" if value is None else f"{value:,}" for value in told)
        rows.append((point.deployment, f"{point.traffic_percent} %", *figures(metrics), *cells))
        output.event("telemetry", _fields(point))
    output.table(COLUMNS, rows)


def _fields(point: TelemetryPoint) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(point)
    return {**fields, "requests_per_s": point.requests_per_s, "error_rate": point.error_rate}


class _Logging:
    """Puts looks on runs, and on the versions that the deployments serve."""

    def __init__(self, output: Output, log_to: str, uri: str | None) -> None:
        from trackbridge.operations.model_source import open_registry
        from trackbridge.operations.opening import user_name
        from trackbridge.resolve.config import Settings

        settings = Settings()
        self._output = output
        self._log_to = log_to
        self._client = open_client(uri)
        self._registry = open_registry(uri, settings=settings).adapter.registry
        self._user = user_name(settings)
        self.runs: list[str] = []
        self.versions: list[str] = []

    def log(self, state: EndpointState, points: tuple[TelemetryPoint, ...]) -> None:
        """Log one look; a version or run that is not known here is told, and loses nothing of the others.

        Raises:
            NotFound: Nothing was logged so far, as no deployment has a run.
        """
        from trackbridge.api.endpoint_records import log_telemetry, run_of
        from trackbridge.errors import NotFound
        from trackbridge.operations.telemetry import tag_version

        problems: list[NotFound] = []
        for point in points:
            found = state.find(point.deployment)
            assert found is not None, "points are of deployments that stand"
            try:
                run_id = run_of(self._log_to, found, self._registry)
                log_telemetry(self._client, run_id, point)
            except NotFound as error:
                problems.append(error)
                continue
            self._tell(point, f"the run {run_id}", run_id, self.runs)
            if self._registry is None:
                continue
            try:
                version = tag_version(point, found, self._registry, user=self._user)
            except NotFound as error:
                self._output.warn(f"{error}; the figures are on the run alone")
            else:
                self._tell(point, version, version, self.versions)
        if problems and not self.runs:
            raise problems[0]
        for problem in problems:
            self._output.warn(f"{problem}; the others are logged")

    def _tell(self, point: TelemetryPoint, place: str, name: str, known: list[str]) -> None:
        if name not in known:
            known.append(name)
            self._output.show(f"{point.deployment}: on {place}", colour="green")
