"""Models between SageMaker and Azure ML in the format of each: archives, folders of MLflow, custom models."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_models import opened
from tests.support.migrations import local_side, migrate, pair_of
from tests.support.model_archives import INFERENCE, archive_of, repacked
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.domain.model_digest import digest_of_members, digest_of_path, files_of
from trackbridge.domain.models import ModelVersion
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.operations.model_archives import members_of_archive
from trackbridge.operations.model_payloads import materialise
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.contracts.deployment_models import answering
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.azureml.assets import CUSTOM, MLFLOW, properties_of
from trackbridge_adapters.azureml.registry import KIND
from trackbridge_adapters.sagemaker import open_adapter

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1"
BUCKET = "jobs-of-others"


@pytest.fixture(scope="module")
def running() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def aws(running: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    running.reset()
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    yield running
    running.raise_failures()


@pytest.fixture
def workspace(azureml: AzureMlEmulator, tmp_path: Path) -> Iterator[Side]:
    side = side_of(opened(azureml, tmp_path / "azure"), azureml.uri)
    yield side
    side.close()


def sagemaker(emulator: SageMakerEmulator, home: Path, prefix: str = "", **options: str) -> Side:
    uri = f"{emulator.uri}/{prefix}" if prefix else emulator.uri
    context = AdapterContext(home=home, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return side_of(open_adapter(uri, context=context), uri)


def package(emulator: SageMakerEmulator, group: str, archive: bytes) -> None:
    """Register an archive as AWS's SDK does."""
    s3, aws = emulator.client("s3"), emulator.client("sagemaker")
    key = f"{group}/output/model.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=archive)
    aws.create_model_package_group(ModelPackageGroupName=group)
    aws.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/{key}"}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )


def type_in_azure(side: Side, version: ModelVersion) -> str:
    registry: Any = side.registry
    assert registry is not None
    return str(properties_of(registry.asset_of(version.name, version.version))["modelType"])


def files_at(side: Side, version: ModelVersion, cache: Path) -> dict[str, bytes]:
    folder = materialise(version, side.artifacts, cache=cache)
    return {name: file.read_bytes() for name, file in files_of(folder)}


def archive_in_sagemaker(emulator: SageMakerEmulator, version: ModelVersion) -> bytes:
    """Return the archive that a container gets which is made of a package."""
    told = emulator.client("sagemaker").describe_model_package(ModelPackageName=version.native_id)
    (container,) = told["InferenceSpecification"]["Containers"]
    source = (container.get("ModelDataSource") or {}).get("S3DataSource", {})
    address = str(source.get("S3Uri") or container["ModelDataUrl"])
    assert address.endswith("model.tar.gz")
    bucket, _, key = address.removeprefix("s3://").partition("/")
    body: bytes = emulator.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def test_archives_of_aws_become_models_of_azure_ml_and_archives_again(
    aws: SageMakerEmulator, workspace: Side, tmp_path: Path
) -> None:
    model = answering(tmp_path, "model", 1.0)
    (model / "code" / "inference.py").write_bytes(INFERENCE)
    files = {name: file.read_bytes() for name, file in files_of(model)}
    own = {"model.joblib": b"\x80\x04weights", "code/inference.py": INFERENCE}
    aws.client("s3").create_bucket(Bucket=BUCKET)
    package(aws, "wine", repacked(model))
    package(aws, "forest", archive_of(own))
    there = pair_of(sagemaker(aws, tmp_path / "aws"), workspace, tmp_path / "home")
    account = migrate(there)
    assert (account.remaining, account.unexplained()) == ([], {})
    assert [loss.item for loss in account.losses if not loss.treatment.is_lossless] == ["version forest/1"]
    (wine,), (forest,) = workspace.versions("wine"), workspace.versions("forest")
    assert (type_in_azure(workspace, wine), type_in_azure(workspace, forest)) == (MLFLOW, CUSTOM)
    assert wine.digest == digest_of_path(model)
    assert files_at(workspace, wine, tmp_path / "cache") == files
    assert files_at(workspace, forest, tmp_path / "cache") == own

    packed = sagemaker(aws, tmp_path / "aws", "back", image=IMAGE, model_archive="true")
    back = pair_of(workspace, packed, tmp_path / "home")
    assert migrate(back).remaining == []
    for name, original, expected in (("wine", wine, files), ("forest", forest, own)):
        (version,) = packed.versions(name)
        assert version.digest == original.digest
        archive = archive_in_sagemaker(aws, version)
        members = members_of_archive(io.BytesIO(archive), packed_bytes=len(archive))
        assert {path: content.read() for path, content in members} == expected
        again = members_of_archive(io.BytesIO(archive), packed_bytes=len(archive))
        assert digest_of_members(again) == original.digest


@pytest.mark.parametrize("is_folder", [True, False])
def test_custom_models_of_azure_ml_keep_their_files_everywhere(
    aws: SageMakerEmulator, workspace: Side, tmp_path: Path, is_folder: bool
) -> None:
    payload = tmp_path / "weights.onnx"
    if is_folder:
        (payload / "below").mkdir(parents=True)
        (payload / "below" / "data").write_bytes(b"1")
        (payload / "model.onnx").write_bytes(b"2")
    else:
        payload.write_bytes(b"3")
    azure: Any = workspace.registry
    address = azure.upload(payload)
    properties = {"modelType": CUSTOM, "modelUri": address, "isAnonymous": False, "isArchived": False}
    azure.assets.create_next(KIND, "wine", 1, properties)  # as others do: nothing of it is ours
    expected = {name: file.read_bytes() for name, file in files_of(payload)}
    for target in (sagemaker(aws, tmp_path / "aws"), local_side(tmp_path / "b")):
        account = migrate(pair_of(workspace, target, tmp_path / "home"))
        assert account.remaining == []
        (version,) = target.versions("wine")
        assert version.digest == digest_of_path(payload)
        assert files_at(target, version, tmp_path / "cache") == expected
