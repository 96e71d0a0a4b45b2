"""``bridge endpoints watch``: the figures of an endpoint, again and again."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli.deploy import target_option
from trackbridge.cli.durations import DURATION
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output, uses_colour

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointMetrics, EndpointState
    from trackbridge.operations.opening import Opened

COLUMNS = ("DEPLOYMENT", "MODEL", "TRAFFIC", "STATE", "REQUESTS", "ERRORS", "P50 ms", "P95 ms", "P99 ms")


@click.command(
    epilog=example("bridge endpoints watch wine", "bridge endpoints watch wine --every 10s --count 6")
)
@click.argument("endpoint")
@click.option("--every", type=DURATION, default="2s", show_default=True, metavar="TIME", help="How often.")
@click.option(
    "--window", type=DURATION, default="1m", show_default=True, metavar="TIME", help="Of the figures."
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="How many times; by default until Ctrl-C.")
@target_option
@output_option
def watch(output: Output, endpoint: str, every: float, window: float, count: int | None, target: str) -> None:
    """Watch requests, errors and latencies of an endpoint: live on a terminal, else a line each time."""
    from trackbridge.operations.opening import open_place

    place, window_s, seen = open_place(target), max(1, round(window)), 0
    pause = threading.Event()  # nobody sets it: it is waited on because Ctrl-C interrupts that
    screen = _Screen() if sys.stdout.isatty() and not output.as_json else None
    try:
        while True:
            state, metrics = _look(place, endpoint, window_s)
            seen += 1
            if screen is not None:
                screen.draw(state, metrics, window_s)
            else:
                _print_line(output, state, metrics)
            if seen == count:
                break
            pause.wait(every)
    finally:
        if screen is not None:
            screen.close()
        output.summary({"endpoint": endpoint, "looks": seen})


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


def _look(place: Opened, endpoint: str, window_s: int) -> tuple[EndpointState, dict[str, EndpointMetrics]]:
    from trackbridge.operations.deploy import observed_endpoint

    return observed_endpoint(place, endpoint), metrics_by_deployment(place, endpoint, window_s)


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
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=sys.stdout, no_color=not uses_colour(sys.stdout), highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()

    def draw(self, state: EndpointState, metrics: dict[str, EndpointMetrics], window_s: int) -> None:
        """Draw how an endpoint stands now."""
        from rich.table import Table
        from rich.text import Text

        from trackbridge.api.display import printable

        title = f"{state.endpoint} {state.status.value}, last {window_s} s, Ctrl-C ends"
        table = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
        for column in COLUMNS:
            table.add_column(column, no_wrap=True)
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
            )
            table.add_row(*(Text(printable(cell)) for cell in cells))
        self._live.update(table, refresh=True)

    def close(self) -> None:
        """Leave the last table standing."""
        self._live.stop()
