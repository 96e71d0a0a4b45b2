"""mlflow's model registry on our registry port."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore

from trackbridge.api.client import Client
from trackbridge.api.model_results import ModelVersion
from trackbridge.api.registration import find_payload, local_path_of
from trackbridge.delivery.registrations import registration_key
from trackbridge.domain.artifacts import artifact_uri, split_artifact_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.model_references import RunReference, parse_model_reference
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.mlflow_plugin import entities, logged_models, model_tags, registered_files
from trackbridge.mlflow_plugin.binding import Binding, binding_for, is_ours
from trackbridge.mlflow_plugin.entities import TAG_MODEL_ID
from trackbridge.mlflow_plugin.errors import NotHere, completes, translates
from trackbridge.ports.streams import AddressedArtifacts

# mlflow asks for what is no prompt with each search; there are none here.
_NO_PROMPTS = re.compile(r"(?:\s+AND\s+)?tags?\.`mlflow\.prompt\.is_prompt` != 'true'\s*$", re.IGNORECASE)


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
            _without_prompts(filter_string), max_results or 100, order_by, page_token
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
        texts = {tag.key: str(tag.value) for tag in tags or ()}
        address, model_id = self._address(source, model_id)
        if model_id is not None:
            texts[TAG_MODEL_ID] = model_id
        client = self.client
        client.models.drained().get_model(name)
        if local_path_of(address) is not None:
            client._check_path(_path(address), name)
            address = client._log_path(_path(address), name, run_id)
        payload = find_payload(address, client.reader, client.models)
        spec = ModelVersionSpec(
            name=name,
            source=payload.source,
            digest=payload.digest,
            run_id=run_id or payload.run_id,
            origin=payload.origin,
            description=description or "",
            tags=texts,
            datasets=payload.datasets,
        )
        key = f"{registration_key(payload.source, payload.digest)}:{mint_id()}"
        version = client.models.port.create_version(spec, key=key, reason=client.models.reason())
        client._keep_files(address, payload)
        return entities.model_version(ModelVersion.of(version))

    def _address(self, source: str, model_id: str | None) -> tuple[str, str | None]:
        """Return our address of what mlflow names, and the id of the logged model that it is."""
        name = source.removeprefix("models:").strip("/")
        if source.startswith("models:") and "/" not in name and "@" not in name:
            run_id = logged_models.run_id_of(name)
            summary = model_tags.summaries(self._tags_of(run_id)).get(name)
            if summary is None:
                raise logged_models.no_model(name)
            return artifact_uri(run_id, summary.path), name
        place = logged_models.split_location(source) or split_artifact_uri(source)
        if place is None and source.startswith("runs:"):
            reference = parse_model_reference(source)
            assert isinstance(reference, RunReference)  # by its scheme
            path = model_tags.newest_path(self._tags_of(reference.run_id), reference.path)
            place = (reference.run_id, path)
        if place is None:
            return source, model_id
        known = model_tags.summaries(self._tags_of(place[0]))
        of_path = next((known_id for known_id, found in known.items() if found.path == place[1]), None)
        return artifact_uri(*place), model_id or of_path

    def _tags_of(self, run_id: str) -> dict[str, str]:
        return self.client.get_run(run_id).data.tags

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
            _without_prompts(filter_string), max_results or 10_000, order_by, page_token
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


def _path(address: str) -> Any:
    path = local_path_of(address)
    assert path is not None  # the caller has seen to it
    return path


def _without_prompts(filter_string: str | None) -> str:
    return _NO_PROMPTS.sub("", filter_string or "").strip()
