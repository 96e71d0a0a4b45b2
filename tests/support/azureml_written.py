"""Folders compared, and runs and models of ours written, for Microsoft's own clients to read."""

from __future__ import annotations

from pathlib import Path

from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.models import ModelVersion, ModelVersionSpec
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts.samples import digest_of, run_spec


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by their paths."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run_of_ours(adapter: Adapter, folder: Path, *, name: str = "bold otter") -> str:
    """Write a run with a folder of files as ``model``, and return its id."""
    assert adapter.tracking is not None
    assert adapter.artifacts is not None
    run_id = adapter.tracking.open_run(run_spec(name)).info.run_id
    for path, content in contents(folder).items():
        file = folder / path
        adapter.artifacts.put(run_id, f"model/{path}", file, digest=digest_of(content), size=len(content))
    return run_id


def model_of_ours(
    adapter: Adapter, folder: Path, name: str = "digits", *, tags: dict[str, str] | None = None
) -> ModelVersion:
    """Register a folder, that a run of ours has logged, as a model."""
    assert adapter.registry is not None
    source = artifact_uri(run_of_ours(adapter, folder), "model")
    adapter.registry.ensure_model(name)
    spec = ModelVersionSpec(
        name=name, source=source, digest=digest_of(b"all"), description="reads digits", tags=tags or {}
    )
    return adapter.registry.create_version(spec, key=source)
