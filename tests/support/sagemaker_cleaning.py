"""Takes everything of SageMaker and S3 away whose name begins in one way: what tests leave in an account."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

MARK = "bridge-live-"
"""How names begin that may be deleted; nobody else's do."""
PATIENCE_S = 60.0
PAUSE_S = 2.0
DELETED_AT_ONCE = 1000


def clean(prefix: str, *, region: str, bucket: str) -> None:
    """Delete objects, experiments and model package groups whose names begin with a prefix.

    Args:
        prefix: Of the places that were used; begins with ``MARK``.
        region: Where they are.
        bucket: Where the records are; it stays.

    Raises:
        ValueError: The prefix could be somebody else's.
    """
    import boto3

    if not prefix.startswith(MARK) or len(prefix) < len(MARK) + 6:
        raise ValueError(f"{prefix!r} is no prefix of tests")
    session = boto3.session.Session(region_name=region)
    sagemaker = session.client("sagemaker")
    for experiment in _items(sagemaker, "list_experiments", "ExperimentSummaries"):
        if experiment["ExperimentName"].startswith(prefix):
            _delete_experiment(sagemaker, experiment["ExperimentName"])
    groups = _items(
        sagemaker, "list_model_package_groups", "ModelPackageGroupSummaryList", NameContains=prefix
    )
    for group in list(groups):
        if group["ModelPackageGroupName"].startswith(prefix):
            _delete_group(sagemaker, group["ModelPackageGroupName"])
    _delete_objects(session.client("s3"), bucket, f"trackbridge/at/{prefix}")


def left_over(prefix: str, *, region: str, bucket: str) -> list[str]:
    """Return the names of what is there of a prefix."""
    import boto3

    session = boto3.session.Session(region_name=region)
    sagemaker = session.client("sagemaker")
    experiments = _items(sagemaker, "list_experiments", "ExperimentSummaries")
    groups = _items(sagemaker, "list_model_package_groups", "ModelPackageGroupSummaryList")
    components = _items(sagemaker, "list_trial_components", "TrialComponentSummaries")
    names = [
        *(item["ExperimentName"] for item in experiments),
        *(item["ModelPackageGroupName"] for item in groups),
        *(item["TrialComponentName"] for item in components),
    ]
    keys = _keys(session.client("s3"), bucket, f"trackbridge/at/{prefix}")
    return [name for name in names if name.startswith(prefix)] + list(keys)


def _delete_experiment(sagemaker: Any, experiment: str) -> None:
    for trial in list(_items(sagemaker, "list_trials", "TrialSummaries", ExperimentName=experiment)):
        name = trial["TrialName"]
        components = _items(sagemaker, "list_trial_components", "TrialComponentSummaries", TrialName=name)
        for component in list(components):
            found = component["TrialComponentName"]
            sagemaker.disassociate_trial_component(TrialName=name, TrialComponentName=found)
            _patiently(lambda: sagemaker.delete_trial_component(TrialComponentName=found))  # noqa: B023
        _patiently(lambda: sagemaker.delete_trial(TrialName=name))  # noqa: B023
    _patiently(lambda: sagemaker.delete_experiment(ExperimentName=experiment))


def _delete_group(sagemaker: Any, group: str) -> None:
    packages = _items(
        sagemaker, "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=group
    )
    for package in list(packages):
        sagemaker.delete_model_package(ModelPackageName=package["ModelPackageArn"])
    _patiently(lambda: sagemaker.delete_model_package_group(ModelPackageGroupName=group))


def _delete_objects(s3: Any, bucket: str, prefix: str) -> None:
    keys = list(_keys(s3, bucket, prefix))
    for start in range(0, len(keys), DELETED_AT_ONCE):
        chosen = [{"Key": key} for key in keys[start : start + DELETED_AT_ONCE]]
        s3.delete_objects(Bucket=bucket, Delete={"Objects": chosen, "Quiet": True})


def _keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", ()))


def _items(client: Any, operation: str, key: str, **named: Any) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(operation).paginate(**named):
        yield from page[key]


def _patiently(delete: Callable[[], Any]) -> None:
    """Delete what AWS says is still in use for some seconds after the last of what it held was deleted."""
    from botocore.exceptions import ClientError

    ends_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            delete()
        except ClientError:
            if time.monotonic() > ends_s:
                raise
            time.sleep(PAUSE_S)
        else:
            return
