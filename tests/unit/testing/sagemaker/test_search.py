"""Search over what the emulator holds: pages, order, counts, and every kind of resource."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sagemaker_calls import Calls
from trackbridge.testing.emulators.sagemaker import experiments, registry, search
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.metrics import Metrics
from trackbridge.testing.emulators.sagemaker.search import SearchIndex

OPERATIONS = {**experiments.OPERATIONS, **registry.OPERATIONS, **search.OPERATIONS}
COMPONENT = "ExperimentTrialComponent"


@pytest.fixture
def call() -> Iterator[Calls]:
    cloud = Cloud()
    cloud.clock.stop()
    yield Calls(cloud, OPERATIONS)
    cloud.caller = None
    cloud.close()


def component(call: Calls, name: str, **asked: Any) -> str:
    call.cloud.clock.advance(1)
    arn: str = call("CreateTrialComponent", TrialComponentName=name, **asked)["TrialComponentArn"]
    return arn


def names(answer: dict[str, Any]) -> list[str]:
    return [result["TrialComponent"]["TrialComponentName"] for result in answer["Results"]]


def found(call: Calls, *filters: tuple[str, ...], **asked: Any) -> list[str]:
    told = [dict(zip(("Name", "Operator", "Value"), given, strict=False)) for given in filters]
    expression = {"SearchExpression": {"Filters": told}} if told else {}
    return names(call("Search", Resource=COMPONENT, **expression, **asked))


def test_ten_come_at_a_time_with_the_count_of_all(call: Calls) -> None:
    for number in range(23):
        component(call, f"c{number:02}")
    first = call("Search", Resource=COMPONENT)
    assert len(first["Results"]) == 10
    assert first["TotalHits"] == {"Value": 23, "Relation": "EqualTo"}
    second = call("Search", Resource=COMPONENT, NextToken=first["NextToken"])
    last = call("Search", Resource=COMPONENT, NextToken=second["NextToken"])
    assert "NextToken" not in last
    everything = names(first) + names(second) + names(last)
    assert everything == [f"c{number:02}" for number in reversed(range(23))]
    assert len(found(call, MaxResults=100)) == 23
    with pytest.raises(Refused, match="less than or equal to 100"):
        found(call, MaxResults=101)


def test_a_token_is_of_one_search(call: Calls) -> None:
    for number in range(3):
        component(call, f"c{number}")
    token = call("Search", Resource=COMPONENT, MaxResults=1)["NextToken"]
    assert found(call, NextToken=token, MaxResults=2) == ["c1", "c0"]
    with pytest.raises(Refused, match="another search"):
        found(call, NextToken=token, SortOrder="Ascending")
    with pytest.raises(Refused, match="Invalid pagination token"):
        found(call, NextToken="nonsense")


def test_results_are_sorted_by_any_property(call: Calls) -> None:
    for name, rate in (("b", 0.3), ("a", 10.0), ("c", 2.0)):
        component(call, name, Parameters={"lr": {"NumberValue": rate}})
    component(call, "without")
    assert found(call) == ["without", "c", "a", "b"]
    assert found(call, SortBy="TrialComponentName", SortOrder="Ascending") == ["a", "b", "c", "without"]
    assert found(call, SortBy="Parameters.lr", SortOrder="Ascending") == ["b", "c", "a", "without"]
    assert found(call, SortBy="Parameters.lr") == ["a", "c", "b", "without"]
    call.cloud.clock.advance(1)
    call("UpdateTrialComponent", TrialComponentName="b", DisplayName="changed")
    assert found(call)[0] == "b"
    with pytest.raises(Refused, match="Unknown property name"):
        found(call, SortBy="Nothing")
    with pytest.raises(Refused, match="can not be sorted"):
        found(call, SortBy="Parents")


def test_components_are_found_by_parents_metrics_and_tags(call: Calls) -> None:
    for experiment in ("digits", "letters"):
        call("CreateExperiment", ExperimentName=experiment)
        call("CreateTrial", TrialName=f"{experiment}-trial", ExperimentName=experiment)
    for number in range(3):
        arn = component(call, f"run{number}", Tags=[{"Key": "owner", "Value": "me" if number else "you"}])
        call.cloud.part(Metrics).add(arn, "loss", float(number), call.cloud.now_s(), 0)
        call("AssociateTrialComponent", TrialComponentName=f"run{number}", TrialName="digits-trial")
    call("AssociateTrialComponent", TrialComponentName="run0", TrialName="letters-trial")
    by_name = {"SortBy": "TrialComponentName", "SortOrder": "Ascending"}
    digits = ("Parents.ExperimentName", "Equals", "digits")
    assert found(call, digits, **by_name) == ["run0", "run1", "run2"]
    assert found(call, ("Parents.ExperimentName", "Equals", "letters")) == ["run0"]
    assert found(call, digits, ("Metrics.loss.min", "GreaterThan", "0"), **by_name) == ["run1", "run2"]
    assert found(call, digits, ("Tags.owner", "Equals", "me"), ("Metrics.loss", "LessThan", "2")) == ["run1"]
    assert found(call, SortBy="Metrics.loss.max") == ["run2", "run1", "run0"]
    record = call("Search", Resource=COMPONENT, MaxResults=1)["Results"][0]["TrialComponent"]
    assert record["Parents"] == [{"TrialName": "digits-trial", "ExperimentName": "digits"}]
    assert record["Metrics"][0]["Last"] == 2.0
    assert record["Tags"] == [{"Key": "owner", "Value": "me"}]
    call("DisassociateTrialComponent", TrialComponentName="run2", TrialName="digits-trial")
    assert found(call, digits, **by_name) == ["run0", "run1"]


def test_experiments_and_trials_are_found(call: Calls) -> None:
    call("CreateExperiment", ExperimentName="Digits", Description="of digits")
    call("CreateTrial", TrialName="first", ExperimentName="Digits")
    told = {"Filters": [{"Name": "ExperimentName", "Value": "Digits"}]}
    for resource, member, name in (
        ("Experiment", "Experiment", "ExperimentName"),
        ("ExperimentTrial", "Trial", "TrialName"),
    ):
        (result,) = call("Search", Resource=resource, SearchExpression=told)["Results"]
        assert result[member][name] == ("Digits" if member == "Experiment" else "first")


def test_packages_and_groups_are_found(call: Calls) -> None:
    call("CreateModelPackageGroup", ModelPackageGroupName="Digits", Tags=[{"Key": "team", "Value": "vision"}])
    for number in range(3):
        call.cloud.clock.advance(1)
        call(
            "CreateModelPackage",
            ModelPackageGroupName="Digits",
            CustomerMetadataProperties={"run.id": f"r{number}"},
            ModelApprovalStatus="Approved" if number == 1 else "Rejected",
        )

    def versions(name: str, value: str) -> list[int]:
        expression = {"Filters": [{"Name": name, "Value": value}]}
        answer = call("Search", Resource="ModelPackage", SearchExpression=expression)
        return [result["ModelPackage"]["ModelPackageVersion"] for result in answer["Results"]]

    assert versions("ModelPackageGroupName", "Digits") == [3, 2, 1]
    assert versions("CustomerMetadataProperties.run.id", "r2") == [3]
    assert versions("ModelApprovalStatus", "Approved") == [2]
    assert versions("ModelPackageVersion", "1") == [1]
    tagged = {"Filters": [{"Name": "Tags.team", "Value": "vision"}]}
    (result,) = call("Search", Resource="ModelPackageGroup", SearchExpression=tagged)["Results"]
    assert result["ModelPackageGroup"]["ModelPackageGroupName"] == "Digits"


def test_groups_of_other_accounts_are_found_when_asked_for(call: Calls) -> None:
    arn = call("CreateModelPackageGroup", ModelPackageGroupName="Digits")["ModelPackageGroupArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": "999999999999"},
        "Action": "sagemaker:DescribeModelPackageGroup",
        "Resource": arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    call("PutModelPackageGroupPolicy", ModelPackageGroupName="Digits", ResourcePolicy=policy)
    call.cloud.caller = "arn:aws:iam::999999999999:user/reader"
    assert call("Search", Resource="ModelPackageGroup")["Results"] == []
    shared = call("Search", Resource="ModelPackageGroup", CrossAccountFilterOption="CrossAccount")
    assert [result["ModelPackageGroup"]["ModelPackageGroupArn"] for result in shared["Results"]] == [arn]


def test_what_is_visible_can_be_narrowed_by_tags(call: Calls) -> None:
    component(call, "mine", Tags=[{"Key": "owner", "Value": "me"}])
    component(call, "yours", Tags=[{"Key": "owner", "Value": "you"}])
    assert found(call, VisibilityConditions=[{"Key": "Tags.owner", "Value": "me"}]) == ["mine"]
    with pytest.raises(Refused, match="must have the form"):
        found(call, VisibilityConditions=[{"Key": "owner", "Value": "me"}])


def test_the_index_can_lag_behind(call: Calls) -> None:
    call.cloud.part(SearchIndex).lag_s = 5.0
    component(call, "old")
    call.cloud.clock.advance(5)
    component(call, "new")
    assert found(call) == ["old"]
    call.cloud.clock.advance(5)
    assert found(call) == ["new", "old"]


@pytest.mark.parametrize(
    "asked",
    [
        {"Resource": "Nothing"},
        {"Resource": COMPONENT, "SearchExpression": {"Filters": []}},
        {"Resource": COMPONENT, "SearchExpression": {"Filters": [{"Name": "A", "Value": ""}]}},
        {"Resource": COMPONENT, "SearchExpression": {"Filters": [{"Name": "A", "Value": "v" * 1025}]}},
        {
            "Resource": COMPONENT,
            "SearchExpression": {"Filters": [{"Name": "DisplayName", "Value": "v"}] * 21},
        },
        {"Resource": COMPONENT, "SortOrder": "Sideways"},
        {"Resource": COMPONENT, "NextToken": "t" * 8193},
    ],
)
def test_limits_of_the_service_model_hold(call: Calls, asked: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="validation error") as refused:
        call("Search", **asked)
    assert refused.value.code == "ValidationException"


def test_nothing_is_found_of_what_is_not_emulated(call: Calls) -> None:
    answer = call("Search", Resource="FeatureGroup")
    assert answer == {"Results": [], "TotalHits": {"Value": 0, "Relation": "EqualTo"}}
