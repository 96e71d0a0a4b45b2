"""From a destination's URI, as a journal names it, to its opened backend behind the call pipeline."""

from __future__ import annotations

from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.delivery.backend import Backend, Registry
from trackbridge.errors import Unsupported
from trackbridge.events import call_observer
from trackbridge.events.registry import telling
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.resolve.config import Settings
from trackbridge.resolve.entry_points import open_adapter
from trackbridge.resolve.home import bridge_home
from trackbridge.resolve.remotes import remotes_of
from trackbridge.resolve.uri import TrackingUri, parse


def open_uri(uri: TrackingUri, *, settings: Settings | None = None) -> Adapter:
    """Open a backend with the options of the remote that has this URI, where there is one.

    Raises:
        ConfigError: The URI, or the remote's options, are wrong.
        MissingExtra: A package is missing.
    """
    settings = settings or Settings()
    options = remote_options(uri, settings=settings)
    return open_adapter(uri, home=uri.path or bridge_home(settings.around), options=options)


def remote_options(uri: TrackingUri, *, settings: Settings) -> dict[str, str]:
    """Return the options of the remote that has this URI, where there is one; never a credential.

    Raises:
        ConfigError: A remote is wrong.
    """
    remotes = remotes_of(settings).values()
    return next((dict(remote.options) for remote in remotes if remote.uri == uri), {})


ELAPSED_S_MAX = 30.0
"""How long one call is tried; delivery itself goes on after that."""


def connect(uri: str, *, elapsed_s_max: float = ELAPSED_S_MAX) -> Backend:
    """Open a destination for delivery.

    Args:
        uri: The destination.
        elapsed_s_max: Seconds after which no call is tried again.

    Raises:
        ConfigError: The URI is wrong.
        Unsupported: The backend has no tracking.
    """
    return backend_of(open_uri(parse(uri)), uri, elapsed_s_max=elapsed_s_max)


def backend_of(adapter: Adapter, uri: str, *, elapsed_s_max: float = ELAPSED_S_MAX) -> Backend:
    """Put an adapter behind the call pipeline.

    Raises:
        Unsupported: It has no tracking.
    """
    capabilities = adapter.capabilities()
    # What a store would take twice is not repeated blindly: delivery reads back first.
    attempts_max = 4 if capabilities.supports(Feature.TRACKING_METRIC_DEDUP) else 1
    policy = CallPolicy(attempts_max=attempts_max, elapsed_s_max=elapsed_s_max)
    piped = wrap_adapter(adapter, policy, observer=call_observer())
    if piped.tracking is None:
        raise Unsupported("the backend has no tracking", adapter=capabilities.adapter, resource=uri)
    registries = Registries(uri, piped, elapsed_s_max=elapsed_s_max)
    return Backend(
        uri=uri,
        tracking=piped.tracking,
        artifacts=piped.artifacts,
        capabilities=capabilities,
        registry=registries.open,
        close=registries.close,
    )


class Registries:
    """The registries that a destination's registrations go to: its own, or those of other backends.

    Args:
        uri: The destination.
        adapter: It, opened and behind the call pipeline.
        elapsed_s_max: Seconds after which no call of another one is tried again.
    """

    def __init__(self, uri: str, adapter: Adapter, *, elapsed_s_max: float = ELAPSED_S_MAX) -> None:
        self._uri = uri
        self._adapters = {uri: adapter}
        self._elapsed_s_max = elapsed_s_max

    def open(self, uri: str) -> Registry:
        """Return the registry of a tracking URI, opened at the first call.

        Raises:
            ConfigError: The URI is wrong.
            Unsupported: The backend has no registry.
        """
        if uri not in self._adapters:
            policy = CallPolicy(elapsed_s_max=self._elapsed_s_max)
            self._adapters[uri] = wrap_adapter(open_uri(parse(uri)), policy, observer=call_observer())
        adapter = self._adapters[uri]
        if adapter.registry is None:
            raise Unsupported(
                "the backend has no registry of models",
                adapter=adapter.capabilities().adapter,
                resource=uri,
                hint="set BRIDGE_REGISTRY_URI to one that has",
            )
        return Registry(telling(adapter.registry, uri), sees_artifacts=uri == self._uri)

    def close(self) -> None:
        """Close the destination and every other backend that was opened."""
        for adapter in self._adapters.values():
            adapter.close()
