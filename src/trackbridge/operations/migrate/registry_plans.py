"""Registered models of two registries compared: versions by where they were first registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.migration import Loss, Treatment
from trackbridge.domain.models import Approval, ModelVersion, Origin, RegisteredModel
from trackbridge.domain.plans import Action, Change
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import NotFound
from trackbridge.operations.migrate.formats import format_of
from trackbridge.operations.migrate.identity import origin_of
from trackbridge.operations.migrate.losses import (
    losses_of_model_name,
    losses_of_model_tags,
    model_tag_problem,
)
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.prints import differences, own_tags, print_of, shown_fields
from trackbridge.operations.migrate.selecting import Selector
from trackbridge.operations.migrate.side import Side
from trackbridge.ports.capabilities import Feature

OPTIONAL_FIELDS = {
    "description": (Feature.REGISTRY_DESCRIPTION, ""),
    "stage": (Feature.REGISTRY_STAGE, "None"),
    "approval": (Feature.REGISTRY_APPROVAL, Approval.PENDING.value),
    "aliases": (Feature.REGISTRY_ALIAS, []),
}
"""Fields of a version that a registry need not have, and what they are where nothing was said."""


class RegistryPlanner:
    """Plans the models of a migration."""

    def __init__(self, pair: Pair, selector: Selector, *, delete: bool) -> None:
        self._pair = pair
        self._selector = selector
        self._delete = delete
        self._versions: dict[str, list[ModelVersion]] | None = None
        self._models: dict[str, RegisteredModel] = {}
        self.notes: list[str] = []

    def selected(self) -> dict[str, list[ModelVersion]]:
        """Return the versions that are meant, by model, oldest first; they are read once."""
        if self._versions is None:
            self._models = {model.name: model for model in self._selector.models(self._pair.source)}
            if self._models and self._pair.target.registry is None:
                self.notes.append(
                    f"the target has no registry: {len(self._models):,} models stay where they are"
                )
                self._models = {}
            self._versions = {
                name: self._selector.versions(self._pair.source.versions(name)) for name in self._models
            }
            if self._selector.selection.stages:
                self._versions = {name: found for name, found in self._versions.items() if found}
        return self._versions

    def needed_runs(self) -> frozenset[str]:
        """Return the runs whose artifacts hold the payloads of the versions, or that made them."""
        found = {place[0] for version in self._all() if (place := split_artifact_uri(version.source))}
        return frozenset(found | {version.run_id for version in self._all() if version.run_id is not None})

    def known_numbers(self) -> dict[tuple[str, str], str]:
        """Return the new numbers of versions that are at the target already, where they are others."""
        numbers: dict[tuple[str, str], str] = {}
        for name, versions in self.selected().items():
            there = versions_by_origin(self._pair.target, name)
            for version in versions:
                found = there.get(self._origin(version))
                if found is not None and found.version != version.version:
                    numbers[name, version.version] = found.version
        return numbers

    def changes(self) -> Iterator[Change]:
        """Yield the changes of each model before those of its versions, oldest first."""
        for name, versions in self.selected().items():
            there = versions_by_origin(self._pair.target, name)
            yield self._model_change(self._models[name])
            number = 1 + max((_number_of(found.version) for found in there.values()), default=0)
            for version in versions:
                found = there.pop(self._origin(version), None)
                yield self._version_change(version, found, number)
                number += found is None
            if self._delete and not self._selector.selection.stages:
                yield from self._deletions(there)

    def _all(self) -> Iterator[ModelVersion]:
        for versions in self.selected().values():
            yield from versions

    def _origin(self, version: ModelVersion) -> Origin:
        return origin_of(version, registry_uri=self._pair.source.uri)

    # Models.

    def _model_change(self, model: RegisteredModel) -> Change:
        subject = f"model {model.name}"
        wanted = wanted_model(self._pair, model)
        losses = [
            self._refused(subject, name, Feature.REGISTRY_DESCRIPTION)
            for name in ("description",)
            if wanted[name] != model.description
        ]
        limits = self._pair.target.capabilities.limits
        losses += losses_of_model_name(model.name, limits, subject)
        losses += losses_of_model_tags(_linked_tags(self._pair, model.tags), limits, subject)
        after = {
            **shown_fields(wanted),
            "print": print_of(model_fields(model)),
            "losses": msgspec.to_builtins(losses),
        }
        found = find_model(self._pair.target, model.name)
        if found is None:
            return Change(action=Action.CREATE, subject=subject, after=after, why="the target has none")
        is_there = model_fields(found)
        differing = lacking(wanted, is_there)
        action = Action.UPDATE if differing else Action.KEEP
        why = f"it differs: {differing[0]}" if differing else ""
        return Change(action=action, subject=subject, before=shown_fields(is_there), after=after, why=why)

    # Versions.

    def _version_change(self, version: ModelVersion, found: ModelVersion | None, number: int) -> Change:
        """Return the change of a version; ``number`` is what a new one gets, as far as that can be seen."""
        subject = f"version {version.name}/{version.version}"
        wanted = wanted_version(self._pair, version)
        losses = list(self._losses(version, subject))
        if found is None:
            losses += self._format_losses(version, subject)
        if found is None and str(number) != version.version:
            losses.append(renumbered(subject, str(number)))
        after = {
            **shown_fields(wanted),
            "name": version.name,
            "version": version.version,
            "origin": msgspec.to_builtins(self._origin(version)),
            "digest": version.digest,
            "print": print_of(version_fields(version)),
            "losses": msgspec.to_builtins(losses),
        }
        if found is None:
            return Change(action=Action.CREATE, subject=subject, after=after, why="the target has none")
        is_there = version_fields(found)
        before = {**shown_fields(is_there), "version": found.version}
        after["at_target"] = found.version
        differing = lacking(wanted, is_there)
        if not differing:
            return Change(action=Action.KEEP, subject=subject, before=before, after=after)
        why = f"it differs: {differing[0]}"
        return Change(action=Action.UPDATE, subject=subject, before=before, after=after, why=why)

    def _losses(self, version: ModelVersion, subject: str) -> Iterator[Loss]:
        """Yield what the target does not hold of a version."""
        fields = version_fields(version)
        for name, (feature, nothing) in OPTIONAL_FIELDS.items():
            if fields[name] != nothing and not self._pair.target.supports(feature):
                yield self._refused(subject, name, feature)
        tags = _linked_tags(self._pair, version.tags)
        yield from losses_of_model_tags(tags, self._pair.target.capabilities.limits, subject)
        place = split_artifact_uri(version.source)
        if place is None or (is_model_id(place[0]) and not self._pair.has_logged_models):
            yield Loss(
                item=subject,
                field="source",
                treatment=Treatment.REWRITTEN,
                detail="its files go into the artifacts of a run that is made for them",
            )

    def _format_losses(self, version: ModelVersion, subject: str) -> list[Loss]:
        """Return what is done about the format of a payload, which is looked at once."""
        seen = self._pair.formats
        key = f"{version.name}/{version.version}"
        if key not in seen:
            found = format_of(self._pair.source, version)
            seen[key] = [] if found is None else list(found.losses(subject))
        return seen[key]

    def _refused(self, subject: str, field: str, feature: Feature) -> Loss:
        capability = self._pair.target.capabilities.features.get(feature)
        reason = capability.reason if capability is not None else "the target does not declare it"
        return Loss(item=subject, field=field, treatment=Treatment.REFUSED, detail=reason)

    def _deletions(self, there: Mapping[Origin, ModelVersion]) -> Iterator[Change]:
        """Yield the deletion of copies whose originals are gone."""
        for origin, found in there.items():
            if origin.registry == self._pair.source.uri:
                yield Change(
                    action=Action.DELETE,
                    subject=f"version {found.name}/{found.version}",
                    before={
                        **shown_fields(version_fields(found)),
                        "version": found.version,
                        "name": found.name,
                    },
                    why="its original is gone from the source",
                )


def renumbered(subject: str, number: str) -> Loss:
    """Return that a version has another number at the target."""
    return Loss(
        item=subject,
        field="number",
        treatment=Treatment.RENUMBERED,
        detail=f"it is version {number} at the target; links to it are rewritten",
    )


def _number_of(version: str) -> int:
    return int(version) if version.isdecimal() else 0


def find_model(side: Side, name: str) -> RegisteredModel | None:
    """Return a model, None where there is none."""
    if side.registry is None:
        return None
    try:
        return side.registry.get_model(name)
    except NotFound:
        return None


def versions_by_origin(side: Side, name: str) -> dict[Origin, ModelVersion]:
    """Return the versions of a model by where they were first registered."""
    return {origin_of(version, registry_uri=side.uri): version for version in side.versions(name)}


def model_fields(model: RegisteredModel) -> dict[str, Any]:
    """Return what may be changed of a model itself."""
    return {"description": model.description, "tags": own_tags(model.tags)}


def version_fields(version: ModelVersion) -> dict[str, Any]:
    """Return what may be changed of a version."""
    return {
        "description": version.description,
        "stage": version.stage,
        "approval": version.approval.value,
        "aliases": sorted(version.aliases),
        "tags": own_tags(version.tags),
    }


def wanted_version(pair: Pair, version: ModelVersion) -> dict[str, Any]:
    """Return what may be changed of a version as the target is to have it, as far as it holds that."""
    wanted = version_fields(version)
    wanted["tags"] = _held_tags(pair, version.tags)
    for name, (feature, nothing) in OPTIONAL_FIELDS.items():
        if not pair.target.supports(feature):
            wanted[name] = nothing
    return wanted


def wanted_model(pair: Pair, model: RegisteredModel) -> dict[str, Any]:
    """Return description and tags of a model as the target is to have them, as far as it holds them."""
    holds = pair.target.supports(Feature.REGISTRY_DESCRIPTION)
    return {
        "description": model.description if holds else "",
        "tags": _held_tags(pair, model.tags),
    }


def _linked_tags(pair: Pair, tags: Mapping[str, str]) -> dict[str, str]:
    return pair.rewriter.tags(own_tags(tags))


def _held_tags(pair: Pair, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a model or of a version that the target takes, with their links rewritten."""
    limits = pair.target.capabilities.limits
    linked = _linked_tags(pair, tags)
    return {key: value for key, value in linked.items() if model_tag_problem(key, value, limits) is None}


def lacking(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the differences in what is wanted; tags and aliases that are there besides are no difference."""
    reduced = dict(found)
    reduced["tags"] = {key: value for key, value in found["tags"].items() if key in wanted["tags"]}
    if "aliases" in wanted:
        reduced["aliases"] = [alias for alias in found["aliases"] if alias in wanted["aliases"]]
    return differences({key: wanted[key] for key in wanted}, {key: reduced[key] for key in wanted})
