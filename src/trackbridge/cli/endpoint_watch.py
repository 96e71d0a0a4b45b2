"""``bridge endpoints watch``: the figures of an endpoint, again and again."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli import completions
from trackbridge.cli.deploy import target_option
from trackbridge.cli.durations import DURATION
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.cli.terminal import Screen, draws, table, terminal_width
from trackbridge.errors import Unavailable

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointMetrics, EndpointState
    from trackbridge.domain.telemetry import TelemetryPoint
    from trackbridge.operations.opening import Opened

otlp_option = click.option(
    "--otlp",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[URL]",
    help="Send the figures to OpenTelemetry, too; without URL as its own variables say.",
)

COLUMNS = ("DEPLOYMENT", "MODEL", "TRAFFIC", "STATE", "REQUESTS", "ERRORS", "P50 ms", "P95 ms", "P99 ms")
CURVES = ("req/s", "errors", "P95 ms")
LOOKS_MIN, LOOKS_MAX = 8, 40
"""How many looks a sparkline shows: as many as there is room for."""
COLUMNS_WIDTH = 96
"""About how many characters the other columns take."""
BARS = "▁▂▃▄▅▆▇█"


@click.command(
    epilog=example(
        "bridge endpoints watch wine",
        "bridge endpoints watch endpoints:/prod/wine --every 10s --count 6",
        "bridge endpoints watch wine --otlp http://localhost:4318",
    )
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.option("--every", type=DURATION, default="2s", show_default=True, metavar="TIME", help="How often.")
@click.option(
    "--window", type=DURATION, default="1m", show_default=True, metavar="TIME", help="Of the figures."
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="How many times; by default until Ctrl-C.")
@otlp_option
@target_option
@output_option
def watch(
    output: Output,
    endpoint: str,
    every: float,
    window: float,
    count: int | None,
    otlp: str | None,
    target: str,
) -> None:
    """Watch requests, errors and latencies of an endpoint: live on a terminal, else a line each time."""
    from trackbridge.operations.telemetry import look

    place, name = opened_endpoint(endpoint, target)
    window_s = max(1, round(window))
    told = Exporting(output, otlp, window_s)
    screen = _Screen() if draws(sys.stdout) and not output.as_json else None
    seen = 0
    try:
        for _ in looks(every, count):
            state, points = look(place, name, window_s=window_s)
            seen += 1
            told.export(points)
            metrics = {point.deployment: point.metrics for point in points}
            if screen is not None:
                screen.draw(state, metrics, window_s)
            else:
                _print_line(output, state, metrics)
    finally:
        if screen is not None:
            screen.close()
        told.close()
        output.summary({"endpoint": name, "looks": seen})


def looks(every_s: float, count: int | None) -> Iterator[int]:
    """Yield a number at once, and then again and again after so many seconds; Ctrl-C interrupts the wait."""
    pause = threading.Event()  # nobody sets it
    number = 0
    while True:
        number += 1
        yield number
        if number == count:
            return
        pause.wait(every_s)


def opened_endpoint(text: str, target: str) -> tuple[Opened, str]:
    """Open where an endpoint is; return that and its name."""
    from trackbridge.operations.endpoint_requests import endpoint_address
    from trackbridge.operations.opening import open_place

    address = endpoint_address(text, None if target == "local" else target)
    return open_place(address.target or target), address.name


class Exporting:
    """Sends looks to a collector; one that does not answer is told once, and tried again.

    Sums are deltas: of windows that overlap only those are sent that begin after the last one that was. A
    target that begins windows with a whole minute counts up to a minute of the one before again.
    """

    def __init__(self, output: Output, url: str | None, window_s: int) -> None:
        from trackbridge.operations.telemetry import OtlpExporter

        self._output = output
        self._exporter = OtlpExporter(url or None) if url is not None else None
        self._has_told = False
        self._window_ms = window_s * 1000
        self._until: dict[str, int] = {}  # by deployment, in milliseconds since 1970

    def export(self, points: tuple[TelemetryPoint, ...]) -> None:
        """Send the metrics of a look, if somebody wants them."""
        due = [
            point for point in points if point.time - self._window_ms >= self._until.get(point.deployment, 0)
        ]
        if self._exporter is None or not due:
            return
        try:
            self._exporter.export(due)
            self._until |= {point.deployment: point.time for point in due}
        except Unavailable as error:
            if not self._has_told:
                self._output.warn(f"{error}; {error.hint}")
            self._has_told = True

    def close(self) -> None:
        """End the connection."""
        if self._exporter is not None:
            self._exporter.close()


def sparkline(values: Sequence[float]) -> str:
    """Return values as a line of bars, the largest as the highest; nothing above 0 is a flat line."""
    top = max(values, default=0.0)
    if top <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(len(BARS) - 1, int(value / top * len(BARS)))] for value in values)


def metrics_by_deployment(place: Opened, endpoint: str, window_s: int) -> dict[str, EndpointMetrics]:
    """Return the telemetry of each deployment; none where the target has none."""
    from trackbridge.ports.capabilities import Feature

    if not place.capabilities.supports(Feature.DEPLOYMENTS_METRICS):
        return {}
    return {item.deployment: item for item in place.target.read_metrics(endpoint, window_s=window_s)}


def figures(metrics: EndpointMetrics | None) -> tuple[str, str, str, str, str]:
    """Return requests, errors and the three latencies as cells of a table."""
    if metrics is None:
        return ("", "", "", "", "")
    share = f" ({metrics.errors / metrics.requests:.1%})" if metrics.errors and metrics.requests else ""
    latencies = (metrics.latency_p50_ms, metrics.latency_p95_ms, metrics.latency_p99_ms)
    p50, p95, p99 = ("" if value is None else f"{value:,.1f}" for value in latencies)
    return (f"{metrics.requests:,}", f"{metrics.errors:,}{share}", p50, p95, p99)


def _print_line(output: Output, state: EndpointState, metrics: dict[str, EndpointMetrics]) -> None:
    import msgspec

    parts = []
    fields: list[dict[str, Any]] = []
    for found in state.deployments:
        item = metrics.get(found.deployment)
        requests, errors, p50, _, p99 = figures(item)
        told = f"{requests} requests, {errors} errors" if item else "no figures"
        latency = f", p50 {p50} ms, p99 {p99} ms" if p50 else ""
        parts.append(f"{found.deployment} {found.traffic_percent} % {found.status.value}: {told}{latency}")
        fields.append(
            {
                "deployment": found.deployment,
                "model": found.model,
                "status": found.status.value,
                "traffic_percent": found.traffic_percent,
                "metrics": msgspec.to_builtins(item) if item else None,
            }
        )
    output.event(
        "look", {"endpoint": state.endpoint, "time": time.time_ns() // 1_000_000, "deployments": fields}
    )
    output.show(f"{time.strftime('%H:%M:%S')}  {' | '.join(parts) or 'no deployments'}")


class _Screen:
    """A table that is drawn anew in place."""

    def __init__(self) -> None:
        self._screen = Screen(sys.stdout)
        self._curves: dict[str, tuple[deque[float], ...]] = {}

    def draw(self, state: EndpointState, metrics: dict[str, EndpointMetrics], window_s: int) -> None:
        """Draw how an endpoint stands now."""
        from trackbridge.api.display import printable

        title = f"{state.endpoint} {state.status.value}, last {window_s} s, Ctrl-C ends"
        rows = []
        for found in state.deployments:
            share = f"{found.traffic_percent} %"
            if found.mirror_percent:
                share += f" (mirror {found.mirror_percent} %)"
            cells = (
                found.deployment,
                found.model.removeprefix("models:/"),  # there is little room
                share,
                found.status.value,
                *figures(metrics.get(found.deployment)),
                *self._sparklines(found.deployment, metrics.get(found.deployment)),
            )
            rows.append([printable(cell) for cell in cells])
        self._screen.draw([printable(title), *table((*COLUMNS, *CURVES), rows)])

    def _sparklines(self, deployment: str, item: EndpointMetrics | None) -> tuple[str, ...]:
        """Return the looks so far as lines: requests a second, errors, the slow latencies."""
        if item is None:
            return ("",) * len(CURVES)
        now = (item.requests / max(1, item.window_s), float(item.errors), item.latency_p95_ms or 0.0)
        curves = self._curves.setdefault(deployment, tuple(deque(maxlen=LOOKS_MAX) for _ in CURVES))
        for curve, value in zip(curves, now, strict=True):
            curve.append(value)
        room = max(LOOKS_MIN, (terminal_width() - COLUMNS_WIDTH) // len(CURVES))
        return tuple(sparkline(list(curve)[-room:]) for curve in curves)

    def close(self) -> None:
        """Leave the last table standing."""
        self._screen.close()
