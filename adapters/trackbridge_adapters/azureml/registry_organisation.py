"""The models of an organisational registry.

A version comes into it by an import from a workspace, which takes no tags: it is claimed first, by a tag of
the model, so that what a program left that died between import and tags is gone on with::

    claim a number -> import -> tags of the version -> drop the claim

A folder of this machine, and files of a datastore, a job, a run or another registry, are put where the
registry says, and are a version with all its tags at once. What
others brought into the registry carries the tags of a workspace, of which only some are told.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.file_uris import file_path
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
from trackbridge.errors import AuthError, Conflict, NotFound, Rejected, Unavailable, Unsupported
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capability, Feature, absent
from trackbridge.ports.registry import ModelRegistry
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters._mlflow_rest.capabilities import (
    MODEL_TAG_KEY_CHARS_MAX,
    MODEL_TAG_VALUE_CHARS_MAX,
    PAGE_ITEMS_MAX,
)
from trackbridge_adapters._mlflow_rest.registry_values import (
    APPROVAL,
    DATASETS,
    DIGEST,
    KEY,
    ORIGIN,
    SOURCE,
    key_tag,
    model_of,
    refuse_texts,
    version_of,
    version_tags,
)
from trackbridge_adapters._mlflow_rest.run_ids import NativeIds
from trackbridge_adapters._mlflow_rest.wire import Json
from trackbridge_adapters.azureml.arm import Arm, path_of
from trackbridge_adapters.azureml.assets import (
    CUSTOM,
    MLFLOW,
    TAKES_MAX,
    Assets,
    created_ms,
    model_uri_of,
    number_of,
    properties_of,
    tags_of,
)
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.limits import asset_name_problem, check, problem
from trackbridge_adapters.azureml.paths import Found, fetch
from trackbridge_adapters.azureml.payloads import copy, upload
from trackbridge_adapters.azureml.registry_files import signed_files
from trackbridge_adapters.azureml.registry_imports import has_the_same_files, says_the_same
from trackbridge_adapters.azureml.registry_values import STAGE, model_json, version_json

if TYPE_CHECKING:
    from trackbridge.ports.adapter import AdapterContext
    from trackbridge_adapters.azureml.registries import Discovery

KIND = "models"
MLMODEL = "MLmodel"
OURS = "bridge.registry"
"""The tag of a version that we brought into a registry: which one. Others' carry the tags of a workspace."""
CLAIM = "bridge.claim."
"""Tags of a model: numbers of versions that are on their way, by the digests of their keys."""
_RESERVED = "bridge."
_KEPT = frozenset({DIGEST, ORIGIN, DATASETS})
_SOURCE = re.compile(
    r"azureml://(?P<subscription>[^/]+)/(?P<group>[^/]+)/(?P<workspace>[^/]+)"
    r"/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)/?"
)
_LONG_SOURCE = re.compile(
    r"(?:azureml:/)?/subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"(?:/providers/[^/]+)?/workspaces/(?P<workspace>[^/]+)"
    r"/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)/?",
    re.IGNORECASE,
)
REGISTERED = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)/?"
)
_WORKSPACE = re.compile(
    r"azureml://(?:[^/]+/mlflow/[^/]+/)?subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"(?:/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<workspace>[^/]+)/"
    r"(?:datastores|jobs|experiments)/[^/]+/.+",
    re.IGNORECASE | re.DOTALL,
)
_GAPS: Mapping[Feature, Capability] = {
    Feature.REGISTRY_ALIAS: absent(
        Absence.NOT_OFFERED, "a registry of Azure ML has no aliases, and tags of versions only"
    ),
    Feature.REGISTRY_HISTORY: absent(
        Absence.NOT_OFFERED, "Azure ML keeps no history of a registry's changes"
    ),
    Feature.REGISTRY_DELETE: absent(
        Absence.NOT_YET, "what is deleted of a registry can never be made again: archive it"
    ),
    Feature.REGISTRY_NUMBERS_KEPT: absent(Absence.NOT_OFFERED, "nothing is deleted"),
}
FEATURES: Mapping[Feature, Capability] = {
    Feature.REGISTRY_DESCRIPTION: SUPPORTED,
    Feature.REGISTRY_STAGE: SUPPORTED,
    Feature.REGISTRY_APPROVAL: SUPPORTED,
    Feature.REGISTRY_ATOMIC_TAGS: SUPPORTED,
    **_GAPS,
}


