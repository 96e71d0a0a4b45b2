"""``bridge doctor`` names the cause of what is wrong with SageMaker's MLflow, and the fix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge
from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow

TEN_MINUTES_S = 600.0
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def mlflow() -> Iterator[ScriptedServer]:
    """What is behind it; it says nothing but its version."""
    with scripted_server() as server:
        server.answer = lambda request: Answer(
            body="2.22.0" if request.path == "/version" else b"{}",
            headers={"Date": formatdate(time.time(), usegmt=True)},
        )
        yield server


@pytest.fixture
def aws(mlflow: ScriptedServer, project: Path, environment: Callable[..., None]) -> Iterator[SignedMlflow]:
    with SignedMlflow(mlflow.url) as aws:
        environment(aws.environment())
        yield aws


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Sets variables, and hides the credentials of whoever runs the tests."""

    def set_all(variables: dict[str, str]) -> None:
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def problems(bridge: Bridge, uri: str, *, code: int) -> dict[str, dict[str, Any]]:
    """Return what is wrong, by subject; the first of each."""
    found = bridge("doctor", uri, "--json", code=code).objects[:-1]
    wrong: dict[str, dict[str, Any]] = {}
    for item in found:
        if item["severity"] != "ok":
            assert item["fix"], item
            wrong.setdefault(item["subject"], item)
    return wrong


def test_all_is_well(bridge: Bridge, aws: SignedMlflow) -> None:
    assert problems(bridge, aws.arn, code=0) == {}


def test_aws_wrong_region(bridge: Bridge, aws: SignedMlflow) -> None:
    nowhere = aws.arn.replace(aws.region, "eu-nowhere-1")
    assert "eu-nowhere-1" in problems(bridge, nowhere, code=6)["region"]["message"]
    other = problems(bridge, aws.arn.replace(aws.region, "us-east-1"), code=6)
    assert "region" in other["credentials"]["message"] + other["credentials"]["fix"]


def test_aws_expired_token(bridge: Bridge, aws: SignedMlflow, environment: Callable[..., None]) -> None:
    environment(aws.environment(aws.keys.issue(seconds=0.0)))
    wrong = problems(bridge, aws.arn, code=6)["credentials"]
    assert "expired" in wrong["message"]
    assert "new" in wrong["fix"]


def test_aws_missing_role(bridge: Bridge, aws: SignedMlflow) -> None:
    aws.denied = frozenset({"sagemaker-mlflow:SearchExperiments"})
    wrong = problems(bridge, aws.arn, code=6)["credentials"]
    assert "sagemaker-mlflow:SearchExperiments" in wrong["fix"]


@pytest.mark.parametrize("skew_s", [TEN_MINUTES_S, -TEN_MINUTES_S])
def test_aws_wrong_clock(bridge: Bridge, aws: SignedMlflow, skew_s: float) -> None:
    aws.clock_skew_s = skew_s
    wrong = problems(bridge, aws.arn, code=1)["clock"]
    assert ("behind" if skew_s > 0 else "ahead of") in wrong["message"]
    assert "set the clock" in wrong["fix"]


def test_aws_unreachable_host(bridge: Bridge, aws: SignedMlflow, environment: Callable[..., None]) -> None:
    environment({"SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": NOWHERE})
    assert "cannot be reached" in problems(bridge, aws.arn, code=1)["backend"]["message"]


def test_aws_old_server(bridge: Bridge, aws: SignedMlflow, mlflow: ScriptedServer) -> None:
    mlflow.answer = lambda request: Answer(body="2.13.2" if request.path == "/version" else b"{}")
    assert "2.13.2" in problems(bridge, aws.arn, code=0)["version"]["message"]
