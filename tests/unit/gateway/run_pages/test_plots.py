"""Scatter and parallel coordinates: where runs are drawn."""

from __future__ import annotations

import math

from trackbridge.domain.runs import Run, RunData, RunInfo, RunStatus
from trackbridge.gateway.pages import compare, plots
from trackbridge.gateway.pages.run_table import (
    Column,
    chosen_columns,
    column_of,
    next_sort,
    order_of,
    quoted_column,
)


def run(number: int, params: dict[str, str], metrics: dict[str, float]) -> Run:
    info = RunInfo(
        run_id=f"{number:032x}",
        experiment_id="e",
        run_name=f"run {number}",
        user_id="ada",
        status=RunStatus.FINISHED,
        start_time=number,
        end_time=number + 1000,
    )
    return Run(info=info, data=RunData(params=params, metrics=metrics))


def column(name: str) -> Column:
    found = column_of(name)
    assert found is not None
    return found


RUNS = [
    run(1, {"lr": "0.1", "kind": "b"}, {"acc": 0.0}),
    run(2, {"lr": "0.3", "kind": "a"}, {"acc": 1.0}),
    run(3, {"lr": "0.2"}, {"acc": math.nan}),
]


def test_runs_without_a_value_are_left_out_and_counted() -> None:
    plot = plots.scatter(RUNS, column("params.lr"), column("metrics.acc"))
    assert [dot.run.info.run_name for dot in plot.dots] == ["run 1", "run 2"]
    assert plot.left_out == 1
    left, right = plot.dots
    assert left.x < right.x
    assert left.y > right.y  # pixels are counted from the top


def test_texts_have_places_in_order() -> None:
    axis = plots.axis_of(RUNS, column("params.kind"))
    assert axis.ticks == ((0.0, "a"), (1.0, "b"))
    assert [axis.place(run) for run in RUNS] == [1.0, 0.0, None]


def test_lines_go_across_all_axes() -> None:
    plot = plots.parallel(RUNS, [column(name) for name in ("params.lr", "params.kind", "metrics.acc")])
    assert [len(line.points.split()) for line in plot.lines] == [3, 3]
    assert plot.left_out == 1


def test_the_first_axes_are_those_across_which_most_runs_are_drawn() -> None:
    runs = [run(n, {"a rare one": "x"} if n == 1 else {"lr": str(n)}, {"acc": float(n)}) for n in range(1, 5)]
    columns = [column(name) for name in ("params.a rare one", "params.lr", "metrics.acc")]
    axes = compare.first_axes(runs, columns)
    assert [axis.name for axis in axes] == ["params.lr", "metrics.acc"]
    assert plots.parallel(runs, axes).left_out == 1


def test_where_every_param_is_rare_those_are_the_axes() -> None:
    runs = [run(n, {f"p{n}": "x"}, {f"m{n}": 1.0}) for n in range(1, 4)]
    axes = compare.first_axes(runs, [column("params.p1"), column("metrics.m2")])
    assert [axis.name for axis in axes] == ["params.p1", "metrics.m2"]


def test_the_greatest_floats_can_be_drawn() -> None:
    runs = [run(1, {}, {"a": -1.7e308}), run(2, {}, {"a": 1.7e308}), run(3, {}, {"a": 0.0})]
    axis = plots.axis_of(runs, column("metrics.a"))
    assert [axis.place(each) for each in runs] == [0.0, 1.0, 0.5]
    assert len(axis.ticks) == plots.TICKS


def test_columns_are_chosen_by_name_and_nonsense_is_left_out() -> None:
    chosen = chosen_columns(["metrics.acc", "nonsense", "metrics.", "user_id"], RUNS)
    assert [found.name for found in chosen] == ["metrics.acc", "user_id"]
    default = [found.name for found in chosen_columns([], RUNS)]
    assert default == ["status", "start_time", "duration", "metrics.acc", "params.lr", "params.kind"]


def test_an_order_is_quoted_for_the_search_language() -> None:
    assert order_of('-params.a "b" c') == ['params."a ""b"" c" DESC']
    assert order_of("duration") == order_of("") == order_of("x; DROP") == []
    assert quoted_column("metrics", "val/loss") == "metrics.val/loss"


def test_a_heading_sorts_metrics_by_the_greatest_first_and_then_turns_round() -> None:
    acc, name = column("metrics.acc"), column("run_name")
    assert next_sort(acc, "") == "-metrics.acc"
    assert next_sort(acc, "-metrics.acc") == "metrics.acc"
    assert next_sort(acc, "metrics.acc") == "-metrics.acc"
    assert next_sort(name, "-metrics.acc") == "run_name"


def test_times_are_told_as_such() -> None:
    day_ms = 86_400_000
    runs = [run(number * day_ms, {}, {"acc": float(number)}) for number in (1, 5)]
    plot = plots.scatter(runs, column("start_time"), column("metrics.acc"))
    days = [label for _, label in plot.axes[0][1].ticks]
    assert days == ["1970-01-02", "1970-01-03", "1970-01-04", "1970-01-05", "1970-01-06"]
    assert plot.dots[0].text.endswith("1970-01-02 00:00:00, 1")
    short = plots.axis_of([run(0, {}, {}), run(4000, {}, {})], column("start_time"))
    assert [label for _, label in short.ticks][:2] == ["00:00:00", "00:00:01"]
