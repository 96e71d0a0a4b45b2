"""The curves of runs as the chart's script draws them: compact columns in JSON."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from trackbridge.api.display import printable
from trackbridge.errors import InvalidInput
from trackbridge.gateway.pages.drawing import Frame, drawn
from trackbridge.gateway.pages.finding import all_experiments, known_runs
from trackbridge.gateway.pages.layout import Pages, View
from trackbridge.gateway.pages.runs import json_response

RUNS_MAX = 20
"""How many runs one chart draws."""


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run's curve; ``points`` is the length of its history, ``faint`` the values before smoothing."""

    run: str
    label: str
    xs: list[float]
    values: list[float]
    points: int
    faint_xs: list[float] = []
    faint: list[float] = []


class Chart(msgspec.Struct, frozen=True):
    """The curves of one metric. ``is_live`` says that a run is still logging."""

    metric: str
    axis: str
    series: list[Series]
    left_out: int
    is_live: bool


def curve_routes(pages: Pages) -> list[Route]:
    """Return the route of the curves."""
    return [pages.route("/curves", curves)]


def curves(view: View) -> Response:
    """Tell the curves of one metric of some runs."""
    metric, ids = view.value("metric"), view.values("run")[:RUNS_MAX]
    if not metric or not ids:
        raise InvalidInput("a chart needs a metric and runs", hint="/curves?metric=loss&run=…")
    frame = frame_of(view)
    experiments = view.values("experiment") or list(all_experiments(view.client))
    runs = known_runs(view.client, ids, experiments)
    series, left_out = [], 0
    for run in runs:
        columns = view.pages.histories.of(view.client, run, metric)
        shown = drawn(columns, frame, run.info.start_time)
        faint = (
            drawn(columns, replace(frame, smoothing=0.0), run.info.start_time) if frame.smoothing else None
        )
        label = printable(run.info.run_name or run.info.run_id, 60)
        one = Series(run.info.run_id, label, shown.xs, shown.values, len(columns))
        if faint is not None:
            one = msgspec.structs.replace(one, faint_xs=faint.xs, faint=faint.values)
        series.append(one)
        left_out += shown.left_out
    is_live = any(not run.info.status.is_final for run in runs)
    return json_response(Chart(metric, frame.axis, series, left_out, is_live))


def frame_of(view: View) -> Frame:
    """Return what a chart's address asks for.

    Raises:
        InvalidInput: A value in it is wrong.
    """
    return Frame(
        axis=view.value("x") or "step",
        low=_number(view, "low"),
        high=_number(view, "high"),
        width=int(_number(view, "width") or 800),
        smoothing=_number(view, "smooth") or 0.0,
        is_log=view.value("log") == "1",
    )


def _number(view: View, name: str) -> float | None:
    text = view.value(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInput(f"{name} is {text[:40]!r}, which is no number", hint="leave it out")
    return number
