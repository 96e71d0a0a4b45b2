"""Runs that others made, and what they added to runs of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.unit.adapters.sagemaker.tracking.rig import (
    EXPERIMENT,
    FOREIGN,
    described,
    made_by_others,
    now_ms,
    opened,
    tags_of,
)
from trackbridge.domain.runs import LifecycleStage, RunStatus
from trackbridge.errors import NotFound, Rejected, Unavailable
from trackbridge.testing.contracts.samples import batch_of, points_of, run_spec
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.metrics import Metrics
from trackbridge.testing.emulators.sagemaker.search import SearchIndex
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.tracking import SageMakerTracking


def test_a_run_of_others_is_a_run(store: SageMakerTracking, sagemaker: Any, metrics: Any) -> None:
    name = made_by_others(sagemaker, metrics)
    run = store.get_run(name)
    assert (run.info.run_id, run.info.run_name, run.info.experiment_id) == (name, "run-1", FOREIGN)
    assert run.info.status is RunStatus.FINISHED
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_250, 1_700_000_060_500)
    assert run.data.params == {"lr": "0.1", "epochs": "3", "kind": "cnn"}
    assert run.data.metrics == {"loss": 0.2, "stepless": 7.0}
    assert run.data.tags["team"] == "blue"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.name, dataset.source_type, dataset.source) == ("train", "s3", "s3://bucket/train.csv")
    history = store.metric_history(name, "loss")
    assert list(history.steps) == [0, 1, 2, 3, 4]
    assert list(history.values) == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert list(store.metric_history(name, "stepless").values) == [7.0]
    assert len(store.metric_history(name, "absent")) == 0


def test_runs_and_experiments_of_others_are_listed_among_ours(
    store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    name = made_by_others(sagemaker, metrics)
    later = made_by_others(sagemaker, metrics, "run-2", StartTime=1_700_000_009.0)
    ours = opened(store, experiment=FOREIGN, start_time=1_700_000_005_000)
    ours_first = opened(store, experiment=FOREIGN, start_time=1)
    other = opened(store)
    assert {item.name for item in store.list_experiments()} == {FOREIGN, EXPERIMENT}
    listed = store.list_runs(FOREIGN)
    assert [run.info.run_id for run in listed] == [later, ours, name, ours_first]
    assert repr(listed.items[2]) == repr(store.get_run(name))
    page = store.list_runs(FOREIGN, max_results=3)
    assert [run.info.run_id for run in page] == [later, ours, name]
    assert [run.info.run_id for run in store.list_runs(FOREIGN, max_results=3, token=page.token)] == [
        ours_first
    ]
    assert store.get_run(other).info.experiment_id != FOREIGN


def test_what_others_add_to_a_run_of_ours_is_shown(
    store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    run_id, now = opened(store), now_ms()
    store.write(batch_of(run_id, params=[("ours", "1")], metrics=[("m", 1.0, 0, now)]))
    name = f"{EXPERIMENT}-{run_id}"
    parameters = described(sagemaker, run_id)["Parameters"]
    theirs = {"theirs": {"NumberValue": 2.0}, "ours": {"StringValue": "changed"}}
    sagemaker.update_trial_component(TrialComponentName=name, Parameters={**parameters, **theirs})
    data = [{"MetricName": key, "Step": 4, "Value": 9.0, "Timestamp": time.time()} for key in ("m", "n")]
    metrics.batch_put_metrics(TrialComponentName=name, MetricData=data)
    run = store.get_run(run_id)
    assert run.data.params == {"ours": "1", "theirs": "2"}
    assert run.data.metrics == {"m": 1.0, "n": 9.0}
    assert list(store.metric_history(run_id, "n").steps) == [4]
    assert list(store.metric_history(run_id, "m").steps) == [0]
    assert [repr(item) for item in store.list_runs(run.info.experiment_id)] == [repr(run)]
    # What we write next does not wipe it out.
    store.write(batch_of(run_id, params=[("more", "1")]))
    assert described(sagemaker, run_id)["Parameters"]["theirs"] == {"NumberValue": 2.0}
    assert store.get_run(run_id).data.params == {"ours": "1", "more": "1", "theirs": "2"}


def test_a_run_of_others_can_be_written_to_and_keeps_what_it_had(
    store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    name = made_by_others(sagemaker, metrics)
    before = store.get_run(name)
    history = points_of(store.metric_history(name, "loss"))
    batch = batch_of(
        name,
        params=[("lr", "0.2"), ("kind", "cnn"), ("new", "1")],
        metrics=[("loss", 0.01, 9, now_ms())],
        tags=[("team", "red")],
        first_sequence=1,
    )
    assert [rejection.sequence for rejection in store.write(batch).rejected] == [2]
    run = store.get_run(name)
    assert run.data.params == {**before.data.params, "new": "1"}
    assert run.data.metrics == {**before.data.metrics, "loss": 0.01}
    assert run.data.tags["team"] == "red"
    assert points_of(store.metric_history(name, "loss"))[:5] == history
    assert list(store.metric_history(name, "loss").steps) == [0, 1, 2, 3, 4, 9]
    assert [item.info.run_id for item in store.list_runs(FOREIGN)] == [name]
    assert run.info == before.info


def test_a_taking_over_that_broke_off_doubles_no_point(
    place: Callable[..., Backend], sagemaker: Any, metrics: Any
) -> None:
    """The chunk was kept and the record was not; then the run that goes on elsewhere wrote another point."""
    name, broken = made_by_others(sagemaker, metrics), place()
    put = broken.bucket.put

    def break_off(key: str, data: bytes, **named: Any) -> str:
        if key.endswith("run.json"):
            raise Unavailable("broken")
        return put(key, data, **named)

    broken.bucket.put = break_off  # type: ignore[method-assign]
    batch = batch_of(name, params=[("p", "1")])
    with pytest.raises(Unavailable):
        SageMakerTracking(broken).write(batch)
    data = [{"MetricName": "loss", "Step": 5, "Value": 0.1, "Timestamp": time.time()}]
    metrics.batch_put_metrics(TrialComponentName=name, MetricData=data)
    store = SageMakerTracking(place())
    store.write(batch)
    assert list(store.metric_history(name, "loss").steps) == [0, 1, 2, 3, 4, 5]


def test_a_tag_that_others_set_can_be_deleted(store: SageMakerTracking, sagemaker: Any, metrics: Any) -> None:
    name = made_by_others(sagemaker, metrics)
    store.write(batch_of(name, tags=[("team", None)]))
    assert "team" not in store.get_run(name).data.tags
    arn = sagemaker.describe_trial_component(TrialComponentName=name)["TrialComponentArn"]
    assert set(tags_of(sagemaker, arn)) >= {"bridge:run-id", "sagemaker:trial-component-source"}
    assert "team" not in tags_of(sagemaker, arn)


def test_a_history_that_comes_in_pieces_is_read_whole(
    aws: SageMakerEmulator, store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    name = made_by_others(sagemaker, metrics)
    aws.cloud.part(Metrics).query_points_max = 2
    assert list(store.metric_history(name, "loss").steps) == [0, 1, 2, 3, 4]


def test_an_experiment_of_ours_is_found_by_sagemakers_name_too(store: SageMakerTracking) -> None:
    run_id = opened(store, experiment="My digits")
    (experiment,) = store.list_experiments()
    assert experiment.native_id is not None
    assert experiment.native_id.startswith("my-digits-")
    assert [run.info.run_id for run in store.list_runs(experiment.native_id)] == [run_id]
    store.delete_experiment(experiment.native_id)
    assert store.list_runs(experiment.experiment_id).items == ()


def test_a_run_of_others_can_be_deleted_and_restored(
    store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    name = made_by_others(sagemaker, metrics)
    before = store.get_run(name)
    store.delete_run(name)
    assert store.list_runs(FOREIGN).items == ()
    assert store.get_run(name).info.lifecycle_stage is LifecycleStage.DELETED
    store.restore_run(name)
    after = store.get_run(name)
    assert (before.data.moments, after.data.moments["loss"].step) == ({}, 4)  # it was read whole, for once
    data = msgspec.structs.replace(after.data, moments={})
    assert repr(msgspec.structs.replace(after, data=data)) == repr(before)


def test_an_experiment_of_others_can_be_deleted_and_restored(
    store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    name = made_by_others(sagemaker, metrics)
    store.delete_experiment(FOREIGN)
    assert [item.name for item in store.list_experiments(stage=LifecycleStage.DELETED)] == [FOREIGN]
    assert store.list_runs(FOREIGN).items == ()
    with pytest.raises(Rejected):
        store.write(batch_of(name, params=[("p", "1")]))
    store.restore_experiment(FOREIGN)
    assert [run.info.run_id for run in store.list_runs(FOREIGN)] == [name]


def test_a_run_of_others_is_opened_by_its_name(
    store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    name = made_by_others(sagemaker, metrics)
    run = store.open_run(run_spec("again", run_id=name, experiment=FOREIGN, tags={"t": "1"}, resume=True))
    assert run.info.status is RunStatus.RUNNING
    assert run.data.tags["t"] == "1"
    assert run.data.params["kind"] == "cnn"


def test_a_component_in_no_experiment_is_a_run_too(store: SageMakerTracking, sagemaker: Any) -> None:
    sagemaker.create_trial_component(TrialComponentName="Job-aws-training-job")
    run = store.get_run("Job-aws-training-job")
    assert (run.info.experiment_id, run.info.status) == ("", RunStatus.SCHEDULED)
    store.write(batch_of("Job-aws-training-job", metrics=[("m", 1.0, 0, now_ms())]))
    assert store.get_run("Job-aws-training-job").data.metrics == {"m": 1.0}
    sagemaker.delete_trial_component(TrialComponentName="Job-aws-training-job")
    store.write(batch_of("Job-aws-training-job", metrics=[("m", 2.0, 1, now_ms())], params=[("p", "1")]))
    assert store.get_run("Job-aws-training-job").data.metrics == {"m": 2.0}
    found = sagemaker.describe_trial_component(TrialComponentName="Job-aws-training-job")
    assert found["Parameters"] == {"p": {"NumberValue": 1.0}}


def test_a_run_of_ours_is_found_by_the_name_of_its_component(store: SageMakerTracking) -> None:
    run_id = opened(store)
    assert repr(store.get_run(f"{EXPERIMENT}-{run_id}")) == repr(store.get_run(run_id))
    assert store.component_of(run_id) == f"{EXPERIMENT}-{run_id}"
    store.write(batch_of(f"{EXPERIMENT}-{run_id}", params=[("p", "1")]))
    assert store.get_run(run_id).data.params == {"p": "1"}


def test_other_names_of_the_same_service_are_not_found(store: SageMakerTracking) -> None:
    opened(store)
    for unknown in ("", "-", "no_native_name", "x" * 121, EXPERIMENT, f"{EXPERIMENT}-0"):
        with pytest.raises(NotFound):
            store.get_run(unknown)


def test_an_index_that_is_behind_hides_nothing_of_ours(
    aws: SageMakerEmulator, store: SageMakerTracking, sagemaker: Any, metrics: Any
) -> None:
    aws.cloud.part(SearchIndex).lag_s = 3600
    run_id = opened(store)
    name = made_by_others(sagemaker, metrics)
    assert {item.name for item in store.list_experiments()} == {EXPERIMENT}
    assert [run.info.run_id for run in store.list_runs(store.get_run(run_id).info.experiment_id)] == [run_id]
    assert store.get_run(name).info.experiment_id == FOREIGN, "asked for by name it is there"
