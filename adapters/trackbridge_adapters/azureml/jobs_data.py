"""Inputs, outputs and checkpoints of a job: what the spec names, as Azure ML names it.

=================================================  ========================================================
in the spec                                        what Azure is asked for
=================================================  ========================================================
a path of this machine, ``file:PATH``              its files, brought into the workspace's own storage
``azureml://datastores/…``, ``azureml://jobs/…``   the same
``azureml:NAME:VERSION``, ``azureml:NAME@latest``  that version of data, or of a model
``runs:/RUN/PATH``                                 the files of the run in this workspace
``models:/NAME/VERSION``, ``models:/NAME@ALIAS``   that version in the workspace's registry
``abfss://``, ``wasbs://``, ``https://…blob…``     the same, read with the identity of the compute
=================================================  ========================================================

Outputs and checkpoints are folders of a datastore, or of ``abfss://`` and ``wasbs://``, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from trackbridge.domain.file_uris import file_path
from trackbridge.domain.model_references import RegisteredReference, RunReference, parse_model_reference
from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError, InvalidInput, NotFound
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import Assets, properties_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.jobs_request import mounted
from trackbridge_adapters.azureml.limits import most
from trackbridge_adapters.azureml.model_files import ModelFiles
from trackbridge_adapters.azureml.paths import Found
from trackbridge_adapters.azureml.registry import AzureRegistry

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
"""Of an input or an output: it stands in ``${{inputs.NAME}}`` and in the names of variables."""
OURS = "bridge_"
STORAGE_SCHEMES = ("abfss", "abfs", "wasbs", "adl")
_ASSET = re.compile(r"azureml:(?!/)(?P<name>[^:@/]+)(?::(?P<version>[^:/]+)|@(?P<label>\w+))")
_DATASTORE = re.compile(r"azureml://(?:.+/)?datastores/[^/]+/paths/.+", re.IGNORECASE)
_TO_COPY = (
    "copy it into a datastore of the workspace (azcopy does), and name azureml://datastores/NAME/paths/…"
)


class JobData:
    """Reads the names of inputs and outputs. Any thread may use it.

    Args:
        files: Opens addresses, and uploads.
        assets: Of the workspace.
        registry: Its registry.
        native_run: Returns the id that the workspace has for a run of ours.
    """

    def __init__(
        self,
        files: ModelFiles,
        assets: Assets,
        registry: AzureRegistry,
        native_run: Callable[[str], str],
    ) -> None:
        self._files = files
        self._assets = assets
        self._registry = registry
        self._native_run = native_run

    def input(self, uri: str, *, upload: bool = False) -> Json:
        """Return an input as Azure names it. What is of this machine is brought there, if ``upload`` is set.

        Raises:
            NotFound: There is nothing.
            InvalidInput: Azure does not read such a place.
        """
        local = local_path(uri)
        if local is not None:
            return self._local(local, upload=upload)
        asset = _ASSET.fullmatch(uri)
        if asset is not None:
            return self._asset(asset["name"], asset["version"])
        if uri.startswith("models:"):
            return self._model(uri)
        if uri.startswith("runs:"):
            return self._run(uri)
        if uri.startswith("azureml://"):
            return self._address(uri)
        parts = urlsplit(uri)
        if parts.scheme in STORAGE_SCHEMES or (parts.scheme == "https" and ".blob." in parts.netloc):
            is_file = "." in uri.rstrip("/").rpartition("/")[2] and not uri.endswith("/")
            return _read("uri_file" if is_file else "uri_folder", uri)
        raise _unread(uri)

    def _local(self, path: Path, *, upload: bool) -> Json:
        if not path.exists():
            raise NotFound(f"there is nothing at {path}", adapter=ADAPTER, hint="name what exists")
        if not upload:
            count = sum(1 for file in path.rglob("*") if file.is_file()) if path.is_dir() else 1
            if not 1 <= count <= most("model.files"):
                problem = "is empty" if count == 0 else f"holds {count:,} files"
                raise InvalidInput(
                    f"{path} {problem}: 1 to {most('model.files'):,} files are brought along",
                    adapter=ADAPTER,
                    hint=_TO_COPY,
                )
        uri = self._files.upload(path) if upload else f"upload of {path}"
        return _read("uri_folder" if path.is_dir() else "uri_file", uri)

    def _asset(self, name: str, version: str | None) -> Json:
        for kind in ("data", "models"):
            try:
                latest = version is None
                found = (
                    self._assets.latest(kind, name)
                    if latest
                    else self._assets.version(kind, name, version or "")
                )
            except NotFound:
                continue
            told = properties_of(found)
            return _read(str(told.get("dataType") or told.get("modelType")), str(found.get("id")))
        raise NotFound(
            f"the workspace has no data or model {name}:{version or 'latest'}",
            adapter=ADAPTER,
            hint="list them: az ml data list; az ml model list",
        )

    def _model(self, uri: str) -> Json:
        named = parse_model_reference(uri)
        assert isinstance(named, RegisteredReference)
        found = self._registry.asset_of(named.name, self._version(named))
        return _read(str(properties_of(found).get("modelType") or "custom_model"), str(found.get("id")))

    def _version(self, named: RegisteredReference) -> str:
        if named.version is not None:
            return named.version
        if named.alias is not None:
            aliases = self._registry.get_model(named.name).aliases
            if named.alias not in aliases:
                raise NotFound(
                    f"no version has the alias {named.alias!r}", adapter=ADAPTER, resource=named.name
                )
            return aliases[named.alias]
        for version in self._registry.list_versions(named.name):
            if named.stage in (None, version.stage):
                return version.version
        raise NotFound(f"there is no version for {named}", adapter=ADAPTER, resource=named.name)

    def _run(self, uri: str) -> Json:
        named = parse_model_reference(uri)
        assert isinstance(named, RunReference)
        found = self._files.paths.find(uri)
        native = self._native_run(named.run_id)
        return _read(_kind(found, uri), f"azureml://jobs/{native}/outputs/artifacts/paths/{named.path}")

    def _address(self, uri: str) -> Json:
        if uri.startswith("azureml://registries/"):
            return _read("uri_folder", uri)
        return _read(_kind(self._files.at(uri), uri), uri)


def output_problem(uri: str) -> tuple[str, str] | None:
    """Return why Azure does not write to a place, and what to do; None where it does."""
    if _DATASTORE.fullmatch(uri) or urlsplit(uri).scheme in STORAGE_SCHEMES:
        return None
    where = "this machine" if local_path(uri) is not None else shown(uri, chars_max=100)
    return (
        f"Azure ML writes to no folder of {where}",
        "name a folder of a datastore: azureml://datastores/workspaceblobstore/paths/FOLDER",
    )


def mounted_outputs(outputs: Mapping[str, str]) -> dict[str, Json]:
    """Return outputs as Azure names them: folders that are written as the program goes."""
    return {name: mounted(uri) for name, uri in outputs.items()}


def local_path(uri: str) -> Path | None:
    """Return the path of a place on this machine, None for any other."""
    if uri.startswith("file:"):
        return file_path(uri)
    return None if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri) else Path(uri)


def _read(kind: str, uri: str) -> Json:
    return {"jobInputType": kind, "uri": uri, "mode": "ReadOnlyMount"}


def _kind(found: Found, uri: str) -> str:
    entry = found.files.find(found.path) if found.path else None
    if entry is not None and not entry.is_dir:
        return "uri_file"
    if entry is None and not list(found.files.children(found.path)):
        raise NotFound(f"there is nothing at {shown(uri, chars_max=200)}", adapter=ADAPTER)
    return "uri_folder"


def _unread(uri: str) -> ConfigError:
    return ConfigError(
        f"Azure ML reads nothing from {shown(uri, chars_max=100)}", adapter=ADAPTER, hint=_TO_COPY
    )
