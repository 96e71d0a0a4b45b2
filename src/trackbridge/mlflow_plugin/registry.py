"""mlflow's model registry on our registry port."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore

from trackbridge.api import logged_models
from trackbridge.api.client import Client
from trackbridge.api.model_results import ModelVersion
from trackbridge.api.model_versions import create_version, without_prompts
from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.mlflow_plugin import entities, registered_files
from trackbridge.mlflow_plugin.binding import Binding, binding_for, is_ours
from trackbridge.mlflow_plugin.errors import NotHere, completes, translates
from trackbridge.ports.streams import AddressedArtifacts


@completes(AbstractStore)
@translates
class BridgeRegistryStore(AbstractStore):  # type: ignore[misc]
    """Registered models behind a ``bridge`` URI. A call returns when the registry has it done."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        self._binding = _binding(store_uri, tracking_uri)

    @property
    def client(self) -> Client:
        """Our client of the runs, whose registry is this one."""
        return self._binding.client

    # Models.

    def create_registered_model(
        self,
        name: str,
        tags: Sequence[Any] | None = None,
        description: str | None = None,
        deployment_job_id: str | None = None,
    ) -> Any:
        """Create a model without versions."""
        made = self.client.create_registered_model(
            name, {tag.key: tag.value for tag in tags or ()}, description
        )
        return entities.registered_model(made, ())

    def update_registered_model(
        self, name: str, description: str, deployment_job_id: str | None = None
    ) -> Any:
        """Replace the description of a model."""
        self.client.get_registered_model(name)
        self.client.update_registered_model(name, description or "")
        return self.get_registered_model(name)

    def rename_registered_model(self, name: str, new_name: str) -> Any:
        """Refuse: not every registry can."""
        raise NotHere("renaming a registered model", "copy its versions: copy_model_version")

    def delete_registered_model(self, name: str) -> None:
        """Delete a model with all its versions."""
        self.client.get_registered_model(name)
        self.client.delete_registered_model(name)

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return the models that fulfil a filter, a page of them."""
        found = self.client.search_registered_models(
            without_prompts(filter_string), max_results or 100, order_by, page_token
        )
        models = [entities.registered_model(model, self._latest(model.name)) for model in found]
        return PagedList(models, found.token)

    def get_registered_model(self, name: str) -> Any:
        """Return a model with its aliases, tags and newest versions."""
        return entities.registered_model(self.client.get_registered_model(name), self._latest(name))

    def get_latest_versions(self, name: str, stages: list[str] | None = None) -> list[Any]:
        """Return the newest version of each stage."""
        found = self.client.get_latest_versions(name, stages or None)
        return [entities.model_version(version) for version in found]

    def _latest(self, name: str) -> list[ModelVersion]:
        return self.client.get_latest_versions(name)

    def set_registered_model_tag(self, name: str, tag: Any) -> None:
        """Set a tag of a model."""
        self.client.set_registered_model_tag(name, tag.key, tag.value)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a tag of a model."""
        self.client.delete_registered_model_tag(name, key)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        self.client.set_registered_model_alias(name, alias, version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""
        self.client.delete_registered_model_alias(name, alias)

    # Versions.

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Sequence[Any] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        local_model_path: str | None = None,
        model_id: str | None = None,
    ) -> Any:
        """Register what lies at an address; as in mlflow, each call makes a version."""
        version = create_version(
            self.client,
            name,
            source,
            run_id=run_id,
            tags={tag.key: str(tag.value) for tag in tags or ()},
            description=description or "",
            model_id=model_id,
        )
        return entities.model_version(version)

    def update_model_version(self, name: str, version: str, description: str | None = None) -> Any:
        """Replace the description of a version."""
        return entities.model_version(self.client.update_model_version(name, version, description))

    def transition_model_version_stage(
        self, name: str, version: str, stage: str, archive_existing_versions: bool
    ) -> Any:
        """Set the stage of a version."""
        found = self.client.transition_model_version_stage(name, version, stage, archive_existing_versions)
        return entities.model_version(found)

    def delete_model_version(self, name: str, version: str) -> None:
        """Delete a version and its aliases."""
        self.client.get_model_version(name, version)
        self.client.delete_model_version(name, version)

    def get_model_version(self, name: str, version: str) -> Any:
        """Return a version."""
        return entities.model_version(self.client.get_model_version(name, version))

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        """Return the address of a version's files: one of ours, where mlflow has no way there of its own."""
        models = self.client.models
        found, artifacts = models.located(models.drained().get_version(name, str(version)))
        place = split_artifact_uri(found.source)
        if place is not None:
            return logged_models.location(*place)
        is_of_backend = isinstance(artifacts, AddressedArtifacts) and artifacts.reads(found.source)
        return registered_files.location(name, found.version) if is_of_backend else found.source

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return the versions that fulfil a filter, a page of them."""
        found = self.client.search_model_versions(
            without_prompts(filter_string), max_results or 10_000, order_by, page_token
        )
        return PagedList([entities.model_version(version) for version in found], found.token)

    def set_model_version_tag(self, name: str, version: str, tag: Any) -> None:
        """Set a tag of a version."""
        self.client.set_model_version_tag(name, version, tag.key, tag.value)

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        """Delete a tag of a version."""
        self.client.delete_model_version_tag(name, version, key)

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        """Return the version that an alias points at."""
        return entities.model_version(self.client.get_model_version_by_alias(name, alias))


def _binding(store_uri: str, tracking_uri: str | None) -> Binding:
    if tracking_uri is None or not is_ours(tracking_uri):
        return binding_for(store_uri)
    return binding_for(tracking_uri, store_uri)
