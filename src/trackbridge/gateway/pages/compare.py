"""Runs beside each other: curves, differences, parallel coordinates, scatter, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import Route

from trackbridge.api.display import format_duration, format_number
from trackbridge.domain.runs import Run
from trackbridge.domain.secrets import redact
from trackbridge.errors import BridgeError, InvalidInput, NotFound
from trackbridge.gateway.pages import plots, run_table
from trackbridge.gateway.pages.curves import RUNS_MAX, frame_of
from trackbridge.gateway.pages.drawing import AXES
from trackbridge.gateway.pages.experiments import chosen_view
from trackbridge.gateway.pages.finding import all_experiments, names_of, runs_of
from trackbridge.gateway.pages.layout import Pages, View
from trackbridge.gateway.pages.previews import Preview, difference_of, preview_of
from trackbridge.gateway.pages.run_table import Column, column_of

PLOTTED_MAX = 200
"""How many runs of a search are plotted."""
SELECTED_MAX = 100
CHARTS_MAX = 6
CHARTS = 2
"""How many curves are drawn when none is chosen."""
AXES_MAX = 12
PATHS_MAX = 100
FILES_MAX = 4
"""Runs whose files stand beside each other."""
_TAGS_LEFT_OUT = ("mlflow.runName", "mlflow.note.content", "bridge.traceback")


@dataclass(frozen=True)
class Difference:
    """One row: a kind, a key and what each run has; "" where it has none."""

    kind: str
    key: str
    values: tuple[str, ...]
    is_equal: bool


def compare_routes(pages: Pages) -> list[Route]:
    """Return the routes of the comparison."""
    return [pages.route("/compare", compare)]


def compare(view: View) -> Response:
    """Show runs beside each other: the chosen ones, or the first 200 of a search."""
    experiments = all_experiments(view.client)
    runs, is_search = _compared(view, list(experiments))
    listed = runs[:RUNS_MAX]
    metrics = sorted({key for run in runs for key in run.data.metrics})
    charts = [key for key in view.values("metric") if key in metrics] or _first_charts(runs)
    differences = _differences(listed, names_of(experiments))
    shows_equal = view.value("equal") == "1"
    columns = _plot_columns(runs)
    axes = _axes(view, runs, columns)
    across, up = _scatter_columns(view, runs, columns)
    path = view.value("path")
    files = _files(view, listed[:FILES_MAX], path) if path else []
    return view.page(
        "compare.html",
        title=f"Compare {len(runs)} runs" if len(runs) != 1 else f"Curves of {runs[0].info.run_name}",
        section="experiments",
        twin=f"bridge runs compare {' '.join(run.info.run_id for run in runs[:5])} --json",
        runs=runs,
        listed=listed,
        is_search=is_search,
        experiments=sorted({run.info.experiment_id for run in runs}),
        metrics=metrics,
        charts=charts[:CHARTS_MAX],
        charts_max=CHARTS_MAX,
        axis=frame_of(view).axis,
        axis_names=AXES,
        is_log=frame_of(view).is_log,
        smooth=frame_of(view).smoothing,
        differences=[line for line in differences if shows_equal or not line.is_equal],
        equal_count=sum(line.is_equal for line in differences),
        shows_equal=shows_equal,
        columns=columns,
        axes=[column.name for column in axes],
        parallel=plots.parallel(runs, axes) if len(axes) > 1 else None,
        across=across,
        up=up,
        scatter=plots.scatter(runs, across, up) if across and up else None,
        plots=plots,
        path=path,
        files=files,
        file_diff=_file_difference(files),
        paths=_paths(view, listed[0].info.run_id),
        q=view.value("q"),
    )


def _compared(view: View, all_ids: list[str]) -> tuple[list[Run], bool]:
    ids = view.values("run")[:SELECTED_MAX]
    experiments = view.values("experiment") or all_ids
    if ids:
        return runs_of(view.client, ids, all_ids), False
    found: list[Run] = list(
        view.client.search_runs(
            experiments,
            view.value("q"),
            chosen_view(view),
            max_results=PLOTTED_MAX,
            order_by=run_table.order_of(view.value("sort")),
        )
    )
    if not found:
        raise NotFound(
            "there are no such runs to compare", hint="tick runs in the table, or widen the search"
        )
    return found, True


def _first_charts(runs: Sequence[Run]) -> list[str]:
    """Return the metrics that most runs have; those of the machine last."""
    counts: dict[str, int] = {}
    for run in runs:
        for key in run.data.metrics:
            counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: (key.startswith("system/"), -counts[key], key))[:CHARTS]


def _differences(runs: Sequence[Run], names: dict[str, str]) -> list[Difference]:
    lines = [
        _line(
            "run", "experiment", [names.get(run.info.experiment_id, run.info.experiment_id) for run in runs]
        ),
        _line("run", "status", [run.info.status.value for run in runs]),
        _line("run", "duration", [format_duration(run.info.start_time, run.info.end_time) for run in runs]),
        _line("run", "user", [run.info.user_id for run in runs]),
    ]
    for kind in ("params", "metrics", "tags"):
        found = [getattr(run.data, kind) for run in runs]
        keys = sorted({key for mapping in found for key in mapping if key not in _TAGS_LEFT_OUT})
        lines += [_line(kind, key, [mapping.get(key) for mapping in found]) for key in keys]
    return lines


def _line(kind: str, key: str, values: Sequence[float | str | None]) -> Difference:
    shown = tuple(
        "" if value is None else format_number(value) if isinstance(value, float) else value
        for value in values
    )
    is_equal = all(str(value) == str(values[0]) for value in values)
    return Difference(kind, key, shown, is_equal)


def _plot_columns(runs: Sequence[Run]) -> list[Column]:
    """Return the columns that can be plotted: params and metrics, and the run's own times."""
    names = {f"params.{key}" for run in runs for key in run.data.params}
    names |= {f"metrics.{key}" for run in runs for key in run.data.metrics}
    ordered = sorted(names, key=lambda name: (name.startswith("metrics."), name))
    return [column for name in [*ordered, "start_time", "duration"] if (column := column_of(name))]


