"""A journalled registration at its registry, once the files of the model have been delivered."""

from __future__ import annotations

import hashlib

from trackbridge.delivery.backend import Backend
from trackbridge.delivery.payload_members import known_payload_digest
from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.models import ChangeReason, ModelVersionSpec
from trackbridge.domain.records import ModelRegistered
from trackbridge.errors import Rejected, Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.registry import SourceCheckingRegistry


def registration_key(source: str, digest: str) -> str:
    """Return the key under which a payload is registered: the same one is registered once for a name."""
    return hashlib.sha256(f"{source}\n{digest}".encode()).hexdigest()


def register(record: ModelRegistered, backend: Backend) -> None:
    """Create the model, where there is none, and the version. Repeated it changes nothing.

    Raises:
        Rejected: The files at the destination are not those of the record, because some were refused.
            Or the registry takes nothing from where they lie.
        Unsupported: The backend stores no files, or the registry cannot reach them.
    """
    artifacts = backend.artifacts
    if artifacts is None:
        raise Unsupported("the destination stores no files of models", resource=record.path)
    found = known_payload_digest(artifacts, record.run_id, record.path)
    if found not in (None, record.digest):
        raise Rejected(
            f"the files of the model {record.path!r} at the destination are not those that were logged",
            resource=f"run {record.run_id}",
            hint="see which files are missing: bridge sync dead-letters",
        )
    registry = backend.registry(record.registry or backend.uri)
    source = artifact_uri(record.run_id, record.path)
    if not registry.sees_artifacts:
        source = native_source(artifacts, record.run_id, record.path)
    reason = ChangeReason(user=record.user)
    if isinstance(registry.port, SourceCheckingRegistry):
        registry.port.check_source(source)  # before a model is made that would stay empty
    registry.port.ensure_model(record.name, reason=reason)
    spec = ModelVersionSpec(
        name=record.name,
        source=source,
        digest=record.digest,
        run_id=record.run_id,
        description=record.description,
        tags=record.tags,
        datasets=tuple(record.datasets),
    )
    registry.port.create_version(spec, key=record.key, reason=reason)


def native_source(artifacts: ArtifactStore, run_id: str, path: str) -> str:
    """Return the address of a payload that a registry beside another store understands.

    Raises:
        Unsupported: The store has no address for it.
    """
    address = artifacts.stat(run_id, path).native_uri
    if address is None:
        raise Unsupported(
            "a registry elsewhere cannot reach these files: the store has no address for them",
            resource=f"run {run_id}, {path}",
            hint="let BRIDGE_REGISTRY_URI be the first tracking URI",
        )
    return address
