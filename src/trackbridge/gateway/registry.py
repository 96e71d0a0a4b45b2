"""The model registry of mlflow's REST API on our registry port. A call returns when that has it done."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from msgspec import field
from msgspec.structs import replace

from trackbridge.api.model_results import ModelVersion, RegisteredModel
from trackbridge.api.model_versions import create_version, without_prompts
from trackbridge.domain.runs import RESERVED_TAG_PREFIX
from trackbridge.errors import NotFound
from trackbridge.gateway.entities import Setting
from trackbridge.gateway.errors import Refused, absent, invalid, missing
from trackbridge.gateway.logged_models import note_version
from trackbridge.gateway.model_addresses import download_uri, our_source, told_source
from trackbridge.gateway.names import checked_tag, too_long
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.wire import EMPTY, Answer, Empty, Request

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

MODELS_PER_PAGE = 100
MODELS_PER_PAGE_MAX = 1_000
MODELS_AT_ONCE = 8
"""Of a page, the versions of so many models are read at once: registries tell those of one model a call."""
VERSIONS_PER_PAGE_MAX = 200_000
TAG_VALUE_CHARS_MAX = 100_000
TAG_PROMPT = "mlflow.prompt.is_prompt"
_TIMESTAMP = re.compile(r"^\s*timestamp\b")


# What is asked.


class Named(Request):
    """A registered model by its name."""

    name: str | None = None
    required = ("name",)


class CreateModel(Request):
    """A registered model to be."""

    name: str | None = None
    tags: list[Setting] = field(default_factory=list)
    description: str | None = None
    required = ("name",)


class RenameModel(Request):
    """Another name for a registered model."""

    name: str | None = None
    new_name: str | None = None
    required = ("name", "new_name")


class UpdateModel(Request):
    """Another description of a registered model."""

    name: str | None = None
    description: str | None = None
    required = ("name",)


class Search(Request):
    """A search of models or of versions."""

    filter: str | None = None
    max_results: int | None = None
    order_by: list[str] = field(default_factory=list)
    page_token: str | None = None


class LatestVersions(Request):
    """The newest version of each stage."""

    name: str | None = None
    stages: list[str] = field(default_factory=list)
    required = ("name",)


class ModelTag(Request):
    """A tag of a registered model."""

    name: str | None = None
    key: str | None = None
    value: str | None = None
    required = ("name", "key")


class Alias(Request):
    """An alias by its name."""

    name: str | None = None
    alias: str | None = None
    required = ("name", "alias")


class SetAlias(Request):
    """An alias and the version that it is to point at."""

    name: str | None = None
    alias: str | None = None
    version: str | None = None
    required = ("name", "alias", "version")


class CreateVersion(Request):
    """A version to be."""

    name: str | None = None
    source: str | None = None
    run_id: str | None = None
    tags: list[Setting] = field(default_factory=list)
    run_link: str | None = None
    description: str | None = None
    model_id: str | None = None
    required = ("name", "source")


class Numbered(Request):
    """A version by its number."""

    name: str | None = None
    version: str | None = None
    required = ("name", "version")


class UpdateVersion(Request):
    """Another description of a version."""

    name: str | None = None
    version: str | None = None
    description: str | None = None
    required = ("name", "version")


class TransitionStage(Request):
    """Another stage of a version."""

    name: str | None = None
    version: str | None = None
    stage: str | None = None
    archive_existing_versions: bool | None = None
    required = ("name", "version", "stage")


class VersionTag(Request):
    """A tag of a version."""

    name: str | None = None
    version: str | None = None
    key: str | None = None
    value: str | None = None
    required = ("name", "version", "key")


# What is answered.


class VersionBody(Answer):
    """A version, in the fields that mlflow's server sets."""

    name: str | None = None
    version: str | None = None
    creation_timestamp: int | None = None
    last_updated_timestamp: int | None = None
    current_stage: str | None = None
    description: str | None = None
    source: str | None = None
    run_id: str | None = None
    status: str | None = None
    tags: list[Setting] = field(default_factory=list)
    run_link: str | None = None
    aliases: list[str] = field(default_factory=list)


class AliasBody(Answer):
    """An alias and the version that it points at."""

    alias: str | None = None
    version: str | None = None


class ModelBody(Answer):
    """A registered model with the newest version of each stage."""

    name: str | None = None
    creation_timestamp: int | None = None
    last_updated_timestamp: int | None = None
    description: str | None = None
    latest_versions: list[VersionBody] = field(default_factory=list)
    tags: list[Setting] = field(default_factory=list)
    aliases: list[AliasBody] = field(default_factory=list)


