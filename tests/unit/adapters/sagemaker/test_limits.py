"""What AWS would refuse is refused before it is sent, and nothing else."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sagemaker_requests import NOW_S, VALID, Step, every_step, pairs
from trackbridge.errors import ConfigError, Rejected
from trackbridge_adapters.sagemaker import (
    names,
    native_metrics,
    native_runs,
    registry_groups,
    registry_native,
    registry_projection,
    run_listing,
)
from trackbridge_adapters.sagemaker.limits import (
    COMPONENTS_PER_TRIAL,
    METRIC_AGE_S_MAX,
    METRIC_AHEAD_S_MAX,
    TRIALS_PER_EXPERIMENT,
    check,
    fits,
    length_of,
    limit_of,
    loader,
)
from trackbridge_adapters.sagemaker.limits_patterns import matcher_of

SERVICES = (
    "sagemaker",
    "sagemaker-metrics",
    "sagemaker-runtime",
    "sts",
    "s3",
    "iam",
    "ecr",
    "logs",
    "cloudwatch",
    "application-autoscaling",
)
CREATE = ("sagemaker", "CreateTrialComponent")


def shape_of(service: str, operation: str) -> Any:
    from botocore.model import ServiceModel

    model = ServiceModel(loader().load_service_model(service, "service-2"), service)
    return model.operation_model(operation).input_shape


def passes_botocore(service: str, operation: str, params: dict[str, Any]) -> bool:
    from botocore.validate import ParamValidator

    return not ParamValidator().validate(params, shape_of(service, operation)).has_errors()


def refusal(service: str, operation: str, params: dict[str, Any]) -> Rejected:
    with pytest.raises(Rejected) as caught:
        check(service, operation, params, now_s=NOW_S)
    return caught.value


@every_step
def test_both_sides_of_every_limit(step: Step) -> None:
    check(step.service, step.operation, step.request(step.within), now_s=NOW_S)
    error = refusal(step.service, step.operation, step.request(step.beyond))
    field = step.path.split(".")[0]
    assert step.operation in str(error)
    assert field in str(error)
    assert error.hint


@pytest.mark.parametrize(
    ("service", "operation", "path", "kind", "limit"),
    [
        ("sagemaker", "CreateExperiment", "ExperimentName", "max", 120),
        ("sagemaker", "CreateExperiment", "ExperimentName", "pattern", "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}"),
        ("sagemaker", "CreateExperiment", "Description", "max", 3072),
        (*CREATE, "Parameters", "max", 300),
        (*CREATE, "Parameters.key", "max", 320),
        ("sagemaker", "UpdateTrialComponent", "ParametersToRemove.member", "max", 256),
        (*CREATE, "Parameters.value.StringValue", "max", 2500),
        (*CREATE, "OutputArtifacts", "max", 60),
        (*CREATE, "OutputArtifacts.key", "max", 128),
        (*CREATE, "OutputArtifacts.value.Value", "max", 2048),
        (*CREATE, "OutputArtifacts.value.MediaType", "max", 64),
        (*CREATE, "Status.Message", "max", 1024),
        (
            *CREATE,
            "Status.PrimaryStatus",
            "enum",
            ("InProgress", "Completed", "Failed", "Stopping", "Stopped"),
        ),
        (*CREATE, "Tags", "max", 50),
        (*CREATE, "Tags.member.Key", "max", 128),
        (*CREATE, "Tags.member.Value", "max", 256),
        ("sagemaker-metrics", "BatchPutMetrics", "MetricData", "max", 10),
        ("sagemaker-metrics", "BatchPutMetrics", "MetricData.member.MetricName", "max", 255),
        ("sagemaker-metrics", "BatchPutMetrics", "MetricData.member.Step", "min", 0),
        ("sagemaker-metrics", "BatchGetMetrics", "MetricQueries", "max", 100),
        ("sagemaker", "Search", "MaxResults", "max", 100),
        ("sagemaker", "CreateModelPackageGroup", "ModelPackageGroupName", "max", 63),
        ("sagemaker", "CreateModelPackage", "CustomerMetadataProperties", "max", 50),
        ("sagemaker", "CreateModelPackage", "CustomerMetadataProperties.key", "max", 128),
        ("sagemaker", "CreateModelPackage", "CustomerMetadataProperties.value", "max", 256),
        ("sagemaker", "CreateModelPackage", "ModelCard.ModelCardContent", "max", 100_000),
        ("sagemaker", "CreateModelPackage", "SkipModelValidation", "enum", ("All", "None")),
        ("sagemaker", "CreateTrainingJob", "HyperParameters", "max", 100),
        ("sagemaker", "CreateExperiment", "Description", "enum", None),
    ],
)
def test_a_limit_is_told(service: str, operation: str, path: str, kind: Any, limit: Any) -> None:
    assert limit_of(service, operation, path, kind) == limit


def test_quotas_and_times_are_those_of_the_services_own_messages() -> None:
    assert (TRIALS_PER_EXPERIMENT, COMPONENTS_PER_TRIAL) == (300, 50)
    assert (METRIC_AGE_S_MAX, METRIC_AHEAD_S_MAX) == (14 * 86_400, 2 * 3_600)


def _constants() -> dict[str, tuple[int, int]]:
    """Return each limit that stands as a number in the adapter, and what the service's model says."""
    points = ("sagemaker-metrics", "BatchPutMetrics", "MetricData")
    return {
        "parameters": (native_runs.PARAMETERS_MAX, limit_of(*CREATE, "Parameters", "max")),
        "artifacts": (native_runs.ARTIFACTS_MAX, limit_of(*CREATE, "OutputArtifacts", "max")),
        "tags": (native_runs.TAGS_MAX, limit_of(*CREATE, "Tags", "max")),
        "removable keys": (
            native_runs.REMOVABLE_KEY_CHARS_MAX,
            limit_of("sagemaker", "UpdateTrialComponent", "ParametersToRemove.member", "max"),
        ),
        "names": (names.NAME_CHARS_MAX, limit_of(*CREATE, "TrialComponentName", "max")),
        "descriptions": (
            names.DESCRIPTION_CHARS_MAX,
            limit_of("sagemaker", "CreateExperiment", "Description", "max"),
        ),
        "points": (native_metrics.POINTS_PER_CALL, limit_of(*points, "max")),
        "groups": (
            registry_groups.NAME_CHARS_MAX,
            limit_of("sagemaker", "CreateModelPackageGroup", "ModelPackageGroupName", "max"),
        ),
        "approvals": (
            registry_projection.REASON_CHARS_MAX,
            limit_of("sagemaker", "UpdateModelPackage", "ApprovalDescription", "max"),
        ),
        "found": (run_listing.SEARCH_ITEMS, limit_of("sagemaker", "Search", "MaxResults", "max")),
        "listed": (
            registry_native.PAGE_ITEMS,
            limit_of("sagemaker", "ListModelPackages", "MaxResults", "max"),
        ),
    }


