"""Adapters of managed MLflow as a program opens them, and clocks that tests move."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.sagemaker import open_adapter

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/tracking"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def opened(
    arn: str,
    home: Path,
    *,
    options: Mapping[str, str] | None = None,
    clock_ms: Callable[[], int] = now_ms,
) -> RestAdapter:
    context = AdapterContext(home=home, options=dict(options or {}), clock_ms=clock_ms)
    adapter = open_adapter(arn, context=context)
    assert isinstance(adapter, RestAdapter)
    return adapter


def wire_of(adapter: RestAdapter) -> Wire:
    return adapter.tracking.wire
