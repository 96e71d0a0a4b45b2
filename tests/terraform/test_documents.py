"""What ``modules/sagemaker/documents`` makes, by terraform itself: it needs no provider. See ``conftest``."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.terraform.modules import ROOT
from tests.terraform.test_terraform import terraform
from trackbridge.cli.main import bridge
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.remotes import list_remotes
from trackbridge.resolve.uri import parse

SERVER = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/team"
GIVEN: dict[str, object] = {
    "name": "team",
    "remote_name": "team",
    "partition": "aws",
    "region": "eu-west-1",
    "account_id": "123456789012",
    "prefix": "wines",
    "bucket_name": "team-123456789012-eu-west-1",
    "kms_key_arn": "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555",
    "is_kms": True,
    "is_in_network": True,
    "mlflow_arns": [SERVER],
    "mlflow_uri": SERVER,
    "has_mlflow": True,
    "readable_bucket_names": ["wines-of-others"],
    "image_repository_arns": ["arn:aws:ecr:eu-west-1:*:repository/*"],
    "secret_arns": ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/*"],
    "parameter_arns": [],
    "topic_arns": [],
    "shared_model_package_group_arns": [],
    "web_identity_audiences": ["api://AzureADTokenExchange"],
    "role_principal_arns": {},
    "oidc": {},
    "options": {"job_subnets": "subnet-1,subnet-2", "job_security_groups": "sg-1"},
}
NEVER_CALLED = {"s3:CreateBucket"}
"""The remote names its bucket; such a one is never made."""
OF_S3 = {"kms:Decrypt", "kms:GenerateDataKey"}
"""What S3 does in the caller's name; no call of ours."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("terraform") / "sagemaker"
    shutil.copytree(ROOT / "modules/sagemaker", place, ignore=shutil.ignore_patterns(".terraform"))
    done = terraform("init", "-backend=false", folder=place / "documents")
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "documents"


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, Any]:
    (folder / "terraform.tfvars.json").write_text(json.dumps(GIVEN), encoding="utf-8")
    done = terraform("apply", "-auto-approve", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(terraform("output", "-json", folder=folder).stdout)
    return {name: output["value"] for name, output in told.items()}


def test_its_own_tests_pass(folder: Path) -> None:
    done = terraform("test", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_policy_has_the_recorded_actions_and_no_others(made: dict[str, Any]) -> None:
    text = (ROOT / "modules/sagemaker/permissions.json").read_text(encoding="utf-8")
    recorded = json.loads(text)

    assert sorted(made["verb_policies"]) == sorted(recorded)
    for verb, policy in made["verb_policies"].items():
        allowed = {action for each in json.loads(policy)["Statement"] for action in each["Action"]}
        wanted = {entry["action"] for entry in recorded[verb]} - NEVER_CALLED
        assert allowed - OF_S3 == wanted, verb


def test_the_config_is_read_by_bridge(made: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / ".bridge").mkdir()
    (tmp_path / ".bridge/config.toml").write_text(made["config_toml"], encoding="utf-8")

    mlflow, place = sorted(
        list_remotes(around=Surroundings(tmp_path, {"HOME": str(tmp_path / "home")})),
        key=lambda remote: remote.uri.text,
    )

    assert (mlflow.name, mlflow.uri.text) == ("team-mlflow", SERVER)
    assert (place.name, place.uri.text) == ("team", "sagemaker://eu-west-1/wines")
    assert dict(place.options) == {
        "bucket": "team-123456789012-eu-west-1",
        "job_role": "arn:aws:iam::123456789012:role/team-execution",
        "job_subnets": "subnet-1,subnet-2",
        "job_security_groups": "sg-1",
    }
    assert parse(made["tracking_uri"]).options == place.options


def test_the_lines_make_the_same_remotes(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    for line in made["remote_lines"]:
        done = CliRunner().invoke(bridge, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}: {done.output}"

    pasted = tmp_path / "pasted"
    (pasted / ".bridge").mkdir(parents=True)
    (pasted / ".bridge/config.toml").write_text(made["config_toml"], encoding="utf-8")
    surroundings = {"HOME": str(tmp_path / "home")}
    found = [
        [
            (remote.name, remote.uri.text, remote.options)
            for remote in list_remotes(around=Surroundings(folder, surroundings))
        ]
        for folder in (tmp_path, pasted)
    ]
    assert found[0] == found[1]