@pytest.mark.parametrize(("stands", "model"), _constants().values(), ids=_constants())
def test_numbers_in_the_code_are_those_of_the_model(stands: int, model: int) -> None:
    assert stands == model


def test_what_is_left_to_others_is_below_the_limit() -> None:
    assert limit_of(*CREATE, "Tags", "max") > registry_projection.GROUP_TAGS_MAX
    metadata = limit_of("sagemaker", "CreateModelPackage", "CustomerMetadataProperties", "max")
    assert metadata > registry_projection.METADATA_MAX
    assert (
        limit_of("sagemaker", "CreateModelPackage", "ClientToken", "max") >= registry_projection.TOKEN_CHARS
    )


def test_a_refusal_names_field_value_limit_and_what_to_do() -> None:
    error = refusal(*CREATE, {**VALID[CREATE], "Parameters": {"note": {"StringValue": "long " * 600}}})
    assert str(error).startswith(
        "CreateTrialComponent cannot be sent: Parameters['note'].StringValue 'long long"
    )
    assert "has 3000 characters, AWS takes at most 2500 characters" in str(error)
    assert error.hint == "give at most 2500 characters"
    assert len(str(error)) < 300


def test_the_value_that_is_wrong_is_found_within_a_list() -> None:
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "{}"}]
    error = refusal(*CREATE, {**VALID[CREATE], "Tags": tags})
    assert "Tags[1].Value '{}' does not match" in str(error)
    assert error.hint == "use letters, digits, spaces and _ . : / = + - @ only"


def test_a_secret_is_not_shown() -> None:
    shown = refusal(*CREATE, {**VALID[CREATE], "DisplayName": "password=hunter2-hunter2"})
    assert "hunter2" not in str(shown)


