"""Reading past what a backend can: side-cars merged back, search done here, outages survived."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from msgspec.structs import replace

import trackbridge as tb
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.api import reading
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.delivery import connect
from trackbridge.domain.metric_values import NON_FINITE
from trackbridge.errors import InvalidInput, Unavailable
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature, Limits
from trackbridge.testing.faults import Faults, faulty_adapter


@pytest.fixture
def stand_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Let every URI lead to a given adapter."""

    def use(adapter: Adapter) -> tb.Client:
        monkeypatch.setattr(connect, "open_uri", lambda uri, **_: adapter)
        monkeypatch.setattr(reading, "open_uri", lambda uri, **_: adapter)
        tb.set_tracking_uri(project / "store")
        return tb.Client()

    return use


def test_what_a_backend_cannot_hold_reads_as_if_it_could(stand_in) -> None:  # type: ignore[no-untyped-def]
    limits = Limits(
        metrics_per_write_max=10,
        key_chars_max=40,
        key_pattern=r"[a-z0-9_.]+",
        param_value_chars_max=50,
        metric_values_unheld=NON_FINITE,
    )
    client = stand_in(MemoryAdapter(limits=limits, missing={Feature.TRACKING_DATASETS: "not here"}))
    with tb.start_run() as run:
        tb.log_params({"text": "long " * 100, "Odd Key[0]": "1"})
        for step in range(30):
            tb.log_metric("acc@5", math.nan if step == 7 else step / 3, step=step)
        tb.log_input({"x": [1]}, name="wine")
    read = client.get_run(run.info.run_id)
    assert read.data.params == {"text": "long " * 100, "Odd Key[0]": "1"}
    assert list(read.data.metrics) == ["acc@5"]
    assert read.data.metrics["acc@5"] == 29 / 3
    assert [dataset.name for dataset in read.inputs.dataset_inputs] == ["wine"]
    (listed,) = tb.search_runs(filter_string="attributes.status = 'FINISHED'")
    assert listed.data == read.data
    assert listed.inputs == read.inputs
    points = client.get_metric_history(run.info.run_id, "acc@5")
    assert [point.step for point in points] == list(range(30))
    assert math.isnan(points[7].value)


def test_a_search_that_the_backend_cannot_do_is_done_here(stand_in) -> None:  # type: ignore[no-untyped-def]
    stand_in(MemoryAdapter(missing={Feature.TRACKING_SEARCH: "not here"}))
    tb.set_experiment("search")
    for number in range(7):
        with tb.start_run(run_name=f"run-{number}"):
            tb.log_metric("acc", number)
    condition = "metrics.acc > 1 and attributes.run_name LIKE 'run%'"
    first = tb.search_runs(filter_string=condition, order_by=["metrics.acc DESC"], max_results=3)
    rest = tb.search_runs(filter_string=condition, order_by=["metrics.acc DESC"], page_token=first.token)
    assert [run.data.metrics["acc"] for run in [*first, *rest]] == [6, 5, 4, 3, 2]
    with pytest.raises(InvalidInput, match="page token"):
        tb.search_runs(filter_string=condition, page_token="nonsense")


def test_a_backend_that_lists_no_experiments_is_logged_to(stand_in) -> None:  # type: ignore[no-untyped-def]
    adapter = MemoryAdapter(missing={Feature.TRACKING_EXPERIMENT_LISTING: "not here"})
    adapter.capabilities = lambda: replace(MemoryAdapter.capabilities(adapter), is_local=True)  # type: ignore[method-assign]
    client = stand_in(adapter)
    assert client.looks_first
    tb.set_experiment("unlisted")
    with tb.start_run() as run:
        tb.log_metric("acc", 0.5)
    assert client.get_run(run.info.run_id).data.metrics == {"acc": 0.5}


def test_a_search_here_is_bounded(stand_in, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    stand_in(MemoryAdapter(missing={Feature.TRACKING_SEARCH: "not here"}))
    monkeypatch.setattr(reading, "RUNS_FILTERED_HERE_MAX", 3)
    tb.set_experiment("search")
    for _ in range(4):
        with tb.start_run():
            pass
    with pytest.raises(InvalidInput, match="more than 3 runs") as caught:
        tb.search_runs(filter_string="metrics.acc > 1")
    assert "fewer experiments" in str(caught.value.hint)


def test_an_outage_stops_neither_logging_nor_reading_ones_own_run(
    stand_in,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    adapter = faulty_adapter(MemoryAdapter(), Faults(transient=1.0))
    piped = wrap_adapter(adapter, CallPolicy(attempts_max=1))
    monkeypatch.setenv("BRIDGE_READ_WAIT_S", "0.2")
    client = stand_in(piped)
    run = tb.start_run()
    tb.log_metric("loss", 1.0)
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 1.0}
    tb.end_run()
    with pytest.raises(Unavailable, match="not delivered") as caught:
        client.get_run(run.info.run_id)
    assert "bridge sync status" in str(caught.value.hint)


def test_a_resumed_run_shows_what_was_there_before(project: Path) -> None:
    with tb.start_run() as run:
        tb.log_param("lr", 0.1)
        tb.log_metric("loss", 1.0, step=1)
    with tb.start_run(run_id=run.info.run_id):
        tb.log_metric("acc", 0.5)
        read = tb.get_run(run.info.run_id)
        assert read.data.params == {"lr": "0.1"}
        assert read.data.metrics == {"loss": 1.0, "acc": 0.5}


def test_a_reason_that_a_registry_will_not_keep_is_told(stand_in) -> None:  # type: ignore[no-untyped-def]
    client = stand_in(MemoryAdapter(missing={Feature.REGISTRY_HISTORY: "not here"}))
    with pytest.warns(UserWarning, match="keeps no history of changes"):
        client.create_registered_model("wine", why="for the report")
    client.create_registered_model("beer")
