"""A machine without anything of AWS on it, and the double with a scripted MLflow server behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from trackbridge.testing.emulators.signed_mlflow import KINDS, SignedMlflow


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "SAGEMAKER_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))


@pytest.fixture
def mlflow() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.answer = lambda request: Answer(body="3.17.2" if request.path == "/version" else b"{}")
        yield server


@pytest.fixture
def aws(mlflow: ScriptedServer) -> Iterator[SignedMlflow]:
    with SignedMlflow(mlflow.url) as aws:
        yield aws


@pytest.fixture(params=KINDS)
def either(request: pytest.FixtureRequest, mlflow: ScriptedServer) -> Iterator[SignedMlflow]:
    """The double as a tracking server, and as an app."""
    with SignedMlflow(mlflow.url, kind=request.param) as aws:
        yield aws