def test_a_sensitive_field_is_not_shown() -> None:
    step = {"EndpointName": "endpoint", "Body": b"", "CustomAttributes": "héllo"}
    assert "héllo" not in str(refusal("sagemaker-runtime", "InvokeEndpoint", step))


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "the request lacks TrialComponentName"),
        ({"TrialComponentName": 7}, "TrialComponentName is int, not text"),
        ({"TrialComponentName": None}, "TrialComponentName is NoneType, not text"),
        ({"TrialComponentName": "c", "Name": "x"}, "the request has no field 'Name'"),
        ({"TrialComponentName": "c", "Tags": {"k": "v"}}, "Tags is dict, not a list"),
        ({"TrialComponentName": "c", "Tags": ["k"]}, "Tags[0] is str, not a structure"),
        ({"TrialComponentName": "c", "Tags": [{"Key": "k"}]}, "Tags[0] lacks Value"),
        ({"TrialComponentName": "c", "Parameters": []}, "Parameters is list, not a map"),
        ({"TrialComponentName": "c", "Parameters": {1: {}}}, "Parameters[1] is int, not text"),
        ({"TrialComponentName": "c", "Parameters": {"k": {}}}, "Parameters['k'] has 0 fields"),
        (
            {"TrialComponentName": "c", "Parameters": {"k": {"StringValue": "1", "NumberValue": 1.0}}},
            "Parameters['k'] has 2 fields",
        ),
        ({"TrialComponentName": "c", "Parameters": {"k": {"NumberValue": True}}}, "is bool, not a number"),
        ({"TrialComponentName": "c", "StartTime": "now"}, "StartTime is str, not a time"),
        ({"TrialComponentName": "c", "Parameters": {"k": {"StringValue": "\ud800"}}}, "half a character"),
        (
            {"TrialComponentName": "c", "Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]},
            "Tags[1].Key 'k' is there twice",
        ),
    ],
)
def test_what_is_no_request_at_all(params: dict[str, Any], problem: str) -> None:
    assert problem in str(refusal(*CREATE, params))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Step", True),
        ("Step", 1.0),
        ("Step", 2**31),
        ("Value", "0.5"),
        ("Value", 10**400),
        ("Timestamp", float("nan")),
        ("Timestamp", 10**400),
    ],
)
def test_a_point_of_other_kinds(field: str, value: Any) -> None:
    point = {"MetricName": "loss", "Timestamp": NOW_S, "Value": 0.5, field: value}
    params = {"TrialComponentName": "c", "MetricData": [point]}
    assert f"MetricData[0].{field}" in str(refusal("sagemaker-metrics", "BatchPutMetrics", params))


def test_times_are_dates_or_seconds() -> None:
    at = datetime.fromtimestamp(NOW_S - METRIC_AGE_S_MAX - 1, tz=timezone.utc)
    point = {"MetricName": "loss", "Timestamp": at, "Value": 0.5}
    params = {"TrialComponentName": "c", "MetricData": [point]}
    check("sagemaker-metrics", "BatchPutMetrics", params)  # nobody has said what time it is
    error = refusal("sagemaker-metrics", "BatchPutMetrics", params)
    assert "MetricData[0].Timestamp is 1209601 s ago" in str(error)


def test_an_operation_without_a_request() -> None:
    check("sts", "GetCallerIdentity", {})
    assert "Name" in str(refusal("sts", "GetCallerIdentity", {"Name": "x"}))


@pytest.mark.parametrize(
    ("service", "operation"), [("sagemaker", "CreateSomethingNew"), ("sagemaker-tomorrow", "Create")]
)
def test_a_botocore_that_is_too_old_is_told(service: str, operation: str) -> None:
    with pytest.raises(ConfigError, match="the installed botocore does not know") as caught:
        check(service, operation, {})
    assert caught.value.hint == "pip install --upgrade boto3"


def test_lengths_are_counted_as_the_longer_of_the_two_ways() -> None:
    assert [length_of(text) for text in ("", "abc", "é", "😀", "a😀\U00020000")] == [0, 3, 1, 2, 5]
    assert fits(*CREATE, "Parameters.value.StringValue", "😀" * 1250)
    assert not fits(*CREATE, "Parameters.value.StringValue", "😀" * 1251)


@pytest.mark.parametrize(
    ("path", "value", "held"),
    [
        ("DisplayName", "a-b", True),
        ("DisplayName", "a_b", False),
        ("Parameters.key", "k" * 320, True),
        ("Parameters.key", "k\nk", False),
        ("Tags.member.Key", "mlflow.user", True),
        ("Tags.member.Value", '{"a": 1}', False),
        ("Tags.member", {"Key": "k"}, False),
        ("Parameters", {"k": {"StringValue": "v"}}, True),
    ],
)
def test_a_part_of_a_request(path: str, value: Any, held: bool) -> None:
    assert fits(*CREATE, path, value) is held


@pytest.mark.parametrize("service", SERVICES)
def test_every_pattern_of_todays_models_can_be_read(service: str) -> None:
    model = loader().load_service_model(service, "service-2")
    patterns = {shape["pattern"] for shape in model["shapes"].values() if "pattern" in shape}
    unread = [pattern for pattern in patterns if matcher_of(pattern) is None]
    assert not unread


