"""Models of a workspace: by MLflow's routes what these hold, by ARM the rest.

================  ======================  ====================================================
                  a model of MLflow's     any other (``custom_model``, ``triton_model``)
================  ======================  ====================================================
registered        by MLflow's route       by ARM; its number is the next that is free
tags, texts       by MLflow's route       by ARM, as a whole, and looked at afterwards
stage             MLflow's own            a tag; ``Archived`` is archived in Azure ML as well
alias             MLflow's own            a tag of the model
deleted           by MLflow's route       by ARM
================  ======================  ====================================================

A payload is a model of MLflow's where there is a file ``MLmodel`` in it. The model itself, with its
description and tags, is MLflow's, so that both kinds are versions of one name. What others have made is
shown whichever way it is found; a version that they gave no number comes behind those that have one.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.models import (
    NO_REASON,
    STAGES,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
)
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import AuthError, ConfigError, NotFound, Rejected
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge_adapters._mlflow_rest.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters._mlflow_rest.conversions import key_values
from trackbridge_adapters._mlflow_rest.registry import RestRegistry
from trackbridge_adapters._mlflow_rest.registry_values import KEY, aliases_of, deleted_key_tag, version_tags
from trackbridge_adapters._mlflow_rest.wire import Json
from trackbridge_adapters.azureml.assets import CUSTOM, MLFLOW, Assets, model_uri_of, number_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.limits import asset_name_problem
from trackbridge_adapters.azureml.model_names import NamingWire, native_name
from trackbridge_adapters.azureml.registry_values import (
    GIVEN,
    STAGE,
    alias_tag,
    is_by_arm,
    model_json,
    version_json,
    with_aliases,
)

if TYPE_CHECKING:
    from pathlib import Path

    from trackbridge_adapters._mlflow_rest.tracking import RestTracking
    from trackbridge_adapters.azureml.model_files import ModelFiles

KIND = "models"
_UNSEEN = "models that are not MLflow's are not seen here"
_ARCHIVED = STAGES[-1]


class AzureUnseenWarning(UserWarning):
    """A listing leaves out what Azure does not let us see."""


class AzureRegistry(RestRegistry):
    """Models and versions of one workspace.

    Args:
        tracking: Of the workspace.
        artifacts: Of the workspace.
        assets: Of the workspace.
        files: Opens the places where payloads lie; None where they are not to be looked at.
    """

    def __init__(
        self,
        tracking: RestTracking,
        artifacts: ArtifactStore | None,
        assets: Assets,
        files: ModelFiles | None = None,
    ) -> None:
        super().__init__(tracking, artifacts)
        self._wire = NamingWire(tracking.service)
        self.assets = assets
        self._files = files

    # Models.

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        native_name(name)
        return super().ensure_model(name, description=description, tags=tags, reason=reason)

    def check_name(self, name: str, *, is_mlflow: bool) -> None:
        """Refuse a name that is too long to be written in one that Azure ML takes."""
        native_name(name)

    def check_source(self, source: str) -> None:
        """Refuse files of runs of another workspace, before there is a model for them."""
        if self._files is not None:
            self._files.check_source(source)

    def _model(self, name: str) -> Json:
        return with_aliases(self._raw_model(name))

    def _listed_models(self) -> Iterator[Json]:
        listed = {native_name(str(item["name"])): item for item in super()._listed_models()}
        others = _seen(self.assets.containers(KIND), set(listed), tells=True)
        yield from map(with_aliases, [*listed.values(), *map(model_json, others)])

    # Versions.

    def _create(self, spec: ModelVersionSpec, key: str, reason: ChangeReason) -> ModelVersion:
        uri, model_type = self._payload(spec)
        is_mlflow = model_type == MLFLOW
        if is_mlflow and not uri.startswith("azureml:") and self._is_numbered_well(spec.name):
            return super()._create(spec, key, reason)
        properties = {
            "modelType": model_type,
            "modelUri": uri,
            "description": spec.description,
            "tags": version_tags(spec, key, reason),
            "isAnonymous": False,
            "isArchived": False,
        }
        found = self.assets.create_next(
            KIND, native_name(spec.name), self._next_number(spec.name), properties
        )
        return self.get_version(spec.name, str(found["name"]))

    def _is_numbered_well(self, name: str) -> bool:
        """Tell whether MLflow's route, which takes no number, can be left to choose one.

        What it chooses when the highest was deleted is not documented, so then it is not asked.
        """
        model = self._raw_model(name)
        return not is_by_arm(model) and GIVEN not in key_values(model.get("tags"))

    def _payload(self, spec: ModelVersionSpec) -> tuple[str, str]:
        """Return the address of a payload as ARM takes it, and its type; what is elsewhere comes here first.

        Raises:
            NotFound: There is nothing at the source.
            Rejected: It is on this machine, or has more files than a version can have.
        """
        if spec.source.startswith("file:"):
            raise Rejected(
                "a version's files cannot stay on this machine",
                adapter=ADAPTER,
                hint="log them to a run and register that, or register what the registry's upload returns",
            )
        brought = None if self._files is None else self._files.brought(spec.source)
        if brought is not None:
            return brought
        found = None if self._files is None else self._files.type_of(spec.source)
        # What cannot be looked at: MLflow's route tells what it takes, of all but Azure ML's own addresses.
        unseen = CUSTOM if spec.source.startswith("azureml:") else MLFLOW
        return self._model_uri(spec), found or unseen

    def _model_uri(self, spec: ModelVersionSpec) -> str:
        place = split_artifact_uri(spec.source)
        if place is None:
            return spec.source
        run_id, path = place
        return f"runs:/{self._tracking.native_run_id(run_id)}/{path}"

    def _next_number(self, name: str) -> int:
        given = key_values(self._raw_model(name).get("tags")).get(GIVEN, "")
        found = [number_of({"name": item["version"]}) or 0 for item in self._versions(name)]
        return max([int(given) if given.isdecimal() else 0, *found]) + 1

    def _raw_model(self, name: str) -> Json:
        """Return a model with the tags that stand for aliases and numbers."""
        try:
            return super()._model(name)
        except NotFound as missing:
            with _looking_beside(missing), contextlib.suppress(Rejected):
                return model_json(self.assets.container(KIND, native_name(name)))
            raise

    def _version(self, name: str, version: str) -> Json:
        try:
            return super()._version(name, version)
        except NotFound as missing:
            if asset_name_problem(version) is not None:
                raise
            with _looking_beside(missing), contextlib.suppress(Rejected):
                return version_json(self.assets.version(KIND, native_name(name), version))
            raise

    def _versions(self, name: str, *, tells: bool = False) -> Iterator[Json]:
        listed: dict[str, Json] = {}
        with contextlib.suppress(NotFound):
            listed = {str(item["version"]): item for item in super()._versions(name)}
        others = map(
            version_json, _seen(self.assets.versions(KIND, native_name(name)), set(listed), tells=tells)
        )
        yield from [*listed.values(), *others]

    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        operation = "registry.list_versions"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=self._adapter, operation=operation)
        listing = listing_of(operation, name)
        place = place_of(token, listing, adapter=self._adapter, operation=operation, types=(int, str))
        try:
            aliases = aliases_of(self._model(name))
        except NotFound:
            return Page(items=())
        found = sorted(self._versions(name, tells=True), key=_order, reverse=True)
        found = [item for item in found if place is None or _order(item) < place]
        more = token_of(listing, _order(found[size - 1])) if len(found) > size else None
        return Page(items=tuple(self._converted(item, aliases) for item in found[:size]), token=more)

    # Changes. What ARM holds is written as a whole, so that all tags of a call are set at once.

    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        if not is_by_arm(self._found(name, version)):
            super().set_tags(name, version, tags=tags, reason=reason)
            return
        self._refuse_texts(name, {key: value or "" for key, value in tags.items()})
        self._change_tags(name, version, tags)

    def _set_tag(self, name: str, version: str | None, key: str, value: str | None) -> None:
        if is_by_arm(self._found(name, version)):
            self._change_tags(name, version, {key: value})
        else:
            super()._set_tag(name, version, key, value)

    def _change_tags(self, name: str, version: str | None, tags: Mapping[str, str | None]) -> None:
        def changed(properties: Json) -> Json | None:
            before = dict(properties.get("tags") or {})
            after = {**before, **tags}
            kept = {key: value for key, value in after.items() if value is not None}
            return None if kept == before else {**properties, "tags": kept}

        self.assets.change(KIND, native_name(name), version, changed)

    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        if not is_by_arm(self._found(name, version)):
            super().set_description(name, version, description=description, reason=reason)
            return
        self._refuse_texts(description, {})

        def changed(properties: Json) -> Json | None:
            if (properties.get("description") or "") == description:
                return None
            return {**properties, "description": description}

        self.assets.change(KIND, native_name(name), version, changed)

    def _move_to_stage(self, name: str, version: str, stage: str) -> None:
        if not is_by_arm(self._version(name, version)):
            super()._move_to_stage(name, version, stage)
            return

        def changed(properties: Json) -> Json | None:
            after = {**properties, "isArchived": stage == _ARCHIVED}
            after["tags"] = {**(properties.get("tags") or {}), STAGE: stage}
            return None if after == properties else after

        self.assets.change(KIND, native_name(name), version, changed)

    def _point_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; of a tag and MLflow's own the tag counts, so that readers see one."""
        if is_by_arm(self._version(name, version)):
            self._set_tag(name, None, alias_tag(alias), f"{version} {alias}")
            return
        super()._point_alias(name, alias, version)
        self._drop_tag(name, alias_tag(alias))

    def _delete_alias(self, name: str, alias: str) -> None:
        model = self._raw_model(name)
        if not is_by_arm(model) and alias in aliases_of(model):
            super()._delete_alias(name, alias)
        self._drop_tag(name, alias_tag(alias))

    def _drop_tag(self, name: str, tag: str) -> None:
        if tag in key_values(self._raw_model(name).get("tags")):
            self._set_tag(name, None, tag, None)

    def archive(self, name: str, version: str | None = None, *, archived: bool = True) -> None:
        """Archive a version, or a model with all its versions (None), as Azure ML's own users see it.

        Raises:
            NotFound: There is no such model or version.
        """
        self.assets.archive(KIND, native_name(name), version, archived=archived)

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        with self._tracking.ids.creating(f"model {name}"):  # nobody is to be given the number meanwhile
            self._delete_version(name, version, reason)

    def _delete_version(self, name: str, version: str, reason: ChangeReason) -> None:
        try:
            found = self._version(name, version)
        except NotFound:
            return
        number = number_of({"name": version})
        if number is not None and number + 1 == self._next_number(name):
            self._set_tag(name, None, GIVEN, version)  # the highest number is not given again
        if is_by_arm(found):
            self._forget(name, found)
            self.assets.delete(KIND, native_name(name), version)
        else:
            super().delete_version(name, version, reason=reason)

    def _forget(self, name: str, found: Json) -> None:
        version = str(found["version"])
        key = key_values(found.get("tags")).get(KEY)
        if key is not None:
            self._set_tag(name, None, deleted_key_tag(key), version)
        for alias, of in aliases_of(self._model(name)).items():
            if of == version:
                self._delete_alias(name, alias)

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        for found in list(self._versions(name)):
            if is_by_arm(found):
                self.assets.delete(KIND, native_name(name), str(found["version"]))
            else:
                with contextlib.suppress(NotFound):
                    super().delete_version(name, str(found["version"]), reason=reason)
        self.assets.delete(KIND, native_name(name))

    def download(self, name: str, version: str, folder: Path) -> Path:
        """Bring the files of any version into a folder, block by block, and return where they are there.

        Raises:
            NotFound: There is no such version, or nothing where its files should be.
            ConfigError: Its files are not in this workspace.
        """
        uri = model_uri_of(self.asset_of(name, version))
        return self._seeing().paths.download(uri, folder)

    def upload(self, folder: Path) -> str:
        """Bring a folder, or a file, of this machine into the workspace's storage; return a version's source.

        Called again after it was interrupted, it goes on; nothing is left out because of a ``.gitignore``.

        Raises:
            NotFound: There is nothing.
            Rejected: There are more files than a version can have, or a name cannot be kept.
        """
        return self._seeing().upload(folder)

    def _seeing(self) -> ModelFiles:
        if self._files is None:
            raise ConfigError("this registry was opened without access to files", adapter=ADAPTER)
        return self._files

    def asset_of(self, name: str, version: str) -> Json:
        """Return a version as ARM has it, for jobs, deployments and registries.

        Raises:
            NotFound: There is no such version.
        """
        self._version(name, version)
        return self.assets.version(KIND, native_name(name), version)


def _seen(items: Iterator[Json], known: set[str], *, tells: bool) -> list[Json]:
    """Return what ARM lists beside what is known; nothing where it does not let us in, with a warning."""
    try:
        return [item for item in items if str(item.get("name")) not in known]
    except NotFound:
        return []
    except AuthError as error:
        # As with a job's token: what is MLflow's is seen all the same, and must not be lost with the rest.
        if tells:
            text = f"{_UNSEEN}: {error.message}. {error.hint or ''}"
            warnings.warn(text, AzureUnseenWarning, stacklevel=2)
        return []


@contextlib.contextmanager
def _looking_beside(missing: NotFound) -> Iterator[None]:
    """Look by ARM for what MLflow's routes do not have; where we may not look, the error says so."""
    try:
        yield
    except NotFound:
        return
    except AuthError as error:
        missing.advise(f"check the name; {_UNSEEN}: {error.message}; {error.hint or ''}")


def _order(found: Json) -> list[Any]:
    version = str(found["version"])
    number = number_of({"name": version})
    if number is not None:
        return [1, number, ""]
    return [0, int(found.get("creation_timestamp") or 0), version]
