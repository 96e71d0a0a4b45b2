"""Requests at a limit of SageMaker's, and one step beyond it: one row for each limit of the service."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

ROLE = "arn:aws:iam::123456789012:role/trainer"
GROUP_ARN = "arn:aws:sagemaker:eu-west-1:123456789012:model-package-group/group"
COMPONENT_ARN = "arn:aws:sagemaker:eu-west-1:123456789012:experiment-trial-component/component"
PACKAGE_ARN = "arn:aws:sagemaker:eu-west-1:123456789012:model-package/group/1"
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/image:1"
NOW_S = 1_790_000_000.0

Params = dict[str, Any]

_CHANNEL = {
    "ChannelName": "code",
    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/code"}},
}
_POINT = {"MetricName": "loss", "Timestamp": NOW_S, "Step": 1, "Value": 0.5}
_VARIANT = {
    "VariantName": "all",
    "ModelName": "model",
    "InitialInstanceCount": 1,
    "InstanceType": "ml.m5.large",
}

VALID: Mapping[tuple[str, str], Params] = {
    ("sagemaker", "CreateExperiment"): {"ExperimentName": "experiment"},
    ("sagemaker", "CreateTrial"): {"TrialName": "trial", "ExperimentName": "experiment"},
    ("sagemaker", "CreateTrialComponent"): {"TrialComponentName": "component"},
    ("sagemaker", "UpdateTrialComponent"): {"TrialComponentName": "component"},
    ("sagemaker", "AddTags"): {"ResourceArn": GROUP_ARN, "Tags": [{"Key": "k", "Value": "v"}]},
    ("sagemaker", "Search"): {"Resource": "ExperimentTrialComponent"},
    ("sagemaker", "ListTrialComponents"): {},
    ("sagemaker-metrics", "BatchPutMetrics"): {"TrialComponentName": "component", "MetricData": [_POINT]},
    ("sagemaker-metrics", "BatchGetMetrics"): {
        "MetricQueries": [
            {
                "MetricName": "loss",
                "ResourceArn": COMPONENT_ARN,
                "MetricStat": "Last",
                "Period": "IterationNumber",
                "XAxisType": "IterationNumber",
            }
        ]
    },
    ("sagemaker", "CreateModelPackageGroup"): {"ModelPackageGroupName": "group"},
    ("sagemaker", "CreateModelPackage"): {
        "ModelPackageGroupName": "group",
        "InferenceSpecification": {"Containers": [{"Image": IMAGE}]},
    },
    ("sagemaker", "UpdateModelPackage"): {"ModelPackageArn": PACKAGE_ARN},
    ("sagemaker", "PutModelPackageGroupPolicy"): {"ModelPackageGroupName": "group", "ResourcePolicy": "{}"},
    ("sagemaker", "BatchDescribeModelPackage"): {"ModelPackageArnList": [PACKAGE_ARN]},
    ("sagemaker", "CreateTrainingJob"): {
        "TrainingJobName": "job",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "InputDataConfig": [_CHANNEL],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    },
    ("sagemaker", "CreateProcessingJob"): {
        "ProcessingJobName": "job",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": IMAGE},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10}
        },
    },
    ("sagemaker", "CreateModel"): {"ModelName": "model", "ExecutionRoleArn": ROLE},
    ("sagemaker", "CreateEndpointConfig"): {
        "EndpointConfigName": "config",
        "ProductionVariants": [_VARIANT],
    },
    ("sagemaker", "UpdateEndpoint"): {"EndpointName": "endpoint", "EndpointConfigName": "config"},
    ("sagemaker-runtime", "InvokeEndpoint"): {"EndpointName": "endpoint", "Body": b"{}"},
}
"""The least that each operation takes."""


@dataclass(frozen=True, slots=True)
class Step:
    """A field whose value ``within`` is taken and whose value ``beyond`` is refused.

    ``path`` leads to it as a request is written: ``Tags.0.Key``, ``Parameters.k.StringValue``.
    """

    service: str
    operation: str
    path: str
    within: Any
    beyond: Any

    def request(self, value: Any) -> Params:
        """Return a whole request with ``value`` in place."""
        params = copy.deepcopy(VALID[self.service, self.operation])
        _put(params, self.path.split("."), value)
        return params


def _put(params: Any, way: list[str], value: Any) -> None:
    for index, part in enumerate(way):
        key: Any = int(part) if isinstance(params, list) else part
        if index == len(way) - 1:
            params[key] = value
            return
        if isinstance(params, list):
            params += [{}] * (key + 1 - len(params))
        elif key not in params:
            params[key] = [{}] if way[index + 1].isdecimal() else {}
        params = params[key]


def pairs(count: int, **value: Any) -> Params:
    """Return a map of so many keys."""
    return {f"k{index}": value or "v" for index in range(count)}


def tags(count: int) -> list[Params]:
    """Return so many tags."""
    return [{"Key": f"k{index}", "Value": "v"} for index in range(count)]


def _names(operation: str, path: str, most: int) -> list[Step]:
    good = "a" * most
    found = [
        Step("sagemaker", operation, path, good, good + "a"),
        Step("sagemaker", operation, path, "a", ""),
    ]
    wrong = ("a_b", "a.b", "a/b", "a b", "a:b", "-a", "a-", "é", "a\n")
    return found + [Step("sagemaker", operation, path, "A-9--b", bad) for bad in wrong]


def _text(operation: str, path: str, most: int, *, ends: str = "\n\r\u2028") -> list[Step]:
    found = [Step("sagemaker", operation, path, "x" * most, "x" * (most + 1))]
    return found + [Step("sagemaker", operation, path, "a é😀", f"a{end}b") for end in ends]


def _tags(operation: str) -> list[Step]:
    found = [
        Step("sagemaker", operation, "Tags", tags(50), tags(51)),
        Step(
            "sagemaker", operation, "Tags.0", {"Key": "k" * 128, "Value": ""}, {"Key": "k" * 129, "Value": ""}
        ),
        Step(
            "sagemaker",
            operation,
            "Tags.0",
            {"Key": "k", "Value": "v" * 256},
            {"Key": "k", "Value": "v" * 257},
        ),
        Step("sagemaker", operation, "Tags.0", {"Key": "k", "Value": ""}, {"Key": "", "Value": ""}),
        Step("sagemaker", operation, "Tags.0", {"Key": "a:b", "Value": ""}, {"Key": "aws:b", "Value": ""}),
    ]
    good = {"Key": "k", "Value": "Été 2026_.:/=+-@ \u00a0Ⅷ"}
    refused = '{}",;()#%&*?!\n\t€😀\u0301'
    return found + [
        Step("sagemaker", operation, "Tags.0", good, {"Key": "k", "Value": bad}) for bad in refused
    ]


def _experiments() -> list[Step]:
    found: list[Step] = []
    for operation, path in (
        ("CreateExperiment", "ExperimentName"),
        ("CreateExperiment", "DisplayName"),
        ("CreateTrial", "TrialName"),
        ("CreateTrial", "DisplayName"),
        ("CreateTrialComponent", "TrialComponentName"),
        ("CreateTrialComponent", "DisplayName"),
    ):
        found += _names(operation, path, 120)
    for operation in ("CreateExperiment", "CreateTrial", "CreateTrialComponent", "AddTags"):
        found += _tags(operation)
    found += _text("CreateExperiment", "Description", 3072)
    for operation in ("CreateTrialComponent", "UpdateTrialComponent"):
        found += _component(operation)
    removed = ["k" * 256], ["k" * 257]
    found.append(Step("sagemaker", "UpdateTrialComponent", "ParametersToRemove", *removed))
    return found


def _component(operation: str) -> list[Step]:
    def step(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker", operation, path, within, beyond)

    found = [
        step("Parameters", pairs(300, NumberValue=1.0), pairs(301, NumberValue=1.0)),
        step("Parameters", {"k" * 320: {"NumberValue": 1.0}}, {"k" * 321: {"NumberValue": 1.0}}),
        step("Parameters.k", {"NumberValue": 1.5e308}, {"NumberValue": float("nan")}),
        step("Parameters.k", {"NumberValue": -0.0}, {"NumberValue": float("-inf")}),
        *_text(operation, "Parameters.k.StringValue", 2500),
        step("Status", {"PrimaryStatus": "Stopped"}, {"PrimaryStatus": "Killed"}),
        step("Status.Message", "m" * 1024, "m" * 1025),
    ]
    for side in ("InputArtifacts", "OutputArtifacts"):
        found += [
            step(side, pairs(60, Value="s3://b/k"), pairs(61, Value="s3://b/k")),
            step(side, {"k" * 128: {"Value": "v"}}, {"k" * 129: {"Value": "v"}}),
            step(f"{side}.k", {"Value": "v" * 2048}, {"Value": "v" * 2049}),
            step(
                f"{side}.k",
                {"Value": "v", "MediaType": f"a/{'b' * 62}"},
                {"Value": "v", "MediaType": f"a/{'b' * 63}"},
            ),
            step(
                f"{side}.k",
                {"Value": "v", "MediaType": "text/plain"},
                {"Value": "v", "MediaType": "text/plain; charset=utf-8"},
            ),
        ]
    if operation == "CreateTrialComponent":
        for field in ("CommitId", "Repository", "GeneratedBy", "ProjectId"):
            found += _text(operation, f"MetadataProperties.{field}", 1024)
        found.append(step("MetadataProperties", {"CommitId": "a"}, {"Branch": "a"}))
    return found


def _metrics() -> list[Step]:
    def put(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker-metrics", "BatchPutMetrics", path, within, beyond)

    query = VALID["sagemaker-metrics", "BatchGetMetrics"]["MetricQueries"]
    return [
        put("MetricData", [_POINT] * 10, [_POINT] * 11),
        put("MetricData", [_POINT], []),
        put("TrialComponentName", "a" * 120, "a" * 121),
        put("TrialComponentName", "a-9", "A-9"),
        put("MetricData.0.MetricName", "m" * 255, "m" * 256),
        put("MetricData.0.MetricName", "µ {any} \t", ""),
        put("MetricData.0.MetricName", "a b", "a\nb"),
        put("MetricData.0.Step", 0, -1),
        put("MetricData.0.Step", 2**31 - 1, 2**31),
        put("MetricData.0.Value", -1.5e308, float("nan")),
        put("MetricData.0.Value", 0.0, float("inf")),
        put("MetricData.0.Timestamp", NOW_S - 1_209_000, NOW_S - 1_210_000),
        put("MetricData.0.Timestamp", NOW_S + 7_000, NOW_S + 7_400),
        Step("sagemaker-metrics", "BatchGetMetrics", "MetricQueries", query * 100, query * 101),
    ]


def _search() -> list[Step]:
    def search(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker", "Search", path, within, beyond)

    one = {"Name": "Parameters.k", "Operator": "Equals", "Value": "v"}
    nested = {"NestedPropertyName": "Parents", "Filters": [one]}
    return [
        search("MaxResults", 100, 101),
        search("NextToken", "t" * 8192, "t" * 8193),
        search("SearchExpression.Filters", [one] * 20, [one] * 21),
        search("SearchExpression.NestedFilters", [nested] * 20, [nested] * 21),
        search("SearchExpression.SubExpressions", [{"Filters": [one]}] * 20, [{"Filters": [one]}] * 21),
        search("SearchExpression.Filters", [{**one, "Value": "v" * 1024}], [{**one, "Value": "v" * 1025}]),
        search("SearchExpression.Filters", [{**one, "Operator": "In"}], [{**one, "Operator": "Like"}]),
        search("Resource", "Experiment", "Run"),
        Step("sagemaker", "ListTrialComponents", "MaxResults", 100, 101),
        Step("sagemaker", "ListTrialComponents", "MaxResults", 1, 0),
    ]


def _registry() -> list[Step]:
    def package(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker", "CreateModelPackage", path, within, beyond)

    def update(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker", "UpdateModelPackage", path, within, beyond)

    container = VALID["sagemaker", "CreateModelPackage"]["InferenceSpecification"]["Containers"][0]
    cycle = {"Stage": "Staging", "StageStatus": "Approved"}
    found = [
        *_names("CreateModelPackageGroup", "ModelPackageGroupName", 63),
        *_text("CreateModelPackageGroup", "ModelPackageGroupDescription", 1024, ends="\n\r\t"),
        *_tags("CreateModelPackageGroup"),
        *_text("CreateModelPackage", "ModelPackageDescription", 1024, ends="\n\r\t"),
        *_text("CreateModelPackage", "MetadataProperties.CommitId", 1024),
        *_text("UpdateModelPackage", "ApprovalDescription", 1024),
        update("ModelApprovalStatus", "Approved", "Accepted"),
        update("ModelPackageRegistrationType", "Logged", "Draft"),
        package("ClientToken", "a" * 36, "a" * 37),
        package("SourceUri", "s" * 1024, "s" * 1025),
        package("SkipModelValidation", "All", "Some"),
        package("ModelLifeCycle", {**cycle, "Stage": "a" * 63}, {**cycle, "Stage": "a" * 64}),
        package("ModelLifeCycle", cycle, {**cycle, "Stage": "In Production"}),
        package("ModelLifeCycle", cycle, {**cycle, "StageStatus": "a_b"}),
        package(
            "ModelLifeCycle",
            {**cycle, "StageDescription": "d" * 1024},
            {**cycle, "StageDescription": "d" * 1025},
        ),
        package(
            "ModelCard",
            {"ModelCardStatus": "Draft", "ModelCardContent": "c" * 100_000},
            {"ModelCardStatus": "Draft", "ModelCardContent": "c" * 100_001},
        ),
        package("InferenceSpecification.Containers", [container] * 15, [container] * 16),
        package("InferenceSpecification.Containers", [container], []),
        package("InferenceSpecification.Containers.0.Image", "i" * 255, "i" * 256),
        package("InferenceSpecification.Containers.0.Image", IMAGE, "an image"),
        package("InferenceSpecification.Containers.0.Environment", pairs(100), pairs(101)),
        package("InferenceSpecification.Containers.0.Environment", {"K": "v" * 1024}, {"K": "v" * 1025}),
        package("InferenceSpecification.Containers.0.FrameworkVersion", "2.6", "26"),
        package("InferenceSpecification.Containers.0.FrameworkVersion", "2.6.0.12.1", "2.6.0.12.12"),
        Step(
            "sagemaker",
            "PutModelPackageGroupPolicy",
            "ResourcePolicy",
            "{}" + " " * 20_478,
            "{}" + " " * 20_479,
        ),
        Step(
            "sagemaker", "BatchDescribeModelPackage", "ModelPackageArnList", [PACKAGE_ARN] * 100,
            [PACKAGE_ARN] * 101,
        ),
    ]  # fmt: skip
    return found + [step for operation in _METADATA for step in _customer_metadata(operation)]


_METADATA = ("CreateModelPackage", "UpdateModelPackage")


def _customer_metadata(operation: str) -> list[Step]:
    def step(within: Any, beyond: Any) -> Step:
        return Step("sagemaker", operation, "CustomerMetadataProperties", within, beyond)

    return [
        step(pairs(50), pairs(51)),
        step({"k" * 128: "v"}, {"k" * 129: "v"}),
        step({"k": "v" * 256}, {"k": "v" * 257}),
        step({"k": "a b_.:/=+-@"}, {"k": "a{b}"}),
        step({"a:b": "v"}, {"a#b": "v"}),
        step({"k": "v"}, {"k": ""}),
    ]


def _jobs() -> list[Step]:
    def train(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker", "CreateTrainingJob", path, within, beyond)

    channel = [{**_CHANNEL, "ChannelName": f"c{index}"} for index in range(21)]
    definition = {"Name": "loss", "Regex": "loss=([0-9.]+)"}
    return [
        *_names("CreateTrainingJob", "TrainingJobName", 63),
        *_text("CreateTrainingJob", "HyperParameters.k", 2500),
        train("HyperParameters", pairs(100), pairs(101)),
        train("Environment", pairs(100), pairs(101)),
        train("Environment", {"K": "v" * 512}, {"K": "v" * 513}),
        train("AlgorithmSpecification.ContainerEntrypoint", ["a"] * 100, ["a"] * 101),
        train("AlgorithmSpecification.ContainerEntrypoint", ["a" * 256], ["a" * 257]),
        train("AlgorithmSpecification.ContainerArguments", ["a" * 256], ["a" * 257]),
        train("AlgorithmSpecification.MetricDefinitions", [definition] * 40, [definition] * 41),
        train(
            "AlgorithmSpecification.MetricDefinitions",
            [{**definition, "Regex": "r" * 500}],
            [{**definition, "Regex": "r" * 501}],
        ),
        train("InputDataConfig", channel[:20], channel),
        train("StoppingCondition.MaxRuntimeInSeconds", 1, 0),
        train("ResourceConfig.KeepAlivePeriodInSeconds", 21_600, 21_601),
        train("RetryStrategy", {"MaximumRetryAttempts": 30}, {"MaximumRetryAttempts": 31}),
        train("RetryStrategy", {"MaximumRetryAttempts": 1}, {"MaximumRetryAttempts": 0}),
        Step("sagemaker", "CreateProcessingJob", "Environment", pairs(100), pairs(101)),
        Step("sagemaker", "CreateProcessingJob", "Environment", {"K": "v" * 256}, {"K": "v" * 257}),
        Step(
            "sagemaker", "CreateProcessingJob", "StoppingCondition",
            {"MaxRuntimeInSeconds": 777_600}, {"MaxRuntimeInSeconds": 777_601},
        ),
    ]  # fmt: skip


def _endpoints() -> list[Step]:
    def config(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker", "CreateEndpointConfig", path, within, beyond)

    def serverless(**changed: int) -> Params:
        return {
            "VariantName": "all",
            "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5, **changed},
        }

    def capture(percentage: int) -> Params:
        return {
            "InitialSamplingPercentage": percentage,
            "DestinationS3Uri": "s3://bucket/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        }

    def blue_green(**changed: Any) -> Params:
        routing = {"Type": "CANARY", "WaitIntervalInSeconds": 60, **changed.pop("routing", {})}
        return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **changed}}

    def alarms(count: int) -> Params:
        names = [{"AlarmName": f"alarm-{index}"} for index in range(count)]
        return {"AutoRollbackConfiguration": {"Alarms": names}}

    def update(within: Params, beyond: Params) -> Step:
        return Step("sagemaker", "UpdateEndpoint", "DeploymentConfig", within, beyond)

    def invoke(path: str, within: Any, beyond: Any) -> Step:
        return Step("sagemaker-runtime", "InvokeEndpoint", path, within, beyond)

    return [
        *_names("CreateModel", "ModelName", 63),
        Step("sagemaker", "CreateModel", "Containers", [{"Image": IMAGE}] * 15, [{"Image": IMAGE}] * 16),
        *_names("CreateEndpointConfig", "EndpointConfigName", 63),
        config("ProductionVariants", [_VARIANT] * 10, [_VARIANT] * 11),
        config("ProductionVariants.0", serverless(MemorySizeInMB=1024), serverless(MemorySizeInMB=1023)),
        config("ProductionVariants.0", serverless(MemorySizeInMB=6144), serverless(MemorySizeInMB=6145)),
        config("ProductionVariants.0", serverless(MaxConcurrency=200), serverless(MaxConcurrency=201)),
        config("ProductionVariants.0.VolumeSizeInGB", 512, 513),
        config("ProductionVariants.0.ModelDataDownloadTimeoutInSeconds", 60, 59),
        config("ProductionVariants.0.ModelDataDownloadTimeoutInSeconds", 3600, 3601),
        config("DataCaptureConfig", capture(100), capture(101)),
        update(
            blue_green(TerminationWaitInSeconds=3600), blue_green(TerminationWaitInSeconds=3601)
        ),
        update(
            blue_green(MaximumExecutionTimeoutInSeconds=600),
            blue_green(MaximumExecutionTimeoutInSeconds=599),
        ),
        update(
            blue_green(routing={"WaitIntervalInSeconds": 3600}),
            blue_green(routing={"WaitIntervalInSeconds": 3601}),
        ),
        update(alarms(10), alarms(11)),
        invoke("Body", b"x" * 6_291_456, b"x" * 6_291_457),
        invoke("CustomAttributes", "a" * 1024, "a" * 1025),
        invoke("InferenceId", "a" * 64, "a" * 65),
    ]  # fmt: skip


STEPS = [*_experiments(), *_metrics(), *_search(), *_registry(), *_jobs(), *_endpoints()]

NOT_OF_MODEL = frozenset(
    step.path + repr(step.beyond)
    for step in STEPS
    if step.path == "MetricData.0.Timestamp"
    or "nan" in repr(step.beyond)
    or "inf" in repr(step.beyond)
    or "'aws:b'" in repr(step.beyond)
    or "'Branch'" in repr(step.beyond)
)
"""What the model does not tell; and a field that it does not know, which the service leaves out."""


def named(step: Step) -> str:
    """Return a short name of a step, for the lists of tests."""
    return f"{step.operation}-{step.path}-{repr(step.beyond)[:16].encode('ascii', 'replace').decode()}"


every_step = pytest.mark.parametrize("step", STEPS, ids=named)