class OrganisationRegistry(ModelRegistry):
    """Models and versions of one registry.

    Args:
        name: Of the registry.
        discovery: Finds it.
        http: Sends requests to it.
        arm: Asks for workspaces whose models are shared.
        context: Of the adapter.
    """

    def __init__(
        self, name: str, discovery: Discovery, http: HttpClient, arm: Arm, context: AdapterContext
    ) -> None:
        self.name = name
        self._discovery = discovery
        self._http = http
        self._routes = Arm(http, discovery.base, manager=arm.base)
        self._arm = arm
        self._context = context
        self._ids = NativeIds(context, f"azureml://registries/{name}")
        self._lock = threading.Lock()
        self._known: Assets | None = None
        self.elsewhere: Callable[[str], Found] | None = None
        """Opens addresses of workspaces and of other registries; None where versions come of models alone."""

    @property
    def assets(self) -> Assets:
        """The registry's assets; the first use asks where it is."""
        found = self._discovery.found()
        with self._lock:
            if self._known is None:
                self._known = Assets(self._routes, found.scope, is_registry=True, home=self._context.home)
            return self._known

    # Models.

    def ensure_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: ChangeReason = NO_REASON,
    ) -> RegisteredModel:
        with suppress(NotFound):
            return self.get_model(name)
        _check_new(name)
        _refuse(description, tags or {})
        body = {"properties": {"description": description, "tags": dict(tags or {}), "isArchived": False}}
        with self._ids.creating(f"model {name}"):  # a second PUT would replace the first
            with suppress(NotFound):
                return self.get_model(name)
            self.assets.arm.put(f"{self.assets.scope}{path_of(KIND, name)}", "registries", body)
            return self.get_model(name)

    def check_name(self, name: str, *, is_mlflow: bool) -> None:
        """Refuse a name that is not there, and that no model can be made with; asks only where it may be."""
        check("registry.asset.name", name, operation="registry.ensure_model")
        if not _can_be_made(name):
            try:
                self.get_model(name)
            except NotFound:
                _check_new(name)

    def get_model(self, name: str) -> RegisteredModel:
        return _model_of(self.assets.container(KIND, name))

    def list_models(self, *, max_results: int = 1000, token: str | None = None) -> Page[RegisteredModel]:
        operation = "registry.list_models"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of(operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(str,))
        found = sorted(self.assets.containers(KIND), key=lambda item: str(item["name"]))
        found = [item for item in found if place is None or item["name"] > place[0]]
        more = token_of(listing, [found[size - 1]["name"]]) if len(found) > size else None
        return Page(items=tuple(map(_model_of, found[:size])), token=more)

    # Versions.

    def create_version(
        self, spec: ModelVersionSpec, *, key: str, reason: ChangeReason = NO_REASON
    ) -> ModelVersion:
        _refuse(key, spec.tags)
        with self._ids.creating(f"model {spec.name}"):
            model = self.assets.container(KIND, spec.name)
            for item in self.assets.versions(KIND, spec.name):
                if self._is_ours(tags_of(item)) and tags_of(item).get(KEY) == key_tag(key):
                    if _claim_tag(key) in tags_of(model):  # it died when all but this was done
                        self._claim(spec.name, key, None)
                    return self._repeated(item, spec)
            tags = {**version_tags(spec, key, reason), OURS: self.name}
            if spec.source.startswith("file:"):
                return self._of_folder(file_path(spec.source), spec, tags)
            # What cannot be changed as a whole takes no claim, which an import needs: its files are copied.
            if self.elsewhere is not None and (_is_of_files(spec.source) or not _can_be_made(spec.name)):
                return self._of_found(self.elsewhere(spec.source), spec, tags)
            return self._of_workspace(spec, key, tags)

    def _repeated(self, found: Json, spec: ModelVersionSpec) -> ModelVersion:
        tags = tags_of(found)
        if (tags.get(SOURCE), tags.get(DIGEST)) == (spec.source, spec.digest):
            return self._shown(found, spec.name)
        raise Conflict(
            f"the key of version {found.get('name')} was used for another payload",
            adapter=ADAPTER,
            hint="register the other payload with a key of its own",
        )

    def _of_folder(self, folder: Path, spec: ModelVersionSpec, tags: Mapping[str, str]) -> ModelVersion:
        """Make a version of what lies on this machine."""
        is_mlflow = (folder / MLMODEL).is_file()
        # A folder of its content: what somebody left behind who died under this number is not in it.
        return self._made(spec, tags, lambda files: upload(folder, files, self._context.home), is_mlflow)

    def _of_found(self, found: Found, spec: ModelVersionSpec, tags: Mapping[str, str]) -> ModelVersion:
        """Make a version of files elsewhere in Azure ML; they come through this machine, as a stream."""
        mlmodel = found.files.find(f"{found.path}/{MLMODEL}".lstrip("/"))
        is_mlflow = mlmodel is not None and not mlmodel.is_dir
        return self._made(spec, tags, lambda files: copy(found, files, self._context.home), is_mlflow)

    def _made(
        self, spec: ModelVersionSpec, tags: Mapping[str, str], put: Callable[[Files], str], is_mlflow: bool
    ) -> ModelVersion:
        properties = {
            "modelType": MLFLOW if is_mlflow else CUSTOM,
            "description": spec.description,
            "tags": dict(tags),
            "isAnonymous": False,
            "isArchived": False,
        }
        first = self._next_number(spec.name)
        for number in range(first, first + TAKES_MAX):
            try:
                uri = self._uploaded(put, spec.name, str(number))
                body = {**properties, "modelUri": uri}
                return self._shown(self.assets.create(KIND, spec.name, str(number), body), spec.name)
            except Conflict:
                continue
        raise _no_number(spec.name)

    def _uploaded(self, put: Callable[[Files], str], name: str, version: str) -> str:
        """Put files where the registry wants those of a version, and return their address."""
        path = f"{self.assets.scope}{path_of('tempdatarefs', name, 'versions', version)}"
        body = {
            "assetId": self.address_of(name, version),
            "temporaryDataReferenceId": hashlib.sha256(path.encode()).hexdigest()[:32],
            "temporaryDataReferenceType": "TemporaryBlobReference",
        }

        def reference() -> Json:
            return _reference_of(self._routes.put(path, "registries", body))

        first = reference()
        kept = [first]
        found = signed_files(lambda: kept.pop() if kept else reference(), self._http, self._context.clock_ms)
        return f"{str(first['blobUri']).rstrip('/')}/{put(found.files)}"

    def _of_workspace(self, spec: ModelVersionSpec, key: str, tags: Mapping[str, str]) -> ModelVersion:
        """Make a version by an import, which takes no tags: see the module's beginning."""
        workspace, match = self._source(spec.source)
        source = Assets(self._arm, workspace.scope).version(KIND, match["name"], match["version"])
        number = self._imported(spec, key, source)

        def changed(properties: Json) -> Json | None:
            after = {**properties, "tags": dict(tags)}  # not the workspace's, which may say it is approved
            if spec.description:
                after["description"] = spec.description
            return None if after == properties else after

        found = self.assets.change(KIND, spec.name, str(number), changed)
        self._claim(spec.name, key, None)
        return self._shown(found, spec.name)

    def _has_come(self, spec: ModelVersionSpec, number: int, source: Json) -> bool:
        """Tell whether an import of the source is there, and not what another put there meanwhile."""
        found = self.assets.find_version(KIND, spec.name, str(number))
        if found is None or not says_the_same(found, source):
            return False
        if self.elsewhere is None:
            return True
        try:
            return has_the_same_files(self.files(spec.name, str(number)), self.elsewhere(spec.source))
        except (AuthError, NotFound):
            return True  # who may register need not be allowed to look into the storage

    def _imported(self, spec: ModelVersionSpec, key: str, source: Json) -> int:
        """Import the source, and return its number.

        Who died, or lost the connection, has left a claim. That import may have come or is still on its way,
        so the same number is asked for: another one would make a second version.
        """
        claimed = tags_of(self.assets.container(KIND, spec.name)).get(_claim_tag(key), "")
        earlier = int(claimed) if claimed.isdecimal() else None
        for _ in range(TAKES_MAX):
            number = self._next_number(spec.name) if earlier is None else earlier
            if earlier is None:
                self._claim(spec.name, key, number)
            elif self._has_come(spec, earlier, source):
                return earlier
            try:
                self.share(spec.source, name=spec.name, version=str(number))
            except Conflict:
                if earlier is not None and self._has_come(spec, earlier, source):
                    return earlier
                earlier = None
                continue
            except Rejected:
                self._claim(spec.name, key, None)
                raise
            return number
        raise _no_number(spec.name)

    def _next_number(self, name: str) -> int:
        claims = tags_of(self.assets.container(KIND, name))
        claimed = [int(value) for tag, value in claims.items() if tag.startswith(CLAIM) and value.isdecimal()]
        held = [number_of(item) or 0 for item in self.assets.versions(KIND, name)]
        return max([0, *claimed, *held]) + 1

    def _claim(self, name: str, key: str, number: int | None) -> None:
        tag = _claim_tag(key)
        self._change(name, None, lambda tags: {**tags, tag: None if number is None else str(number)})

    def share(self, source: str, *, name: str | None = None, version: str | None = None) -> Json:
        """Import a version of a workspace's model, and return it as the registry has it.

        Args:
            source: ``azureml://SUBSCRIPTION/GROUP/WORKSPACE/models/NAME/versions/VERSION``, or its id in ARM.
            name: In the registry; the same as in the workspace without it.
            version: In the registry; the same as in the workspace without it.

        Raises:
            NotFound: There is no such version in the workspace.
            Conflict: The registry has a version of this name and number.
            Rejected: The source is no version of a workspace's model.
        """
        workspace, match = self._source(source)
        name, version = name or match["name"], version or match["version"]
        check("registry.asset.name", name)
        check("asset.version", version)
        Assets(self._arm, workspace.scope).version(KIND, match["name"], match["version"])
        if self.assets.find_version(KIND, name, version) is not None:
            raise Conflict(
                f"the registry {self.name} has a version {version} of {name!r}",
                adapter=ADAPTER,
                hint="share it under another number",
            )
        told = self._arm.get(workspace.scope, "workspaces")
        place = f"azureml://locations/{told.get('location')}/workspaces/{properties_of(told)['workspaceId']}"
        body = {
            "referenceType": "Id",
            "destinationName": name,
            "destinationVersion": version,
            "sourceAssetId": f"{place}/models/{match['name']}/versions/{match['version']}",
        }
        self._routes.post(f"{self.assets.scope}/import", "registries", {"properties": body})
        return self.assets.version(KIND, name, version)

    def check_source(self, source: str) -> None:
        """Refuse what no version can be made of, before there is a model for it."""
        if not source.startswith("file:") and not _is_of_files(source):
            self._source(source)

    def _source(self, source: str) -> tuple[Workspace, Mapping[str, str]]:
        found = source_of(source)
        if found is not None:
            return found
        if split_artifact_uri(source) is not None:
            raise NotFound(
                f"there is nothing at {source[:200]!r} that a registry can reach: it knows no runs",
                adapter=ADAPTER,
                hint="register it in a workspace, and share that version",
            )
        raise Rejected(
            f"{source[:200]!r} is no version of a workspace's model",
            adapter=ADAPTER,
            hint="register it in a workspace, and share that version: "
            "azureml://SUBSCRIPTION/GROUP/WORKSPACE/models/NAME/versions/VERSION",
        )

    def address_of(self, name: str, version: str) -> str:
        """Return the id by which every workspace can use a version."""
        return f"azureml://registries/{self.name}/models/{name}/versions/{version}"

    def files(self, name: str, version: str) -> Found:
        """Return the files of a version, by addresses that are signed for an hour or so, and renewed.

        Raises:
            NotFound: There is no such version.
        """
        uri = model_uri_of(self.assets.version(KIND, name, version))
        body = {"assetId": self.address_of(name, version), "blobUri": uri}
        path = f"{self.assets.scope}{path_of('datarefs', name, 'versions', version)}"

        def reference() -> Json:
            return _reference_of(self._routes.post(path, "registries", body))

        return signed_files(reference, self._http, self._context.clock_ms)

    def download(self, name: str, version: str, folder: Path) -> Path:
        """Bring the files of a version into a folder, block by block, and return where they are there.

        Raises:
            NotFound: There is no such version.
        """
        return fetch(self.files(name, version), self.address_of(name, version), folder)

    def get_version(self, name: str, version: str) -> ModelVersion:
        if asset_name_problem(version) is not None:
            raise NotFound(f"there is no version {version[:40]!r}", adapter=ADAPTER)
        return self._shown(self.assets.version(KIND, name, version), name)

    def list_versions(
        self, name: str, *, max_results: int = 1000, token: str | None = None
    ) -> Page[ModelVersion]:
        operation = "registry.list_versions"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of(operation, name)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int, str))
        found = sorted(self.assets.versions(KIND, name), key=_order, reverse=True)
        found = [item for item in found if place is None or _order(item) < place]
        more = token_of(listing, _order(found[size - 1])) if len(found) > size else None
        return Page(items=tuple(self._shown(item, name) for item in found[:size]), token=more)

    def _is_ours(self, tags: Mapping[str, str]) -> bool:
        return tags.get(OURS) == self.name

    def _shown(self, found: Json, name: str) -> ModelVersion:
        properties = {**properties_of(found), "tags": self._own_tags(tags_of(found))}
        properties["tags"].pop(OURS, None)
        return version_of(
            version_json({**found, "properties": properties}),
            aliases={},
            run_id=None,
            source=self.address_of(name, str(found.get("name"))),
        )

    def _own_tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return tags without what a workspace says of its own version: that it is approved, say."""
        if self._is_ours(tags):
            return dict(tags)
        return {key: value for key, value in tags.items() if key in _KEPT or not key.startswith(_RESERVED)}

    # Changes.

    def set_tags(
        self,
        name: str,
        version: str | None,
        *,
        tags: Mapping[str, str | None],
        reason: ChangeReason = NO_REASON,
    ) -> None:
        _refuse(name, {key: value or "" for key, value in tags.items()})
        self._change(name, version, lambda before: {**before, **tags})

    def _change(
        self,
        name: str,
        version: str | None,
        change: Callable[[Mapping[str, str]], Mapping[str, str | None]],
        **fields: object,
    ) -> None:
        """Change tags, and other properties, of a model or of a version, which is marked as ours then."""

        def changed(properties: Json) -> Json | None:
            held = tags_of({"properties": properties})
            before = held if version is None else self._own_tags(held)
            after = {key: value for key, value in change(before).items() if value is not None}
            if after == before and all(properties.get(field) == value for field, value in fields.items()):
                return None
            if version is not None:
                after[OURS] = self.name
            return {**properties, **fields, "tags": after}

        self.assets.change(KIND, name, version, changed)

    def set_description(
        self, name: str, version: str | None, *, description: str, reason: ChangeReason = NO_REASON
    ) -> None:
        _refuse(description, {})

        def changed(properties: Json) -> Json | None:
            if (properties.get("description") or "") == description:
                return None
            return {**properties, "description": description}

        self.assets.change(KIND, name, version, changed)

    def set_stage(self, name: str, version: str, *, stage: str, reason: ChangeReason = NO_REASON) -> None:
        if stage not in STAGES:
            raise Rejected(
                f"{stage[:100]!r} is no stage", adapter=ADAPTER, hint=f"one of {', '.join(STAGES)}"
            )
        if self.get_version(name, version).stage != stage:
            self._change(name, version, lambda tags: {**tags, STAGE: stage}, isArchived=stage == STAGES[-1])

    def set_approval(
        self, name: str, version: str, *, approval: Approval, reason: ChangeReason = NO_REASON
    ) -> None:
        if self.get_version(name, version).approval is not approval:
            self._change(name, version, lambda tags: {**tags, APPROVAL: approval.value})

    def archive(self, name: str, version: str | None = None, *, archived: bool = True) -> None:
        """Archive a version, or a model with all its versions (None), or bring it back."""
        self.assets.archive(KIND, name, version, archived=archived)

    # What registries do not have.

    def set_alias(
        self, name: str, alias: str, *, version: str | None, reason: ChangeReason = NO_REASON
    ) -> None:
        raise _gap(Feature.REGISTRY_ALIAS)

    def list_changes(
        self, name: str, version: str | None = None, *, max_results: int = 1000, token: str | None = None
    ) -> Page[RegistryChange]:
        raise _gap(Feature.REGISTRY_HISTORY)

    def delete_version(self, name: str, version: str, *, reason: ChangeReason = NO_REASON) -> None:
        raise _gap(Feature.REGISTRY_DELETE)

    def delete_model(self, name: str, *, reason: ChangeReason = NO_REASON) -> None:
        raise _gap(Feature.REGISTRY_DELETE)


def _can_be_made(name: str) -> bool:
    """Tell whether a name is one that a model can have before it has a version, and be changed by."""
    return problem("registry.model.name", name) is None


def _check_new(name: str) -> None:
    check("registry.asset.name", name, operation="registry.ensure_model")
    check("registry.model.name", name, operation="registry.ensure_model")


def _order(found: Json) -> list[object]:
    number = number_of(found)
    if number is not None:
        return [1, number, ""]
    return [0, created_ms(found) or 0, str(found.get("name"))]


def _gap(feature: Feature) -> Unsupported:
    return Unsupported(
        f"{feature.value} is not supported by a registry: {FEATURES[feature].reason}", adapter=ADAPTER
    )


def source_of(source: str) -> tuple[Workspace, Mapping[str, str]] | None:
    """Return the workspace that an address names, with the model's ``name`` and ``version``; else None."""
    match = _SOURCE.fullmatch(source) or _LONG_SOURCE.fullmatch(source)
    if match is None:
        return None
    return Workspace(match["subscription"], match["group"], match["workspace"]), match.groupdict()


