"""Registries that break the contract, each in one way, to see that the suite notices."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tests.support.memory_registry import MemoryModel, MemoryRegistry, MemoryVersion
from trackbridge.domain.models import (
    NO_REASON,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
)
from trackbridge.domain.paging import Page
from trackbridge.errors import InvalidInput
from trackbridge.ports.capabilities import Feature


class ForgetsKeys(MemoryRegistry):
    def number_of_key(self, model: MemoryModel, spec: ModelVersionSpec, key: str) -> int | None:
        return None


class IgnoresTheContentOfAKey(MemoryRegistry):
    def number_of_key(self, model: MemoryModel, spec: ModelVersionSpec, key: str) -> int | None:
        return model.keys[key][0] if key in model.keys else None


class CutsKeys(MemoryRegistry):
    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        return super().create_version(spec, key=key[:64], reason=reason)


class SharesKeysBetweenModels(MemoryRegistry):
    def number_of_key(self, model: MemoryModel, spec: ModelVersionSpec, key: str) -> int | None:
        for other in self.registry.models.values():
            super().number_of_key(other, spec, key)
        return super().number_of_key(model, spec, key)


class ReturnsTheVersionAsItWasCreated(MemoryRegistry):
    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        found = super().create_version(spec, key=key, reason=reason)
        return msgspec.structs.replace(found, tags=dict(spec.tags))


class ReusesNumbers(MemoryRegistry):
    def new_version(self, model: MemoryModel, spec: ModelVersionSpec, reason: ChangeReason) -> MemoryVersion:
        model.last_number = max(model.versions, default=0)
        return super().new_version(model, spec, reason)


class NumbersAllModelsTogether(MemoryRegistry):
    def new_version(self, model: MemoryModel, spec: ModelVersionSpec, reason: ChangeReason) -> MemoryVersion:
        model.last_number = max(other.last_number for other in self.registry.models.values())
        return super().new_version(model, spec, reason)


class FreesKeys(MemoryRegistry):
    def remove(self, model: MemoryModel, version: MemoryVersion, reason: ChangeReason) -> None:
        super().remove(model, version, reason)
        model.keys = {key: held for key, held in model.keys.items() if held[0] != version.number}


class ForgetsDeletedModels(MemoryRegistry):
    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        super().delete_model(name, reason=reason)
        self.registry.models.pop(name, None)


class RefusesToDeleteWhatIsAbsent(MemoryRegistry):
    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        self.find_version(name, version)
        super().delete_version(name, version, reason=reason)


class LosesTheReason(MemoryRegistry):
    def note(
        self, model: Any, version: Any, what: Any, before: Any, after: Any, reason: ChangeReason
    ) -> None:
        super().note(model, version, what, before, after, ChangeReason(user=reason.user))


class NotesWhatDoesNotChange(MemoryRegistry):
    def changed(self, model: Any, version: Any, what: Any, before: Any, after: Any, reason: Any) -> None:
        self.note(model, version, what, before, after, reason)


class NotesOneEndOfAMove(MemoryRegistry):
    def changed(self, model: Any, version: Any, what: str, before: Any, after: Any, reason: Any) -> None:
        leaves = what.startswith("alias:") and after is not None and str(version.number) == before
        if not leaves:
            super().changed(model, version, what, before, after, reason)


class DeletesTheHistory(MemoryRegistry):
    def remove(self, model: MemoryModel, version: MemoryVersion, reason: ChangeReason) -> None:
        super().remove(model, version, reason)
        number = str(version.number)
        self.registry.changes = [item for item in self.registry.changes if item.version != number]


class PointsAtTwoVersions(MemoryRegistry):
    """Leaves the alias at the version that it was taken from."""

    def version_of(self, model: MemoryModel, version: MemoryVersion) -> ModelVersion:
        ever = {
            item.what.removeprefix("alias:")
            for item in self.registry.changes
            if item.name == model.name
            and item.what.startswith("alias:")
            and item.after == str(version.number)
        }
        found = super().version_of(model, version)
        return msgspec.structs.replace(found, aliases=tuple(sorted({*found.aliases, *ever})))


class KeepsTheAliasesOfTheDeleted(MemoryRegistry):
    def remove(self, model: MemoryModel, version: MemoryVersion, reason: ChangeReason) -> None:
        super().remove(model, version, reason)
        model.aliases.setdefault("champion", version.number)


class TakesAnySource(MemoryRegistry):
    def check_source(self, source: str) -> None:
        pass


class SpendsTheKeyOfARefusedCreation(MemoryRegistry):
    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        model = self.registry.models.get(spec.name)
        if model is not None and not self.is_there(spec.source):
            model.keys.setdefault(key, (0, spec.source, spec.digest))
            self.check_source(spec.source)
        return super().create_version(spec, key=key, reason=reason)


class TakesAnyStage(MemoryRegistry):
    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        self.find_version(name, version).stage = stage


class OverwritesModels(MemoryRegistry):
    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        super().ensure_model(name, description=description, tags=tags, reason=reason)
        self.find(name).description = description
        return self.get_model(name)


class SetsTagsOneByOne(MemoryRegistry):
    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        for key, value in tags.items():
            if value == "\ud800":
                raise InvalidInput("not Unicode", hint="leave it out")
            super().set_tags(name, version, tags={key: value}, reason=reason)


class NormalisesTags(MemoryRegistry):
    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        plain = {unicodedata.normalize("NFC", key): value for key, value in tags.items()}
        super().set_tags(name, version, tags=plain, reason=reason)


class LosesTheOrigin(MemoryRegistry):
    def version_of(self, model: MemoryModel, version: MemoryVersion) -> ModelVersion:
        return msgspec.structs.replace(super().version_of(model, version), origin=None)


class ReadsNumbers(MemoryRegistry):
    """Takes for a version whatever Python takes for a number."""

    def find_version(self, name: str, version: str) -> MemoryVersion:
        number = int(version) if version.strip().isdigit() else version
        return super().find_version(name, str(number))


class SortsVersionsAsText(MemoryRegistry):
    def page(self, items: Sequence[Any], max_results: int, token: str | None, *listing: object) -> Page[Any]:
        if listing[0] == "list_versions":
            items = sorted(items, key=lambda item: item.version, reverse=True)
        return super().page(items, max_results, token, *listing)


class TakesTokensOfOthers(MemoryRegistry):
    def page(self, items: Sequence[Any], max_results: int, token: str | None, *listing: object) -> Page[Any]:
        return super().page(items, max_results, token, "any")


class SilentlyKeepsStages(MemoryRegistry):
    """Sets stages although it says that it cannot."""

    def require(self, feature: Feature) -> None:
        pass


class NumbersWithoutALock(MemoryRegistry):
    """Reads the last number, waits for others, and then counts on."""

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        seen = self.find(spec.name).last_number
        time.sleep(0.01)
        with self.state.lock:
            self.find(spec.name).last_number = seen
            return super().create_version(spec, key=key, reason=reason)
