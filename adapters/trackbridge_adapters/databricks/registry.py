"""Models in a workspace's own registry, and in Unity Catalog, where a model is ``catalog.schema.model``.

===========  ==========================  ========================================================
             workspace                   Unity Catalog
===========  ==========================  ========================================================
aliases      in tags of the model        its own
stages       its own                     in a tag of the version
payload      copied by Databricks        copied by us, as its own clients do: see ``unity_catalog``
===========  ==========================  ========================================================
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

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
from trackbridge.errors import AuthError, NotFound, Rejected, Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge_adapters._mlflow_rest.conversions import key_values
from trackbridge_adapters._mlflow_rest.registry import RestRegistry
from trackbridge_adapters._mlflow_rest.registry_values import aliases_of
from trackbridge_adapters._mlflow_rest.wire import Json
from trackbridge_adapters.databricks.config import ADAPTER
from trackbridge_adapters.databricks.unity_catalog import CatalogRegistry, is_full_name

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

ALIAS = "bridge.alias."
"""Tags of a model of the workspace: the version that an alias points at, and the alias, which may be long."""
_STAGES_IN_USE = frozenset({"Staging", "Production"})


class WorkspaceRegistry(RestRegistry):
    """The workspace's own registry. It has no routes for aliases, and keeps what is in use from deletion."""

    def _model(self, name: str) -> Json:
        return _with_aliases(super()._model(name))

    def _listed_models(self) -> Iterator[Json]:
        return map(_with_aliases, super()._listed_models())

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        super().ensure_model(name, description=description, tags=tags, reason=reason)
        return self.get_model(name)

    def _point_alias(self, name: str, alias: str, version: str) -> None:
        self._set_tag(name, None, _alias_tag(alias), f"{version} {alias}")

    def _delete_alias(self, name: str, alias: str) -> None:
        if alias in aliases_of(self._model(name)):
            self._set_tag(name, None, _alias_tag(alias), None)

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        try:
            self._archive(name, self._version(name, version))
        except NotFound:
            return
        super().delete_version(name, version, reason=reason)

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        for found in list(self._versions(name)):
            self._archive(name, found)
        super().delete_model(name, reason=reason)

    def _archive(self, name: str, version: Json) -> None:
        if version.get("current_stage") in _STAGES_IN_USE:
            self._move_to_stage(name, str(version["version"]), "Archived")


class DatabricksRegistry(WorkspaceRegistry):
    """Both registries.

    Args:
        tracking: Of the workspace.
        artifacts: Of the workspace.
        only_catalog: For ``databricks-uc:``: the workspace's own registry is not used.
        schema: ``catalog.schema`` for models whose name has not three levels; they are in Unity Catalog, too.
    """

    def __init__(
        self,
        tracking: RestTracking,
        artifacts: ArtifactStore | None,
        *,
        only_catalog: bool = False,
        schema: str | None = None,
    ) -> None:
        super().__init__(tracking, artifacts)
        self._catalog = CatalogRegistry(tracking, artifacts, schema=schema)
        self._only_catalog = only_catalog or schema is not None
        self._has_schema = schema is not None

    def _in_catalog(self, name: str) -> bool:
        return self._only_catalog or is_full_name(name)

    def check_name(self, name: str, *, is_mlflow: bool) -> None:
        """Refuse what Unity Catalog cannot hold, where a model of this name would go there."""
        if self._only_catalog and not self._has_schema and not is_full_name(name):
            raise Rejected(
                f"the name {name[:100]!r} has not three levels",
                adapter=ADAPTER,
                hint="name it catalog.schema.model, set the option model_schema, or use databricks: for the "
                "workspace's own registry",
            )
        if self._in_catalog(name):
            self._catalog.check_name(name, is_mlflow=is_mlflow)

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        self.check_name(name, is_mlflow=True)
        ensure = self._catalog.ensure_model if self._in_catalog(name) else super().ensure_model
        return ensure(name, description=description, tags=tags, reason=reason)

    def get_model(self, name: str) -> RegisteredModel:
        return self._catalog.get_model(name) if self._in_catalog(name) else super().get_model(name)

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        create = self._catalog.create_version if self._in_catalog(spec.name) else super().create_version
        return create(spec, key=key, reason=reason)

    def get_version(self, name: str, version: str) -> ModelVersion:
        get = self._catalog.get_version if self._in_catalog(name) else super().get_version
        return get(name, version)

    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        listed = self._catalog.list_versions if self._in_catalog(name) else super().list_versions
        return listed(name, max_results=max_results, token=token)

    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        set_tags = self._catalog.set_tags if self._in_catalog(name) else super().set_tags
        set_tags(name, version, tags=tags, reason=reason)

    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        describe = self._catalog.set_description if self._in_catalog(name) else super().set_description
        describe(name, version, description=description, reason=reason)

    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        set_alias = self._catalog.set_alias if self._in_catalog(name) else super().set_alias
        set_alias(name, alias, version=version, reason=reason)

    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        set_stage = self._catalog.set_stage if self._in_catalog(name) else super().set_stage
        set_stage(name, version, stage=stage, reason=reason)

    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        set_approval = self._catalog.set_approval if self._in_catalog(name) else super().set_approval
        set_approval(name, version, approval=approval, reason=reason)

    def list_changes(
        self, name: str, version: str | None = None, *, max_results: int = 1000, token: str | None = None
    ) -> Page[RegistryChange]:
        return super().list_changes(name, version, max_results=max_results, token=token)

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        delete = self._catalog.delete_version if self._in_catalog(name) else super().delete_version
        delete(name, version, reason=reason)

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        delete = self._catalog.delete_model if self._in_catalog(name) else super().delete_model
        delete(name, reason=reason)

    # Listing: both, in one order.

    def _listed_models(self) -> Iterator[Json]:
        if not self._only_catalog:
            yield from super()._listed_models()
        yield from self._models_of_catalog()

    def _models_of_catalog(self) -> list[Json]:
        try:
            return list(self._catalog.listed_models())
        except (Unsupported, NotFound, Rejected, AuthError):
            if self._only_catalog:
                raise
            return []  # a workspace without a metastore, or without a right to look into it

    def _shown_model(self, found: Json) -> RegisteredModel:
        name = str(found["name"])
        if not self._in_catalog(name):
            return super()._shown_model(found)
        try:
            return self._catalog.get_model(name)  # the list has no tags and aliases
        except (NotFound, AuthError):  # gone meanwhile, or only its name may be seen
            return super()._shown_model(found)


def _alias_tag(alias: str) -> str:
    return ALIAS + hashlib.sha256(alias.encode()).hexdigest()[:32]


def _with_aliases(model: Json) -> Json:
    """Return a model with the aliases that its tags hold."""
    tags = key_values(model.get("tags"))
    pairs = [value.partition(" ") for key, value in tags.items() if key.startswith(ALIAS)]
    aliases = [{"alias": alias, "version": version} for version, _, alias in pairs]
    shown = [{"key": key, "value": value} for key, value in tags.items() if not key.startswith(ALIAS)]
    return {**model, "tags": shown, "aliases": aliases}