def _axes(view: View, runs: Sequence[Run], columns: Sequence[Column]) -> list[Column]:
    known = {column.name: column for column in columns}
    chosen = [known[name] for name in view.values("axis") if name in known]
    if chosen:
        return chosen[:AXES_MAX]
    return first_axes(runs, columns)


def first_axes(runs: Sequence[Run], columns: Sequence[Column]) -> list[Column]:
    """Return the params and metrics in which runs differ, those that most runs have before rarer ones."""
    counts = {column.name: _holders(runs, column) for column in columns}
    varied = _varied(runs, columns)
    metrics = [column for column in varied if column.is_number]
    params = [column for column in varied if not column.is_number]
    usual = max((counts[column.name] for column in varied), default=0)
    found = [*_commonest(params, counts)[:4], *_commonest(metrics, counts)[:2]]
    # A run is drawn only where it has a value on every axis.
    kept = [column for column in found if 2 * counts[column.name] >= usual]
    return kept if len(kept) > 1 else found


def _holders(runs: Sequence[Run], column: Column) -> int:
    return sum(plots.value_of(run, column) is not None for run in runs)


def _commonest(columns: Sequence[Column], counts: dict[str, int]) -> list[Column]:
    return sorted(columns, key=lambda column: -counts[column.name])


def _varied(runs: Sequence[Run], columns: Sequence[Column]) -> list[Column]:
    """Return the params and metrics in which runs differ."""
    return [
        column for column in columns if column.kind and len({plots.value_of(run, column) for run in runs}) > 1
    ]


def _scatter_columns(
    view: View, runs: Sequence[Run], columns: Sequence[Column]
) -> tuple[Column | None, Column | None]:
    known = {column.name: column for column in columns}
    varied = _varied(runs, columns) or columns
    across = known.get(view.value("across")) or next(iter(varied), None)
    metrics = [column for column in varied if column.is_number and column is not across]
    return across, known.get(view.value("up")) or next(iter(metrics), across)


def _files(view: View, runs: Sequence[Run], path: str) -> list[tuple[Run, Preview | None]]:
    found: list[tuple[Run, Preview | None]] = []
    for run in runs:
        try:
            found.append((run, preview_of(view.client, run.info.run_id, path)))
        except NotFound:
            found.append((run, None))
        except InvalidInput:  # the path is none
            raise
        except BridgeError as error:  # the store of files may be another than that of runs
            found.append((run, Preview(path, "none", note=f"it cannot be read now: {redact(str(error))}")))
    return found


def _file_difference(files: Sequence[tuple[Run, Preview | None]]) -> Preview | None:
    """Return in what the files of the first two runs differ."""
    shown = [preview for _, preview in files[:2] if preview is not None]
    return difference_of(*shown) if len(shown) == 2 else None


def _paths(view: View, run_id: str) -> list[str]:
    """Return the files at the root of a run, to choose from."""
    try:
        return [file.path for file in view.client.list_artifacts(run_id) if not file.is_dir][:PATHS_MAX]
    except BridgeError:  # a path can be typed as well
        return []
