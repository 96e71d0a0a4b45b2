"""The registry of models on an MLflow endpoint."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from trackbridge.domain.artifacts import artifact_uri, split_artifact_uri
from trackbridge.domain.models import (
    NO_REASON,
    STAGES,
    Approval,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
    RegistryChange,
)
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import Conflict, NotFound, Rejected, Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry
from trackbridge_adapters._mlflow_rest.capabilities import (
    MODEL_TAG_KEY_CHARS_MAX,
    MODEL_TAG_VALUE_CHARS_MAX,
    PAGE_ITEMS_MAX,
)
from trackbridge_adapters._mlflow_rest.conversions import key_value_list, key_values
from trackbridge_adapters._mlflow_rest.registry_values import (
    APPROVAL,
    DIGEST,
    KEY,
    SOURCE,
    aliases_of,
    deleted_key_tag,
    key_tag,
    model_of,
    refuse_texts,
    version_of,
    version_tags,
)
from trackbridge_adapters._mlflow_rest.wire import Json

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

NAME_CHARS_MAX = 256
LOGGED_MODEL_SOURCE = re.compile(
    r"(?:models:/+|[^?#]*/models/)(?P<model>m-[0-9a-f]{32})(?:(?:/artifacts)?(?:/(?P<path>.+))?)?/?"
)
"""Sources of versions: ``models:/m-…``, or the address of a logged model's files."""
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class RestRegistry(ModelRegistry):
    """Models and versions of one endpoint."""

    tag_key_chars_max = MODEL_TAG_KEY_CHARS_MAX
    tag_value_chars_max = MODEL_TAG_VALUE_CHARS_MAX

    def __init__(self, tracking: RestTracking, artifacts: ArtifactStore | None) -> None:
        self._tracking = tracking
        self._artifacts = artifacts
        self._wire = tracking.wire
        self._adapter = tracking.service.adapter

    # Models.

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        try:
            return self.get_model(name)
        except NotFound:
            pass
        self._refuse_texts(name, tags or {})
        if len(name) > NAME_CHARS_MAX:
            raise Rejected(
                f"the name of a model has {len(name)} characters; the server keeps {NAME_CHARS_MAX}",
                adapter=self._adapter,
                hint="choose a shorter name",
            )
        body = {"name": name, "description": description, "tags": key_value_list(tags or {})}
        try:
            return model_of(self._wire.post("registered-models/create", body)["registered_model"])
        except Rejected:
            try:
                return self.get_model(name)  # somebody else was quicker
            except NotFound:
                pass
            raise

    def get_model(self, name: str) -> RegisteredModel:
        return model_of(self._model(name))

    def _model(self, name: str) -> Json:
        try:
            with self._tracking.negotiation.registry():
                found: Json = self._wire.get("registered-models/get", {"name": name})["registered_model"]
        except (NotFound, Rejected) as error:  # a name that no model can have is "invalid"
            raise NotFound(
                f"there is no model {name[:100]!r}", adapter=self._adapter, hint="see: bridge models list"
            ) from error
        return found

    def list_models(self, *, max_results: int = 1000, token: str | None = None) -> Page[RegisteredModel]:
        operation = "registry.list_models"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=self._adapter, operation=operation)
        listing = listing_of(operation)
        place = place_of(token, listing, adapter=self._adapter, operation=operation, types=(str,))
        found = sorted(self._listed_models(), key=_name)
        found = [item for item in found if place is None or _name(item) > place[0]]
        more = token_of(listing, [_name(found[size - 1])]) if len(found) > size else None
        return Page(items=tuple(map(self._shown_model, found[:size])), token=more)

    def _listed_models(self) -> Iterator[Json]:
        return self._pages("registered-models/search", "registered_models", {})

    def _shown_model(self, found: Json) -> RegisteredModel:
        return model_of(found)

    # Versions.

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        self._refuse_texts(key, spec.tags)
        with self._tracking.ids.creating(f"model {spec.name}"):
            model = self._model(spec.name)
            existing = next((item for item in self._versions(spec.name) if _key(item) == key_tag(key)), None)
            if existing is not None:
                return self._repeated(existing, spec)
            deleted = key_values(model.get("tags")).get(deleted_key_tag(key_tag(key)))
            if deleted:
                raise self._no_version(spec.name, deleted)
            return self._create(spec, key, reason)

    def _create(self, spec: ModelVersionSpec, key: str, reason: ChangeReason) -> ModelVersion:
        source, run = self._native_source(spec)
        body: Json = {
            "name": spec.name,
            "source": source,
            "description": spec.description,
            "tags": key_value_list(version_tags(spec, key, reason)),
        }
        if run is not None:
            body["run_id"] = run
        model = LOGGED_MODEL_SOURCE.fullmatch(source)
        if model is not None and self._has_logged_models():  # the server wants to be told what it can see
            body["model_id"] = model["model"]
        created = self._wire.post("model-versions/create", body)["model_version"]
        return self.get_version(spec.name, str(created["version"]))

    def _repeated(self, existing: Json, spec: ModelVersionSpec) -> ModelVersion:
        tags = key_values(existing.get("tags"))
        if (tags.get(SOURCE), tags.get(DIGEST)) != (spec.source, spec.digest):
            raise Conflict(
                f"the key of version {existing['version']} of {spec.name!r} was used for another payload",
                adapter=self._adapter,
                hint="register the other payload with a key of its own",
            )
        return self.get_version(spec.name, str(existing["version"]))

    def _native_source(self, spec: ModelVersionSpec) -> tuple[str, str | None]:
        """Return the payload's address as MLflow's own clients read it, and the native run.

        Raises:
            NotFound: There is nothing at the source.
        """
        place = split_artifact_uri(spec.source)
        if place is None:
            return spec.source, self._native_run(spec.run_id)
        run_id, path = place
        if is_model_id(run_id) and not path and self._has_logged_models():
            native = self._tracking.logged_models.native_id(run_id)
            return f"models:/{native}", self._native_run(spec.run_id)
        root = self._tracking.artifact_root(run_id)
        if self._artifacts is not None:
            self._artifacts.stat(run_id, path)
        return f"{root.rstrip('/')}/{path}", self._tracking.native_run_id(run_id)

    def _native_run(self, run_id: str | None) -> str | None:
        if run_id is None:
            return None
        try:
            return self._tracking.native_run_id(run_id)
        except NotFound:  # a run of another backend; the tag keeps it
            return None

    def get_version(self, name: str, version: str) -> ModelVersion:
        return self._converted(self._version(name, version), aliases_of(self._model(name)))

    def _version(self, name: str, version: str) -> Json:
        if not _VERSION.fullmatch(version):
            raise self._no_version(name, version)
        try:
            found: Json = self._wire.get("model-versions/get", {"name": name, "version": version})[
                "model_version"
            ]
        except (NotFound, Rejected) as error:
            raise self._no_version(name, version) from error
        return found

    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        operation = "registry.list_versions"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=self._adapter, operation=operation)
        listing = listing_of(operation, name)
        place = place_of(token, listing, adapter=self._adapter, operation=operation, types=(int,))
        try:
            aliases = aliases_of(self._model(name))
        except NotFound:
            return Page(items=())
        found = sorted(self._versions(name), key=_number, reverse=True)
        found = [item for item in found if place is None or _number(item) < place[0]]
        more = token_of(listing, [_number(found[size - 1])]) if len(found) > size else None
        return Page(items=tuple(self._converted(item, aliases) for item in found[:size]), token=more)

    def _versions(self, name: str) -> Iterator[Json]:
        """Yield every version of a model; by name alone, which is all that every server can filter by."""
        if "'" in name and '"' in name:  # no text of the server's language can hold both
            newest = max(map(_number, self._model(name).get("latest_versions") or ()), default=0)
            for version in range(1, newest + 1):
                try:
                    yield self._version(name, str(version))
                except NotFound:
                    continue
            return
        quote = '"' if "'" in name else "'"
        yield from self._pages(
            "model-versions/search", "model_versions", {"filter": f"name = {quote}{name}{quote}"}
        )

    def _converted(self, found: Json, aliases: Mapping[str, str]) -> ModelVersion:
        source = self._source_of(str(found.get("source") or ""))
        native = str(found.get("run_id") or "")
        if not native or SOURCE in key_values(found.get("tags")):
            return version_of(found, aliases=aliases, run_id=None, source=source)
        try:
            run_id = self._tracking.our_run_id(native)
            root = self._tracking.artifact_root(run_id).rstrip("/")
        except NotFound:
            return version_of(found, aliases=aliases, run_id=native, source=source)
        for beginning in (root, f"runs:/{native}"):
            if source.startswith(f"{beginning}/"):
                source = artifact_uri(run_id, source[len(beginning) + 1 :])
        return version_of(found, aliases=aliases, run_id=run_id, source=source)

    def _source_of(self, source: str) -> str:
        """Return where a payload lies, of one that was registered from a logged model by the id of that."""
        place = LOGGED_MODEL_SOURCE.fullmatch(source)
        if place is None or not self._has_logged_models():
            return source
        with contextlib.suppress(Unsupported):
            return artifact_uri(self._tracking.logged_models.our_id(place["model"]), place["path"] or "")
        return source

    def _has_logged_models(self) -> bool:
        return self._tracking.capabilities.supports(Feature.TRACKING_LOGGED_MODELS)

    def _pages(self, route: str, items: str, query: Json) -> Iterator[Json]:
        query = {**query, "max_results": PAGE_ITEMS_MAX}
        while True:
            with self._tracking.negotiation.registry():
                answer = self._wire.get(route, query)
            yield from answer.get(items) or ()
            if not answer.get("next_page_token"):
                return
            query = {**query, "page_token": answer["next_page_token"]}

    # Changes.

    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        current = key_values(self._found(name, version).get("tags"))
        self._refuse_texts(name, {key: value or "" for key, value in tags.items()})
        done: dict[str, str | None] = {}
        try:
            for key, value in tags.items():
                if current.get(key) != value:
                    self._set_tag(name, version, key, value)
                    done[key] = current.get(key)
        except Rejected:
            for key, value in done.items():  # all of them or none
                self._set_tag(name, version, key, value)
            raise

    def _set_tag(self, name: str, version: str | None, key: str, value: str | None) -> None:
        where = {"name": name} if version is None else {"name": name, "version": version}
        routes = "registered-models" if version is None else "model-versions"
        if value is None:
            self._wire.delete(f"{routes}/delete-tag", {**where, "key": key})
        else:
            self._wire.post(f"{routes}/set-tag", {**where, "key": key, "value": value})

    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        if str(self._found(name, version).get("description") or "") == description:
            return
        if version is None:
            self._wire.patch("registered-models/update", {"name": name, "description": description})
        else:
            body = {"name": name, "version": version, "description": description}
            self._wire.patch("model-versions/update", body)

    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        self._require(Feature.REGISTRY_ALIAS, "registry.set_alias")
        if version is not None:
            self._version(name, version)
        if aliases_of(self._model(name)).get(alias) == version:
            return
        if version is None:
            self._delete_alias(name, alias)
        else:
            self._point_alias(name, alias, version)

    def _point_alias(self, name: str, alias: str, version: str) -> None:
        body = {"name": name, "alias": alias, "version": version}
        with self._tracking.negotiation.optional(Feature.REGISTRY_ALIAS):
            self._wire.post("registered-models/alias", body)

    def _delete_alias(self, name: str, alias: str) -> None:
        with self._tracking.negotiation.optional(Feature.REGISTRY_ALIAS):
            self._wire.delete("registered-models/alias", {"name": name, "alias": alias})

    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        self._require(Feature.REGISTRY_STAGE, "registry.set_stage")
        if stage not in STAGES:
            raise Rejected(
                f"{stage[:100]!r} is no stage", adapter=self._adapter, hint=f"one of {', '.join(STAGES)}"
            )
        if str(self._version(name, version).get("current_stage") or "None") == stage:
            return
        self._move_to_stage(name, version, stage)

    def _move_to_stage(self, name: str, version: str, stage: str) -> None:
        body = {"name": name, "version": version, "stage": stage, "archive_existing_versions": False}
        with self._tracking.negotiation.optional(Feature.REGISTRY_STAGE):
            self._wire.post("model-versions/transition-stage", body)

    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        current = key_values(self._version(name, version).get("tags"))
        if current.get(APPROVAL, Approval.PENDING.value) != approval.value:
            self._set_tag(name, version, APPROVAL, approval.value)

    def list_changes(
        self, name: str, version: str | None = None, *, max_results: int = 1000, token: str | None = None
    ) -> Page[RegistryChange]:
        self._require(Feature.REGISTRY_HISTORY, "registry.list_changes")
        return Page(items=())

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        self._require(Feature.REGISTRY_DELETE, "registry.delete_version")
        try:
            found = self._version(name, version)
        except NotFound:
            return
        if _key(found) is not None:
            self._set_tag(name, None, deleted_key_tag(_key(found) or ""), version)
        for alias, of in aliases_of(self._model(name)).items():
            if of == version:
                self._delete_alias(name, alias)
        with contextlib.suppress(NotFound):  # somebody else was quicker
            self._wire.delete("model-versions/delete", {"name": name, "version": version})

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        self._require(Feature.REGISTRY_DELETE, "registry.delete_model")
        try:
            self._model(name)
        except NotFound:
            return
        with contextlib.suppress(NotFound):
            self._wire.delete("registered-models/delete", {"name": name})

    # What is refused.

    def _found(self, name: str, version: str | None) -> Json:
        return self._model(name) if version is None else self._version(name, version)

    def _require(self, feature: Feature, operation: str) -> None:
        self._tracking.capabilities.require(feature, operation=operation)

    def _refuse_texts(self, text: str, tags: Mapping[str, str]) -> None:
        """Refuse what the server would cut or change, before anything is written."""
        refuse_texts(
            text,
            tags,
            adapter=self._adapter,
            key_chars_max=self.tag_key_chars_max,
            value_chars_max=self.tag_value_chars_max,
        )

    def _no_version(self, name: str, version: str) -> NotFound:
        return NotFound(
            f"there is no version {version[:40]!r} of {name[:100]!r}",
            adapter=self._adapter,
            hint="see: bridge models show NAME",
        )


def _name(found: Json) -> str:
    return str(found["name"])


def _number(found: Json) -> int:
    return int(found["version"])


def _key(found: Json) -> str | None:
    return key_values(found.get("tags")).get(KEY)
