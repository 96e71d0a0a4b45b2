"""Experiments, trials and trial components through boto3, as strict as AWS."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.support.sagemaker_emulators import code_of, message_of
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.experiment_records import Experiments
from trackbridge.testing.emulators.sagemaker.experiments import set_source

FINAL = {"PrimaryStatus": "Completed", "Message": "done"}


@pytest.fixture
def trial(sagemaker: Any) -> str:
    sagemaker.create_experiment(ExperimentName="digits")
    sagemaker.create_trial(TrialName="first", ExperimentName="digits")
    return "first"


def component(sagemaker: Any, name: str, trial: str | None = None, **more: Any) -> str:
    sagemaker.create_trial_component(TrialComponentName=name, **more)
    if trial is not None:
        sagemaker.associate_trial_component(TrialComponentName=name, TrialName=trial)
    return name


def names(answer: dict[str, Any], kind: str) -> list[str]:
    return [row[f"{kind}Name"] for row in answer[f"{kind}Summaries"]]


def test_an_experiment_is_told_back_as_it_was_given(aws: SageMakerEmulator, sagemaker: Any) -> None:
    tags = [{"Key": "team", "Value": "a b"}]
    given = {"ExperimentName": "Digits", "DisplayName": "Shown", "Description": "what, why: 100 %"}
    arn = sagemaker.create_experiment(**given, Tags=tags)["ExperimentArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:{aws.cloud.account}:experiment/digits"
    told = sagemaker.describe_experiment(ExperimentName="dIGITS")
    assert {name: told[name] for name in given} == given
    assert told["CreatedBy"]["IamIdentity"]["Arn"] == aws.key.principal
    assert abs(told["CreationTime"].timestamp() - time.time()) < 60
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags


def test_updates_move_the_time_and_keep_the_rest(aws: SageMakerEmulator, sagemaker: Any, trial: str) -> None:
    aws.cloud.clock.advance(10)
    sagemaker.update_experiment(ExperimentName="digits", Description="new")
    told = sagemaker.describe_experiment(ExperimentName="digits")
    assert (told["Description"], told["DisplayName"]) == ("new", "digits")
    assert (told["LastModifiedTime"] - told["CreationTime"]).total_seconds() >= 10
    sagemaker.update_trial(TrialName=trial, DisplayName="renamed")
    assert sagemaker.describe_trial(TrialName=trial)["DisplayName"] == "renamed"


@pytest.mark.parametrize("kind", ["experiment", "trial", "trial_component"])
def test_names_are_unique_without_regard_to_case(sagemaker: Any, trial: str, kind: str) -> None:
    title = "".join(part.title() for part in kind.split("_"))
    more = {"ExperimentName": "digits"} if kind == "trial" else {}
    create = getattr(sagemaker, f"create_{kind}")
    create(**{**more, f"{title}Name": "Taken"})
    assert code_of(create, **{**more, f"{title}Name": "tAKEN"}) == "ValidationException"
    assert "already exists" in message_of(create, **{**more, f"{title}Name": "Taken"})


def test_what_is_not_there(sagemaker: Any, trial: str) -> None:
    missing = [
        (sagemaker.describe_experiment, {"ExperimentName": "none"}),
        (sagemaker.update_experiment, {"ExperimentName": "none"}),
        (sagemaker.delete_experiment, {"ExperimentName": "none"}),
        (sagemaker.create_trial, {"TrialName": "t", "ExperimentName": "none"}),
        (sagemaker.describe_trial, {"TrialName": "none"}),
        (sagemaker.update_trial, {"TrialName": "none"}),
        (sagemaker.delete_trial, {"TrialName": "none"}),
        (sagemaker.list_trials, {"ExperimentName": "none"}),
        (sagemaker.list_trials, {"TrialComponentName": "none"}),
        (sagemaker.describe_trial_component, {"TrialComponentName": "none"}),
        (sagemaker.update_trial_component, {"TrialComponentName": "none"}),
        (sagemaker.delete_trial_component, {"TrialComponentName": "none"}),
        (sagemaker.list_trial_components, {"ExperimentName": "none"}),
        (sagemaker.list_trial_components, {"TrialName": "none"}),
        (sagemaker.associate_trial_component, {"TrialComponentName": "none", "TrialName": trial}),
        (sagemaker.disassociate_trial_component, {"TrialComponentName": "none", "TrialName": trial}),
    ]
    for call, asked in missing:
        assert code_of(call, **asked) == "ResourceNotFound", asked


def test_a_component_is_told_back_as_it_was_given(sagemaker: Any) -> None:
    given = {
        "TrialComponentName": "digits-Run",
        "DisplayName": "Run",
        "Status": {"PrimaryStatus": "InProgress"},
        "StartTime": datetime(2020, 1, 2, 3, 4, 5, 678000, tzinfo=timezone.utc),
        "Parameters": {"lr": {"NumberValue": 0.1}, "opt": {"StringValue": "adam"}},
        "InputArtifacts": {"data": {"Value": "s3://b/d", "MediaType": "text/csv"}},
        "OutputArtifacts": {"model": {"Value": "s3://b/m"}},
        "MetadataProperties": {"CommitId": "abc"},
    }
    arn = sagemaker.create_trial_component(**given)["TrialComponentArn"]
    for name in ("digits-Run", "DIGITS-run", arn):
        told = sagemaker.describe_trial_component(TrialComponentName=name)
        assert {name: told[name] for name in given} == given
    assert "EndTime" not in told
    assert "Metrics" not in told


def test_updates_of_a_component_add_replace_and_remove(sagemaker: Any) -> None:
    parameters = {name: {"NumberValue": 1.0} for name in ("a", "b", "c")}
    component(sagemaker, "c", Parameters=parameters, OutputArtifacts={"x": {"Value": "1"}})
    sagemaker.update_trial_component(
        TrialComponentName="c",
        Status=FINAL,
        Parameters={"a": {"NumberValue": 2.0}, "d": {"StringValue": ""}},
        ParametersToRemove=["b", "was-never-there"],
        OutputArtifactsToRemove=["x"],
    )
    told = sagemaker.describe_trial_component(TrialComponentName="c")
    assert told["Status"] == FINAL
    assert told["Parameters"] == {
        "a": {"NumberValue": 2.0},
        "c": {"NumberValue": 1.0},
        "d": {"StringValue": ""},
    }
    assert "OutputArtifacts" not in told


def test_updates_may_replace_all_as_the_manual_can_be_read(aws: SageMakerEmulator, sagemaker: Any) -> None:
    component(sagemaker, "c", Parameters={"a": {"NumberValue": 1.0}})
    aws.cloud.part(Experiments).merges = False
    sagemaker.update_trial_component(TrialComponentName="c", Parameters={"b": {"NumberValue": 1.0}})
    sagemaker.update_trial_component(TrialComponentName="c", DisplayName="shown")
    assert list(sagemaker.describe_trial_component(TrialComponentName="c")["Parameters"]) == ["b"]


def test_an_update_cannot_go_beyond_300_parameters(sagemaker: Any) -> None:
    component(sagemaker, "c", Parameters={str(n): {"NumberValue": 1.0} for n in range(300)})
    one = {"Parameters": {"more": {"NumberValue": 1.0}}}
    assert code_of(sagemaker.update_trial_component, TrialComponentName="c", **one) == "ValidationException"
    sagemaker.update_trial_component(TrialComponentName="c", **one, ParametersToRemove=["0"])
    told = sagemaker.describe_trial_component(TrialComponentName="c")
    assert len(told["Parameters"]) == 300
    assert "more" in told["Parameters"]


def test_nothing_is_changed_by_an_update_that_is_refused(sagemaker: Any) -> None:
    component(sagemaker, "c", DisplayName="before")
    bad = {"Parameters": {"p": {"NumberValue": 1.0, "StringValue": "1"}}, "DisplayName": "after"}
    assert code_of(sagemaker.update_trial_component, TrialComponentName="c", **bad) == "ValidationException"
    told = sagemaker.describe_trial_component(TrialComponentName="c")
    assert told["DisplayName"] == "before"
    assert "Parameters" not in told


def test_what_is_made_with_tags_that_are_refused_is_not_made(sagemaker: Any) -> None:
    tags = [{"Key": "aws:x", "Value": ""}]
    assert code_of(sagemaker.create_experiment, ExperimentName="a", Tags=tags) == "ValidationException"
    assert code_of(sagemaker.describe_experiment, ExperimentName="a") == "ResourceNotFound"


def test_a_component_may_be_in_many_trials(sagemaker: Any, trial: str) -> None:
    sagemaker.create_experiment(ExperimentName="other")
    sagemaker.create_trial(TrialName="second", ExperimentName="other")
    component(sagemaker, "c", trial)
    for _ in range(2):
        sagemaker.associate_trial_component(TrialComponentName="c", TrialName="second")
    assert sorted(names(sagemaker.list_trials(TrialComponentName="c"), "Trial")) == ["first", "second"]
    found = sagemaker.list_trials(TrialComponentName="c", ExperimentName="other")
    assert names(found, "Trial") == ["second"]
    for experiment in ("digits", "other"):
        found = sagemaker.list_trial_components(ExperimentName=experiment)
        assert names(found, "TrialComponent") == ["c"]


def test_deletes_wait_for_what_belongs_to_it(sagemaker: Any, trial: str) -> None:
    component(sagemaker, "c", trial)
    for call, asked in (
        (sagemaker.delete_experiment, {"ExperimentName": "digits"}),
        (sagemaker.delete_trial, {"TrialName": trial}),
        (sagemaker.delete_trial_component, {"TrialComponentName": "c"}),
    ):
        assert code_of(call, **asked) == "ValidationException"
    asked = {"TrialComponentName": "c", "TrialName": trial}
    sagemaker.disassociate_trial_component(**asked)
    assert code_of(sagemaker.disassociate_trial_component, **asked) == "ResourceNotFound"
    sagemaker.delete_trial_component(TrialComponentName="c")
    sagemaker.delete_trial(TrialName=trial)
    arn = sagemaker.delete_experiment(ExperimentName="digits")["ExperimentArn"]
    assert code_of(sagemaker.list_tags, ResourceArn=arn) == "ValidationException"
    sagemaker.create_experiment(ExperimentName="digits")


def test_a_component_made_again_has_none_of_the_metrics_of_the_first(aws: SageMakerEmulator) -> None:
    sagemaker, metrics = aws.client("sagemaker"), aws.client("sagemaker-metrics")
    point = {"MetricName": "loss", "Timestamp": time.time(), "Step": 0, "Value": 1.0}
    component(sagemaker, "c")
    metrics.batch_put_metrics(TrialComponentName="c", MetricData=[point])
    assert sagemaker.describe_trial_component(TrialComponentName="c")["Metrics"][0]["Last"] == 1.0
    sagemaker.delete_trial_component(TrialComponentName="c")
    component(sagemaker, "c")
    assert "Metrics" not in sagemaker.describe_trial_component(TrialComponentName="c")


def test_three_hundred_trials_an_experiment(sagemaker: Any) -> None:
    sagemaker.create_experiment(ExperimentName="digits")
    for number in range(300):
        sagemaker.create_trial(TrialName=f"t{number}", ExperimentName="digits")
    asked = {"TrialName": "t300", "ExperimentName": "digits"}
    assert code_of(sagemaker.create_trial, **asked) == "ResourceLimitExceeded"
    assert "is 300 Trials, with current utilization of 300" in message_of(sagemaker.create_trial, **asked)
    assert code_of(sagemaker.describe_trial, TrialName="t300") == "ResourceNotFound"


def test_fifty_components_a_trial_without_those_of_jobs(
    aws: SageMakerEmulator, sagemaker: Any, trial: str
) -> None:
    for number in range(50):
        component(sagemaker, f"c{number}", trial)
    component(sagemaker, "more")
    asked = {"TrialComponentName": "more", "TrialName": trial}
    assert code_of(sagemaker.associate_trial_component, **asked) == "ResourceLimitExceeded"
    sagemaker.associate_trial_component(TrialComponentName="c0", TrialName=trial)
    set_source(aws.cloud, "more", "arn:aws:sagemaker:::training-job/j", "SageMakerTrainingJob")
    sagemaker.associate_trial_component(**asked)


def test_lists_are_newest_first_in_pages(aws: SageMakerEmulator, sagemaker: Any) -> None:
    aws.cloud.clock.stop()
    for number in range(7):
        sagemaker.create_experiment(ExperimentName=f"e{number}")
        aws.cloud.clock.advance(1)
    pages = sagemaker.get_paginator("list_experiments").paginate(PaginationConfig={"PageSize": 3})
    assert [names(answer, "Experiment") for answer in pages] == [
        ["e6", "e5", "e4"],
        ["e3", "e2", "e1"],
        ["e0"],
    ]
    found = sagemaker.list_experiments(SortBy="Name", SortOrder="Ascending", MaxResults=2)
    assert names(found, "Experiment") == ["e0", "e1"]
    times = [row["CreationTime"] for row in sagemaker.list_experiments()["ExperimentSummaries"]]
    found = sagemaker.list_experiments(CreatedAfter=times[4], CreatedBefore=times[1])
    assert names(found, "Experiment") == ["e4", "e3"]


def test_a_page_goes_on_where_it_was_although_others_write(aws: SageMakerEmulator, sagemaker: Any) -> None:
    aws.cloud.clock.stop()
    for name in ("a", "b", "c", "d"):
        sagemaker.create_experiment(ExperimentName=name)
        aws.cloud.clock.advance(1)
    first = sagemaker.list_experiments(MaxResults=2)
    sagemaker.create_experiment(ExperimentName="e")
    sagemaker.delete_experiment(ExperimentName="c")
    rest = sagemaker.list_experiments(MaxResults=2, NextToken=first["NextToken"])
    assert names(rest, "Experiment") == ["b", "a"]


@pytest.mark.parametrize("token", ["", "x", "bm9uZQ==", "%"])
def test_tokens_that_are_none(sagemaker: Any, token: str) -> None:
    assert code_of(sagemaker.list_experiments, NextToken=token) == "ValidationException"


def test_components_are_listed_by_one_filter(aws: SageMakerEmulator, sagemaker: Any, trial: str) -> None:
    component(sagemaker, "inside", trial)
    component(sagemaker, "alone")
    source = "arn:aws:sagemaker:us-east-1:1:training-job/j"
    set_source(aws.cloud, "alone", source, "SageMakerTrainingJob")
    listed = sagemaker.list_trial_components
    assert sorted(names(listed(), "TrialComponent")) == ["alone", "inside"]
    assert names(listed(ExperimentName="digits"), "TrialComponent") == ["inside"]
    assert names(listed(TrialName=trial), "TrialComponent") == ["inside"]
    assert names(listed(SourceArn=source), "TrialComponent") == ["alone"]
    assert code_of(listed, ExperimentName="digits", TrialName=trial) == "ValidationException"


def test_tags_of_every_kind(sagemaker: Any, trial: str) -> None:
    component(sagemaker, "c", Tags=[{"Key": "sagemaker:trial-component-source", "Value": "run"}])
    arn = sagemaker.describe_trial_component(TrialComponentName="c")["TrialComponentArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": str(number), "Value": "v"} for number in range(9)])
    pages = sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn, PaginationConfig={"PageSize": 50})
    assert sum(len(page["Tags"]) for page in pages) == 10
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["0", "none"])
    assert len(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 9
    trial_arn = sagemaker.describe_trial(TrialName=trial)["TrialArn"]
    assert sagemaker.list_tags(ResourceArn=trial_arn)["Tags"] == []


def test_tags_come_in_pages(sagemaker: Any) -> None:
    tags = [{"Key": f"k{number:02}", "Value": ""} for number in range(50)]
    arn = sagemaker.create_experiment(ExperimentName="a", Tags=tags)["ExperimentArn"]
    assert code_of(sagemaker.add_tags, ResourceArn=arn, Tags=[{"Key": "x", "Value": ""}]) == (
        "ResourceLimitExceeded"
    )
    assert code_of(sagemaker.list_tags, ResourceArn=arn, MaxResults=49) == "ValidationException"
    assert code_of(sagemaker.list_tags, ResourceArn=arn, NextToken="%%%") == "ValidationException"
