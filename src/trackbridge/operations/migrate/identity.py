"""Which run, experiment or version of the target stands for one of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from trackbridge.domain.ids import experiment_id_of, is_minted
from trackbridge.domain.migration import TAG_SOURCE_RUN_ID, TAG_SOURCE_URI
from trackbridge.domain.models import ModelVersion, Origin
from trackbridge.domain.runs import Experiment


def target_run_id(run_id: str, *, source_uri: str) -> str:
    """Return the id under which a run of the source is known at any target.

    Ids of 32 hexadecimal digits, ours and MLflow's, are kept. Others are mapped to such an id by a digest, so
    that everybody who copies the run finds the same one.
    """
    if is_minted(run_id):
        return run_id
    return hashlib.sha256(f"{source_uri}\n{run_id}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def original_at(uri: str, tags: Mapping[str, str]) -> str | None:
    """Return the id of the run at a backend that a copy was made of, None when it is no copy from there."""
    return tags.get(TAG_SOURCE_RUN_ID) if tags.get(TAG_SOURCE_URI) == uri else None


def target_experiment_id(experiment: Experiment) -> str:
    """Return the id that an experiment gets where there is none of its name."""
    kept = experiment.experiment_id
    return kept if is_minted(kept) else experiment_id_of(experiment.name)


def origin_of(version: ModelVersion, *, registry_uri: str) -> Origin:
    """Return where a version was first registered: what it says itself, else here."""
    return version.origin or Origin(registry=registry_uri, name=version.name, version=version.version)


def version_key(origin: Origin, digest: str) -> str:
    """Return the key under which a version is created, the same from wherever it is copied."""
    text = "\n".join((origin.registry, origin.name, origin.version, digest))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
