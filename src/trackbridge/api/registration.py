"""Registering what a run logged, what is registered already, or what lies on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.delivery.payload_members import payload_digest
from trackbridge.delivery.registrations import native_source, registration_key
from trackbridge.domain.artifacts import artifact_uri, split_artifact_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.model_references import (
    PathReference,
    RegisteredReference,
    RunReference,
    parse_model_reference,
)
from trackbridge.domain.models import ChangeReason, ModelVersion, ModelVersionSpec, Origin
from trackbridge.domain.runs import RunInputs
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import InvalidInput, NotFound
from trackbridge.operations.model_payloads import all_versions, digest_at, registered_version

if TYPE_CHECKING:
    from trackbridge.api.reading import Reader
    from trackbridge.api.registry_binding import RegistryBinding

_ADDRESS = re.compile(r"(?!(?:models|runs|file|bridge-artifacts):)[A-Za-z][A-Za-z0-9+.-]+://.+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Payload:
    """What is to be registered: where it lies, what it holds, and where it came from."""

    source: str
    digest: str
    run_id: str | None = None
    origin: Origin | None = None
    datasets: tuple[str, ...] = ()


def find_payload(source: str, reader: Reader, binding: RegistryBinding) -> Payload:
    """Return what ``runs:/``, ``models:/``, ``bridge-artifacts:/``, a path, or a backend's own address means.

    What was logged before is delivered first.

    Raises:
        InvalidInput: The address has none of the forms.
        NotFound: There is nothing at it.
        Rejected: The registry takes nothing from there.
        Unavailable: Not all of what was logged could be delivered in time.
    """
    payload = _found(source, reader, binding)
    binding.check_source(payload.source)
    return payload


def _found(source: str, reader: Reader, binding: RegistryBinding) -> Payload:
    if _ADDRESS.fullmatch(source):
        return _of_address(source, binding)
    place = split_artifact_uri(source)
    reference = RunReference(*place) if place is not None else parse_model_reference(source)
    if isinstance(reference, RegisteredReference):
        return _of_version(registered_version(reference, binding.drained()), binding)
    if isinstance(reference, PathReference):
        path = reference.path.absolute()
        return Payload(source=path.as_uri(), digest=digest_of_path(path))
    return _of_run(reference, reader, binding)


def local_path_of(address: str) -> Path | None:
    """Return the path of this machine that an address is, None where it is something else."""
    if split_artifact_uri(address) is not None or _ADDRESS.fullmatch(address):
        return None
    reference = parse_model_reference(address)
    return reference.path.absolute() if isinstance(reference, PathReference) else None


def _of_address(source: str, binding: RegistryBinding) -> Payload:
    binding.drained()
    address, store = binding.addressed(source)
    binding.check_source(address)  # before its bytes are read
    return Payload(address, digest_at(address, store))


def _of_run(reference: RunReference, reader: Reader, binding: RegistryBinding) -> Payload:
    reader.drain()
    digest = payload_digest(reader.artifacts, reference.run_id, reference.path)
    source = artifact_uri(reference.run_id, reference.path)
    if not binding.sees_artifacts:
        source = native_source(reader.artifacts, reference.run_id, reference.path)
    run_id = reference.run_id
    if is_model_id(run_id):  # a logged model of the backend's own
        run_id = reader.tracking.get_logged_model(run_id).source_run_id
    if not run_id:
        return Payload(source, digest)
    inputs = reader.get_run(run_id).inputs
    return Payload(source, digest, run_id=run_id, datasets=dataset_names(inputs))


def _of_version(version: ModelVersion, binding: RegistryBinding) -> Payload:
    if version.digest is None:
        raise InvalidInput(
            f"the registry does not know the digest of models:/{version.name}/{version.version}",
            operation="models",
            hint="register what its run logged: runs:/RUN_ID/PATH",
        )
    origin = version.origin or Origin(registry=binding.uri, name=version.name, version=version.version)
    return Payload(version.source, version.digest, version.run_id, origin, version.datasets)


def dataset_names(inputs: RunInputs) -> tuple[str, ...]:
    """Return the data sets of a run as ``name@digest``."""
    return tuple(f"{dataset.name}@{dataset.digest}" for dataset in inputs.dataset_inputs)


def register_payload(
    payload: Payload,
    name: str,
    binding: RegistryBinding,
    *,
    run_id: str | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    reason: ChangeReason | None = None,
) -> ModelVersion:
    """Register a payload and return the version. The same payload under the same name is one version.

    Raises:
        NotFound: There is no model of this name, or nothing at the source.
        Conflict: The payload has changed at its source since it was registered.
    """
    port, reason = binding.port, reason or binding.reason()
    port.get_model(name)
    spec = ModelVersionSpec(
        name=name,
        source=payload.source,
        digest=payload.digest,
        run_id=run_id or payload.run_id,
        origin=payload.origin,
        description=description,
        tags=dict(tags or {}),
        datasets=payload.datasets,
    )
    key = registration_key(payload.source, payload.digest)
    try:
        return port.create_version(spec, key=key, reason=reason)
    except NotFound:
        # The version that the key stands for was deleted. Where it is the source that is missing, the second
        # call says so, too.
        known = next((found for found in all_versions(port, name) if _is_of(found, payload)), None)
        return known or port.create_version(spec, key=f"{key}:{mint_id()}", reason=reason)


def _is_of(version: ModelVersion, payload: Payload) -> bool:
    return (version.source, version.digest) == (payload.source, payload.digest)
