"""Models in Unity Catalog: ``catalog.schema.model``, by routes of their own below MLflow's.

A version has a copy of its payload below ``/Models``. It is made here, as Databricks' own clients make it:
the version is registered as pending, its files are sent by the Files API, and then it is finalized. A version
that was left pending is finished by the next call with its key. Tag keys hold none of ``. , - = / :`` there,
so that these are escaped on the way (``bridge.key`` is ``bridge~2ekey``).

A name without three levels belongs to the schema that the option ``model_schema`` names. What Unity Catalog
does not keep in names, capitals included, is escaped: ``Wine`` is ``catalog.schema.~57ine``.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.models import (
    NO_REASON,
    ChangeReason,
    ModelVersion,
    ModelVersionSpec,
    RegisteredModel,
)
from trackbridge.errors import NotFound, Rejected, Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge_adapters._mlflow_rest.conversions import key_value_list, key_values
from trackbridge_adapters._mlflow_rest.errors import RouteMissing
from trackbridge_adapters._mlflow_rest.registry import RestRegistry
from trackbridge_adapters._mlflow_rest.registry_values import version_tags
from trackbridge_adapters._mlflow_rest.service import Service
from trackbridge_adapters._mlflow_rest.wire import Json, Wire
from trackbridge_adapters.databricks.config import ADAPTER
from trackbridge_adapters.databricks.volumes import VolumeFiles

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

PREFIX = "/api/2.0/mlflow/unity-catalog"
TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX = 255, 1000
"""Of Unity Catalog (Databricks' documentation: Apply tags to Unity Catalog securable objects)."""
STAGE = "bridge.stage"
FILES_API = "registered-models:is-databricks-sdk-models-artifact-repository-enabled"
FILES_API_ANSWER = "is_databricks_sdk_models_artifact_repository_enabled"
BLOCK_BYTES = 1024 * 1024
_FULL_NAME = re.compile(r"[^./\s]+\.[^./\s]+\.[^./\s]+")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPED = re.compile(r"[.,\-=/:~]")
_ESCAPE = re.compile(r"~(2e|2c|2d|3d|2f|3a|7e)")


class CatalogWire(Wire):
    """MLflow's calls at the routes of Unity Catalog, with names and tag keys as they may be there.

    Args:
        service: The workspace.
        schema: ``catalog.schema`` of models whose name has not three levels.
    """

    def __init__(self, service: Service, schema: str | None) -> None:
        super().__init__(service)
        self._schema = schema

    def get(self, route: str, query: Mapping[str, Any] | None = None, *, prefix: str = PREFIX) -> Json:
        return self._read(super().get(route, self._written(query or {}), prefix=prefix))

    def post(self, route: str, body: Mapping[str, Any], *, prefix: str = PREFIX) -> Json:
        return self._read(super().post(route, self._written(body), prefix=prefix))

    def patch(self, route: str, body: Mapping[str, Any], *, prefix: str = PREFIX) -> Json:
        return self._read(super().patch(route, self._written(body), prefix=prefix))

    def delete(self, route: str, body: Mapping[str, Any], *, prefix: str = PREFIX) -> Json:
        return self._read(super().delete(route, self._written(body), prefix=prefix))

    def full_name(self, name: str) -> str:
        """Return the three levels of a name."""
        if self._schema is None or is_full_name(name):
            return name
        return f"{self._schema}.{_name_escaped(name)}"

    def our_name(self, full: str) -> str:
        """Return the name of a model in the schema of the options; any other keeps its three levels."""
        if self._schema is None or not full.startswith(f"{self._schema}."):
            return full
        name = _name_unescaped(full[len(self._schema) + 1 :])
        return name if name is not None and self.full_name(name) == full else full

    def _written(self, body: Mapping[str, Any]) -> Json:
        changed = dict(body)
        if "name" in changed:
            changed["name"] = self.full_name(str(changed["name"]))
        if "key" in changed:
            changed["key"] = escaped(str(changed["key"]))
        if "tags" in changed:
            changed["tags"] = [{**tag, "key": escaped(str(tag["key"]))} for tag in changed["tags"] or ()]
        return changed

    def _read(self, answer: Json) -> Json:
        for kind in ("registered_model", "model_version"):
            if isinstance(answer.get(kind), dict):
                answer = {**answer, kind: self._read_one(answer[kind])}
            if answer.get(f"{kind}s"):
                answer = {**answer, f"{kind}s": [self._read_one(found) for found in answer[f"{kind}s"]]}
        return answer

    def _read_one(self, found: Json) -> Json:
        tags = [{**tag, "key": unescaped(str(tag["key"]))} for tag in found.get("tags") or ()]
        return {**found, "name": self.our_name(str(found["name"])), "tags": tags}


class CatalogRegistry(RestRegistry):
    """Models of a workspace's metastore. Stages, which it has not, are kept in a tag."""

    tag_key_chars_max = TAG_KEY_CHARS_MAX
    tag_value_chars_max = TAG_VALUE_CHARS_MAX

    def __init__(
        self, tracking: RestTracking, artifacts: ArtifactStore | None, *, schema: str | None = None
    ) -> None:
        super().__init__(tracking, artifacts)
        self._wire: CatalogWire = CatalogWire(tracking.service, schema)

    def check_name(self, name: str, *, is_mlflow: bool) -> None:
        """Refuse a name that is not in lower case."""
        full = self._wire.full_name(name)
        if full != full.lower():
            raise Rejected(
                f"Unity Catalog keeps names in lower case, and {name[:100]!r} is not",
                adapter=ADAPTER,
                hint=f"name it {name[:100].lower()}",
            )

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        self.check_name(name, is_mlflow=True)
        return super().ensure_model(name, description=description, tags=tags, reason=reason)

    def listed_models(self) -> Iterator[Json]:
        """Yield every model that we may see, without tags and aliases: the list of the service has none."""
        return self._listed_models()

    def _shown_model(self, found: Json) -> RegisteredModel:
        return self.get_model(str(found["name"]))

    # Versions.

    def _version(self, name: str, version: str) -> Json:
        return _with_stage(super()._version(name, version))

    def _versions(self, name: str) -> Iterator[Json]:
        query = {"filter": f"name = '{self._wire.full_name(name)}'"}
        for found in self._pages("model-versions/search", "model_versions", query):
            # The list of the service has no tags.
            try:
                yield self._version(name, str(found["version"]))
            except NotFound:
                continue

    def _create(self, spec: ModelVersionSpec, key: str, reason: ChangeReason) -> ModelVersion:
        self._require_files_api()
        source, run = self._native_source(spec)
        self._payload(spec)
        body: Json = {
            "name": spec.name,
            "source": source,
            "description": spec.description,
            "tags": key_value_list(version_tags(spec, key, reason)),
        }
        if run is not None:
            body["run_id"] = run
        created = self._wire.post("model-versions/create", body)["model_version"]
        return self._finished(spec, str(created["version"]))

    def _repeated(self, existing: Json, spec: ModelVersionSpec) -> ModelVersion:
        found = super()._repeated(existing, spec)
        is_pending = existing.get("status") not in (None, "READY")
        return self._finished(spec, found.version) if is_pending else found

    def _finished(self, spec: ModelVersionSpec, version: str) -> ModelVersion:
        """Send a version's payload, and say that it is whole."""
        run_id, start = self._payload(spec)
        assert self._artifacts is not None
        folder = f"dbfs:/Models/{self._wire.full_name(spec.name).replace('.', '/')}/{version}"
        target = VolumeFiles(self._tracking.wire, folder, makes_folders=False)
        for path in _files_below(self._artifacts, run_id, start):
            name = path.removeprefix(f"{start}/") if path != start else path.rpartition("/")[2]
            with self._artifacts.open(run_id, path) as source, tempfile.TemporaryFile() as spool:
                while block := source.read(BLOCK_BYTES):
                    spool.write(block)
                size = spool.tell()
                spool.seek(0)
                target.send(name, spool, size)
        self._wire.post("model-versions/finalize", {"name": spec.name, "version": version})
        return self.get_version(spec.name, version)

    def _payload(self, spec: ModelVersionSpec) -> tuple[str, str]:
        place = split_artifact_uri(spec.source)
        if place is None or self._artifacts is None:
            raise Unsupported(
                "a version in Unity Catalog has a copy of its payload, made from artifacts of runs only",
                adapter=ADAPTER,
                operation="registry.create_version",
                hint="log the model to a run, and register it from there",
            )
        return place

    def _require_files_api(self) -> None:
        """See that the workspace takes a version's files by the Files API.

        Raises:
            Unsupported: It wants them in a bucket, with temporary credentials.
        """
        try:
            found = self._wire.get(FILES_API)
        except (NotFound, Rejected, RouteMissing):
            found = {}
        if found.get(FILES_API_ANSWER) is not True:
            raise Unsupported(
                "this workspace takes the files of a version in Unity Catalog only with temporary "
                "credentials of its cloud's storage, which are not used here so far",
                adapter=ADAPTER,
                operation="registry.create_version",
                hint="register this model with mlflow's own client, or in the workspace's registry",
            )

    def _move_to_stage(self, name: str, version: str, stage: str) -> None:
        self._set_tag(name, version, STAGE, stage)


def _files_below(artifacts: ArtifactStore, run_id: str, path: str) -> Iterator[str]:
    if not artifacts.stat(run_id, path).is_dir:
        yield path
        return
    token: str | None = None
    while True:
        page = artifacts.list(run_id, path, token=token)
        for info in page.items:
            if info.is_dir:
                yield from _files_below(artifacts, run_id, info.path)
            else:
                yield info.path
        token = page.token
        if token is None:
            return


def _with_stage(version: Json) -> Json:
    tags = key_values(version.get("tags"))
    stage = tags.pop(STAGE, "None")
    return {**version, "tags": key_value_list(tags), "current_stage": stage}


def escaped(key: str) -> str:
    """Return a tag's key as Unity Catalog takes it."""
    return _ESCAPED.sub(lambda match: f"~{ord(match[0]):02x}", key)


def unescaped(key: str) -> str:
    """Return a tag's key as it was before ``escaped``."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), key)


def is_full_name(name: str) -> bool:
    """Tell whether a name has three levels."""
    return _FULL_NAME.fullmatch(name) is not None


def _name_escaped(name: str) -> str:
    try:
        letters = name.encode()
    except UnicodeEncodeError:
        raise Rejected("a name is not valid Unicode: it holds half of a surrogate pair") from None
    return "".join(chr(letter) if letter in _PLAIN else f"~{letter:02x}" for letter in letters)


def _name_unescaped(text: str) -> str | None:
    try:
        return unquote_to_bytes(text.replace("%", "%25").replace("~", "%")).decode()
    except UnicodeDecodeError:
        return None