@pytest.mark.parametrize(
    ("pattern", "taken", "refused"),
    [
        (".*", ["", "a b\t", "é😀\x0b\x0c"], ["\n", "a\r", "\x85", "\u2028", "\u2029"]),
        ("[.]+", ["..."], ["a"]),
        ("a\\.b", ["a.b"], ["axb"]),
        ("^[a-z]+$", ["abc"], ["abc\n", "Abc"]),
        ("[-\\w]+\\/[-\\w+]+", ["text/x-y+json"], ["texté/a", "a/b/c"]),
        ("\\d+", ["12"], ["١٢", "1 "]),
        (
            "([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)",
            ["aÉ_ \u00a0\u3000Ⅷ²٣漢\u02b0"],
            ["a\u0301", "€", "\t", "😀", "#"],
        ),
        ("([\\p{L}\\p{Z}\\p{N}_.:\\/=+\\-@]*)${1,128}", ["", "a/b"], ["a{b"]),
        (
            "[\\p{L}\\p{M}\\p{Z}\\p{S}\\p{N}\\p{P}]*",
            ["a\u0301 €😀«\u2028{}[]^`~|\\"],
            ["\n", "\x00", "\u200b", "\ue000", "\U000e0001"],
        ),
        ("\\p{ASCII}*", ["a~\x00\n"], ["é"]),
        ("\\A\\S[\\p{Print}]*\\z", ["a b~", "é"], [" a", "a\n", "aé"]),
        (".*(?:[ \\r\\n\\t].*)*", ["{\n\t}\r\n"], ["\x85"]),
        ("[\\u0020-\\uD7FF\\uE000-\\uFFFD\\uD800\\uDC00-\\uDBFF\\uDFFF\\t]*", ["a\té😀"], ["\n", "\x1f"]),
    ],
)
def test_patterns_are_read_as_the_service_reads_them(
    pattern: str, taken: list[str], refused: list[str]
) -> None:
    matches = matcher_of(pattern)
    assert matches is not None
    assert [text for text in taken if not matches(text)] == []
    assert [text for text in refused if matches(text)] == []


def test_a_pattern_that_cannot_be_read_is_left_to_the_service() -> None:
    assert matcher_of("[a-z&&[^b]]") is None
    assert matcher_of("[a-z[0-9]]") is None
    assert matcher_of("\\p{Thai}+") is None


@pytest.mark.parametrize("pattern", [".*(?:[ \\r\\n\\t].*)*", "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}"])
def test_hostile_text_ends(pattern: str) -> None:
    matches = matcher_of(pattern)
    assert matches is not None
    assert not matches("a- " * 7_000 + "\x85")


def test_every_character_there_is() -> None:
    matches = matcher_of("([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)")
    assert matches is not None
    taken = sum(matches(chr(point)) for point in range(0, sys.maxunicode, 97))
    assert taken > 1000


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_what_passes_here_passes_botocores_own_look(data: st.DataObject) -> None:
    service, operation = data.draw(st.sampled_from(sorted(VALID)))
    params = dict(VALID[service, operation])
    for name in data.draw(
        st.lists(st.sampled_from(sorted(shape_of(service, operation).members)), max_size=3)
    ):
        params[name] = data.draw(ANYTHING)
    for name in data.draw(st.sets(st.sampled_from([*params, "-"]), max_size=1)) - {"-"}:
        del params[name]
    try:
        check(service, operation, params)
    except Rejected:
        return
    assert passes_botocore(service, operation, params)


@pytest.mark.parametrize(("service", "operation"), sorted(VALID))
def test_the_least_request_passes_botocores_own_look(service: str, operation: str) -> None:
    assert passes_botocore(service, operation, VALID[service, operation])


def test_a_condition_within_conditions_is_checked_too() -> None:
    wrong: dict[str, Any] = {"Filters": [{"Name": "Status.PrimaryStatus", "Operator": "Like", "Value": "v"}]}
    for _ in range(5):
        wrong = {"SubExpressions": [wrong]}
    error = refusal("sagemaker", "Search", {**VALID["sagemaker", "Search"], "SearchExpression": wrong})
    assert "SubExpressions[0].SubExpressions[0].Filters[0].Operator 'Like' is none of its values" in str(
        error
    )


def test_the_callers_request_is_left_as_it_is() -> None:
    params = {"TrialComponentName": "c", "Parameters": pairs(3, NumberValue=1.0)}
    before = repr(params)
    check(*CREATE, params)
    assert repr(params) == before
