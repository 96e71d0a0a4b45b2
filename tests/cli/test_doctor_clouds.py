"""``bridge doctor`` names the cause of what is wrong with a cloud, and the fix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge
from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from trackbridge.testing.emulators.azureml import AzureMachineLearning
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow

TEN_MINUTES_S = 600.0
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def mlflow() -> Iterator[ScriptedServer]:
    """What both clouds have behind them; it says nothing but its version."""
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
def azure(
    mlflow: ScriptedServer, project: Path, environment: Callable[..., None], bridge: Bridge
) -> Iterator[AzureMachineLearning]:
    with AzureMachineLearning(mlflow.url) as azure:
        environment(azure.environment())
        bridge("remotes", "add", "azure", azure.uri, *_options(azure.options))
        yield azure


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


def _options(options: dict[str, str]) -> list[str]:
    return [part for name, value in options.items() for part in ("--option", f"{name}={value}")]


def problems(bridge: Bridge, uri: str, *, code: int) -> dict[str, dict[str, Any]]:
    """Return what is wrong, by subject; the first of each."""
    found = bridge("doctor", uri, "--json", code=code).objects[:-1]
    wrong: dict[str, dict[str, Any]] = {}
    for item in found:
        if item["severity"] != "ok":
            assert item["fix"], item
            wrong.setdefault(item["subject"], item)
    return wrong


def test_all_is_well_in_both(bridge: Bridge, aws: SignedMlflow, azure: AzureMachineLearning) -> None:
    assert problems(bridge, aws.arn, code=0) == {}
    assert problems(bridge, "azure", code=0) == {}


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


def test_azure_wrong_workspace(bridge: Bridge, azure: AzureMachineLearning) -> None:
    bridge("remotes", "add", "other", f"{azure.uri}-other", *_options(azure.options))
    wrong = problems(bridge, "other", code=1)
    assert any("not found" in item["message"] for item in wrong.values()), wrong


def test_azure_missing_role(bridge: Bridge, azure: AzureMachineLearning) -> None:
    azure.permissions = frozenset()
    wrong = problems(bridge, "azure", code=6)["credentials"]
    assert "Microsoft.MachineLearningServices" in wrong["message"] + wrong["fix"]


def test_azure_wrong_clock(bridge: Bridge, azure: AzureMachineLearning) -> None:
    azure.clock_skew_s = TEN_MINUTES_S
    assert "behind" in problems(bridge, "azure", code=1)["clock"]["message"]


def test_azure_unreachable_host(bridge: Bridge, azure: AzureMachineLearning) -> None:
    bridge("remotes", "remove", "azure")
    bridge("remotes", "add", "azure", azure.uri, *_options(dict.fromkeys(azure.options, NOWHERE)))
    wrong = problems(bridge, "azure", code=1)
    assert any("cannot be reached" in item["message"] for item in wrong.values()), wrong
