"""Searches of mlflow's REST API: filters, order, stages and pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_calls import Calls
from tests.support.program_state import forget
from trackbridge.domain.paging import Page
from trackbridge.domain.runs import Run
from trackbridge.domain.search import Query
from trackbridge.gateway import searches
from trackbridge.gateway.gateway import Gateway, GatewayOptions

INVALID = "INVALID_PARAMETER_VALUE"


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    """Gives a gateway over a store of five runs in ``Default`` and three more experiments."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BRIDGE_DELIVERY", "off")
        folder: Path = tmp_path_factory.mktemp("searched")
        opened = Calls(Gateway(GatewayOptions(backend=f"file:{folder}/store")))
        for number in range(5):
            body = {"experiment_id": "0", "run_name": f"run{number}", "start_time": 1000 + number}
            run_id = opened("POST", "runs/create", body)["run"]["info"]["run_id"]
            metrics = [{"key": "acc", "value": number / 4, "timestamp": 1}]
            params = [{"key": "lr", "value": "0.1" if number % 2 else "0.2"}]
            opened("POST", "runs/log-batch", {"run_id": run_id, "metrics": metrics, "params": params})
            if number == 4:
                opened("POST", "runs/delete", {"run_id": run_id})
        for name in ("a", "b", "gone"):
            made = opened("POST", "experiments/create", {"name": name, "tags": [{"key": "k", "value": name}]})
        opened("POST", "experiments/delete", made)
        yield opened
        forget()


def names(call: Calls, **body: Any) -> list[str]:
    found = call("POST", "runs/search", {"experiment_ids": ["0"], **body}).get("runs", [])
    return [run["info"]["run_name"] for run in found]


def test_newest_runs_come_first_unless_ordered(call: Calls) -> None:
    assert names(call) == ["run3", "run2", "run1", "run0"]
    assert names(call, order_by=["metrics.acc ASC"]) == ["run0", "run1", "run2", "run3"]


def test_filters_and_stages(call: Calls) -> None:
    assert names(call, filter="metrics.acc > 0.2 and params.lr = '0.1'") == ["run3", "run1"]
    assert names(call, run_view_type="DELETED_ONLY") == ["run4"]
    assert len(names(call, run_view_type=3)) == 5
    assert names(call, experiment_ids=[]) == []
    assert names(call, experiment_ids=["77"]) == []


@pytest.mark.parametrize(("can_search", "asked"), [(True, [10_000, 10_000]), (False, [25_000])])
def test_a_backend_that_cannot_search_is_read_once_for_all_pages(
    call: Calls, monkeypatch: pytest.MonkeyPatch, can_search: bool, asked: list[int]
) -> None:
    reader, sizes = type(call.gateway.client.reader), []
    assert call.gateway.client.reader.capabilities.limits.page_items_max == 10_000

    def search_runs(*_: object, max_results: int, **__: object) -> Page[Run]:
        sizes.append(max_results)
        return Page(items=(), token="more" if len(sizes) < len(asked) else None)

    monkeypatch.setattr(reader, "can_search", lambda self, query: can_search)
    monkeypatch.setattr(reader, "search_runs", search_runs)
    assert names(call, max_results=25_000) == []
    assert sizes == asked


def test_pages_hold_every_run_once(call: Calls) -> None:
    found: list[str] = []
    token = None
    while True:
        body = {"experiment_ids": ["0"], "max_results": "3", "run_view_type": "ALL", "page_token": token}
        page = call("POST", "runs/search", body)
        found += [run["info"]["run_name"] for run in page["runs"]]
        token = page.get("next_page_token")
        if token is None:
            break
    assert found == ["run4", "run3", "run2", "run1", "run0"]


