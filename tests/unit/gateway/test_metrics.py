"""Histories of metrics: order, pages, several runs at once, and points chosen for curves."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_calls import Calls
from tests.support.program_state import forget
from trackbridge.domain.batches import MetricColumns
from trackbridge.gateway import histories as histories_module
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.histories import in_order_of_time
from trackbridge.gateway.metrics import chosen

INVALID = "INVALID_PARAMETER_VALUE"
RUN = "metrics/get-history?metric_key=m&run_id="
POINTS = [(9, 0, 0.0), (3, 1, 1.0), (3, 1, -1.0), (3, 0, math.nan), (5, 2, 2.0)]
"""Time, step and value."""
IN_ORDER = [(3, 0, "NaN"), (3, 1, -1.0), (3, 1, 1.0), (5, 2, 2.0), (9, 0, 0.0)]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BRIDGE_DELIVERY", "off")
        folder: Path = tmp_path_factory.mktemp("measured")
        yield Calls(Gateway(GatewayOptions(backend=f"file:{folder}/store")))
        forget()


@pytest.fixture(scope="module")
def run_id(call: Calls) -> str:
    return logged(call, POINTS)


def logged(call: Calls, points: list[tuple[int, int, float]]) -> str:
    made = str(call("POST", "runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"])
    given = [
        {"key": "m", "value": str(value), "timestamp": timestamp, "step": step}
        for timestamp, step, value in points
    ]
    call("POST", "runs/log-batch", {"run_id": made, "metrics": given})
    return made


def rows(answer: Any) -> list[tuple[int, int, object]]:
    return [(point["timestamp"], point["step"], point["value"]) for point in answer.get("metrics", [])]


def test_points_come_in_mlflows_order(call: Calls, run_id: str) -> None:
    answer = call("GET", RUN + run_id)
    assert rows(answer) == IN_ORDER
    assert set(answer["metrics"][0]) == {"key", "value", "timestamp", "step"}


def test_pages_hold_each_point_once_although_more_is_logged_meanwhile(call: Calls) -> None:
    made = logged(call, POINTS)
    first = call("GET", f"{RUN}{made}&max_results=2")
    call("POST", "runs/log-metric", {"run_id": made, "key": "m", "value": 7, "timestamp": 0})
    second = call("GET", f"{RUN}{made}&max_results=2&page_token={first['next_page_token']}")
    third = call("GET", f"{RUN}{made}&max_results=2&page_token={second['next_page_token']}")
    assert rows(first) + rows(second) + rows(third) == IN_ORDER
    assert "next_page_token" not in third
    assert rows(call("GET", RUN + made))[0] == (0, 0, 7.0)


def test_a_later_page_is_read_again_where_it_is_not_kept(
    call: Calls, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories_module, "KEPT_POINTS_MAX", 3)
    first = call("GET", f"{RUN}{run_id}&max_results=4")
    assert not call.gateway.histories._kept
    assert (
        rows(call("GET", f"{RUN}{run_id}&max_results=4&page_token={first['next_page_token']}"))
        == IN_ORDER[4:]
    )


def test_a_run_or_metric_that_is_not_has_no_points(call: Calls, run_id: str) -> None:
    assert call("GET", f"{RUN}none") == {}
    assert call("GET", f"metrics/get-history?metric_key=none&run_id={run_id}") == {}


@pytest.mark.parametrize("more", ["&max_results=0", "&max_results=x", "&page_token=x", "&page_token=WzFd"])
def test_a_wrong_page_is_refused(call: Calls, run_id: str, more: str) -> None:
    assert call.code("GET", RUN + run_id + more) == INVALID


def test_a_token_is_good_for_its_own_metric_only(call: Calls, run_id: str) -> None:
    token = call("GET", f"{RUN}{run_id}&max_results=1")["next_page_token"]
    assert call.code("GET", f"metrics/get-history?metric_key=n&run_id={run_id}&page_token={token}") == INVALID


def test_several_runs_at_once_are_cut_together(call: Calls, run_id: str) -> None:
    other = logged(call, POINTS[:2])
    bulk = f"metrics/get-history-bulk?metric_key=m&run_id={other}&run_id={run_id}"
    found = call("GET", bulk)["metrics"]
    assert [point["run_id"] for point in found] == sorted([run_id] * 5 + [other] * 2)
    assert [point["value"] for point in found if point["run_id"] == other] == [1.0, 0.0]
    assert call("GET", f"{bulk}&max_results=6")["metrics"] == found[:6]
    assert call("GET", "metrics/get-history-bulk?metric_key=none&run_id=x") == {"metrics": []}


def test_several_runs_are_delivered_once(call: Calls, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call.gateway.client.reader.drain()
    reader, drains = type(call.gateway.client.reader), []
    monkeypatch.setattr(reader, "drain", lambda reader: drains.append(reader))
    other = "0" * 32
    call("GET", f"metrics/get-history-bulk?metric_key=m&run_id={other}&run_id={run_id}&run_id=x")
    assert len(drains) == 1
    asked = f"metrics/get-history-bulk-interval?metric_key=m&run_ids={other}&run_ids={run_id}"
    assert len(call("GET", asked)["metrics"]) == len(POINTS)
    assert len(drains) == 2


@pytest.mark.parametrize(
    "query",
    ["get-history-bulk?metric_key=m", "get-history-bulk?run_id=r", "get-history-bulk-interval?metric_key=m"]
    + ["get-history-bulk?metric_key=m" + "&run_id=r" * 101]
    + [
        f"get-history-bulk-interval?metric_key=m&run_ids=r&{more}"
        for more in ("max_results=0", "start_step=1")
    ]
    + ["get-history-bulk-interval?metric_key=m&run_ids=r&start_step=2&end_step=1"],
)
def test_wrong_bulks_are_refused(call: Calls, query: str) -> None:
    assert call.code("GET", f"metrics/{query}") == INVALID


def test_a_curve_has_evenly_chosen_points_within_its_steps(call: Calls) -> None:
    made = logged(call, [(step, step, step / 2) for step in range(100)])
    asked = f"metrics/get-history-bulk-interval?metric_key=m&run_ids={made}"
    found = call("GET", f"{asked}&start_step=10&end_step=59&max_results=5")["metrics"]
    assert [point["step"] for point in found] == [10, 20, 30, 40, 59]
    assert found[0] == {"key": "m", "value": 5.0, "timestamp": 10, "step": 10, "run_id": made}
    assert len(call("GET", asked)["metrics"]) == 100
    assert call("GET", f"{asked}&start_step=500&end_step=600") == {}


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(0, 3, []), (3, 3, [0, 1, 2]), (10, 3, [0, 4, 9]), (10, 1, [9]), (7, 4, [0, 2, 4, 6])],
)
def test_points_are_chosen_as_ntile_divides(count: int, most: int, expected: list[int]) -> None:
    assert chosen(0, count, most) == expected


def test_a_history_in_order_is_not_copied() -> None:
    columns = MetricColumns(
        steps=array("q", [1, 2]), timestamps=array("q", [5, 5]), values=array("d", [1.0, 2.0])
    )
    assert in_order_of_time(columns) is columns