class ModelAnswer(Answer):
    """One model."""

    registered_model: ModelBody | None = None


class ModelsAnswer(Answer):
    """A page of models."""

    registered_models: list[ModelBody] = field(default_factory=list)
    next_page_token: str | None = None


class VersionAnswer(Answer):
    """One version."""

    model_version: VersionBody | None = None


class VersionsAnswer(Answer):
    """A page of versions."""

    model_versions: list[VersionBody] = field(default_factory=list)
    next_page_token: str | None = None


class UriAnswer(Answer):
    """Where files are."""

    artifact_uri: str | None = None


def version_body(gateway: Gateway, found: ModelVersion) -> VersionBody:
    """Return a version as mlflow's clients read it."""
    return VersionBody(
        name=found.name,
        version=found.version,
        creation_timestamp=found.creation_time or 0,
        last_updated_timestamp=found.last_update_time,
        current_stage=found.stage,
        description=found.description,
        source=told_source(gateway, found),
        run_id=found.run_id or "",
        status="READY",
        tags=_told_tags(found.tags),
        run_link="",
        aliases=list(found.aliases),
    )


def model_body(gateway: Gateway, found: RegisteredModel) -> ModelBody:
    """Return a registered model as mlflow's clients read it."""
    latest = gateway.client.get_latest_versions(found.name)
    return ModelBody(
        name=found.name,
        creation_timestamp=found.creation_time,
        last_updated_timestamp=found.last_update_time,
        description=found.description or None,
        latest_versions=[
            replace(version_body(gateway, version), aliases=[])  # told once, below
            for version in latest
        ],
        tags=_told_tags(found.tags),
        aliases=[AliasBody(alias, version) for alias, version in found.aliases.items()],
    )


def _told_tags(tags: dict[str, str]) -> list[Setting]:
    return [Setting(key, value) for key, value in tags.items() if not key.startswith(RESERVED_TAG_PREFIX)]


# Models.


def create_model(gateway: Gateway, request: CreateModel) -> ModelAnswer:
    """Create a model without versions."""
    name, tags = _checked_name(request.name), _texts(request.tags)
    made = gateway.client.create_registered_model(name, tags, request.description)
    return ModelAnswer(model_body(gateway, made))


def get_model(gateway: Gateway, request: Named) -> ModelAnswer:
    """Return a model."""
    return ModelAnswer(model_body(gateway, _model(gateway, request.name)))


def rename_model(gateway: Gateway, request: RenameModel) -> NoReturn:
    """Refuse: not every registry can."""
    _model(gateway, request.name)
    raise Refused(
        "NOT_IMPLEMENTED",
        "a registered model is not renamed through the gateway; copy its versions instead",
    )


def update_model(gateway: Gateway, request: UpdateModel) -> ModelAnswer:
    """Replace the description of a model."""
    found = _model(gateway, request.name)
    gateway.client.update_registered_model(found.name, request.description or "")
    return ModelAnswer(model_body(gateway, gateway.client.get_registered_model(found.name)))


def delete_model(gateway: Gateway, request: Named) -> Empty:
    """Delete a model with all its versions."""
    gateway.client.delete_registered_model(_model(gateway, request.name).name)
    return EMPTY


def search_models(gateway: Gateway, request: Search) -> ModelsAnswer:
    """Return the models that fulfil a filter, a page of them."""
    if request.max_results == 0:  # mlflow's server takes that, of models but not of versions
        return ModelsAnswer(next_page_token=request.page_token or "0")
    count = _page_size(request.max_results, MODELS_PER_PAGE, MODELS_PER_PAGE_MAX)
    found = gateway.client.search_registered_models(
        without_prompts(request.filter), count, _model_order(request.order_by), request.page_token or None
    )
    with ThreadPoolExecutor(MODELS_AT_ONCE) as pool:
        return ModelsAnswer(list(pool.map(partial(model_body, gateway), found)), found.token)


def _model_order(columns: list[str]) -> list[str]:
    """Return an order with our name of what mlflow calls ``timestamp``."""
    return [_TIMESTAMP.sub("last_update_time", column) for column in columns]


def latest_versions(gateway: Gateway, request: LatestVersions) -> VersionsAnswer:
    """Return the newest version of each stage."""
    name = _model(gateway, request.name).name
    found = gateway.client.get_latest_versions(name, request.stages or None)
    return VersionsAnswer([version_body(gateway, version) for version in found])


