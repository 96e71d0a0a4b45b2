"""Servers that the contract suites share: each is started once a session, and emptied by who uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.azureml_emulators import azureml_emulator
from tests.support.mlflow_servers import FLOOR, NEWEST, MlflowServer, mlflow_server
from tests.support.s3_servers import s3_server
from tests.support.warm_python import warm_python
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.fixtures import AZURE_VARIABLES


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The newest MLflow server, which hands files on from a folder of its own."""
    with mlflow_server(tmp_path_factory.mktemp("newest"), version=NEWEST) as server:
        yield server


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Another one of the newest, for what goes from server to server."""
    with mlflow_server(tmp_path_factory.mktemp("second"), version=NEWEST) as server:
        yield server


@pytest.fixture(scope="session")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The oldest MLflow server that we support, which does the same."""
    with mlflow_server(tmp_path_factory.mktemp("floor"), version=FLOOR) as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3's protocol, with one bucket."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def quick_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An interpreter whose model servers need not import mlflow."""
    with warm_python(tmp_path_factory.mktemp("warm")) as python:
        yield python


@pytest.fixture(scope="session")
def _azureml(newest: MlflowServer) -> Iterator[AzureMlEmulator]:
    """The emulator of Azure ML, with the newest MLflow server behind its MLflow endpoint."""
    with azureml_emulator(mlflow=newest.url) as emulator:
        yield emulator


@pytest.fixture
def azureml(
    _azureml: AzureMlEmulator, newest: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureMlEmulator]:
    """A workspace with nothing in it, and no other is named; a fault of the emulator fails the test."""
    for name in [name for name in os.environ if name.startswith(AZURE_VARIABLES)]:
        monkeypatch.delenv(name)
    newest.reset()
    _azureml.reset()
    yield _azureml
    _azureml.raise_failures()
