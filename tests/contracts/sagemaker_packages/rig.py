"""What the tests of model packages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trackbridge.domain.models import ChangeReason, ModelVersion, ModelVersionSpec
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec
from trackbridge_adapters.sagemaker.adapter import SageMakerAdapter

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1"
SOURCE = "s3://elsewhere/model/"
OTHER_ACCOUNT = "999999999999"
ANN = ChangeReason(user="ann", why="0.93 > 0.91")
Opening = Callable[..., SageMakerAdapter]


def spec(name: str = "wine", **fields: Any) -> ModelVersionSpec:
    return ModelVersionSpec(name=name, **{"source": SOURCE, "digest": "sha256:1", **fields})


def create(registry: ModelRegistry, name: str = "wine", *, key: str = "k", **fields: Any) -> ModelVersion:
    registry.ensure_model(name)
    return registry.create_version(spec(name, **fields), key=key)


def described(aws: Any, version: ModelVersion) -> dict[str, Any]:
    found: dict[str, Any] = aws.describe_model_package(ModelPackageName=version.native_id)
    return found


def tags_of(aws: Any, group: str) -> dict[str, str]:
    arn = aws.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]
    return {item["Key"]: item["Value"] for item in aws.list_tags(ResourceArn=arn)["Tags"]}


def numbers(aws: Any, group: str) -> list[int]:
    listed = aws.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    return [item["ModelPackageVersion"] for item in listed]


def make_package(aws: Any, group: str, **fields: Any) -> str:
    """Make a package as somebody does who does not know us."""
    return str(aws.create_model_package(ModelPackageGroupName=group, **fields)["ModelPackageArn"])


def in_bucket(s3: Any, address: str) -> bytes:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def logged_model(adapter: Adapter, folder: Path, files: Mapping[str, bytes]) -> str:
    """Log a model of several files in a new run; return the run's id."""
    assert adapter.tracking is not None
    assert adapter.artifacts is not None
    run = adapter.tracking.open_run(run_spec()).info.run_id
    for name, content in files.items():
        file = file_of(folder, content)
        adapter.artifacts.put(run, f"model/{name}", file, digest=digest_of(content), size=len(content))
    return run
