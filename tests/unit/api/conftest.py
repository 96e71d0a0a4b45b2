"""A fresh project for each test, delivered to in this process, and nothing left of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program_state import forget


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "BRIDGE_TRACKING_URI", "BRIDGE_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    forget()
