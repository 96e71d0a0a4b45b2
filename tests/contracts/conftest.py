"""Servers that the contract suites share: each is started once a session, and emptied by who uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mlflow_servers import FLOOR, NEWEST, MlflowServer, mlflow_server
from tests.support.s3_servers import s3_server


@pytest.fixture(scope="session")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The newest MLflow server, which hands files on from a folder of its own."""
    with mlflow_server(tmp_path_factory.mktemp("newest"), version=NEWEST) as server:
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
