"""Which registry the models of a client go to: that of ``registry_uri``, else of the first destination."""

from __future__ import annotations

import getpass
import warnings
from typing import TYPE_CHECKING

from trackbridge.api.reading import READ_S_MAX, Reader
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.models import ChangeReason
from trackbridge.errors import Unsupported
from trackbridge.events.registry import telling
from trackbridge.ports.capabilities import Feature
from trackbridge.resolve.destinations import resolve_destinations

if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter
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
        return wrap_adapter(adapter, CallPolicy(elapsed_s_max=READ_S_MAX))


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return ""
