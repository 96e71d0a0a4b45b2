"""``bridge runs compare``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from trackbridge.cli.options import example, open_client, output_option, uri_option
from trackbridge.cli.output import CELL_CHARS_MAX, Output
from trackbridge.cli.terminal import uses_colour

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.results import Run

CURVES_MAX = 3
"""How many metrics are drawn when none is named."""
_TAGS_LEFT_OUT = ("mlflow.runName", "mlflow.note.content", "bridge.traceback")


class Difference(NamedTuple):
    """One line of the table; a value is None where a run has none."""

    kind: str
    key: str
    values: tuple[object, ...]


@click.command(
    epilog=example(
        "bridge runs compare 0193f2a1b 0193f2a1c",
        "bridge runs compare bold-otter calm-heron --metric loss --log-scale",
    )
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--metric", "metrics", multiple=True, metavar="KEY", help="Draw this metric; repeatable.")
@click.option("--log-scale", is_flag=True, help="Draw on a logarithmic scale.")
@click.option("--no-curves", is_flag=True, help="Only the table.")
@click.option("--equal", "shows_equal", is_flag=True, help="Lines that are equal in all runs, too.")
@uri_option
@output_option
def compare(
    output: Output,
    runs: Sequence[str],
    metrics: Sequence[str],
    log_scale: bool,
    no_curves: bool,
    shows_equal: bool,
    uri: str | None,
) -> None:
    """Show in what runs differ, and their metric curves over each other.

    RUN is the id of a run, a beginning of the id that only one run has, or the run's name.
    """
    from trackbridge.cli.finding_runs import find_run

    if len(runs) < 2:
        raise click.UsageError("name at least two runs")
    client = open_client(uri)
    found = [find_run(client, run) for run in runs]
    if len({run.info.run_id for run in found}) < len(found):
        raise click.UsageError("two of the names mean the same run")
    differences = [line for line in _lines(found) if shows_equal or len(set(map(str, line.values))) > 1]
    _show_table(output, found, differences)
    drawn = [] if no_curves else list(metrics) or _worth_drawing(client, found)
    for key in drawn:
        _show_curves(output, client, found, key, log_scale=log_scale)
    ids = [run.info.run_id for run in found]
    output.summary({"runs": ids, "differences": len(differences), "curves": drawn})


def _lines(runs: Sequence[Run]) -> list[Difference]:
    from trackbridge.api.display import format_duration

    durations = tuple(format_duration(run.info.start_time, run.info.end_time) for run in runs)
    lines = [
        Difference("run", "experiment", tuple(run.info.experiment_id for run in runs)),
        Difference("run", "status", tuple(run.info.status.value for run in runs)),
        Difference("run", "duration", durations),
    ]
    for kind in ("params", "metrics", "tags"):
        values = [getattr(run.data, kind) for run in runs]
        keys = sorted({key for mapping in values for key in mapping if key not in _TAGS_LEFT_OUT})
        lines += [Difference(kind, key, tuple(mapping.get(key) for mapping in values)) for key in keys]
    return lines


def _show_table(output: Output, runs: Sequence[Run], differences: Sequence[Difference]) -> None:
    from trackbridge.cli.finding_runs import short_ids

    ids = short_ids(run.info.run_id for run in runs)
    for line in differences:
        values = {run.info.run_id: value for run, value in zip(runs, line.values, strict=True)}
        output.event("difference", {"kind": line.kind, "key": line.key, "values": values})
    if not differences:
        output.note("params, metrics and tags are equal")
        return
    has_change = len(runs) == 2
    headings = [f"{run.info.run_name} {ids[run.info.run_id]}" for run in runs]
    rows = [
        (line.kind, line.key, *map(_cell, line.values), *([_change(line)] if has_change else []))
        for line in differences
    ]
    output.table(("", "", *headings, *(["CHANGE"] if has_change else [])), rows)


def _cell(value: object) -> str:
    from trackbridge.api.display import format_number, printable

    if value is None:
        return "-"
    # Cut in a pipe, too, which other tables are not: one long value would widen every row.
    return format_number(value) if isinstance(value, float) else printable(str(value), CELL_CHARS_MAX)


def _change(line: Difference) -> str:
    before, after = line.values
    if not isinstance(before, float) or not isinstance(after, float):
        return ""
    return f"{after - before:+.6g}"


def _worth_drawing(client: Client, runs: Sequence[Run]) -> list[str]:
    """Return the first metrics that most runs have, and that are more than one point."""
    counts: dict[str, int] = {}
    for run in runs:
        for key in run.data.metrics:
            if not key.startswith("system/"):
                counts[key] = counts.get(key, 0) + 1
    found: list[str] = []
    for key in sorted(counts, key=lambda key: (-counts[key], key)):
        if len(found) == CURVES_MAX:
            break
        if any(len(client.get_metric_columns(run.info.run_id, key)) > 1 for run in runs):
            found.append(key)
    return found


def _show_curves(output: Output, client: Client, runs: Sequence[Run], key: str, *, log_scale: bool) -> None:
    import sys

    from trackbridge.api.display import printable
    from trackbridge.cli.curves import Curve, draw

    curves = []
    for run in runs:
        columns = client.get_metric_columns(run.info.run_id, key)
        steps, values = columns.steps.tolist(), columns.values.tolist()
        output.event("curve", {"metric": key, "run_id": run.info.run_id, "steps": steps, "values": values})
        if len(columns):
            curves.append(Curve(printable(run.info.run_name or run.info.run_id), steps, values))
    if output.as_json:
        return
    if not curves:
        output.note(f"no run has the metric {key!r}")
        return
    output.show()
    output.show_raw(draw(printable(key), curves, is_log=log_scale, uses_colour=uses_colour(sys.stdout)))