def _is_of_files(address: str) -> bool:
    """Tell whether files are named, of a place that is known, which a registry can only copy."""
    return REGISTERED.fullmatch(address) is not None or _WORKSPACE.match(address) is not None


def workspace_of_address(address: str) -> Workspace | None:
    """Return the workspace that an address of files, or of a model, has in it; None where it has none."""
    named = source_of(address)
    if named is not None:
        return named[0]
    match = _WORKSPACE.match(address)
    return None if match is None else Workspace(match["subscription"], match["group"], match["workspace"])


def _model_of(found: Json) -> RegisteredModel:
    tags = {key: value for key, value in tags_of(found).items() if not key.startswith(CLAIM)}
    return model_of(model_json({**found, "properties": {**properties_of(found), "tags": tags}}))


def _claim_tag(key: str) -> str:
    return CLAIM + hashlib.sha256(key.encode()).hexdigest()[:32]


def _reference_of(told: Json) -> Json:
    found = told.get("blobReferenceForConsumption")
    if isinstance(found, dict):
        return found
    raise Unsupported("the registry gives no address of the files", adapter=ADAPTER)


def _refuse(text: str, tags: Mapping[str, str]) -> None:
    refuse_texts(
        text,
        tags,
        adapter=ADAPTER,
        key_chars_max=MODEL_TAG_KEY_CHARS_MAX,
        value_chars_max=MODEL_TAG_VALUE_CHARS_MAX,
    )


def _no_number(name: str) -> Unavailable:
    return Unavailable(
        f"no free number was found for a version of {name[:100]!r}: {TAKES_MAX} were taken",
        adapter=ADAPTER,
        hint="are many programs registering it at once? Try again",
    )
