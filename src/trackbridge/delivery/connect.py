"""From a destination's URI, as a journal names it, to its opened backend behind the call pipeline."""

from __future__ import annotations

from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.delivery.backend import Backend
from trackbridge.errors import Unsupported
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
    remotes = remotes_of(settings).values()
    options = next((dict(remote.options) for remote in remotes if remote.uri == uri), {})
    return open_adapter(uri, home=uri.path or bridge_home(settings.around), options=options)


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
    piped = wrap_adapter(adapter, CallPolicy(attempts_max=attempts_max, elapsed_s_max=elapsed_s_max))
    if piped.tracking is None:
        raise Unsupported("the backend has no tracking", adapter=capabilities.adapter, resource=uri)
    return Backend(
        uri=uri,
        tracking=piped.tracking,
        artifacts=piped.artifacts,
        capabilities=capabilities,
        close=piped.close,
    )
