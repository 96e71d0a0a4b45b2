"""The contracts on the double of managed MLflow, with files in a bucket, through the call pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from tests.support.mlflow_servers import MlflowServer, mlflow_server
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    RegistryContract,
    TrackingContract,
)
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow
from trackbridge_adapters.sagemaker import open_adapter

BUCKET = "artifacts"
PROGRAM = Path(__file__).parents[1] / "peers/programs/signed_mlflow_client.py"


def open_signed(aws: SignedMlflow, home: Path) -> Adapter:
    context = AdapterContext(home=home, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
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
def empty(
    server: MlflowServer, aws: SignedMlflow, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Adapter]:
    server.reset()
    for name, value in {**aws.environment(), "AWS_ENDPOINT_URL_S3": s3}.items():
        monkeypatch.setenv(name, value)
    adapter = open_signed(aws, tmp_path / "home")
    yield adapter
    adapter.close()


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestRegistry(RegistryContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


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
