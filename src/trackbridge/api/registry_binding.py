"""Which registry the models of a client go to: that of ``registry_uri``, else of the first destination."""

from __future__ import annotations

import getpass
import warnings
from typing import TYPE_CHECKING

from trackbridge.api.reading import READ_S_MAX, Reader
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.models import ChangeReason, ModelVersion
from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError, InvalidInput, Rejected, Unsupported
from trackbridge.events.registry import telling
from trackbridge.operations.model_payloads import at_registry, reader_of
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.registry import NamingRegistry, SourceCheckingRegistry
from trackbridge.ports.streams import AddressedArtifacts
from trackbridge.resolve.destinations import resolve_destinations

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter
    from trackbridge.ports.artifacts import ArtifactStore
    from trackbridge.ports.registry import ModelRegistry
    from trackbridge.resolve.config import Settings


class RegistryBinding:
    """The registry beside a reader; nothing is opened before it is used."""

    def __init__(
        self, reader: Reader, tracking_uri: str, settings: Settings, registry_uri: str | None = None
    ) -> None:
        self._reader = reader
        self._tracking_uri = tracking_uri
        self._settings = settings
        self._adapter: Adapter | None = None
        self._uri = registry_uri

    @property
    def uri(self) -> str:
        """The tracking URI of the registry, in its full form.

        Raises:
            ConfigError: The setting is wrong.
        """
        if self._uri is None:
            named = self._settings.value("registry_uri")
            destinations = resolve_destinations(str(named), settings=self._settings) if named else ()
            self._uri = destinations[0].uri.text if destinations else self._tracking_uri
        return self._uri

    @property
    def sees_artifacts(self) -> bool:
        """Whether the registry lies with the artifacts of the runs."""
        return self.uri == self._tracking_uri

    @property
    def capabilities(self) -> Capabilities:
        """What the backend with the registry declares."""
        return self._backend.capabilities()

    @property
    def port(self) -> ModelRegistry:
        """The registry, without delivery before.

        Raises:
            Unsupported: The backend has no registry.
        """
        adapter = self._backend
        if adapter.registry is None:
            raise Unsupported(
                "the backend has no registry of models",
                adapter=adapter.capabilities().adapter,
                operation="models",
                resource=self.uri,
                hint="set BRIDGE_REGISTRY_URI to one that has",
            )
        return telling(adapter.registry, self.uri)

    def check_name(self, name: str, *, is_mlflow: bool) -> None:
        """Return unless the registry is known to refuse a name: before anything is logged for it.

        Raises:
            Rejected: It cannot hold the name.
        """
        registry = self._backend.registry
        if isinstance(registry, NamingRegistry):
            registry.check_name(name, is_mlflow=is_mlflow)

    def check_files(self, count: int) -> None:
        """Return if a version may have so many files.

        Raises:
            Rejected: The registry takes fewer.
        """
        capabilities = self._backend.capabilities()
        most = capabilities.limits.model_files_max
        if most is not None and count > most:
            raise Rejected(
                f"the model has {count:,} files, and a version in {capabilities.adapter} at most {most:,}",
                adapter=capabilities.adapter,
                operation="models",
                hint="pack the files, for example into one archive; nothing was logged",
            )

    @property
    def _backend(self) -> Adapter:
        if self._adapter is None:
            self._adapter = self._reader.adapter if self.sees_artifacts else self._opened()
        return self._adapter

    def drained(self) -> ModelRegistry:
        """Return the registry once what was logged, registrations among it, is delivered.

        Raises:
            Unavailable: Not all of it could be delivered in time.
        """
        port = self.port
        self._reader.drain()
        return port

    # Files that are no run's.

    def located(self, version: ModelVersion) -> tuple[ModelVersion, ArtifactStore | None]:
        """Return a version with the address of its files, and what reads them."""
        tracked = self._reader.adapter.artifacts
        if not version.name:
            return version, tracked
        found = at_registry(version, self._backend.registry)
        return found, reader_of(found.source, self._backend.artifacts, tracked)

    def addressed(self, source: str) -> tuple[str, AddressedArtifacts]:
        """Return an address of a backend's own as this registry takes it, and what reads it.

        Raises:
            InvalidInput: Neither the registry nor the tracking URI reads such addresses.
            ConfigError: It leaves open of which place it is.
        """
        problem: ConfigError | None = None
        # Whoever leaves open of which place an address is means that of the runs.
        for adapter in dict.fromkeys((self._reader.adapter, self._backend)):
            store = adapter.artifacts
            if isinstance(store, AddressedArtifacts) and store.reads(source):
                try:
                    is_elsewhere = adapter is not self._backend
                    return store.address_for_registry(source, is_elsewhere=is_elsewhere), store
                except ConfigError as error:
                    problem = problem or error
        if problem is not None:
            raise problem
        names = {item.capabilities().adapter: None for item in (self._reader.adapter, self._backend)}
        raise InvalidInput(
            f"{shown(source, chars_max=120)!r} is no address that {' or '.join(names)} registers models from",
            operation="models",
            hint="write models:/NAME/3, runs:/RUN_ID/PATH or the path of a folder, or name the backend whose "
            "address it is by --uri, or as the registry_uri",
        )

    def check_source(self, source: str) -> None:
        """Raise where the registry is known to take nothing from a source, before anything is made for it."""
        registry = self._backend.registry
        if isinstance(registry, SourceCheckingRegistry):
            registry.check_source(source)

    def reason(self, why: str = "") -> ChangeReason:
        """Return who changes something here, and why; a reason that the registry will not keep is told."""
        if why:
            self._tell_unless_kept()
        return ChangeReason(user=self._settings.value("user") or _login(), why=why)

    def _tell_unless_kept(self) -> None:
        capabilities = self._backend.capabilities()
        if not capabilities.supports(Feature.REGISTRY_HISTORY):
            warnings.warn(
                f"{capabilities.adapter} keeps no history of changes: the reason is kept nowhere",
                stacklevel=4,
            )

    def _opened(self) -> Adapter:
        (destination,) = resolve_destinations(self.uri, settings=self._settings)
        adapter = open_uri(destination.uri, settings=self._settings)
        return wrap_adapter(adapter, CallPolicy.for_waiting_people(READ_S_MAX))


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return ""
