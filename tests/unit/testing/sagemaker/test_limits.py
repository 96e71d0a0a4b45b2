"""What the emulator refuses of a request by the service's own model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pytest

from trackbridge.testing.emulators.sagemaker import limits, protocol
from trackbridge.testing.emulators.sagemaker.core import Refused

NAME = {"TrialComponentName": "digits-1"}


def check(operation: str, params: Mapping[str, Any], service: str = "sagemaker") -> None:
    limits.check(protocol.service_model(service).operation_model(operation).input_shape, params)


def refusal(operation: str, params: Mapping[str, Any], service: str = "sagemaker") -> str:
    with pytest.raises(Refused) as refused:
        check(operation, params, service)
    assert refused.value.code == "ValidationException"
    return refused.value.message


def text(value: str) -> dict[str, Any]:
    return {**NAME, "Parameters": {"p": {"StringValue": value}}}


BOTH_SIDES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("CreateExperiment", {"ExperimentName": "a" * 120}, {"ExperimentName": "a" * 121}),
    ("CreateExperiment", {"ExperimentName": "a-b"}, {"ExperimentName": "a_b"}),
    ("CreateExperiment", {"ExperimentName": "a"}, {"ExperimentName": "-a"}),
    ("CreateExperiment", {"ExperimentName": "A9"}, {"ExperimentName": "é"}),
    (
        "CreateExperiment",
        {"ExperimentName": "a", "Description": "d" * 3072},
        {"ExperimentName": "a", "Description": "d" * 3073},
    ),
    (
        "CreateExperiment",
        {"ExperimentName": "a", "Description": "one line\ttab"},
        {"ExperimentName": "a", "Description": "two\nlines"},
    ),
    ("CreateTrialComponent", text("x" * 2500), text("x" * 2501)),
    ("CreateTrialComponent", text("😀" * 1250), text("😀" * 1250 + "x")),
    ("CreateTrialComponent", text("a b"), text("a\nb")),
    ("CreateTrialComponent", text("a\x0bb"), text("a\u2028b")),
    ("CreateTrialComponent", text("tab\t"), text("end\n")),
    (
        "CreateTrialComponent",
        {**NAME, "Parameters": {"k" * 320: {"NumberValue": 1.0}}},
        {**NAME, "Parameters": {"k" * 321: {"NumberValue": 1.0}}},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "Parameters": {str(n): {"NumberValue": 1.0} for n in range(300)}},
        {**NAME, "Parameters": {str(n): {"NumberValue": 1.0} for n in range(301)}},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "OutputArtifacts": {str(n): {"Value": "s3://b/k"} for n in range(60)}},
        {**NAME, "OutputArtifacts": {str(n): {"Value": "s3://b/k"} for n in range(61)}},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "OutputArtifacts": {"k" * 128: {"Value": "v" * 2048, "MediaType": "a/b"}}},
        {**NAME, "OutputArtifacts": {"k": {"Value": "v", "MediaType": "no slash"}}},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "Status": {"PrimaryStatus": "Stopped", "Message": "m" * 1024}},
        {**NAME, "Status": {"PrimaryStatus": "Killed"}},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "Tags": [{"Key": "ключ 1", "Value": "a_b.c:/=+-@ ü²"}]},
        {**NAME, "Tags": [{"Key": "k", "Value": '{"a": 1}'}]},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "Tags": [{"Key": "k" * 128, "Value": "v" * 256}]},
        {**NAME, "Tags": [{"Key": "k", "Value": "v" * 257}]},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "Tags": [{"Key": str(n), "Value": ""} for n in range(50)]},
        {**NAME, "Tags": [{"Key": str(n), "Value": ""} for n in range(51)]},
    ),
    (
        "CreateTrialComponent",
        {**NAME, "Tags": [{"Key": "k", "Value": "\u00a0"}]},  # a space of Unicode
        {**NAME, "Tags": [{"Key": "k", "Value": "…"}]},
    ),
    (
        "UpdateTrialComponent",
        {**NAME, "ParametersToRemove": ["k" * 256]},
        {**NAME, "ParametersToRemove": ["k" * 257]},
    ),
    ("ListExperiments", {"MaxResults": 100}, {"MaxResults": 101}),
    ("ListExperiments", {"MaxResults": 1}, {"MaxResults": 0}),
    ("ListExperiments", {"SortOrder": "Ascending"}, {"SortOrder": "ascending"}),
    ("ListExperiments", {"NextToken": "t" * 8192}, {"NextToken": "t" * 8193}),
    ("CreateModelPackageGroup", {"ModelPackageGroupName": "a" * 63}, {"ModelPackageGroupName": "a" * 64}),
]


@pytest.mark.parametrize(("operation", "good", "bad"), BOTH_SIDES)
def test_both_sides_of_a_limit(operation: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    check(operation, good)
    assert re.match(r"(1 validation error|2 validation errors) detected: Value ", refusal(operation, bad))


def test_metrics_have_their_own_limits() -> None:
    def points(count: int, **more: Any) -> dict[str, Any]:
        point = {"MetricName": "loss", "Timestamp": 0.0, "Value": 1.0, **more}
        return {"TrialComponentName": "digits-1", "MetricData": [point] * count}

    check("BatchPutMetrics", points(10), "sagemaker-metrics")
    assert "less than or equal to 10" in refusal("BatchPutMetrics", points(11), "sagemaker-metrics")
    assert "greater than or equal to 0" in refusal("BatchPutMetrics", points(1, Step=-1), "sagemaker-metrics")
    upper = {**points(1), "TrialComponentName": "Digits"}
    assert "regular expression" in refusal("BatchPutMetrics", upper, "sagemaker-metrics")
    long = points(1, MetricName="m" * 256)
    assert "metricData.1.member.metricName" in refusal("BatchPutMetrics", long, "sagemaker-metrics")


def test_everything_wrong_is_told_at_once_in_aws_s_words() -> None:
    assert refusal("CreateTrial", {"TrialName": "a b"}) == (
        "2 validation errors detected: Value 'a b' at 'trialName' failed to satisfy constraint: Member must "
        "satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}; "
        "Value null at 'experimentName' failed to satisfy constraint: Member must not be null"
    )


def test_keys_and_values_of_maps_are_told_of_the_map() -> None:
    message = refusal("CreateTrialComponent", {**NAME, "Parameters": {"k" * 321: {"StringValue": "a\nb"}}})
    assert "Map keys must satisfy constraint: [Member must have length less than or equal to 320]" in message
    assert message.startswith("2 validation errors")
    hyper = {"TrainingJobName": "t", "HyperParameters": {"lr": "v" * 2501}}
    message = refusal("CreateTrainingJob", hyper)
    assert (
        "Map value must satisfy constraint: [Member must have length less than or equal to 2500]" in message
    )


def test_an_error_does_not_quote_megabytes() -> None:
    assert len(refusal("CreateExperiment", {"ExperimentName": "a" * 1_000_000})) < 5_000


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_no_bound_lets_nan_pass(number: float) -> None:
    shape = protocol.service_model("sagemaker").shape_for("Percentage")
    assert list(limits._of_number(shape, number, "p"))


def test_every_pattern_of_the_models_can_be_read() -> None:
    for service in ("sagemaker", "sagemaker-metrics", "sagemaker-runtime"):
        model = protocol.service_model(service)
        shapes = [model.shape_for(name) for name in model.shape_names]
        patterns = {shape.metadata["pattern"] for shape in shapes if "pattern" in shape.metadata}
        for pattern in patterns:
            assert limits.matches(pattern, "x") in (True, False)


def test_a_pattern_does_not_take_for_ever() -> None:
    assert not limits.matches(r".*(?:[ \r\n\t].*)*", " " * 5_000 + "\x85")
    assert limits.matches(r".*(?:[ \r\n\t].*)*", "a\nb \r c")
