"""The files of models of a workspace: where they lie, how they come there, and from where they can come.

==================================================================  =====================================
source                                                              what becomes of its files
==================================================================  =====================================
``bridge-artifacts:/RUN/PATH``, ``azureml://…/paths/PATH``          used where they lie
``azureml://registries/R/models/M/versions/V``                      copied into the workspace's own storage
``azureml://SUBSCRIPTION/GROUP/WORKSPACE/models/M/versions/V``      the same
``azureml://…/paths/PATH`` of another workspace                     the same
a folder of this machine                                            ``upload`` gives it an address
==================================================================  =====================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.errors import AuthError, ConfigError, NotFound, Unsupported
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters._mlflow_rest.registry_values import DIGEST
from trackbridge_adapters.azureml.arm import Arm, Json
from trackbridge_adapters.azureml.assets import CUSTOM, MLFLOW, Assets, model_uri_of, properties_of, tags_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.datastores import Datastores
from trackbridge_adapters.azureml.paths import RUN_OUTPUT, Found, Paths, full_path, parse_path
from trackbridge_adapters.azureml.payloads import check_count, copy, upload
from trackbridge_adapters.azureml.registry_organisation import (
    KIND,
    MLMODEL,
    REGISTERED,
    OrganisationRegistry,
    source_of,
    workspace_of_address,
)


class Elsewhere(NamedTuple):
    """A version of a model that is registered elsewhere."""

    files: Found
    model_type: str


class ModelFiles:
    """The files of models of one workspace. Any thread may use it.

    Args:
        workspace: Which.
        arm: Asks for models of other workspaces.
        paths: Opens addresses of this workspace.
        datastores_of: Returns the datastores of any workspace.
        registry_of: Opens a registry, given its name.
        files_of_run: Returns the files of a run, given our id.
        home: Of the adapter.
    """

    def __init__(
        self,
        workspace: Workspace,
        arm: Arm,
        paths: Paths,
        *,
        datastores_of: Callable[[Workspace], Datastores],
        registry_of: Callable[[str], OrganisationRegistry],
        files_of_run: Callable[[str], Files],
        home: Path,
    ) -> None:
        self.paths = paths
        self._workspace = workspace
        self._arm = arm
        self._datastores_of = datastores_of
        self._registry_of = registry_of
        self._files_of_run = files_of_run
        self._home = home

    def type_of(self, source: str) -> str | None:
        """Return what type of model lies at a source; None where that cannot be looked at from here.

        Raises:
            NotFound: There is nothing.
            Rejected: There are more files than a version can have.
        """
        try:
            found = self._found(source)
        except (ConfigError, Unsupported, AuthError):  # of another workspace, or storage that we cannot open
            return None
        if found is None:
            return None
        return type_at(found, source)

    def _found(self, source: str) -> Found | None:
        place = split_artifact_uri(source)
        if place is not None:
            return Found(self._files_of_run(place[0]), place[1])
        return self.paths.find(source) if source.startswith("azureml:") else None

    def at(self, address: str) -> Found:
        """Return the files at any address of Azure ML's: of a path, or of a model wherever it is registered.

        Raises:
            NotFound: There is no such version, datastore, job or run.
            ConfigError: It is of a place that is not seen from here.
        """
        found = self._elsewhere(address)
        return self.paths.find(address) if found is None else found.files

    def full_address(self, address: str) -> str:
        """Return an address with the workspace in it, where it leaves open which one is meant.

        Raises:
            ConfigError: It is no address of Azure ML's.
        """
        if REGISTERED.fullmatch(address) is not None or workspace_of_address(address) is not None:
            return address
        return full_path(address, self._workspace)

    def known_digest(self, address: str) -> str | None:
        """Return the digest that was kept with a registered version; None where there is none.

        Raises:
            NotFound: There is no such version.
        """
        match, named = REGISTERED.fullmatch(address), source_of(address)
        if match is not None:
            assets = self._registry_of(match["registry"]).assets
            return tags_of(assets.version(KIND, match["name"], match["version"])).get(DIGEST)
        return None if named is None else tags_of(self._held(*named)).get(DIGEST)

    def brought(self, source: str) -> tuple[str, str] | None:
        """Copy a version that is registered elsewhere into this workspace; return its address here, and type.

        Returns:
            None where the source names none.

        Raises:
            NotFound: There is no such version.
            Rejected: It has more files than a version can have.
        """
        own = source_of(source)
        if own is not None and own[0].address == self._workspace.address:
            held = self._held(own[0], own[1])
            return model_uri_of(held), _type_of(held)
        found = self._elsewhere(source)
        return (
            None
            if found is None
            else (self._address(copy(found.files, self._own(), self._home)), found.model_type)
        )

    def upload(self, folder: Path) -> str:
        """Bring a folder, or a file, of this machine into the workspace's storage, and return its address.

        Called again after it was interrupted, it goes on; nothing is left out because of a ``.gitignore``.

        Raises:
            NotFound: There is nothing.
            Rejected: There are more files than a version can have, or a name cannot be kept.
        """
        return self._address(upload(folder, self._own(), self._home))

    def container_address(self) -> str:
        """Return the address of the container that ``upload`` brings files to, without a signature."""
        datastores = self._datastores_of(self._workspace)
        return datastores.container(datastores.default()).address

    def _own(self) -> Files:
        datastores = self._datastores_of(self._workspace)
        return datastores.files(datastores.default())

    def _address(self, path: str) -> str:
        """Return the long address of a path in our storage: the one that ARM gives back as well."""
        workspace = self._workspace
        return (
            f"azureml://subscriptions/{workspace.subscription}/resourcegroups/{workspace.group}"
            f"/workspaces/{workspace.name}/datastores/{self._datastores_of(workspace).default()}/paths/{path}"
        )

    def _elsewhere(self, source: str) -> Elsewhere | None:
        match = REGISTERED.fullmatch(source)
        if match is not None:
            registry = self._registry_of(match["registry"])
            version = registry.assets.version(KIND, match["name"], match["version"])
            files = registry.files(match["name"], match["version"])
            return Elsewhere(files, _type_of(version))
        named = source_of(source)
        if named is None:
            return self._path_elsewhere(source)
        workspace, model = named
        held = self._held(workspace, model)
        if workspace.address == self._workspace.address:
            return Elsewhere(self.paths.find(model_uri_of(held)), _type_of(held))
        paths = Paths(workspace, self._datastores_of(workspace), _no_runs)
        return Elsewhere(paths.find(model_uri_of(held)), _type_of(held))

    def check_source(self, source: str) -> None:
        """Raise for what cannot be read from here, asking nobody.

        Raises:
            ConfigError: It is of a run of another workspace.
        """
        workspace = workspace_of_address(source)
        if workspace is None or source_of(source) or workspace.address == self._workspace.address:
            return
        named = parse_path(source)
        if named.kind == "run" or named.output == RUN_OUTPUT:
            raise _no_run(named.name)

    def _path_elsewhere(self, source: str) -> Elsewhere | None:
        """Return what lies at a path of another workspace; None for all else."""
        workspace = workspace_of_address(source)
        if workspace is None or workspace.address == self._workspace.address:
            return None
        found = Paths(workspace, self._datastores_of(workspace), _no_runs).find(source)
        return Elsewhere(found, type_at(found, source))

    def _held(self, workspace: Workspace, model: Mapping[str, str]) -> Json:
        return Assets(self._arm, workspace.scope).version(KIND, model["name"], model["version"])


def type_at(found: Found, source: str) -> str:
    """Return what type of model files are, as they are named in an address.

    Raises:
        NotFound: There is nothing.
        Rejected: There are more files than a version can have.
    """
    entry = found.files.find(found.path) if found.path else None
    if found.path and entry is None:
        raise NotFound("there is nothing at the source", adapter=ADAPTER, resource=source[:200])
    if entry is not None and not entry.is_dir:
        return CUSTOM
    check_count(found, operation="registry.create_version")
    mlmodel = found.files.find(f"{found.path}/{MLMODEL}".lstrip("/"))
    return CUSTOM if mlmodel is None or mlmodel.is_dir else MLFLOW


def _type_of(version: Json) -> str:
    return str(properties_of(version).get("modelType") or CUSTOM)


def _no_runs(run: str) -> Files:
    raise _no_run(run)


def _no_run(run: str) -> ConfigError:
    return ConfigError(
        f"the model is of the run {run[:100]} of another workspace, which says not where its files lie",
        adapter=ADAPTER,
        hint="register it in its own workspace, or in a registry, and then that version here",
    )
