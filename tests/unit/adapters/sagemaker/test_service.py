"""What an ARN opens: artifacts in the bucket with the same keys, links, capabilities, entry points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.mlflow_rest.rig import NATIVE, OURS
from tests.unit.adapters.sagemaker.rig import ARN, opened
from trackbridge.errors import AuthError, BridgeError
from trackbridge.ports.capabilities import Feature, Tier
from trackbridge.resolve.entry_points import open_adapter
from trackbridge.resolve.uri import parse
from trackbridge.testing.contracts.samples import digest_of
from trackbridge.testing.emulators.aws_keys import ACCOUNT
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter

BUCKET = "team-bucket"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/tracking"


def with_run(request: Request) -> Answer:
    """Know one run, whose files lie in the bucket."""
    tags = [{"key": "bridge.run_id", "value": OURS}]
    info = {"run_id": NATIVE, "experiment_id": "1", "status": "RUNNING", "start_time": 1}
    info |= {"lifecycle_stage": "active", "artifact_uri": f"s3://{BUCKET}/mlflow/1/{NATIVE}/artifacts"}
    run = {"info": info, "data": {"tags": tags}}
    if request.path.startswith("/api/2.0/mlflow/runs/get"):
        return Answer(body={"run": run})
    if request.path.startswith("/api/2.0/mlflow/runs/search"):
        return Answer(body={"runs": [run]})
    experiment = {"experiment_id": "1", "name": "contract", "lifecycle_stage": "active"}
    return Answer(body={"experiments": [experiment], "experiment": experiment})


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def empty_bucket(request: Request) -> Answer:
    """Answer as a bucket that holds nothing and takes everything."""
    if request.method == "GET":
        return Answer(body="<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")
    if request.method == "PUT":
        return Answer(body=b"", headers={"ETag": '"x"'})
    return Answer(status=404, body=b"")


def bucket(endpoint: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    place: Any = {"LocationConstraint": "eu-west-1"}
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
    return client


def put(adapter: RestAdapter, file: Path, path: str) -> str | None:
    content = file.read_bytes()
    assert adapter.artifacts is not None
    return adapter.artifacts.put(OURS, path, file, digest=digest_of(content), size=len(content)).native_uri


def test_files_go_to_the_bucket_with_the_keys_of_the_role(
    aws: SignedMlflow, mlflow: ScriptedServer, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.answer = with_run
    aws.tokens.allow(ROLE, external_id="team:7")
    for name, value in {**aws.environment(), "AWS_ENDPOINT_URL_S3": s3}.items():
        monkeypatch.setenv(name, value)
    client = bucket(s3)
    options = {"role_arn": ROLE, "external_id": "team:7", "ui_url": "https://ui.example.com/"}
    adapter = opened(aws.arn, tmp_path / "home", options=options)
    (tmp_path / "file").write_bytes(b"content")
    native = put(adapter, tmp_path / "file", "folder/a b.txt")
    assert native == f"s3://{BUCKET}/mlflow/1/{NATIVE}/artifacts/folder/a b.txt"
    found = client.get_object(Bucket=BUCKET, Key=native.removeprefix(f"s3://{BUCKET}/"))
    assert found["Body"].read() == b"content"
    assert aws.tokens.assumed == 1
    run = adapter.tracking.get_run(OURS)
    assert run.info.native_url == f"https://ui.example.com/#/experiments/1/runs/{NATIVE}"
    adapter.close()


def test_requests_to_the_bucket_are_signed_with_keys_that_are_renewed(
    aws: SignedMlflow, mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.answer = with_run
    aws.container_seconds = 3.0  # told in whole seconds: at least two
    (tmp_path / "file").write_bytes(b"content")
    with scripted_server() as s3:
        s3.answer = empty_bucket
        for name, value in {**aws.container_environment(), "AWS_ENDPOINT_URL_S3": s3.url}.items():
            monkeypatch.setenv(name, value)
        adapter = opened(aws.arn, tmp_path / "home")
        sent: list[dict[str, str]] = []
        while len({headers["x-amz-security-token"] for headers in sent}) < 2:
            put(adapter, tmp_path / "file", "a.txt")
            sent = [request.headers for request in s3.requests if request.method == "PUT"]
        assert all("/eu-west-1/s3/aws4_request" in headers["authorization"] for headers in sent)
        adapter.close()


def test_without_keys_an_upload_says_what_to_do(
    aws: SignedMlflow, mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.answer = with_run
    for name, value in {**aws.environment(), "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    adapter = opened(aws.arn, tmp_path / "home")
    adapter.tracking.artifact_root(OURS)  # known, before the keys go
    service = adapter.tracking.service
    credentials = service.http.authentication._credentials  # type: ignore[union-attr]

    def gone() -> None:
        raise AuthError("there are no AWS credentials", adapter="sagemaker", hint="sign in")

    monkeypatch.setattr(credentials, "frozen", gone)
    (tmp_path / "file").write_bytes(b"content")
    with pytest.raises(BridgeError) as refused:
        put(adapter, tmp_path / "file", "a.txt")
    assert isinstance(refused.value, AuthError)
    adapter.close()


def test_ignored_addresses_do_not_lead_the_bucket_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore reads the variables itself, and does not know the one that says to ignore them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    adapter = opened(ARN, tmp_path)
    assert adapter.tracking.service.base_url() == "https://eu-west-1.experiments.sagemaker.aws"
    stores = adapter.artifacts._places._options  # type: ignore[union-attr]
    assert stores.s3["endpoint"] == "https://s3.eu-west-1.amazonaws.com"
    adapter.close()


def test_the_schemes_lead_here(tmp_path: Path) -> None:
    adapter = open_adapter(parse(ARN), home=tmp_path)
    declared = adapter.capabilities()
    assert (declared.adapter, declared.tier) == ("sagemaker", Tier.EMULATED)
    assert declared.supports(Feature.ARTIFACTS_PRESIGN)
    adapter.close()
    place = open_adapter(parse("sagemaker://eu-west-1/prefix"), home=tmp_path)
    assert place.capabilities().supports(Feature.REGISTRY_HISTORY)
    place.close()
    with pytest.raises(BridgeError, match="which region of AWS"):
        open_adapter(parse("sagemaker:"), home=tmp_path)
    with pytest.raises(BridgeError, match="rolearn"):
        open_adapter(parse(f"{ARN}?rolearn=x"), home=tmp_path)
