"""``bridge endpoints drift``: what an endpoint is asked, against what its model learnt from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trackbridge.cli import completions
from trackbridge.cli.deploy import target_option
from trackbridge.cli.endpoint_telemetry import log_to_option
from trackbridge.cli.endpoint_watch import opened_endpoint
from trackbridge.cli.moments import MOMENT
from trackbridge.cli.options import example, open_client, output_option, uri_option
from trackbridge.cli.output import Output, counted
from trackbridge.cli.plans import EXIT_DIFFERENCES

if TYPE_CHECKING:
    from trackbridge.domain.deployments import DeploymentState
    from trackbridge.operations.drift import DriftReport
    from trackbridge.operations.model_source import ModelSource
    from trackbridge.operations.opening import Opened

COLUMNS = ("COLUMN", "KIND", "PSI", "BY CHANCE", "KS", "P", "MISSING", "")
ROWS_SHOWN = 30


@click.command(
    epilog=example(
        "bridge endpoints drift wine",
        "bridge endpoints drift wine v2 --since 24h --threshold 0.2 --html drift.html",
        "bridge endpoints drift endpoints:/prod/wine --log-to auto --json",
    )
)
@click.argument("endpoint", shell_complete=completions.endpoints)
@click.argument("deployment", required=False)
@click.option("--since", type=MOMENT, default="24h", show_default=True, metavar="TIME", help="From when on.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Before when; by default to the newest.")
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=0.2,
    show_default=True,
    metavar="PSI",
    help="Above which a column has moved.",
)
@click.option(
    "--rows-max",
    type=click.IntRange(1),
    default=200_000,
    show_default=True,
    metavar="N",
    help="Rows to count; of more, evenly spaced requests.",
)
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a page, too."
)
@log_to_option
@target_option
@uri_option
@output_option
def drift(
    output: Output,
    endpoint: str,
    deployment: str | None,
    since: int,
    until: int | None,
    threshold: float,
    rows_max: int,
    html: Path | None,
    log_to: str | None,
    target: str,
    uri: str | None,
) -> None:
    """Compare what an endpoint captured with its model's baseline; exit 4 when a column has moved.

    The baseline is written by log_model(training_data=…), requests are kept by bridge deploy --capture.
    Without DEPLOYMENT that is the one with the most traffic.
    """
    from trackbridge.operations.deploy import observed_endpoint
    from trackbridge.operations.drift import drift_of
    from trackbridge.operations.endpoint_models import chosen_deployment
    from trackbridge.operations.model_source import open_models
    from trackbridge.ports.capabilities import Feature
    from trackbridge.resolve.config import Settings

    place, name = opened_endpoint(endpoint, target)
    place.capabilities.require(Feature.DEPLOYMENTS_CAPTURE, operation="endpoints.drift")
    found = chosen_deployment(observed_endpoint(place, name), deployment)
    models = open_models(uri, settings=Settings())
    report = drift_of(
        place,
        name,
        found.deployment,
        since=since,
        until=until,
        baseline=_baseline(name, found, models),
        rows_max=rows_max,
    )
    _refuse_nothing(report, found)
    moved = [column for column in report.columns if column.exceeds(threshold)]
    if moved:  # told first: whoever waits for it needs neither a page nor a tracking server
        _publish(report, threshold, place, found)
    if html is not None:
        _write_page(html, report, threshold, place, found)
    _show(output, report, threshold)
    run_id = _log(report, found, models, log_to, uri) if log_to is not None else None
    for label, value in (("page", html), ("run", run_id)):
        if value:
            output.show(f"{label}: {value}")
    output.summary(_fields(report, threshold, run_id))
    if moved:
        output.end(EXIT_DIFFERENCES)


def _baseline(endpoint: str, found: DeploymentState, models: ModelSource) -> dict[str, Any]:
    from trackbridge.errors import NotFound
    from trackbridge.operations.drift import baseline_of
    from trackbridge.operations.endpoint_models import spec_behind

    baseline = baseline_of(spec_behind(endpoint, found, models.registry), models)
    if baseline is None:
        raise NotFound(
            f"the model of {endpoint}/{found.deployment} ({found.model}) has no baseline",
            operation="endpoints.drift",
            hint="log it with training_data=…, register and deploy that",
        )
    return baseline


def _refuse_nothing(report: DriftReport, found: DeploymentState) -> None:
    """Refuse a report about nothing: a scheduler would take it for good news.

    Raises:
        NotFound: No request could be looked at.
    """
    from trackbridge.errors import NotFound

    if report.rows and report.columns:
        return
    percent = found.spec.capture_percent if found.spec is not None else 0
    hint = "wait for requests, or look further back: --since 7d"
    if not report.requests and not percent:
        hint = f"keep requests: bridge deploy {found.model} --endpoint {report.endpoint} --capture 100"
    elif report.rows:
        hint = "none of the columns that were asked with is in the baseline: " + ", ".join(
            report.unknown[:10]
        )
    elif report.requests:
        hint = f"{report.failed:,} were refused or failed, {report.unreadable:,} are in no known form"
    raise NotFound(
        f"{report.endpoint}/{report.deployment} captured {counted(report.requests, 'request')} since then, "
        "and none says anything about drift",
        operation="endpoints.drift",
        hint=hint,
    )


def _show(output: Output, report: DriftReport, threshold: float) -> None:
    columns = sorted(report.columns, key=lambda column: -column.psi)
    rows = [
        (
            column.name if column.part == "input" else f"{column.name} (prediction)",
            column.kind,
            f"{column.psi:.3f}",
            f"{column.psi_chance:.3f}",
            "" if column.ks is None else f"{column.ks:.3f}",
            "" if column.ks_p is None else f"{column.ks_p:.2g}",
            f"{column.missing / column.rows:.1%}" if column.missing else "",
            "moved" if column.exceeds(threshold) else "",
        )
        for column in columns[:ROWS_SHOWN]
    ]
    moved = sum(column.exceeds(threshold) for column in columns)
    told = f"{report.endpoint}/{report.deployment}: {moved} of {len(columns)} columns moved by more than"
    output.show(f"{told} {threshold:g}", colour="red" if moved else "green")
    output.table(COLUMNS, rows)
    if len(columns) > ROWS_SHOWN:
        output.note(f"{len(columns) - ROWS_SHOWN} more columns moved less; --json and --html have all")
    skipped = report.requests - report.requests_counted - report.failed - report.unreadable
    output.note(
        f"{counted(report.rows, 'row')} of {counted(report.requests_counted, 'request')} against "
        f"{counted(report.baseline_rows, 'row')} of the baseline"
        + (f"; {skipped:,} requests were passed over evenly (--rows-max)" if skipped > 0 else "")
    )
    for label, names in (("never asked with", report.unseen), ("not in the baseline", report.unknown)):
        if names:
            output.note(f"{label}: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}")


def _write_page(
    path: Path, report: DriftReport, threshold: float, place: Opened, found: DeploymentState
) -> None:
    from trackbridge.operations.drift_page import drift_page

    page = drift_page(report, threshold=threshold, target=place.uri, model=found.model)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise click.UsageError(
            f"{path} cannot be written: {error.strerror}", click.get_current_context()
        ) from error


def _log(
    report: DriftReport, found: DeploymentState, models: ModelSource, log_to: str, uri: str | None
) -> str:
    from trackbridge.api.endpoint_records import log_drift, run_of

    run_id = run_of(log_to, found, models.registry)
    log_drift(open_client(uri), run_id, report, time_ms=time.time_ns() // 1_000_000)
    return run_id


def _publish(report: DriftReport, threshold: float, place: Opened, found: DeploymentState) -> None:
    from trackbridge.domain.events import ENDPOINT_DRIFT
    from trackbridge.events import publish

    publish(
        ENDPOINT_DRIFT,
        subject=report.endpoint,
        source=place.uri,
        data={
            "deployment": report.deployment,
            "model": found.model,
            "threshold": threshold,
            "worst": report.worst,
            "worst_column": report.worst_column,
            "rows": report.rows,
            "columns": [column.name for column in report.columns if column.exceeds(threshold)][:100],
        },
    )


def _fields(report: DriftReport, threshold: float, run_id: str | None) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(report)
    return {
        **fields,
        "threshold": threshold,
        "worst": report.worst,
        "worst_column": report.worst_column,
        "moved": [column.name for column in report.columns if column.exceeds(threshold)],
        "run_id": run_id,
    }
