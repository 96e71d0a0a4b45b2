"""Where registered models and their versions live."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol

from trackbridge.domain.models import Approval, ModelVersion, ModelVersionSpec, RegisteredModel
from trackbridge.domain.paging import Page
from trackbridge.ports.capabilities import Feature, needs


class ModelRegistry(Protocol):
    """Named models with versions. Same rules as for TrackingStore: one attempt, repeatable writes."""

    # Required.

    @abstractmethod
    def ensure_model(
        self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> RegisteredModel:
        """Find the model of this name or create it. One that exists keeps its description and tags."""
        ...

    @abstractmethod
    def create_version(self, spec: ModelVersionSpec, *, key: str) -> ModelVersion:
        """Register a version. Called again with the same key it returns the first result.

        Raises:
            NotFound: There is no model of this name, or nothing at ``spec.source``.
            Conflict: The key was used for another spec.
        """
        ...

    @abstractmethod
    def get_version(self, name: str, version: str) -> ModelVersion:
        """Return one version with its aliases, stage, approval and tags.

        Raises:
            NotFound: There is no such version.
        """
        ...

    @abstractmethod
    def list_models(self, *, max_results: int = 1000, token: str | None = None) -> Page[RegisteredModel]:
        """List the registered models in order of name."""
        ...

    @abstractmethod
    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        """List the versions of a model, newest first. An unknown model has none."""
        ...

    @abstractmethod
    def set_tags(self, name: str, version: str, *, tags: Mapping[str, str | None]) -> None:
        """Set tags of a version; None deletes a tag, and deleting an absent one succeeds.

        Raises:
            NotFound: There is no such version.
        """
        ...

    # Optional.

    @needs(Feature.REGISTRY_ALIAS)
    @abstractmethod
    def set_alias(self, name: str, alias: str, *, version: str | None) -> None:
        """Point an alias at a version, away from any other; None removes it.

        Raises:
            NotFound: There is no such version.
        """
        ...

    @needs(Feature.REGISTRY_STAGE)
    @abstractmethod
    def set_stage(self, name: str, version: str, *, stage: str) -> None:
        """Set the stage: None, Staging, Production or Archived. Several versions may share one.

        Raises:
            NotFound: There is no such version.
            Rejected: The stage is not one of the four.
        """
        ...

    @needs(Feature.REGISTRY_APPROVAL)
    @abstractmethod
    def set_approval(self, name: str, version: str, *, approval: Approval, why: str = "") -> None:
        """Approve or reject a version for deployment.

        Raises:
            NotFound: There is no such version.
        """
        ...

    @needs(Feature.REGISTRY_DELETE)
    @abstractmethod
    def delete_version(self, name: str, version: str) -> None:
        """Delete a version; its number is never given again. Deleting an absent one succeeds."""
        ...

    @needs(Feature.REGISTRY_DELETE)
    @abstractmethod
    def delete_model(self, name: str) -> None:
        """Delete a model with all its versions. Deleting an absent one succeeds."""
        ...
