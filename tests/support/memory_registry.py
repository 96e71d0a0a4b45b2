"""A model registry in memory: honest about what it does, with features that a test can switch off."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tests.support.memory_pages import NAME, page_of
from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.file_uris import file_path
from trackbridge.domain.model_references import checked_model_name
from trackbridge.domain.models import (
    NO_REASON,
    STAGES,
    Approval,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
    RegistryChange,
)
from trackbridge.domain.paging import Page
from trackbridge.errors import Conflict, InvalidInput, NotFound, Rejected
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.registry import ModelRegistry

if TYPE_CHECKING:
    from tests.support.memory_adapter import MemoryState

Item = TypeVar("Item")

USER = "memory's own user"
SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]+:")


@dataclass
class MemoryVersion:
    number: int
    spec: ModelVersionSpec
    description: str
    tags: dict[str, str]
    creation_time: int
    last_update_time: int
    user: str
    stage: str = "None"
    approval: Approval = Approval.PENDING


@dataclass
class MemoryModel:
    """A model, also after its deletion: keys and numbers stay taken."""

    name: str
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    creation_time: int = 0
    last_update_time: int = 0
    deleted: bool = True
    versions: dict[int, MemoryVersion] = field(default_factory=dict)
    keys: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    last_number: int = 0


@dataclass
class MemoryRegistryState:
    models: dict[str, MemoryModel] = field(default_factory=dict)
    changes: list[RegistryChange] = field(default_factory=list)


class MemoryRegistry(ModelRegistry):
    def __init__(self, state: MemoryState, capabilities: Capabilities, clock_ms: Callable[[], int]) -> None:
        self.state = state
        self.registry = state.registry
        self.capabilities = capabilities
        self.clock_ms = clock_ms

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        checked_model_name(name)
        self.refuse_tags(tags or {})
        with self.state.lock:
            model = self.registry.models.setdefault(name, MemoryModel(name))
            if model.deleted:
                now = self.clock_ms()
                model.deleted, model.description, model.tags = False, description, dict(tags or {})
                model.creation_time = model.last_update_time = now
                self.note(model, None, "created", None, name, reason)
            return self.model_of(model)

    def refuse_tags(self, tags: Mapping[str, str | None]) -> None:
        limits = self.capabilities.limits
        for key, value in tags.items():
            for text, most in (
                (key, limits.model_tag_key_chars_max),
                (value, limits.model_tag_value_chars_max),
            ):
                if most is not None and len(text or "") > most:
                    raise Rejected(f"tag {key[:40]!r} is too long")

    def get_model(self, name: str) -> RegisteredModel:
        with self.state.lock:
            return self.model_of(self.find(name))

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        self.refuse_tags(spec.tags)
        with self.state.lock:
            model = self.find(spec.name)
            known = self.number_of_key(model, spec, key)
            if known is not None:
                return self.version_of(model, self.find_version(spec.name, str(known)))
            self.check_source(spec.source)
            version = self.new_version(model, spec, reason)
            model.versions[version.number] = version
            model.keys[key] = (version.number, spec.source, spec.digest)
            model.last_update_time = version.creation_time
            self.note(model, version, "created", None, spec.source, reason)
            return self.version_of(model, version)

    def get_version(self, name: str, version: str) -> ModelVersion:
        with self.state.lock:
            return self.version_of(self.find(name), self.find_version(name, version))

    def list_models(self, *, max_results: int = 1000, token: str | None = None) -> Page[RegisteredModel]:
        with self.state.lock:
            models = [item for item in self.registry.models.values() if not item.deleted]
            found = [self.model_of(item) for item in sorted(models, key=lambda item: item.name)]
        return self.page(found, max_results, token, "list_models")

    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        with self.state.lock:
            model = self.registry.models.get(name) or MemoryModel(name)
            found = [self.version_of(model, model.versions[number]) for number in sorted(model.versions)]
        return self.page(found[::-1], max_results, token, "list_versions", name)

    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        self.refuse_tags(tags)
        with self.state.lock:
            model, found, held = self.target(name, version)
            for key, value in tags.items():
                before = held.tags.get(key)
                if value is None:
                    held.tags.pop(key, None)
                else:
                    held.tags[key] = value
                self.changed(model, found, f"tag:{key}", before, value, reason)

    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        self.require(Feature.REGISTRY_DESCRIPTION)
        with self.state.lock:
            model, found, held = self.target(name, version)
            before, held.description = held.description, description
            self.changed(model, found, "description", before or None, description or None, reason)

    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        self.require(Feature.REGISTRY_ALIAS)
        with self.state.lock:
            model = self.find(name)
            target = None if version is None else self.find_version(name, version)
            self.point(model, alias, target, reason)

    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        self.require(Feature.REGISTRY_STAGE)
        if stage not in STAGES:
            raise Rejected(f"{stage[:40]!r} is not a stage", adapter=NAME, hint=f"use one of {STAGES}")
        with self.state.lock:
            model, found = self.find(name), self.find_version(name, version)
            before, found.stage = found.stage, stage
            self.changed(model, found, "stage", before, stage, reason)

    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        self.require(Feature.REGISTRY_APPROVAL)
        with self.state.lock:
            model, found = self.find(name), self.find_version(name, version)
            before, found.approval = found.approval, approval
            self.changed(model, found, "approval", before.value, approval.value, reason)

    def list_changes(
        self, name: str, version: str | None = None, *, max_results: int = 1000, token: str | None = None
    ) -> Page[RegistryChange]:
        self.require(Feature.REGISTRY_HISTORY)
        with self.state.lock:
            found = [
                change
                for change in reversed(self.registry.changes)
                if change.name == name and version in (None, change.version)
            ]
        return self.page(found, max_results, token, "list_changes", name, version)

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        self.require(Feature.REGISTRY_DELETE)
        with self.state.lock:
            model = self.registry.models.get(name)
            found = self.versions_by_name(name).get(version)
            if model is None or found is None:
                return
            for alias in [alias for alias, number in model.aliases.items() if number == found.number]:
                self.point(model, alias, None, reason)
            self.remove(model, found, reason)

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        self.require(Feature.REGISTRY_DELETE)
        with self.state.lock:
            model = self.registry.models.get(name)
            if model is None or model.deleted:
                return
            for version in list(self.versions_by_name(name)):
                self.delete_version(name, version, reason=reason)
            model.deleted = True
            self.note(model, None, "deleted", name, None, reason)
            if not self.capabilities.supports(Feature.REGISTRY_NUMBERS_KEPT):
                del self.registry.models[name]

    # What the methods share.

    def require(self, feature: Feature) -> None:
        self.capabilities.require(feature, operation=feature.value)

    def find(self, name: str) -> MemoryModel:
        model = self.registry.models.get(name)
        if model is None or model.deleted:
            raise NotFound(f"there is no model {name[:80]!r}", adapter=NAME, hint="list the models")
        return model

    def versions_by_name(self, name: str) -> dict[str, MemoryVersion]:
        model = self.registry.models.get(name)
        return {str(number): version for number, version in model.versions.items()} if model else {}

    def find_version(self, name: str, version: str) -> MemoryVersion:
        found = self.versions_by_name(name).get(version)
        if found is None:
            raise NotFound(
                f"model {name[:80]!r} has no version {version[:40]!r}",
                adapter=NAME,
                hint="list the versions",
            )
        return found

    def target(
        self, name: str, version: str | None
    ) -> tuple[MemoryModel, MemoryVersion | None, MemoryModel | MemoryVersion]:
        model = self.find(name)
        if version is None:
            return model, None, model
        found = self.find_version(name, version)
        return model, found, found

    def number_of_key(self, model: MemoryModel, spec: ModelVersionSpec, key: str) -> int | None:
        if key not in model.keys:
            return None
        number, source, digest = model.keys[key]
        if (source, digest) != (spec.source, spec.digest):
            raise Conflict(
                f"the key {key[:80]!r} stands for another version", adapter=NAME, hint="use a new key"
            )
        return number

    def check_source(self, source: str) -> None:
        if not self.is_there(source):
            raise NotFound(f"nothing lies at {source[:120]!r}", adapter=NAME, hint="log the model first")

    def is_there(self, source: str) -> bool:
        artifact = split_artifact_uri(source)
        if artifact is not None:
            run_id, path = artifact
            files = self.state.files.get(run_id, {})
            return any(not path or name == path or name.startswith(f"{path}/") for name in files)
        if source.startswith("file:"):
            return os.path.exists(file_path(source))
        return bool(SCHEME.match(source)) or os.path.exists(source)

    def new_version(self, model: MemoryModel, spec: ModelVersionSpec, reason: ChangeReason) -> MemoryVersion:
        model.last_number += 1
        now = self.clock_ms()
        return MemoryVersion(
            number=model.last_number,
            spec=spec,
            description=spec.description,
            tags=dict(spec.tags),
            creation_time=now,
            last_update_time=now,
            user=reason.user or USER,
        )

    def remove(self, model: MemoryModel, version: MemoryVersion, reason: ChangeReason) -> None:
        del model.versions[version.number]
        model.last_update_time = self.clock_ms()
        self.note(model, version, "deleted", version.spec.source, None, reason)

    def point(
        self, model: MemoryModel, alias: str, target: MemoryVersion | None, reason: ChangeReason
    ) -> None:
        """Move an alias; the version that it leaves and the one that it comes to each have a change."""
        left = model.versions.get(model.aliases.pop(alias, 0))
        if target is not None:
            model.aliases[alias] = target.number
        before, after = _number(left), _number(target)
        for version in [item for item in (left, target) if item is not None and before != after]:
            self.changed(model, version, f"alias:{alias}", before, after, reason)

    def changed(
        self,
        model: MemoryModel,
        version: MemoryVersion | None,
        what: str,
        before: str | None,
        after: str | None,
        reason: ChangeReason,
    ) -> None:
        """Note a change, if it is one, and when it was made."""
        if before == after:
            return
        model.last_update_time = self.clock_ms()
        if version is not None:
            version.last_update_time = self.clock_ms()
        self.note(model, version, what, before, after, reason)

    def note(
        self,
        model: MemoryModel,
        version: MemoryVersion | None,
        what: str,
        before: str | None,
        after: str | None,
        reason: ChangeReason,
    ) -> None:
        self.registry.changes.append(
            RegistryChange(
                sequence=len(self.registry.changes) + 1,
                name=model.name,
                version=_number(version),
                what=what,
                before=before,
                after=after,
                user=reason.user or USER,
                time=self.clock_ms(),
                why=reason.why,
            )
        )

    def model_of(self, model: MemoryModel) -> RegisteredModel:
        return RegisteredModel(
            name=model.name,
            description=model.description,
            aliases={alias: str(number) for alias, number in sorted(model.aliases.items())},
            tags=dict(model.tags),
            creation_time=model.creation_time,
            last_update_time=model.last_update_time,
        )

    def version_of(self, model: MemoryModel, version: MemoryVersion) -> ModelVersion:
        spec = version.spec
        return ModelVersion(
            name=model.name,
            version=str(version.number),
            source=spec.source,
            digest=spec.digest,
            run_id=spec.run_id,
            origin=spec.origin,
            description=version.description,
            stage=version.stage,
            approval=version.approval,
            aliases=tuple(sorted(a for a, number in model.aliases.items() if number == version.number)),
            tags=dict(version.tags),
            datasets=spec.datasets,
            creation_time=version.creation_time,
            last_update_time=version.last_update_time,
            user=version.user,
        )

    def page(
        self, items: Sequence[Item], max_results: int, token: str | None, *listing: object
    ) -> Page[Item]:
        if max_results < 1:
            raise InvalidInput(f"max_results is {max_results}", adapter=NAME, hint="ask for at least 1")
        return page_of(items, min(max_results, self.capabilities.limits.page_items_max), token, *listing)


def _number(version: MemoryVersion | None) -> str | None:
    return None if version is None else str(version.number)
