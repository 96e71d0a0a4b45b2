"""Calls that fail, answers that refuse, and things that somebody took away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.adapters.sagemaker.tracking.rig import (
    EXPERIMENT,
    Fuse,
    described,
    now_ms,
    opened,
    summary_of,
    tags_of,
    untold_of,
)
from trackbridge.domain.runs import DatasetInput, RunStatus
from trackbridge.errors import AuthError, RateLimited, Rejected, Unavailable
from trackbridge.testing.contracts.samples import batch_of, run_spec
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.experiment_records import Experiments
from trackbridge_adapters.sagemaker import run_records
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.tracking import SageMakerTracking


def write_everything(store: SageMakerTracking, run_id: str, experiment: str, at: int) -> None:
    spec = run_spec("first", run_id=run_id, experiment=experiment, start_time=at, tags={"t": "0", "v": "0"})
    store.open_run(spec)
    points = [("m", float(step), step, at + step) for step in range(15)]
    store.write(batch_of(run_id, metrics=points, params=[("p", "1")], tags=[("t", "1"), ("v", None)]))
    store.write(batch_of(run_id, inputs=[DatasetInput(name="iris", digest="1")]))
    store.close_run(run_id, status=RunStatus.FINISHED, end_time=at + 100)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_break_anywhere_is_made_good_by_saying_it_again(
    after: bool, place: Callable[..., Backend], sagemaker: Any
) -> None:
    at, calls, backend = now_ms(), 0, place()
    for calls in range(1, 100):
        run_id, experiment = f"{calls:032x}", f"e{calls}"
        with Fuse(backend, calls, after=after) as fuse, contextlib.suppress(Unavailable):
            write_everything(SageMakerTracking(backend), run_id, experiment, at)
        store = SageMakerTracking(backend)
        write_everything(store, run_id, experiment, at)
        assert_whole(store, sagemaker, run_id, experiment)
        if not fuse.is_blown:
            break
    assert 20 < calls < 99


def assert_whole(store: SageMakerTracking, sagemaker: Any, run_id: str, experiment: str) -> None:
    run = store.get_run(run_id)
    assert (run.info.status, run.data.params, run.data.metrics) == (
        RunStatus.FINISHED,
        {"p": "1"},
        {"m": 14.0},
    )
    assert {key: run.data.tags.get(key) for key in "tv"} == {"t": "1", "v": None}
    assert len(store.metric_history(run_id, "m")) == 15
    assert [item.info.run_id for item in store.list_runs(run.info.experiment_id)] == [run_id]
    found = sagemaker.describe_trial_component(TrialComponentName=f"{experiment}-{run_id}")
    assert found["Status"]["PrimaryStatus"] == "Completed"
    assert found["Parameters"] == {"p": {"NumberValue": 1.0}}
    assert "iris@1" in found["InputArtifacts"]
    tags = tags_of(sagemaker, found["TrialComponentArn"])
    assert (tags["t"], "v" in tags) == ("1", False)
    assert summary_of(found, "m")["Last"] == 14.0
    assert len(sagemaker.list_trial_components(ExperimentName=experiment)["TrialComponentSummaries"]) == 1


def test_points_are_not_sent_twice_when_sagemaker_asks_for_fewer_calls(
    aws: SageMakerEmulator, store: SageMakerTracking, sagemaker: Any
) -> None:
    run_id, now = opened(store), now_ms()
    batch = batch_of(run_id, metrics=[("m", float(step), step, now) for step in range(100)])
    aws.cloud.clock.stop()
    aws.throttle("BatchPutMetrics", per_second=3)
    refusals = 0
    for _ in range(60):
        try:
            store.write(batch)
        except RateLimited:
            refusals += 1
            aws.cloud.clock.advance(1.1)
        else:
            break
    assert refusals > 1
    store.write(batch)
    assert summary_of(described(sagemaker, run_id), "m")["Count"] == 100
    assert len(store.metric_history(run_id, "m")) == 100


@pytest.mark.parametrize("again", [False, True])
def test_points_refused_inside_of_an_answer_are_read(
    again: bool, place: Callable[..., Backend], aws: SageMakerEmulator, sagemaker: Any
) -> None:
    """The service answers 200, and names points that it did not keep."""
    backend = place()
    store = SageMakerTracking(backend)
    run_id, now = opened(store), now_ms()
    put, answers = backend.clients.call, iter([["INTERNAL_ERROR"], ["INTERNAL_ERROR"] if again else []])

    def call(service: str, operation: str, /, **named: Any) -> dict[str, Any]:
        codes = next(answers, []) if operation == "BatchPutMetrics" else []
        if not codes:
            return put(service, operation, **named)
        data = named["MetricData"]
        place = 3 if len(data) > 3 else 0
        kept = [point for index, point in enumerate(data) if index != place]
        if kept:
            put(service, operation, **{**named, "MetricData": kept})
        return {"Errors": [{"Code": code, "MetricIndex": place} for code in codes]}

    backend.clients.call = call  # type: ignore[method-assign]
    batch = batch_of(run_id, metrics=[("m", float(step), step, now) for step in range(10)])
    if again:
        with pytest.raises(Unavailable, match="1 points"):
            store.write(batch)
    store.write(batch)
    assert summary_of(described(sagemaker, run_id), "m")["Count"] == 10
    assert len(store.metric_history(run_id, "m")) == 10


@pytest.mark.parametrize("code", ["METRIC_LIMIT_EXCEEDED", "VALIDATION_ERROR", "CONFLICT_ERROR"])
def test_points_that_sagemaker_never_takes_are_kept_by_us_and_counted(
    code: str, place: Callable[..., Backend]
) -> None:
    backend = place()
    store = SageMakerTracking(backend)
    run_id, now = opened(store), now_ms()
    put = backend.clients.call
    calls = 0

    def call(service: str, operation: str, /, **named: Any) -> dict[str, Any]:
        nonlocal calls
        if operation != "BatchPutMetrics":
            return put(service, operation, **named)
        calls += 1
        return {"Errors": [{"Code": code, "MetricIndex": index} for index in range(len(named["MetricData"]))]}

    backend.clients.call = call  # type: ignore[method-assign]
    batch = batch_of(run_id, metrics=[("m", float(step), step, now) for step in range(5)])
    assert store.write(batch).rejected == ()
    assert store.write(batch).rejected == ()
    assert len(store.metric_history(run_id, "m")) == 5
    assert untold_of(backend, run_id) == {code: 5}
    before = calls
    store.write(batch_of(run_id, metrics=[("m", 9.0, 9, now), ("n", 9.0, 9, now)]))
    if code == "METRIC_LIMIT_EXCEEDED":
        assert untold_of(backend, run_id) == {code: 6}, "a metric that is full is not sent any more"
    assert calls > before


def test_an_update_that_sagemaker_never_takes_does_not_hold_the_run_up(
    aws: SageMakerEmulator, store: SageMakerTracking, place: Callable[..., Backend]
) -> None:
    run_id = opened(store)
    aws.faults.fail("UpdateTrialComponent", times=1, code="ValidationException", message="no", status=400)
    store.write(batch_of(run_id, params=[("p", "1")]))
    assert store.get_run(run_id).data.params == {"p": "1"}
    assert untold_of(place(), run_id) == {"component": 1}


def test_a_component_that_somebody_deleted_is_made_again(store: SageMakerTracking, sagemaker: Any) -> None:
    run_id, now = opened(store, tags={"t": "1"}), now_ms()
    store.write(batch_of(run_id, params=[("p", "1")]))
    name = f"{EXPERIMENT}-{run_id}"
    trial = f"Default-Run-Group-{EXPERIMENT}"

    def remove() -> None:
        sagemaker.disassociate_trial_component(TrialName=trial, TrialComponentName=name)
        sagemaker.delete_trial_component(TrialComponentName=name)

    remove()
    assert store.get_run(run_id).data.params == {"p": "1"}
    store.write(batch_of(run_id, metrics=[("m", 1.0, 0, now)]))
    assert summary_of(described(sagemaker, run_id), "m")["Count"] == 1
    assert described(sagemaker, run_id)["Parameters"] == {"p": {"NumberValue": 1.0}}
    remove()
    store.close_run(run_id, status=RunStatus.FINISHED, end_time=now)
    assert described(sagemaker, run_id)["Parameters"] == {"p": {"NumberValue": 1.0}}
    remove()
    sagemaker.delete_trial(TrialName=trial)
    sagemaker.delete_experiment(ExperimentName=EXPERIMENT)
    assert [run.info.run_id for run in store.list_runs(store.get_run(run_id).info.experiment_id)] == [run_id]
    another = opened(store)
    assert store.get_run(another).info.experiment_id == store.get_run(run_id).info.experiment_id
    assert described(sagemaker, another)["Status"]["PrimaryStatus"] == "InProgress"


def test_a_run_opened_twice_at_different_times_is_listed_once(
    store: SageMakerTracking, place: Callable[..., Backend]
) -> None:
    """A process broke off between the key of the listing and the record; another start time is said later."""
    broken = place()
    put = broken.bucket.put

    def break_off(key: str, data: bytes, **named: Any) -> str:
        if key.endswith("run.json"):
            raise Unavailable("broken")
        return put(key, data, **named)

    broken.bucket.put = break_off  # type: ignore[method-assign]
    spec = run_spec(experiment=EXPERIMENT, start_time=5_000)
    with pytest.raises(Unavailable):
        SageMakerTracking(broken).open_run(spec)
    run_id = opened(store, run_id=spec.run_id, start_time=9_000)
    listed = store.list_runs(store.get_run(run_id).info.experiment_id)
    assert [run.info.start_time for run in listed] == [9_000]


def test_a_record_that_is_damaged_is_named(store: SageMakerTracking, place: Callable[..., Backend]) -> None:
    run_id = opened(store)
    backend = place()
    backend.bucket.put(run_records.run_key(run_id), b"{")
    for read in (lambda: store.get_run(run_id), lambda: store.write(batch_of(run_id, params=[("p", "1")]))):
        with pytest.raises(Rejected, match="cannot be read") as caught:
            read()
        assert backend.bucket.address(run_records.run_key(run_id)) in str(caught.value)


@pytest.mark.parametrize(
    ("action", "verb"),
    [
        ("sagemaker:CreateTrialComponent", "open"),
        ("sagemaker:BatchPutMetrics", "write"),
        ("s3:PutObject", "write"),
        ("s3:GetObject", "read"),
        ("sagemaker:Search", "list"),
    ],
)
def test_a_role_without_a_right_is_told_which(
    action: str, verb: str, aws: SageMakerEmulator, store: SageMakerTracking
) -> None:
    run_id = opened(store)
    experiment_id = store.get_run(run_id).info.experiment_id
    aws.deny(action)
    verbs: dict[str, Callable[[], object]] = {
        "open": lambda: opened(store, "second"),
        "write": lambda: store.write(batch_of(run_id, metrics=[("m", 1.0, 0, now_ms())])),
        "read": lambda: store.get_run(run_id),
        "list": lambda: store.list_runs(experiment_id),
    }
    with pytest.raises(AuthError) as caught:
        verbs[verb]()
    assert caught.value.hint


@pytest.mark.parametrize("is_refused", [False, True])
def test_a_run_in_the_second_trial_has_not_the_tag_of_the_first(
    is_refused: bool, aws: SageMakerEmulator, place: Callable[..., Backend], sagemaker: Any
) -> None:
    """Broken off before the tag was taken off; and where taking it off is refused, the run is there."""
    aws.cloud.part(Experiments).components_per_trial = 1
    backend = place()
    store = SageMakerTracking(backend)
    opened(store)
    spec, call = run_spec("second", experiment=EXPERIMENT, start_time=now_ms()), backend.clients.call

    def break_off(service: str, operation: str, /, **named: Any) -> dict[str, Any]:
        if operation == "DeleteTags":
            raise Unavailable("broken")
        return call(service, operation, **named)

    backend.clients.call = break_off  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        store.open_run(spec)
    if is_refused:
        aws.deny("sagemaker:DeleteTags")
    SageMakerTracking(place()).open_run(spec)
    tags = tags_of(sagemaker, described(sagemaker, spec.run_id)["TrialComponentArn"])
    assert ("sagemaker:trial-component-source" in tags) == is_refused


def test_a_quota_of_experiments_does_not_keep_a_run_from_being_recorded(
    aws: SageMakerEmulator, store: SageMakerTracking, sagemaker: Any
) -> None:
    aws.faults.fail("CreateExperiment", times=None, code="ResourceLimitExceeded", message="no", status=400)
    run_id = opened(store, tags={"t": "1"})
    store.write(batch_of(run_id, params=[("p", "1")], metrics=[("m", 1.0, 0, now_ms())]))
    run = store.get_run(run_id)
    assert (run.data.params, run.data.metrics) == ({"p": "1"}, {"m": 1.0})
    assert [item.info.run_id for item in store.list_runs(run.info.experiment_id)] == [run_id]
    assert described(sagemaker, run_id)["Parameters"] == {"p": {"NumberValue": 1.0}}
    aws.faults.clear()
    assert described(sagemaker, opened(store))["Status"]["PrimaryStatus"] == "InProgress"
    assert sagemaker.describe_experiment(ExperimentName=EXPERIMENT)["DisplayName"] == EXPERIMENT


@pytest.mark.parametrize("times", [1, None])
def test_a_component_that_sagemaker_refuses_does_not_keep_a_run_from_being_recorded(
    times: int | None,
    aws: SageMakerEmulator,
    store: SageMakerTracking,
    place: Callable[..., Backend],
    sagemaker: Any,
) -> None:
    aws.faults.fail("CreateTrialComponent", times=times, code="ValidationException", message="no", status=400)
    run_id = opened(store, tags={"team": "blue"})
    assert store.get_run(run_id).data.tags["team"] == "blue"
    if times is None:
        assert untold_of(place(), run_id) == {"component": 1}
    else:
        found = described(sagemaker, run_id)
        assert tags_of(sagemaker, found["TrialComponentArn"]).keys() == {
            "bridge:run-id",
            "sagemaker:trial-component-source",
        }
        assert untold_of(place(), run_id) == {}
    store.write(batch_of(run_id, params=[("p", "1")], metrics=[("m", 1.0, 0, now_ms())]))
    assert store.get_run(run_id).data.params == {"p": "1"}


def test_pages_of_runs_of_one_start_and_unusual_ids_lose_none(store: SageMakerTracking) -> None:
    ids = ["t.1", "sz", "a", "Z", "sha-x", "\u00e4", "t-1"]
    for run_id in ids:
        opened(store, run_id=run_id, start_time=5_000)
    opened(store, run_id="later", start_time=6_000)
    opened(store, run_id="earlier", start_time=4_000)
    experiment_id = store.get_run("a").info.experiment_id
    for size in (1, 2, 3, 100):
        found: list[str] = []
        token = None
        while True:
            page = store.list_runs(experiment_id, max_results=size, token=token)
            found += [run.info.run_id for run in page]
            token = page.token
            if token is None:
                break
        assert found == ["later", *sorted(ids), "earlier"]