def set_model_tag(gateway: Gateway, request: ModelTag) -> Empty:
    """Set a tag of a model."""
    name, key = _model(gateway, request.name).name, checked_tag(str(request.key))
    gateway.client.set_registered_model_tag(name, key, _checked_value(request.value))
    return EMPTY


def delete_model_tag(gateway: Gateway, request: ModelTag) -> Empty:
    """Delete a tag of a model."""
    name, key = _model(gateway, request.name).name, checked_tag(str(request.key))
    gateway.client.delete_registered_model_tag(name, key)
    return EMPTY


def set_alias(gateway: Gateway, request: SetAlias) -> Empty:
    """Point an alias at a version."""
    found = _version(gateway, request.name, request.version)
    gateway.client.set_registered_model_alias(found.name, str(request.alias), found.version)
    return EMPTY


def delete_alias(gateway: Gateway, request: Alias) -> Empty:
    """Take an alias away."""
    gateway.client.delete_registered_model_alias(_model(gateway, request.name).name, str(request.alias))
    return EMPTY


def version_by_alias(gateway: Gateway, request: Alias) -> VersionAnswer:
    """Return the version that an alias points at."""
    model, alias = _model(gateway, request.name), str(request.alias)
    if alias.lower() == "latest":
        try:
            found = gateway.client.get_model_version_by_alias(model.name, "latest")
        except NotFound as error:
            raise absent(f"Latest version not found for model {model.name}.") from error
        return VersionAnswer(version_body(gateway, found))
    if alias not in model.aliases:
        raise invalid(f"Registered model alias {alias} not found.")
    return get_version(gateway, Numbered(name=model.name, version=model.aliases[alias]))


# Versions.


def create_model_version(gateway: Gateway, request: CreateVersion) -> VersionAnswer:
    """Register what lies at an address."""
    name, tags = _model(gateway, request.name).name, _texts(request.tags)
    source = our_source(gateway, str(request.source), request.run_id or None, request.model_id or None)
    version = create_version(
        gateway.client,
        name,
        source,
        run_id=request.run_id or None,
        tags=tags,
        description=request.description or "",
        model_id=request.model_id or None,
        tags_of=gateway.documents.tags_of,
    )
    if source.startswith("models:/m-"):
        note_version(gateway, source.removeprefix("models:/"), version.name, version.version)
    return VersionAnswer(version_body(gateway, version))


def get_version(gateway: Gateway, request: Numbered) -> VersionAnswer:
    """Return a version."""
    return VersionAnswer(version_body(gateway, _version(gateway, request.name, request.version)))


def update_version(gateway: Gateway, request: UpdateVersion) -> VersionAnswer:
    """Replace the description of a version."""
    found = _version(gateway, request.name, request.version)
    changed = gateway.client.update_model_version(found.name, found.version, request.description)
    return VersionAnswer(version_body(gateway, changed))


def transition_stage(gateway: Gateway, request: TransitionStage) -> VersionAnswer:
    """Set the stage of a version."""
    found = _version(gateway, request.name, request.version)
    changed = gateway.client.transition_model_version_stage(
        found.name, found.version, str(request.stage), bool(request.archive_existing_versions)
    )
    return VersionAnswer(version_body(gateway, changed))


def delete_version(gateway: Gateway, request: Numbered) -> Empty:
    """Delete a version and its aliases."""
    found = _version(gateway, request.name, request.version)
    gateway.client.delete_model_version(found.name, found.version)
    return EMPTY


def version_download_uri(gateway: Gateway, request: Numbered) -> UriAnswer:
    """Return where the files of a version are."""
    return UriAnswer(download_uri(gateway, _version(gateway, request.name, request.version)))


def search_versions(gateway: Gateway, request: Search) -> VersionsAnswer:
    """Return the versions that fulfil a filter, a page of them."""
    count = _page_size(request.max_results, VERSIONS_PER_PAGE_MAX, VERSIONS_PER_PAGE_MAX)
    found = gateway.client.search_model_versions(
        without_prompts(request.filter), count, request.order_by, request.page_token or None
    )
    return VersionsAnswer([version_body(gateway, version) for version in found], found.token)


def set_version_tag(gateway: Gateway, request: VersionTag) -> Empty:
    """Set a tag of a version."""
    found, key = _version(gateway, request.name, request.version), checked_tag(str(request.key))
    gateway.client.set_model_version_tag(found.name, found.version, key, _checked_value(request.value))
    return EMPTY


