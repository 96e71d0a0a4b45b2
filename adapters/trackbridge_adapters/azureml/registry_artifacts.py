"""The files that a registry's models are read from: its own, and those that versions can be made of.

A registry keeps no files of runs, so that its artifact store has nothing but addresses.
"""

# ruff: noqa: D102  the docstrings of the ports are the contract

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.paging import Page
from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError, Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge_adapters._mlflow_rest.registry_values import DIGEST
from trackbridge_adapters.azureml.addressed import AddressedFiles
from trackbridge_adapters.azureml.assets import tags_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.model_files import ModelFiles
from trackbridge_adapters.azureml.paths import Found
from trackbridge_adapters.azureml.registry_organisation import (
    KIND,
    REGISTERED,
    OrganisationRegistry,
    source_of,
    workspace_of_address,
)

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext
    from trackbridge_adapters.azureml.identity import Credential


class Elsewhere:
    """Workspaces and other registries, as a registry sees them. Any thread may use it.

    Args:
        registry: Which registry looks.
        context: Of its adapter: the same options and sign-in lead to the others.
        credential: Signs in instead of what the options and the environment say.
    """

    def __init__(
        self, registry: OrganisationRegistry, context: AdapterContext, credential: Credential | None
    ) -> None:
        self._registry = registry
        self._context = context
        self._credential = credential
        self._lock = threading.Lock()
        self._opened: dict[str, Adapter] = {}

    def at(self, address: str) -> Found:
        """Return the files at any address of Azure ML's.

        Raises:
            NotFound: There is nothing of the kind.
            ConfigError: The address says not of which workspace it is.
        """
        match = REGISTERED.fullmatch(address)
        if match is not None:
            return self._registry_of(match["registry"]).files(match["name"], match["version"])
        return self._files_of(address).at(address)

    def known_digest(self, address: str) -> str | None:
        """Return the digest that was kept with a registered version; None where there is none.

        Raises:
            NotFound: There is no such version.
        """
        match = REGISTERED.fullmatch(address)
        if match is not None:
            registry = self._registry_of(match["registry"])
            return tags_of(registry.assets.version(KIND, match["name"], match["version"])).get(DIGEST)
        return self._files_of(address).known_digest(address) if source_of(address) is not None else None

    def _registry_of(self, name: str) -> OrganisationRegistry:
        if name == self._registry.name:
            return self._registry
        found = self._adapter(f"azureml://registries/{name}").registry
        assert isinstance(found, OrganisationRegistry)
        return found

    def _files_of(self, address: str) -> ModelFiles:
        from trackbridge_adapters.azureml.artifacts import AzureArtifacts

        workspace = workspace_of_address(address)
        if workspace is None:
            raise no_place(address)
        artifacts = self._adapter(workspace.address).artifacts
        assert isinstance(artifacts, AzureArtifacts)
        assert artifacts.models is not None
        return artifacts.models

    def _adapter(self, uri: str) -> Adapter:
        from trackbridge_adapters.azureml import open_workspace

        with self._lock:
            if uri not in self._opened:
                self._opened[uri] = open_workspace(uri, context=self._context, credential=self._credential)
            return self._opened[uri]

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for adapter in self._opened.values():
                adapter.close()


class RegistryArtifacts(AddressedFiles, ArtifactStore):
    """Reads the files of models; there are no runs whose files could be here.

    Args:
        elsewhere: Opens addresses.
    """

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere

    def _at(self, address: str) -> Found:
        return self._elsewhere.at(address)

    def address_for_registry(self, address: str, *, is_elsewhere: bool) -> str:
        if REGISTERED.fullmatch(address) is None and workspace_of_address(address) is None:
            raise no_place(address)
        return address

    def known_digest_at(self, address: str) -> str | None:
        return self._elsewhere.known_digest(address)

    # Files of runs.

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        raise _no_runs()

    def open(self, run_id: str, path: str) -> BinaryIO:
        raise _no_runs()

    def stat(self, run_id: str, path: str) -> ArtifactInfo:
        raise _no_runs()

    def list(
        self, run_id: str, prefix: str = "", *, max_results: int = 1000, token: str | None = None
    ) -> Page[ArtifactInfo]:
        raise _no_runs()

    def delete(self, run_id: str, path: str) -> None:
        raise _no_runs()

    def presign(self, run_id: str, path: str, *, expires_s: int) -> str:
        raise _no_runs()

    def put_resumable(
        self, run_id: str, path: str, file: Path, *, digest: str, size: int, state: Path
    ) -> ArtifactInfo:
        raise _no_runs()


def no_place(address: str) -> ConfigError:
    """Return the error for an address of which nobody knows the workspace."""
    return ConfigError(
        f"{shown(address, chars_max=200)!r} says not of which workspace it is",
        adapter=ADAPTER,
        hint="let the tracking URI be the workspace, or write azureml://subscriptions/SUBSCRIPTION/"
        "resourcegroups/GROUP/workspaces/WORKSPACE/datastores/NAME/paths/PATH",
    )


def _no_runs() -> Unsupported:
    return Unsupported(
        "a registry of Azure ML keeps no files of runs",
        adapter=ADAPTER,
        hint="name the workspace of the run as the tracking URI",
    )
