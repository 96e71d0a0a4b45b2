"""Models on the Azure ML emulator: payloads, and what registers them."""

from __future__ import annotations

import time
from pathlib import Path

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge_adapters.azureml import open_workspace

REGISTRY = "azureml://registries/test-registry"
CONTENT = b"weights"


def opened(emulator: AzureMlEmulator, home: Path, uri: str | None = None) -> Adapter:
    """Open the emulator's workspace, or what a URI names."""
    context = AdapterContext(
        home=home, options=emulator.options, clock_ms=lambda: time.time_ns() // 1_000_000
    )
    return open_workspace(uri or emulator.uri, context=context, credential=emulator.credential())


def payload(adapter: Adapter, folder: Path, **files: bytes) -> str:
    """Put files into a run's folder ``model``; return its address."""
    assert adapter.tracking is not None
    assert adapter.artifacts is not None
    run_id = adapter.tracking.open_run(run_spec()).info.run_id
    for name, content in (files or {"weights": CONTENT}).items():
        file = file_of(folder, content)
        adapter.artifacts.put(run_id, f"model/{name}", file, digest=digest_of(content), size=len(content))
    return artifact_uri(run_id, "model")


def spec(source: str, name: str = "wine", **fields: object) -> ModelVersionSpec:
    """Return what registers a payload."""
    return ModelVersionSpec(name=name, source=source, digest=digest_of(CONTENT), **fields)  # type: ignore[arg-type]
