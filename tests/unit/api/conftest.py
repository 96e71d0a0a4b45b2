"""A fresh project for each test, delivered to in this process, and nothing left of the one before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trackbridge.api import active, fluent, session
from trackbridge.api.client import Client


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "BRIDGE_TRACKING_URI", "BRIDGE_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    while active.current() is not None:
        fluent.end_run()
    for made in session.all_sessions():
        made.close(5)
    session._sessions.clear()
    Client.default_uri = fluent._client = fluent._experiment = None
    for name in list(fluent._inherited):
        fluent._let_inherit(name, None)