def delete_version_tag(gateway: Gateway, request: VersionTag) -> Empty:
    """Delete a tag of a version."""
    found, key = _version(gateway, request.name, request.version), checked_tag(str(request.key))
    gateway.client.delete_model_version_tag(found.name, found.version, key)
    return EMPTY


# What the handlers share.


def _checked_name(name: str | None) -> str:
    """Return a name that mlflow takes, too; what our registries do not take they refuse themselves."""
    if name is None or not name.strip():
        raise missing("name")
    if "/" in name or ":" in name:
        raise invalid(f"Invalid model name '{name}'. Names cannot contain '/' or ':'.")
    if name in (".", ".."):
        raise invalid(f"Invalid model name '{name}'. It must not resolve to another name as a file.")
    return name


def _model(gateway: Gateway, name: str | None) -> RegisteredModel:
    try:
        return gateway.client.get_registered_model(_checked_name(name))
    except NotFound as error:
        raise absent(f"Registered Model with name={name} not found") from error


def _version(gateway: Gateway, name: str | None, version: str | None) -> ModelVersion:
    try:
        return gateway.client.get_model_version(_checked_name(name), str(version))
    except NotFound as error:
        if not str(version).isdecimal():  # some registries number otherwise
            raise invalid(f"Parameter 'version' must be an integer, got '{version}'.") from error
        raise absent(f"Model Version (name={name}, version={version}) not found") from error


def _texts(tags: list[Setting]) -> dict[str, str]:
    texts = {checked_tag(tag.key or ""): _checked_value(tag.value) for tag in tags}
    if texts.get(TAG_PROMPT, "").lower() == "true":
        raise Refused("NOT_IMPLEMENTED", "prompts are not kept by the gateway's registry")
    return texts


def _checked_value(value: str | None) -> str:
    if value is not None and len(value) > TAG_VALUE_CHARS_MAX:
        raise too_long("value", TAG_VALUE_CHARS_MAX)
    return value or ""


def _page_size(asked: int | None, default: int, most: int) -> int:
    count = default if asked is None else asked
    if count > most:
        raise invalid(
            f"Invalid value {count} for parameter 'max_results' supplied: It must be at most {most}, "
            f"but got value {count}"
        )
    if count < 1:
        raise invalid(f"Invalid value for max_results. It must be a positive integer, but got {count}")
    return count


_READ, _WRITE = Scope.READ, Scope.WRITE
_MODELS, _VERSIONS = "registered-models/", "model-versions/"

ROUTES = (
    Route("POST", _MODELS + "create", create_model, CreateModel, _WRITE),
    Route("POST", _MODELS + "rename", rename_model, RenameModel, _WRITE),
    Route("PATCH", _MODELS + "update", update_model, UpdateModel, _WRITE),
    Route("DELETE", _MODELS + "delete", delete_model, Named, _WRITE),
    Route("GET", _MODELS + "get", get_model, Named, _READ),
    Route("GET", _MODELS + "search", search_models, Search, _READ),
    Route("GET", _MODELS + "get-latest-versions", latest_versions, LatestVersions, _READ),
    Route("POST", _MODELS + "get-latest-versions", latest_versions, LatestVersions, _READ),
    Route("POST", _MODELS + "set-tag", set_model_tag, ModelTag, _WRITE),
    Route("DELETE", _MODELS + "delete-tag", delete_model_tag, ModelTag, _WRITE),
    Route("POST", _MODELS + "alias", set_alias, SetAlias, _WRITE),
    Route("DELETE", _MODELS + "alias", delete_alias, Alias, _WRITE),
    Route("GET", _MODELS + "alias", version_by_alias, Alias, _READ),
    Route("POST", _VERSIONS + "create", create_model_version, CreateVersion, _WRITE),
    Route("PATCH", _VERSIONS + "update", update_version, UpdateVersion, _WRITE),
    Route("POST", _VERSIONS + "transition-stage", transition_stage, TransitionStage, _WRITE),
    Route("DELETE", _VERSIONS + "delete", delete_version, Numbered, _WRITE),
    Route("GET", _VERSIONS + "get", get_version, Numbered, _READ),
    Route("GET", _VERSIONS + "search", search_versions, Search, _READ),
    Route("GET", _VERSIONS + "get-download-uri", version_download_uri, Numbered, _READ),
    Route("POST", _VERSIONS + "set-tag", set_version_tag, VersionTag, _WRITE),
    Route("DELETE", _VERSIONS + "delete-tag", delete_version_tag, VersionTag, _WRITE),
)
