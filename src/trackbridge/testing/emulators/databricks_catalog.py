"""Models in the Unity Catalog of the Databricks double: the routes below ``/api/2.0/mlflow/unity-catalog``.

The sources are the messages of mlflow's own client (databricks_uc_registry_messages) and Databricks'
documentation (Apply tags to Unity Catalog securable objects; Unity Catalog requirements and limitations). A
version is pending until it is finalized, which needs files of it below ``/Models``. Lists have neither tags
nor aliases. There are no stages.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trackbridge.testing.emulators.databricks_workspace import refused
from trackbridge.testing.emulators.front import Result, json_result

CATALOGS = {"main": ("default", "ml")}
"""The catalogs that exist, each with its schemas."""
NAME_CHARS_MAX = 255
TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, TAGS_MAX = 255, 1000, 50
MODELS = "/Models/"
READY, PENDING = "READY", "PENDING_REGISTRATION"
_FILTER = re.compile(r"name\s*=\s*'([^']*)'")
_LEVEL = re.compile(r"[^./\x00-\x20\x7f]{1,255}")
_ALIAS = re.compile(r"[\w\-]{1,255}")
_VERSION_LIKE = re.compile(r"v?\d+", re.IGNORECASE)

Json = dict[str, Any]


@dataclass(slots=True)
class _Model:
    fields: Json
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    versions: dict[str, _Version] = field(default_factory=dict)
    last: int = 0


@dataclass(slots=True)
class _Version:
    fields: Json
    tags: dict[str, str] = field(default_factory=dict)


class _RefusalError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = refused(status, code, message)


class Catalog:
    """Models by name.

    Args:
        now_s: The double's clock.
        files_below: Returns the paths of the files below a folder of ``/Models``.
    """

    def __init__(self, now_s: Callable[[], float], files_below: Callable[[str], list[str]]) -> None:
        self.takes_files = True
        """False for a workspace whose clients write versions into the cloud's storage themselves."""
        self._now_s = now_s
        self._files_below = files_below
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()
        self._routes: dict[tuple[str, str], Callable[[str, Json], Json]] = {
            ("POST", "registered-models/create"): self._create_model,
            ("GET", "registered-models/get"): lambda user, asked: _model(self._found(asked)),
            ("PATCH", "registered-models/update"): self._update_model,
            ("DELETE", "registered-models/delete"): self._delete_model,
            ("GET", "registered-models/search"): self._search_models,
            ("POST", "registered-models/set-tag"): self._set_tag,
            ("DELETE", "registered-models/delete-tag"): self._delete_tag,
            ("POST", "registered-models/alias"): self._set_alias,
            ("DELETE", "registered-models/alias"): self._delete_alias,
            ("GET", "registered-models/alias"): self._by_alias,
            ("POST", "model-versions/create"): self._create_version,
            ("GET", "model-versions/get"): lambda user, asked: self._version(asked),
            ("PATCH", "model-versions/update"): self._update_version,
            ("DELETE", "model-versions/delete"): self._delete_version,
            ("GET", "model-versions/search"): self._search_versions,
            ("POST", "model-versions/set-tag"): self._set_tag,
            ("DELETE", "model-versions/delete-tag"): self._delete_tag,
            ("POST", "model-versions/finalize"): self._finalize,
        }

    def clear(self) -> None:
        """Forget every model."""
        with self._lock:
            self._models.clear()

    def answer(self, method: str, route: str, user: str, request: Json) -> Result:
        """Answer one route, for example ``model-versions/get``."""
        if route == "registered-models:is-databricks-sdk-models-artifact-repository-enabled":
            flag = {"is_databricks_sdk_models_artifact_repository_enabled": self.takes_files}
            return json_result(200, flag)
        answer = self._routes.get((method, route))
        if answer is None:
            return refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} /unity-catalog/{route}'")
        try:
            with self._lock:
                return json_result(200, answer(user, request))
        except _RefusalError as refusal:
            return refusal.answer

    def takes(self, path: str) -> bool:
        """Tell whether a file may be written: below the folder of a version that is pending."""
        parts = path.removeprefix(MODELS).split("/")
        model = self._models.get(".".join(parts[:3]))
        version = model.versions.get(parts[3]) if model is not None and len(parts) > 4 else None
        return self.takes_files and version is not None and version.fields["status"] == PENDING

    # Models.

    def _found(self, asked: Json) -> _Model:
        name = str(asked.get("name") or "").lower()
        model = self._models.get(name)
        if model is None:
            self._check_name(name)
            raise _RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model '{name}' does not exist.")
        return model

    def _check_name(self, name: str) -> None:
        levels = name.split(".")
        if len(levels) != 3 or not all(map(_LEVEL.fullmatch, levels)):
            message = f"'{name}' is not a valid name for a registered model in Unity Catalog"
            raise _RefusalError(400, "INVALID_PARAMETER_VALUE", message)
        catalog, schema, _ = levels
        if catalog not in CATALOGS:
            raise _RefusalError(404, "CATALOG_DOES_NOT_EXIST", f"Catalog '{catalog}' does not exist.")
        if schema not in CATALOGS[catalog]:
            message = f"Schema '{catalog}.{schema}' does not exist."
            raise _RefusalError(404, "SCHEMA_DOES_NOT_EXIST", message)

    def _create_model(self, user: str, asked: Json) -> Json:
        name = str(asked.get("name") or "").lower()
        self._check_name(name)
        if name in self._models:
            message = f"Registered model '{name}' already exists."
            raise _RefusalError(400, "RESOURCE_ALREADY_EXISTS", message)
        tags = _tags({}, asked.get("tags") or ())
        self._models[name] = model = _Model(self._fields(user, asked, name=name), tags)
        return _model(model)

    def _update_model(self, user: str, asked: Json) -> Json:
        model = self._found(asked)
        if "description" in asked:
            model.fields["description"] = asked["description"]
        self._touch(model.fields)
        return _model(model)

    def _delete_model(self, user: str, asked: Json) -> Json:
        self._found(asked)
        del self._models[str(asked["name"]).lower()]
        return {}

    def _search_models(self, user: str, asked: Json) -> Json:
        names = sorted(self._models)
        names, token = _paged(names, asked)
        return {"registered_models": [dict(self._models[name].fields) for name in names], **token}

    def _set_tag(self, user: str, asked: Json) -> Json:
        owner = self._owner(asked)
        owner.tags = _tags(owner.tags, [asked])
        self._touch(owner.fields)
        return {}

    def _delete_tag(self, user: str, asked: Json) -> Json:
        owner = self._owner(asked)
        if owner.tags.pop(str(asked.get("key")), None) is None:
            raise _RefusalError(404, "RESOURCE_DOES_NOT_EXIST", f"Tag '{asked.get('key')}' does not exist.")
        self._touch(owner.fields)
        return {}

    def _owner(self, asked: Json) -> _Model | _Version:
        return self._found_version(asked) if asked.get("version") else self._found(asked)

    def _set_alias(self, user: str, asked: Json) -> Json:
        alias, model = str(asked.get("alias") or ""), self._found(asked)
        if not _ALIAS.fullmatch(alias) or _VERSION_LIKE.fullmatch(alias):
            raise _RefusalError(400, "INVALID_PARAMETER_VALUE", f"'{alias}' is not a valid alias name.")
        self._found_version(asked)
        model.aliases[alias] = str(asked["version"])
        return {}

    def _delete_alias(self, user: str, asked: Json) -> Json:
        self._found(asked).aliases.pop(str(asked.get("alias")), None)
        return {}

    def _by_alias(self, user: str, asked: Json) -> Json:
        version = self._found(asked).aliases.get(str(asked.get("alias")))
        if version is None:
            message = f"Alias '{asked.get('alias')}' does not exist."
            raise _RefusalError(404, "RESOURCE_DOES_NOT_EXIST", message)
        return self._version({**asked, "version": version})

    # Versions.

    def _found_version(self, asked: Json) -> _Version:
        version = self._found(asked).versions.get(str(asked.get("version")))
        if version is None:
            message = f"Model version '{asked.get('name')}/{asked.get('version')}' does not exist."
            raise _RefusalError(404, "RESOURCE_DOES_NOT_EXIST", message)
        return version

    def _version(self, asked: Json) -> Json:
        found, model = self._found_version(asked), self._found(asked)
        number = found.fields["version"]
        aliases = [{"alias": alias, "version": of} for alias, of in model.aliases.items() if of == number]
        return {"model_version": {**found.fields, "tags": _listed(found.tags), "aliases": aliases}}

    def _create_version(self, user: str, asked: Json) -> Json:
        model = self._found(asked)
        tags = _tags({}, asked.get("tags") or ())
        number = str(model.last + 1)
        name = model.fields["name"]
        location = f"s3://metastore/models/{name}/{number}"
        fields = self._fields(user, asked, name=name, version=number, status=PENDING)
        fields |= {"source": asked.get("source", ""), "storage_location": location}
        if asked.get("run_id"):
            fields["run_id"] = asked["run_id"]
        model.last += 1
        model.versions[number] = _Version(fields, tags)
        return self._version({"name": name, "version": number})

    def _update_version(self, user: str, asked: Json) -> Json:
        version = self._found_version(asked)
        if "description" in asked:
            version.fields["description"] = asked["description"]
        self._touch(version.fields)
        return self._version(asked)

    def _delete_version(self, user: str, asked: Json) -> Json:
        self._found_version(asked)
        model, number = self._found(asked), str(asked["version"])
        del model.versions[number]
        model.aliases = {alias: of for alias, of in model.aliases.items() if of != number}
        return {}

    def _search_versions(self, user: str, asked: Json) -> Json:
        match = _FILTER.fullmatch(str(asked.get("filter") or "").strip())
        if match is None:
            raise _RefusalError(400, "INVALID_PARAMETER_VALUE", "The filter must be name = '<model_name>'")
        model = self._found({"name": match[1]})
        numbers, token = _paged(sorted(model.versions, key=int, reverse=True), asked)
        return {"model_versions": [dict(model.versions[number].fields) for number in numbers], **token}

    def _finalize(self, user: str, asked: Json) -> Json:
        version = self._found_version(asked)
        folder = f"{MODELS}{version.fields['name'].replace('.', '/')}/{version.fields['version']}/"
        if not self._files_below(folder):
            raise _RefusalError(400, "INVALID_STATE", "The model version has no files")
        version.fields["status"] = READY
        return self._version(asked)

    # Parts.

    def _fields(self, user: str, asked: Json, **more: str) -> Json:
        now_ms = int(self._now_s() * 1000)
        fields: Json = {
            "creation_timestamp": now_ms,
            "last_updated_timestamp": now_ms,
            "user_id": user,
            **more,
        }
        if asked.get("description"):
            fields["description"] = asked["description"]
        return fields

    def _touch(self, fields: Json) -> None:
        fields["last_updated_timestamp"] = int(self._now_s() * 1000)


