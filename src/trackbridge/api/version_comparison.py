"""Two versions of a model beside each other: what is registered, their runs, their ``MLmodel``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import msgspec

from trackbridge.api.client import Client
from trackbridge.api.model_results import ModelVersion
from trackbridge.domain.model_references import checked_model_name
from trackbridge.errors import BridgeError
from trackbridge.operations.model_payloads import mlmodel_at

DIFF_LINES_MAX = 2000
GROUPS = ("registered", "tag", "param", "metric")
"""The groups of differences, in the order in which they are told."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field of two versions: its group, its name, and both values; None where it has none."""

    group: str
    name: str
    left: str | None
    right: str | None

    @property
    def is_same(self) -> bool:
        """True when both have the same."""
        return self.left == self.right


class VersionDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Two versions; ``mlmodel`` are the lines of a unified diff, ``notes`` say what is unknown."""

    left: ModelVersion
    right: ModelVersion
    differences: tuple[Difference, ...]
    mlmodel: tuple[str, ...]
    notes: tuple[str, ...]


def version_diff(client: Client, name: str, left: str, right: str) -> VersionDiff:
    """Return what is different between two versions: what is registered, their runs, their ``MLmodel``.

    Raises:
        NotFound: There is no such version.
    """
    checked_model_name(name)
    one, other = (client.get_model_version(name, number) for number in (left, right))
    notes: list[str] = []
    differences = [*_fields("registered", _registered(one), _registered(other))]
    differences += _fields("tag", one.tags, other.tags)
    runs = [_run_fields(client, version, notes) for version in (one, other)]
    for group in ("param", "metric"):
        differences += _fields(group, runs[0][group], runs[1][group])
    before, after = (_mlmodel(client, version, notes) for version in (one, other))
    lines = tuple(difflib.unified_diff(before, after, f"{name}/{left}", f"{name}/{right}", lineterm=""))
    if len(lines) > DIFF_LINES_MAX:
        notes.append(f"the MLmodels differ in {len(lines):,} lines; the first {DIFF_LINES_MAX:,} are shown")
    return VersionDiff(
        left=one,
        right=other,
        differences=tuple(differences),
        mlmodel=lines[:DIFF_LINES_MAX],
        notes=tuple(notes),
    )


def _fields(group: str, left: Mapping[str, str], right: Mapping[str, str]) -> list[Difference]:
    names = dict.fromkeys((*left, *right))
    return [Difference(group=group, name=name, left=left.get(name), right=right.get(name)) for name in names]


def _registered(version: ModelVersion) -> dict[str, str]:
    origin = version.origin
    found = {
        "digest": version.digest or "",
        "source": version.source,
        "run": version.run_id or "",
        "description": version.description,
        "aliases": ", ".join(version.aliases),
        "stage": version.stage,
        "approval": version.approval.value,
        "trained on": ", ".join(version.datasets),
        "origin": f"{origin.name}/{origin.version} of {origin.registry}" if origin else "",
        "by": version.user,
    }
    return {name: value for name, value in found.items() if value}


def _run_fields(client: Client, version: ModelVersion, notes: list[str]) -> dict[str, dict[str, str]]:
    """Return params and last metrics of the run that made a version; what is not known is noted."""
    empty: dict[str, dict[str, str]] = {"param": {}, "metric": {}}
    if version.run_id is None:
        return empty
    try:
        data = client.get_run(version.run_id).data
    except BridgeError as error:
        notes.append(f"the run of version {version.version} is not known: {error}")
        return empty
    return {"param": dict(data.params), "metric": {key: repr(value) for key, value in data.metrics.items()}}


def _mlmodel(client: Client, version: ModelVersion, notes: list[str]) -> list[str]:
    try:
        found, artifacts = client.models.located(version)
        text = mlmodel_at(found.source, artifacts)
    except BridgeError as error:
        notes.append(f"the MLmodel of version {version.version} cannot be read: {error}")
        return []
    return (text or "").splitlines()
