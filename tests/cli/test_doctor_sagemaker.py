"""``bridge doctor sagemaker:`` and the verbs name the cause of what is wrong, and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.testing.emulators.aws_keys import Key
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

EXIT_ERROR, EXIT_AUTH = 1, 6


@pytest.fixture(scope="module")
def running() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def aws(
    running: SageMakerEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SageMakerEmulator]:
    running.reset()
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(project / "none"))
    use(monkeypatch, running, running.key)
    yield running
    running.raise_failures()


def use(monkeypatch: pytest.MonkeyPatch, aws: SageMakerEmulator, key: Key) -> None:
    for name, value in aws.environment(key).items():
        monkeypatch.setenv(name, value)


def found(bridge: Bridge, *arguments: str, code: int) -> dict[str, dict[str, Any]]:
    """Return what doctor found, by subject; of what is wrong the first of each."""
    items = bridge("doctor", *arguments, "--json", code=code).objects[:-1]
    by_subject: dict[str, dict[str, Any]] = {}
    for item in sorted(items, key=lambda item: str(item["severity"]) == "ok"):
        by_subject.setdefault(item["subject"], item)
    return by_subject


def test_all_is_well(bridge: Bridge, aws: SageMakerEmulator) -> None:
    told = bridge("doctor", "sagemaker:", "--write")
    assert "signed in as" in told.out
    assert "AWS recommends managed MLflow for new work" in told.out
    assert "a run was written in 'bridge-doctor', and deleted again" in told.out
    assert "ERROR" not in told.out


def test_no_region(bridge: Bridge, aws: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    wrong = found(bridge, "sagemaker:", code=EXIT_ERROR)["backend"]
    assert "export AWS_REGION" in wrong["fix"]


def test_no_credentials(bridge: Bridge, aws: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "aws sso login" in found(bridge, "sagemaker:", code=EXIT_AUTH)["credentials"]["fix"]
    told = bridge("experiments", "list", "--uri", "sagemaker:", code=EXIT_AUTH)
    assert "there are no AWS credentials" in told.err
    assert "aws sso login" in told.err


def test_expired_credentials(bridge: Bridge, aws: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, aws, aws.keys.issue(seconds=-1))
    assert "xpired" in found(bridge, "sagemaker:", code=EXIT_AUTH)["credentials"]["message"]
    told = bridge("experiments", "list", "--uri", "sagemaker:", code=EXIT_AUTH)
    assert "xpired" in told.err
    assert "aws sso login" in told.err


def test_a_role_without_rights(bridge: Bridge, aws: SageMakerEmulator) -> None:
    aws.deny("sagemaker:*")
    wrong = found(bridge, "sagemaker:", code=EXIT_AUTH)["credentials"]
    assert "sagemaker:ListExperiments" in wrong["message"]
    told = bridge("experiments", "list", "--uri", "sagemaker:", code=EXIT_AUTH)
    assert "allow sagemaker:" in told.err


def test_a_bucket_in_another_region(bridge: Bridge, aws: SageMakerEmulator) -> None:
    aws.cloud.s3().create_bucket("elsewhere", "eu-west-1")
    bridge("remotes", "add", "team", "sagemaker:", "--option", "bucket=elsewhere")
    wrong = found(bridge, "team", code=EXIT_ERROR)["bucket"]
    assert "s3_region=eu-west-1" in wrong["fix"]
    told = bridge("experiments", "list", "--uri", "team", code=EXIT_ERROR)
    assert "s3_region=eu-west-1" in told.err


def test_a_wrong_clock(bridge: Bridge, aws: SageMakerEmulator) -> None:
    aws.cloud.skew_s = 600.0
    assert "timedatectl" in found(bridge, "sagemaker:", code=EXIT_ERROR)["clock"]["fix"]
    told = bridge("experiments", "list", "--uri", "sagemaker:", code=EXIT_AUTH)
    assert "timedatectl" in told.err


def test_no_secret_is_shown(bridge: Bridge, aws: SageMakerEmulator) -> None:
    aws.deny("sagemaker:*")
    told = bridge("doctor", "sagemaker:", code=EXIT_AUTH)
    assert aws.key.secret_key not in told.out + told.err
