"""What is found before a job is sent, and what is taken although it could not be looked at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.sagemaker_jobs import BUCKET, open_place, put_files
from tests.unit.adapters.sagemaker.jobs.conftest import Place
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, Environment, JobStatus, Launcher
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.errors import ConfigError, Rejected
from trackbridge.ports.findings import Finding, Severity
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec
from trackbridge.testing.emulators.sagemaker.quotas import Quotas
from trackbridge_adapters.sagemaker.jobs_settings import JobSettings, job_settings

INDEX = "application/vnd.oci.image.index.v1+json"


def found(place: Place, severity: Severity = Severity.ERROR, **fields: Any) -> list[Finding]:
    """Return what is found of a spec."""
    return [each for each in place.jobs.check(place.spec(**fields)) if each.severity is severity]


def only(place: Place, subject: str, **fields: Any) -> str:
    """Demand one error about a part of the spec, and that it is refused; return what is wrong and the fix."""
    (error,) = found(place, **fields)
    assert error.subject == subject
    with pytest.raises(Rejected) as caught:
        place.submit(**fields)
    assert error.message in str(caught.value)
    assert place.jobs.list_jobs().items == ()
    return f"{error.message} | {error.fix}"


def image(name: str) -> dict[str, Any]:
    return {"environment": Environment(image=name)}


def test_images(place: Place) -> None:
    registry = f"{place.emulator.cloud.account}.dkr.ecr.us-east-1.amazonaws.com"
    place.emulator.push_image("checked:index", INDEX)
    assert "--provenance=false" in only(place, "image", **image(f"{registry}/checked:index"))
    assert "there is no image" in only(place, "image", **image(f"{registry}/checked:none"))
    assert "there is no image" in only(place, "image", **image(f"{registry}/none"))
    assert "in eu-west-1" in only(
        place, "image", **image(registry.replace("us-east-1", "eu-west-1") + "/a:1")
    )
    assert "not in ECR" in only(place, "image", **image("python:3.11"))
    assert found(place, **image(place.emulator.push_image("checked:good"))) == []


def test_roles(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    account = place.emulator.cloud.account
    for role, told in {
        f"arn:aws:iam::{account}:role/nobody": "there is no role",
        "arn:aws:iam::999999999999:role/jobs": "of the account 999999999999",
        place.emulator.make_role(f"other-{mint_id()}", service="lambda.amazonaws.com"): "does not trust",
    }.items():
        place.adapter = place.opened(job_role=role)
        assert told in only(place, "role")
    monkeypatch.delenv("BRIDGE_SAGEMAKER_ROLE")
    place.adapter = place.opened()
    assert "BRIDGE_SAGEMAKER_ROLE" in only(place, "role")


def test_a_notebook_runs_jobs_with_its_own_role(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"notebook-{mint_id()}"
    role = place.emulator.make_role(name, path="/service-role/")
    principal = f"arn:aws:sts::{place.emulator.cloud.account}:assumed-role/{name}/SageMaker"
    key = place.emulator.keys.issue(principal=principal)
    monkeypatch.delenv("BRIDGE_SAGEMAKER_ROLE")
    for variable, value in place.emulator.environment(key).items():
        monkeypatch.setenv(variable, value)
    place.adapter = place.opened()
    request: Any = place.jobs.preview(place.spec()).request
    assert request["CreateTrainingJob"]["RoleArn"] == role


def test_without_an_image_it_is_told_what_to_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRIDGE_SAGEMAKER_IMAGE")
    place.adapter = place.opened()
    told = only(place, "image")
    assert "BRIDGE_SAGEMAKER_IMAGE" in told
    assert "trackbridge[sagemaker]" in told


def test_what_may_not_be_looked_at_is_a_warning(place: Place) -> None:
    name = f"seen-{mint_id()}"
    place.emulator.client("secretsmanager").create_secret(Name=name, SecretString="v")
    for action in ("iam:GetRole", "ecr:*", "servicequotas:*", "secretsmanager:Describe*"):
        place.emulator.deny(action)
    secrets = {"A": f"secretsmanager:{name}"}
    warnings = found(place, Severity.WARNING, secrets=secrets)
    assert sorted(each.subject for each in warnings) == ["image", "quota", "role", "secrets"]
    assert all("could not be checked" in each.message and each.fix for each in warnings)
    code = "import os; raise SystemExit(0 if os.environ['A'] == 'v' else 9)"
    state = place.submit(code, secrets=secrets)
    assert place.ended(state.job_id).status is JobStatus.SUCCEEDED


def test_buckets_of_other_regions(place: Place) -> None:
    s3 = place.emulator.cloud.s3()
    if "far-away" not in s3.buckets:
        s3.create_bucket("far-away", "eu-west-1")
    wrong: dict[str, dict[str, Any]] = {
        "outputs": {"outputs": {"model": "s3://far-away/out"}},
        "checkpoints": {"checkpoints": "s3://far-away/kept"},
    }
    for subject, fields in wrong.items():
        (error,) = found(place, **fields)
        assert (error.subject, "eu-west-1" in error.message + error.fix) == (subject, True), error


def test_quotas(place: Place) -> None:
    limits = place.emulator.cloud.part(Quotas).limits
    limits["ml.p4d.24xlarge", "training job"] = 0
    limits["ml.g5.xlarge", "spot training job"] = 1
    try:
        told = only(place, "quota", compute=Compute(instance_type="ml.p4d.24xlarge"))
        assert "servicequotas" in told
        two = Compute(instance_type="ml.g5.xlarge", instance_count=2, spot=True)
        assert "may have 1" in only(place, "quota", compute=two)
    finally:
        limits.clear()


@pytest.mark.parametrize(
    ("subject", "fields", "told"),
    [
        ("compute", {"compute": Compute(instance_type="ml.m5.larg")}, "did you mean ml.m5.large"),
        ("compute", {"compute": Compute(instance_type="Standard_DS3_v2")}, "no instance type"),
        ("compute", {"compute": Compute(cluster="gpu")}, "no cluster 'gpu'"),
        ("time_limit_s", {"time_limit_s": 86_400, "attempts_max": 29}, "28 days"),
        (
            "time_limit_s",
            {"time_limit_s": 777_601, "compute": Compute(cluster="processing")},
            "a processing job may take: 9 days",
        ),
        ("launcher", {"launcher": Launcher.MPI, "compute": Compute(instance_count=2)}, "torchrun"),
        ("launcher", {"launcher": Launcher.SPARK}, "Spark"),
        ("secrets", {"secrets": {"A": "env:A"}}, "aws secretsmanager create-secret --name A"),
        ("secrets", {"secrets": {"A": "ssm:/not/there"}}, "is not in us-east-1"),
        ("secrets", {"secrets": {"A": "secretsmanager:not-there#key"}}, "is not in us-east-1"),
        ("environment", {"environment": Environment(conda_file="c.yaml")}, "requirements"),
        ("environment", {"environment": Environment(requirements=("./a.whl",))}, "of this machine"),
        ("inputs", {"inputs": {"code": f"s3://{BUCKET}/x"}}, "taken by the job's own"),
        ("inputs", {"inputs": {"data": "abfss://c@a.dfs.core.windows.net/x"}}, "cannot read"),
        ("inputs", {"inputs": {"data": f"s3://{BUCKET}/none"}}, "there is nothing"),
        ("inputs", {"inputs": {"data": "/there/is/none"}}, "on this machine"),
        ("inputs", {"inputs": {"data": f"runs:/{mint_id()}/model"}}, "runs:/"),
        ("inputs", {"inputs": {"data": "models:/none/1"}}, "models:/none/1"),
        ("outputs", {"outputs": {"model": "/tmp/model"}}, "s3://BUCKET/FOLDER"),
        ("checkpoints", {"checkpoints": "/tmp/kept"}, "s3://BUCKET/FOLDER"),
        ("request", {"tags": {"a": "{}"}}, "Tags"),
        ("request", {"tags": {f"t{number}": "x" for number in range(51)}}, "50"),
        ("request", {"name": "n" * 513}, "512"),
    ],
)
def test_bad_specs_are_found_with_what_to_do(
    place: Place, subject: str, fields: dict[str, Any], told: str
) -> None:
    assert told in only(place, subject, **fields)


def test_words_and_variables_of_any_length_arrive(place: Place) -> None:
    code = "import os, sys; raise SystemExit(0 if sys.argv[1] == os.environ['V'] == 'x' * 20_000 else 9)"
    spec = place.spec(code, variables={"V": "x" * 20_000})
    spec = msgspec.structs.replace(spec, command=(*spec.command, "x" * 20_000))
    assert place.ended(place.jobs.submit(spec, key=mint_id()).job_id).status is JobStatus.SUCCEEDED


def test_secrets_of_both_services_reach_the_program_alone(place: Place) -> None:
    name = f"team-{mint_id()}"
    place.emulator.client("secretsmanager").create_secret(Name=name, SecretString='{"user": "me", "n": 7}')
    place.emulator.client("ssm").put_parameter(Name=f"/{name}", Value="Pa55word", Type="SecureString")
    secrets = {
        "USER_NAME": f"secretsmanager:{name}#user",
        "NUMBER": f"secretsmanager:{name}#n",
        "WORD": f"ssm:/{name}",
    }
    code = (
        "import os; told = [os.environ[name] for name in ('USER_NAME', 'NUMBER', 'WORD')]\n"
        "raise SystemExit(0 if told == ['me', '7', 'Pa55word'] else 9)"
    )
    assert place.ended(place.submit(code, secrets=secrets).job_id).status is JobStatus.SUCCEEDED
    missing = place.ended(place.submit(code, secrets={"A": f"secretsmanager:{name}#none"}).job_id)
    assert missing.status is JobStatus.FAILED
    assert f"{name} is no JSON object with a key 'none'" in missing.reason


def test_inputs_of_runs_models_and_this_machine(place: Place, tmp_path: Path) -> None:
    adapter = place.adapter
    assert adapter.tracking is not None
    assert adapter.artifacts is not None
    assert adapter.registry is not None
    run_id = adapter.tracking.open_run(run_spec("r")).info.run_id
    content = b"weights"
    adapter.artifacts.put(
        run_id, "model/w.bin", file_of(tmp_path, content), digest=digest_of(content), size=len(content)
    )
    adapter.registry.ensure_model("wine")
    version = adapter.registry.create_version(
        ModelVersionSpec(name="wine", source=f"bridge-artifacts:/{run_id}/model", digest=digest_of(content)),
        key=mint_id(),
    )
    adapter.registry.set_alias("wine", "champion", version=version.version)
    local = tmp_path / "folder"
    (local / "deep").mkdir(parents=True)
    (local / "deep" / "a.txt").write_bytes(content)
    inputs = {
        "run": f"runs:/{run_id}/model",
        "one": f"models:/wine/{version.version}",
        "alias": "models:/wine@champion",
        "folder": str(local),
        "file": str(local / "deep" / "a.txt"),
        "object": f"{put_files(place.emulator, f's3://{BUCKET}/{mint_id()}', {'a.txt': content})}/a.txt",
    }
    code = (
        "import os, pathlib\n"
        "at = {name: pathlib.Path(os.environ['BRIDGE_INPUT_' + name]) for name in "
        "('RUN', 'ONE', 'ALIAS', 'FOLDER', 'FILE', 'OBJECT')}\n"
        "files = [at['RUN'] / 'w.bin', at['ONE'] / 'w.bin', at['ALIAS'] / 'w.bin',\n"
        "    at['FOLDER'] / 'deep' / 'a.txt', at['FILE'], at['OBJECT']]\n"
        "raise SystemExit(0 if {file.read_bytes() for file in files} == {b'weights'} else 9)"
    )
    state = place.ended(place.submit(code, inputs=inputs).job_id)
    assert state.status is JobStatus.SUCCEEDED, (state, place.log(state.job_id))


def test_the_request_is_what_was_asked_for(place: Place) -> None:
    place.adapter = place.opened(
        job_subnets="subnet-1, subnet-2", job_security_groups="sg-1", job_volume_gb="50"
    )
    spec = place.spec(
        compute=Compute(instance_type="ml.g5.xlarge", instance_count=2, spot=True),
        checkpoints=f"s3://{BUCKET}/kept/",
        time_limit_s=3600,
        attempts_max=2,
        run_id="r1",
        tracking_uri="sagemaker://us-east-1",
        parameters={"lr": "0.1", "text": "two\nlines"},
        tags={"team": "vision"},
    )
    preview = place.jobs.preview(spec)
    body: Any = preview.request["CreateTrainingJob"]
    assert body["ResourceConfig"] == {
        "InstanceType": "ml.g5.xlarge",
        "InstanceCount": 2,
        "VolumeSizeInGB": 50,
    }
    assert body["EnableManagedSpotTraining"] is True
    runtime_s = 2 * 3601 + 3000  # attempts with their notice, and the preparation
    assert body["StoppingCondition"] == {
        "MaxRuntimeInSeconds": runtime_s,
        "MaxWaitTimeInSeconds": runtime_s + 86_400,
    }
    assert body["CheckpointConfig"] == {"S3Uri": f"s3://{BUCKET}/kept", "LocalPath": "/opt/ml/checkpoints"}
    assert body["RetryStrategy"] == {"MaximumRetryAttempts": 1}
    assert body["VpcConfig"] == {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert body["HyperParameters"] == {"lr": "0.1"}
    assert {"Key": "team", "Value": "vision"} in body["Tags"]
    assert {"Key": "bridge:run-id", "Value": "r1"} in body["Tags"]
    assert all(len(word) <= 256 for word in body["AlgorithmSpecification"]["ContainerArguments"])
    assert preview.billed_to == f"AWS account {place.emulator.cloud.account}, us-east-1"
    assert (preview.instance_type, preview.instance_count, preview.is_spot) == ("ml.g5.xlarge", 2, True)
    assert preview.hours_max == runtime_s / 3600


def test_spot_without_checkpoints_is_worth_a_warning(place: Place) -> None:
    (warning,) = found(place, Severity.WARNING, compute=Compute(spot=True))
    assert (warning.subject, "BRIDGE_CHECKPOINTS" in warning.fix) == ("checkpoints", True)


def test_options_are_read_with_care(tmp_path: Path) -> None:
    assert job_settings({}, {}) == JobSettings()
    for options in (
        {"job_role": "admin"},
        {"job_volume_gb": "0"},
        {"job_volume_gb": "much"},
        {"job_notice_s": "119"},
        {"job_logs_late_s": "-1"},
        {"job_subnets": "subnet-1"},
        {"job_subnets": "a b", "job_security_groups": "sg-1"},
    ):
        with pytest.raises(ConfigError) as caught:
            job_settings(options, {})
        assert caught.value.hint
    with pytest.raises(ConfigError, match="job_rol'"):
        open_place("sagemaker://us-east-1", tmp_path, job_rol="x")


def test_an_archive_depends_on_nothing_but_what_is_in_it(tmp_path: Path) -> None:
    from trackbridge_adapters._jobs.code_files import list_code
    from trackbridge_adapters.sagemaker.jobs_files import pack

    packed = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.sh").write_text("#!/bin/sh\n")
        (tmp_path / folder / "run.sh").chmod(0o755)
        file = io.BytesIO()
        pack(list_code(str(tmp_path / folder)), file)
        packed.append(file.getvalue())
    assert packed[0] == packed[1]
