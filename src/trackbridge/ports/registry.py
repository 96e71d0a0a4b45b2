"""Where registered models and their versions live."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from trackbridge.domain.models import (
    NO_REASON,
    Approval,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
    RegistryChange,
)
from trackbridge.domain.paging import Page
from trackbridge.ports.capabilities import Feature, needs


class ModelRegistry(Protocol):
    """Named models with versions. Same rules as for TrackingStore: one attempt, repeatable writes.

    Versions are numbered from 1 by the registry, in order of creation; a number is never given twice, also
    not after deletion of the version. A write that changes nothing (the tag has the value already) is no
    change and leaves no trace in the history. ``reason`` says who and why; where the registry keeps a history
    it is kept.
    """

    # Required.

    @abstractmethod
    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        """Find the model of this name or create it. One that exists keeps its description and tags.

        Raises:
            Rejected: The registry cannot hold the name.
        """
        ...

    @abstractmethod
    def get_model(self, name: str) -> RegisteredModel:
        """Return a model with its aliases and tags.

        Raises:
            NotFound: There is no model of this name.
        """
        ...

    @abstractmethod
    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        """Register a version. Called again with the same key it returns the first result as it stands now.

        The key holds for the model's name: another model may use it for another version.

        Raises:
            NotFound: There is no model of this name, or nothing at ``spec.source``, or the version that the
                key stands for was deleted.
            Conflict: The key was used for another source or digest.
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
        """List the registered models in order of name (by code point).

        Raises:
            InvalidInput: ``token`` was not given out by this listing, or ``max_results`` is not positive.
        """
        ...

    @abstractmethod
    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        """List the versions of a model, newest first. An unknown model has none.

        Raises:
            InvalidInput: ``token`` was not given out by this listing, or ``max_results`` is not positive.
        """
        ...

    @abstractmethod
    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        """Set tags of a version, or of the model itself (None), all of them or none.

        Whoever reads meanwhile sees all or none, too, where ``registry.atomic_tags`` is declared.

        A tag set to None is deleted; deleting an absent one succeeds.

        Raises:
            NotFound: There is no such model or version.
        """
        ...

    # Optional.

    @needs(Feature.REGISTRY_DESCRIPTION)
    @abstractmethod
    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        """Replace the description of a version, or of the model itself (None).

        Raises:
            NotFound: There is no such model or version.
        """
        ...

    @needs(Feature.REGISTRY_ALIAS)
    @abstractmethod
    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        """Point an alias at a version, away from any other; None removes it, an absent one too.

        Aliases are checked by ``domain.model_references.checked_alias`` before they reach a registry.

        Raises:
            NotFound: There is no such version.
        """
        ...

    @needs(Feature.REGISTRY_STAGE)
    @abstractmethod
    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        """Set the stage: None, Staging, Production or Archived. Several versions may share one.

        Raises:
            NotFound: There is no such version.
            Rejected: The stage is not one of the four.
        """
        ...

    @needs(Feature.REGISTRY_APPROVAL)
    @abstractmethod
    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        """Approve or reject a version for deployment.

        Raises:
            NotFound: There is no such version.
        """
        ...

    @needs(Feature.REGISTRY_HISTORY)
    @abstractmethod
    def list_changes(
        self, name: str, version: str | None = None, *, max_results: int = 1000, token: str | None = None
    ) -> Page[RegistryChange]:
        """List the changes of a model with all its versions, or of one version, newest first.

        What was deleted keeps its history. An alias that moves is a change of the version that it comes to,
        and of the one that it leaves. An unknown model has none.
        """
        ...

    @needs(Feature.REGISTRY_DELETE)
    @abstractmethod
    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        """Delete a version and the aliases that point at it. Deleting an absent one succeeds.

        The payload stays where it is.
        """
        ...

    @needs(Feature.REGISTRY_DELETE)
    @abstractmethod
    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        """Delete a model with all its versions. Deleting an absent one succeeds.

        A model that is created again under the name goes on with the next number, and the keys of its
        versions stay taken, where ``registry.numbers_kept`` is declared.
        """
        ...


@runtime_checkable
class NamingRegistry(Protocol):
    """What a registry has beside its port when it knows names that it cannot hold, without asking anybody."""

    @abstractmethod
    def check_name(self, name: str, *, is_mlflow: bool) -> None:
        """Return unless versions of this name are known to be refused.

        Args:
            name: Of the model.
            is_mlflow: Whether its files are in the MLmodel format.

        Raises:
            Rejected: The registry cannot hold the name.
        """
        ...


@runtime_checkable
class FileKeepingRegistry(Protocol):
    """What a registry has beside its port when it keeps the files of its versions itself."""

    @abstractmethod
    def address_of(self, name: str, version: str) -> str:
        """Return where the files of a version lie, which its own artifact store reads; nobody is asked."""
        ...


@runtime_checkable
class SourceCheckingRegistry(Protocol):
    """What a registry has beside its port when it can say of sources that it takes none, asking nobody."""

    @abstractmethod
    def check_source(self, source: str) -> None:
        """Return unless versions from this source are known to be refused; nobody is asked.

        Raises:
            Rejected: The registry takes no such sources.
            NotFound: It cannot reach them.
            ConfigError: They are of a place that it cannot read.
        """
        ...
