"""A registry of models that tells what is changed through it."""

from __future__ import annotations

from typing import Any, cast

from trackbridge.domain.events import (
    MODEL_ALIAS_SET,
    MODEL_APPROVAL_SET,
    MODEL_STAGE_SET,
    MODEL_VERSION_CREATED,
)
from trackbridge.domain.models import NO_REASON, Approval, ChangeReason, ModelVersion, ModelVersionSpec
from trackbridge.events.publishing import publish
from trackbridge.ports.registry import ModelRegistry


def telling(registry: ModelRegistry, uri: str) -> ModelRegistry:
    """Return the registry with its changes published as events, once they are made.

    Args:
        registry: All else of it stays as it is.
        uri: The source of the events: its tracking URI.
    """
    return cast("ModelRegistry", _TellingRegistry(registry, uri))


class _TellingRegistry:
    def __init__(self, registry: ModelRegistry, uri: str) -> None:
        self._registry = registry
        self._uri = uri

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    @property
    def __class__(self) -> type[Any]:
        return self._registry.__class__

    @__class__.setter
    def __class__(self, _: type[Any]) -> None:
        raise TypeError("the class of a registry that tells cannot be changed")

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        """Register a version; the same key again tells it again."""
        made = self._registry.create_version(spec, key=key, reason=reason)
        self._tell(
            MODEL_VERSION_CREATED, made.name, made.version, reason, run_id=made.run_id, digest=made.digest
        )
        return made

    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        """Point an alias at a version, or remove it."""
        self._registry.set_alias(name, alias, version=version, reason=reason)
        self._tell(MODEL_ALIAS_SET, name, version, reason, alias=alias)

    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        """Set the stage."""
        self._registry.set_stage(name, version, stage=stage, reason=reason)
        self._tell(MODEL_STAGE_SET, name, version, reason, stage=stage)

    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        """Approve or reject a version."""
        self._registry.set_approval(name, version, approval=approval, reason=reason)
        self._tell(MODEL_APPROVAL_SET, name, version, reason, approval=approval.value)

    def _tell(
        self, kind: str, name: str, version: str | None, reason: ChangeReason, **details: str | None
    ) -> None:
        subject = f"models:/{name}/{version}" if version else f"models:/{name}"
        data = {"name": name, "version": version, "user": reason.user, "why": reason.why, **details}
        publish(kind, subject=subject, source=self._uri, data=data)
