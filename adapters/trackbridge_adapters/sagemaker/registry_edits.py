"""Changes of a model's record: each is made, dated and noted in the history in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trackbridge.domain.models import Approval, ModelVersionSpec
from trackbridge_adapters.sagemaker.registry_records import Change, ModelRecord, VersionRecord, version_record

NATIVE_USER = "sagemaker"
"""Who changed something there, where SageMaker does not tell."""


@dataclass(frozen=True, slots=True)
class Edit:
    """The changes that one call makes: who, why, and when (``now`` in ms).

    Times of a history never go back, whatever the clocks of those who write.
    """

    record: ModelRecord
    user: str
    why: str
    now: int

    def create_model(self, description: str, tags: Mapping[str, str], group_created: int) -> None:
        """Fill the record of a model that is new, or new again."""
        record = self.record
        record.is_deleted, record.group_created = False, group_created
        record.description, record.tags, record.aliases = description, dict(tags), {}
        self._note(None, "created", None, record.name)
        record.created = record.changed

    def create_version(self, number: int, package: str, spec: ModelVersionSpec, key: str) -> None:
        """Add a version."""
        version = version_record(spec, key, package=package, user=self.user)
        self.record.versions[number] = version
        self._note(number, "created", None, spec.source)
        version.created = version.changed

    def set_tags(self, number: int | None, tags: Mapping[str, str | None]) -> None:
        """Set and delete tags of a version or of the model."""
        held = self._place(number).tags
        for key, value in tags.items():
            before = held.get(key)
            if before == value:
                continue
            if value is None:
                del held[key]
            else:
                held[key] = value
            self._note(number, f"tag:{key}", before, value)

    def describe(self, number: int | None, description: str) -> None:
        """Replace the description of a version or of the model."""
        place = self._place(number)
        if place.description != description:
            before, place.description = place.description, description
            self._note(number, "description", before or None, description or None)

    def point(self, alias: str, number: int | None) -> None:
        """Point an alias at a version, or (None) remove it."""
        before = self.record.aliases.pop(alias, None)
        if number is not None:
            self.record.aliases[alias] = number
        if before == number:
            return
        for concerned in (before, number):
            if concerned is not None:
                self._note(concerned, f"alias:{alias}", _text(before), _text(number))

    def set_stage(self, number: int, stage: str) -> None:
        """Note the stage that a version has now."""
        version = self.record.versions[number]
        if version.stage != stage:
            before, version.stage = version.stage, stage
            self._note(number, "stage", before, stage)

    def set_approval(self, number: int, approval: Approval) -> None:
        """Note the approval that a version has now."""
        version = self.record.versions[number]
        if version.approval is not approval:
            before, version.approval = version.approval, approval
            self._note(number, "approval", before.value, approval.value)

    def delete_version(self, number: int) -> None:
        """Delete a version, and the aliases that point at it."""
        version = self.record.versions[number]
        for alias in sorted(alias for alias, place in self.record.aliases.items() if place == number):
            self.point(alias, None)
        self._note(number, "deleted", version.source, None)
        self.record.versions[number] = VersionRecord(
            package=version.package,
            key=version.key,
            source=version.source,
            digest=version.digest,
            is_deleted=True,
        )

    def delete_model(self) -> None:
        """Delete the model with all its versions."""
        for number in sorted(self.record.living()):
            self.delete_version(number)
        self.record.is_deleted = True
        self.record.description, self.record.tags, self.record.aliases = "", {}, {}
        self._note(None, "deleted", self.record.name, None)

    def _place(self, number: int | None) -> ModelRecord | VersionRecord:
        return self.record if number is None else self.record.versions[number]

    def _note(self, number: int | None, what: str, before: str | None, after: str | None) -> None:
        """Add a change to the history, and date what it changed."""
        record = self.record
        record.sequence += 1
        record.changed = max(self.now, record.changed)
        record.changes.append(
            Change(
                sequence=record.sequence,
                version=number,
                what=what,
                before=before,
                after=after,
                user=self.user,
                time=record.changed,
                why=self.why,
            )
        )
        if number is not None:
            record.versions[number].changed = record.changed


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
