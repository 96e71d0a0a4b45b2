"""Places of SageMaker as a program opens them, on moto or on a scripted server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.unit.adapters.sagemaker.rig import now_ms
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.emulators.sagemaker.core import ACCOUNT as ACCOUNT
from trackbridge_adapters.sagemaker.backend import Backend, backend_of

REGION = "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIA" + "X" * 16, "AWS_SECRET_ACCESS_KEY": "verysecret", "AWS_REGION": REGION}
BUCKET = f"sagemaker-{REGION}-{ACCOUNT}"
"""The bucket of the emulator's account that is used where none is named."""


def backend(
    home: Path,
    options: Mapping[str, str] | None = None,
    *,
    uri: str = "sagemaker:",
    clock_ms: Callable[[], int] = now_ms,
) -> Backend:
    return backend_of(uri, AdapterContext(home=home, options=dict(options or {}), clock_ms=clock_ms))
