"""What SageMaker shows of a run of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.adapters.sagemaker.tracking.rig import (
    EXPERIMENT,
    described,
    now_ms,
    opened,
    summary_of,
    tags_of,
)
from trackbridge.domain.runs import TAG_PARENT, DatasetInput, RunStatus
from trackbridge.errors import Rejected
from trackbridge.testing.contracts.samples import batch_of, points_of, run_spec
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.names import trial_name
from trackbridge_adapters.sagemaker.tracking import SageMakerTracking


def test_a_run_has_the_shape_that_awss_sdk_looks_for(store: SageMakerTracking, sagemaker: Any) -> None:
    run_id = opened(store, "My run (1)", start_time=1_700_000_000_250)
    found = described(sagemaker, run_id)
    assert found["DisplayName"] == "My-run-1"
    assert found["Status"]["PrimaryStatus"] == "InProgress"
    assert found["StartTime"].timestamp() == 1_700_000_000.25
    tags = tags_of(sagemaker, found["TrialComponentArn"])
    assert tags["sagemaker:trial-component-source"] == "run"
    assert tags["bridge:run-id"] == run_id
    trials = sagemaker.list_trials(ExperimentName=EXPERIMENT)["TrialSummaries"]
    assert [trial["TrialName"] for trial in trials] == [f"Default-Run-Group-{EXPERIMENT}"]
    listed = sagemaker.list_trial_components(ExperimentName=EXPERIMENT)["TrialComponentSummaries"]
    assert [item["TrialComponentName"] for item in listed] == [f"{EXPERIMENT}-{run_id}"]


def test_what_is_written_is_shown(store: SageMakerTracking, sagemaker: Any) -> None:
    run_id, now = opened(store), now_ms()
    store.write(
        batch_of(
            run_id,
            metrics=[("loss", 0.5, 0, now), ("loss", 0.25, 1, now), ("Acc (%)", 90.0, 0, now)],
            params=[("lr", "0.1"), ("model", "cnn"), ("text", "a\nb")],
            tags=[("team", "blue"), ("json", "{}"), (TAG_PARENT, "0" * 32)],
            inputs=[DatasetInput(name="iris", digest="1", source="s3://bucket/iris.csv")],
        )
    )
    store.close_run(run_id, status=RunStatus.KILLED, end_time=now + 1000)
    found = described(sagemaker, run_id)
    assert found["Status"] == {"PrimaryStatus": "Stopped", "Message": "trackbridge: KILLED"}
    assert found["EndTime"].timestamp() * 1000 == pytest.approx(now + 1000, abs=0.01)
    assert found["Parameters"]["lr"] == {"NumberValue": 0.1}
    assert found["Parameters"]["model"] == {"StringValue": "cnn"}
    assert found["Parameters"]["text"]["StringValue"].endswith(f"/runs/{run_id}/run.json")
    assert found["InputArtifacts"] == {"iris@1": {"Value": "s3://bucket/iris.csv"}}
    assert (summary_of(found, "loss")["Last"], summary_of(found, "loss")["Count"]) == (0.25, 2)
    assert summary_of(found, "Acc (%)")["Last"] == 90.0
    tags = tags_of(sagemaker, found["TrialComponentArn"])
    assert (tags["team"], tags[TAG_PARENT]) == ("blue", "0" * 32)
    assert "json" not in tags


def test_tags_go_from_sagemaker_when_they_are_deleted(store: SageMakerTracking, sagemaker: Any) -> None:
    run_id = opened(store, tags={"a": "1", "b": "1"})
    store.write(batch_of(run_id, tags=[("a", None), ("b", "{}"), ("c", "1")]))
    tags = tags_of(sagemaker, described(sagemaker, run_id)["TrialComponentArn"])
    assert {key: tags.get(key) for key in "abc"} == {"a": None, "b": None, "c": "1"}


def test_a_deletion_is_a_tag(store: SageMakerTracking, sagemaker: Any) -> None:
    run_id = opened(store)
    arn = described(sagemaker, run_id)["TrialComponentArn"]
    store.delete_run(run_id)
    assert tags_of(sagemaker, arn)["bridge:deleted"] == "true"
    store.restore_run(run_id)
    assert "bridge:deleted" not in tags_of(sagemaker, arn)


def test_what_sagemaker_cannot_hold_is_kept_and_read_back(store: SageMakerTracking, sagemaker: Any) -> None:
    run_id, now = opened(store), now_ms()
    old, ahead = now - 15 * 86_400_000, now + 3 * 3_600_000
    points = [
        ("m", float("nan"), 0, now),
        ("m", float("-inf"), 1, now),
        ("m", 1.0, -1, now),
        ("m", 1.0, 2**31, now),
        ("m", 1.0, 2, old),
        ("m", 1.0, 3, ahead),
        ("m", 5.0, 4, now),
        ("two at a step", 1.0, 0, now),
        ("two at a step", 2.0, 0, now + 1),
        ("n" * 256, 1.0, 0, now),
        ("a\nb", 1.0, 0, now),
    ]
    params = [(f"p{number}", "x" * 3000 if number == 7 else str(number)) for number in range(350)]
    assert store.write(batch_of(run_id, metrics=points, params=params)).rejected == ()
    run = store.get_run(run_id)
    assert run.data.params == dict(params)
    assert run.data.metrics == {"m": 1.0, "two at a step": 2.0, "n" * 256: 1.0, "a\nb": 1.0}
    history = points_of(store.metric_history(run_id, "m"))
    assert [(step, at) for step, at, _ in history] == sorted(
        (step, at) for key, _, step, at in points if key == "m"
    )
    found = described(sagemaker, run_id)
    assert (summary_of(found, "m")["Last"], summary_of(found, "m")["Count"]) == (5.0, 1)
    assert {item["MetricName"] for item in found["Metrics"]} == {"m", "two at a step"}
    assert len(found["Parameters"]) == 300
    assert found["Parameters"]["bridge.more"]["StringValue"].startswith("51 more: s3://")


def test_a_51st_run_goes_into_another_trial(
    store: SageMakerTracking, place: Callable[..., Backend], sagemaker: Any
) -> None:
    for _ in range(51):
        opened(store)
    opened(SageMakerTracking(place()), "of another process")
    trials = sagemaker.list_trials(ExperimentName=EXPERIMENT)["TrialSummaries"]
    names = [trial_name(EXPERIMENT, 1), trial_name(EXPERIMENT, 2)]
    assert sorted(trial["TrialName"] for trial in trials) == names
    counts = [
        len(sagemaker.list_trial_components(TrialName=name, MaxResults=100)["TrialComponentSummaries"])
        for name in names
    ]
    assert counts == [50, 2]
    # AWS's list_runs would try to put the others into the first trial, and fail.
    marked = Counter(
        tags_of(sagemaker, item["TrialComponentArn"]).get("sagemaker:trial-component-source")
        for name in names
        for item in sagemaker.list_trial_components(TrialName=name, MaxResults=100)["TrialComponentSummaries"]
    )
    assert marked == {"run": 50, None: 2}
    (experiment,) = store.list_experiments()
    assert len(store.list_runs(experiment.experiment_id)) == 52


def test_an_experiment_without_room_takes_runs_all_the_same(
    aws: SageMakerEmulator, store: SageMakerTracking
) -> None:
    opened(store)
    aws.faults.fail(
        "AssociateTrialComponent", times=1, code="ResourceLimitExceeded", status=400, message="full"
    )
    aws.faults.fail("CreateTrial", times=None, code="ResourceLimitExceeded", status=400, message="full")
    run_id = opened(store)
    store.write(batch_of(run_id, params=[("p", "1")]))
    assert store.get_run(run_id).data.params == {"p": "1"}
    assert len(store.list_runs(store.get_run(run_id).info.experiment_id)) == 2


def test_the_name_that_somebody_else_has_is_adopted(store: SageMakerTracking, sagemaker: Any) -> None:
    sagemaker.create_experiment(ExperimentName="Theirs", Tags=[{"Key": "team", "Value": "blue"}])
    found = store.ensure_experiment("Theirs", experiment_id="0" * 32, tags={"t": "1"})
    assert (found.experiment_id, found.tags) == ("Theirs", {"team": "blue", "t": "1"})
    run_id = opened(store, experiment="Theirs")
    assert store.get_run(run_id).info.experiment_id == "Theirs"
    assert store.component_of(run_id) == f"theirs-{run_id}"
    assert [item.name for item in store.list_experiments()] == ["Theirs"]


def test_a_name_that_differs_in_case_alone_is_refused(store: SageMakerTracking, sagemaker: Any) -> None:
    sagemaker.create_experiment(ExperimentName="Theirs")
    with pytest.raises(Rejected, match="Theirs") as caught:
        store.ensure_experiment("theirs", experiment_id="0" * 32)
    assert "Theirs" in (caught.value.hint or "")
    assert [item.name for item in store.list_experiments()] == ["Theirs"]


def test_a_name_below_a_prefix_that_is_another_ones_is_refused(
    place: Callable[..., Backend], aws: SageMakerEmulator
) -> None:
    team, everybody = SageMakerTracking(place(f"{aws.uri}/team")), SageMakerTracking(place())
    team.ensure_experiment("digits", experiment_id="1" * 32)
    with pytest.raises(Rejected, match="team-digits"):
        everybody.ensure_experiment("team-digits", experiment_id="2" * 32)
    everybody.ensure_experiment("digits", experiment_id="3" * 32)
    assert [item.name for item in team.list_experiments()] == ["digits"]


def test_an_id_that_is_another_experiments_is_refused(store: SageMakerTracking) -> None:
    store.ensure_experiment("one", experiment_id="0" * 32)
    with pytest.raises(Rejected, match="'one'"):
        store.ensure_experiment("two", experiment_id="0" * 32)


def test_a_component_that_is_somebody_elses_is_not_written_to(
    store: SageMakerTracking, sagemaker: Any
) -> None:
    spec = run_spec(experiment=EXPERIMENT)
    sagemaker.create_trial_component(TrialComponentName=f"{EXPERIMENT}-{spec.run_id}")
    with pytest.raises(Rejected, match="not of this run"):
        store.open_run(spec)


def test_places_with_buckets_of_their_own_share_an_experiment(
    place: Callable[..., Backend], aws: SageMakerEmulator
) -> None:
    aws.client("s3").create_bucket(Bucket="another-bucket")
    one, other = SageMakerTracking(place()), SageMakerTracking(place(bucket="another-bucket"))
    ours = opened(one)
    theirs = opened(other)
    experiment_id = one.get_run(ours).info.experiment_id
    found = {run.info.run_id for run in one.list_runs(experiment_id)}
    assert found == {ours, f"{EXPERIMENT}-{theirs}"}, (
        "what lies in the other bucket is seen as SageMaker has it"
    )
