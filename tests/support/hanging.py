"""A place that hangs, without waiting for it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import pytest

from trackbridge.operations import asking

WAIT_S = 60.0


@pytest.fixture
def one_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for all places but one: as if the time were over when the others have answered."""

    def wait_for_others(futures: Iterable[Future[Any]], timeout: float) -> None:
        futures = set(futures)
        deadline = time.monotonic() + WAIT_S
        while sum(not future.done() for future in futures) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    monkeypatch.setattr(asking, "wait", wait_for_others)
