"""Organisational registries: models that several workspaces share, as ``azureml://registries/NAME``.

A registry is found by asking where it is, and is then asked at its own address; nothing of the workspace
that shares with it changes meanwhile. A model comes into it by being imported from a workspace: the source of
a version is then ``azureml://SUBSCRIPTION/GROUP/WORKSPACE/models/NAME/versions/VERSION``; or its files are
copied, from this machine or from where they lie in Azure ML. Workspaces use what
is in a registry by its id, ``azureml://registries/NAME/models/M/versions/V``; they need no copy of it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trackbridge.errors import BridgeError, ConfigError, NotFound, Rejected
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.capabilities import Capabilities, Limits, Tier
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge.transport.http import HttpClient
from trackbridge_adapters.azureml.arm import Arm, path_of
from trackbridge_adapters.azureml.clouds import ADAPTER, NOT_RUNNING_HINT, cloud_of, is_azure_host
from trackbridge_adapters.azureml.config import LOOPBACK, OPTIONS, plain_address
from trackbridge_adapters.azureml.identity import authentication_of
from trackbridge_adapters.azureml.limits import check, most
from trackbridge_adapters.azureml.registry_artifacts import Elsewhere, RegistryArtifacts
from trackbridge_adapters.azureml.registry_organisation import FEATURES, KIND, OrganisationRegistry

if TYPE_CHECKING:
    from trackbridge_adapters.azureml.identity import Credential

ROUTES = "mferp/managementfrontend"
_URI = re.compile(r"azureml://registries/(?P<name>[^/?]+)/?")
_LONG_URI = re.compile(
    r"azureml://(?P<host>[^/]+)/mlflow/[^/]+/(?:.*/)?registries/(?P<name>[^/?]+)/?\??", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class RegistryPlace:
    """Where a registry is."""

    base: str
    scope: str
    region: str


class Discovery:
    """Finds a registry, once. Any thread may use it.

    Args:
        http: Sends the request.
        address: Who is asked.
        name: Of the registry.
    """

    def __init__(self, http: HttpClient, address: str, name: str) -> None:
        self._http = http
        self._address = address
        self._name = name
        self._lock = threading.Lock()
        self._found: RegistryPlace | None = None

    def found(self) -> RegistryPlace:
        """Return where the registry is.

        Raises:
            ConfigError: There is no registry of this name, or it names a host that is none of Azure's.
        """
        with self._lock:
            if self._found is None:
                self._found = self._asked()
            return self._found

    def base(self) -> str:
        """Return the address before ``/subscriptions``."""
        return self.found().base

    def _asked(self) -> RegistryPlace:
        asking = Arm(self._http, lambda: self._address)
        path = f"/registrymanagement/v1.0/registries{path_of(self._name)}/discovery"
        try:
            told = asking.get(path, "registries")
        except NotFound as error:
            raise ConfigError(
                f"there is no registry {self._name!r}, or you may not see it",
                adapter=ADAPTER,
                hint="see: az ml registry list",
            ) from error
        provider = str(told.get("primaryRegionResourceProviderUri") or "")
        host = provider.partition("://")[2].partition("/")[0]
        is_safe = provider.startswith("https://") and is_azure_host(host)
        if not is_safe and not self._is_here(provider):
            raise ConfigError(f"the registry names {host!r}, which is no host of Azure ML", adapter=ADAPTER)
        scope = (
            f"/subscriptions/{told.get('subscriptionId')}/resourceGroups/{told.get('resourceGroup')}"
            f"/providers/Microsoft.MachineLearningServices/registries/{self._name}"
        )
        base = f"{provider.rstrip('/')}/{ROUTES}"
        return RegistryPlace(base, scope, str(told.get("primaryRegion") or ""))

    def _is_here(self, provider: str) -> bool:
        """Tell whether an address is that of this machine, and of who was asked."""
        host = provider.partition("://")[2].partition("/")[0].rpartition(":")[0]
        return host in LOOPBACK and self._address.partition("://")[2].rpartition(":")[0] in LOOPBACK


class RegistryAdapter(Adapter):
    """A registry, which keeps no runs and no files of runs.

    Args:
        registry: The registry.
        http: Is closed with the adapter.
        elsewhere: What versions can be made of; is closed with the adapter.
    """

    def __init__(self, registry: OrganisationRegistry, http: HttpClient, elsewhere: Elsewhere) -> None:
        self.tracking = None
        self.artifacts: RegistryArtifacts = RegistryArtifacts(elsewhere)
        self.registry: OrganisationRegistry = registry
        self.jobs = None
        self.deployments = None
        self._http = http
        self._elsewhere = elsewhere

    def capabilities(self) -> Capabilities:
        """Return what a registry declares."""
        limits = Limits(model_files_max=most("model.files"))
        return Capabilities(adapter=ADAPTER, features=FEATURES, limits=limits, tier=Tier.EMULATED)

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Ask where the registry is, and for its models."""
        return tuple(self._examined())

    def _examined(self) -> Iterator[Finding]:
        try:
            next(self.registry.assets.containers(KIND), None)
        except BridgeError as error:
            subject = "registry" if isinstance(error, (ConfigError, NotFound)) else CREDENTIALS
            yield Finding(
                severity=Severity.ERROR, subject=subject, message=str(error), fix=error.hint or "look again"
            )
            return
        message = f"the registry {self.registry.name} can be read"
        yield Finding(severity=Severity.OK, subject="registry", message=message)

    def close(self) -> None:
        """Close the connections."""
        self._elsewhere.close()
        self._http.close()


def is_registry_uri(uri: str) -> bool:
    """Tell whether a URI is that of a registry."""
    return _URI.fullmatch(uri) is not None or _LONG_URI.fullmatch(uri) is not None


def open_registry(
    uri: str,
    context: AdapterContext,
    *,
    credential: Credential | None = None,
    environment: Mapping[str, str] = os.environ,
) -> RegistryAdapter:
    """Open a registry; nobody is contacted.

    Args:
        uri: ``azureml://registries/NAME``, or the long one with a host.
        context: Of the adapter; the option ``endpoint`` names who knows where registries are.
        credential: Signs in instead of what the options and the environment say.
        environment: The variables to read.

    Raises:
        ConfigError: The URI or an option is wrong.
    """
    match = _URI.fullmatch(uri) or _LONG_URI.fullmatch(uri)
    unknown = sorted(set(context.options) - OPTIONS)
    if match is None or unknown:
        what = f"the option {unknown[0]!r} is unknown" if unknown else f"{uri!r} names no registry"
        raise ConfigError(what, adapter=ADAPTER, hint="write azureml://registries/NAME")
    name, host = match["name"], match.groupdict().get("host")
    try:
        check("registry.name", name)
    except Rejected as error:
        raise ConfigError(error.message, adapter=ADAPTER, hint=error.hint) from None
    cloud = cloud_of(context.options, environment, host)
    http = HttpClient(adapter=ADAPTER, not_running_hint=NOT_RUNNING_HINT)
    http.authentication = authentication_of(context.options, environment, cloud, context.clock_ms, credential)
    named = f"https://{host}" if host and is_azure_host(host) else cloud.discovery
    address = plain_address(context.options, "endpoint") or named
    manager = plain_address(context.options, "arm_endpoint") or cloud.resource_manager
    arm = Arm(http, lambda: manager)
    registry = OrganisationRegistry(name, Discovery(http, address, name), http, arm, context)
    elsewhere = Elsewhere(registry, context, credential)
    registry.elsewhere = elsewhere.at
    return RegistryAdapter(registry, http, elsewhere)