def _model(model: _Model) -> Json:
    aliases = [{"alias": alias, "version": of} for alias, of in model.aliases.items()]
    return {"registered_model": {**model.fields, "tags": _listed(model.tags), "aliases": aliases}}


def _listed(tags: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _tags(held: Mapping[str, str], added: Any) -> dict[str, str]:
    """Return tags with others added, all or none."""
    tags = {**held, **{str(tag.get("key") or ""): str(tag.get("value") or "") for tag in added}}
    for key, value in tags.items():
        if not key or len(key) > TAG_KEY_CHARS_MAX or any(letter in ".,-=/:" for letter in key):
            message = f"Tag key '{key[:40]}' is empty, too long or holds one of . , - = / :"
            raise _RefusalError(400, "INVALID_PARAMETER_VALUE", message)
        if len(value) > TAG_VALUE_CHARS_MAX:
            message = f"The value of tag '{key[:40]}' has more than {TAG_VALUE_CHARS_MAX} characters"
            raise _RefusalError(400, "INVALID_PARAMETER_VALUE", message)
    if len(tags) > TAGS_MAX:
        message = f"An object has at most {TAGS_MAX} tags"
        raise _RefusalError(400, "RESOURCE_LIMIT_EXCEEDED", message)
    return tags


def _paged(names: list[str], asked: Json) -> tuple[list[str], Json]:
    size, start = int(asked.get("max_results") or 100), int(asked.get("page_token") or 0)
    token = {"next_page_token": str(start + size)} if len(names) > start + size else {}
    return names[start : start + size], token
