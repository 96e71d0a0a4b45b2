"""Scoring of files: batch transform jobs of the model that a deployment serves.

Lines of JSON are asked one by one, each a whole request as ``invoke`` takes it, and answered line by line; a
CSV file is asked as one request, since its first line names the columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackbridge.domain.deployments import DeploymentSpec, Operation, Serving
from trackbridge.errors import Conflict, NotFound, Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.deployments_names import content_name

OPERATION = "deployments.start_batch"
JSON_SUFFIXES, CSV_SUFFIXES = (".json", ".jsonl", ".ndjson"), (".csv",)
PAYLOAD_MB = 100
"""The most that one request of a transform job may have, in MB."""
ENDED = {"Completed": True, "Failed": False, "Stopped": False}


def start(
    clients: Clients,
    *,
    model: str,
    instance_type: str,
    spec: DeploymentSpec | None,
    source: str,
    destination: str,
    name: str,
) -> None:
    """Start a transform job, unless it was started before.

    Args:
        clients: Of the place.
        model: SageMaker's name of the model.
        instance_type: The machines.
        spec: Of the deployment, as far as it is known: how many machines, requests at once, and how long.
        source: Where the files are.
        destination: Where the answers come.
        name: Of the job.

    Raises:
        NotFound: There is nothing at the source.
        Rejected: SageMaker does not take it.
    """
    content_type, split = _kind_of(clients, source)
    request: dict[str, Any] = {
        "TransformJobName": name,
        "ModelName": model,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}},
            "ContentType": content_type,
            "SplitType": split,
        },
        "TransformOutput": {"S3OutputPath": destination.rstrip("/"), "Accept": "application/json"},
        "TransformResources": {"InstanceType": instance_type, "InstanceCount": 1},
    }
    if spec is not None and spec.serving is Serving.BATCH:
        request["TransformResources"]["InstanceCount"] = spec.instance_count
        request["ModelClientConfig"] = {"InvocationsTimeoutInSeconds": max(1, round(spec.request_timeout_s))}
        if spec.concurrency_max is not None:
            request["MaxConcurrentTransforms"] = spec.concurrency_max
    if split == "Line":
        request["BatchStrategy"] = "SingleRecord"
        request["TransformOutput"]["AssembleWith"] = "Line"
    else:
        request |= {"MaxPayloadInMB": PAYLOAD_MB, "MaxConcurrentTransforms": 1}
    try:
        clients.call("sagemaker", "CreateTransformJob", **request)
    except Conflict:  # the key names this work for good
        told = clients.call("sagemaker", "DescribeTransformJob", TransformJobName=name)
        given = told["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        if (given, told["TransformOutput"]["S3OutputPath"]) != (source, destination.rstrip("/")):
            raise Conflict(
                "the key was used for other files",
                adapter=ADAPTER,
                operation=OPERATION,
                resource=f"job {name}",
                hint="use a new key for new work",
            ) from None


def job_name(endpoint: str, key: str) -> str:
    """Return the name of the transform job of a key."""
    return content_name((endpoint,), key)


def poll(clients: Clients, operation: Operation, job: str) -> Operation:
    """Return how a transform job stands."""
    told = clients.call("sagemaker", "DescribeTransformJob", TransformJobName=job)
    status = told["TransformJobStatus"]
    if status not in ENDED:
        return operation
    reason = told.get("FailureReason") or f"the job is {status}"
    error = None if ENDED[status] else str(reason)
    return Operation(operation_id=operation.operation_id, done=True, error=error)


def _kind_of(clients: Clients, source: str) -> tuple[str, str]:
    """Return the content type of the files at an address, and how they are split."""
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if not source.startswith("s3://") or not bucket:
        raise _rejected(f"{source[:100]!r} is not in S3", "write s3://BUCKET/FOLDER/")
    found: Mapping[str, Any] = clients.call("s3", "ListObjectsV2", Bucket=bucket, Prefix=prefix, MaxKeys=1000)
    keys = [str(row["Key"]) for row in found.get("Contents", ()) if not row["Key"].endswith("/")]
    if not keys:
        raise NotFound(
            f"there is nothing at {source[:200]}",
            adapter=ADAPTER,
            operation=OPERATION,
            hint="check the address",
        )
    if all(key.endswith(CSV_SUFFIXES) for key in keys):
        return "text/csv", "None"
    if all(key.endswith(JSON_SUFFIXES) for key in keys):
        return "application/json", "Line"
    raise _rejected(
        f"the files at {source[:200]} are not all CSV, nor all lines of JSON",
        f"let their names end in {', '.join((*JSON_SUFFIXES, *CSV_SUFFIXES))}, one kind in a folder",
    )


def _rejected(message: str, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation=OPERATION, hint=hint)
