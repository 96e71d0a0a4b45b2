"""What each verb asks of the emulated AWS is what the table says: no call less, and none more."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.permissions.scenarios import LARGE_BYTES, Deploying, holds, payload, register, run_job, track
from tests.support.corpus import LARGE, Size, write_corpus
from tests.support.migrations import local_side, migrate, pair_of
from tests.support.mlflow_servers import mlflow_server
from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.support.sagemaker_endpoints import LIGHT
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.deployments import Autoscale, Serving
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, Environment, JobSpec, JobStatus
from trackbridge.errors import BridgeError
from trackbridge.operations.migrate.side import side_of
from trackbridge.operations.model_payloads import resolve_version
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import deployment_models
from trackbridge.testing.contracts.samples import batch_of, digest_of, file_of, run_spec
from trackbridge.testing.emulators.aws_keys import Key
from trackbridge.testing.emulators.front import Result
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.requests import Request
from trackbridge.testing.emulators.signed_mlflow import REGION, SignedMlflow
from trackbridge.testing.permissions import aws, recorded
from trackbridge_adapters.sagemaker import open_adapter

BUCKET = "permissions"
SIZE = Size(runs=3, points=4, long_points=20, files=1, large_bytes=LARGE, models=1, versions=2)


class Account:
    """An emulated account with a bucket, a role and images, and somebody whose calls are looked at."""

    def __init__(self, emulator: SageMakerEmulator, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.emulator, self.home = emulator, home
        self.key: Key = emulator.keys.issue(principal="user/of-the-verb")
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        for name, value in {**emulator.environment(self.key), **emulator.prepare_jobs()}.items():
            patch.setenv(name, value)
        emulator.declare_image("*trackbridge-serving*", serve=LIGHT)
        self._begun = 0

    def begin(self) -> None:
        """Look only at what is asked from now on."""
        self._begun = len(self.emulator.calls)

    def open(self, uri: str = "", **options: str) -> Adapter:
        """Open a place as a user's program does, with the bucket that modules of Terraform name."""
        given = {"bucket": BUCKET, "job_notice_s": "1", "job_logs_late_s": "0", **options}
        context = AdapterContext(home=self.home, options=given, clock_ms=lambda: time.time_ns() // 1_000_000)
        return wrap_adapter(open_adapter(uri or self.emulator.uri, context=context))

    def calls(self) -> frozenset[str]:
        """Return the names of what was asked so far by the one who is looked at."""
        return frozenset(
            recorded.aws_call(call)
            for call in self.emulator.calls[self._begun :]
            if call.caller == self.key.principal or call.service == "sts"
        )


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with sagemaker_emulator() as emulator:
        yield Account(emulator, tmp_path / "home", monkeypatch)
        emulator.raise_failures()


def of_aws(verb: str) -> frozenset[str]:
    """Return what the table says, without managed MLflow's part."""
    return aws.CALLS[verb] - aws.OF_MANAGED


def runs_of_others(account: Account) -> None:
    """Make a run as AWS's own SDK does, in a trial, with a metric."""
    client, now_s = account.emulator.client("sagemaker"), time.time()
    client.create_experiment(ExperimentName="others")
    client.create_trial(TrialName="others-trial", ExperimentName="others")
    client.create_trial_component(TrialComponentName="others-run", Status={"PrimaryStatus": "Completed"})
    client.associate_trial_component(TrialName="others-trial", TrialComponentName="others-run")
    point = {"MetricName": "loss", "Timestamp": now_s, "Step": 1, "Value": 0.5}
    account.emulator.client("sagemaker-metrics").batch_put_metrics(
        TrialComponentName="others-run", MetricData=[point]
    )


def test_tracking(account: Account, tmp_path: Path) -> None:
    adapter = account.open()
    track(adapter, tmp_path)
    runs_of_others(account)
    assert adapter.tracking is not None
    assert adapter.tracking.get_run("others-run").info.status.is_final
    assert adapter.tracking.metric_history("others-run", "loss").values[0] == 0.5
    holds(account.calls(), of_aws("tracking"))


def packages_of_others(account: Account) -> str:
    """Make a group with a package as boto3 does; returns its name."""
    client = account.emulator.client("sagemaker")
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as packed:
        packed.addfile(tarfile.TarInfo("weights"))
    account.emulator.client("s3").put_object(Bucket=BUCKET, Key="theirs.tar.gz", Body=held.getvalue())
    image = {
        "Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/serving:1",
        "ModelDataUrl": f"s3://{BUCKET}/theirs.tar.gz",
    }
    served = {"Containers": [image], "SupportedContentTypes": ["a/b"], "SupportedResponseMIMETypes": ["a/b"]}
    client.create_model_package_group(ModelPackageGroupName="theirs", Tags=[{"Key": "team", "Value": "two"}])
    client.create_model_package(ModelPackageGroupName="theirs", InferenceSpecification=served)
    return "theirs"


def test_registry(account: Account, tmp_path: Path) -> None:
    source = payload(account.open(), tmp_path, LARGE_BYTES)
    account.begin()
    adapter = account.open(model_archive="true")
    register(adapter, source)
    name = packages_of_others(account)
    assert adapter.registry is not None
    assert adapter.registry.get_model(name).tags["team"] == "two"
    assert [found.version for found in adapter.registry.list_versions(name).items] == ["1"]
    adapter.registry.set_tags(name, "1", tags={"seen": "yes"})
    client = account.emulator.client("sagemaker")
    (ours,) = client.list_model_packages(ModelPackageGroupName="wine")["ModelPackageSummaryList"]
    client.delete_model_package(ModelPackageName=ours["ModelPackageArn"])  # somebody else's doing
    assert adapter.registry.list_versions("wine").items == ()
    holds(account.calls(), of_aws("registry"))


def test_jobs(account: Account, tmp_path: Path) -> None:
    adapter = account.open()
    secrets = account.emulator.client("secretsmanager")
    secrets.create_secret(Name="token", SecretString="kept")
    account.emulator.client("ssm").put_parameter(Name="other", Value="kept", Type="SecureString")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print('trained')\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_bytes(b"1" * LARGE_BYTES)
    for cluster in (None, "processing"):
        spec = JobSpec(
            name="train",
            command=(sys.executable, "train.py"),
            code_dir=str(tmp_path / "code"),
            compute=Compute(cluster=cluster, instance_type="ml.m5.large"),
            environment=Environment(),
            inputs={"data": str(tmp_path / "data"), "far": f"s3://{BUCKET}/far"},
            secrets={"TOKEN": "secretsmanager:token", "OTHER": "ssm:other"},
        )
        account.emulator.client("s3").put_object(Bucket=BUCKET, Key="far/rows.csv", Body=b"1\n")
        assert run_job(adapter, spec).status is JobStatus.SUCCEEDED
    holds(account.calls(), of_aws("jobs"))


def test_deployment(account: Account, tmp_path: Path) -> None:
    models = {name: deployment_models.answering(tmp_path, name, value) for name, value in MODELS.items()}
    setup = account.open()
    register(setup, payload(setup, tmp_path))
    assert setup.registry is not None
    setup.registry.set_alias("wine", "tested", version="1")
    others = packages_of_others(account)
    account.begin()
    adapter = account.open()
    assert adapter.registry is not None
    for reference in ("models:/wine@tested", "models:/wine/1", f"models:/{others}/1"):  # by bridge deploy
        assert resolve_version(reference, adapter.registry).version == "1"
    deploying = Deploying(adapter, models.__getitem__)
    target = deploying.target

    def deploy(endpoint: str, deployment: str = "v1", model: str = "one", **fields: Any) -> None:
        deploying.deploy(deployment_models.spec_for(models[model], endpoint, deployment, **fields))

    account.emulator.client("cloudwatch").put_metric_alarm(**ALARM)
    (models["two"] / "weights.bin").write_bytes(b"2" * LARGE_BYTES)
    scaling = Autoscale(instances_min=1, instances_max=3, requests_per_instance_target=120.0)
    with target.lock("live"):
        deploy("live", autoscale=scaling, capture_percent=100, alarms=["errors"])
        deploy("live", "v2", "two", traffic_percent=0)
        deploying.share("live", v1=50, v2=50)
        deploying.share("live", v1=100)
    assert json.loads(target.invoke("live", ROWS, content_type="application/json"))["predictions"] == [1.0]
    target.read_metrics("live", window_s=600)
    assert not target.read_logs("live", "v1").done
    target.read_captured("live")
    deploying.remove("live", "v2")
    deploy("live", instance_count=2)
    assert [state.endpoint for state in target.list_endpoints().items] == ["live"]
    deploy("queue", serving=Serving.ASYNCHRONOUS, request_timeout_s=600.0)
    target.invoke("queue", ROWS, content_type="application/json")
    account.emulator.client("s3").put_object(Bucket=BUCKET, Key="in/a.jsonl", Body=ROWS)
    deploying.done(
        target.start_batch("live", source=f"s3://{BUCKET}/in/", destination=f"s3://{BUCKET}/out/", key="k")
    )
    for endpoint in ("live", "queue"):
        deploying.done(target.delete(endpoint))
    holds(account.calls(), of_aws("deployment"))


MODELS = {"one": 1.0, "two": 2.0}
ALARM = {
    "AlarmName": "errors",
    "ComparisonOperator": "GreaterThanThreshold",
    "EvaluationPeriods": 1,
    "MetricName": "Invocation5XXErrors",
    "Namespace": "AWS/SageMaker",
    "Period": 60,
    "Statistic": "Sum",
    "Threshold": 1.0,
}
ROWS = b'{"inputs": [[1.0]]}'


def test_migration(account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    source = local_side(tmp_path / "a")
    write_corpus(source.adapter, SIZE)
    assert source.adapter.tracking is not None
    fresh = source.adapter.tracking.open_run(run_spec(start_time=time.time_ns() // 1_000_000)).info.run_id
    source.adapter.tracking.write(batch_of(fresh, metrics=[("loss", 0.5, 1, time.time_ns() // 1_000_000)]))
    runs_of_others(account)
    packages_of_others(account)
    cloud = side_of(account.open(), account.emulator.uri)
    assert migrate(pair_of(source, cloud, tmp_path / "home")).remaining == []
    back = pair_of(cloud, local_side(tmp_path / "b"), tmp_path / "home")
    assert migrate(back).remaining == []
    holds(account.calls(), of_aws("migration"))


class Recording(SignedMlflow):
    """Managed MLflow that keeps what it is asked."""

    def __init__(self, mlflow_url: str, **settings: Any) -> None:
        super().__init__(mlflow_url, **settings)
        self.asked: set[str] = set()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Result:
        path = target.partition("?")[0]
        operation = (headers.get("X-Amz-Target") or "").rpartition(".")[2]
        if operation:
            self.asked.add(f"sagemaker:{operation}")
        elif "/mlflow/" in path:
            self.asked.add(recorded.mlflow_call(method, path))
        return super().answer(method, target, headers, body)


def interrupt_uploads(
    adapter: Adapter, storage: SageMakerEmulator, folder: Path, patch: pytest.MonkeyPatch
) -> None:
    """Let an upload in parts be refused, gone on with, and given up."""
    assert adapter.tracking is not None
    assert adapter.artifacts is not None
    run = adapter.tracking.open_run(run_spec()).info.run_id
    content = b"1" * LARGE_BYTES
    file, state = file_of(folder, content), folder / f"state-{mint_id()}"
    looked = storage.access.check
    for status in (403, 400):

        def refuse(request: Request, operation: str, status: int = status) -> None:
            if request.operation == "UploadPart":
                raise Refused("AccessDenied" if status == 403 else "InvalidRequest", "refused", status)
            looked(request, operation)

        patch.setattr(storage.access, "check", refuse)
        with contextlib.suppress(BridgeError):
            adapter.artifacts.put_resumable(
                run, "large", file, digest=digest_of(content), size=LARGE_BYTES, state=state
            )
    patch.setattr(storage.access, "check", looked)


def test_managed_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, frozenset[str]] = {}
    with (
        sagemaker_emulator(check_signatures=False, region=REGION) as storage,
        mlflow_server(tmp_path, artifacts=f"s3://{BUCKET}/root") as server,
    ):
        place = {"LocationConstraint": REGION}
        storage.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)
        for verb in ("tracking", "registry"):
            asked[verb] = frozenset()
            for kind in ("mlflow-tracking-server", "mlflow-app"):
                server.reset()
                begun = len(storage.calls)
                with Recording(server.url, kind=kind) as managed:
                    environment = {**managed.environment(), "AWS_ENDPOINT_URL_S3": storage.url}
                    for name, value in environment.items():
                        monkeypatch.setenv(name, value)
                    context = AdapterContext(
                        home=tmp_path / kind, options={}, clock_ms=lambda: time.time_ns() // 1_000_000
                    )
                    adapter = wrap_adapter(open_adapter(managed.arn, context=context))
                    if verb == "tracking":
                        track(adapter, tmp_path)
                        interrupt_uploads(adapter, storage, tmp_path, monkeypatch)
                    else:
                        source = payload(adapter, tmp_path)
                        managed.asked.clear()
                        begun = len(storage.calls)
                        register(wrap_adapter(open_adapter(managed.arn, context=context)), source)
                asked[verb] |= managed.asked
                asked[verb] |= {recorded.aws_call(call) for call in storage.calls[begun:]}
    for verb, calls in asked.items():
        assert sorted(calls - aws.CALLS[verb]) == [], "no policy allows them"
        holds(calls & aws.OF_MANAGED, aws.CALLS[verb] & aws.OF_MANAGED)