def test_more_than_a_page_of_the_backend_is_gathered(call: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = call.gateway.client.reader
    asked: list[int] = []
    search = reader.search_runs

    def two_at_most(*given: Any, max_results: int, **more: Any) -> Any:
        asked.append(max_results)
        return search(*given, max_results=min(2, max_results), **more)

    monkeypatch.setattr(reader, "search_runs", two_at_most)
    ids = call.gateway.experiments.ids(["0"])
    found, token = searches.runs_page(call.gateway, ids, Query(), stage=None, max_results=3, token=None)
    assert [run.info.run_name for run in found] == ["run4", "run3", "run2"]
    assert asked == [3, 1]
    found, token = searches.runs_page(call.gateway, ids, Query(), stage=None, max_results=3, token=token)
    assert ([run.info.run_name for run in found], token) == (["run1", "run0"], None)


@pytest.mark.parametrize(
    "body",
    [
        {"filter": "metrics.acc >"},
        {"order_by": ["colour"]},
        {"max_results": 0},
        {"max_results": 50_001},
        {"max_results": "many"},
        {"page_token": "nonsense"},
        {"run_view_type": "SOME"},
        {"order_by": [1]},
    ],
)
def test_a_wrong_search_is_refused(call: Calls, body: dict[str, Any]) -> None:
    assert call.code("POST", "runs/search", {"experiment_ids": ["0"], **body}) == INVALID


def experiments(call: Calls, **body: Any) -> list[str]:
    found = call("POST", "experiments/search", {"max_results": 10, **body}).get("experiments", [])
    return [experiment["name"] for experiment in found]


def test_experiments_are_found_by_filter_stage_and_order(call: Calls) -> None:
    assert sorted(experiments(call)) == ["Default", "a", "b"]
    assert experiments(call, view_type="DELETED_ONLY") == ["gone"]
    assert experiments(call, filter="name LIKE '%a%'", order_by=["name ASC"]) == ["Default", "a"]
    assert experiments(call, filter="tags.k = 'b'") == ["b"]
    assert experiments(call, order_by=["name DESC"], view_type=3) == ["gone", "b", "a", "Default"]
    query = "experiments/search?max_results=2&order_by=name%20ASC&view_type=ALL"
    page = call("GET", query)
    assert [item["name"] for item in page["experiments"]] == ["Default", "a"]
    rest = call("GET", f"{query}&page_token={page['next_page_token']}")
    assert ([item["name"] for item in rest["experiments"]], "next_page_token" in rest) == (
        ["b", "gone"],
        False,
    )


def test_experiments_are_found_by_the_id_that_is_told(call: Calls) -> None:
    assert experiments(call, filter="experiment_id = '0'") == ["Default"]
    assert experiments(call, filter="experiment_id IN ('0')") == ["Default"]
    assert sorted(experiments(call, filter="experiment_id != '0'")) == ["a", "b"]
    found = call("GET", "experiments/get-by-name?experiment_name=a")["experiment"]["experiment_id"]
    assert experiments(call, filter=f"experiment_id = '{found}'") == ["a"]


@pytest.mark.parametrize("body", [{}, {"max_results": 0}, {"max_results": 9, "filter": "name ="}])
def test_a_wrong_search_of_experiments_is_refused(call: Calls, body: dict[str, Any]) -> None:
    assert call.code("POST", "experiments/search", body) == INVALID


def test_a_token_is_good_for_its_own_search_only(call: Calls) -> None:
    token = call("POST", "experiments/search", {"max_results": 1})["next_page_token"]
    other = {"max_results": 1, "order_by": ["name ASC"], "page_token": token}
    assert call.code("POST", "experiments/search", other) == INVALID


def test_data_sets_are_asked_for_by_few_experiments(call: Calls) -> None:
    assert call("POST", "experiments/search-datasets", {"experiment_ids": ["0"]}) == {}
    assert call.code("POST", "experiments/search-datasets", {}) == INVALID
    many = {"experiment_ids": [str(number) for number in range(21)]}
    assert call.code("POST", "experiments/search-datasets", many) == INVALID
