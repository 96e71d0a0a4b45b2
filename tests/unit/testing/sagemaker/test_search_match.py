"""Conditions of Search: operators, kinds of properties, nesting, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from trackbridge.testing.emulators.sagemaker.core import Refused
from trackbridge.testing.emulators.sagemaker.search_match import CONDITIONS_MAX, compiled

NOON = 1_790_000_000.5  # 2026-09-21T14:13:20.5Z
RUN: dict[str, Any] = {
    "TrialComponentName": "digits-1",
    "CreationTime": NOON,
    "Status": {"PrimaryStatus": "Completed"},
    "Parameters": {
        "lr": {"NumberValue": 0.1},
        "optimizer": {"StringValue": "adam"},
        "model.depth": {"NumberValue": 12.0},
        "seed": {"StringValue": "7"},
    },
    "InputArtifacts": {"train": {"MediaType": "text/csv", "Value": "s3://data/train.csv"}},
    "Metrics": [
        {"MetricName": "loss", "Min": 0.25, "Max": 2.0, "Last": 0.5, "Avg": 1.0, "StdDev": 0.1, "Count": 9},
        {"MetricName": "val.loss", "Min": 0.75, "Max": 2.0, "Last": 0.8, "Count": 9},
    ],
    "OutputArtifacts": {},
    "Parents": [
        {"TrialName": "first", "ExperimentName": "digits"},
        {"TrialName": "second", "ExperimentName": "letters"},
    ],
    "Tags": [{"Key": "team.name", "Value": "vision"}, {"Key": "owner", "Value": "me"}],
    "SourceDetail": {"TrainingJob": {"EnableManagedSpotTraining": True, "HyperParameters": {"lr": "0.1"}}},
}
JOB: dict[str, Any] = {
    "TrainingJobName": "train-1",
    "HyperParameters": {"lr": "0.7", "epochs": "10", "name": "net"},
    "FinalMetricDataList": [{"MetricName": "loss", "Value": 0.5, "Timestamp": NOON}],
    "InputDataConfig": [
        {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": "s3://a/train"}}},
        {"ChannelName": "test", "DataSource": {"S3DataSource": {"S3Uri": "s3://b/test"}}},
    ],
}


def condition(name: str, operator: str | None = None, value: str | None = None) -> dict[str, str]:
    told = {"Name": name, "Operator": operator, "Value": value}
    return {key: text for key, text in told.items() if text is not None}


def holds(record: dict[str, Any], resource: str, **expression: Any) -> bool:
    return compiled(resource, expression)(record)


def finds(name: str, operator: str | None = None, value: str | None = None) -> bool:
    return holds(RUN, "ExperimentTrialComponent", Filters=[condition(name, operator, value)])


@pytest.mark.parametrize(
    ("name", "operator", "value", "expected"),
    [
        ("TrialComponentName", None, "digits-1", True),
        ("TrialComponentName", "Equals", "digits", False),
        ("TrialComponentName", "NotEquals", "digits", True),
        ("TrialComponentName", "Contains", "gits", True),
        ("TrialComponentName", "In", "a, digits-1 ,b", True),
        ("TrialComponentName", "In", "digits", False),
        ("DisplayName", "Exists", None, False),
        ("DisplayName", "NotExists", None, True),
        ("DisplayName", "NotEquals", "anything", True),
        ("Status.PrimaryStatus", "Equals", "Completed", True),
        ("Status", "Exists", None, True),
        ("CreationTime", "GreaterThan", "2026-09-21T14:13:20", True),
        ("CreationTime", "LessThan", "2026-09-21T14:13:21Z", True),
        ("CreationTime", "Equals", "2026-09-21T14:13:20", True),
        ("CreationTime", "LessThanOrEqualTo", "2026-09-21T14:13:19", False),
        ("Parameters.lr", "Equals", "0.10", True),
        ("Parameters.lr", "LessThan", "0.2", True),
        ("Parameters.lr", "GreaterThanOrEqualTo", "0.2", False),
        ("Parameters.optimizer", "Equals", "adam", True),
        ("Parameters.optimizer", "Contains", "dam", True),
        ("Parameters.optimizer", "GreaterThan", "0", False),
        ("Parameters.model.depth", "GreaterThan", "11.5", True),
        ("Parameters.seed", "Equals", "7", True),
        ("Parameters.nothing", "NotExists", None, True),
        ("InputArtifacts", "Contains", "train.csv", True),
        ("OutputArtifacts", "Exists", None, False),
        ("InputArtifacts.train", "Contains", "s3://data", True),
        ("InputArtifacts.train.MediaType", "Equals", "text/csv", True),
        ("Metrics.loss", "Equals", "0.5", True),
        ("Metrics.loss.min", "LessThanOrEqualTo", "0.25", True),
        ("Metrics.loss.Max", "GreaterThan", "2", False),
        ("metrics.loss.max", "Equals", "2", True),
        ("Metrics.val.loss.min", "Equals", "0.75", True),
        ("Metrics.val.loss", "Equals", "0.8", True),
        ("Metrics.accuracy.min", "NotExists", None, True),
        ("Parents.ExperimentName", "Equals", "letters", True),
        ("Parents.TrialName", "In", "third,second", True),
        ("Parents.TrialName", "NotEquals", "second", False),
        ("Tags.team.name", "Equals", "vision", True),
        ("Tags.owner", "Contains", "you", False),
        ("Tags.nothing", "Exists", None, False),
        ("SourceDetail.TrainingJob.EnableManagedSpotTraining", "Equals", "true", True),
        ("SourceDetail.TrainingJob.EnableManagedSpotTraining", "NotEquals", "True", False),
        ("SourceDetail.TrainingJob.HyperParameters.lr", "LessThan", "0.5", True),
    ],
)
def test_a_filter_holds(name: str, operator: str | None, value: str | None, expected: bool) -> None:
    assert finds(name, operator, value) is expected


@pytest.mark.parametrize(
    ("name", "operator", "value", "words"),
    [
        ("Nothing", "Equals", "a", "Unknown property name: Nothing"),
        ("Parents.Nothing", "Equals", "a", "Unknown property name"),
        ("TrialComponentName.More", "Equals", "a", "Unknown property name"),
        ("trialComponentName", "Equals", "a", "Unknown property name"),
        ("TrialComponentName", "GreaterThan", "a", "not supported"),
        ("CreationTime", "Contains", "2026", "not supported"),
        ("CreationTime", "Equals", "yesterday", "YYYY-mm-dd"),
        ("CreationTime", "Equals", "2026-13-45T99:00:00", "not a date and time"),
        ("Metrics.loss.min", "Equals", "low", "not an integer or a decimal"),
        ("Metrics.loss.min", "In", "1,2", "not supported"),
        ("Parameters.lr", "LessThan", "small", "not supported for the text value"),
        ("SourceDetail.TrainingJob.EnableManagedSpotTraining", "Equals", "yes", "not a Boolean"),
        ("Parents", "Equals", "a", "not supported"),
        ("TrialComponentName", "Equals", None, "needs a Value"),
        ("TrialComponentName", None, None, "needs a Value"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    name: str, operator: str | None, value: str | None, words: str
) -> None:
    with pytest.raises(Refused, match=words) as refused:
        finds(name, operator, value)
    assert refused.value.code == "ValidationException"


def test_all_filters_hold_or_any() -> None:
    good, bad = condition("Parameters.lr", "LessThan", "1"), condition("Parameters.lr", "GreaterThan", "1")
    component = "ExperimentTrialComponent"
    assert not holds(RUN, component, Filters=[good, bad])
    assert not holds(RUN, component, Filters=[good, bad], Operator="And")
    assert holds(RUN, component, Filters=[good, bad], Operator="Or")
    assert not holds(RUN, component, Filters=[bad, bad], Operator="Or")


def test_sub_expressions_are_combined_with_filters() -> None:
    good, bad = condition("Tags.owner", "Equals", "me"), condition("Tags.owner", "Equals", "you")
    either = {"Filters": [good, bad], "Operator": "Or"}
    assert holds(RUN, "ExperimentTrialComponent", Filters=[good], SubExpressions=[either])
    assert not holds(RUN, "ExperimentTrialComponent", Filters=[bad], SubExpressions=[either])
    deep = {"SubExpressions": [{"SubExpressions": [either]}]}
    assert holds(RUN, "ExperimentTrialComponent", **deep)


def test_nested_filters_hold_of_one_element() -> None:
    def nested(channel: str, uri: str) -> dict[str, Any]:
        return {
            "NestedPropertyName": "InputDataConfig",
            "Filters": [
                condition("InputDataConfig.ChannelName", "Equals", channel),
                condition("InputDataConfig.DataSource.S3DataSource.S3Uri", "Contains", uri),
            ],
        }

    assert holds(JOB, "TrainingJob", NestedFilters=[nested("train", "s3://a")])
    assert not holds(JOB, "TrainingJob", NestedFilters=[nested("train", "s3://b")])
    parents = [
        condition("Parents.TrialName", "Equals", "first"),
        condition("Parents.ExperimentName", "Equals", "letters"),
    ]
    together = {"NestedPropertyName": "Parents", "Filters": parents}
    assert not holds(RUN, "ExperimentTrialComponent", NestedFilters=[together])
    assert holds(RUN, "ExperimentTrialComponent", Filters=parents)


@pytest.mark.parametrize(
    ("outer", "name"),
    [
        ("TrainingJobName", "TrainingJobName.a"),
        ("Nothing", "Nothing.a"),
        ("InputDataConfig", "ChannelName"),
        ("InputDataConfig", "InputDataConfig.Nothing"),
    ],
)
def test_nested_filters_are_of_a_list(outer: str, name: str) -> None:
    nested = {"NestedPropertyName": outer, "Filters": [condition(name, "Equals", "a")]}
    with pytest.raises(Refused, match="Unknown property name"):
        holds(JOB, "TrainingJob", NestedFilters=[nested])


@pytest.mark.parametrize(
    ("name", "operator", "value", "expected"),
    [
        ("HyperParameters.lr", "LessThan", "0.8", True),
        ("HyperParameters.lr", "Equals", "0", True),  # a whole number is compared with whole numbers
        ("HyperParameters.epochs", "GreaterThan", "9", True),
        ("HyperParameters.name", "LessThan", "9", False),
        ("HyperParameters.name", "Equals", "net", True),
        ("Metrics.loss", "LessThan", "0.9", True),
        ("InputDataConfig.ChannelName", "Equals", "test", True),
    ],
)
def test_properties_of_jobs(name: str, operator: str, value: str, expected: bool) -> None:
    assert holds(JOB, "TrainingJob", Filters=[condition(name, operator, value)]) is expected


def test_contains_is_taken_once_but_for_names_tags_and_artifacts() -> None:
    twice = [
        condition("Status.PrimaryStatus", "Contains", "C"),
        condition("Parameters.optimizer", "Contains", "a"),
    ]
    with pytest.raises(Refused, match="'CONTAINS' operator usage limit of 1 exceeded"):
        holds(RUN, "ExperimentTrialComponent", Filters=twice)
    often = [
        condition(name, "Contains", "t") for name in ("TrialComponentName", "Tags.owner", "InputArtifacts")
    ]
    assert not holds(RUN, "ExperimentTrialComponent", Filters=often)
    assert holds(RUN, "ExperimentTrialComponent", Filters=[*often, twice[0]], Operator="Or")


def test_an_expression_is_neither_empty_nor_large() -> None:
    with pytest.raises(Refused, match="at least one of"):
        holds(RUN, "ExperimentTrialComponent", Operator="Or")
    one = condition("TrialComponentName", "Exists")
    full = {"SubExpressions": [{"Filters": [one] * 15}] * 3}
    assert holds(RUN, "ExperimentTrialComponent", Filters=[one] * (CONDITIONS_MAX - 48), **full)
    with pytest.raises(Refused, match="maximum of 50"):
        holds(RUN, "ExperimentTrialComponent", Filters=[one] * (CONDITIONS_MAX - 47), **full)


def test_models_are_searched_below_their_model() -> None:
    record = {"Model": {"ModelName": "net", "CreationTime": NOON}}
    for name in ("ModelName", "Model.ModelName"):
        assert holds(record, "Model", Filters=[condition(name, "Equals", "net")])
