"""Servers that are forks of a Python which has imported mlflow: it takes seconds of a processor."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support import scoring_servers
from tests.support.warm_python import warm_python


@pytest.fixture(scope="session")
def _warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with warm_python(tmp_path_factory.mktemp("warm")) as python:
        yield python


@pytest.fixture(scope="module")
def warm(_warm_python: str) -> Iterator[None]:
    """Have the servers of a module be forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring_servers, "COMMAND", (_warm_python, "-c", scoring_servers.WARM_CODE))
        yield


@pytest.fixture
def cold(warm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a server be a program of its own, from its first import on."""
    monkeypatch.setattr(scoring_servers, "COMMAND", (sys.executable, "-m", "trackbridge.serving"))
