"""The contracts on the double of managed MLflow, with files in a bucket, through the call pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from tests.support.mlflow_servers import MlflowServer, mlflow_server
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.models import ModelVersion, ModelVersionSpec
from trackbridge.errors import Rejected
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    RegistryContract,
    TrackingContract,
)
from trackbridge.testing.contracts.registry_base import put_payload
from trackbridge.testing.contracts.samples import batch_of
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow
from trackbridge_adapters.sagemaker import open_adapter

BUCKET = "artifacts"
PROGRAM = Path(__file__).parents[1] / "peers/programs/signed_mlflow_client.py"


def open_signed(aws: SignedMlflow, home: Path, **options: str) -> Adapter:
    context = AdapterContext(home=home, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return wrap_adapter(open_adapter(aws.arn, context=context))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    import boto3

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket=BUCKET)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), artifacts=f"s3://{BUCKET}/some root") as server:
        yield server


@pytest.fixture(scope="module")
def aws(server: MlflowServer) -> Iterator[SignedMlflow]:
    with SignedMlflow(server.url) as aws:
        yield aws


@pytest.fixture
def signed(aws: SignedMlflow, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adapter]:
    """An adapter of what is there."""
    for name, value in {**aws.environment(), "AWS_ENDPOINT_URL_S3": s3}.items():
        monkeypatch.setenv(name, value)
    adapter = open_signed(aws, tmp_path / "home")
    yield adapter
    adapter.close()


@pytest.fixture
def empty(server: MlflowServer, signed: Adapter) -> Adapter:
    server.reset()
    return signed


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


@pytest.fixture(scope="class")
def payload(
    server: MlflowServer, aws: SignedMlflow, s3: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The address of a run's files, which lie there during all tests of a class."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**aws.environment(), "AWS_ENDPOINT_URL_S3": s3}.items():
            patch.setenv(name, value)
        with closing(open_signed(aws, tmp_path_factory.mktemp("home"))) as adapter:
            return put_payload(adapter, tmp_path_factory.mktemp("payload"))


class TestRegistry(RegistryContract):
    @pytest.fixture
    def kept_source(self, payload: str) -> str:
        return payload

    @pytest.fixture
    def adapter(self, server: MlflowServer, signed: Adapter) -> Adapter:
        server.reset(keeps_runs=True)
        return signed


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestAutomaticRegistration:
    """The files from which AWS makes a deployable package of a version."""

    IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1"
    SPECIFICATION = "model/sagemaker_inference_specification.json"
    EVALUATION = "model/sagemaker_evaluation_group_evaluation.json"

    def register(self, adapter: Adapter, folder: Path) -> tuple[str, ModelVersion]:
        """Log a model with a metric and register it; return the run and the version."""
        assert adapter.tracking is not None
        assert adapter.registry is not None
        source = put_payload(adapter, folder)
        artifact = split_artifact_uri(source)
        assert artifact is not None
        adapter.tracking.write(batch_of(artifact[0], metrics=[("rmse", 0.25, 1, 1_700_000_000_000)]))
        adapter.registry.ensure_model("wine")
        spec = ModelVersionSpec(name="wine", source=source, digest="sha256:1", run_id=artifact[0])
        return artifact[0], adapter.registry.create_version(spec, key="k")

    def names(self, adapter: Adapter, run: str) -> list[str]:
        assert adapter.artifacts is not None
        return [info.path for info in adapter.artifacts.list(run, "model")]

    def read(self, adapter: Adapter, run: str, path: str) -> dict[str, Any]:
        assert adapter.artifacts is not None
        with closing(adapter.artifacts.open(run, path)) as file:
            found: dict[str, Any] = json.load(file)
        return found

    def test_both_lie_beside_the_model(self, empty: Adapter, aws: SignedMlflow, tmp_path: Path) -> None:
        adapter = open_signed(aws, tmp_path / "home", image=self.IMAGE, instance_types="ml.m5.large")
        run, version = self.register(adapter, tmp_path)
        assert self.names(adapter, run) == [self.EVALUATION, self.SPECIFICATION, "model/weights.bin"]
        specification = self.read(adapter, run, self.SPECIFICATION)
        (container,) = specification["Containers"]
        source = container["ModelDataSource"]["S3DataSource"]
        assert (container["Image"], source["S3DataType"], source["CompressionType"]) == (
            self.IMAGE,
            "S3Prefix",
            "None",
        )
        assert source["S3Uri"].startswith(f"s3://{BUCKET}/some root/")
        assert source["S3Uri"].endswith("/artifacts/model/")
        assert specification["SupportedRealtimeInferenceInstanceTypes"] == ["ml.m5.large"]
        assert self.read(adapter, run, self.EVALUATION) == {
            "name": "evaluation",
            "metric_groups": [
                {"name": "Metrics", "metric_data": [{"name": "rmse", "value": "0.25", "type": "number"}]}
            ],
        }
        assert (version.version, version.digest) == ("1", "sha256:1")
        adapter.close()

    def test_without_an_image_there_are_none(self, empty: Adapter, tmp_path: Path) -> None:
        run, _ = self.register(empty, tmp_path)
        assert self.names(empty, run) == ["model/weights.bin"]

    def test_what_sagemaker_would_refuse_is_refused_before_anything_is_made(
        self, empty: Adapter, aws: SignedMlflow, tmp_path: Path
    ) -> None:
        adapter = open_signed(aws, tmp_path / "home", image=self.IMAGE, instance_types="ml.x99.large")
        with pytest.raises(Rejected, match="SupportedRealtimeInferenceInstanceTypes"):
            self.register(adapter, tmp_path)
        assert adapter.registry is not None
        assert list(adapter.registry.list_versions("wine")) == []
        adapter.close()


def test_what_awss_own_client_signs_gets_through(server: MlflowServer) -> None:
    server.reset()
    with SignedMlflow(server.url, kind="mlflow-app") as aws:
        program = [sys.executable, str(PROGRAM), aws.url, aws.arn]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
        variables = {**kept, **aws.environment(), "MLFLOW_TRACKING_AUTH": "signed"}
        done = subprocess.run(program, env=variables, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-4000:]
        assert len(aws.requests) > 8
    (count,) = server.rows("SELECT count(*) FROM metrics")
    assert count == (2,)
